"""Rows on their way in: read outside the catalogue, in Arrow batches, into two Parquet files of a temporary folder.

Reading a large file takes a minute; the catalogue must not be held that long. So rows are first staged here, and
`adding` then imports them in one short transaction. A killed reader leaves a temporary folder and nothing else.

Notation: `position` counts the usable rows of this file from 0; `hash` is a 128-bit BLAKE2b of the messages.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from engine.data.samples import BadRow, Message, Row
from engine.errors import EngineError
from engine.progress import Reporter
from engine.store.disk import disk_errors, remove, temporary_name

BATCH_ROWS = 8192
BATCH_CHARS = 8_000_000
EXCERPT_CHARS = 500
ROWS = pa.schema(
    [
        ("position", pa.int64()),
        ("line", pa.int64()),
        ("hash", pa.string()),
        ("own_id", pa.string()),
        ("chars", pa.int32()),
        ("words", pa.int32()),
        ("raw", pa.string()),
        ("messages", pa.string()),
        ("fields", pa.map_(pa.string(), pa.string())),
    ]
)
BAD_ROWS = pa.schema([("line", pa.int64()), ("reason", pa.string()), ("excerpt", pa.string())])


@dataclass
class Staged:
    """A staged file: where its two Parquet files lie, how many rows they hold, the field names in order of sight."""

    rows_path: Path
    bad_path: Path
    rows: int = 0
    bad: int = 0
    reasons: dict[str, int] = field(default_factory=dict)
    field_names: dict[str, None] = field(default_factory=dict)


def encode_messages(messages: Iterable[Message]) -> str:
    """Return messages as compact JSON pairs [role, content], the form that is hashed and kept."""
    pairs = [(m.role, m.content) for m in messages]
    return json.dumps(pairs, ensure_ascii=False, separators=(",", ":"))


def decode_messages(text: str) -> tuple[Message, ...]:
    """Inverse of `encode_messages`."""
    return tuple(Message(role, content) for role, content in json.loads(text))


def content_hash(encoded_messages: str) -> str:
    """Return 32 hexadecimal digits (128-bit BLAKE2b) of the encoded messages."""
    return hashlib.blake2b(encoded_messages.encode(), digest_size=16).hexdigest()


@contextmanager
def staged(folder: Path, rows: Iterable[Row | BadRow], *, reporter: Reporter) -> Iterator[Staged]:
    """Read all of `rows` into a temporary folder under `folder`, give it, and remove it at the end.

    Memory holds one batch at a time. Raises `EngineError` for a full or forbidden disk, and whatever `rows` raises.
    """
    work = folder / temporary_name("intake")
    with disk_errors(f"make {work}", "Nothing was added."):
        work.mkdir(parents=True)
    try:
        with disk_errors(f"write temporary files in {folder}", "Nothing was added."):
            stage = _write(work, rows, reporter)
        yield stage
    finally:
        remove(work)


def _write(work: Path, rows: Iterable[Row | BadRow], reporter: Reporter) -> Staged:
    stage = Staged(rows_path=work / "rows.parquet", bad_path=work / "bad.parquet")
    options: dict[str, Any] = {"compression": "lz4", "use_dictionary": ["fields.key_value.key"]}
    with (
        pq.ParquetWriter(stage.rows_path, ROWS, write_statistics=False, **options) as good,
        pq.ParquetWriter(stage.bad_path, BAD_ROWS, compression="lz4") as bad,
    ):
        for batch in _batches(rows):
            reporter.check()
            _write_good(good, [r for r in batch if isinstance(r, Row)], stage)
            _write_bad(bad, [r for r in batch if isinstance(r, BadRow)], stage)
            reporter.advance(len(batch))
    return stage


def _batches(rows: Iterable[Row | BadRow]) -> Iterator[list[Row | BadRow]]:
    batch: list[Row | BadRow] = []
    chars = 0
    for row in rows:
        batch.append(row)
        chars += len(row.raw) if isinstance(row, Row) else EXCERPT_CHARS
        if len(batch) >= BATCH_ROWS or chars >= BATCH_CHARS:
            yield batch
            batch, chars = [], 0
    if batch:
        yield batch


def _write_good(writer: pq.ParquetWriter, rows: list[Row], stage: Staged) -> None:
    if not rows:
        return
    values = [_values(row, stage.rows + at) for at, row in enumerate(rows)]
    columns = [pa.array(column, kind.type) for column, kind in zip(zip(*values, strict=True), ROWS, strict=True)]
    writer.write_batch(pa.record_batch(columns, schema=ROWS))
    stage.rows += len(rows)
    for row in rows:
        stage.field_names.update(dict.fromkeys(row.fields))


def _values(row: Row, position: int) -> tuple[Any, ...]:
    messages = encode_messages(row.messages)
    chars = sum(len(m.content) for m in row.messages)
    words = sum(len(m.content.split()) for m in row.messages)
    fields = [(name, json.dumps(value, ensure_ascii=False)) for name, value in row.fields.items()]
    own_id = row.own_id or None
    return position, row.line, content_hash(messages), own_id, chars, words, row.raw, messages, fields


def _write_bad(writer: pq.ParquetWriter, rows: list[BadRow], stage: Staged) -> None:
    if not rows:
        return
    columns = {
        "line": [r.line for r in rows],
        "reason": [r.reason for r in rows],
        "excerpt": [r.excerpt[:EXCERPT_CHARS] for r in rows],
    }
    writer.write_table(pa.table(columns, schema=BAD_ROWS))
    stage.bad += len(rows)
    for row in rows:
        phrase = row.reason.partition(":")[0].strip()
        stage.reasons[phrase] = stage.reasons.get(phrase, 0) + 1


def nothing_usable(stage: Staged, path: str) -> EngineError:
    """Return the error for a file without a usable row; it names the reasons and their counts."""
    if not stage.bad:
        return EngineError(f"{path} has no rows. Nothing was added.")
    reasons = ", ".join(f"{phrase} ({count:,})" for phrase, count in sorted(stage.reasons.items(), key=lambda x: -x[1]))
    return EngineError(
        f"{path} has no usable row: all {stage.bad:,} were set aside: {reasons}. "
        "Check the file or choose its schema yourself. Nothing was added."
    )
