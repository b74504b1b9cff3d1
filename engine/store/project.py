"""The project folder: one catalogue, its artifacts, jobs and exports, as one object.

Every method opens the catalogue briefly and closes it again, so that a page, the command line and a job can work on
one project at the same time. What it returns are copies. Anything may raise `ProjectLocked` if another process holds
the catalogue for long. Does not read source files, run models or draw pages.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Any

import duckdb
import numpy as np

from engine.data.samples import BadRow, Row, SourceInfo
from engine.errors import EngineError
from engine.progress import Reporter, Silent
from engine.store import adding, artifacts, catalogue, decisions, ledger, reading, schema, selections, tags, versions
from engine.store.decisions import DecisionEntry, DecisionState
from engine.store.disk import disk_errors, remove, temporary_name
from engine.store.records import (
    Counts,
    FileRecord,
    IntakeReport,
    MapRecord,
    RunRecord,
    StoredBadRow,
    StoredRow,
    TargetSet,
)
from engine.store.selections import Selection
from engine.store.staging import staged

CATALOGUE = "project.duckdb"
_FOLDERS = ("artifacts", "jobs", "exports", "temp")


class Project:
    """One project folder. Use `create`, `open` and `is_project`; an instance holds no file open."""

    def __init__(self, path: Path) -> None:
        """Refer to the folder without opening it; use `open`."""
        self.path = path
        self.name = path.name
        self.artifacts = path / "artifacts"
        self.jobs = path / "jobs"
        self.exports = path / "exports"
        self.temp = path / "temp"
        self.catalogue = path / CATALOGUE

    @classmethod
    def is_project(cls, path: str | Path) -> bool:
        """Whether the folder holds a catalogue."""
        return (Path(path) / CATALOGUE).is_file()

    @classmethod
    def create(cls, path: str | Path) -> "Project":
        """Make a project in a new or empty folder; `EngineError` if there is something already."""
        project = cls(_absolute(path))
        if cls.is_project(project.path):
            raise EngineError(f"{project.path} is a project already: open it. It was left as it is.")
        if project.path.exists() and (not project.path.is_dir() or any(project.path.iterdir())):
            raise EngineError(f"{project.path} exists and is not empty. Choose a new folder; it was left as it is.")
        with disk_errors(f"make a project in {project.path}", "Nothing was made."):
            for folder in _FOLDERS:
                (project.path / folder).mkdir(parents=True, exist_ok=True)
            work = project.path / temporary_name(CATALOGUE)
            try:
                with duckdb.connect(str(work)) as con:
                    schema.migrate(con, work)
                work.replace(project.catalogue)
            finally:
                remove(work)
        return project

    @classmethod
    def open(cls, path: str | Path) -> "Project":
        """Open an existing project; an older one is brought up to date after a backup copy.

        Raises `EngineError` if it is no project or was written by a newer Touchstone.
        """
        project = cls(_absolute(path))
        if not cls.is_project(project.path):
            raise EngineError(f"{project.path} is not a project (no {CATALOGUE}). Nothing was changed.")
        with project.session() as con:
            schema.migrate(con, project.catalogue)
        return project

    def session(self) -> AbstractContextManager[duckdb.DuckDBPyConnection]:
        """A DuckDB connection, open read-write for as short as possible; waits for other holders, see `catalogue`."""
        return catalogue.session(self.catalogue, spill=self.temp / "spill")

    def is_open_here(self) -> bool:
        """Whether this thread is inside a session, so that others wait for it."""
        return catalogue.is_open_here(self.catalogue)

    @contextmanager
    def changing(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """A session whose changes are kept together at the end, or not at all."""
        with self.session() as con, catalogue.transaction(con):
            yield con

    def stamp(self) -> int:
        """A number that changes whenever the catalogue changes; does not open it."""
        state = []
        for path in (self.catalogue, self.catalogue.with_name(f"{CATALOGUE}.wal")):
            try:
                found = path.stat()
            except FileNotFoundError:
                state.append((0, 0, 0))
            else:
                state.append((found.st_mtime_ns, found.st_size, found.st_ino))
        return hash(tuple(state))

    def versions(self) -> dict[str, str]:
        """The mark of every subject of the catalogue: it differs whenever anything of the subject does."""
        with self.session() as con:
            return versions.marks(con)

    def add_rows(
        self,
        role: str,
        set_name: str,
        info: SourceInfo,
        rows: Iterable[Row | BadRow],
        *,
        reporter: Reporter | None = None,
    ) -> IntakeReport:
        """Add a file's rows to the pool ("" as set name), a target set or the owned data ("" too): all or none.

        The same content in the set again changes nothing (`already`). Rows are staged first and imported in one
        transaction. Raises `EngineError` if no row is usable or a target set of the name has other content.
        """
        listener = reporter or Silent()
        adding.check_set(role, set_name)
        with self.session() as con:
            known = adding.already_there(con, role, set_name, info)
        if known is not None:
            return known
        with staged(self.temp, self.artifacts, info, rows, reporter=listener) as stage:
            try:
                with self.changing() as con:
                    return adding.import_staged(con, stage, role=role, set_name=set_name, info=info)
            finally:
                self._forget_unnamed(stage.texts)

    def _forget_unnamed(self, texts: str) -> None:
        """Remove staged texts that the catalogue does not name after all; if it cannot be asked, `doctor` will."""
        with suppress(EngineError), self.session() as con:
            if texts not in reading.texts(con):
                remove(self.artifacts / texts)

    def files(self) -> list[FileRecord]:
        """All files in order of addition."""
        with self.session() as con:
            return reading.files(con)

    def targets(self) -> list[TargetSet]:
        """The target sets in order of addition."""
        with self.session() as con:
            return reading.targets(con)

    def heldout(self) -> list[TargetSet]:
        """The held-out files in order of addition: never scored for, only guarded against."""
        with self.session() as con:
            return reading.targets(con, "heldout")

    def beside(self) -> list[tuple[str, str, int, str]]:
        """Role, name, usable rows and content hash of every set beside the pool, taken at one moment."""
        with self.session() as con:
            return reading.beside(con)

    def counts(self) -> Counts:
        """Sizes of everything, decisions included."""
        with self.session() as con:
            pool = [f for f in reading.files(con) if f.role == "pool"]
            codes = np.bincount(decisions.current(con), minlength=len(decisions.DECISIONS))
            return Counts(
                pool=sum(f.rows for f in pool),
                bad=sum(f.bad for f in pool),
                duplicates=sum(f.duplicates for f in pool),
                targets={t.name: t.rows for t in reading.targets(con)},
                owned=reading.size(con, "owned", ""),
                decisions={name: int(codes[code]) for name, code in decisions.DECISIONS.items()},
            )

    def pool_hash(self) -> str:
        """SHA-256 of the pool's content and mappings; changes when a file is added."""
        return self.set_hash("pool", "")

    def pool_hash_at(self, rows: int) -> str | None:
        """The `pool_hash` of when the pool had its first `rows` rows; None where no file ends there."""
        with self.session() as con:
            return reading.pool_hash_at(con, rows)

    def set_hash(self, role: str, name: str) -> str:
        """SHA-256 over the content hashes and mappings of a set's files, in order."""
        with self.session() as con:
            return reading.set_hash(con, role, name)

    def extent(self, role: str, name: str) -> tuple[int, str]:
        """Usable rows of a set and its `set_hash`, taken at one moment; no rows where it does not exist."""
        with self.session() as con:
            return reading.size(con, role, name), reading.set_hash(con, role, name)

    def rows(self, indices: Sequence[int] | np.ndarray, *, role: str = "pool", set_name: str = "") -> list[StoredRow]:
        """The rows with these numbers, in the order asked."""
        with self.session() as con:
            return reading.rows(con, self.artifacts, indices, role=role, set_name=set_name)

    def raw(self, rows: np.ndarray) -> list[bytes]:
        """The raw texts of pool rows with ascending numbers, as the bytes they came in."""
        with self.session() as con:
            return reading.raw(con, self.artifacts, rows)

    def iterate(
        self, *, role: str = "pool", set_name: str = "", chunk: int = 2000, start: int = 0
    ) -> Iterator[list[StoredRow]]:
        """The rows of a set from `start` on, in chunks; the catalogue is closed between chunks.

        Rows added meanwhile are included. An unknown set yields nothing.
        """
        while True:
            with self.session() as con:
                if start >= reading.size(con, role, set_name):
                    return
                found = reading.span(con, self.artifacts, start, start + chunk, role=role, set_name=set_name)
            yield found
            start += len(found)

    def bad_rows(self, *, file_id: int | None = None, limit: int = 100, offset: int = 0) -> list[StoredBadRow]:
        """Rows set aside, with reasons, in file and line order."""
        with self.session() as con:
            return reading.bad_rows(con, file_id=file_id, limit=limit, offset=offset)

    def columns(self) -> list[str]:
        """The original scalar fields of the pool rows, in order of sight."""
        with self.session() as con:
            return reading.columns(con)

    def column(self, name: str) -> np.ndarray:
        """One value per usable pool row: a built-in column or an original field; see `reading.column`."""
        with self.session() as con:
            return reading.column(con, name)

    def row_of(self, id: str) -> int:
        """The pool row with this id; `EngineError` if there is none or several bear it."""
        with self.session() as con:
            return reading.row_of(con, id)

    def add_run(self, record: RunRecord) -> RunRecord:
        """Record a finished run; see `ledger.add_run`."""
        with self.changing() as con:
            return ledger.add_run(con, record)

    def runs(self) -> list[RunRecord]:
        """All runs, oldest first."""
        with self.session() as con:
            return ledger.runs(con)

    def run(self, name: str) -> RunRecord:
        """The run of this name; `EngineError` if there is none."""
        with self.session() as con:
            return ledger.run(con, name)

    def add_map(self, record: MapRecord) -> MapRecord:
        """Record a finished map; see `ledger.add_map`."""
        with self.changing() as con:
            return ledger.add_map(con, record)

    def maps(self) -> list[MapRecord]:
        """All maps, oldest first."""
        with self.session() as con:
            return ledger.maps(con)

    def latest_map(self) -> MapRecord | None:
        """The map recorded last, or None."""
        return next(reversed(self.maps()), None)

    def add_signals(self, artifact: str, rows: int, pool_hash: str) -> None:
        """Record finished quality signals by their artifact's folder name."""
        with self.changing() as con:
            ledger.add_signals(con, artifact, rows, pool_hash)

    def latest_signals(self) -> Path | None:
        """The folder of the quality signals recorded last that is complete, or None."""
        with self.session() as con:
            folders = [self.artifacts / name for name in ledger.signals(con)]
        return next((f for f in reversed(folders) if (f / artifacts.MANIFEST).is_file()), None)

    def decide(self, rows: Sequence[int] | np.ndarray, decision: str, *, by: str, note: str = "") -> int:
        """Record one decision about rows ("approve", "reject", "skip", "clear"); return the batch number."""
        with self.changing() as con:
            return decisions.decide(con, rows, decision, by=by, note=note)

    def undo(self, *, by: str, batch: int | None = None) -> int:
        """Take back a batch, or this person's latest; return how many rows changed. See `decisions.undo`."""
        with self.changing() as con:
            return decisions.undo(con, by=by, batch=batch)

    def decisions(self) -> np.ndarray:
        """The decision code of every usable pool row, int8 (n,); codes as in `decisions.DECISIONS`."""
        with self.session() as con:
            return decisions.current(con)

    def decision_state(self, known: DecisionState | None = None) -> DecisionState:
        """The decisions in force and the batch they end with; with a `known` state only what came after it is read."""
        with self.session() as con:
            return decisions.state_after(con, known)

    def decision_log(self, *, rows: Sequence[int] | None = None, limit: int = 100) -> list[DecisionEntry]:
        """The latest lines of the log, newest first; only those of `rows` if given."""
        with self.session() as con:
            return decisions.entries(con, rows=rows, limit=limit)

    def tag(self, rows: Sequence[int] | np.ndarray, name: str, *, by: str) -> int:
        """Put a tag on rows; return the batch number. See `tags.tag`."""
        with self.changing() as con:
            return tags.tag(con, rows, name, by=by, kind=tags.ADD)

    def untag(self, rows: Sequence[int] | np.ndarray, name: str, *, by: str) -> int:
        """Take a tag off rows; return the batch number. See `tags.tag`."""
        with self.changing() as con:
            return tags.tag(con, rows, name, by=by, kind=tags.REMOVE)

    def tags(self) -> dict[str, np.ndarray]:
        """The rows that carry each tag, ascending; tags in alphabetical order."""
        with self.session() as con:
            return tags.current(con)

    def tag_version(self) -> int:
        """A number that changes whenever a tag is put on or taken off."""
        with self.session() as con:
            return tags.last_batch(con)

    def save_selection(
        self,
        name: str,
        *,
        spec: Mapping[str, Any],
        rows: Sequence[int] | np.ndarray,
        weights: Sequence[float] | np.ndarray | None = None,
        by: str,
        order: np.ndarray | None = None,
        gains: np.ndarray | None = None,
        reasons: Sequence[str] | None = None,
    ) -> Selection:
        """Keep a new version of a selection as a draft; see `selections.save`."""
        taken: dict[str, Any] = {"order": order, "gains": gains, "reasons": reasons}
        with self.changing() as con:
            return selections.save(con, name, spec=spec, rows=rows, weights=weights, by=by, **taken)

    def selections(self) -> list[Selection]:
        """All versions of all selections, in order of saving."""
        with self.session() as con:
            return selections.every(con, self.session)

    def selection(self, name: str, version: int | None = None) -> Selection:
        """A selection by name, latest version by default; `EngineError` if there is none."""
        with self.session() as con:
            return selections.get(con, name, version)

    def propose_selection(
        self,
        name: str,
        *,
        by: str,
        note: str = "",
        version: int | None = None,
        details: Mapping[str, Any] | None = None,
    ) -> Selection:
        """Propose a version for approval; see `selections.happen`."""
        with self.changing() as con:
            return selections.happen(con, "proposed", name, by=by, note=note, version=version, details=details)

    def approve_selection(
        self,
        name: str,
        *,
        by: str,
        note: str = "",
        version: int | None = None,
        details: Mapping[str, Any] | None = None,
    ) -> Selection:
        """Approve a version as a whole, which freezes it; see `selections.happen`."""
        with self.changing() as con:
            return selections.happen(con, "approved", name, by=by, note=note, version=version, details=details)

    def return_selection(self, name: str, *, by: str, note: str, version: int | None = None) -> Selection:
        """Return a proposed version with a note that says why; see `selections.happen`."""
        with self.changing() as con:
            return selections.happen(con, "returned", name, by=by, note=note, version=version)


def _absolute(path: str | Path) -> Path:
    return Path(path).expanduser().resolve()
