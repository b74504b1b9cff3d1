"""Which finished results the project has: runs, maps and signals, each pointing to an artifact folder.

A name stands for one configuration for good: the same again is reused, another is refused.
Does not look into the artifacts and does not make them (`engine.runs`).
"""

import json
from dataclasses import replace
from typing import Any

import duckdb

from engine.errors import EngineError
from engine.store.artifacts import finite
from engine.store.reading import parsed
from engine.store.records import MapRecord, RunRecord, now

_IDENTITY = ("method", "model", "config", "targets", "pool_hash")


def add_run(con: duckdb.DuckDBPyConnection, record: RunRecord) -> RunRecord:
    """Record a run; the stored record is returned if the name is there with the same identity.

    Identity: method, model, config, targets and pool. Raises `EngineError` naming what differs otherwise.
    """
    _check_name(record.name, "run")
    record = replace(record, config=finite(record.config), summary=finite(record.summary), targets=list(record.targets))
    known = {r.name: r for r in runs(con)}.get(record.name)
    if known is not None:
        _same(known, record, _IDENTITY, "run")
        return known
    record = replace(record, created=record.created or now())
    values = [record.name, record.method, record.model, _text(record.config), record.artifact, record.rows]
    values += [record.pool_hash, _text(record.targets), record.state, record.created, _text(record.summary)]
    con.execute(f"INSERT INTO runs VALUES ({', '.join('?' * len(values))})", values)
    return record


def replace_run(con: duckdb.DuckDBPyConnection, known: RunRecord, record: RunRecord) -> RunRecord:
    """Let a run point to results that cover more rows: `record`'s artifact, rows, pool and summary for those `known`.

    Raises `EngineError` unless the run is still as it was `known`.
    """
    if run(con, known.name).artifact != known.artifact:
        raise EngineError(
            f"The run {known.name!r} was changed by another process meanwhile. Look at it, and try again if need be; "
            "it was left as it is."
        )
    values = [record.artifact, record.rows, record.pool_hash, _text(finite(record.summary)), known.name]
    con.execute("UPDATE runs SET artifact = ?, covered = ?, pool_hash = ?, summary = ? WHERE name = ?", values)
    return run(con, known.name)


def runs(con: duckdb.DuckDBPyConnection) -> list[RunRecord]:
    """All runs, oldest first."""
    query = """SELECT name, method, model, config, artifact, covered, pool_hash, targets, state, created, summary
        FROM runs ORDER BY created, name"""
    return [RunRecord(*parsed(v, 3, 7, 10)) for v in con.execute(query).fetchall()]


def run(con: duckdb.DuckDBPyConnection, name: str) -> RunRecord:
    """The run of this name; `EngineError` naming what there is if it is missing."""
    known = {r.name: r for r in runs(con)}
    if name not in known:
        there = f"There are: {', '.join(known)}." if known else "None is finished yet; score the pool first."
        raise EngineError(f"There is no run {name!r}. {there}")
    return known[name]


def add_map(con: duckdb.DuckDBPyConnection, record: MapRecord) -> MapRecord:
    """Record a map; the stored record is returned if the name is there with the same artifact."""
    _check_name(record.name, "map")
    known = {m.name: m for m in maps(con)}.get(record.name)
    if known is not None:
        _same(known, record, ("artifact", "features", "pool_hash"), "map")
        return known
    record = replace(record, created=record.created or now(), summary=finite(record.summary))
    values = [record.name, record.artifact, record.rows, record.pool_hash, record.features, record.created]
    con.execute(
        "INSERT INTO maps SELECT (SELECT count(*) FROM maps), ?, ?, ?, ?, ?, ?, ?", [*values, _text(record.summary)]
    )
    return record


def maps(con: duckdb.DuckDBPyConnection) -> list[MapRecord]:
    """All maps, oldest first."""
    query = "SELECT name, artifact, covered, pool_hash, features, created, summary FROM maps ORDER BY position"
    return [MapRecord(*parsed(v, 6)) for v in con.execute(query).fetchall()]


def add_signals(con: duckdb.DuckDBPyConnection, artifact: str, rows: int, pool_hash: str) -> None:
    """Record the quality signals of the pool; the same artifact again becomes the latest."""
    con.execute("DELETE FROM signals WHERE artifact = ?", [artifact])
    query = "INSERT INTO signals SELECT (SELECT coalesce(max(position), 0) + 1 FROM signals), ?, ?, ?, ?"
    con.execute(query, [artifact, rows, pool_hash, now()])


def signals(con: duckdb.DuckDBPyConnection) -> list[str]:
    """Artifact folder names of the quality signals, oldest first."""
    return [a for (a,) in con.execute("SELECT artifact FROM signals ORDER BY position").fetchall()]


def _same(known: Any, given: Any, names: tuple[str, ...], what: str) -> None:
    differing = [n for n in names if getattr(known, n) != getattr(given, n)]
    if differing:
        raise EngineError(
            f"The {what} {known.name!r} exists with another {', '.join(differing)}. "
            f"Choose another name; the existing {what} was left as it is."
        )


def _check_name(name: str, what: str) -> None:
    if not name.strip() or name != name.strip() or len(name) > 100 or not name.isprintable() or "/" in name:
        raise EngineError(
            f"{name!r} cannot name a {what}: 1 to 100 printable characters, no slash, no space at the ends."
        )


def _text(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
