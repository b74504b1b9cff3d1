"""What goes into the files: the chosen rows as lines or records, split by split, and the files they become.

Notation: k chosen rows in pool order; `held_back` bool (k,) those of the validation split. A `Content` is complete: it
needs the rows' texts from a project and nothing else, so that a manifest can make it again (`reproduce`).
Does not decide where the files lie (`placing`) and does not gather extra fields (`extras`).
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from engine.errors import EngineError
from engine.export import writers
from engine.export.extras import WEIGHT, Extra
from engine.export.forms import SHAPES, Record, Shape, Split
from engine.export.plan import Plan
from engine.progress import Reporter, Silent
from engine.store.chosen import ChosenTexts
from engine.store.project import Project
from engine.store.records import StoredRow

CHUNK = 2000
TRAIN, VALIDATION = "train", "validation"
_MOST_NAMED = 5
_DATE = re.compile(r"\d{4}-\d\d-\d\d(?:[ T].*)?", re.DOTALL)


@dataclass(frozen=True, kw_only=True)
class Content:
    """The rows to write, how, and what is added to them. `unused`: optional columns that no row needs.

    `typed`: the card tells the columns' types (`features`), since a reader of JSON might guess wrong.
    """

    project: Project
    rows: np.ndarray
    plan: Plan
    extras: Sequence[Extra] = ()
    splits: tuple[Split, ...] = ()
    held_back: np.ndarray | None = None
    reporter: Reporter = field(default_factory=Silent)
    unused: frozenset[str] = frozenset()
    typed: bool = False

    @property
    def shape(self) -> Shape:
        """The form's description; there is none for original rows."""
        return SHAPES[self.plan.form]

    @cached_property
    def texts(self) -> ChosenTexts:
        """Where the rows' texts lie."""
        with self.project.session() as con:
            return ChosenTexts(con, self.project.artifacts, self.rows)

    @property
    def schema(self) -> pa.Schema | None:
        """The columns of a table: those of the form and the extra ones."""
        if self.plan.form == "original":
            return None
        own = [(name, kind) for name, kind, _ in self.shape.fields if name not in self.unused]
        return pa.schema([*own, *((extra.name, extra.arrow) for extra in self.extras)])

    @property
    def parts(self) -> dict[str, np.ndarray]:
        """Each split and the places of its rows among the chosen ones; only `train` without a split."""
        if self.held_back is None or not self.held_back.any():
            return {TRAIN: np.arange(len(self.rows))}
        return {TRAIN: np.flatnonzero(~self.held_back), VALIDATION: np.flatnonzero(self.held_back)}

    def items(self, places: np.ndarray) -> Iterator[list[Any]]:
        """What a writer takes, chunk by chunk: lines as bytes, or records for tables."""
        for start in range(0, len(places), CHUNK):
            self.reporter.check()
            part = places[start : start + CHUNK]
            yield self._chunk(part)
            self.reporter.advance(len(part))

    def _chunk(self, places: np.ndarray) -> list[Any]:
        if self.plan.form == "original":
            return list(self.texts.raw(self.rows[places]))
        found = self.texts.rows(self.rows[places])
        records = self.records(found, places)
        return [writers.json_line(record) for record in records] if self.plan.container == "jsonl" else records

    def records(self, found: Sequence[StoredRow], places: np.ndarray) -> list[Record]:
        """The rows as records with the extra fields; `places` are theirs among the chosen rows."""
        first, last = int(places[0]), int(places[-1]) + 1
        whole = last - first == len(places)
        beside = {e.name: e.part(first, found) if whole else _picked(e, places, found) for e in self.extras}
        records = []
        for at, row in enumerate(found):
            record = self.shape.record(row, self.splits)
            if record is None:
                raise EngineError(_misfits([row.id], 1, self))
            own = {name: value for name, value in record.items() if name not in self.unused}
            records.append(own | {name: values[at] for name, values in beside.items()})
        return records

    def fitted(self) -> "Content":
        """This content with the optional columns known that no row needs, and whether types must be told; reads all
        rows once where any may misfit.

        Types are not told where all texts of a column look like dates: they are taken for dates, and would become texts
        again in another spelling.
        Raises `EngineError` naming rows that have no such form; a form that every row has is not looked through.
        """
        if self.plan.form == "original" or not self.shape.needs:
            return replace(self, typed=self._sparse)
        self.reporter.phase(f"checking that every sample has the form {self.plan.form}", len(self.rows))
        misfits: list[str] = []
        unused = set(self.shape.optional)
        dates = {name for name, kind, _ in self.shape.fields if pa.types.is_string(kind)}
        for start in range(0, len(self.rows), CHUNK):
            self.reporter.check()
            found = self.texts.rows(self.rows[start : start + CHUNK])
            for row in found:
                record = self.shape.record(row, self.splits)
                misfits += [row.id] if record is None else []
                unused -= {name for name in unused if record and record[name]}
                dates -= {name for name in dates if record and not _DATE.fullmatch(record[name])}
            self.reporter.advance(len(found))
        if misfits:
            raise EngineError(_misfits(misfits, len(misfits), self))
        known = replace(self, unused=frozenset(unused))
        return replace(known, typed=known._sparse and not dates)

    @property
    def _sparse(self) -> bool:
        """Whether these are JSON lines with a column that may hold nothing for long."""
        optional = set(self.shape.optional) - self.unused if self.plan.form != "original" else set()
        return self.plan.container == "jsonl" and bool(optional or {e.name for e in self.extras} - {WEIGHT})


def write(path: Path, content: Content) -> list[dict[str, Any]]:
    """Write all files of the content at `path` (a file or a folder, see `Plan.folder`), which does not exist yet.

    Returns what each file is: name within the folder (or ""), split, rows; for a data set folder, one entry a split.
    """
    plan, schema, parts = content.plan, content.schema, content.parts
    content.reporter.phase(f"writing {len(content.rows):,} samples", len(content.rows))
    if plan.container == "hf":
        lazily = {name: content.items(places) for name, places in parts.items()}
        writers.write_data_sets(path, lazily, plan, schema)
        return [{"name": name if len(parts) > 1 else "", "split": name, "rows": len(p)} for name, p in parts.items()]
    if not plan.folder:
        return [
            {"name": "", "split": TRAIN, "rows": writers.write_file(path, content.items(parts[TRAIN]), plan, schema)}
        ]
    path.mkdir()
    return [entry for name, places in parts.items() for entry in _write_split(path, name, content, places)]


def _write_split(folder: Path, name: str, content: Content, places: np.ndarray) -> list[dict[str, Any]]:
    plan, schema = content.plan, content.schema
    if plan.sharded:
        made = writers.write_shards(folder, name, content.items(places), plan, schema)
    else:
        path = folder / f"{name}.{plan.container}"
        made = [(path, writers.write_file(path, content.items(places), plan, schema))]
    return [{"name": path.name, "split": name, "rows": rows} for path, rows in made]


def _picked(extra: Extra, places: np.ndarray, rows: Sequence[StoredRow]) -> list[Any]:
    """The values at scattered places."""
    if extra.values is None:
        return extra.part(0, rows)
    values = extra.values
    some = [values[at] for at in places.tolist()] if isinstance(values, list) else values[places]
    return Extra(extra.name, extra.kind, some).part(0, rows)


def _misfits(ids: Sequence[str], count: int, content: Content) -> str:
    named = ", ".join(ids[:_MOST_NAMED]) + (", …" if len(ids) > _MOST_NAMED else "")
    title = {"alpaca": "Alpaca"}.get(content.plan.form, content.plan.form)
    return (
        f"{count:,} of the {len(content.rows):,} chats have no {title} form ({named}): it holds {content.shape.needs} "
        "for them; nothing was written."
    )
