"""What the catalogue knows of some pool rows only, without bringing the others' values into memory.

Notation: `rows` int64 (k,) ascending numbers of usable pool rows; everything comes back in that order. Every function
works on an open session and changes nothing. Does not read texts (`reading.rows`) or judge rows.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import duckdb
import numpy as np
import pyarrow as pa

from engine.store.reading import _CLASH, _ID, BUILT_IN_COLUMNS, FIELD_PREFIX, set_id_of

FieldKind = Literal["text", "whole", "number", "flag", "nothing"]
_WANTED = "wanted_rows"
_CHOSEN = f"samples s JOIN {_WANTED} w ON w.row = s.row"


def identities(con: duckdb.DuckDBPyConnection, rows: np.ndarray) -> tuple[list[str], list[str]]:
    """The ids of the rows (own id where unique, else engine id) and the hashes of their contents."""
    query = f"SELECT {_ID} AS id, s.hash AS hash FROM {_CHOSEN} {_CLASH} WHERE s.set_id = ? ORDER BY s.row"
    with _registered(con, rows):
        table = con.sql(query, params=[_pool(con)]).to_arrow_table()
    return table.column("id").to_pylist(), table.column("hash").to_pylist()


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
    """What kind of values each original field holds in these rows; "text" where kinds are mixed."""
    found: dict[str, FieldKind] = {}
    with _registered(con, rows):
        for name in names:
            query = f"""SELECT count(*), bool_and(left(v, 1) = '"'), bool_and(v IN ('true', 'false')),
                bool_and(regexp_full_match(v, '-?[0-9]+')), bool_and(regexp_full_match(v, '-?[0-9].*'))
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
