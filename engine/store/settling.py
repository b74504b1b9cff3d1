"""Conflicts of a merge as a file that people fill in: CSV for a spreadsheet or JSON lines for a script.

One line per conflict with the sample's beginning and both decisions; the column `settle` is empty and takes mine or
theirs, or stays empty. A line is known by its mark (`Conflicts.marks`), so a file that was filled in before somebody
decided anew settles nothing by mistake. Texts that a spreadsheet would take for a formula are written with an
apostrophe before them. Writes and reads the file; merges nothing.
"""

import csv
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from engine.data.samples import prompt_text, response_text
from engine.errors import EngineError
from engine.store.conflicts import SIDES, Conflict, Conflicts, mark_text, places_of
from engine.store.disk import disk_errors, remove, temporary_name
from engine.store.project import Project
from engine.store.records import StoredRow

SETTLE = "settle"
ENDINGS = (".csv", ".jsonl")
_COLUMNS = (
    SETTLE, "id", "row", "prompt", "response", "mine", "mine_by", "mine_at", "mine_note", "theirs", "theirs_by",
    "theirs_at", "theirs_note", "conflict",
)  # fmt: skip
_PART, _EXCERPT, _NOTE = 2000, 200, 1000
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


@dataclass(frozen=True)
class Settled:
    """What a file says: the side of every row it settles, lines left `empty`, `passed` ones: no conflict any more."""

    sides: dict[int, str]
    empty: int
    passed: int


def write_conflicts(project: Project, found: Conflicts, out: str | Path, *, force: bool = False) -> int:
    """Write all conflicts to `out`, whole or not at all; returns how many.

    Raises `EngineError` for another ending than .csv and .jsonl, or a file of that name and no `force`.
    """
    path = Path(out).expanduser()
    if path.suffix.lower() not in ENDINGS:
        raise EngineError(f"{path} ends in neither {' nor '.join(ENDINGS)}. Choose one; nothing was written.")
    if path.exists() and not force:
        raise EngineError(f"{path} exists already. Choose another name or use --force; it was left as it is.")
    lines = _lines(project, found)
    work = path.with_name(temporary_name("conflicts"))
    with disk_errors(f"write {path}", "What was there before is unchanged."):
        try:
            with work.open("w", encoding="utf-8", newline="") as stream:
                if path.suffix.lower() == ".csv":
                    table = csv.DictWriter(stream, _COLUMNS)
                    table.writeheader()
                    table.writerows({name: _cell(value) for name, value in line.items()} for line in lines)
                else:
                    stream.writelines(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
            work.replace(path)
        finally:
            remove(work)
    return len(found)


def _lines(project: Project, found: Conflicts) -> Iterator[dict[str, Any]]:
    for start in range(0, len(found), _PART):
        part = slice(start, start + _PART)
        stored = project.rows(found.rows[part])
        yield from (_told(one, row) for one, row in zip(found.listed(project, part), stored, strict=True))


def _told(one: Conflict, stored: StoredRow) -> dict[str, Any]:
    prompt, response = (_cut(text(stored.messages), _EXCERPT) for text in (prompt_text, response_text))
    line = {SETTLE: "", "id": one.id, "row": one.row, "prompt": prompt, "response": response}
    for name, side in (("mine", one.mine), ("theirs", one.theirs)):
        line |= {name: side.decision, f"{name}_by": _cut(side.by, _EXCERPT), f"{name}_at": side.at}
        line[f"{name}_note"] = _cut(side.note, _NOTE)
    return line | {"conflict": one.mark}


def _cut(text: str, most: int) -> str:
    line = " ".join(text[: 8 * most].split())
    return line if len(line) <= most and len(text) <= 8 * most else line[: most - 1] + "…"


def _cell(value: Any) -> Any:
    return "'" + value if isinstance(value, str) and value.startswith(_FORMULA) else value


def read_settled(path: str | Path, found: Conflicts) -> Settled:
    """What a filled-in file says of these conflicts.

    Raises `EngineError` for a file that is none, a side that is none, two sides for one conflict, and a conflict that
    is another one now because somebody decided anew. Lines without a side say nothing.
    """
    at = {mark_text(mark): row for mark, row in zip(found.marks.tolist(), found.rows.tolist(), strict=True)}
    sides: dict[int, str] = {}
    empty = passed = 0
    for number, line in _read(Path(path).expanduser()):
        side = str(line.get(SETTLE) or "").strip().lower()
        mark = str(line["conflict"] or "").strip()
        if not side:
            empty += 1
        elif side not in SIDES:
            raise _wrong(path, number, f"{side[:40]!r} in the column {SETTLE}; it takes {' or '.join(SIDES)}")
        elif mark not in at:
            _gone(path, number, line, found)
            passed += 1
        elif sides.setdefault(at[mark], side) != side:
            raise _wrong(path, number, "another side than an earlier line for the same sample")
    return Settled(sides, empty, passed)


def _read(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """The lines with their numbers, whichever of the two forms it is."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            lines = _json_lines(stream) if path.suffix.lower() == ".jsonl" else _csv_lines(stream)
            for number, line in lines:
                if not isinstance(line, dict) or "conflict" not in line or SETTLE not in line:
                    raise _wrong(path, number, f"no column {SETTLE} or conflict; use what --conflicts wrote")
                yield number, line
    except (OSError, ValueError, RecursionError, csv.Error) as error:
        raise EngineError(f"{path} cannot be read as a file of conflicts ({error}). Nothing was changed.") from error


def _json_lines(stream: Any) -> Iterator[tuple[int, Any]]:
    for number, line in enumerate(stream, 1):
        if line.strip():
            yield number, json.loads(line)


def _csv_lines(stream: Any) -> Iterator[tuple[int, Any]]:
    head = stream.readline()
    stream.seek(0)
    table = csv.DictReader(stream, delimiter=max(",;\t", key=head.count))
    if not {SETTLE, "conflict"} <= set(table.fieldnames or ()):
        yield 1, {}
    for line in table:
        yield table.line_num, line


def _gone(path: str | Path, number: int, line: dict[str, Any], found: Conflicts) -> None:
    """Raise where the line's row is in conflict still, but over other decisions than the file says."""
    row = str(line.get("row") if line.get("row") is not None else "").strip()
    if not row.isascii() or not row.isdigit() or len(row) > 12:
        raise _wrong(path, number, "no conflict that is known here and no number of a sample")
    if places_of(found, np.array([int(row)]))[1][0]:
        what = f"a decision on {str(line.get('id'))[:40]!r} that is another one by now; write the conflicts anew"
        raise _wrong(path, number, what)


def _wrong(path: str | Path, number: int, what: str) -> EngineError:
    return EngineError(f"{path}, line {number}: {what}. Nothing was changed.")
