"""Selections: named, versioned subsets of the pool; a draft becomes approved as a whole by a person.

Saving under a name always makes the next version; no version is ever changed. Approval is a record beside it (who,
when, note). A selection holds no rejected row: people's decisions beat any strategy.
Does not choose rows (`engine.selection`) and does not write them out (`engine.export`).
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import duckdb
import numpy as np
import pyarrow as pa

from engine.errors import EngineError
from engine.store import decisions, reading
from engine.store.artifacts import finite
from engine.store.records import now


@dataclass(frozen=True)
class Selection:
    """One version of a selection.

    `rows`: int64 (k,) pool rows, ascending. `weights`: float32 (k,) or None. `order`: int64 (k,) the rows as they were
    taken, and `gains` float64 (k,) what each added, in that order; None where the strategy took them together, and for
    selections of before version 0.2. `spec`: how it was made. `run`: the run whose scores it rests on.
    `decision_batch`: the latest batch of decisions it could know. `by`: who saved it.
    """

    name: str
    version: int
    state: Literal["draft", "approved"]
    spec: dict[str, Any]
    rows: np.ndarray
    weights: np.ndarray | None
    run: str | None
    created: str
    by: str
    approved_by: str | None
    approved_at: str | None
    note: str
    decision_batch: int
    order: np.ndarray | None = None
    gains: np.ndarray | None = None


def save(
    con: duckdb.DuckDBPyConnection,
    name: str,
    *,
    spec: Mapping[str, Any],
    rows: Sequence[int] | np.ndarray,
    weights: Sequence[float] | np.ndarray | None,
    by: str,
    order: np.ndarray | None = None,
    gains: np.ndarray | None = None,
) -> Selection:
    """Keep a new version as a draft (inside the caller's transaction) and return it; `spec["run"]` names its run.

    Raises `EngineError` for a bad name, no rows, repeated or unknown rows, rejected rows, bad weights, an order of
    other rows or without its gains, no author.
    """
    _check_text(name, "A selection", 100)
    _check_text(by, "The person who saves a selection", 200)
    numbers, kept = _checked(con, rows, weights)
    taken = _checked_order(numbers, order, gains)
    spec = finite(dict(spec))
    version = 1 + max((v for (v,) in _find(con, name, "version")), default=0)
    number = 1 + max((v for (v,) in con.execute("SELECT selection FROM selections").fetchall()), default=0)
    values = [number, name, version, json.dumps(spec, ensure_ascii=False), spec.get("run"), kept is not None]
    con.execute(
        "INSERT INTO selections VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", [*values, now(), by, decisions.last_batch(con)]
    )
    _insert_rows(con, number, numbers, kept, taken)
    return get(con, name, version)


def approve(con: duckdb.DuckDBPyConnection, name: str, *, by: str, note: str, version: int | None) -> Selection:
    """Approve a version (the latest by default) and return it.

    Raises `EngineError` if it is approved already, or if one of its rows was rejected since it was saved.
    """
    _check_text(by, "The person who approves", 200)
    selection = get(con, name, version)
    title = f"{selection.name!r} version {selection.version}"
    if selection.state == "approved":
        raise EngineError(
            f"Selection {title} was approved by {selection.approved_by} at {selection.approved_at}. "
            "Save a new version to change it; it was left as it is."
        )
    rejected = int((decisions.current(con)[selection.rows] == decisions.REJECT).sum())
    if rejected:
        raise EngineError(
            f"Selection {title} holds {rejected:,} rows that were rejected since it was saved. "
            "Select again and approve the new version; nothing was approved."
        )
    number = _find(con, selection.name, "selection", selection.version)[0][0]
    con.execute("INSERT INTO selection_events VALUES (?, 'approved', ?, ?, ?, NULL)", [number, by, now(), note])
    return get(con, selection.name, selection.version)


def get(con: duckdb.DuckDBPyConnection, name: str, version: int | None = None) -> Selection:
    """The selection of this name, latest version by default; `EngineError` naming what there is if it is missing."""
    found = _load(con, "WHERE s.name = ? AND (?::INTEGER IS NULL OR s.version = ?)", [name, version, version])
    if found:
        return found[-1]
    known = sorted({n for (n,) in con.execute("SELECT name FROM selections").fetchall()})
    if name in known:
        versions = ", ".join(str(v) for (v,) in sorted(_find(con, name, "version")))
        raise EngineError(f"Selection {name!r} has no version {version}. There are: {versions}.")
    there = f"There are: {', '.join(known)}." if known else "None has been saved yet; select first."
    raise EngineError(f"There is no selection {name!r}. {there}")


def every(con: duckdb.DuckDBPyConnection) -> list[Selection]:
    """All versions of all selections, in order of saving."""
    return _load(con, "", [])


def _load(con: duckdb.DuckDBPyConnection, where: str, values: list[Any]) -> list[Selection]:
    query = f"""SELECT s.selection, s.name, s.version, s.spec, s.run, s.weighted, s.created, s.author,
        a.author, a.made, coalesce(a.note, ''), s.decision_batch
        FROM selections s LEFT JOIN selection_events a ON a.selection = s.selection AND a.kind = 'approved' {where} ORDER BY s.selection"""
    return [_selection(con, v) for v in con.execute(query, values).fetchall()]


def _selection(con: duckdb.DuckDBPyConnection, v: tuple[Any, ...]) -> Selection:
    query = "SELECT row, weight, place, gain FROM selection_rows WHERE selection = ? ORDER BY row"
    table = con.sql(query, params=[v[0]]).to_arrow_table()
    order, gains = _taken(table)
    return Selection(
        name=v[1],
        version=v[2],
        state="draft" if v[8] is None else "approved",
        spec=json.loads(v[3]),
        rows=table.column("row").to_numpy().astype(np.int64),
        weights=table.column("weight").to_numpy().astype(np.float32) if v[5] else None,
        run=v[4],
        created=v[6],
        by=v[7],
        approved_by=v[8],
        approved_at=v[9],
        note=v[10],
        decision_batch=v[11],
        order=order,
        gains=gains,
    )


def _taken(table: pa.Table) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Order and gains from the rows' places, if they have any."""
    if not table.num_rows or table.column("place").null_count:
        return None, None
    order = np.argsort(table.column("place").to_numpy())
    rows, gains = (table.column(name).to_numpy()[order] for name in ("row", "gain"))
    return rows.astype(np.int64), gains.astype(np.float64)


def _find(con: duckdb.DuckDBPyConnection, name: str, what: str, version: int | None = None) -> list[tuple[int]]:
    query = f"SELECT {what} FROM selections WHERE name = ? AND (?::INTEGER IS NULL OR version = ?)"
    return con.execute(query, [name, version, version]).fetchall()


Taken = tuple[np.ndarray, np.ndarray] | None


def _insert_rows(
    con: duckdb.DuckDBPyConnection, number: int, rows: np.ndarray, weights: np.ndarray | None, taken: Taken
) -> None:
    kept = pa.nulls(len(rows), pa.float32()) if weights is None else pa.array(weights, pa.float32())
    places, gains = taken or (pa.nulls(len(rows), pa.int32()), pa.nulls(len(rows), pa.float64()))
    columns = {"row": pa.array(rows, pa.int32()), "weight": kept, "place": places, "gain": gains}
    con.register("new_selection", pa.table(columns))
    query = """INSERT INTO selection_rows (selection, row, weight, place, gain)
        SELECT ?, row, weight, place, gain FROM new_selection ORDER BY row"""
    try:
        con.execute(query, [number])
    finally:
        con.unregister("new_selection")


def _checked(
    con: duckdb.DuckDBPyConnection, rows: Sequence[int] | np.ndarray, weights: Sequence[float] | np.ndarray | None
) -> tuple[np.ndarray, np.ndarray | None]:
    numbers = np.asarray(rows)
    if numbers.ndim != 1 or not len(numbers) or not np.issubdtype(numbers.dtype, np.integer):
        raise EngineError("A selection needs a list of at least one row number. Nothing was saved.")
    order = np.argsort(numbers, kind="stable")
    numbers = numbers[order].astype(np.int64)
    pool = reading.size(con, "pool", "")
    if numbers[0] < 0 or numbers[-1] >= pool:
        wrong = numbers[0] if numbers[0] < 0 else numbers[-1]
        raise EngineError(f"Row {wrong} does not exist: the pool has {pool:,} usable rows. Nothing was saved.")
    if len(np.unique(numbers)) < len(numbers):
        raise EngineError("A selection names each row once; some were repeated. Nothing was saved.")
    rejected = int((decisions.current(con)[numbers] == decisions.REJECT).sum())
    if rejected:
        raise EngineError(f"{rejected:,} of the rows are rejected; a selection never holds those. Nothing was saved.")
    return numbers, _checked_weights(weights, order)


def _checked_weights(weights: Sequence[float] | np.ndarray | None, order: np.ndarray) -> np.ndarray | None:
    if weights is None:
        return None
    values = np.asarray(weights, np.float32)
    if values.shape != order.shape or not np.isfinite(values).all() or (values < 0).any():
        raise EngineError("Weights are finite numbers, none negative, one per row. Nothing was saved.")
    return values[order]


def _checked_order(rows: np.ndarray, order: np.ndarray | None, gains: np.ndarray | None) -> Taken:
    """The place int32 (k,) and the gain float64 (k,) of each of `rows`, which ascend; None without an order."""
    if order is None and gains is None:
        return None
    taken, gained = np.asarray(order), np.asarray(gains)
    at = np.argsort(taken) if taken.shape == rows.shape else np.zeros(0, np.int64)
    if gained.shape != rows.shape or not np.array_equal(taken[at], rows) or not np.isfinite(gained).all():
        raise EngineError(
            "The order of a selection names each of its rows once, with a finite gain for each. Nothing was saved."
        )
    return at.astype(np.int32), gained[at].astype(np.float64)


def _check_text(text: str, what: str, longest: int) -> None:
    if not text.strip() or text != text.strip() or len(text) > longest or not text.isprintable():
        raise EngineError(
            f"{what} needs a name of 1 to {longest} printable characters without spaces at the ends, got {text!r}. "
            "Nothing was saved."
        )
