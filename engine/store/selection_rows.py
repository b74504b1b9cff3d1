"""The rows of saved selections: written with a version, read when they are asked for.

A project has many versions and a page looks at one, so a selection's record is light and its rows follow on demand
(`SelectedRows`). Notation: k rows of a version, ascending; `order` and `gains` as the strategy took them.
Does not check them (`selections`).
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property

import duckdb
import numpy as np
import pyarrow as pa

Session = Callable[[], AbstractContextManager[duckdb.DuckDBPyConnection]]
Taken = tuple[np.ndarray, np.ndarray] | None


@dataclass(frozen=True)
class Chosen:
    """The rows of one version: `rows` int64 (k,), the others as in `selections.Selection`; None where it has none."""

    rows: np.ndarray
    weights: np.ndarray | None
    order: np.ndarray | None
    gains: np.ndarray | None
    reasons: np.ndarray | None


class SelectedRows:
    """The rows of one version, read once, when they are first asked for."""

    def __init__(self, session: Session, number: int, *, weighted: bool) -> None:
        """Read nothing yet; `session` opens the catalogue."""
        self._session, self._number, self._weighted = session, number, weighted

    def read(self) -> None:
        """Read the rows now, while the catalogue is open."""
        _ = self.chosen

    @cached_property
    def chosen(self) -> Chosen:
        """The rows and all that stands beside them."""
        with self._session() as con:
            return read(con, self._number, weighted=self._weighted)


def read(con: duckdb.DuckDBPyConnection, number: int, *, weighted: bool) -> Chosen:
    """The rows of the version with this number; what comes back must not be changed."""
    query = "SELECT row, weight, place, gain, reason FROM selection_rows WHERE selection = ? ORDER BY row"
    table = con.sql(query, params=[number]).to_arrow_table()
    order, gains = _taken(table)
    weights = table.column("weight").to_numpy().astype(np.float32) if weighted else None
    return Chosen(table.column("row").to_numpy().astype(np.int64), weights, order, gains, _told(table))


def sizes(con: duckdb.DuckDBPyConnection) -> dict[int, int]:
    """How many rows each version has, by its number."""
    return dict(con.execute("SELECT selection, count(*) FROM selection_rows GROUP BY selection").fetchall())


def insert(
    con: duckdb.DuckDBPyConnection,
    number: int,
    rows: np.ndarray,
    weights: np.ndarray | None,
    taken: Taken,
    reasons: pa.Array | None,
) -> None:
    """Keep the rows of a new version; `taken` is the place int32 (k,) and the gain float64 (k,) of each."""
    kept = pa.nulls(len(rows), pa.float32()) if weights is None else pa.array(weights, pa.float32())
    places, gains = taken or (pa.nulls(len(rows), pa.int32()), pa.nulls(len(rows), pa.float64()))
    told = pa.nulls(len(rows), pa.string()) if reasons is None else reasons
    columns = {"row": pa.array(rows, pa.int32()), "weight": kept, "place": places, "gain": gains, "reason": told}
    con.register("new_selection", pa.table(columns))
    query = """INSERT INTO selection_rows (selection, row, weight, place, gain, reason)
        SELECT ?, row, weight, place, gain, reason FROM new_selection ORDER BY row"""
    try:
        con.execute(query, [number])
    finally:
        con.unregister("new_selection")


def _told(table: pa.Table) -> np.ndarray | None:
    """The reasons of the rows, if they have any; every different text is made once."""
    column = table.column("reason")
    if not table.num_rows or column.null_count == table.num_rows:
        return None
    coded = column.combine_chunks().fill_null("").dictionary_encode()
    return np.asarray(coded.dictionary.to_pylist(), object)[coded.indices.to_numpy()]


def _taken(table: pa.Table) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Order and gains from the rows' places, if they have any."""
    if not table.num_rows or table.column("place").null_count:
        return None, None
    order = np.argsort(table.column("place").to_numpy())
    rows, gains = (table.column(name).to_numpy()[order] for name in ("row", "gain"))
    return rows.astype(np.int64), gains.astype(np.float64)
