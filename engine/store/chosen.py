"""What the catalogue knows of some pool rows only, without bringing the others' values into memory.

Notation: `rows` int64 (k,) ascending numbers of usable pool rows; everything comes back in that order. Every function
works on an open session and changes nothing. Does not judge rows.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import duckdb
import numpy as np
import pyarrow as pa

from engine.errors import EngineError
from engine.store.reading import _CLASH, _ID, BUILT_IN_COLUMNS, FIELD_PREFIX, _stored, set_id_of
from engine.store.records import StoredRow
from engine.store.texts import read_raw, read_texts

FieldKind = Literal["text", "whole", "number", "flag", "nothing"]
_WANTED = "wanted_rows"
_PART = 10_000  # rows joined at once
_WHOLE = "TRY_CAST(v AS BIGINT) IS NOT NULL"
_CHOSEN = f"samples s JOIN {_WANTED} w ON w.row = s.row"


class ChosenTexts:
    """The texts of the chosen rows, read part by part; the catalogue is asked once, at the beginning."""

    def __init__(self, con: duckdb.DuckDBPyConnection, artifacts: Path, rows: np.ndarray) -> None:
        """Find out where the rows lie. Raises `EngineError` where one does not exist."""
        query = """SELECT f.name, f.texts, f.first_row, f.usable FROM files f JOIN sets s USING (set_id)
            WHERE s.role = 'pool' ORDER BY f.first_row"""
        self._artifacts = artifacts
        self._files = con.execute(query).fetchall()
        size = sum(usable for *_, usable in self._files)
        if len(rows) and (rows[0] < 0 or rows[-1] >= size):
            raise EngineError(f"Sample {max(rows[-1], -rows[0])} does not exist: the pool has {size:,} usable samples.")
        clashing = f"SELECT DISTINCT s.own_id FROM {_CHOSEN} {_CLASH} WHERE s.set_id = ? AND c.own_id IS NOT NULL"
        firsts = f"SELECT d.row, d.first_row FROM duplicates d JOIN {_WANTED} w ON w.row = d.row WHERE d.set_id = ?"
        with _registered(con, rows):
            self._clashing = {name for (name,) in con.execute(clashing, [_pool(con)]).fetchall()}
            self._firsts = dict(con.execute(firsts, [_pool(con)]).fetchall())

    def raw(self, rows: np.ndarray) -> list[bytes]:
        """The raw texts of some of the rows (ascending), as the bytes they came in."""
        found: list[bytes] = []
        for _, folder, base, usable in self._files:
            mine = rows[(rows >= base) & (rows < base + usable)]
            found += read_raw(self._artifacts / folder, mine - base) if len(mine) else []
        return found

    def rows(self, rows: np.ndarray) -> list[StoredRow]:
        """Some of the rows (ascending)."""
        found: list[StoredRow] = []
        for name, folder, base, usable in self._files:
            mine = rows[(rows >= base) & (rows < base + usable)]
            read = read_texts(self._artifacts / folder, mine - base) if len(mine) else []
            for row, (raw, record) in zip(mine.tolist(), read, strict=True):
                found.append(_stored(name, row, raw, record, self._clashing, self._firsts))
        return found


def identities(con: duckdb.DuckDBPyConnection, rows: np.ndarray) -> tuple[list[str], list[str]]:
    """The ids of the rows (own id where unique, else engine id) and the hashes of their contents.

    Asked for part by part: joined at once with a large pool, the rows take the memory of the pool's ids.
    """
    query = f"""SELECT {_ID} AS id, s.hash AS hash FROM {_CHOSEN} {_CLASH}
        WHERE s.set_id = ? AND s.row BETWEEN ? AND ? ORDER BY s.row"""
    ids: list[str] = []
    hashes: list[str] = []
    for start in range(0, len(rows), _PART):
        part = rows[start : start + _PART]
        with _registered(con, part):
            table = con.sql(query, params=[_pool(con), int(part[0]), int(part[-1])]).to_arrow_table()
        ids += table.column("id").to_pylist()
        hashes += table.column("hash").to_pylist()
    return ids, hashes


def content_keys(con: duckdb.DuckDBPyConnection, rows: np.ndarray) -> pa.Table:
    """`row`, `hash` and `own_id` (null where a row has none) of the rows."""
    query = f"SELECT s.row, s.hash, s.own_id FROM {_CHOSEN} WHERE s.set_id = ? ORDER BY s.row"
    with _registered(con, rows):
        return con.sql(query, params=[_pool(con)]).to_arrow_table()


def first_of_equal(con: duckdb.DuckDBPyConnection, rows: np.ndarray) -> np.ndarray:
    """int64 (k,): the first pool row with the same messages, the row itself where there is no earlier one."""
    query = f"SELECT d.row, d.first_row FROM duplicates d JOIN {_WANTED} w ON w.row = d.row WHERE d.set_id = ?"
    with _registered(con, rows):
        table = con.sql(query, params=[_pool(con)]).to_arrow_table()
    firsts = np.asarray(rows, np.int64).copy()
    firsts[np.searchsorted(firsts, table.column("row").to_numpy())] = table.column("first_row").to_numpy()
    return firsts


def field_kinds(con: duckdb.DuckDBPyConnection, rows: np.ndarray, names: Sequence[str]) -> dict[str, FieldKind]:
    """What kind of values each original field holds in these rows; "text" where kinds are mixed or numbers too big."""
    found: dict[str, FieldKind] = {}
    with _registered(con, rows):
        for name in names:
            query = f"""SELECT count(*), bool_and(left(v, 1) = '"'), bool_and(v IN ('true', 'false')),
                bool_and(regexp_full_match(v, '-?[0-9]+') AND {_WHOLE}),
                bool_and(regexp_full_match(v, '-?[0-9]+[.eE].*') OR {_WHOLE})
                FROM (SELECT map_extract_value(s.fields, ?) AS v FROM {_CHOSEN} WHERE s.set_id = ?) WHERE v <> 'null'"""
            count, *kinds = con.execute(query, [bare(name), _pool(con)]).fetchall()[0]
            which = next((at for at, holds in enumerate(kinds) if holds), 0)
            told: tuple[FieldKind, ...] = ("text", "flag", "whole", "number")
            found[name] = told[which] if count else "nothing"
    return found


def field_values(con: duckdb.DuckDBPyConnection, rows: np.ndarray, name: str) -> pa.ChunkedArray:
    """The JSON texts of one original field, null where a row lacks it."""
    query = f"SELECT map_extract_value(s.fields, ?) AS v FROM {_CHOSEN} WHERE s.set_id = ? ORDER BY s.row"
    with _registered(con, rows):
        return con.sql(query, params=[bare(name), _pool(con)]).to_arrow_table().column("v")


def composition(
    con: duckdb.DuckDBPyConnection, rows: np.ndarray, field: str | None = None, *, limit: int = 12
) -> list[dict[str, Any]]:
    """Rows and words per file, or per value of a field (as its JSON text), the largest `limit` first."""
    value = "f.name" if field is None else "map_extract_value(s.fields, $field)"
    join = "JOIN files f ON f.file_id = s.file_id" if field is None else ""
    query = f"""SELECT {value} AS value, count(*) AS rows, sum(s.words)::BIGINT AS words FROM {_CHOSEN} {join}
        WHERE s.set_id = $pool GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT $limit"""
    given: dict[str, Any] = {"pool": _pool(con), "limit": limit} | ({} if field is None else {"field": bare(field)})
    with _registered(con, rows):
        found = con.execute(query, given).fetchall()
    return [{"value": value, "rows": count, "words": words} for value, count, words in found]


def bare(name: str) -> str:
    """The name of a field as the rows spell it, without the mark of one that is called like a built-in column."""
    own = name.removeprefix(FIELD_PREFIX)
    return own if own in BUILT_IN_COLUMNS else name


def _pool(con: duckdb.DuckDBPyConnection) -> int:
    found = set_id_of(con, "pool", "")
    return -1 if found is None else found


@contextmanager
def _registered(con: duckdb.DuckDBPyConnection, rows: np.ndarray) -> Iterator[None]:
    con.register(_WANTED, pa.table({"row": pa.array(np.asarray(rows, np.int64))}))
    try:
        yield
    finally:
        con.unregister(_WANTED)
