"""Tags that people put on pool rows: an append-only log of batches, and what stands.

A *tag* is one line of up to `LONGEST` characters; a row may carry several. A *batch* is one act of one person: a tag,
"add" or "remove", and the rows. For a tag and a row the latest batch that names both decides; the view `tags` says so.
Taking a tag off a row that does not carry it is recorded and changes nothing. Does not know what a tag means.
"""

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

import duckdb
import numpy as np
import pyarrow as pa

from engine.errors import EngineError
from engine.store import reading
from engine.store.catalogue import first
from engine.store.records import now

LONGEST = 60
ADD, REMOVE = "add", "remove"


@dataclass(frozen=True)
class TagEntry:
    """One batch of the log: a tag put on or taken off `rows` rows, by whom and when (UTC)."""

    batch: int
    tag: str
    kind: str
    by: str
    at: str
    rows: int


def tag(con: duckdb.DuckDBPyConnection, rows: Sequence[int] | np.ndarray, name: str, *, by: str, kind: str) -> int:
    """Append one batch (inside the caller's transaction) and return its number; `kind` is "add" or "remove".

    Rows named twice count once. Raises `EngineError` for a name that is no tag, no author, no row, or a row that does
    not exist; then nothing is recorded.
    """
    if not by.strip():
        raise EngineError("A tag needs the name of the person who puts it. Nothing was recorded.")
    clean = checked(name)
    numbers = _rows(con, rows)
    batch = last_batch(con) + 1
    listed = pa.table({"rows": pa.array([numbers], pa.list_(pa.int32()))})
    con.register("new_tags", listed)
    try:
        query = "INSERT INTO tag_batches SELECT ?, ?, ?, ?, ?, rows FROM new_tags"
        con.execute(query, [batch, now(), by.strip(), clean, kind])
    finally:
        con.unregister("new_tags")
    return batch


def append_foreign(con: duckdb.DuckDBPyConnection, batches: Sequence[tuple[str, str, str, str, np.ndarray]]) -> None:
    """Append batches made in another copy of the project (made, by, tag, kind, rows), signed and dated as they are.

    Inside the caller's transaction. Raises `EngineError` for what cannot be a tag.
    """
    start = last_batch(con) + 1
    columns = {
        "batch": pa.array(range(start, start + len(batches)), pa.int64()),
        "made": pa.array([made for made, *_ in batches], pa.string()),
        "author": pa.array([by for _, by, *_ in batches], pa.string()),
        "tag": pa.array([checked(name) for _, _, name, *_ in batches], pa.string()),
        "kind": pa.array([kind for *_, kind, _ in batches], pa.string()),
        "rows": pa.array([rows.tolist() for *_, rows in batches], pa.list_(pa.int32())),
    }
    con.register("foreign_tags", pa.table(columns))
    try:
        con.execute("INSERT INTO tag_batches BY NAME SELECT * FROM foreign_tags ORDER BY batch")
    finally:
        con.unregister("foreign_tags")


def checked(name: str) -> str:
    """The tag as it is kept: one line, spaces joined. Raises `EngineError` for what cannot be one."""
    clean = unicodedata.normalize("NFC", " ".join(name.split()))
    if not clean or len(clean) > LONGEST:
        raise EngineError(f"A tag has 1 to {LONGEST} characters, got {len(clean)}. Nothing was recorded.")
    if any(unicodedata.category(letter) in ("Cc", "Cs") for letter in clean):
        raise EngineError("A tag holds no control characters. Nothing was recorded.")
    return clean


def current(con: duckdb.DuckDBPyConnection) -> dict[str, np.ndarray]:
    """The rows that carry each tag, ascending (int32), tags in alphabetical order; tags that no row carries are left
    out.
    """
    return _by_tag(con.sql("SELECT tag, row FROM tags ORDER BY tag, row").to_arrow_table())


def _by_tag(table: pa.Table) -> dict[str, np.ndarray]:
    """The rows of each tag, of a table of tag and row in that order."""
    rows = table.column("row").to_numpy().astype(np.int32)
    codes = table.column("tag").combine_chunks().dictionary_encode()
    codes = codes.combine_chunks() if isinstance(codes, pa.ChunkedArray) else codes
    ends = np.cumsum(np.bincount(codes.indices.to_numpy(zero_copy_only=False), minlength=len(codes.dictionary)))
    names = codes.dictionary.to_pylist()
    return dict(zip(names, np.split(rows, ends[:-1]), strict=True)) if names else {}


def as_of(con: duckdb.DuckDBPyConnection, batch: int) -> dict[str, np.ndarray]:
    """As `current`, after batch `batch` of the log."""
    if batch >= last_batch(con):
        return current(con)
    query = """SELECT tag, row FROM (SELECT tag, kind, batch, unnest(rows) AS row FROM tag_batches WHERE batch <= ?)
        GROUP BY tag, row HAVING arg_max(kind, batch) = 'add' ORDER BY tag, row"""
    return _by_tag(con.sql(query, params=[batch]).to_arrow_table())


def entries(con: duckdb.DuckDBPyConnection, *, limit: int) -> list[TagEntry]:
    """The latest `limit` batches, newest first."""
    query = "SELECT batch, tag, kind, author, made, len(rows) FROM tag_batches ORDER BY batch DESC LIMIT ?"
    return [TagEntry(*values) for values in con.execute(query, [limit]).fetchall()]


def last_batch(con: duckdb.DuckDBPyConnection) -> int:
    """Number of the latest batch, 0 if there is none."""
    found = first(con, "SELECT coalesce(max(batch), 0) FROM tag_batches")
    return int(found[0]) if found else 0


def _rows(con: duckdb.DuckDBPyConnection, rows: Sequence[int] | np.ndarray) -> np.ndarray:
    numbers = np.unique(np.asarray(rows, np.int64))
    pool = reading.size(con, "pool", "")
    if not len(numbers):
        raise EngineError("No sample to tag was given. Nothing was recorded.")
    if numbers[0] < 0 or numbers[-1] >= pool:
        wrong = numbers[0] if numbers[0] < 0 else numbers[-1]
        raise EngineError(f"Sample {wrong} does not exist: the pool has {pool:,} usable samples. Nothing was recorded.")
    return numbers.astype(np.int32)
