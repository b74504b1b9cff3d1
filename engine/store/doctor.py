"""Looking a project over: what a killed process left behind, and whether everything the catalogue names is there.

Findings of kind "leftover" and "incomplete" hold nothing anyone could use; `fix` removes them, unless the process that
made them still lives. Findings of kind "missing" and "damage" are told, never mended: they need a person.
Does not look into job folders beyond temporary names (`engine.runs`) or into arrays.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import duckdb

from engine.errors import EngineError
from engine.store import ledger, reading, schema
from engine.store.artifacts import MANIFEST, incomplete
from engine.store.catalogue import first
from engine.store.decisions import current, replay
from engine.store.disk import disk_errors, in_use, is_temporary, remove
from engine.store.project import Project
from engine.store.staging import STAGE
from engine.store.texts import is_whole

SETTLING_SECONDS = 3600.0
Kind = Literal["leftover", "incomplete", "missing", "damage", "note"]


@dataclass(frozen=True)
class Finding:
    """One thing found: `where` it is, what it means, whether `fix` may remove it and whether it did."""

    kind: Kind
    where: str
    message: str
    fixable: bool = False
    fixed: bool = False


def doctor(project: Project, *, fix: bool = False) -> list[Finding]:
    """Look the project over and return the findings; an empty list means that all is well.

    With `fix`, leftovers of processes that are gone are removed. Raises `ProjectLocked` if the catalogue is held, and
    `EngineError` if the disk refuses a removal.
    """
    found = [*_leftovers(project), *_catalogue(project)]
    return [_fixed(project, finding) for finding in found] if fix else found


def _fixed(project: Project, finding: Finding) -> Finding:
    if not finding.fixable:
        return finding
    path = project.path / finding.where
    with disk_errors(f"remove {path}", "The other findings are as they were."):
        remove(path)
    return replace(finding, fixed=True)


def _leftovers(project: Project) -> Iterator[Finding]:
    for path in _temporary(project):
        where = path.relative_to(project.path).as_posix()
        if in_use(path):
            yield Finding("note", where, "in use by a process that is still at work")
        else:
            yield Finding("leftover", where, "left behind by a process that is gone", fixable=True)
    for path in incomplete(project.artifacts):
        if not is_temporary(path):
            where = path.relative_to(project.path).as_posix()
            yield Finding("incomplete", where, f"an artifact without {MANIFEST}: nothing reads it", fixable=True)
    for name in ("artifacts", "jobs", "exports"):
        if not (project.path / name).is_dir():
            yield Finding("note", name, "the folder is missing; it is made again when it is needed")


def _temporary(project: Project) -> Iterator[Path]:
    folders = [project.path, project.artifacts, project.temp, project.exports, project.jobs]
    jobs = [p for p in project.jobs.iterdir() if p.is_dir()] if project.jobs.is_dir() else []
    for folder in (*folders, *(p for p in jobs if not is_temporary(p))):
        if folder.is_dir():
            yield from sorted(p for p in folder.iterdir() if is_temporary(p))


def _catalogue(project: Project) -> Iterator[Finding]:
    with project.session() as con:
        version = schema.version_of(con)
        if version != len(schema.MIGRATIONS):
            raise EngineError(
                f"{project.path} has catalogue version {version}; this engine writes {len(schema.MIGRATIONS)}. "
                "Open it once with this engine, or update the engine; nothing was changed."
            )
        yield from _artifacts(project, con)
        yield from _texts(project, con)
        yield from _counts(con)
    for backup in sorted(project.path.glob("*.backup")):
        yield Finding("note", backup.name, "the catalogue before an update; remove it when you no longer need it")


def _artifacts(project: Project, con: duckdb.DuckDBPyConnection) -> Iterator[Finding]:
    named = [(f"run {r.name}", r.artifact) for r in ledger.runs(con) if r.artifact]
    named += [(f"map {m.name}", m.artifact) for m in ledger.maps(con)]
    named += [("the quality signals", a) for a in ledger.signals(con)]
    for what, artifact in named:
        if not (project.artifacts / artifact / MANIFEST).is_file():
            yield Finding("missing", f"artifacts/{artifact}", f"{what} rests on it, and it is gone: compute it again")


def _texts(project: Project, con: duckdb.DuckDBPyConnection) -> Iterator[Finding]:
    named = reading.texts(con)
    for name, rows in named.items():
        if not is_whole(project.artifacts / name, rows):
            yield Finding(
                "damage", f"artifacts/{name}", f"the texts of {rows:,} samples are not whole: restore a backup"
            )
    for folder in sorted(project.artifacts.glob(f"{STAGE}-*")):
        if folder.name not in named and (folder / MANIFEST).is_file():
            where = f"artifacts/{folder.name}"
            if time.time() - folder.stat().st_mtime < SETTLING_SECONDS:
                yield Finding("note", where, "texts not yet in the catalogue: a file may be being added")
            else:
                yield Finding("leftover", where, "texts of a file whose addition was cut short", fixable=True)


def _counts(con: duckdb.DuckDBPyConnection) -> Iterator[Finding]:
    query = """SELECT f.name, f.usable, count(s.row), coalesce(min(s.row), f.first_row), coalesce(max(s.row), -1),
        f.first_row, count(DISTINCT s.row) FROM files f LEFT JOIN samples s USING (file_id)
        GROUP BY f.file_id, f.name, f.usable, f.first_row ORDER BY f.file_id"""
    for name, usable, stored, low, high, first_row, distinct in con.execute(query).fetchall():
        if (stored, distinct, low, high) != (usable, usable, first_row, first_row + usable - 1):
            yield Finding("damage", name, f"{usable:,} samples were added, {stored:,} are there: restore a backup")
    lost = first(con, "SELECT count(*) FROM samples WHERE file_id NOT IN (SELECT file_id FROM files)")
    if lost and lost[0]:
        yield Finding("damage", "project.duckdb", f"{lost[0]:,} samples belong to no file: restore a backup")
    if (current(con) != replay(con)).any():
        yield Finding("damage", "project.duckdb", "the decisions in force are not those of their log: restore a backup")
