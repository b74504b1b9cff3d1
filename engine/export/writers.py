"""Writing records to paths that do not exist yet: JSON lines, Parquet, a `datasets` folder; one file or shards of it.

Every writer streams, so that memory does not grow with the selection. Equal records give equal bytes.
Shards are named as Hugging Face does: `train-00000-of-00003.jsonl`. A shard by size holds as many whole records as fit,
at least one; the size of a Parquet shard is met within one group of rows, that of a folder within evenly long shards.
Does not choose the path (`placing`).
"""

import hashlib
import json
import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.parquet as pq

from engine.export.plan import Plan

GROUP_ROWS = 2000
MEGABYTE = 1_000_000
CARD = "README.md"


class _Sink(Protocol):
    """One open file that takes items."""

    def take(self, items: Sequence[Any], room: int) -> int:
        """Write the first items, at most `room` of them and no more than fit; return how many."""

    def close(self) -> None:
        """Complete the file and bring it to the disk."""


class _Lines:
    """A file of lines; items are bytes without their line feeds."""

    def __init__(self, path: Path, most_bytes: float, schema: pa.Schema | None) -> None:
        self._stream = path.open("wb")
        self._most = most_bytes

    def take(self, items: Sequence[bytes], room: int) -> int:
        items, written = items[:room], self._stream.tell()
        count = len(items)
        if written + sum(map(len, items)) + count > self._most:
            count = 0
            for item in items:
                written += len(item) + 1
                if written > self._most and (count or self._stream.tell()):
                    break
                count += 1
        self._stream.write(b"".join(item + b"\n" for item in items[:count]))
        return count

    def close(self) -> None:
        _settle(self._stream)


class _Parquet:
    """A Parquet file; items are records."""

    def __init__(self, path: Path, most_bytes: float, schema: pa.Schema | None) -> None:
        self._stream = path.open("wb")
        self._schema, self._most, self._begun = schema, most_bytes, False
        self._writer = pq.ParquetWriter(self._stream, schema, compression="zstd")

    def take(self, items: Sequence[dict[str, Any]], room: int) -> int:
        if self._begun and self._stream.tell() >= self._most:
            return 0
        items, self._begun = items[:room], True
        self._writer.write_table(pa.Table.from_pylist(list(items), schema=self._schema))
        return len(items)

    def close(self) -> None:
        self._writer.close()
        _settle(self._stream)


_SINKS: dict[str, type[_Lines] | type[_Parquet]] = {"jsonl": _Lines, "parquet": _Parquet}


def write_file(path: Path, chunks: Iterable[Sequence[Any]], plan: Plan, schema: pa.Schema | None) -> int:
    """All items into one file; returns their number."""
    sink, count = _SINKS[plan.container](path, math.inf, schema), 0
    try:
        for chunk in chunks:
            count += sink.take(chunk, len(chunk))
    finally:
        sink.close()
    return count


def write_shards(
    folder: Path, stem: str, chunks: Iterable[Sequence[Any]], plan: Plan, schema: pa.Schema | None
) -> list[tuple[Path, int]]:
    """The items in shards of at most the plan's size, named `stem-00000-of-00003`; the files and their rows."""
    most_rows, most_bytes = plan.shard_rows or math.inf, plan.shard_mb * MEGABYTE or math.inf
    made: list[tuple[Path, int]] = []
    sink: _Sink | None = None
    try:
        for chunk in chunks:
            rest = chunk
            while len(rest):
                if sink is None:
                    made.append((folder / f"{stem}-{len(made):05d}", 0))
                    sink = _SINKS[plan.container](made[-1][0], most_bytes, schema)
                path, count = made[-1]
                taken = sink.take(rest, int(min(most_rows - count, len(rest))))
                made[-1], rest = (path, count + taken), rest[taken:]
                if taken == 0 or count + taken >= most_rows:
                    sink.close()
                    sink = None
    finally:
        if sink is not None:
            sink.close()
    return [(_renamed(path, at, len(made), plan.container), count) for at, (path, count) in enumerate(made)]


def write_data_sets(
    path: Path, parts: Mapping[str, Iterable[Sequence[Any]]], plan: Plan, schema: pa.Schema | None
) -> None:
    """A folder for `datasets.load_from_disk`: one data set, or one per split where there are several."""
    import datasets
    from datasets.table import MemoryMappedTable

    stages = {name: path.with_name(f"{path.name}-{name}") for name in parts}
    sets: dict[str, Any] = {}
    shards: dict[str, int] = {}
    try:
        for name, stage in stages.items():
            rows = _write_stage(stage, parts[name], schema)
            shards[name] = _shards(plan, rows, stage.stat().st_size)
            table = MemoryMappedTable.from_file(str(stage))
            sets[name] = datasets.Dataset(table, fingerprint=digest(stage)[:16], split=datasets.NamedSplit(name))
        with _quiet(datasets):
            if len(sets) > 1:
                datasets.DatasetDict(sets).save_to_disk(path, num_shards=shards)
            else:
                name, alone = sets.popitem()
                alone.save_to_disk(path, num_shards=shards[name])
    finally:
        for stage in stages.values():
            stage.unlink(missing_ok=True)


def json_line(record: dict[str, Any]) -> bytes:
    """One record as one line of JSON, text as it is."""
    return json.dumps(record, ensure_ascii=False, allow_nan=False).encode()


def digest(path: Path) -> str:
    """SHA-256 of a file; of a folder, over the sorted names and digests of its files, the card aside."""
    if path.is_dir():
        text = "".join(f"{digest(p)}  {p.relative_to(path).as_posix()}\n" for p in data_files(path))
        return hashlib.sha256(text.encode()).hexdigest()
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def size(path: Path) -> int:
    """Bytes of a file, or of all files in a folder but the card."""
    return sum(p.stat().st_size for p in data_files(path)) if path.is_dir() else path.stat().st_size


def data_files(folder: Path) -> list[Path]:
    """The files of a folder but the card, by name."""
    return sorted(p for p in folder.rglob("*") if p.is_file() and p != folder / CARD)


def _write_stage(stage: Path, chunks: Iterable[Sequence[Any]], schema: pa.Schema) -> int:
    count = 0
    with stage.open("wb") as stream, pa.ipc.new_stream(stream, schema) as writer:
        for chunk in chunks:
            writer.write_table(pa.Table.from_pylist(list(chunk), schema=schema))
            count += len(chunk)
    return count


def _shards(plan: Plan, rows: int, size: int) -> int:
    if plan.shard_rows:
        return math.ceil(rows / plan.shard_rows)
    return min(rows, math.ceil(size / (plan.shard_mb * MEGABYTE))) if plan.shard_mb else 1


def _renamed(path: Path, at: int, count: int, container: str) -> Path:
    stem = path.name.rpartition("-")[0]
    return path.rename(path.with_name(f"{stem}-{at:05d}-of-{count:05d}.{container}"))


def _settle(stream: Any) -> None:
    try:
        stream.flush()
        os.fsync(stream.fileno())
    finally:
        stream.close()


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
