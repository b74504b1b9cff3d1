"""Where an export may lie, and how it gets there: whole or not at all.

Checked before anything is written: the folder exists and is writable, nothing is overwritten without `force`, and
never anything but an earlier export; the project's own files and the files it was made from are out of bounds.
An export is a file or a folder, its manifest beside it, and its card: in the folder, or beside the file.
Does not know forms or containers beyond that.
"""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from engine.errors import EngineError
from engine.store.artifacts import read_json
from engine.store.disk import disk_errors, remove, temporary_name
from engine.store.project import Project

MANIFEST_SUFFIX = ".manifest.json"
CARD_SUFFIX = ".card.md"
CARD = "README.md"
_DATA_SET_MARKS = (("dataset_info.json", "state.json"), ("dataset_dict.json",))


def manifest_path(out: Path) -> Path:
    """The manifest that belongs to an export."""
    return out.with_name(out.name + MANIFEST_SUFFIX)


def card_path(out: Path, *, folder: bool) -> Path:
    """The data set card that belongs to an export."""
    return out / CARD if folder else out.with_name(out.name + CARD_SUFFIX)


def checked(project: Project, out: str | Path, *, folder: bool, force: bool) -> Path:
    """The absolute path to write, or an `EngineError` that says what is wrong; nothing is touched."""
    path = Path(os.path.abspath(Path(out).expanduser()))  # noqa: PTH100 - a link is replaced, not followed
    if path != path.parent:
        for place in _places(path, folder=folder):
            _spare_the_project(project, place)
    free(path, [Path(f.path) for f in project.files()], folder=folder, force=force)
    return path


def free(path: Path, sources: Sequence[Path], *, folder: bool, force: bool) -> None:
    """Raise an `EngineError` unless an export may be written at `path`; `sources` are files it is made from."""
    parent = path.parent
    if path == parent:
        raise EngineError(f"{path} is no name for an export. Nothing was written.")
    if not parent.is_dir():
        raise EngineError(f"The folder {parent} does not exist. Make it or choose another place; nothing was written.")
    if not os.access(parent, os.W_OK | os.X_OK):
        raise EngineError(f"The folder {parent} is not writable for you. Choose another place; nothing was written.")
    for place in _places(path, folder=folder):
        _spare_the_sources(sources, place)
        _spare_what_is_there(place, folder=folder and place == path, force=force)


def _places(path: Path, *, folder: bool) -> list[Path]:
    """All places that an export at `path` takes."""
    return [path, manifest_path(path), *([] if folder else [card_path(path, folder=False)])]


def place(
    path: Path,
    write: Callable[[Path], None],
    describe: Callable[[Path], tuple[str, Callable[[Path], None]]],
    *,
    folder: bool,
) -> None:
    """Let `write` fill a temporary path beside `path`; rename it, its card and its manifest into place.

    `describe` looks at what was written and gives the card's text and a function that writes the manifest. The manifest
    comes last, so its presence means that the export is complete. After any error what was there before is as it was,
    and no temporary file is left.
    """
    work, about, notes = (path.with_name(temporary_name(part)) for part in ("export", "card", "manifest"))
    with disk_errors(f"write {path}", "Nothing was changed there."):
        try:
            write(work)
            text, write_notes = describe(work)
            (work / CARD if folder else about).write_text(text, encoding="utf-8")
            write_notes(notes)
            _swap(work, path, about, notes, folder=folder)
        finally:
            for left in (work, about, notes):
                remove(left)


def _swap(work: Path, path: Path, about: Path, notes: Path, *, folder: bool) -> None:
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
    if not folder:
        about.replace(card_path(path, folder=False))
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


def _spare_the_sources(files: Sequence[Path], path: Path) -> None:
    real = path.resolve()
    sources = {file.resolve() for file in files}
    if real in sources or any(real in source.parents for source in sources):
        raise EngineError(f"{path} is, or holds, a file this project was made from. Choose another name; it is intact.")


def _spare_what_is_there(path: Path, *, folder: bool, force: bool) -> None:
    if not os.path.lexists(path):
        return
    if not force:
        raise EngineError(
            f"{path} exists already. Choose another name, or have it replaced (in the shell by --force); it "
            "was left as it is."
        )
    if folder and not _is_export(path):
        raise EngineError(
            f"{path} is no data set folder written by an export, so it is not replaced. Choose another name; "
            "it is intact."
        )
    if not folder and not (path.is_file() or path.is_symlink()):
        raise EngineError(f"{path} is not a plain file, so it is not replaced. Choose another name; it is intact.")


def _is_export(path: Path) -> bool:
    """Whether a folder is a saved data set, or holds exactly the files that the manifest beside it lists."""
    if not path.is_dir():
        return False
    if any(all((path / mark).is_file() for mark in marks) for marks in _DATA_SET_MARKS):
        return True
    beside = manifest_path(path)
    output: Any = read_json(beside).get("output", {}) if beside.is_file() else {}
    listed = {entry["name"] for entry in output.get("files", ())}
    return bool(listed) and {p.name for p in path.iterdir()} <= {*listed, CARD}
