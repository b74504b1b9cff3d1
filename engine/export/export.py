"""Writing a selection: exactly its rows, in pool order, in any form and container, with a manifest and a card.

`original` is the raw lines byte for byte, each with a line feed, and nothing else; weights then stand in the manifest,
as `weights` in the order of the rows. Every other form is records as JSON lines, Parquet or a folder for
`datasets.load_from_disk`, with the fields asked for beside the sample. A split or shards make the export a folder.
Does not choose rows (`engine.selection`) and does not judge whether the selection is approved: the manifest says so.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from engine.curation.facts import Facts
from engine.export import content, placing, writers
from engine.export.card import card
from engine.export.content import VALIDATION, Content
from engine.export.extras import gather
from engine.export.features import kinds_of
from engine.export.forms import SHAPES, splits_of
from engine.export.manifest import build_manifest, write_manifest
from engine.export.plan import Plan
from engine.export.splitting import held_back
from engine.progress import Reporter, Silent
from engine.store.decisions import REJECT
from engine.store.project import Project
from engine.store.selections import Selection


@dataclass(frozen=True)
class ExportReport:
    """What was written: `sha256` and `files` as in the manifest, `rows` per split, `notes` for the reader."""

    out: Path
    manifest: Path
    card: Path
    plan: Plan
    rows: int
    bytes: int
    sha256: str
    approved: bool
    files: tuple[dict[str, Any], ...]
    splits: dict[str, int]
    notes: tuple[str, ...]


def export(
    project: Project,
    selection: Selection,
    out: str | Path,
    *,
    plan: Plan | None = None,
    force: bool = False,
    command: str = "",
    facts: Facts | None = None,
    reporter: Reporter | None = None,
) -> ExportReport:
    """Write the selection to exactly `out`, a file or a folder (`Plan.folder`), with manifest and card beside.

    `facts` spares reading what its holder has read before. Raises `EngineError` if `out` may not be written (see
    `placing`), for fields that are not there, a split that is impossible, and rows that have no such form; then nothing
    is written and what was there is intact.
    """
    plan, facts = plan or Plan(), facts or Facts(project)
    path = placing.checked(project, out, folder=plan.folder, force=force)
    names = SHAPES[plan.form].names if plan.form != "original" else ()
    extras, absent = gather(facts, selection, plan, taken=names)
    whole = Content(
        project=project,
        rows=selection.rows,
        plan=plan,
        extras=[] if plan.form == "original" else extras,
        splits=splits_of(project.files()),
        held_back=held_back(facts, selection.rows, plan),
        reporter=reporter or Silent(),
    ).fitted()
    head = build_manifest(project, selection, plan=plan, extras=whole.extras, command=command)
    rejected = int((facts.decisions()[selection.rows] == REJECT).sum())
    return produce(path, whole, head, [*notes_of(selection, plan, rejected=rejected), *absent])


def produce(path: Path, whole: Content, head: Mapping[str, Any], notes: Sequence[str]) -> ExportReport:
    """Write the content at `path` with the manifest begun in `head`; what is there is replaced (see `placing`)."""
    written: list[dict[str, Any]] = []
    told: dict[str, Any] = {}

    def write(work: Path) -> None:
        written.extend(content.write(work, whole))

    def describe(work: Path) -> tuple[str, Any]:
        told.update({**head, "output": output_of(work, path.name, whole, written, notes)})
        return card(told), partial(write_manifest, manifest=told)

    placing.place(path, write, describe, folder=whole.plan.folder)
    output = told["output"]
    return ExportReport(
        out=path,
        manifest=placing.manifest_path(path),
        card=placing.card_path(path, folder=whole.plan.folder),
        plan=whole.plan,
        rows=output["rows"],
        bytes=output["bytes"],
        sha256=output["sha256"],
        approved=bool(head.get("approved")),
        files=tuple(output["files"]),
        splits=output["splits"],
        notes=tuple(notes),
    )


def notes_of(selection: Selection, plan: Plan, *, rejected: int = 0) -> list[str]:
    """What a reader of the export should know; `rejected` of its rows were rejected since it was saved."""
    notes = []
    if selection.state != "approved":
        state = "a draft" if selection.state == "draft" else selection.state
        notes.append(f"The selection is {state}: nobody has approved it.")
    elif selection.remark:
        notes.append(f"The selection was {selection.remark}.")
    if rejected:
        notes.append(
            f"{rejected:,} of the samples were rejected after the selection was saved; select again to drop them."
        )
    if selection.weights is not None and plan.form == "original":
        notes.append("The original rows carry no weights; they stand in the manifest, in the order of the rows.")
    return notes


def output_of(
    work: Path, name: str, whole: Content, written: Sequence[dict[str, Any]], notes: Sequence[str]
) -> dict[str, Any]:
    """What was written, file by file, with sizes and hashes; validation rows by number."""
    files = []
    for entry in written:
        place = work / entry["name"] if entry["name"] else work
        files.append({**entry, "bytes": writers.size(place), "sha256": writers.digest(place)})
    parts = whole.parts
    types = {"features": kinds_of(whole.schema)} if whole.typed and whole.schema is not None else {}
    return {
        "name": name,
        "format": whole.plan.format,
        "rows": len(whole.rows),
        "columns": [extra.name for extra in whole.extras],
        "unused": sorted(whole.unused),
        **types,
        "bytes": writers.size(work),
        "sha256": files[0]["sha256"] if len(files) == 1 and not files[0]["name"] else writers.digest(work),
        "files": files,
        "splits": {split: len(places) for split, places in parts.items()},
        "validation_rows": whole.rows[parts[VALIDATION]].tolist() if VALIDATION in parts else [],
        "notes": list(notes),
    }
