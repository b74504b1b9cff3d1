"""Making an export again from its manifest and the input files alone, and saying whether it is identical.

The inputs are found and checked by content hash, added to a fresh temporary project with the mappings they were read
with, and the recorded rows (checked by id and content) are written with the recorded plan and fields. The original
project is not needed. With `rescore`, scores, map, decisions and selection are made again too (`rescoring`).
Manifests of format 1 are read as well. Changes nothing but `out`.
"""

import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import engine
from engine.curation.facts import Facts
from engine.errors import EngineError
from engine.export import placing
from engine.export.composition import composed
from engine.export.content import Content
from engine.export.export import produce
from engine.export.extras import WEIGHT, Extra, fields_of, from_told
from engine.export.forms import splits_of
from engine.export.inputs import located, rebuilt
from engine.export.manifest import FORMAT_VERSION, code_identity, read_export_manifest
from engine.export.plan import Plan, named
from engine.progress import Reporter, Silent
from engine.store import chosen
from engine.store.project import Project

_PREFIX = "touchstone-reproduce-"
_MOST_NAMED = 5


@dataclass(frozen=True)
class Reproduction:
    """What came of it: `out` None where nothing was kept; `differences` one line each; `notes` worth knowing."""

    identical: bool
    sentence: str
    differences: tuple[str, ...]
    notes: tuple[str, ...]
    out: Path | None


def reproduce(
    manifest: str | Path,
    *,
    out: str | Path | None = None,
    inputs: str | Path | None = None,
    rescore: bool = False,
    force: bool = False,
    reporter: Reporter | None = None,
) -> Reproduction:
    """Write the export again, to `out` if given, and compare every file's hash with the manifest's.

    `inputs`: a folder where input files lie that are not where they were. Raises `EngineError` for a manifest that
    cannot be read, inputs that are missing or changed, rows that are no longer the same, scores that cannot be made
    again, and a place that may not be written; then nothing is written.
    """
    listener = reporter or Silent()
    told = read_export_manifest(Path(manifest))
    plan = plan_of(told)
    found = located(told["inputs"], Path(inputs) if inputs else None, listener, needed=None if rescore else {"pool"})
    room = Path(tempfile.mkdtemp(prefix=_PREFIX))
    try:
        target = _target(out, room, told, plan, list(found.values()), force=force)
        project = rebuilt(room / "project", found, told["inputs"], listener)
        whole = content_of(project, told, plan, listener)
        whole = whole if "unused" in told["output"] else whole.fitted()
        head = completed(project, told, plan)
        notes, further = other_code(told), list[str]()
        if rescore:  # before anything is written, since it may fail
            from engine.export.rescoring import rescored

            again = rescored(room / "anew", found, told, listener)
            notes, further = [*notes, *again.notes], list(again.differences)
        report = produce(target, whole, head, told["output"].get("notes", ()))
        differences = [*_compared(told["output"], report.files, report.sha256), *further]
    finally:
        shutil.rmtree(room, ignore_errors=True)
    return _judged(told, differences, notes, None if out is None else target, rescore)


def plan_of(told: Mapping[str, Any]) -> Plan:
    """The plan of a manifest; of format 1 what its output tells."""
    if "plan" in told:
        return Plan.from_dict(told["plan"])
    output = told["output"]
    columns = [name for name in output.get("columns", ()) if name != WEIGHT]
    return Plan(**named(output["format"]), columns=tuple(columns))


def completed(project: Project, told: Mapping[str, Any], plan: Plan) -> dict[str, Any]:
    """The manifest without its output, with what format 1 did not yet tell."""
    head = {name: value for name, value in told.items() if name != "output"}
    if told["format_version"] >= FORMAT_VERSION:
        return head
    rows = np.asarray(told["rows"]["row"], np.int64)
    with project.session() as con:
        makeup, hashes = composed(con, rows), chosen.identities(con, rows)[1]
    added: dict[str, Any] = {"format_version": FORMAT_VERSION, "plan": plan.to_dict(), "composition": makeup}
    return {**head, **added, "extras": [], "rows": {**told["rows"], "hash": hashes}}


def content_of(project: Project, told: Mapping[str, Any], plan: Plan, reporter: Reporter) -> Content:
    """What the manifest's export was made of. Raises `EngineError` where the rows are no longer the same."""
    rows = np.asarray(told["rows"]["row"], np.int64)
    _check_rows(project, told, rows)
    extras: list[Extra] = []
    if plan.form != "original":
        if told.get("weights") is not None and WEIGHT in told["output"]["columns"]:
            extras.append(Extra(WEIGHT, "float32", np.asarray(told["weights"], np.float32)))
        extras += [from_told(value) for value in told.get("extras", ())]
        extras += fields_of(Facts(project), rows, _present(project, plan, told))
    return Content(
        project=project,
        rows=rows,
        plan=plan,
        extras=extras,
        splits=splits_of(project.files()),
        held_back=np.isin(rows, told["output"].get("validation_rows", [])),
        reporter=reporter,
        unused=frozenset(told["output"].get("unused", ())),
        typed="features" in told["output"],
    )


def _present(project: Project, plan: Plan, told: Mapping[str, Any]) -> tuple[str, ...]:
    """The fields to add; of a manifest of format 1, its scores cannot be told from fields and are refused."""
    known = set(project.columns())
    lost = [name for name in plan.columns if name not in known and told["format_version"] == 1]
    if lost:
        raise EngineError(
            f"The manifest is of format 1 and does not hold the values of {', '.join(lost)}, so the files cannot be "
            "made again without the project. Nothing was written."
        )
    return plan.columns


def _check_rows(project: Project, told: Mapping[str, Any], rows: np.ndarray) -> None:
    size = project.extent("pool", "")[0]
    if len(rows) and rows[-1] >= size:
        raise EngineError(
            f"The inputs give {size:,} usable samples, but the manifest names sample {rows[-1]:,} of "
            f"{told['pool']['rows']:,}: this Touchstone reads the inputs differently. Nothing was written."
        )
    with project.session() as con:
        ids, hashes = chosen.identities(con, rows)
    recorded = told["rows"]
    wrong = [str(recorded["id"][at]) for at in range(len(rows)) if ids[at] != recorded["id"][at]]
    if "hash" in recorded:
        wrong += [recorded["id"][at] for at in range(len(rows)) if hashes[at] != recorded["hash"][at]]
    if wrong:
        named_ = ", ".join(dict.fromkeys(wrong[:_MOST_NAMED]))
        raise EngineError(
            f"{len(set(wrong)):,} of the {len(rows):,} samples are not the recorded ones ({named_}): this Touchstone "
            "reads the inputs differently. Use the version in the manifest; nothing was written."
        )


def _target(
    out: str | Path | None,
    room: Path,
    told: Mapping[str, Any],
    plan: Plan,
    sources: Sequence[Path | str],
    *,
    force: bool,
) -> Path:
    if out is None:
        return room / "again" if not (room / "again").exists() else room / "again-2"
    path = Path(out).expanduser().absolute()
    placing.free(path, [Path(source) for source in sources], folder=plan.folder, force=force)
    return path


def _compared(recorded: Mapping[str, Any], files: Sequence[Mapping[str, Any]], sha256: str) -> list[str]:
    """What differs, file by file."""
    if recorded["sha256"] == sha256:
        return []
    before = {entry["name"]: entry for entry in recorded.get("files", ())}
    after = {entry["name"]: entry for entry in files}
    lines = [f"{name or recorded['name']}: not written again" for name in before if name not in after]
    lines += [f"{name}: not among the recorded files" for name in after if before and name not in before]
    for name, entry in after.items():
        was = before.get(name)
        if was is not None and was["sha256"] != entry["sha256"]:
            lines.append(
                f"{name or recorded['name']}: {entry['bytes']:,} bytes, SHA-256 {entry['sha256']}; recorded "
                f"{was['bytes']:,} bytes, {was['sha256']}"
            )
    return lines or [f"{recorded['name']}: SHA-256 {sha256}; recorded {recorded['sha256']}"]


def other_code(told: Mapping[str, Any]) -> list[str]:
    """Where the code or a library is another than the one that made the export."""
    was, is_ = told.get("code") or {}, code_identity()
    notes = []
    if was.get("version") != is_["version"]:
        notes.append(f"Made by Touchstone {was.get('version')}; this is {engine.__version__}.")
    elif was.get("sha256") != is_["sha256"]:
        notes.append("Made by other code of the same version.")
    packages = was.get("packages") or {}
    other = [
        f"{n} {packages[n]} then, {v} now" for n, v in is_["packages"].items() if n in packages and packages[n] != v
    ]
    return notes + ([f"Other libraries: {', '.join(other)}."] if other else [])


def _judged(
    told: Mapping[str, Any], differences: Sequence[str], notes: Sequence[str], out: Path | None, rescore: bool
) -> Reproduction:
    name, rows = told["output"]["name"], told["output"]["rows"]
    where = f", written to {out}" if out else ""
    also = ", and scores, map and selection came out the same" if rescore else ""
    sentence = (
        f"Identical: {name}, {rows:,} samples, SHA-256 {told['output']['sha256']}{also}{where}."
        if not differences
        else f"Not identical: {name}{where}."
    )
    return Reproduction(not differences, sentence, tuple(differences), tuple(notes), out)
