"""The manifest: everything needed to know what an export is and to make it again.

Inputs by content hash, the run with its configuration and model, the selection with its history, the decisions in
force, the rows by number, id and content, the fields added, the plan of the files, the code, and the commands.
`export` completes it with the files' own sizes and hashes. Lists are written on one line each, so that a manifest of
100,000 rows stays readable at its head and small. Notation as in `content`.
"""

import hashlib
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

import engine
from engine.errors import EngineError
from engine.export.commands import commands
from engine.export.composition import composed
from engine.export.extras import WEIGHT, Extra
from engine.export.known import known
from engine.export.plan import Plan
from engine.store import chosen, decision_history, decisions
from engine.store.artifacts import MANIFEST, finite, read_json, read_manifest
from engine.store.project import Project
from engine.store.records import RunRecord, now
from engine.store.selections import Selection

FORMAT_VERSION = 2
_MOST_ROWS = 2**31
_OUTPUT_LISTS = ("columns", "unused", "files", "validation_rows", "notes")
_ENTRY = {"file_id", "role", "set_name", "name", "path", "sha256", "bytes", "mapping", "added"}
_PACKAGES = ("torch", "transformers", "numpy", "scipy", "duckdb", "pyarrow", "datasets")


def build_manifest(
    project: Project,
    selection: Selection,
    run: RunRecord | None = None,
    *,
    plan: Plan | None = None,
    extras: Sequence[Extra] = (),
    command: str = "",
) -> dict[str, Any]:
    """Return the manifest of exporting `selection`, without what only the files' writing tells.

    `run` defaults to the run the selection names. `extras` are the fields added. `command` is the command line that was
    given, if any.
    """
    plan = plan or Plan()
    runs = project.runs()
    run = run or next((r for r in runs if r.name == selection.run), None)
    files, scored = project.files(), _run(project, run)
    others = _others(runs, run, selection)
    with project.session() as con:  # a session each: an open catalogue keeps in memory all that was read in it
        ids, hashes = chosen.identities(con, selection.rows)
    with project.session() as con:
        told = _decisions(con, selection)
    with project.session() as con:
        makeup = composed(con, selection.rows)
    return {
        "format_version": FORMAT_VERSION,
        "made_by": f"Touchstone {engine.__version__}",
        "created": now(),
        "project": project.name,
        "approved": selection.state == "approved",
        "selection": _selection(selection),
        "run": scored,
        "other_runs": [_run(project, r) for r in others],
        "model": _model(run, scored),
        "seeds": {
            "run": (run.config.get("seed") if run else None),
            "selection": selection.spec.get("seed"),
            "split": plan.seed if plan.split else None,
        },
        "pool": {"rows": sum(f.rows for f in files if f.role == "pool"), "hash": project.pool_hash(),
                 "counts": asdict(project.counts())},
        "inputs": [asdict(f) for f in files],
        "artifacts": _artifacts(project, selection.spec),
        "decisions": told,
        "known": known(project, selection),
        "code": code_identity(),
        "command": command or None,
        "reproduce": commands(project, selection, [*([run] if run else []), *others], files, plan=plan),
        "plan": plan.to_dict(),
        "composition": makeup,
        "rows": {"row": selection.rows.tolist(), "id": ids, "hash": hashes},
        "weights": plain_weights(selection),
        "extras": [extra.told() for extra in extras if extra.values is not None and extra.name != WEIGHT],
    }  # fmt: skip


def plain_weights(selection: Selection) -> list[float] | None:
    """The weights in row order, each with the fewest digits that read back as the same float32; None without any."""
    return None if selection.weights is None else [float(str(w)) for w in selection.weights]


def write_manifest(path: Path, manifest: Mapping[str, Any]) -> None:
    """Write the manifest as JSON, lists of plain values on one line; numbers that are not finite become null."""
    with path.open("w", encoding="utf-8") as stream:
        for piece in _pieces(dict(manifest), ""):
            stream.write(piece)
        stream.write("\n")


def read_export_manifest(path: Path) -> dict[str, Any]:
    """Read the manifest of an export of this or an earlier format.

    Raises `EngineError` if it is missing, broken, something else, or of a newer format.
    """
    told = read_json(path)
    version = told.get("format_version") if isinstance(told, dict) else None
    if not isinstance(told, dict) or not isinstance(version, int) or "output" not in told:
        raise EngineError(f"{path} is no manifest of an export. Nothing was written.")
    if version > FORMAT_VERSION:
        raise EngineError(
            f"{path} has format {version}; this Touchstone ({engine.__version__}) reads up to {FORMAT_VERSION}. "
            f"It was made by {told.get('made_by', 'a newer one')}: use that version. Nothing was written."
        )
    problem = _damage(told)
    if problem:
        raise EngineError(f"{path} is damaged: {problem}. Nothing was written.")
    return told


def _damage(told: Mapping[str, Any]) -> str:
    """What is missing or does not fit in a manifest, "" where nothing is."""
    kinds = {"inputs": list, "rows": dict, "output": dict, "selection": dict, "decisions": dict, "pool": dict}
    wrong = [name for name, kind in kinds.items() if not isinstance(told.get(name), kind)]
    wrong += [name for name in ("row", "id") if not wrong and not isinstance(told["rows"].get(name), list)]
    if wrong:
        return f"it has no {', '.join(wrong)}"
    numbers, count = told["rows"]["row"], len(told["rows"]["row"])
    if not all(type(row) is int and 0 <= row < _MOST_ROWS for row in numbers) or numbers != sorted(set(numbers)):
        return "its rows are not ascending numbers"
    if not all(isinstance(e, dict) and e.keys() >= _ENTRY and isinstance(e["path"], str) for e in told["inputs"]):
        return "an input is not told whole"
    extras = told.get("extras", ())
    if not all(isinstance(e, dict) and isinstance(e.get("values"), list) for e in extras):
        return "a field has no values"
    output = told["output"]
    if (
        not all(isinstance(output.get(name), str) for name in ("name", "format", "sha256"))
        or not all(isinstance(output.get(name, []), list) for name in _OUTPUT_LISTS)
        or output.get("rows") != count
    ):
        return "its output is not told whole"
    lists = {f"rows.{name}": values for name, values in told["rows"].items()} | {"weights": told.get("weights")}
    lists |= {f"field {e.get('name')}": e["values"] for e in extras}
    short = [n for n, v in lists.items() if v is not None and not (isinstance(v, list) and len(v) == count)]
    return f"{', '.join(short)} has not one value for each of the {count:,} rows" if short else ""


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


def _selection(selection: Selection) -> dict[str, Any]:
    arrays = ("rows", "weights", "order", "gains", "reasons")
    names = ("name", "version", "state", "spec", "run", "created", "by", "approved_by", "approved_at", "note")
    values = {name: getattr(selection, name) for name in (*names, "decision_batch") if name not in arrays}
    return values | {
        "rows": len(selection.rows),
        "weighted": selection.weights is not None,
        "events": [asdict(event) for event in selection.events],
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


def _artifacts(project: Project, spec: Any) -> dict[str, Any]:
    """The manifests of what the selection may have gone by: every artifact its spec names, latest map and signals."""
    folders = [project.artifacts / text for text in dict.fromkeys(_texts(spec)) if text and "/" not in text]
    plane, signals = project.latest_map(), project.latest_signals()
    folders += [project.artifacts / plane.artifact] if plane is not None else []
    folders += [signals] if signals is not None else []
    return {folder.name: read_manifest(folder) for folder in folders if (folder / MANIFEST).is_file()}


def _others(runs: Sequence[RunRecord], run: RunRecord | None, selection: Selection) -> list[RunRecord]:
    """Further runs that the spec names, as the columns of filters and quotas do, and marks in what they went by; a run
    made later only happens to bear such a name.
    """
    named = {part for text in _texts(selection.spec) for part in (text, *text.split("/"))}
    there = [r for r in runs if r.name in named and r.created <= selection.created]
    return [r for r in there if run is None or r.name != run.name]


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    for inner in value.values() if isinstance(value, Mapping) else value if isinstance(value, list | tuple) else ():
        yield from _texts(inner)


def _decisions(con: Any, selection: Selection) -> dict[str, Any]:
    """The decisions in force by id, where they moved on since the selection was saved, and those it knew by row."""
    codes = decisions.current(con)
    decided = np.flatnonzero(codes != decisions.NONE)
    ids = np.asarray(chosen.identities(con, decided)[0], object)
    of = codes[decided]
    inside = np.isin(decided, selection.rows)
    known = decision_history.as_of(con, selection.decision_batch)
    return {
        "known_to_selection": selection.decision_batch,
        "known_rows": {
            name: np.flatnonzero(known == code).tolist() for name, code in decisions.DECISIONS.items() if code
        },
        "approved": ids[of == decisions.APPROVE].tolist(),
        "rejected": ids[of == decisions.REJECT].tolist(),
        "skipped": ids[of == decisions.SKIP].tolist(),
        "selected_but_rejected_since": ids[(of == decisions.REJECT) & inside].tolist(),
        "approved_but_not_selected": ids[(of == decisions.APPROVE) & ~inside].tolist(),
    }


def _pieces(value: Any, indent: str) -> Iterator[str]:
    """JSON text: one line per entry of an object, and per item of a list that holds objects or lists."""
    deeper = indent + " "
    if isinstance(value, dict) and value:
        for at, (name, inner) in enumerate(value.items()):
            yield f"{'{' if at == 0 else ','}\n{deeper}{_json(name)}: "
            yield from _pieces(inner, deeper)
        yield f"\n{indent}}}"
    elif isinstance(value, list) and value and isinstance(value[0], dict):
        for at, inner in enumerate(value):
            yield f"{'[' if at == 0 else ','}\n{deeper}"
            yield from _pieces(inner, deeper)
        yield f"\n{indent}]"
    else:
        yield _json(value)


def _json(value: Any) -> str:
    """One value as JSON; what JSON has not (numbers that are not finite, arrays) is looked for only where it occurs."""
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError):
        return json.dumps(finite(value), ensure_ascii=False, allow_nan=False, default=str)


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
