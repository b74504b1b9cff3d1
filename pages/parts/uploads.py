"""Uploaded files, kept on disk only as long as they are looked at.

An upload lives in a private temporary folder named by its content, under its own (made safe) name, so that previewing
it again costs nothing. It is deleted once it has been added. The original rows are kept by the project itself.
"""

import hashlib
import os
import re
import shutil
import tempfile
from pathlib import Path
from typing import BinaryIO, cast

from engine.errors import EngineError

SUFFIXES = ("jsonl", "json", "csv", "parquet", "gz", "zst")
_CHUNK = 1 << 20


def keep(upload: object) -> Path:
    """Write a Streamlit upload to disk (once) and return its path."""
    file = cast(BinaryIO, upload)
    file.seek(0)
    digest = hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]
    folder = _room() / digest[:24]
    path = folder / safe_name(str(getattr(upload, "name", "upload")))
    if not path.exists():
        folder.mkdir(mode=0o700, exist_ok=True)
        file.seek(0)
        part = path.with_name(f".{path.name}.{os.getpid()}")
        with part.open("wb") as out:
            shutil.copyfileobj(file, out, _CHUNK)
        part.replace(path)
    return path


def forget(path: Path) -> None:
    """Delete a kept upload; any other path is left alone."""
    if path.parent.parent == _room():
        shutil.rmtree(path.parent, ignore_errors=True)


def safe_name(name: str) -> str:
    """A file name without folders or control characters, its ending intact."""
    bare = re.sub(r"[^\w.\- ]", "_", name.replace("\\", "/").rpartition("/")[2]).strip(". ")
    return bare[-120:] or "upload"


def _room() -> Path:
    owner = os.getuid() if hasattr(os, "getuid") else 0
    room = Path(tempfile.gettempdir()) / f"touchstone-uploads-{owner}"
    room.mkdir(mode=0o700, exist_ok=True)
    if hasattr(os, "getuid") and room.stat().st_uid != owner:
        raise EngineError(f"{room} belongs to another user, so uploads cannot be kept there. Type a path instead.")
    return room
