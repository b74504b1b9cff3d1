"""Writing records to a path that does not exist yet: raw lines, JSON lines, Parquet, a `datasets` folder.

Every writer streams chunks, so that memory does not grow with the selection. Does not choose the path (`placing`).
"""

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from engine.export.extras import Extra

MESSAGES = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))


def table_schema(extras: Sequence[Extra]) -> pa.Schema:
    """Columns of the Parquet and `datasets` forms: id, messages and the extras."""
    return pa.schema([("id", pa.string()), ("messages", MESSAGES), *((e.name, e.kind) for e in extras)])


def write_lines(path: Path, chunks: Iterable[Sequence[bytes]]) -> None:
    """Each line's bytes and a line feed, nothing else."""
    with path.open("wb") as stream:
        for chunk in chunks:
            stream.write(b"".join(line + b"\n" for line in chunk))
        stream.flush()
        os.fsync(stream.fileno())


def write_json_lines(path: Path, chunks: Iterable[Sequence[dict[str, Any]]]) -> None:
    """Each record as one line of JSON, text as it is."""
    write_lines(path, ([_json_line(r) for r in chunk] for chunk in chunks))


def _json_line(record: dict[str, Any]) -> bytes:
    return json.dumps(record, ensure_ascii=False, allow_nan=False).encode()


def write_parquet(path: Path, chunks: Iterable[Sequence[dict[str, Any]]], *, schema: pa.Schema) -> None:
    """One Parquet file, a row group per chunk."""
    with path.open("wb") as stream:
        with pq.ParquetWriter(stream, schema, compression="zstd") as writer:
            for chunk in chunks:
                writer.write_table(pa.Table.from_pylist(list(chunk), schema=schema))
        stream.flush()
        os.fsync(stream.fileno())


def write_data_set(path: Path, chunks: Iterable[Sequence[dict[str, Any]]], *, schema: pa.Schema) -> None:
    """A folder for `datasets.load_from_disk`; equal records give equal bytes."""
    import datasets
    from datasets.table import MemoryMappedTable

    stage = path.with_name(f"{path.name}-stage")
    try:
        with stage.open("wb") as stream, pa.ipc.new_stream(stream, schema) as writer:
            for chunk in chunks:
                writer.write_table(pa.Table.from_pylist(list(chunk), schema=schema))
        with _quiet(datasets):
            table = MemoryMappedTable.from_file(str(stage))
            datasets.Dataset(table, fingerprint=digest(stage)[:16]).save_to_disk(path)
    finally:
        stage.unlink(missing_ok=True)


def digest(path: Path) -> str:
    """SHA-256 of a file; of a folder, over the sorted names and digests of its files."""
    if path.is_dir():
        files = sorted(p for p in path.rglob("*") if p.is_file())
        text = "".join(f"{digest(p)}  {p.relative_to(path).as_posix()}\n" for p in files)
        return hashlib.sha256(text.encode()).hexdigest()
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def size(path: Path) -> int:
    """Bytes of a file, or of all files in a folder."""
    return sum(p.stat().st_size for p in path.rglob("*") if p.is_file()) if path.is_dir() else path.stat().st_size


@contextmanager
def _quiet(datasets: Any) -> Iterator[None]:
    """No progress bars while the library saves; whatever was set before is restored."""
    shown = not datasets.are_progress_bars_disabled()
    datasets.disable_progress_bars()
    try:
        yield
    finally:
        if shown:
            datasets.enable_progress_bars()
