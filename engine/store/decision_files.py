"""The log of decisions and tags as a file, which another copy of the project can take in (`merging`).

JSON lines: a head, the rows the log touches (content hash, own id, and which of several equal ones), every batch of
decisions in order, every batch of tags. Rows are named by what they are and not by their number, so that a copy whose
files were added in another order knows them. A batch is identified by its *key*, which is the same in all copies.
Writes and reads the file; changes no project.
"""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa

import engine
from engine.errors import EngineError
from engine.store import chosen
from engine.store.decisions import DECISIONS
from engine.store.disk import disk_errors, remove, temporary_name
from engine.store.project import Project
from engine.store.records import now

FORMAT, FORMAT_VERSION = "touchstone-decisions", 1
_CODES = set(DECISIONS.values())
_ROWS_A_LINE = 1000
_MOST_COPIES = 2**31
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


def export_decisions(project: Project, out: str | Path, *, force: bool = False) -> tuple[int, int]:
    """Write the project's log to `out`, whole or not at all; the number of batches of decisions and of tags.

    Raises `EngineError` where there is nothing to write, or a file of that name and no `force`.
    """
    path = Path(out).expanduser()
    if path.exists() and not force:
        raise EngineError(f"{path} exists already. Choose another name or use --force; it was left as it is.")
    with project.session() as con:
        log = own_log(con, project.name)
    if not log.batches and not log.tags:
        raise EngineError("Nobody has decided on or tagged any sample yet. Nothing was written.")
    work = path.with_name(temporary_name("decisions"))
    with disk_errors(f"write {path}", "What was there before is unchanged."):
        try:
            with work.open("w", encoding="utf-8") as stream:
                stream.writelines(f"{line}\n" for line in lines_of(log))
            work.replace(path)
        finally:
            remove(work)
    return len(log.batches), len(log.tags)


def own_log(con: duckdb.DuckDBPyConnection, name: str) -> Log:
    """The log of an open project, with rows named by what they are."""
    batches, tags = own_batches(con), own_tags(con)
    touched = [*(batch.rows for batch in batches), *(batch.rows for batch in tags)]
    rows = np.unique(np.concatenate(touched)).astype(np.int64) if touched else np.zeros(0, np.int64)
    return Log(name, named(con, rows), [_placed(b, rows) for b in batches], [_placed(t, rows) for t in tags])


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


def own_tags(con: duckdb.DuckDBPyConnection) -> list[TagBatch]:
    """Every batch of tags in order, its rows as pool rows."""
    query = "SELECT made, author, tag, kind, rows FROM tag_batches ORDER BY batch"
    found = con.execute(query).fetchall()
    return [TagBatch(made, by, tag, kind, np.asarray(rows, np.int64)) for made, by, tag, kind, rows in found]


def named(con: duckdb.DuckDBPyConnection, rows: np.ndarray) -> list[tuple[str, str | None, int]]:
    """Content hash, own id, and which of several rows equal in both each of `rows` (ascending) is, from 0."""
    keys = chosen.content_keys(con, rows)
    con.register(
        "asked_hashes",
        pa.table(
            {
                "hash": keys.column("hash").unique(),
            }
        ),
    )
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
    yield _json(
        {"format": FORMAT, "format_version": FORMAT_VERSION, "project": log.project, "made": now(),
         "made_by": f"Touchstone {engine.__version__}", "rows": len(log.rows), "batches": len(log.batches),
         "tags": len(log.tags)}
    )  # fmt: skip
    for start in range(0, len(log.rows), _ROWS_A_LINE):
        yield _json({"rows": log.rows[start : start + _ROWS_A_LINE]})
    for b in log.batches:
        told = {"key": b.key, "made": b.made, "by": b.by, "kind": b.kind, "undoes": b.undoes, "note": b.note}
        yield _json({"batch": told | {"rows": b.rows.tolist(), "decisions": b.codes.tolist()}})
    for t in log.tags:
        yield _json({"tag": {"made": t.made, "by": t.by, "tag": t.tag, "kind": t.kind, "rows": t.rows.tolist()}})


def read_decisions(path: str | Path) -> Log:
    """Read a file of decisions. Raises `EngineError` for anything else, a newer format, or one that is cut off."""
    try:
        with Path(path).expanduser().open(encoding="utf-8") as stream:
            lines = [json.loads(line) for line in stream]
    except (OSError, ValueError, RecursionError) as error:
        raise EngineError(f"{path} cannot be read as a file of decisions ({error}). Nothing was changed.") from error
    head = lines[0] if lines and isinstance(lines[0], dict) else {}
    if head.get("format") != FORMAT:
        raise EngineError(f"{path} is no file of decisions. Nothing was changed.")
    version = head.get("format_version")
    if not isinstance(version, int) or version < 1:
        raise EngineError(f"{path} is damaged: its head names no format. Nothing was changed.")
    if version > FORMAT_VERSION:
        raise EngineError(f"{path} was written by {head.get('made_by')}, a newer one. Update; nothing was changed.")
    try:
        log = _parsed(str(head.get("project", "")), lines[1:])
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise EngineError(f"{path} is damaged ({error}). Nothing was changed.") from error
    if [len(log.rows), len(log.batches), len(log.tags)] != [head.get(n) for n in ("rows", "batches", "tags")]:
        raise EngineError(f"{path} is cut off: it holds less than its head says. Nothing was changed.")
    return log


def _parsed(project: str, lines: list[dict[str, Any]]) -> Log:
    rows: list[tuple[str, str | None, int]] = []
    batches: list[Batch] = []
    tags: list[TagBatch] = []
    for line in lines:
        _check(isinstance(line, dict), "a line")
        rows += [_row(entry) for entry in line.get("rows", ())]
        if "batch" in line:
            b = line["batch"]
            codes, places = _whole(b["decisions"]).astype(np.int8), _whole(b["rows"])
            _check(len(codes) == len(places) and set(codes.tolist()) <= _CODES, "a batch's decisions")
            key, made, by, kind, note = (_text(b[name]) for name in ("key", "made", "by", "kind", "note"))
            made = _moment(made)
            _check(bool(by.strip()) and kind in ("decide", "undo"), "a batch's author or kind")
            back = None if b["undoes"] is None else _text(b["undoes"])
            batches.append(Batch(key, made, by, kind, back, note, places, codes))
        if "tag" in line:
            t = line["tag"]
            made, by, tag, kind = (_text(t[name]) for name in ("made", "by", "tag", "kind"))
            _check(kind in ("add", "remove") and bool(by.strip()), "a tag's author or kind")
            tags.append(TagBatch(_moment(made), by, tag, kind, _whole(t["rows"])))
    for held in (*(b.rows for b in batches), *(t.rows for t in tags)):
        _check(not len(held) or (held.min() >= 0 and held.max() < len(rows)), "a row's place")
    return Log(project, rows, batches, tags)


def _row(entry: Any) -> tuple[str, str | None, int]:
    text, own, copy = entry
    _check(isinstance(copy, int) and 0 <= copy < _MOST_COPIES, "a row's copy")
    return _text(text), None if own is None else _text(own), copy


def _text(value: Any) -> str:
    _check(isinstance(value, str), f"{str(value)[:40]!r} in place of a text")
    value.encode()  # half a character is refused: nothing could keep or show it
    return str(value)


def _moment(text: str) -> str:
    """A moment in UTC, spelt as `now` does, so that the later of two is the larger text."""
    found = datetime.fromisoformat(text)
    _check(found.tzinfo is not None, "a time without its zone")
    return found.astimezone(UTC).isoformat(timespec="milliseconds")


def _whole(values: Any) -> np.ndarray:
    """int64 (r,) of a list of whole numbers."""
    _check(isinstance(values, list) and all(type(value) is int for value in values), "a list of whole numbers")
    return np.asarray(values, np.int64)


def _check(good: bool, what: str) -> None:
    if not good:
        raise ValueError(f"{what} cannot be right")


def _placed(entry: Any, rows: np.ndarray) -> Any:
    return type(entry)(**{**vars(entry), "rows": np.searchsorted(rows, entry.rows)})


def _key(*parts: object) -> str:
    """The same for the same act in every copy that shares it: number, time and author cannot all agree by chance."""
    return hashlib.sha256(_json(list(parts)).encode()).hexdigest()[:24]


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
