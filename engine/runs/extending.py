"""Rows added to the pool after a run, scored within the frozen run: the run's own network says their influence.

Only a run of `network` can do so: it kept the network, how it reads (`network_reading`), and the maps that make
estimates comparable. A language model is loaded only where the network reads its hidden states (`later_rows`). Values
of rows that the run covers stay bit for bit; new rows are estimates and marked as added. They are cut to the model's
length, and unscorable without a response, as the rows before them, and their losses are known where those are. No audit
row is among them, so that the run's audit, by quadrants too, says nothing of them.

The results are a new artifact beside the old one, named by the old one and by the pool as it is now; then the run's
record points to it. A kill in between loses nothing: the same command finds the artifact and records it.
"""

import os
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

import engine
from engine.errors import EngineError
from engine.influence.comparable import AffineMap
from engine.influence.network.estimate import Estimator
from engine.influence.scores import PROPAGATED
from engine.progress import Reporter, Silent
from engine.runs.by_function import columns_of, combination
from engine.runs.config import ScoreConfig
from engine.runs.functions import ItemSet
from engine.runs.later_rows import Later, LaterReader
from engine.runs.network_reading import READING_FILE, Reading
from engine.runs.network_settling import NOT_READ
from engine.runs.scored import ADDED, TRUNCATED
from engine.runs.scoring import KEPT_PROBLEMS
from engine.runs.scoring_job import STAGE
from engine.store.artifacts import artifact_key, create, find, load_array, read_json, save_array, write_json
from engine.store.ledger import replace_run
from engine.store.project import Project
from engine.store.records import RunRecord, now

INPUTS = "features"  # the inputs of all rows, where the run keeps them


@dataclass(frozen=True)
class Extended:
    """The run as it is now, and how many rows were estimated by this call."""

    run: RunRecord
    added: int


def extend(project: Project, name: str, *, reporter: Reporter | None = None) -> Extended:
    """Estimate the pool rows that the run `name` does not cover yet, and let the run cover them.

    Nothing is done where it covers all. Raises `EngineError` for a run that cannot be extended, saying what to do.
    """
    reporter = reporter or Silent()
    run = project.run(name)
    rows, pool_hash = project.extent("pool", "")
    if run.rows >= rows:
        return Extended(run, 0)
    folder = _extendable(project, run)
    key = artifact_key(stage=STAGE, extends=run.artifact, pool=pool_hash, rows=rows)
    artifact = find(project.artifacts, STAGE, key)
    if artifact is None:
        artifact = _compute(project, run, folder, key, rows, pool_hash, reporter)
    changed = replace(
        run, artifact=artifact.name, rows=rows, pool_hash=pool_hash, summary=read_json(artifact / "summary.json")
    )
    with project.changing() as con:
        return Extended(replace_run(con, run, changed), rows - run.rows)


def _extendable(project: Project, run: RunRecord) -> Path:
    """The run's artifact, once it is sure that rows can be added to it."""
    refused = f"The run {run.name!r} cannot be extended: "
    remedy = (
        "Runs of the method network can that read words or sentence embeddings (network_features lexical, sentence or "
        "sentence+lexical), or hidden states of a model that was not warmed up (warm_up=off). Score the whole pool "
        "again under another name. The run was left as it is."
    )
    folder = project.artifacts / run.artifact
    if run.method != "network":
        raise EngineError(f"{refused}it was scored by {run.method}, which learns nothing that could say more. {remedy}")
    if not (folder / "summary.json").is_file():
        raise EngineError(f"{refused}its results are missing ({folder}). Score again to restore them.")
    if not (folder / READING_FILE).is_file():
        raise EngineError(f"{refused}it did not keep how its network reads texts. {remedy}")
    kind = (run.summary.get("model") or {}).get("kind", "")
    if _reading(folder).needs_model and ScoreConfig.from_dict(run.config).warms_up(kind):
        raise EngineError(f"{refused}its network reads hidden states of a warmed-up model, which is not kept. {remedy}")
    return folder


def _reading(folder: Path) -> Reading:
    with np.load(folder / READING_FILE, allow_pickle=False) as arrays:
        return Reading.load(arrays)


def _compute(
    project: Project, run: RunRecord, folder: Path, key: str, rows: int, pool_hash: str, reporter: Reporter
) -> Path:
    """The artifact of the extended run: what it held, and the estimates of the rows it did not cover."""
    config, reading = ScoreConfig.from_dict(run.config), _reading(folder)
    reader = LaterReader(run, reading, config)
    later = reader.all(project, run.rows, rows - run.rows, reporter)
    found = _estimates(run, folder, config, reading, later)
    lacking = np.flatnonzero(~np.isfinite(found["score"])).tolist()
    further = {str(run.rows + place): later.problems.get(place, NOT_READ) for place in lacking}
    problems = {**read_json(folder / "problems.json"), **further}
    step = {"rows": rows, "created": now(), "unseen": reader.unseen}
    summary = _summary(run, read_json(folder / "summary.json"), problems, step, found["status"])
    manifest = {"kind": "extend", "extends": run.artifact, "config": run.config, "rows": rows, "pool_hash": pool_hash}
    with create(project.artifacts, STAGE, key, {**manifest, "version": engine.__version__, "created": now()}) as place:
        for name, more in found.items():
            save_array(place, name, np.concatenate([load_array(folder, name), more]))
        for path in folder.iterdir():
            if path.suffix != ".json" and not (place / path.name).exists():
                _link_or_copy(path, place / path.name)
        for name, value in (("problems", problems), ("summary", summary)):
            write_json(place / f"{name}.json", value)
    made = find(project.artifacts, STAGE, key)
    if made is None:
        raise EngineError(f"The artifact {STAGE}-{key} could not be completed. The run was left as it is.")
    return made


def _estimates(
    run: RunRecord, folder: Path, config: ScoreConfig, reading: Reading, later: Later
) -> dict[str, np.ndarray]:
    """The further entries of every array that has one per row: estimates as the run's own are shown."""
    with np.load(folder / "network.npz", allow_pickle=False) as arrays:
        estimator = Estimator.load(arrays, config.network())
    matrix = estimator(later.inputs)  # (m, t)
    matrix[list(later.problems)] = np.nan
    sets = _sets(run.summary, reading.groups)
    for each, rule in zip(sets or (ItemSet("score", (0,)),), _maps(run.summary), strict=True):
        matrix[:, list(each.items)] = rule(matrix[:, list(each.items)])
    kept = np.array([item for each in sets for item in each.items], np.int64)
    columns = columns_of(matrix, sets, config)
    score = combination(config, sets)(columns) if sets else matrix[:, 0].copy()
    found = {
        "score": score,
        "columns": columns,
        "matrix": np.ascontiguousarray(matrix[:, kept]),
        "status": np.where(np.isfinite(score), PROPAGATED, 0).astype(np.uint8),
        "roles": np.where(later.truncated, ADDED | TRUNCATED, ADDED).astype(np.uint8),
        "loss": later.loss,
    }
    return found | ({INPUTS: later.inputs} if (folder / f"{INPUTS}.npy").is_file() else {})


def _sets(summary: dict[str, Any], groups: tuple[str, ...]) -> tuple[ItemSet, ...]:
    """The target sets with their usable items, numbered through over all items."""
    found, start = [], 0
    for each in summary["sets"]:
        items = tuple(start + item for item in each["items"])
        found.append(ItemSet(each["name"], items, tuple(groups[item] for item in items) if groups else ()))
        start += each["rows"]
    return tuple(found)


def _maps(summary: dict[str, Any]) -> list[AffineMap]:
    names = ("name", "slope", "intercept", "correlation", "reason")
    return [AffineMap(**{name: rule[name] for name in names}) for rule in summary["comparable"]]


def _summary(
    run: RunRecord, summary: dict[str, Any], problems: dict[str, str], step: dict[str, Any], status: np.ndarray
) -> dict[str, Any]:
    """The run's summary with the new rows counted, and a sentence on what is not known of them.

    `extended` tells every step: the rows covered after it, when, and why nothing is known of the rows' tokens.
    """
    before = summary.get("extended") or {"rows": 0, "note": None}
    known = before.get("steps", [{"rows": run.rows, "created": before["created"]}] if before["rows"] else [])
    steps, later = [*known, step], before["rows"] + step["rows"] - run.rows
    unseen = dict.fromkeys(each["unseen"] for each in steps if each.get("unseen"))
    note = (
        f"{later:,} samples were added to the pool after the run and estimated by its network; the audit does not "
        "cover them."
    )
    if unseen:
        note += f" Which of them are longer than the model reads is not known: {' '.join(unseen)}"
    counts = dict(summary["counts"])
    counts["propagated"] += int((status == PROPAGATED).sum())
    counts["unscorable"] += int((status == 0).sum())
    return {
        **summary,
        "counts": counts,
        "extended": {"rows": later, "note": note, "created": step["created"], "steps": steps},
        "notes": [*(said for said in summary["notes"] if said != before["note"]), note],
        "problems": dict(list(problems.items())[:KEPT_PROBLEMS]),
    }


def _link_or_copy(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # a file system without links
        shutil.copy2(source, target)
