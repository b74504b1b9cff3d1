"""Random audits: which rows were drawn, in which order and out of which, and how far reviewers got.

An *audit* is drawn once and never changes: the *members* are the pool rows that were undecided and passed the filters
when it began, `rows` the first of them in a seeded random order. *Reached* counts how many of `rows` have been put
before a reviewer and answered; it only grows. Both are append-only. Audits made in another copy of the project can be
taken in (`audit_files`), so the latest one is that begun last and not that of the largest number. What follows from the
answers is `engine.curation.audit`; this neither draws nor estimates.
"""

import zlib
from dataclasses import dataclass
from datetime import datetime, timedelta

import duckdb
import numpy as np
import pyarrow as pa

from engine.errors import EngineError
from engine.store.catalogue import first
from engine.store.decisions import last_batch
from engine.store.records import now


@dataclass(frozen=True)
class Audit:
    """One audit. `pool`: usable rows when it began, or when it was taken in from another copy; `filters`: those in
    force when it began, as `engine.curation.filters` encodes them, "" for none; `decision_batch`: the latest batch of
    decisions then; `members` bool (pool,); `rows` int32, in the order drawn.
    """

    number: int
    made: str
    by: str
    seed: int
    pool: int
    population: int
    filters: str
    decision_batch: int
    members: np.ndarray
    rows: np.ndarray


def begin(
    con: duckdb.DuckDBPyConnection, *, members: np.ndarray, rows: np.ndarray, seed: int, filters: str, by: str
) -> Audit:
    """Keep a new audit (inside the caller's transaction) and return it; it is later than all that are known here."""
    made, before = now(), first(con, "SELECT max(made) FROM audits")
    if before and before[0] and before[0] >= made:  # one was taken in from a machine whose clock is ahead
        made = (datetime.fromisoformat(before[0]) + timedelta(milliseconds=1)).isoformat(timespec="milliseconds")
    number = keep(con, members=members, rows=rows, seed=seed, filters=filters, by=by, made=made, batch=last_batch(con))
    return get(con, number)


def keep(
    con: duckdb.DuckDBPyConnection,
    *,
    members: np.ndarray,
    rows: np.ndarray,
    seed: int,
    filters: str,
    by: str,
    made: str,
    batch: int,
) -> int:
    """Append an audit as it is (inside the caller's transaction) and return its number; fields as in `Audit`."""
    number = count(con) + 1
    packed = zlib.compress(np.packbits(members).tobytes(), 6)
    values = [number, made, by, seed, len(members), int(members.sum()), filters, batch, packed]
    con.register("new_audit", pa.table({"rows": pa.array([rows.astype(np.int32)], pa.list_(pa.int32()))}))
    try:
        con.execute("INSERT INTO audits SELECT ?, ?, ?, ?, ?, ?, ?, ?, ?, rows FROM new_audit", values)
    finally:
        con.unregister("new_audit")
    return number


def count(con: duckdb.DuckDBPyConnection) -> int:
    """How many audits there are; they are numbered from 1."""
    found = first(con, "SELECT coalesce(max(audit), 0) FROM audits")
    return int(found[0]) if found else 0


def latest(con: duckdb.DuckDBPyConnection) -> int:
    """The number of the audit begun last, in whichever copy of the project; 0 where there is none."""
    found = first(con, "SELECT audit FROM audits ORDER BY made DESC, author DESC, seed DESC, audit DESC LIMIT 1")
    return int(found[0]) if found else 0


def get(con: duckdb.DuckDBPyConnection, number: int) -> Audit:
    """The audit of this number. Raises `EngineError` where there is none."""
    query = """SELECT audit, made, author, seed, pool, population, filters, decision_batch, members, rows
        FROM audits WHERE audit = ?"""
    found = first(con, query, [number])
    if found is None:
        raise EngineError(f"There is no audit {number}. Begin one on the Review page; nothing was changed.")
    bits = np.frombuffer(zlib.decompress(found[8]), np.uint8)
    members = np.unpackbits(bits, count=found[4]).astype(bool)
    return Audit(*(*found[:8], members, np.asarray(found[9], np.int32)))


def reached(con: duckdb.DuckDBPyConnection, number: int) -> int:
    """How many of the audit's rows have been answered, in their order."""
    found = first(con, "SELECT coalesce(max(reached), 0) FROM audit_progress WHERE audit = ?", [number])
    return int(found[0]) if found else 0


def progress(con: duckdb.DuckDBPyConnection, number: int) -> tuple[int, str, str]:
    """As `reached`, with who answered furthest and when; "" where nobody did."""
    query = "SELECT reached, author, made FROM audit_progress WHERE audit = ? ORDER BY reached DESC, made LIMIT 1"
    found = first(con, query, [number])
    return (int(found[0]), found[1], found[2]) if found else (0, "", "")


def reach(con: duckdb.DuckDBPyConnection, number: int, place: int, *, by: str, made: str = "") -> None:
    """Record that the first `place` rows have been answered, where that is further than before; `made`: now."""
    if place > reached(con, number):
        con.execute("INSERT INTO audit_progress VALUES (?, ?, ?, ?)", [number, made or now(), by, place])
