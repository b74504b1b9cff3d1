"""Parquet and Arrow files in batches of rows, values with their types.

Each row becomes one canonical JSON line by the rule of `records.plain` (null stays null, NaN becomes null, dates
become ISO text, …). Memory: one batch of rows beside what Arrow needs of one row group. A batch or row group that
cannot be decoded costs its own rows, not the others. Lines count rows from 1.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from engine.data.records import LINE_LIMIT, Record, bad_row, canonical, plain, too_long
from engine.data.samples import BadRow
from engine.data.turns import RowProblem
from engine.errors import EngineError

BATCH_ROWS = 256
_DAMAGED = (pa.ArrowException, ValueError, OverflowError, OSError)


def read_parquet(path: Path, *, batch_rows: int = BATCH_ROWS, limit: int = LINE_LIMIT) -> Iterator[Record | BadRow]:
    """Yield one record or bad row per row; raises EngineError where the file as a whole cannot be opened."""
    try:
        file = pq.ParquetFile(path, pre_buffer=False)
    except _DAMAGED as error:
        raise EngineError(f"{path.name!r} is damaged or no Parquet file: {error}. Nothing was added.") from None
    with file:
        line = 0
        for group in range(file.num_row_groups):
            last = line + file.metadata.row_group(group).num_rows
            for batch in _guarded(file.iter_batches(batch_size=batch_rows, row_groups=[group])):
                if isinstance(batch, str):
                    yield bad_row(line + 1, f"unreadable: rows {line + 1} to {last} cannot be decoded ({batch})")
                else:
                    yield from _records(batch, line, limit)
                    line += batch.num_rows
            line = last


def read_arrow(path: Path, *, limit: int = LINE_LIMIT) -> Iterator[Record | BadRow]:
    """Yield one record or bad row per row of an Arrow file or stream, as `datasets` writes them."""
    with pa.memory_map(str(path)) as source:
        line = 0
        for batch in _guarded(_open_arrow(path, source)):
            if isinstance(batch, str):
                yield bad_row(line + 1, f"unreadable: the rows from {line + 1} on cannot be decoded ({batch})")
                return
            for start in range(0, batch.num_rows, BATCH_ROWS):
                yield from _records(batch.slice(start, BATCH_ROWS), line + start, limit)
            line += batch.num_rows


def _open_arrow(path: Path, source: pa.NativeFile) -> Iterator[pa.RecordBatch]:
    try:
        if source.read(6) == b"ARROW1":
            file: Any = pa.ipc.open_file(source)
            return (file.get_batch(at) for at in range(file.num_record_batches))
        source.seek(0)
        return iter(pa.ipc.open_stream(source))
    except _DAMAGED as error:
        raise EngineError(f"{path.name!r} is damaged or no Arrow file: {error}. Nothing was added.") from None


def _guarded(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch | str]:
    """The batches; at a fault its description as the last item."""
    while True:
        try:
            batch = next(batches)
        except StopIteration:
            return
        except _DAMAGED as error:
            yield str(error)
            return
        yield batch


def _records(batch: pa.RecordBatch, before: int, limit: int) -> Iterator[Record | BadRow]:
    try:
        rows = batch.to_pylist()
    except _DAMAGED:
        rows = [_single(batch, at) for at in range(batch.num_rows)]
    for line, row in enumerate(rows, start=before + 1):
        try:
            if isinstance(row, RowProblem):
                raise row
            value = plain(row)
            raw = canonical(value)
            if len(raw) > limit:
                yield bad_row(line, too_long(limit), raw)
            else:
                yield Record(line, raw, value)
        except RowProblem as problem:
            yield bad_row(line, problem.reason)


def _single(batch: pa.RecordBatch, at: int) -> dict[str, Any] | RowProblem:
    try:
        return batch.slice(at, 1).to_pylist()[0]
    except _DAMAGED as error:
        return RowProblem(f"unreadable value: {error}")
