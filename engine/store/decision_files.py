"""The log of decisions, tags and random audits as a file, which another copy of the project can take in (`merging`).

JSON lines: a head, the rows the log touches (content hash, own id, and which of several equal ones), every batch of
decisions in order, every batch of tags, every audit. Rows are named by what they are and not by their number, so that a
copy whose files were added in another order knows them. A batch is identified by its *key*, which is the same in all
copies. Format 2 added the audits; a log without any is written in format 1, which older versions read too.
Writes the file and finds its rows; `decision_reading` reads it. Changes no project.
"""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa

import engine
from engine.errors import EngineError
from engine.store import audit_files, chosen
from engine.store.audit_files import SentAudit
from engine.store.disk import disk_errors, remove, temporary_name
from engine.store.project import Project
from engine.store.records import now

FORMAT, FORMAT_VERSION, WITHOUT_AUDITS = "touchstone-decisions", 2, 1
_ROWS_A_LINE = 1000
_COPY = "row_number() OVER (PARTITION BY s.hash, s.own_id ORDER BY s.row) - 1"


@dataclass(frozen=True)
class Batch:
    """One batch of decisions: `rows` int64 (r,) places among the log's rows (or pool rows), `codes` int8 (r,)."""

    key: str
    made: str
    by: str
    kind: str
    undoes: str | None
    note: str
    rows: np.ndarray
    codes: np.ndarray


@dataclass(frozen=True)
class TagBatch:
    """One batch of tags; `rows` as in `Batch`."""

    made: str
    by: str
    tag: str
    kind: str
    rows: np.ndarray

    @property
    def key(self) -> tuple[str, str, str, str]:
        """What identifies it among all copies."""
        return self.made, self.by, self.tag, self.kind


@dataclass(frozen=True)
class Log:
    """A whole log: `rows` (hash, own id or None, copy) that its batches name by place."""

    project: str
    rows: list[tuple[str, str | None, int]]
    batches: list[Batch]
    tags: list[TagBatch]
    audits: list[SentAudit] = field(default_factory=list)


def export_decisions(project: Project, out: str | Path, *, force: bool = False) -> tuple[int, int, int]:
    """Write the project's log to `out`, whole or not at all; how many batches of decisions, of tags, and audits.

    Raises `EngineError` where there is nothing to write, or a file of that name and no `force`.
    """
    path = Path(out).expanduser()
    if path.exists() and not force:
        raise EngineError(f"{path} exists already. Choose another name or use --force; it was left as it is.")
    with project.session() as con:
        log = own_log(con, project.name)
    if not log.batches and not log.tags and not log.audits:
        raise EngineError("Nobody has decided on, tagged or audited any sample yet. Nothing was written.")
    work = path.with_name(temporary_name("decisions"))
    with disk_errors(f"write {path}", "What was there before is unchanged."):
        try:
            with work.open("w", encoding="utf-8") as stream:
                stream.writelines(f"{line}\n" for line in lines_of(log))
            work.replace(path)
        finally:
            remove(work)
    return len(log.batches), len(log.tags), len(log.audits)


def own_log(con: duckdb.DuckDBPyConnection, name: str) -> Log:
    """The log of an open project, with rows named by what they are."""
    batches, tags = own_batches(con), own_tags(con)
    audits = audit_files.own_audits(con, dict(zip(own_numbers(con), (b.key for b in batches), strict=True)))
    everything = (batches, tags, audits)
    touched = [entry.rows for entries in everything for entry in entries]
    rows = np.unique(np.concatenate(touched)).astype(np.int64) if touched else np.zeros(0, np.int64)
    placed = ([_placed(entry, rows) for entry in entries] for entries in everything)
    return Log(name, named(con, rows), *placed)


def own_batches(con: duckdb.DuckDBPyConnection) -> list[Batch]:
    """Every batch of decisions in order, its rows as pool rows."""
    query = """SELECT batch, made, author, kind, undoes, note, rows, decisions, origin FROM decision_batches
        ORDER BY batch"""
    keys: dict[int, str] = {}
    found = []
    for number, made, by, kind, undoes, note, rows, codes, origin in con.execute(query).fetchall():
        keys[number] = origin or _key(number, made, by, kind, undoes, note, len(rows))
        places = np.asarray(rows, np.int64)
        back = None if undoes is None else keys.get(undoes)
        found.append(Batch(keys[number], made, by, kind, back, note, places, np.asarray(codes, np.int8)))
    return found


def own_numbers(con: duckdb.DuckDBPyConnection) -> list[int]:
    """The numbers of the batches of decisions, in order."""
    return [number for (number,) in con.execute("SELECT batch FROM decision_batches ORDER BY batch").fetchall()]


def own_tags(con: duckdb.DuckDBPyConnection) -> list[TagBatch]:
    """Every batch of tags in order, its rows as pool rows."""
    query = "SELECT made, author, tag, kind, rows FROM tag_batches ORDER BY batch"
    found = con.execute(query).fetchall()
    return [TagBatch(made, by, tag, kind, np.asarray(rows, np.int64)) for made, by, tag, kind, rows in found]


def named(con: duckdb.DuckDBPyConnection, rows: np.ndarray) -> list[tuple[str, str | None, int]]:
    """Content hash, own id, and which of several rows equal in both each of `rows` (ascending) is, from 0."""
    keys = chosen.content_keys(con, rows)
    con.register("asked_hashes", pa.table({"hash": keys.column("hash").unique()}))
    query = f"""SELECT row, copy FROM (SELECT s.row AS row, {_COPY} AS copy FROM samples s
        JOIN sets USING (set_id) WHERE sets.role = 'pool' AND s.hash IN (SELECT hash FROM asked_hashes))"""
    try:
        table = con.sql(query).to_arrow_table()
    finally:
        con.unregister("asked_hashes")
    copies = dict(zip(table.column("row").to_pylist(), table.column("copy").to_pylist(), strict=True))
    values = (keys.column(name).to_pylist() for name in ("row", "hash", "own_id"))
    return [(text, own, copies[row]) for row, text, own in zip(*values, strict=True)]


def found_rows(con: duckdb.DuckDBPyConnection, names: list[tuple[str, str | None, int]]) -> np.ndarray:
    """int64 (r,): the pool row that each name means here, -1 where there is none."""
    columns: tuple[Any, ...] = tuple(zip(*names, strict=True)) if names else ((), (), ())
    kinds = {"hash": pa.string(), "own": pa.string(), "copy": pa.int64()}
    given = {name: pa.array(values, kind) for (name, kind), values in zip(kinds.items(), columns, strict=True)}
    con.register("asked_rows", pa.table({"place": pa.array(range(len(names)), pa.int64()), **given}))
    query = f"""SELECT a.place, m.row FROM asked_rows a JOIN (
            SELECT s.row AS row, s.hash AS hash, s.own_id AS own, {_COPY} AS copy FROM samples s
            JOIN sets USING (set_id) WHERE sets.role = 'pool' AND s.hash IN (SELECT hash FROM asked_rows)) m
        ON m.hash = a.hash AND m.own IS NOT DISTINCT FROM a.own AND m.copy = a.copy"""
    try:
        table = con.sql(query).to_arrow_table()
    finally:
        con.unregister("asked_rows")
    found = np.full(len(names), -1, np.int64)
    found[table.column("place").to_numpy()] = table.column("row").to_numpy()
    return found


def lines_of(log: Log) -> Iterator[str]:
    """The lines of the file."""
    head = {
        "format": FORMAT, "format_version": FORMAT_VERSION if log.audits else WITHOUT_AUDITS, "project": log.project,
        "made": now(), "made_by": f"Touchstone {engine.__version__}", "rows": len(log.rows),
        "batches": len(log.batches), "tags": len(log.tags),
    }  # fmt: skip
    yield _json(head | ({"audits": len(log.audits)} if log.audits else {}))
    for start in range(0, len(log.rows), _ROWS_A_LINE):
        yield _json({"rows": log.rows[start : start + _ROWS_A_LINE]})
    for b in log.batches:
        told = {"key": b.key, "made": b.made, "by": b.by, "kind": b.kind, "undoes": b.undoes, "note": b.note}
        yield _json({"batch": told | {"rows": b.rows.tolist(), "decisions": b.codes.tolist()}})
    for t in log.tags:
        yield _json({"tag": {"made": t.made, "by": t.by, "tag": t.tag, "kind": t.kind, "rows": t.rows.tolist()}})
    for audit in log.audits:
        yield _json({"audit": audit_files.told(audit)})


def _placed(entry: Any, rows: np.ndarray) -> Any:
    return type(entry)(**{**vars(entry), "rows": np.searchsorted(rows, entry.rows)})


def _key(*parts: object) -> str:
    """The same for the same act in every copy that shares it: number, time and author cannot all agree by chance."""
    return hashlib.sha256(_json(list(parts)).encode()).hexdigest()[:24]


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
