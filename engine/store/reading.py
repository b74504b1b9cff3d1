"""What the catalogue knows about files and rows, in the order asked for.

Notation: `row` counts the usable rows of a set from 0. Columns have one entry per usable pool row, in row order.
Every function works on an open session and changes nothing.
"""

import hashlib
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from engine.errors import EngineError
from engine.store.catalogue import first
from engine.store.records import FileRecord, StoredBadRow, StoredRow, TargetSet
from engine.store.texts import Record, read_raw, read_texts

ENGINE_ID_DIGITS = 16
FIELD_PREFIX = "field:"
BESIDE = ("target", "heldout", "owned")
ENGINE_ID = f"(left(s.hash, {ENGINE_ID_DIGITS}) || '-' || s.row)"
_ID = f"CASE WHEN s.own_id IS NULL OR c.own_id IS NOT NULL THEN {ENGINE_ID} ELSE s.own_id END"
_CLASH = "LEFT JOIN id_clashes c ON c.set_id = s.set_id AND c.own_id = s.own_id"
_DUPLICATE = "LEFT JOIN duplicates d ON d.set_id = s.set_id AND d.row = s.row"
_FILE = "JOIN files f ON f.file_id = s.file_id"
_BUILT_IN: dict[str, tuple[str, str]] = {
    "id": (_ID, _CLASH),
    "engine_id": (ENGINE_ID, ""),
    "own_id": ("s.own_id", ""),
    "id_clash": ("(c.own_id IS NOT NULL)", _CLASH),
    "row": ("s.row", ""),
    "file": ("f.name", _FILE),
    "file_id": ("s.file_id", ""),
    "line": ("s.line", ""),
    "chars": ("s.chars", ""),
    "words": ("s.words", ""),
    "duplicate_of": ("coalesce(d.first_row, -1)", _DUPLICATE),
}
BUILT_IN_COLUMNS = tuple(_BUILT_IN)


def files(con: duckdb.DuckDBPyConnection) -> list[FileRecord]:
    """All files in order of addition."""
    query = """SELECT f.file_id, s.role, s.name, f.name, f.path, f.sha256, f.bytes, f.format, f.mapping, f.usable,
        f.bad, f.duplicates, f.added FROM files f JOIN sets s USING (set_id) ORDER BY f.file_id"""
    return [FileRecord(*parsed(v, 8)) for v in con.execute(query).fetchall()]


def texts(con: duckdb.DuckDBPyConnection) -> dict[str, int]:
    """The text artifacts that files rest on, and how many rows each holds."""
    return dict(con.execute("SELECT texts, usable FROM files ORDER BY file_id").fetchall())


def targets(con: duckdb.DuckDBPyConnection, role: str = "target") -> list[TargetSet]:
    """The target sets, or the held-out files ("heldout"), in order of addition."""
    query = """SELECT s.name, sum(f.usable)::BIGINT, sum(f.bad)::BIGINT FROM sets s JOIN files f USING (set_id)
        WHERE s.role = ? GROUP BY s.set_id, s.name ORDER BY s.set_id"""
    return [TargetSet(*values) for values in con.execute(query, [role]).fetchall()]


def set_id_of(con: duckdb.DuckDBPyConnection, role: str, set_name: str) -> int | None:
    """The number of a set, or None if nothing was ever added to it."""
    found = first(con, "SELECT set_id FROM sets WHERE role = ? AND name = ?", [role, set_name])
    return int(found[0]) if found else None


def size(con: duckdb.DuckDBPyConnection, role: str, set_name: str) -> int:
    """Usable rows of a set, 0 for one that does not exist."""
    query = """SELECT coalesce(sum(f.usable), 0)::BIGINT FROM files f JOIN sets s USING (set_id)
        WHERE s.role = ? AND s.name = ?"""
    found = first(con, query, [role, set_name])
    return int(found[0]) if found else 0


def set_hash(con: duckdb.DuckDBPyConnection, role: str, set_name: str) -> str:
    """SHA-256 over the content hashes and mappings of a set's files, in order of addition."""
    return _hash_of(f for f in files(con) if (f.role, f.set_name) == (role, set_name))


def pool_hash_at(con: duckdb.DuckDBPyConnection, rows: int) -> str | None:
    """The pool's `set_hash` when it had its first `rows` rows; None where no file ends there."""
    begun: list[FileRecord] = []
    held = 0
    for file in (f for f in files(con) if f.role == "pool"):
        begun.append(file)
        held += file.rows
        if held == rows:
            return _hash_of(begun)
    return None


def beside(con: duckdb.DuckDBPyConnection) -> list[tuple[str, str, int, str]]:
    """Role, name, usable rows and `set_hash` of every set but the pool: targets, held-out files, then owned data."""
    found: dict[tuple[str, str], list[FileRecord]] = {}
    for file in files(con):
        found.setdefault((file.role, file.set_name), []).append(file)
    sets = [(*key, sum(f.rows for f in of), _hash_of(of)) for key, of in found.items() if key[0] in BESIDE]
    return sorted((each for each in sets if each[2]), key=lambda each: BESIDE.index(each[0]))


def _hash_of(found: Iterable[FileRecord]) -> str:
    parts = [[f.sha256, f.mapping] for f in found]
    return hashlib.sha256(json.dumps(parts, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def rows(
    con: duckdb.DuckDBPyConnection,
    artifacts: Path,
    asked: Sequence[int] | np.ndarray,
    *,
    role: str,
    set_name: str,
) -> list[StoredRow]:
    """The rows with these numbers, in the order asked, repeats included; `EngineError` if one does not exist."""
    numbers = np.asarray(asked, np.int64)
    if not len(numbers):
        return []
    there = size(con, role, set_name)
    wrong = numbers[(numbers < 0) | (numbers >= there)]
    if len(wrong):
        raise EngineError(f"Sample {wrong[0]} does not exist: {_called(role, set_name)} has {there:,} usable samples.")
    distinct, places = np.unique(numbers, return_inverse=True)
    found = _fetch(con, artifacts, distinct, role, set_name)
    return [found[at] for at in places.tolist()]


def raw(con: duckdb.DuckDBPyConnection, artifacts: Path, asked: np.ndarray) -> list[bytes]:
    """The raw texts of pool rows with ascending numbers, as bytes."""
    query = """SELECT f.texts, f.first_row, f.usable FROM files f JOIN sets s USING (set_id)
        WHERE s.role = 'pool' ORDER BY f.first_row"""
    found: list[bytes] = []
    for folder, base, usable in con.execute(query).fetchall():
        mine = asked[(asked >= base) & (asked < base + usable)]
        found += read_raw(artifacts / folder, mine - base) if len(mine) else []
    if len(found) != len(asked):
        raise EngineError(f"Only {len(found):,} of the {len(asked):,} samples exist, or they were not in order.")
    return found


def span(
    con: duckdb.DuckDBPyConnection, artifacts: Path, start: int, stop: int, *, role: str, set_name: str
) -> list[StoredRow]:
    """The rows from `start` up to `stop` (excluded) that exist, in row order."""
    numbers = np.arange(start, min(stop, size(con, role, set_name)))
    return _fetch(con, artifacts, numbers, role, set_name) if len(numbers) else []


def bad_rows(con: duckdb.DuckDBPyConnection, *, file_id: int | None, limit: int, offset: int) -> list[StoredBadRow]:
    """Rows set aside, in file and line order; of all files if `file_id` is None."""
    query = """SELECT f.name, b.line, b.reason, b.excerpt FROM bad_rows b JOIN files f USING (file_id)
        WHERE ?::INTEGER IS NULL OR b.file_id = ? ORDER BY b.file_id, b.line LIMIT ? OFFSET ?"""
    return [StoredBadRow(*v) for v in con.execute(query, [file_id, file_id, limit, offset]).fetchall()]


def columns(con: duckdb.DuckDBPyConnection) -> list[str]:
    """The original scalar fields of the pool in order of sight; one named like a built-in is `field:name`."""
    query = "SELECT f.name FROM field_names f JOIN sets s USING (set_id) WHERE s.role = 'pool' ORDER BY f.position"
    return [FIELD_PREFIX + n if n in _BUILT_IN else n for (n,) in con.execute(query).fetchall()]


def column(con: duckdb.DuckDBPyConnection, name: str) -> np.ndarray:
    """One value per usable pool row: a built-in (`BUILT_IN_COLUMNS`) or an original field.

    Whole numbers are int64, numbers with gaps or fractions float64 (NaN where absent), flags bool, anything else
    objects with None where absent; equal texts share one object. Raises `EngineError` for an unknown name.
    """
    set_id = set_id_of(con, "pool", "")
    known = columns(con)
    if name not in _BUILT_IN and name not in known:
        raise EngineError(f"No column {name!r}. There are: {', '.join((*_BUILT_IN, *known))}.")
    if set_id is None:
        return np.array([], dtype=object)
    if name in _BUILT_IN:
        expression, joins = _BUILT_IN[name]
        return _plain_column(_ordered(con, expression, joins, [set_id]))
    field = name.removeprefix(FIELD_PREFIX) if name.removeprefix(FIELD_PREFIX) in _BUILT_IN else name
    return _json_column(_ordered(con, "map_extract_value(s.fields, ?)", "", [field, set_id]))


def row_of(con: duckdb.DuckDBPyConnection, sample_id: str) -> int:
    """The pool row with this id (own id where unique, else engine id; an engine id always works)."""
    set_id = set_id_of(con, "pool", "")
    query = "SELECT row FROM samples WHERE set_id = ? AND own_id = ? LIMIT 2"
    found = con.execute(query, [set_id, sample_id]).fetchall()
    if len(found) == 1:
        return int(found[0][0])
    digits, _, number = sample_id.rpartition("-")
    if len(digits) == ENGINE_ID_DIGITS and number.isdecimal() and len(number) <= 18:
        query = f"SELECT s.row FROM samples s WHERE s.set_id = ? AND s.row = ? AND {ENGINE_ID} = ?"
        by_engine = first(con, query, [set_id, int(number), sample_id])
        if by_engine:
            return int(by_engine[0])
    if found:
        raise EngineError(f"The id {sample_id!r} is borne by several samples: use the engine id of the one you mean.")
    raise EngineError(f"No sample has the id {sample_id!r}. Look it up on the Pool page or in the scores file.")


def parsed(values: tuple[Any, ...], *places: int) -> list[Any]:
    """The values with those at `places` read as JSON."""
    return [json.loads(v) if at in places else v for at, v in enumerate(values)]


def _called(role: str, set_name: str) -> str:
    unnamed = {"pool": "the pool", "owned": "the owned data"}
    return unnamed.get(role, f"the {'held-out file' if role == 'heldout' else f'{role} set'} {set_name!r}")


def _fetch(
    con: duckdb.DuckDBPyConnection, artifacts: Path, rows: np.ndarray, role: str, set_name: str
) -> list[StoredRow]:
    """The rows with these ascending numbers, which exist."""
    query = """SELECT f.name, f.texts, f.first_row, f.usable, s.set_id FROM files f JOIN sets s USING (set_id)
        WHERE s.role = ? AND s.name = ? ORDER BY f.first_row"""
    found: list[tuple[str, int, str, Record]] = []
    set_id = 0
    for name, texts, base, usable, number in con.execute(query, [role, set_name]).fetchall():
        set_id = number
        mine = rows[(rows >= base) & (rows < base + usable)]
        read = read_texts(artifacts / texts, mine - base) if len(mine) else []
        found += [(name, row, raw, record) for row, (raw, record) in zip(mine.tolist(), read, strict=True)]
    clashing = _clashing(con, set_id, [r.own_id for *_, r in found if r.own_id is not None])
    firsts = _firsts(con, set_id, rows)
    return [_stored(*entry, clashing, firsts) for entry in found]


def _clashing(con: duckdb.DuckDBPyConnection, set_id: int, own_ids: list[str]) -> set[str]:
    query = "SELECT own_id FROM id_clashes WHERE set_id = ? AND own_id IN (SELECT unnest(?::VARCHAR[]))"
    return {i for (i,) in con.execute(query, [set_id, own_ids]).fetchall()} if own_ids else set()


def _firsts(con: duckdb.DuckDBPyConnection, set_id: int, rows: np.ndarray) -> dict[int, int]:
    query = """SELECT row, first_row FROM duplicates
        WHERE set_id = ? AND row BETWEEN ? AND ? AND row IN (SELECT unnest(?::BIGINT[]))"""
    return dict(con.execute(query, [set_id, int(rows[0]), int(rows[-1]), rows.tolist()]).fetchall())


def _stored(file: str, row: int, raw: str, record: Record, clashing: set[str], firsts: dict[int, int]) -> StoredRow:
    engine_id = f"{record.hash[:ENGINE_ID_DIGITS]}-{row}"
    own = record.own_id is not None and record.own_id not in clashing
    return StoredRow(
        row=row,
        id=str(record.own_id) if own else engine_id,
        engine_id=engine_id,
        own_id=record.own_id,
        file=file,
        line=record.line,
        raw=raw,
        messages=record.messages,
        fields=record.fields,
        chars=record.chars,
        words=record.words,
        duplicate_of=firsts.get(row, -1),
    )


def _ordered(con: duckdb.DuckDBPyConnection, expression: str, joins: str, values: list[Any]) -> pa.ChunkedArray:
    query = f"SELECT {expression} AS value FROM samples s {joins} WHERE s.set_id = ? ORDER BY s.row"
    return con.sql(query, params=values).to_arrow_table().column("value")


def _plain_column(values: pa.ChunkedArray) -> np.ndarray:
    if pa.types.is_string(values.type) or pa.types.is_large_string(values.type):
        return _shared_objects(values, lambda text: text)
    return values.to_numpy()


def _json_column(values: pa.ChunkedArray) -> np.ndarray:
    """Values from their JSON texts; columns of numbers are parsed at once, others value by distinct value."""
    known = pc.if_else(pc.equal(values, "null"), None, values)
    if known.null_count < len(known):
        for kind in (pa.int64(), pa.float64()):
            try:
                numbers = known.cast(kind)
            except pa.ArrowInvalid:
                continue
            return (numbers.cast(pa.float64()) if numbers.null_count else numbers).to_numpy()
    objects = _shared_objects(values, json.loads)
    return objects.astype(_dtype({type(v) for v in set(objects.tolist())}))


def _dtype(kinds: set[type]) -> Any:
    if kinds == {bool}:
        return bool
    numbers = bool(kinds & {int, float}) and kinds <= {int, float, type(None)}
    return np.float64 if numbers else object


def _shared_objects(values: pa.ChunkedArray, make: Any) -> np.ndarray:
    """An object array (n,) in which equal texts are one object; null becomes None."""
    coded = values.combine_chunks().dictionary_encode()
    coded = coded.combine_chunks() if isinstance(coded, pa.ChunkedArray) else coded
    distinct = np.empty(len(coded.dictionary) + 1, dtype=object)
    for at, text in enumerate(coded.dictionary.to_pylist()):
        distinct[at] = make(text)
    codes = coded.indices.fill_null(len(coded.dictionary)).to_numpy(zero_copy_only=False)
    return distinct[codes]
