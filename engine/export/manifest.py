"""The manifest: everything needed to know what an export is and to make it again.

Inputs by content hash, the run with its configuration and model, the selection and who approved it, the decisions in
force, the rows by id, the code, and the commands. `export` completes it with the output's own size and hash.
Does not write it.
"""

import hashlib
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

import engine
from engine.selection.menu import SETTINGS
from engine.store import decisions
from engine.store.artifacts import MANIFEST, read_manifest
from engine.store.project import Project
from engine.store.records import FileRecord, RunRecord, now
from engine.store.selections import Selection

FORMAT_VERSION = 1
_PACKAGES = ("torch", "transformers", "numpy", "scipy", "duckdb", "pyarrow", "datasets")


def build_manifest(
    project: Project,
    selection: Selection,
    run: RunRecord | None = None,
    *,
    format: str = "original",
    command: Sequence[str] = (),
) -> dict[str, Any]:
    """Return the manifest of exporting `selection`, without the output's own hash.

    `run` defaults to the run the selection names. `command` is the command line that was given, if any.
    """
    run = run or next((r for r in project.runs() if r.name == selection.run), None)
    ids, codes, files = project.column("id"), project.decisions(), project.files()
    scored = _run(project, run)
    return {
        "format_version": FORMAT_VERSION,
        "made_by": f"Touchstone {engine.__version__}",
        "created": now(),
        "project": project.name,
        "approved": selection.state == "approved",
        "selection": _selection(selection),
        "run": scored,
        "model": _model(run, scored),
        "seeds": {"run": (run.config.get("seed") if run else None), "selection": selection.spec.get("seed")},
        "pool": {"rows": len(ids), "hash": project.pool_hash(), "counts": asdict(project.counts())},
        "inputs": [asdict(f) for f in files],
        "decisions": _decisions(selection, ids, codes),
        "code": code_identity(),
        "command": shlex.join(command) if command else None,
        "reproduce": commands(project, selection, run, files, format=format),
        "rows": {"id": ids[selection.rows].tolist(), "row": selection.rows.tolist()},
        "weights": plain_weights(selection),
    }


def plain_weights(selection: Selection) -> list[float] | None:
    """The weights in row order, each with the fewest digits that read back as the same float32; None without any."""
    return None if selection.weights is None else [float(str(w)) for w in selection.weights]


@cache
def code_identity() -> dict[str, Any]:
    """What code is running: engine version, SHA-256 over its Python sources, Python and package versions."""
    root = Path(engine.__file__).parent
    digest = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        digest.update(f"{path.relative_to(root).as_posix()} {hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return {
        "version": engine.__version__,
        "sha256": digest.hexdigest(),
        "python": sys.version.split()[0],
        "packages": {name: _version(name) for name in _PACKAGES},
    }


def commands(
    project: Project, selection: Selection, run: RunRecord | None, files: Sequence[FileRecord], *, format: str
) -> list[str]:
    """The command lines that make this export again in a new project, decisions of people aside."""
    folder = str(project.path)
    lines = [_add(folder, f) for f in files]
    if run is not None:
        lines.append(_score(folder, run))
    lines += _map(project, selection.spec.get("map"))
    lines.append(_select(folder, selection))
    if selection.state == "approved":
        lines.append(_line("approve", folder, selection.name, ("--by", selection.approved_by)))
    return [*lines, _line("export", folder, selection.name, "OUT", ("--format", format))]


def _add(folder: str, file: FileRecord) -> str:
    schema = ("--schema", file.mapping.get("schema"))
    if file.role == "target":
        return _line("add-target", folder, file.set_name, file.path, schema)
    return _line(f"add-{file.role}", folder, file.path, schema)


def _score(folder: str, run: RunRecord) -> str:
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


def _map(project: Project, artifact: str | None) -> list[str]:
    """The command that makes the map a selection went by, if it went by one that is still there."""
    if not artifact or not (project.artifacts / artifact / MANIFEST).is_file():
        return []
    config = read_manifest(project.artifacts / artifact).get("config", {})
    named = {"features", "model", "seed"}
    options = [(f"--{name}", config.get(name)) for name in ("features", "model", "seed")]
    further = [("--set", f"{k}={_plain(v)}") for k, v in sorted(config.items()) if k not in named and _said(v)]
    return [_line("map", str(project.path), *options, *further)]


def _select(folder: str, selection: Selection) -> str:
    """The command that chooses again; settings are told where they are kept, which is where they matter."""
    names = ("run", "size", "strategy", "seed", *(name for name in SETTINGS if name != "seed"))
    values = ((name, selection.spec.get(name)) for name in names)
    options = [(f"--{name}", _plain(value)) for name, value in values if _said(value)]
    return _line("select", folder, *options, ("--name", selection.name))


def _said(value: Any) -> bool:
    """Whether a setting has a value at all: None, no name and no list are what a command without it means."""
    return value is not None and value != "" and value != [] and value != ()


def _plain(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ",".join(str(part) for part in value)
    return str(value).lower() if isinstance(value, bool) else str(value)


def _line(verb: str, *parts: Any) -> str:
    words = ["python", "-m", "engine", verb]
    for part in parts:
        if isinstance(part, tuple):
            words += [] if part[1] is None else [part[0], str(part[1])]
        else:
            words.append(str(part))
    return shlex.join(words)


def _selection(selection: Selection) -> dict[str, Any]:
    arrays = ("rows", "weights", "order", "gains", "reasons")
    values = {k: v for k, v in vars(selection).items() if k not in arrays}
    events = [asdict(event) for event in selection.events]
    return values | {
        "rows": len(selection.rows),
        "weighted": selection.weights is not None,
        "events": events,
        "remark": selection.remark,
    }


def _run(project: Project, run: RunRecord | None) -> dict[str, Any] | None:
    if run is None:
        return None
    folder = project.artifacts / run.artifact
    complete = bool(run.artifact) and (folder / MANIFEST).is_file()
    return asdict(run) | {"artifact_manifest": read_manifest(folder) if complete else None}


def _model(run: RunRecord | None, scored: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Name and file hash of the scoring model, as the run's artifact (else its summary) tells."""
    if run is None or scored is None or not run.model:
        return None
    for place in (scored["artifact_manifest"] or {}, run.summary):
        told = place.get("model")
        if isinstance(told, dict) and told.get("sha256"):
            return {"name": told.get("name", run.model), "kind": told.get("kind"), "sha256": told["sha256"]}
    return {"name": run.model, "kind": None, "sha256": None}


def _decisions(selection: Selection, ids: np.ndarray, codes: np.ndarray) -> dict[str, Any]:
    """The decisions in force, and where they have moved on since the selection was saved."""
    chosen = np.zeros(len(ids), bool)
    chosen[selection.rows] = True
    approved, rejected = codes == decisions.APPROVE, codes == decisions.REJECT
    return {
        "known_to_selection": selection.decision_batch,
        "approved": ids[approved].tolist(),
        "rejected": ids[rejected].tolist(),
        "skipped": ids[codes == decisions.SKIP].tolist(),
        "selected_but_rejected_since": ids[rejected & chosen].tolist(),
        "approved_but_not_selected": ids[approved & ~chosen].tolist(),
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
