"""Selections: named, versioned subsets of the pool; a draft is proposed, then approved as a whole or returned.

Saving under a name always makes the next version; no version is ever changed. What happened to it stands beside it
(who, when, note; see `selection_events`). A selection holds no rejected row: people's decisions beat any strategy.
Does not choose rows (`engine.selection`) and does not write them out (`engine.export`).
"""

import json
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa

from engine.errors import EngineError
from engine.store import decisions, reading, selection_events, selection_rows
from engine.store.artifacts import finite
from engine.store.records import now
from engine.store.selection_events import Event, Kind, State, state_of
from engine.store.selection_rows import SelectedRows, Session, Taken


@dataclass(frozen=True)
class Selection:
    """One version of a selection.

    `size`: its number of rows, k. `spec`: how it was made. `run`: the run whose scores it rests on. `decision_batch`:
    the latest batch of decisions it could know. `by`: who saved it. `note`: that of the latest event. `events`: what
    happened to it, oldest first. The rows and what stands beside them are read when they are first asked for.
    """

    name: str
    version: int
    state: State
    spec: dict[str, Any]
    size: int
    run: str | None
    created: str
    by: str
    approved_by: str | None
    approved_at: str | None
    note: str
    decision_batch: int
    events: tuple[Event, ...]
    parts: SelectedRows = field(repr=False, compare=False)

    @property
    def rows(self) -> np.ndarray:
        """int64 (k,): pool rows, ascending."""
        return self.parts.chosen.rows

    @property
    def weights(self) -> np.ndarray | None:
        """float32 (k,), or None."""
        return self.parts.chosen.weights

    @property
    def order(self) -> np.ndarray | None:
        """int64 (k,): the rows as they were taken; None where the strategy took them together, and before 0.2."""
        return self.parts.chosen.order

    @property
    def gains(self) -> np.ndarray | None:
        """float64 (k,): what each row added, in the order they were taken; None without one."""
        return self.parts.chosen.gains

    @property
    def reasons(self) -> np.ndarray | None:
        """Objects (k,): why each of `rows` is in, as text; None where it was not told."""
        return self.parts.chosen.reasons

    @property
    def remark(self) -> str:
        """What a reader of its approval should know of who gave it; "" where there is nothing to say."""
        return selection_events.remark(self.events, self.by)


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
    reasons: Sequence[str] | None = None,
) -> Selection:
    """Keep a new version as a draft (inside the caller's transaction) and return it; `spec["run"]` names its run.

    `reasons` says of each of `rows`, in their order, why it is in. Raises `EngineError` for a bad name, no rows,
    repeated or unknown rows, rejected rows, bad weights, an order of other rows or without its gains, reasons of
    another number, no author.
    """
    _check_text(name, "A selection", 100)
    _check_text(by, "The person who saves a selection", 200)
    numbers, kept = _checked(con, rows, weights)
    taken = _checked_order(numbers, order, gains)
    told = _checked_reasons(rows, reasons)
    spec = finite(dict(spec))
    version = 1 + max((v for (v,) in _find(con, name, "version")), default=0)
    number = 1 + max((v for (v,) in con.execute("SELECT selection FROM selections").fetchall()), default=0)
    values = [number, name, version, json.dumps(spec, ensure_ascii=False), spec.get("run"), kept is not None]
    con.execute(
        "INSERT INTO selections VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", [*values, now(), by, decisions.last_batch(con)]
    )
    selection_rows.insert(con, number, numbers, kept, taken, told)
    return get(con, name, version)


_DOING = {
    "proposed": ("The person who proposes", "propose"),
    "approved": ("The person who approves", "approve"),
    "returned": ("The person who returns a selection", "return"),
}


def happen(
    con: duckdb.DuckDBPyConnection,
    kind: Kind,
    name: str,
    *,
    by: str,
    note: str,
    version: int | None,
    details: Mapping[str, Any] | None = None,
) -> Selection:
    """Propose, approve or return a version (the latest by default) and return it. `details`: the figures it rests on.

    Raises `EngineError` where its state does not allow it (see `selection_events`), if one of its rows was rejected
    since it was saved (it can be returned even so), and without an author.
    """
    person, verb = _DOING[kind]
    _check_text(by, person, 200, untouched=f"Nothing was {kind}.")
    selection = get(con, name, version)
    title = f"{selection.name!r} version {selection.version}"
    number = _find(con, selection.name, "selection", selection.version)[0][0]
    selection_events.add(con, number, kind, title=title, by=by, note=note, details=details)
    rejected = int((decisions.current(con)[selection.rows] == decisions.REJECT).sum())
    if rejected and kind != "returned":
        raise EngineError(
            f"Selection {title} holds {rejected:,} samples that were rejected since it was saved. "
            f"Select again and {verb} the new version; nothing was {kind}."
        )
    return get(con, selection.name, selection.version)


def get(con: duckdb.DuckDBPyConnection, name: str, version: int | None = None) -> Selection:
    """The selection of this name, latest version by default; `EngineError` naming what there is if it is missing."""
    where, now_open = "WHERE s.name = ? AND (?::INTEGER IS NULL OR s.version = ?)", lambda: nullcontext(con)
    found = _load(con, where, [name, version, version], now_open)
    if found:
        found[-1].parts.read()
        return found[-1]
    known = sorted({n for (n,) in con.execute("SELECT name FROM selections").fetchall()})
    if name in known:
        versions = ", ".join(str(v) for (v,) in sorted(_find(con, name, "version")))
        raise EngineError(f"Selection {name!r} has no version {version}. There are: {versions}.")
    there = f"There are: {', '.join(known)}." if known else "None has been saved yet; select first."
    raise EngineError(f"There is no selection {name!r}. {there}")


def every(con: duckdb.DuckDBPyConnection, session: Session) -> list[Selection]:
    """All versions of all selections, in order of saving; `session` opens the catalogue when rows are asked for."""
    return _load(con, "", [], session)


def _load(con: duckdb.DuckDBPyConnection, where: str, values: list[Any], session: Session) -> list[Selection]:
    query = f"""SELECT s.selection, s.name, s.version, s.spec, s.run, s.weighted, s.created, s.author, s.decision_batch
        FROM selections s {where} ORDER BY s.selection"""
    found = con.execute(query, values).fetchall()
    events, sizes = selection_events.of(con, [v[0] for v in found]), selection_rows.sizes(con)
    return [_selection(v, events.get(v[0], ()), sizes.get(v[0], 0), session) for v in found]


def _selection(v: tuple[Any, ...], events: tuple[Event, ...], size: int, session: Session) -> Selection:
    state = state_of(events)
    return Selection(
        name=v[1],
        version=v[2],
        state=state,
        spec=json.loads(v[3]),
        size=size,
        run=v[4],
        created=v[6],
        by=v[7],
        approved_by=events[-1].by if state == "approved" else None,
        approved_at=events[-1].at if state == "approved" else None,
        note=events[-1].note if events else "",
        decision_batch=v[8],
        events=events,
        parts=SelectedRows(session, v[0], weighted=v[5]),
    )


def _find(con: duckdb.DuckDBPyConnection, name: str, what: str, version: int | None = None) -> list[tuple[int]]:
    query = f"SELECT {what} FROM selections WHERE name = ? AND (?::INTEGER IS NULL OR version = ?)"
    return con.execute(query, [name, version, version]).fetchall()


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
        raise EngineError(f"Sample {wrong} does not exist: the pool has {pool:,} usable samples. Nothing was saved.")
    if len(np.unique(numbers)) < len(numbers):
        raise EngineError("A selection names each sample once; some were repeated. Nothing was saved.")
    rejected = int((decisions.current(con)[numbers] == decisions.REJECT).sum())
    if rejected:
        raise EngineError(
            f"{rejected:,} of the samples are rejected; a selection never holds those. Nothing was saved."
        )
    return numbers, _checked_weights(weights, order)


def _checked_weights(weights: Sequence[float] | np.ndarray | None, order: np.ndarray) -> np.ndarray | None:
    if weights is None:
        return None
    values = np.asarray(weights, np.float32)
    if values.shape != order.shape or not np.isfinite(values).all() or (values < 0).any():
        raise EngineError("Weights are finite numbers, none negative, one per sample. Nothing was saved.")
    return values[order]


def _checked_order(rows: np.ndarray, order: np.ndarray | None, gains: np.ndarray | None) -> Taken:
    """The place int32 (k,) and the gain float64 (k,) of each of `rows`, which ascend; None without an order."""
    if order is None and gains is None:
        return None
    taken, gained = np.asarray(order), np.asarray(gains)
    at = np.argsort(taken) if taken.shape == rows.shape else np.zeros(0, np.int64)
    if gained.shape != rows.shape or not np.array_equal(taken[at], rows) or not np.isfinite(gained).all():
        raise EngineError(
            "The order of a selection names each of its samples once, with a finite gain for each. Nothing was saved."
        )
    return at.astype(np.int32), gained[at].astype(np.float64)


def _checked_reasons(rows: Sequence[int] | np.ndarray, reasons: Sequence[str] | None) -> pa.Array | None:
    """The reasons in the order of ascending rows; None without any."""
    if reasons is None:
        return None
    if len(reasons) != len(rows) or not all(isinstance(reason, str) for reason in reasons):
        raise EngineError(
            f"Reasons are texts, one per sample: got {len(reasons):,} for {len(rows):,} samples. Nothing was saved."
        )
    return pa.array(reasons, pa.string()).take(pa.array(np.argsort(np.asarray(rows), kind="stable")))


def _check_text(text: str, what: str, longest: int, *, untouched: str = "Nothing was saved.") -> None:
    if not text.strip() or text != text.strip() or len(text) > longest or not text.isprintable():
        raise EngineError(
            f"{what} needs a name of 1 to {longest} printable characters without spaces at the ends, got {text!r}. "
            f"{untouched}"
        )
