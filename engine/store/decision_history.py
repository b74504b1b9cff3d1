"""Looking back into the log of decisions: as it stood after a batch, and what was said with the decisions in force.

Works on an open session and changes nothing. What is in force now is `decisions.current`.
"""

import duckdb
import numpy as np

from engine.store import decisions, reading
from engine.store.decisions import _log


def as_of(con: duckdb.DuckDBPyConnection, batch: int) -> np.ndarray:
    """The code of every usable pool row as it was after `batch`, int8 (n,)."""
    if batch >= decisions.last_batch(con):
        return decisions.current(con)
    codes = np.zeros(reading.size(con, "pool", ""), np.int8)
    log = _log(con, "WHERE batch <= ?", [batch])
    codes[log.row] = log.decision
    return codes


def notes(con: duckdb.DuckDBPyConnection, rows: np.ndarray) -> list[str | None]:
    """The note of the batch in force on each of `rows` (ascending), None where it says nothing."""
    latest = np.zeros(reading.size(con, "pool", ""), np.int64)
    log = _log(con, "", [])
    latest[log.row] = log.batch
    said = dict(con.execute("SELECT batch, note FROM decision_batches WHERE note <> ''").fetchall())
    return [said.get(batch) for batch in latest[rows].tolist()]
