"""The catalogue side of scoring: freeze the pool and targets, write the inputs, record the finished run.

The scores themselves are `scoring.py`, which knows no catalogue. A run's artifact is named by everything that changes
the answer; where it exists already nothing is computed, and the log says so.
"""

from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import engine
from engine.errors import EngineError
from engine.models.sources import ModelSource, resolve
from engine.progress import Reporter
from engine.runs.config import ScoreConfig
from engine.runs.function_config import FunctionConfig
from engine.runs.inputs import View, complete_inputs, describe_model, frozen_view, write_sets, write_texts, write_tokens
from engine.runs.jobfolder import JobFolder
from engine.runs.methods import needs_model, needs_target
from engine.runs.reporter import FileReporter
from engine.runs.results import clear, keep
from engine.runs.runjob import compute
from engine.runs.tokenizers import load_tokenizer
from engine.store.artifacts import artifact_key, find, read_json
from engine.store.project import Project
from engine.store.records import RunRecord, now

STAGE = "scores"
READS_TEXT = frozenset({"sentence", "auto"})  # embeddings that need the rows as text


def work_score(project: Project, folder: JobFolder, reporter: FileReporter) -> None:
    """Score as `folder.spec` says and record the run; its name lands in `folder.result["run"]`."""
    if prepare_score(project, folder, reporter) is None:
        if folder.spec.get("prepare_only") and not folder.output_complete:
            reporter.end_as("prepared", "the inputs are ready; run-job computes the scores here or elsewhere")
            return
        compute(folder, reporter)
    bring_score(project, folder, reporter)
    clear(folder)


def prepare_score(project: Project, folder: JobFolder, reporter: Reporter) -> Path | None:
    """Write the inputs, unless the artifact exists already: then its folder is returned and nothing is written.

    Raises `EngineError` for an empty pool, an unknown target, a missing model, or a run name taken by another run.
    """
    config = ScoreConfig.from_dict(folder.spec["config"])
    reporter.phase("preparing", 0)
    aimed = needs_target(config.method, config.teacher)
    view = frozen_view(project, folder, config.targets if aimed else None)
    if aimed and not view.targets:
        raise EngineError(
            f"The method {config.method} needs a target set, and the project has none. Add one with add-target, "
            "or use the method random. Nothing was started."
        )
    config.set_weights([target.name for target in view.targets])  # refuses weights of sets that are not there
    config.landmark_count(view.rows)  # refuses more landmarks than rows before anything is written
    source, others = models_of(config)
    key = score_key(view, config, source, others)
    check_run_name(project, folder.spec.get("run"), key)
    described = {"model": describe_model(source), "models": [describe_model(other) for other in others]}
    folder.update_spec(artifact={"stage": STAGE, "key": key}, rows=view.rows, **described)
    existing = find(project.artifacts, STAGE, key)
    if existing is None and not folder.input_complete:
        if source is not None:
            tokenizer = load_tokenizer(source, max_length=config.max_length)
            write_tokens(project, folder, view, tokenizer, reporter=reporter)
        write_sets(project, folder, view, groups=config.groups)
        if _reads_text(config):
            write_texts(project, folder, view, reporter=reporter)
        complete_inputs(folder, view)
    if existing is not None:
        reporter.log(f"these scores exist already ({existing.name}): nothing is computed again")
    return existing


def _reads_text(config: ScoreConfig) -> bool:
    """Whether anything of the run reads the rows as text."""
    by_landmarks = config.method == "landmark" and config.embedding in READS_TEXT
    return by_landmarks or config.method == "network" or config.function in ("delift-se", "selectit")


def models_of(config: ScoreConfig) -> tuple[ModelSource | None, tuple[ModelSource, ...]]:
    """The files of the run's model (None: it needs none), and of the further ones that rate with it."""
    if not needs_model(config.method, config.teacher):
        return None, ()
    further = config.models if config.function == "selectit" else ()
    return resolve(config.model), tuple(resolve(name) for name in further)


def score_key(view: View, config: ScoreConfig, source: ModelSource | None, others: Sequence[ModelSource] = ()) -> str:
    """The name of the scores: whatever changes the answer, and nothing else."""
    without = {"model", "targets", "models"}
    if config.function is None:  # what only functions and networks know does not change scores by gradients
        without |= {field.name for field in fields(FunctionConfig)} - {"seed"}
    settings = {name: value for name, value in config.to_dict().items() if name not in without}
    targets = [[target.name, target.hash] for target in view.targets]
    model = None if source is None else source.sha256
    more = {"models": [other.sha256 for other in others]} if others else {}
    return artifact_key(
        stage=STAGE, pool=view.pool_hash, rows=view.rows, targets=targets, model=model, config=settings, **more
    )


def check_run_name(project: Project, name: str | None, key: str) -> None:
    """Refuse a run name that another run has."""
    taken = {run.name: run for run in project.runs()}.get(name or "")
    if taken is not None and taken.artifact != f"{STAGE}-{key}":
        raise EngineError(
            f"The run {name!r} exists already with another configuration, pool, target or model ({taken.artifact}). "
            "Choose another name with --run. Nothing was computed."
        )


def bring_score(project: Project, folder: JobFolder, reporter: Reporter) -> str:
    """Move the results into the project's artifacts, record the run, and return its name."""
    reporter.phase("recording the run", 0)
    spec = folder.spec
    config, view, key = ScoreConfig.from_dict(spec["config"]), View.from_dict(spec["view"]), spec["artifact"]["key"]
    artifact = keep(project, folder, STAGE, key, _manifest(spec))
    known = {run.name: run.artifact for run in project.runs()}
    same = next((name for name, kept in known.items() if kept == artifact.name), None)
    name = spec.get("run") or same or _free(config.method, known)
    if name not in known:
        project.add_run(_record(name, artifact, config, view, spec))
    folder.write_result(run=name, artifact=artifact.name)
    reporter.log(f"run {name}: {view.rows} samples, artifact {artifact.name}")
    return name


def _manifest(spec: dict[str, Any]) -> dict[str, Any]:
    return {name: spec.get(name) for name in ("kind", "config", "view", "model", "rows")} | {
        "version": engine.__version__,
        "created": now(),
    }


def _record(name: str, artifact: Path, config: ScoreConfig, view: View, spec: dict[str, Any]) -> RunRecord:
    return RunRecord(
        name=name,
        method=config.method,
        model=config.model if spec["model"] else "",
        config=config.to_dict(),
        artifact=artifact.name,
        rows=view.rows,
        pool_hash=view.pool_hash,
        targets=[target.name for target in view.targets],
        state="done",
        created=now(),
        summary=read_json(artifact / "summary.json"),
    )


def _free(method: str, taken: dict[str, str]) -> str:
    number = 1
    while (name := method if number == 1 else f"{method}-{number}") in taken:
        number += 1
    return name
