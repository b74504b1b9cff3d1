"""The project that a selection was made in, made again from its inputs and what the manifest tells of its past.

Runs, map and signals are *steps*: each is taken when the pool has grown to the rows it covered at first and the sets
beside the pool are those that were there, in the order in which they were made; so the latest run, map and check are
those that were the latest then, whatever was made since. What filters went by is told with the selection (`went_by`,
see `curation.dependence`); of one that was saved before this was told, map and signals are made last, of all inputs.
Raises `EngineError` where something it went by is not told, or cannot be made again. Chooses and compares nothing.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from engine.errors import Cancelled, EngineError, ProjectLocked
from engine.export.inputs import add_input
from engine.export.known import set_again
from engine.models.sources import resolve
from engine.progress import Reporter
from engine.runs import jobs
from engine.runs.closeness import measure
from engine.runs.config import ScoreConfig
from engine.runs.extending import extend
from engine.runs.map_config import MapConfig
from engine.runs.reach import reach_of
from engine.runs.sides import Side
from engine.store.project import Project

POLL_S = 0.2
BY = "reproduce"
WITHOUT = "Without --rescore the files can be made again. Nothing was written."
_ENDS = {Cancelled.exit_status: Cancelled, ProjectLocked.exit_status: ProjectLocked}
_Told = Mapping[str, Any]
_Sets = frozenset[tuple[str, str]]


@dataclass(frozen=True)
class _Step:
    """Something is made by `take` when the pool has `rows` rows; of the sets that were there by `when` it knew those in
    `sets`, or all where that is None.
    """

    rows: int
    when: str
    title: str
    take: Callable[[Project, Reporter], None] = field(compare=False)
    sets: _Sets | None = None

    def knew(self, entry: _Told) -> bool:
        """Whether the input, of a set beside the pool, was there for it."""
        named = self.sets is None or (entry["role"], entry["set_name"]) in self.sets
        return named and bool(entry["added"] <= self.when)


def replayed(folder: Path, found: Mapping[int, Path | str], told: _Told, reporter: Reporter) -> Project:
    """A new project at `folder` in which the selection can be chosen again; decisions are in force as it knew them.

    `found`: where the inputs lie, checked.
    """
    _check_told(told)
    _check_models(told)
    project = Project.create(folder)
    saved = str(told["selection"]["created"])  # what was added later changed shares, maps and signals since
    known = [entry for entry in told["inputs"] if entry["added"] <= saved]
    _grow(project, found, known, sorted(_steps(told, saved), key=lambda s: (s.rows, s.when)), reporter)
    _near(project, told, reporter)
    _as_before(project, told, reporter)
    set_again(project, told.get("known") or {}, by=BY)
    _decide(project, told["decisions"].get("known_rows", {}))
    return project


def went_by(told: _Told) -> dict[str, Any] | None:
    """What the selection's filters went by, and its strategy's map; None where it was saved before this was told."""
    spec = told["selection"]["spec"]
    found = spec.get("went_by")
    if not isinstance(found, Mapping):
        return None
    return {**({"map": spec["map"]} if spec.get("map") else {}), **found}


def other_names(project: Project, told: _Told) -> list[str]:
    """Where map or signals came out otherwise than they were, in words: then what filters mean may differ as well."""
    meant, plane, signals = went_by(told) or {}, project.latest_map(), project.latest_signals()
    now = {"map": plane and plane.artifact, "signals": signals and signals.name}
    return [
        f"The {what} that filters and guards go by came out as {name}, recorded is {meant[what]}: its inputs or the "
        "code are other ones."
        for what, name in now.items()
        if meant.get(what) not in (None, name)
    ]


def runs_of(told: _Told) -> list[_Told]:
    """The selection's run, and those that its filters name or go by and that were there when it was saved."""
    saved = str(told["selection"]["created"])
    return [told["run"], *(run for run in told.get("other_runs", ()) if run["created"] <= saved)]


def _grow(
    project: Project, found: Mapping[int, Path | str], known: list[_Told], steps: list[_Step], reporter: Reporter
) -> None:
    """Add the pool's files in their order, and take every step when it is due; then the sets that are left."""
    beside = sorted((e for e in known if e["role"] != "pool"), key=lambda entry: entry["file_id"])

    def add_sets(wanted: Callable[[_Told], bool]) -> None:
        for entry in [entry for entry in beside if wanted(entry)]:
            add_input(project, found[entry["file_id"]], entry, reporter)
            beside.remove(entry)

    for entry in sorted((e for e in known if e["role"] == "pool"), key=lambda entry: entry["file_id"]):
        add_input(project, found[entry["file_id"]], entry, reporter)
        size = project.extent("pool", "")[0]
        for step in [step for step in steps if step.rows == size]:
            add_sets(step.knew)
            step.take(project, reporter)
            steps.remove(step)
    if steps:
        raise EngineError(
            f"{', '.join(dict.fromkeys(step.title for step in steps))} covered {steps[0].rows:,} samples, and no "
            f"number of whole files makes up such a pool, so it cannot be made again: its pool was another. {WITHOUT}"
        )
    add_sets(lambda _: True)


def _steps(told: _Told, saved: str) -> Iterator[_Step]:
    for run in runs_of(told):
        reach = reach_of(run["rows"], run.get("summary") or {}).until(saved)  # later ones changed no row's score
        yield _Step(reach.made, run["created"], run["name"], _scoring(run))
        for rows, when in reach.steps:
            yield _Step(rows, when, run["name"], _extending(run["name"]))
    meant, artifacts = went_by(told) or {}, told.get("artifacts") or {}
    if "map" in meant:
        plane = artifacts[meant["map"]]
        yield _Step(plane["view"]["rows"], plane["created"], "the map", _mapping(plane))
    if "signals" in meant:
        checks = artifacts[meant["signals"]]
        beside = checks.get("beside")
        sets = None if beside is None else frozenset((side["role"], side["name"]) for side in beside)
        yield _Step(checks["view"]["rows"], checks["created"], "the check of the pool", _checking(checks), sets)


def _scoring(run: _Told) -> Callable[[Project, Reporter], None]:
    config = {**run["config"]}
    if not config.get("targets") and run["targets"]:
        config["targets"] = list(run["targets"])
    name = run["name"]
    return lambda project, reporter: _work(
        project, "score", ScoreConfig.from_dict(config), reporter, run=name, doing=f"scoring {name}"
    )


def _extending(name: str) -> Callable[[Project, Reporter], None]:
    def take(project: Project, reporter: Reporter) -> None:
        reporter.phase(f"extending {name}", 0)
        try:
            extend(project, name, reporter=reporter)
        except EngineError as error:
            raise EngineError(f"extending {name} failed: {error} {WITHOUT}") from error

    return take


def _mapping(plane: _Told) -> Callable[[Project, Reporter], None]:
    """As the map was made; which features it used may have been chosen by the speed of that machine."""
    config = MapConfig.from_dict({**plane.get("config", {}), "features": plane.get("features") or "auto"})
    return lambda project, reporter: _work(project, "map", config, reporter, doing="making the map")


def _checking(checks: _Told) -> Callable[[Project, Reporter], None]:
    config = {"regions": checks.get("regions") or []}
    return lambda project, reporter: _work(project, "signals", config, reporter, doing="checking the pool")


def _near(project: Project, told: _Told, reporter: Reporter) -> None:
    """The nearness to sets beside the pool that filters and guards went by."""
    names, plane = (went_by(told) or {}).get("near", ()), project.latest_map()
    if plane is not None:
        sides = [Side(**told["artifacts"][name]["side"]) for name in names]
        measure(project, project.artifacts / plane.artifact, sides, reporter=reporter)


def _as_before(project: Project, told: _Told, reporter: Reporter) -> None:
    """Of a selection that does not tell what it went by: map and signals where they may matter, made last."""
    spec, made = told["selection"]["spec"], told.get("artifacts") or {}
    needed = any(spec.get(name) for name in ("map", "left_out", "filters", "quotas"))
    if went_by(told) is not None or not needed:
        return
    maps = [value for name, value in made.items() if name.startswith("map-")]  # that of the selection before the latest
    if maps:
        _mapping(maps[0])(project, reporter)
    checks = [value for name, value in made.items() if name.startswith("signals-")]
    if checks:
        _checking(checks[0])(project, reporter)


def _check_told(told: _Told) -> None:
    """Raise `EngineError` where something that the selection went by was gone when it was exported."""
    meant, artifacts, known = went_by(told) or {}, told.get("artifacts") or {}, told.get("known") or {}
    named = [meant[what] for what in ("map", "signals") if what in meant]
    lacking = [name for name in (*named, *meant.get("near", ())) if name not in artifacts]
    runs = {run["name"] for run in runs_of(told)}
    lacking += [f"run {name}" for name in meant.get("runs", ()) if name not in runs]
    held = {(each["name"], each["version"]) for each in known.get("selections") or ()}
    lacking += [f"selection {n} version {v}" for n, v in meant.get("selections", ()) if (n, v) not in held]
    if "tags" in meant and "tags" not in known:
        lacking.append("tags")
    if lacking:
        raise EngineError(
            f"The selection's filters or guards went by {', '.join(map(str, lacking))}, which the manifest does not "
            f"tell: gone from the project before the export. So it cannot be chosen anew. {WITHOUT}"
        )


def _check_models(told: _Told) -> None:
    """Raise `EngineError` where the model of a run or of the map is gone or another, before anything is scored."""
    plane = (told.get("artifacts") or {}).get((went_by(told) or {}).get("map"), {})
    used = [(run["name"], run["model"], (run.get("summary") or {}).get("model") or {}) for run in runs_of(told)]
    used.append(("the map", (plane.get("config") or {}).get("model", ""), plane.get("model") or {}))
    for name, model, then in used:
        if not then.get("sha256"):
            continue
        try:
            source = resolve(model)
        except EngineError as error:
            raise EngineError(f"The model of {name} is not there: {error} {WITHOUT}") from error
        if source.sha256 != then["sha256"]:
            raise EngineError(
                f"The model {source.name} of {name} is another now: its files have the hash {source.sha256[:12]}…, "
                f"recorded is {then['sha256'][:12]}…. Put the former files back. {WITHOUT}"
            )


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
            project.decide(known[decision], decision, by=BY, note="as recorded in the manifest")
