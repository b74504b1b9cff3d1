"""Rows on their way in: read outside the catalogue, batch by batch, into temporary files.

Reading a large file takes a minute; the catalogue must not be held that long. So rows are first staged here: their
texts in an artifact of their own (`texts`), their columns as Arrow batches in two temporary Parquet files. `adding`
then imports the columns in one short transaction. A killed reader leaves temporary folders and nothing else.

Notation: `position` counts the usable rows of this file from 0; `hash` is a 128-bit BLAKE2b of the messages.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from engine.data.samples import BadRow, Message, Row, SourceInfo
from engine.errors import EngineError
from engine.progress import Reporter
from engine.store.artifacts import artifact_key, create
from engine.store.disk import disk_errors, remove, temporary_name
from engine.store.records import now
from engine.store.texts import Record, TextWriter, encode_messages, writing

STAGE = "rows"
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
        ("fields", pa.map_(pa.string(), pa.string())),
    ]
)
BAD_ROWS = pa.schema([("line", pa.int64()), ("reason", pa.string()), ("excerpt", pa.string())])


@dataclass
class Staged:
    """A staged file: its two Parquet files, the name of its text artifact, counts, field names in order of sight."""

    rows_path: Path
    bad_path: Path
    texts: str
    rows: int = 0
    bad: int = 0
    reasons: dict[str, int] = field(default_factory=dict)
    field_names: dict[str, None] = field(default_factory=dict)


def content_hash(messages: Sequence[Message]) -> str:
    """Return 32 hexadecimal digits (128-bit BLAKE2b) of the messages."""
    return hashlib.blake2b(encode_messages(messages).encode(), digest_size=16).hexdigest()


@contextmanager
def staged(
    temp: Path, artifacts: Path, info: SourceInfo, rows: Iterable[Row | BadRow], *, reporter: Reporter
) -> Iterator[Staged]:
    """Read all of `rows`, give what was staged, and remove the temporary part at the end.

    Memory holds one batch at a time. The text artifact stays; until the catalogue names it nothing reads it.
    Raises `EngineError` if no row is usable or the disk refuses, and whatever `rows` raises; then nothing stays.
    """
    work = temp / temporary_name("intake")
    with disk_errors(f"make {work}", "Nothing was added."):
        work.mkdir(parents=True)
    try:
        key = artifact_key(source=info.sha256, begun=[now(), work.name])
        manifest = {"source": info.path, "sha256": info.sha256, "mapping": info.mapping}
        stage = Staged(work / "rows.parquet", work / "bad.parquet", f"{STAGE}-{key}")
        with create(artifacts, STAGE, key, manifest) as folder:
            with disk_errors(f"write to {artifacts.parent}", "Nothing was added."):
                _write(stage, folder, rows, reporter)
            if not stage.rows:
                raise _nothing_usable(stage, info.path)
            reporter.check()
        yield stage
    finally:
        remove(work)


def _write(stage: Staged, folder: Path, rows: Iterable[Row | BadRow], reporter: Reporter) -> None:
    options: dict[str, Any] = {"compression": "lz4", "use_dictionary": ["fields.key_value.key"]}
    with (
        stage.rows_path.open("wb") as good_file,
        stage.bad_path.open("wb") as bad_file,
        pq.ParquetWriter(good_file, ROWS, write_statistics=False, **options) as good,
        pq.ParquetWriter(bad_file, BAD_ROWS, compression="lz4") as bad,
        writing(folder) as texts,
    ):
        for batch in _batches(rows):
            reporter.check()
            _write_good(good, texts, [r for r in batch if isinstance(r, Row)], stage)
            _write_bad(bad, [r for r in batch if isinstance(r, BadRow)], stage)
            reporter.advance(len(batch))


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


def _write_good(writer: pq.ParquetWriter, texts: TextWriter, rows: list[Row], stage: Staged) -> None:
    if not rows:
        return
    records = [_record(row) for row in rows]
    texts.write([row.raw for row in rows], records)
    columns = {
        "position": range(stage.rows, stage.rows + len(rows)),
        **{name: [getattr(r, name) for r in records] for name in ("line", "hash", "own_id", "chars", "words")},
        "fields": [[(k, json.dumps(v, ensure_ascii=False)) for k, v in r.fields.items()] for r in records],
    }
    writer.write_batch(pa.record_batch([pa.array(columns[f.name], f.type) for f in ROWS], schema=ROWS))
    stage.rows += len(rows)
    for row in rows:
        stage.field_names.update(dict.fromkeys(row.fields))


def _record(row: Row) -> Record:
    return Record(
        line=row.line,
        hash=content_hash(row.messages),
        own_id=row.own_id or None,
        chars=sum(len(m.content) for m in row.messages),
        words=sum(len(m.content.split()) for m in row.messages),
        fields=row.fields,
        messages=row.messages,
    )


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


def _nothing_usable(stage: Staged, path: str) -> EngineError:
    """Return the error for a file without a usable row; it names the reasons and their counts."""
    if not stage.bad:
        return EngineError(f"{path} has no rows. Nothing was added.")
    reasons = ", ".join(f"{phrase} ({count:,})" for phrase, count in sorted(stage.reasons.items(), key=lambda x: -x[1]))
    return EngineError(
        f"{path} has no usable row: all {stage.bad:,} were set aside: {reasons}. "
        "Check the file or choose its schema yourself. Nothing was added."
    )
