"""Rows added to the pool after a run, scored within the frozen run: the run's own network says their influence.

Only a run of `network` whose network reads texts can do so: it kept the network, how it reads (`network_reading`), and
the maps that make estimates comparable, so that no language model is loaded. Values of rows that the run covers stay
bit for bit; new rows are estimates, and no audit row is among them, so that the run's audit says nothing of them.

The results are a new artifact beside the old one, named by the old one and by the pool as it is now; then the run's
record points to it. A kill in between loses nothing: the same command finds the artifact and records it.
"""

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

import engine
from engine.data.samples import prompt_text, response_text
from engine.errors import EngineError
from engine.gradients.sentence_features import SentenceFeatures
from engine.influence.comparable import AffineMap
from engine.influence.network.estimate import Estimator
from engine.influence.scores import PROPAGATED
from engine.progress import Reporter, Silent
from engine.runs.by_function import columns_of, combination
from engine.runs.config import ScoreConfig
from engine.runs.functions import ItemSet
from engine.runs.network_reading import READING_FILE, Reading
from engine.runs.network_settling import NOT_READ
from engine.runs.scoring import KEPT_PROBLEMS
from engine.runs.scoring_job import STAGE
from engine.store.artifacts import artifact_key, create, find, load_array, read_json, save_array, write_json
from engine.store.ledger import replace_run
from engine.store.project import Project
from engine.store.records import RunRecord, now

CHUNK = 2000
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
        "sentence+lexical). Score the whole pool again under another name. The run was left as it is."
    )
    folder = project.artifacts / run.artifact
    if run.method != "network":
        raise EngineError(f"{refused}it was scored by {run.method}, which learns nothing that could say more. {remedy}")
    if not (folder / "summary.json").is_file():
        raise EngineError(f"{refused}its results are missing ({folder}). Score again to restore them.")
    if not (folder / READING_FILE).is_file():
        raise EngineError(f"{refused}it did not keep how its network reads texts. {remedy}")
    if _reading(folder).needs_model:
        raise EngineError(f"{refused}its network reads hidden states, which take the language model. {remedy}")
    return folder


def _reading(folder: Path) -> Reading:
    with np.load(folder / READING_FILE, allow_pickle=False) as arrays:
        return Reading.load(arrays)


def _compute(
    project: Project, run: RunRecord, folder: Path, key: str, rows: int, pool_hash: str, reporter: Reporter
) -> Path:
    """The artifact of the extended run: what it held, and the estimates of the rows it did not cover."""
    config = ScoreConfig.from_dict(run.config)
    found = _estimates(project, run, folder, config, rows, reporter)
    lacking = run.rows + np.flatnonzero(~np.isfinite(found["score"]))
    problems = {**read_json(folder / "problems.json"), **{str(row): NOT_READ for row in lacking}}
    summary = _summary(run, read_json(folder / "summary.json"), problems, rows, found["status"])
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
    project: Project, run: RunRecord, folder: Path, config: ScoreConfig, rows: int, reporter: Reporter
) -> dict[str, np.ndarray]:
    """The further entries of every array that has one per row: estimates as the run's own are shown."""
    reading, count = _reading(folder), rows - run.rows
    with np.load(folder / "network.npz", allow_pickle=False) as arrays:
        estimator = Estimator.load(arrays, config.network())
    inputs = _inputs(project, run.rows, count, reading, config, reporter)
    matrix = estimator(inputs)  # (m, t)
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
        "roles": np.zeros(count, np.uint8),
        "loss": np.full(count, np.nan, np.float32),
    }
    return found | ({INPUTS: inputs} if (folder / f"{INPUTS}.npy").is_file() else {})


def _inputs(
    project: Project, start: int, count: int, reading: Reading, config: ScoreConfig, reporter: Reporter
) -> np.ndarray:
    """What the network reads (m, d) of `count` pool rows from `start` on."""

    @cache
    def encoder() -> SentenceFeatures:
        from engine.maps.sentence import load_encoder
        from engine.runs.features import sentence_device

        loaded = load_encoder(device=sentence_device(config.device))
        if loaded.sha256 != reading.encoder:
            raise EngineError(
                f"The sentence model has changed since the run was made (its weights have the hash "
                f"{loaded.sha256[:12]}, then {reading.encoder[:12]}). Score again. The run was left as it is."
            )
        return SentenceFeatures(loaded)

    reporter.phase("reading the new rows", count)
    found = []
    for pairs in _texts(project, start, count):
        reporter.check()
        found.append(reading(pairs, encoder))
        reporter.advance(len(pairs))
    return np.concatenate(found)


def _texts(project: Project, start: int, count: int) -> Iterator[list[tuple[str, str]]]:
    """(prompt, response) of `count` rows from `start` on; rows added meanwhile are left out."""
    left = count
    for chunk in project.iterate(start=start, chunk=CHUNK):
        part = list(islice(chunk, left))
        left -= len(part)
        if part:
            yield [(prompt_text(row.messages), response_text(row.messages)) for row in part]
        if not left:
            return


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
    run: RunRecord, summary: dict[str, Any], problems: dict[str, str], rows: int, status: np.ndarray
) -> dict[str, Any]:
    """The run's summary with the new rows counted, and a sentence on what is not known of them."""
    before = summary.get("extended") or {"rows": 0, "note": None}
    later = before["rows"] + rows - run.rows
    note = (
        f"{later:,} rows were added to the pool after the run and estimated by its network; the audit does not cover "
        "them."
    )
    counts = dict(summary["counts"])
    counts["propagated"] += int((status == PROPAGATED).sum())
    counts["unscorable"] += int((status == 0).sum())
    return {
        **summary,
        "counts": counts,
        "extended": {"rows": later, "note": note, "created": now()},
        "notes": [*(said for said in summary["notes"] if said != before["note"]), note],
        "problems": dict(list(problems.items())[:KEPT_PROBLEMS]),
    }


def _link_or_copy(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # a file system without links
        shutil.copy2(source, target)
