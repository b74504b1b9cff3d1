"""Reading a file of decisions (`decision_files`), which anybody may have made: nothing in it is believed unchecked.

A file that is none, of a newer format, damaged or cut off is one clear error. Moments are spelt as the catalogue spells
them, so that of two the later is the larger text. Changes nothing.
"""

import json
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from engine.errors import EngineError
from engine.store import audit_files
from engine.store.audit_files import SentAudit
from engine.store.decision_files import FORMAT, FORMAT_VERSION, Batch, Log, TagBatch
from engine.store.decisions import DECISIONS
from engine.store.tags import checked as checked_tag

_CODES = set(DECISIONS.values())
_MOST_COPIES = 2**31
_LAST_YEAR = 9000  # a later one leaves no room for what comes after it


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
    _check(bool(by.strip()) and bool(key) and kind in ("decide", "undo"), "a batch's author, key or kind")
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
    _check(type(copy) is int and 0 <= copy < _MOST_COPIES, "a row's copy")
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
