"""Opening the catalogue: read-write, briefly, one at a time.

DuckDB admits one process at a time, readers included. So every access opens the file, works and closes it (about
20 ms); another process waits up to `LOCK_WAIT` seconds and is then told who holds it. Threads of one process take
turns on a lock per file. A session inside a session of the same thread is the same connection.
Does not know any table.
"""

import random
import re
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb

from engine.errors import EngineError, ProjectLocked

LOCK_WAIT = 5.0
THREAD_WAIT = 60.0
MEMORY_LIMIT = "320MB"
THREADS = 2
_CONFLICT = re.compile(r"could not set lock|conflicting lock|being used by another process", re.IGNORECASE)
_HOLDER = re.compile(r"PID (\d+)")
_DISK = re.compile(r"no space left|disk quota|permission denied|read-only file system|file too large", re.I)


@dataclass
class _Shared:
    """The one connection of this process to one file, and whose turn it is."""

    turn: threading.RLock = field(default_factory=threading.RLock)
    connection: duckdb.DuckDBPyConnection | None = None
    thread: int | None = None


_shared: dict[Path, _Shared] = {}
_guard = threading.Lock()


@contextmanager
def session(path: Path, *, spill: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """Open the catalogue at `path` for one piece of work; `spill` is the folder for what exceeds the memory limit.

    Raises `ProjectLocked` if another process keeps it longer than `LOCK_WAIT` seconds, `EngineError` if it is
    missing, no catalogue, or the disk or the memory limit refuses the work.
    """
    with _guard:
        shared = _shared.setdefault(path, _Shared())
    if not shared.turn.acquire(timeout=THREAD_WAIT):
        raise ProjectLocked(f"{path.parent} is busy with other work of this same process. Try again in a moment.")
    try:
        if shared.connection is not None:
            yield shared.connection
            return
        with _told(path):
            shared.connection = _connect(path, spill)
            shared.thread = threading.get_ident()
            try:
                yield shared.connection
            finally:
                shared.connection.close()
                shared.connection = shared.thread = None
    finally:
        shared.turn.release()


def is_open_here(path: Path) -> bool:
    """Whether this thread is inside a session of the catalogue at `path`, so that others wait for it."""
    shared = _shared.get(path)
    return shared is not None and shared.thread == threading.get_ident()


@contextmanager
def transaction(con: duckdb.DuckDBPyConnection) -> Iterator[None]:
    """All or nothing: commit at the end, roll back on any exception."""
    con.begin()
    try:
        yield
        con.commit()
    except BaseException:
        _roll_back(con)
        raise


@contextmanager
def patient(seconds: float) -> Iterator[None]:
    """Within the block this process waits at least `seconds` for others: for jobs, before which nobody sits waiting."""
    global LOCK_WAIT
    before, LOCK_WAIT = LOCK_WAIT, max(LOCK_WAIT, seconds)
    try:
        yield
    finally:
        LOCK_WAIT = before


def first(con: duckdb.DuckDBPyConnection, query: str, values: Sequence[object] = ()) -> tuple[Any, ...] | None:
    """The first row of a result, or None. The result is fetched whole: one left open blocks its connection."""
    found = con.execute(query, list(values)).fetchall()
    return found[0] if found else None


def _roll_back(con: duckdb.DuckDBPyConnection) -> None:
    try:
        con.rollback()
    except duckdb.Error:
        return  # a failed commit has ended the transaction already; the first error is the one to tell


def _connect(path: Path, spill: Path) -> duckdb.DuckDBPyConnection:
    config = {
        "memory_limit": MEMORY_LIMIT,
        "threads": THREADS,
        "temp_directory": str(spill),
        "preserve_insertion_order": False,
        "autoinstall_known_extensions": False,
        "autoload_known_extensions": False,
    }
    deadline = time.monotonic() + LOCK_WAIT
    while True:
        if not path.is_file():
            raise EngineError(f"{path.parent} is not a project: {path.name} is missing. Nothing was changed.")
        try:
            return duckdb.connect(str(path), config=config)  # type: ignore[arg-type]
        except duckdb.IOException as error:
            if not _CONFLICT.search(str(error)):
                raise
            if time.monotonic() >= deadline:
                raise ProjectLocked(_locked(path, str(error))) from error
        time.sleep(random.uniform(0.01, 0.05))


def _locked(path: Path, message: str) -> str:
    holder = _HOLDER.search(message)
    who = f"process {holder[1]}" if holder else "another process"
    return (
        f"{path.parent} is in use by {who}; waited {LOCK_WAIT:g} s. "
        "Let it finish or stop it, then try again. Nothing was changed."
    )


@contextmanager
def _told(path: Path) -> Iterator[None]:
    """Turn what DuckDB says of the disk, the memory limit or a foreign file into an `EngineError`."""
    try:
        yield
    except duckdb.Error as error:
        if "not a valid DuckDB database" in str(error):
            raise EngineError(f"{path} is not a DuckDB database. It was left as it is.") from error
        if _DISK.search(str(error)):
            raise EngineError(_refused(path, "the disk refused", error)) from error
        if isinstance(error, duckdb.OutOfMemoryException):
            raise EngineError(_refused(path, f"the work needs more than {MEMORY_LIMIT} of memory", error)) from error
        raise


def _refused(path: Path, why: str, error: Exception) -> str:
    detail = str(error).splitlines()[0]
    return f"{path.parent}: {why} ({detail}). Free some space or mend the permissions; what was stored is unchanged."
