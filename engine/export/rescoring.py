"""The second half of `reproduce --rescore`: scores, map, signals, decisions and selection made anew, and compared.

Works in a temporary project of its own. What the selection went by is what the manifest tells: its run, the runs its
filters name, the map and the signals where filters, quotas, guards or the strategy need them; the decisions it knew.
Each run is made when the pool has grown to the files that it covered at first, and extended when it has grown to those
it was extended to, as far as the selection knew. Compares the rows chosen, and the scores where the export carries
them. Does not compare maps point by point: what they are for is the selection.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from engine.curation.facts import AGGREGATE, Facts
from engine.errors import Cancelled, EngineError, ProjectLocked
from engine.export.extras import covered, from_told
from engine.export.inputs import add_input
from engine.influence.fidelity import spearman
from engine.models.sources import resolve
from engine.progress import Reporter
from engine.runs import jobs
from engine.runs.choice import Choice
from engine.runs.choosing import select
from engine.runs.config import ScoreConfig
from engine.runs.extending import extend
from engine.runs.map_config import MapConfig
from engine.runs.reach import reach_of
from engine.store.project import Project

POLL_S = 0.2
_ENDS = {Cancelled.exit_status: Cancelled, ProjectLocked.exit_status: ProjectLocked}
_BY = "reproduce"
_TARGET = "target:"
_WITHOUT = "Without --rescore the files can be made again. Nothing was written."


@dataclass(frozen=True)
class Rescored:
    """What came of it: one line per difference, and notes worth knowing."""

    differences: tuple[str, ...]
    notes: tuple[str, ...]


def rescored(folder: Path, found: Mapping[int, Path | str], told: Mapping[str, Any], reporter: Reporter) -> Rescored:
    """Make everything the selection went by again in a new project at `folder`, select, and compare with the record.

    `found`: where the inputs lie, checked. Raises `EngineError` where the manifest holds no way to choose (a selection
    by hand), or a step fails.
    """
    spec = dict(told["selection"]["spec"])
    if told.get("run") is None or "size" not in spec:
        raise EngineError(
            "This selection names no scoring run or no size, so it cannot be chosen anew; without --rescore its files "
            "can be made again. Nothing was written."
        )
    _check_models(told)
    project = _scored(folder, found, told, reporter)
    _map_and_signals(project, told, spec, reporter)
    _decide(project, told["decisions"].get("known_rows", {}))
    choice = Choice.from_spec(_renamed(spec, told, project))
    again, chosen = select(project, choice, run=told["run"]["name"], name="again", by=_BY, reporter=reporter)
    differences = [*_rows(told, again.rows), *_weights(told, again.rows, again.weights), *_scores(project, told)]
    return Rescored(tuple(differences), tuple(chosen.notes))


def _scored(folder: Path, found: Mapping[int, Path | str], told: Mapping[str, Any], reporter: Reporter) -> Project:
    """A project of the inputs that the selection knew, each run made when the pool had grown to what the run covers."""
    project = Project.create(folder)
    saved = str(told["selection"]["created"])  # what was added later changed shares, maps and signals since
    known = [entry for entry in told["inputs"] if entry["added"] <= saved]
    waiting = [step for run in _runs(told) for step in _steps(run, saved)]
    for entry in sorted(known, key=lambda e: (e["role"] == "pool", e["file_id"])):
        add_input(project, found[entry["file_id"]], entry, reporter)
        if entry["role"] != "pool":
            continue
        size = project.extent("pool", "")[0]
        for step in [step for step in waiting if step.rows == size]:
            _take(project, step, reporter)
            waiting.remove(step)
    if waiting:
        raise EngineError(
            f"{', '.join(dict.fromkeys(step.run['name'] for step in waiting))} covered {waiting[0].rows:,} samples, "
            "and no number of whole files makes up such a pool, so it cannot be made again: its pool was another. "
            f"{_WITHOUT}"
        )
    return project


@dataclass(frozen=True)
class _Step:
    """A run is made, or extended, when the pool has so many rows."""

    rows: int
    run: Mapping[str, Any]
    extends: bool


def _runs(told: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [told["run"], *told.get("other_runs", ())]


def _steps(run: Mapping[str, Any], saved: str) -> list[_Step]:
    """How the run came to cover what it did when the selection was saved; later ones changed no row's score."""
    reach = reach_of(run["rows"], run.get("summary") or {}).until(saved)
    return [_Step(reach.made, run, False), *(_Step(rows, run, True) for rows, _ in reach.steps)]


def _take(project: Project, step: _Step, reporter: Reporter) -> None:
    if not step.extends:
        _score(project, step.run, reporter)
        return
    name = step.run["name"]
    reporter.phase(f"extending {name}", 0)
    try:
        extend(project, name, reporter=reporter)
    except EngineError as error:
        raise EngineError(f"extending {name} failed: {error} {_WITHOUT}") from error


def _check_models(told: Mapping[str, Any]) -> None:
    """Raise `EngineError` where a run's model is gone or another, before anything is scored."""
    for run in _runs(told):
        then = ((run.get("summary") or {}).get("model") or {}).get("sha256")
        if not then:
            continue
        try:
            source = resolve(run["model"])
        except EngineError as error:
            raise EngineError(f"The model of {run['name']} is not there: {error} {_WITHOUT}") from error
        if source.sha256 != then:
            raise EngineError(
                f"The model {source.name} of {run['name']} is another now: its files have the hash "
                f"{source.sha256[:12]}…, recorded is {then[:12]}…. Put the former files back. {_WITHOUT}"
            )


def _score(project: Project, run: Mapping[str, Any], reporter: Reporter) -> None:
    config = {**run["config"]}
    if not config.get("targets") and run["targets"]:
        config["targets"] = list(run["targets"])
    _work(project, "score", ScoreConfig.from_dict(config), reporter, run=run["name"], doing=f"scoring {run['name']}")


def _map_and_signals(project: Project, told: Mapping[str, Any], spec: Mapping[str, Any], reporter: Reporter) -> None:
    """The map and the signals, where the strategy or anything that leaves rows out may need them."""
    if not (spec.get("map") or spec.get("left_out") or spec.get("filters") or spec.get("quotas")):
        return
    made = told.get("artifacts", {})
    maps = [value for name, value in made.items() if name.startswith("map-")]  # that of the selection before the latest
    if maps:
        _work(project, "map", MapConfig.from_dict(maps[0].get("config", {})), reporter, doing="making the map")
    checks = [value for name, value in made.items() if name.startswith("signals-")]
    if checks:
        _work(project, "signals", {"regions": checks[0].get("regions", [])}, reporter, doing="checking the pool")


def _work(
    project: Project, kind: jobs.Kind, config: Any, reporter: Reporter, *, doing: str, run: str | None = None
) -> None:
    """Do a job in its own process and wait for it; stop it where the caller is cancelled. Raises what it ended with."""
    reporter.phase(doing, 0)
    number = jobs.submit(project, kind, config, run=run)
    try:
        while (found := jobs.job(project, number)).active:
            reporter.check()
            time.sleep(POLL_S)
    except BaseException:
        if jobs.job(project, number).active:
            jobs.cancel(project, number)
            while jobs.job(project, number).active:
                time.sleep(POLL_S)
        raise
    if found.state != "done":
        progress = found.progress
        raise _ENDS.get(progress.exit_status, EngineError)(f"{doing} failed: {progress.message} Nothing was written.")


def _decide(project: Project, known: Mapping[str, list[int]]) -> None:
    """The decisions that the selection knew."""
    for decision in ("approve", "reject", "skip"):
        if known.get(decision):
            project.decide(np.asarray(known[decision]), decision, by=_BY, note="as recorded in the manifest")


def _renamed(spec: dict[str, Any], told: Mapping[str, Any], project: Project) -> dict[str, Any]:
    """The spec with the recorded map's name replaced by that of the one made anew, should they differ."""
    plane = project.latest_map()
    old = [name for name in told.get("artifacts", {}) if name.startswith("map-")]
    if plane is None or not old:
        return spec

    def replaced(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: replaced(inner) for name, inner in value.items()}
        if isinstance(value, list):
            return [replaced(inner) for inner in value]
        return plane.artifact if value in old else value

    return {name: replaced(value) for name, value in spec.items()}


def _rows(told: Mapping[str, Any], rows: np.ndarray) -> list[str]:
    recorded = np.asarray(told["rows"]["row"], np.int64)
    more, fewer = np.setdiff1d(rows, recorded), np.setdiff1d(recorded, rows)
    if not len(more) and not len(fewer):
        return []
    return [
        f"selection: {len(fewer):,} of the {len(recorded):,} recorded samples were not chosen again, and {len(more):,} "
        f"others were (samples {', '.join(map(str, [*fewer[:5], *more[:5]]))} …)"
    ]


def _weights(told: Mapping[str, Any], rows: np.ndarray, weights: np.ndarray | None) -> list[str]:
    recorded = told.get("weights")
    if recorded is None or weights is None or list(rows) != told["rows"]["row"]:
        return []
    apart = float(np.abs(np.asarray(recorded, np.float32) - weights).max())
    return [f"weights: they differ by up to {apart:.3g}"] if apart > 0 else []


def _scores(project: Project, told: Mapping[str, Any]) -> list[str]:
    """Scores written with the rows, overall and by target, against those made anew."""
    held = [each for each in told.get("extras", ()) if each["name"] == "score" or each["name"].startswith(_TARGET)]
    if not held:
        return []
    facts, rows = Facts(project), np.asarray(told["rows"]["row"], np.int64)
    scores = facts.scores(facts.run(told["run"]["name"]).artifact)
    lines: list[str] = []
    for each in held:
        name = each["name"]
        now = covered(scores.column(AGGREGATE if name == "score" else name.removeprefix(_TARGET)), rows)
        lines += _apart("scores" if name == "score" else name, now, np.asarray(from_told(each).values, np.float32))
    return lines


def _apart(name: str, now: np.ndarray, then: np.ndarray) -> list[str]:
    """How far two columns differ, beside their spread and order: rounding, or another answer?"""
    both = np.isfinite(now) & np.isfinite(then)
    apart, spread = float(np.abs(now - then)[both].max(initial=0.0)), float(then[both].std()) if both.any() else 0.0
    gaps = int((np.isfinite(now) != np.isfinite(then)).sum())
    lines = [f"{name}: {gaps:,} samples have one only now or only then"] if gaps else []
    if apart > 0:
        order = spearman(then[both], now[both]).value
        said = "" if order is None else f"; Spearman of then and now {order:.4f}"
        lines.insert(
            0, f"{name}: they differ by up to {apart:.3g}, where their standard deviation is {spread:.3g}{said}"
        )
    return lines
