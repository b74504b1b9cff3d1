"""Writing a selection: exactly its rows, in pool order, in one of five forms, with a manifest beside.

`original` is the raw lines byte for byte, each with a line feed, and nothing else; weights then stand in the manifest,
as `weights` in the order of the rows. `chat` and `alpaca` are JSON lines, `parquet` one file, `hf` a folder for
`datasets.load_from_disk`; in these a weighted selection gives every row a field or column `weight`.
Does not choose rows (`engine.selection`) and does not judge whether the selection is approved: the manifest says so.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from engine.errors import EngineError
from engine.export import placing, writers
from engine.export.extras import Extra, gather
from engine.export.forms import ALPACA_NAMES, CHAT_NAMES, Split, alpaca_record, chat_record, splits_of
from engine.export.manifest import plain_weights
from engine.progress import Reporter, Silent
from engine.store.project import Project
from engine.store.records import StoredRow
from engine.store.selections import Selection

Format = Literal["original", "chat", "alpaca", "parquet", "hf"]
FORMATS: tuple[str, ...] = get_args(Format)
CHUNK = 2000
_MOST_NAMED = 5


@dataclass(frozen=True)
class ExportReport:
    """What was written: `sha256` as in the manifest, `notes` for the reader."""

    out: Path
    manifest: Path
    format: str
    rows: int
    bytes: int
    sha256: str
    approved: bool
    notes: tuple[str, ...]


def export(
    project: Project,
    selection: Selection,
    out: str | Path,
    *,
    format: str = "original",
    force: bool = False,
    manifest: Mapping[str, Any],
    scores: Mapping[str, np.ndarray] | None = None,
    columns: Sequence[str] = (),
    reporter: Reporter | None = None,
) -> ExportReport:
    """Write the selection to exactly `out` and its manifest to `out` + `.manifest.json`.

    `manifest` (see `manifest.build_manifest`) is completed with the output's size and hash. `scores` (name → (m,) over
    pool rows) and `columns` (original fields) are added to every form but `original`, which refuses them.
    Raises `EngineError` if `out` may not be written (see `placing`), for an unknown format, and for `alpaca` where
    a chat has no such form; then nothing is written and what was there is intact.
    """
    if format not in FORMATS:
        raise EngineError(f"{format!r} is no format; use one of {', '.join(FORMATS)}. Nothing was written.")
    if format == "original" and (scores or columns):
        raise EngineError("The original form adds nothing to the rows: use chat, alpaca, parquet or hf for columns.")
    path = placing.checked(project, out, folder=format == "hf", force=force)
    names = ALPACA_NAMES if format == "alpaca" else CHAT_NAMES
    extras = (
        [] if format == "original" else gather(project, selection, scores=scores or {}, columns=columns, taken=names)
    )
    listener = reporter or Silent()
    listener.phase(f"writing {path.name}", len(selection.rows))
    source = _Source(project, selection, extras, splits_of(project.files()), listener)
    notes = _notes(selection, format)
    describe = partial(_completed, manifest=manifest, path=path, selection=selection, format=format, extras=extras)
    written = placing.place(path, lambda work: _WRITERS[format](work, source), lambda work: describe(work, notes=notes))
    output = written["output"]
    return ExportReport(
        out=path,
        manifest=placing.manifest_path(path),
        format=format,
        rows=len(selection.rows),
        bytes=output["bytes"],
        sha256=output["sha256"],
        approved=selection.state == "approved",
        notes=tuple(notes),
    )


@dataclass(frozen=True)
class _Source:
    """The chosen rows in pool order, in chunks, and what is added to them."""

    project: Project
    selection: Selection
    extras: list[Extra]
    splits: tuple[Split, ...]
    reporter: Reporter

    def parts(self) -> Iterator[tuple[int, np.ndarray]]:
        """Where each part of the chosen rows begins, and its rows; counted as done once it has been written."""
        for start in range(0, len(self.selection.rows), CHUNK):
            self.reporter.check()
            part = self.selection.rows[start : start + CHUNK]
            yield start, part
            self.reporter.advance(len(part))

    def chunks(self) -> Iterator[tuple[int, list[StoredRow]]]:
        for start, part in self.parts():
            yield start, self.project.rows(part)

    def raw(self) -> Iterator[list[bytes]]:
        for _, part in self.parts():
            yield self.project.raw(part)

    def chats(self) -> Iterator[list[dict[str, Any]]]:
        for start, found in self.chunks():
            yield [chat_record(row) | self.beside(start + at) for at, row in enumerate(found)]

    def alpaca(self) -> Iterator[list[dict[str, Any]]]:
        """All chats that have the form; at the end an `EngineError` if any has not."""
        misfits: list[str] = []
        for start, found in self.chunks():
            records = [alpaca_record(row, self.splits) for row in found]
            misfits += [row.id for row, record in zip(found, records, strict=True) if record is None]
            yield [r | self.beside(start + at) for at, r in enumerate(records) if r is not None]
        if misfits:
            named = ", ".join(misfits[:_MOST_NAMED]) + (", …" if len(misfits) > _MOST_NAMED else "")
            raise EngineError(
                f"{len(misfits):,} of the {len(self.selection.rows):,} chats have no Alpaca form ({named}): it holds "
                "an optional system text and then user and assistant in turn, no tools. Export them as chat; "
                "nothing was written."
            )

    def beside(self, at: int) -> dict[str, Any]:
        return {extra.name: extra.values[at] for extra in self.extras}


_WRITERS: dict[str, Callable[[Path, _Source], None]] = {
    "original": lambda path, source: writers.write_lines(path, source.raw()),
    "chat": lambda path, source: writers.write_json_lines(path, source.chats()),
    "alpaca": lambda path, source: writers.write_json_lines(path, source.alpaca()),
    "parquet": lambda path, source: writers.write_parquet(
        path, source.chats(), schema=writers.table_schema(source.extras)
    ),
    "hf": lambda path, source: writers.write_data_set(path, source.chats(), schema=writers.table_schema(source.extras)),
}


def _notes(selection: Selection, format: str) -> list[str]:
    notes = []
    if selection.state != "approved":
        notes.append("The selection is a draft: nobody has approved it.")
    if selection.weights is not None and format == "original":
        notes.append("The original rows carry no weights; they stand in the manifest, in the order of the rows.")
    return notes


def _completed(
    work: Path,
    *,
    manifest: Mapping[str, Any],
    path: Path,
    selection: Selection,
    format: str,
    extras: list[Extra],
    notes: list[str],
) -> dict[str, Any]:
    output = {
        "name": path.name,
        "format": format,
        "rows": len(selection.rows),
        "columns": [extra.name for extra in extras],
        "bytes": writers.size(work),
        "sha256": writers.digest(work),
        "notes": notes,
    }
    weights = {} if selection.weights is None else {"weights": plain_weights(selection)}
    return {**manifest, **weights, "output": output}
