"""Where an export may lie, and how it gets there: whole or not at all.

Checked before anything is written: the folder exists and is writable, nothing is overwritten without `force`, and
never anything but an earlier export; the project's own files and the files it was made from are out of bounds.
Does not know formats beyond "a file" or "a folder".
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from engine.errors import EngineError
from engine.store.artifacts import write_json
from engine.store.disk import disk_errors, remove, temporary_name
from engine.store.project import Project

MANIFEST_SUFFIX = ".manifest.json"
_DATA_SET_MARKS = ("dataset_info.json", "state.json")


def manifest_path(out: Path) -> Path:
    """The manifest that belongs to an export."""
    return out.with_name(out.name + MANIFEST_SUFFIX)


def checked(project: Project, out: str | Path, *, folder: bool, force: bool) -> Path:
    """The absolute path to write, or an `EngineError` that says what is wrong; nothing is touched."""
    path = Path(os.path.abspath(Path(out).expanduser()))  # noqa: PTH100 - a link is replaced, not followed
    parent = path.parent
    if path == parent:
        raise EngineError(f"{path} is no name for an export. Nothing was written.")
    if not parent.is_dir():
        raise EngineError(f"The folder {parent} does not exist. Make it or choose another place; nothing was written.")
    if not os.access(parent, os.W_OK | os.X_OK):
        raise EngineError(f"The folder {parent} is not writable for you. Choose another place; nothing was written.")
    for place in (path, manifest_path(path)):
        _spare_the_project(project, place)
    _spare_what_is_there(path, folder=folder, force=force)
    _spare_what_is_there(manifest_path(path), folder=False, force=force)
    return path


def place(path: Path, write: Callable[[Path], None], describe: Callable[[Path], dict[str, Any]]) -> dict[str, Any]:
    """Let `write` fill a temporary path beside `path`, describe it as the manifest, and rename both into place.

    The manifest comes last, so its presence means that the export is complete. Returns the manifest. After any error
    what was there before is as it was, and no temporary file is left.
    """
    work, notes = (path.with_name(temporary_name(part)) for part in ("export", "manifest"))
    with disk_errors(f"write {path}", "Nothing was changed there."):
        try:
            write(work)
            manifest = describe(work)
            write_json(notes, manifest)
            _swap(work, path, notes)
        finally:
            remove(work)
            remove(notes)
    return manifest


def _swap(work: Path, path: Path, notes: Path) -> None:
    old = path.with_name(temporary_name("replaced"))
    if path.is_dir() and not path.is_symlink():
        path.rename(old)
    try:
        manifest_path(path).unlink(missing_ok=True)
        work.replace(path)
    except OSError:
        if old.exists():
            old.rename(path)
        raise
    notes.replace(manifest_path(path))
    remove(old)


def _spare_the_project(project: Project, path: Path) -> None:
    real = path.resolve()
    inside = real == project.path or real in project.path.parents
    own = project.path in real.parents and project.exports not in real.parents
    if inside or own:
        raise EngineError(
            f"{path} belongs to the project itself. Write to {project.exports} or outside the project; "
            "nothing was written."
        )
    sources = {Path(f.path).resolve() for f in project.files()}
    if real in sources or any(real in source.parents for source in sources):
        raise EngineError(f"{path} is, or holds, a file this project was made from. Choose another name; it is intact.")


def _spare_what_is_there(path: Path, *, folder: bool, force: bool) -> None:
    if not os.path.lexists(path):
        return
    if not force:
        raise EngineError(f"{path} exists already. Choose another name or use --force; it was left as it is.")
    if folder and not (path.is_dir() and all((path / mark).is_file() for mark in _DATA_SET_MARKS)):
        raise EngineError(f"{path} is no data set folder, so it is not replaced. Choose another name; it is intact.")
    if not folder and not (path.is_file() or path.is_symlink()):
        raise EngineError(f"{path} is not a plain file, so it is not replaced. Choose another name; it is intact.")
