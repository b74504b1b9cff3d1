"""Random audits: which rows were drawn, in which order and out of which, and how far reviewers got.

An *audit* is drawn once and never changes: the *members* are the pool rows that were undecided and passed the filters
when it began, `rows` the first of them in a seeded random order. *Reached* counts how many of `rows` have been put
before a reviewer and answered; it only grows. Both are append-only. What follows from the answers is
`engine.curation.audit`; this neither draws nor estimates.
"""

import zlib
from dataclasses import dataclass

import duckdb
import numpy as np
import pyarrow as pa

from engine.errors import EngineError
from engine.store.catalogue import first
from engine.store.decisions import last_batch
from engine.store.records import now


@dataclass(frozen=True)
class Audit:
    """One audit. `pool`: usable rows when it began; `filters`: those then in force, as `engine.curation.filters`
    encodes them, "" for none; `decision_batch`: the latest batch of decisions then; `members` bool (pool,); `rows`
    int32, in the order drawn.
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
    """Keep a new audit (inside the caller's transaction) and return it."""
    number = count(con) + 1
    packed = zlib.compress(np.packbits(members).tobytes(), 6)
    values = [number, now(), by, seed, len(members), int(members.sum()), filters, last_batch(con), packed]
    con.register("new_audit", pa.table({"rows": pa.array([rows.astype(np.int32)], pa.list_(pa.int32()))}))
    try:
        con.execute("INSERT INTO audits SELECT ?, ?, ?, ?, ?, ?, ?, ?, ?, rows FROM new_audit", values)
    finally:
        con.unregister("new_audit")
    return get(con, number)


def count(con: duckdb.DuckDBPyConnection) -> int:
    """How many audits there are; they are numbered from 1."""
    found = first(con, "SELECT coalesce(max(audit), 0) FROM audits")
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


def reach(con: duckdb.DuckDBPyConnection, number: int, place: int, *, by: str) -> None:
    """Record that the first `place` rows have been answered, where that is further than before."""
    if place > reached(con, number):
        con.execute("INSERT INTO audit_progress VALUES (?, ?, ?, ?)", [number, now(), by, place])
