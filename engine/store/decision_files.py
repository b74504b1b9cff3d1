"""The log of decisions, tags and random audits as a file, which another copy of the project can take in (`merging`).

JSON lines: a head, the rows the log touches (content hash, own id, and which of several equal ones), every batch of
decisions in order, every batch of tags, every audit. Rows are named by what they are and not by their number, so that a
copy whose files were added in another order knows them. A batch is identified by its *key*, which is the same in all
copies. Format 2 added the audits; a log without any is written in format 1, which older versions read too.
Writes and reads the file; changes no project.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa

import engine
from engine.errors import EngineError
from engine.store import audit_files, chosen
from engine.store.audit_files import SentAudit
from engine.store.decisions import DECISIONS
from engine.store.disk import disk_errors, remove, temporary_name
from engine.store.project import Project
from engine.store.records import now
from engine.store.tags import checked as checked_tag

FORMAT, FORMAT_VERSION, WITHOUT_AUDITS = "touchstone-decisions", 2, 1
_CODES = set(DECISIONS.values())
_ROWS_A_LINE = 1000
_MOST_COPIES = 2**31
_LAST_YEAR = 9000  # a later one leaves no room for what comes after it
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


def read_decisions(path: str | Path) -> Log:
    """Read a file of decisions. Raises `EngineError` for anything else, a newer format, or one that is cut off."""
    try:
        with Path(path).expanduser().open(encoding="utf-8") as stream:
            head = _head(path, stream.readline())
            log = _parsed(str(head.get("project", "")), (_line(line) for line in stream))
    except (OSError, UnicodeDecodeError, _NoJson, RecursionError) as error:
        raise EngineError(f"{path} cannot be read as a file of decisions ({error}). Nothing was changed.") from error
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise EngineError(f"{path} is damaged ({error}). Nothing was changed.") from error
    held = {"rows": len(log.rows), "batches": len(log.batches), "tags": len(log.tags), "audits": len(log.audits)}
    if any(head.get(name, 0) != number for name, number in held.items()):
        raise EngineError(f"{path} is cut off: it holds less than its head says. Nothing was changed.")
    return log


class _NoJson(ValueError):
    """A line that is no JSON."""


def _line(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise _NoJson(str(error)) from error


def _head(path: str | Path, line: str) -> dict[str, Any]:
    """The first line. Raises `EngineError` where it is no head, or one of a newer format."""
    head = _line(line)
    if not isinstance(head, dict) or head.get("format") != FORMAT:
        raise EngineError(f"{path} is no file of decisions. Nothing was changed.")
    version = head.get("format_version")
    if not isinstance(version, int) or version < 1:
        raise EngineError(f"{path} is damaged: its head names no format. Nothing was changed.")
    if version > FORMAT_VERSION:
        raise EngineError(f"{path} was written by {head.get('made_by')}, a newer one. Update; nothing was changed.")
    return head


def _parsed(project: str, lines: Iterable[Any]) -> Log:
    rows: list[tuple[str, str | None, int]] = []
    batches: list[Batch] = []
    tags: list[TagBatch] = []
    audits: list[SentAudit] = []
    for line in lines:
        _check(isinstance(line, dict), "a line")
        rows += [_row(entry) for entry in line.get("rows", ())]
        if "batch" in line:
            batches.append(_batch(line["batch"]))
        if "tag" in line:
            tags.append(_tag_batch(line["tag"]))
        if "audit" in line:
            audits.append(audit_files.parsed(line["audit"], check=_check, text=_text, moment=_moment, whole=_whole))
    for held in (*(b.rows for b in batches), *(t.rows for t in tags), *(a.rows for a in audits)):
        _check(not len(held) or (held.min() >= 0 and held.max() < len(rows)), "a row's place")
    return Log(project, rows, batches, tags, audits)


def _batch(b: Any) -> Batch:
    codes, places = _whole(b["decisions"]), _whole(b["rows"])
    _check(len(codes) == len(places) and set(codes.tolist()) <= _CODES, "a batch's decisions")
    key, made, by, kind, note = (_text(b[name]) for name in ("key", "made", "by", "kind", "note"))
    _check(bool(by.strip()) and kind in ("decide", "undo"), "a batch's author or kind")
    back = None if b["undoes"] is None else _text(b["undoes"])
    return Batch(key, _moment(made), by, kind, back, note, places, codes.astype(np.int8))


def _tag_batch(t: Any) -> TagBatch:
    made, by, tag, kind = (_text(t[name]) for name in ("made", "by", "tag", "kind"))
    _check(kind in ("add", "remove") and bool(by.strip()), "a tag's author or kind")
    try:
        _check(checked_tag(tag) == tag, "a tag's spelling")
    except EngineError as error:
        raise ValueError(f"{tag[:40]!r} is no tag") from error
    return TagBatch(_moment(made), by, tag, kind, _whole(t["rows"]))


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
    _check(found.tzinfo is not None and found.year < _LAST_YEAR, "a time without its zone, or far ahead,")
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
