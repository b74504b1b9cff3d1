"""Decisions of people about pool rows: an append-only log of batches, and its current state.

Notation: a *code* is a value of `DECISIONS`: 0 none, 1 approve, 2 reject, 3 skip. A *batch* is one act of one
person: rows, their new codes and the codes they had. Undoing is a further batch; nothing is ever deleted.
The current state is the replay of all batches in order. A snapshot of it is kept beside the log once the replay
grows long; it is a cache, taken in the same transaction, and a replay from nothing gives the same.
Does not know why a row was decided upon; approving a selection as a whole is `selections`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from engine.errors import EngineError
from engine.store import reading
from engine.store.catalogue import first
from engine.store.records import now

Decision = Literal["approve", "reject", "skip", "clear"]
NONE, APPROVE, REJECT, SKIP = range(4)
DECISIONS: dict[str, int] = {"none": NONE, "approve": APPROVE, "reject": REJECT, "skip": SKIP}
SNAPSHOT_AFTER = 10_000
_STATE_OF = {"clear": "none"}
_NAMES = tuple(DECISIONS)


@dataclass(frozen=True)
class DecisionEntry:
    """One line of the log: a row's new decision and the one before, by whom, when (UTC), in which batch, and why.

    `kind` is "decide" or "undo"; `undoes` is the batch an undo takes back.
    """

    batch: int
    row: int
    decision: str
    previous: str
    by: str
    at: str
    note: str
    kind: str
    undoes: int | None


def decide(
    con: duckdb.DuckDBPyConnection, rows: Sequence[int] | np.ndarray, decision: str, *, by: str, note: str
) -> int:
    """Append one batch (inside the caller's transaction) and return its number.

    Rows named twice count once. Raises `EngineError` for an unknown decision, no author, no row, or a row that does
    not exist; then nothing is recorded.
    """
    if decision not in get_args(Decision):
        raise EngineError(f"{decision!r} is no decision; use {', '.join(get_args(Decision))}. Nothing was recorded.")
    pool = reading.size(con, "pool", "")
    numbers = _checked_rows(rows, pool)
    codes = np.full(len(numbers), DECISIONS[_STATE_OF.get(decision, decision)], np.int8)
    return _append(con, numbers, codes, pool=pool, by=by, note=note, kind="decide", undoes=None)


def undo(con: duckdb.DuckDBPyConnection, *, by: str, batch: int | None) -> int:
    """Take a batch back by a further batch; return how many rows changed.

    Rows get the decision they would have had without it: a later decision stands, an earlier one returns. `batch`
    None means the latest act of this person that still stands and was made here, not in another copy whose decisions
    were taken in; 0 if there is none. An undo can itself be undone by its number. Raises `EngineError` for a batch
    that does not exist or is taken back already.
    """
    _check_author(by)
    pairs = con.execute("SELECT batch, undoes FROM decision_batches ORDER BY batch").fetchall()
    undoes: dict[int, int | None] = dict(pairs)
    taken = taken_back(undoes)
    if batch is None:
        query = """SELECT batch FROM decision_batches WHERE kind = 'decide' AND author = ? AND origin IS NULL
            ORDER BY batch DESC"""
        own = (int(number) for (number,) in con.execute(query, [by]).fetchall())
        batch = next((number for number in own if number not in taken), None)
        if batch is None:
            return 0
    if batch not in undoes or batch in taken:
        why = "is taken back already" if batch in undoes else "does not exist"
        raise EngineError(f"Batch {batch} {why}. Nothing was recorded.")
    pool = reading.size(con, "pool", "")
    rows, codes = _without(con, undoes, batch, pool)
    state = _state(con, pool)
    changed = codes != state[rows]
    _append(con, rows[changed], codes[changed], pool=pool, by=by, note="", kind="undo", undoes=batch)
    return int(changed.sum())


def taken_back(undoes: Mapping[int, int | None]) -> set[int]:
    """Batches whose undo stands, given what each batch undoes; an undo that was itself undone does not stand."""
    taken: set[int] = set()
    for batch in sorted(undoes, reverse=True):
        target = undoes[batch]
        if target is not None and batch not in taken:
            taken.add(target)
    return taken


def _without(
    con: duckdb.DuckDBPyConnection, undoes: Mapping[int, int | None], batch: int, pool: int
) -> tuple[np.ndarray, np.ndarray]:
    """The rows of the decision that `batch` made or took back, and their codes once `batch` is taken back."""
    root = batch
    while (target := undoes[root]) is not None:
        root = target
    taken = taken_back({**undoes, max(undoes) + 1: batch})
    log = _log(con, "WHERE kind = 'decide'", [])
    rows = log.row[log.batch == root]
    concerned = np.zeros(pool, bool)
    concerned[rows] = True
    stands = concerned[log.row] & ~np.isin(log.batch, sorted(taken))
    codes = np.zeros(pool, np.int8)
    codes[log.row[stands]] = log.decision[stands]
    return rows, codes[rows]


def current(con: duckdb.DuckDBPyConnection) -> np.ndarray:
    """The code of every usable pool row, int8 (n,)."""
    return _state(con, reading.size(con, "pool", ""))


@dataclass(frozen=True)
class DecisionState:
    """The decisions in force after `batch` (0: none), which was made at `made`: codes int8 (n,), not to be changed."""

    batch: int
    made: str
    codes: np.ndarray


def state_after(con: duckdb.DuckDBPyConnection, known: DecisionState | None) -> DecisionState:
    """The present state, from the log lines beyond the `known` one where that is a state of this log."""
    query = "SELECT coalesce(max(batch), 0), coalesce(arg_max(made, batch), '') FROM decision_batches"
    last = first(con, query) or (0, "")
    pool = reading.size(con, "pool", "")
    if known is None or not _is_of(con, known) or len(known.codes) > pool:
        return DecisionState(int(last[0]), last[1], _state(con, pool))
    if known.batch == last[0] and len(known.codes) == pool:
        return known
    codes = np.zeros(pool, np.int8)
    codes[: len(known.codes)] = known.codes
    log = _log(con, "WHERE batch > ?", [known.batch])
    codes[log.row] = log.decision
    return DecisionState(int(last[0]), last[1], codes)


def _is_of(con: duckdb.DuckDBPyConnection, known: DecisionState) -> bool:
    """Whether the log holds the batch that the state ends with; of a project put in its place it would not."""
    if known.batch == 0:
        return True
    return first(con, "SELECT made FROM decision_batches WHERE batch = ?", [known.batch]) == (known.made,)


def replay(con: duckdb.DuckDBPyConnection) -> np.ndarray:
    """`current` from the whole log, without the snapshot: what defines it. int8 (n,)."""
    codes = np.zeros(reading.size(con, "pool", ""), np.int8)
    log = _log(con, "", [])
    codes[log.row] = log.decision  # of a row named several times the last entry stays
    return codes


def last_batch(con: duckdb.DuckDBPyConnection) -> int:
    """Number of the latest batch, 0 if there is none."""
    found = first(con, "SELECT coalesce(max(batch), 0) FROM decision_batches")
    return int(found[0]) if found else 0


def entries(con: duckdb.DuckDBPyConnection, *, rows: Sequence[int] | None, limit: int) -> list[DecisionEntry]:
    """The latest `limit` log lines, newest first; only those of `rows` if given."""
    query = """SELECT batch, row, decision, previous, author, made, note, kind, undoes FROM decision_log {where}
        ORDER BY batch DESC, row LIMIT ?"""
    if rows is None:
        enough = "(SELECT min(batch) FROM (SELECT batch FROM decision_batches ORDER BY batch DESC LIMIT ?))"
        found = con.execute(query.format(where=f"WHERE batch >= {enough}"), [limit, limit]).fetchall()
    else:
        numbers = [int(r) for r in rows]
        found = con.execute(query.format(where="WHERE list_contains(?::INTEGER[], row)"), [numbers, limit]).fetchall()
    return [DecisionEntry(v[0], v[1], _NAMES[v[2]], _NAMES[v[3]], *v[4:]) for v in found]


@dataclass(frozen=True)
class _Log:
    """Log lines in order, as flat arrays of one length."""

    batch: np.ndarray
    row: np.ndarray
    decision: np.ndarray
    previous: np.ndarray


def _log(con: duckdb.DuckDBPyConnection, where: str, values: list[object]) -> _Log:
    query = f"SELECT batch, rows, decisions, previous FROM decision_batches {where} ORDER BY batch"
    table = con.sql(query, params=values).to_arrow_table()
    lists = [table.column(name).combine_chunks() for name in ("rows", "decisions", "previous")]
    rows, decisions, previous = (np.asarray(_flat(column)) for column in lists)
    lengths = np.asarray(pc.list_value_length(_whole(lists[0])))
    return _Log(np.repeat(table.column("batch").to_numpy(), lengths), rows, decisions, previous)


def _whole(column: pa.Array | pa.ChunkedArray) -> pa.Array:
    return pa.concat_arrays(column.chunks) if isinstance(column, pa.ChunkedArray) else column


def _flat(column: pa.Array | pa.ChunkedArray) -> pa.Array:
    return _whole(column).flatten()


def _state(con: duckdb.DuckDBPyConnection, pool: int) -> np.ndarray:
    codes = np.zeros(pool, np.int8)
    snapshot = first(con, "SELECT batch, codes FROM decision_snapshot ORDER BY batch DESC LIMIT 1")
    since = 0
    if snapshot is not None:
        since, kept = int(snapshot[0]), np.frombuffer(snapshot[1], np.int8)
        codes[: len(kept)] = kept
    log = _log(con, "WHERE batch > ?", [since])
    codes[log.row] = log.decision
    return codes


def _append(
    con: duckdb.DuckDBPyConnection,
    rows: np.ndarray,
    codes: np.ndarray,
    *,
    pool: int,
    by: str,
    note: str,
    kind: str,
    undoes: int | None,
) -> int:
    _check_author(by)
    state = _state(con, pool)
    batch = last_batch(con) + 1
    values = {"rows": rows.astype(np.int32), "decisions": codes, "previous": state[rows]}
    table = pa.table(
        {name: pa.array([array], pa.list_(pa.from_numpy_dtype(array.dtype))) for name, array in values.items()}
    )
    con.register("new_batch", table)
    try:
        con.execute(
            "INSERT INTO decision_batches SELECT ?, ?, ?, ?, ?, ?, ?, rows, decisions, previous, NULL FROM new_batch",
            [batch, now(), by, kind, undoes, note, len(rows)],
        )
    finally:
        con.unregister("new_batch")
    state[rows] = codes
    _keep_snapshot(con, batch, state)
    return batch


def _keep_snapshot(con: duckdb.DuckDBPyConnection, batch: int, state: np.ndarray) -> None:
    """Replace the snapshot once more than `SNAPSHOT_AFTER` log lines lie beyond it."""
    query = """SELECT coalesce(sum(touched), 0) FROM decision_batches
        WHERE batch > (SELECT coalesce(max(batch), 0) FROM decision_snapshot)"""
    beyond = first(con, query)
    if beyond and beyond[0] > SNAPSHOT_AFTER:
        con.execute("DELETE FROM decision_snapshot")
        con.execute("INSERT INTO decision_snapshot VALUES (?, ?)", [batch, state.tobytes()])


def _checked_rows(rows: Sequence[int] | np.ndarray, pool: int) -> np.ndarray:
    numbers = np.unique(np.asarray(rows))
    if not len(numbers):
        raise EngineError("No sample to decide upon was given. Nothing was recorded.")
    if not np.issubdtype(numbers.dtype, np.integer):
        raise EngineError(f"Samples are whole numbers, got {numbers.dtype}. Nothing was recorded.")
    if numbers[0] < 0 or numbers[-1] >= pool:
        wrong = numbers[0] if numbers[0] < 0 else numbers[-1]
        raise EngineError(f"Sample {wrong} does not exist: the pool has {pool:,} usable samples. Nothing was recorded.")
    return numbers


def _check_author(by: str) -> None:
    if not by.strip():
        raise EngineError("A decision needs the name of the person who makes it. Nothing was recorded.")


@dataclass(frozen=True)
class Foreign:
    """One batch to be appended as it is: who, when (UTC), and the rows of this pool it touched.

    `origin` identifies one that was made in another copy of the project among all copies, None for one made here;
    `undoes` is the number that the batch it takes back has here.
    """

    made: str
    by: str
    kind: str
    undoes: int | None
    note: str
    rows: np.ndarray
    codes: np.ndarray
    origin: str | None


def append_foreign(con: duckdb.DuckDBPyConnection, batches: Sequence[Foreign]) -> np.ndarray:
    """Append batches in their order (inside the caller's transaction), signed and dated as they are; int8 (n,) the
    state after them. They are numbered from `last_batch` + 1.
    """
    state, start = _state(con, reading.size(con, "pool", "")), last_batch(con) + 1
    previous = []
    for batch in batches:
        previous.append(state[batch.rows].tolist())
        state[batch.rows] = batch.codes
    columns = {
        "batch": pa.array(range(start, start + len(batches)), pa.int64()),
        "made": pa.array([b.made for b in batches], pa.string()),
        "author": pa.array([b.by for b in batches], pa.string()),
        "kind": pa.array([b.kind for b in batches], pa.string()),
        "undoes": pa.array([b.undoes for b in batches], pa.int64()),
        "note": pa.array([b.note for b in batches], pa.string()),
        "touched": pa.array([len(b.rows) for b in batches], pa.int64()),
        "rows": pa.array([b.rows.tolist() for b in batches], pa.list_(pa.int32())),
        "decisions": pa.array([b.codes.tolist() for b in batches], pa.list_(pa.int8())),
        "previous": pa.array(previous, pa.list_(pa.int8())),
        "origin": pa.array([b.origin for b in batches], pa.string()),
    }
    con.register("foreign_batches", pa.table(columns))
    try:
        con.execute("INSERT INTO decision_batches BY NAME SELECT * FROM foreign_batches ORDER BY batch")
    finally:
        con.unregister("foreign_batches")
    _keep_snapshot(con, start + len(batches) - 1, state)
    return state
