"""Which folders of this machine the pages may read, and where projects live.

The pages accept typed paths, so that large pools need no upload. They are confined to the allowed roots:
`TOUCHSTONE_ROOTS` (separated as PATH is) where set, else the user's home folder, the folder that holds the app and
the folder for temporary files. Projects live under `TOUCHSTONE_HOME`, or `projects/` beside the app, always allowed.
Nothing here writes.
"""

import os
import tempfile
from pathlib import Path

from engine.errors import EngineError
from engine.store.project import Project

APP = Path(__file__).resolve().parents[2]


def projects_root() -> Path:
    """The folder that holds the projects; it need not exist yet."""
    return Path(os.environ.get("TOUCHSTONE_HOME") or APP / "projects").expanduser().resolve()


def allowed_roots() -> tuple[Path, ...]:
    """The folders a typed path must lie in."""
    given = os.environ.get("TOUCHSTONE_ROOTS", "")
    roots = [Path(p) for p in given.split(os.pathsep) if p] or [Path.home(), APP.parent, Path(tempfile.gettempdir())]
    return tuple(dict.fromkeys([root.expanduser().resolve() for root in roots] + [projects_root()]))


def allowed(typed: str) -> Path:
    """The existing path the user typed, links followed.

    Raises `EngineError` where it lies outside the allowed roots or does not exist; nothing is read either way.
    """
    path = Path(typed.strip()).expanduser()
    path = (path if path.is_absolute() else APP / path).resolve()
    roots = allowed_roots()
    if not any(path.is_relative_to(root) for root in roots):
        raise EngineError(
            f"{path} lies outside the folders this app may read: {', '.join(map(str, roots))}. Move it there, "
            "upload it, or start the app with TOUCHSTONE_ROOTS naming its folder. Nothing was read."
        )
    if not path.exists():
        raise EngineError(f"There is nothing at {path}. Check the path; nothing was read.")
    return path


def listed_projects() -> list[Path]:
    """Project folders under the root, the latest used first."""
    root = projects_root()
    found = [p for p in root.iterdir() if p.is_dir() and Project.is_project(p)] if root.is_dir() else []
    return sorted(found, key=lambda p: (p / "project.duckdb").stat().st_mtime, reverse=True)


def project_reference(path: Path) -> str:
    """What a link says for a project: its name under the root, else its whole path."""
    return path.name if path.parent == projects_root() else str(path)


def project_at(reference: str) -> Path:
    """The project folder a link or a user means; the reverse of `project_reference`.

    Raises `EngineError` where it is no project or lies outside the allowed roots.
    """
    named = "/" not in reference and "\\" not in reference and reference not in {"", ".", ".."}
    path = projects_root() / reference if named else allowed(reference)
    if not Project.is_project(path):
        raise EngineError(f"There is no project {reference!r}. Choose one on the Home page; nothing was opened.")
    return path
