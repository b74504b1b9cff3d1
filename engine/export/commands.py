"""The command lines that make an export again, written as a person would type them.

`reproduce MANIFEST` does all of this by itself; the lines are for reading, and for doing a step differently.
Decisions of people are not among them. Runs nothing.
"""

import json
import shlex
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from engine.data.signal_columns import AUTO
from engine.export.placing import MANIFEST_SUFFIX
from engine.export.plan import Plan
from engine.runs.choice import Choice
from engine.runs.reach import reach_of
from engine.selection.menu import SETTINGS
from engine.store.artifacts import MANIFEST, read_manifest
from engine.store.project import Project
from engine.store.records import FileRecord, RunRecord
from engine.store.selections import Selection


def commands(
    project: Project, selection: Selection, runs: Sequence[RunRecord], files: Sequence[FileRecord], *, plan: Plan
) -> list[str]:
    """The command lines that make this export again in a new project, decisions of people aside.

    `runs` are the selection's own and those its filters name.
    """
    folder = str(project.path)
    lines = [*_grown(folder, runs, files)]
    went_by = selection.spec.get("went_by") or {}
    lines += _map(project, selection.spec.get("map") or went_by.get("map"))
    lines += _signals(project, went_by.get("signals"))
    lines.append(select_line(folder, selection))
    if selection.state == "approved":
        lines.append(_line("approve", folder, selection.name, ("--by", selection.approved_by)))
    return [*lines, _line("export", folder, selection.name, "OUT", *plan_options(plan))]


def reproduce_line(name: str) -> str:
    """The one command that makes the export called `name` again from its manifest, and compares."""
    return _line("reproduce", f"{name}{MANIFEST_SUFFIX}", ("--out", f"again-{name}"))


def plan_options(plan: Plan) -> list[tuple[str, Any]]:
    """The options of `export` that mean this plan."""
    default = Plan(form=plan.form, container=plan.container)
    other = plan.container not in ("jsonl", plan.format)
    return [
        ("--format", plan.format),
        ("--container", plan.container if other else None),
        ("--with", ",".join(plan.added) or "none" if plan.added != default.added else None),
        ("--fields", ",".join(plan.columns) or None),
        ("--validation", f"{100 * plan.validation:g}%" if plan.split else None),
        ("--by-group", plan.group if plan.split and plan.group != default.group else None),
        ("--seed", plan.seed or None),
        ("--shard-rows", plan.shard_rows or None),
        ("--shard-mb", f"{plan.shard_mb:g}" if plan.shard_mb else None),
    ]


def add_line(folder: str, file: FileRecord) -> str:
    """The command that adds one file in its role."""
    schema = ("--schema", file.mapping.get("schema"))
    if file.set_name:
        return _line(f"add-{file.role}", folder, file.set_name, file.path, schema)
    return _line(f"add-{file.role}", folder, file.path, schema)


def score_line(folder: str, run: RunRecord) -> str:
    """The command that scores as the run did."""
    named = {"method", "model", "targets", "landmarks", "seed"}
    options = [
        ("--method", run.method),
        ("--model", run.model or None),
        ("--targets", ",".join(run.targets) or None),
        ("--landmarks", run.config.get("landmarks")),
        ("--seed", run.config.get("seed")),
        ("--run", run.name),
    ]
    further = [("--set", f"{k}={_plain(v)}") for k, v in sorted(run.config.items()) if k not in named and _said(v)]
    return _line("score", folder, *options, *further)


def _grown(folder: str, runs: Sequence[RunRecord], files: Sequence[FileRecord]) -> Iterator[str]:
    """The files in their order, each run scored and extended once the pool has grown to what it covered.

    Sets beside the pool come first, since runs need them; what fits no number of whole files comes last.
    """
    due: list[tuple[int, str]] = []
    for run in runs:
        reach = reach_of(run.rows, run.summary)
        due.append((reach.made, score_line(folder, run)))
        due += [(rows, _line("extend", folder, ("--run", run.name))) for rows, _ in reach.steps]
    size = 0
    for file in sorted(files, key=lambda file: file.role == "pool"):
        yield add_line(folder, file)
        if file.role != "pool":
            continue
        size += file.rows
        yield from (line for rows, line in due if rows == size)
        due = [each for each in due if each[0] != size]
    yield from (line for _, line in due)


def _map(project: Project, artifact: str | None) -> list[str]:
    """The command that makes the map a selection went by, if it went by one that is still there."""
    if not artifact or not (project.artifacts / artifact / MANIFEST).is_file():
        return []
    config = read_manifest(project.artifacts / artifact).get("config", {})
    named = {"features", "model", "seed"}
    options = [(f"--{name}", config.get(name)) for name in ("features", "model", "seed")]
    further = [("--set", f"{k}={_plain(v)}") for k, v in sorted(config.items()) if k not in named and _said(v)]
    return [_line("map", str(project.path), *options, *further)]


def _signals(project: Project, artifact: str | None) -> list[str]:
    """The command that checks the pool as it was for the guards and filters, if there were such over signals."""
    if not artifact or not (project.artifacts / artifact / MANIFEST).is_file():
        return []
    regions = ",".join(read_manifest(project.artifacts / artifact).get("regions") or ())
    return [_line("signals", str(project.path), ("--set", f"regions={regions}" if regions not in ("", AUTO) else None))]


def select_line(folder: str, selection: Selection) -> str:
    """The command that chooses again; settings are told where they are kept, which is where they matter."""
    names = ("run", "size", "strategy", "seed", *(name for name in SETTINGS if name != "seed"))
    values = ((name, selection.spec.get(name)) for name in names)
    options = [(f"--{name}", _plain(value)) for name, value in values if _said(value)]
    further = Choice.from_spec(selection.spec).options() if "size" in selection.spec else []
    return _line("select", folder, *options, *further, ("--name", selection.name))


def _said(value: Any) -> bool:
    """Whether a setting has a value at all: None, no name and no list are what a command without it means."""
    return value is not None and value != "" and value != [] and value != () and value != {}


def _plain(value: Any) -> str:
    if isinstance(value, list | tuple) and not any(isinstance(part, Mapping) for part in value):
        return ",".join(str(part) for part in value)
    if isinstance(value, list | tuple | Mapping):
        return json.dumps(value, ensure_ascii=False)
    return str(value).lower() if isinstance(value, bool) else str(value)


def _line(verb: str, *parts: Any) -> str:
    words = ["python", "-m", "engine", verb]
    for part in parts:
        if isinstance(part, tuple):
            words += [] if part[1] is None else [part[0], str(part[1])]
        else:
            words.append(str(part))
    return shlex.join(words)
