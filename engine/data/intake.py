"""Intake: a source and a mapping become rows and bad rows, one pass, whatever the size.

The schema is recognised from the first `HEAD_ROWS` readable records; rows that do not fit it are set aside with
their reason. `fields` of a row are its other scalar top-level values, and the scalars of a nested `metadata` or
`meta` object as "metadata.key"; texts above `FIELD_CHARS` are contents rather than attributes and stay in `raw` only;
integers beyond 64 bits are given as text. The row's own id is `id`, `_id`, `uid` or `uuid` (first that is a non-empty
text or an integer), or the column the mapping names. Stores nothing.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from engine.data.readers import Source, open_source
from engine.data.records import Record, bad_row
from engine.data.samples import BadRow, Row, Scalar, SourceInfo
from engine.data.schemas import Mapping, apply, column_value, recognise
from engine.data.turns import RowProblem, check_encodable
from engine.errors import EngineError

HEAD_ROWS = 300
HEAD_SEARCH = 20_000
"""Records looked through at most to find `HEAD_ROWS` readable ones."""
FIELD_CHARS = 1000
ID_COLUMNS = ("id", "_id", "uid", "uuid")
NESTED = ("metadata", "meta")


@dataclass(frozen=True)
class Reading:
    """One source about to be read: `info` says what it is; every iteration reads it from the start."""

    info: SourceInfo
    mapping: Mapping
    source: Source
    stamp: tuple[tuple[int, int], ...]

    def __iter__(self) -> Iterator[Row | BadRow]:
        """Yield every row and bad row in order; raises EngineError at the end if a file changed meanwhile."""
        for item in self.source.records():
            yield item if isinstance(item, BadRow) else to_row(item, self.mapping)
        if self.source.stamp() != self.stamp:
            raise EngineError(f"{self.info.path!r} changed while it was read. Nothing was added; add it again.")


@dataclass(frozen=True)
class Preview:
    """The head of a source under a mapping.

    `mapping` is None where no schema was recognised, `problem` then says why; `columns` in order of appearance;
    `examples`: per column the beginning of its first value; `total_seen`: records looked at, bad ones included.
    """

    mapping: Mapping | None
    columns: list[str]
    rows: list[Row]
    bad_rows: list[BadRow]
    total_seen: int
    format: str = ""
    problem: str = ""
    examples: dict[str, str] = field(default_factory=dict)


def read(source: str | Path, *, mapping: Mapping | str = "auto") -> Reading:
    """Open a file, folder or hub name for reading; `mapping` is "auto", a schema's name or a full mapping.

    Hashes the content (one pass over the stored bytes) and recognises the schema before any row is given.
    Raises EngineError for what cannot be read at all: see `readers.open_source` and `schemas.recognise`.
    """
    opened = open_source(source)
    stamp = opened.stamp()
    chosen = _choose(opened.name, _head(opened), mapping)
    sha256, size = opened.digest()
    info = SourceInfo(opened.name, sha256, size, opened.label, chosen.as_dict())
    return Reading(info, chosen, opened, stamp)


def preview(source: str | Path, *, mapping: Mapping | str = "auto", limit: int = 50) -> Preview:
    """Read only the head: the first `limit` records as rows and bad rows, however large the source.

    An unrecognised schema is not an error here but `problem`, so that columns can be named by hand.
    """
    opened = open_source(source, head_only=True)
    head = _head(opened)
    shown = head[:limit]
    columns, examples = _columns(head)
    problem = ""
    chosen: Mapping | None = None
    try:
        chosen = _choose(opened.name, head, mapping)
    except EngineError as error:
        problem = str(error)
    items = [item if isinstance(item, BadRow) or chosen is None else to_row(item, chosen) for item in shown]
    return Preview(
        mapping=chosen,
        columns=columns,
        rows=[item for item in items if isinstance(item, Row)],
        bad_rows=[item for item in items if isinstance(item, BadRow)],
        total_seen=len(shown),
        format=opened.label,
        problem=problem,
        examples=examples,
    )


def to_row(record: Record, mapping: Mapping) -> Row | BadRow:
    """Return the record as a row under the mapping, or set aside with the reason."""
    try:
        messages = apply(mapping, record.value)
        own_id, id_column = _own_id(record.value, mapping)
        used = {*mapping.fields.values(), id_column}
        return Row(record.line, record.raw, own_id, messages, _fields(record.value, used))
    except RowProblem as problem:
        return bad_row(record.line, problem.reason, record.raw)


def _head(source: Source) -> list[Record | BadRow]:
    """Records from the start until `HEAD_ROWS` are readable."""
    head: list[Record | BadRow] = []
    readable = 0
    for item in islice(source.records(), HEAD_SEARCH):
        head.append(item)
        readable += isinstance(item, Record)
        if readable == HEAD_ROWS:
            break
    return head


def _choose(name: str, head: list[Record | BadRow], mapping: Mapping | str) -> Mapping:
    values = [item.value for item in head if isinstance(item, Record)]
    if not head:
        raise EngineError(f"{name!r} holds no rows. Nothing was added.")
    if not values:
        first = next(item for item in head if isinstance(item, BadRow))
        raise EngineError(
            f"{name!r} has no readable row among its first {len(head)}; line {first.line}: {first.reason}. "
            "Nothing was added."
        )
    if isinstance(mapping, Mapping):
        return _checked(name, values, mapping)
    try:
        return recognise(values, schema=None if mapping == "auto" else mapping)
    except EngineError as error:
        raise EngineError(f"{name!r}: {error}") from None


def _checked(name: str, values: list[dict[str, Any]], mapping: Mapping) -> Mapping:
    absent = object()
    for part, column in mapping.fields.items():
        if all(column_value(value, column, absent) is absent for value in values):
            columns = ", ".join(list(dict.fromkeys(key for value in values for key in value))[:20])
            raise EngineError(f"{name!r} has no column {column!r} for {part}; got {columns}. Nothing was added.")
    return mapping


def _columns(head: list[Record | BadRow]) -> tuple[list[str], dict[str, str]]:
    examples: dict[str, str] = {}
    for item in head:
        for column, value in item.value.items() if isinstance(item, Record) else ():
            if not examples.get(column):
                text = "" if value is None else str(value)
                examples[column] = text[:200].encode(errors="replace").decode()
    return list(examples), examples


def _own_id(value: dict[str, Any], mapping: Mapping) -> tuple[str | None, str]:
    """The row's own id and the column it stands in (None and "" where it has none)."""
    for column in [mapping.fields["id"]] if "id" in mapping.fields else ID_COLUMNS:
        found = column_value(value, column)
        if isinstance(found, int) and not isinstance(found, bool):
            return str(found), column
        if isinstance(found, str) and found.strip():
            check_encodable(found, where=f"'{column}'")
            return found, column
    return None, ""


def _fields(value: dict[str, Any], used: set[str]) -> dict[str, Scalar]:
    found = {column: _scalar(column, item) for column, item in value.items() if column not in used and _is_plain(item)}
    for nest in NESTED:
        inner = value.get(nest)
        if isinstance(inner, dict) and nest not in used:
            named = {f"{nest}.{key}": item for key, item in inner.items()}
            found |= {name: _scalar(name, item) for name, item in named.items() if name not in used and _is_plain(item)}
    return found


def _is_plain(item: object) -> bool:
    """Whether a value is an attribute: a scalar that is no long text."""
    return len(item) <= FIELD_CHARS if isinstance(item, str) else item is None or isinstance(item, int | float)


def _scalar(column: str, item: Any) -> Scalar:
    check_encodable(column, where="a column's name")
    if isinstance(item, str):
        check_encodable(item, where=f"'{column}'")
    elif isinstance(item, float) and not math.isfinite(item):
        raise RowProblem(f"number out of range: '{column}'")
    elif isinstance(item, int) and not -(1 << 63) <= item < 1 << 63:
        return str(item)
    return item
