"""What the disk can refuse, told as one readable error, and temporary names that tell who made them.

A temporary name is `.tmp-<host>-<pid>-<random>-<for what>`, so that a sweep can spare the work of a living process.
Standard library only. Does not decide what is a leftover of which kind (`doctor`).
"""

import errno
import os
import secrets
import shutil
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from engine.errors import EngineError

TEMPORARY = ".tmp-"
STALE_SECONDS = 24 * 3600
_REMEDIES = {
    errno.ENOSPC: "the disk is full; free some space and try again",
    errno.EDQUOT: "the disk quota is used up; free some space and try again",
    errno.EFBIG: "the file would grow past the size allowed here; raise the limit or free some space and try again",
    errno.EACCES: "permission denied; make it writable for you or choose another place",
    errno.EPERM: "the operation is not permitted; make it writable for you or choose another place",
    errno.EROFS: "the disk is read-only; choose another place",
    errno.ENOTDIR: "a part of the path is a file, not a folder; choose another place",
    errno.ENAMETOOLONG: "the name is too long; choose a shorter one",
}


@contextmanager
def disk_errors(doing: str, untouched: str) -> Iterator[None]:
    """Turn a refusal of the disk (full, forbidden, read-only) into an `EngineError`; other errors pass.

    `doing` reads after "Could not", e.g. "write exports/a.jsonl"; `untouched` is the closing sentence.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in _REMEDIES:
            raise
        raise EngineError(f"Could not {doing}: {_REMEDIES[error.errno]}. {untouched}") from error


def temporary_name(purpose: str) -> str:
    """Return a fresh hidden file or folder name that carries this host and process."""
    return f"{TEMPORARY}{_host()}-{os.getpid()}-{secrets.token_hex(4)}-{purpose}"


def is_temporary(path: Path) -> bool:
    """Whether the name is one that `temporary_name` makes."""
    return path.name.startswith(TEMPORARY) and len(path.name.split("-", 4)) == 5


def in_use(path: Path) -> bool:
    """Whether the maker of a temporary path may still be at work on it.

    On this host: its process lives. On another host: it was changed within the last day.
    """
    _, host, pid, *_ = path.name.split("-", 4)
    if host == _host() and pid.isdigit():
        return _alive(int(pid))
    return time.time() - path.stat().st_mtime < STALE_SECONDS


def remove(path: Path) -> None:
    """Remove a file, a link or a whole folder; nothing happens if it is gone already."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _host() -> str:
    return socket.gethostname().replace("-", "_").replace("/", "_") or "host"


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
