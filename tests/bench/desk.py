"""The curator's desk on a million rows: server times, the browser, reviewing by keyboard, export, memory.

The project is built by `desk_project` in the scratch folder, or in TOUCHSTONE_DESK, where it is found again the next
time; what is measured is a copy of it, whose artifacts are links. TOUCHSTONE_STAGES chooses among server, browser,
review and export; TOUCHSTONE_ROWS and TOUCHSTONE_REPEATS make it small.
"""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import desk_browser
import desk_export
import desk_project
import desk_server
from shell import NotRun

from engine.curation import texts

STAGES: dict[str, Callable[[Path], dict[str, Any]]] = {
    "server": desk_server.measure,
    "browser": desk_browser.draw,
    "review": desk_browser.review,
    "export": desk_export.measure,
}


def run(folder: Path) -> dict[str, object]:
    """The figures of every stage asked for, each on a fresh copy of the project."""
    wanted = os.environ.get("TOUCHSTONE_STAGES", ",".join(STAGES)).split(",")
    unknown = set(wanted) - set(STAGES)
    if unknown:
        raise SystemExit(f"TOUCHSTONE_STAGES names {', '.join(sorted(unknown))}; there are {', '.join(STAGES)}.")
    place = Path(os.environ.get("TOUCHSTONE_DESK", folder / "built" / "desk"))
    place.parent.mkdir(parents=True, exist_ok=True)
    built = desk_project.build(place)
    texts.prepare(built)
    figures: dict[str, object] = {"rows": built.counts().pool}
    for name, measure in STAGES.items():
        if name in wanted:
            copy = copied(built.path, folder / name / "desk")
            try:
                figures[name] = measure(copy)
            except NotRun as error:
                figures[name] = {"not_run": str(error)}
            shutil.rmtree(copy.parent)
    return figures


def copied(project: Path, to: Path) -> Path:
    """A copy that can be worked in: artifacts are never changed, so they are links where the file system can."""
    to.parent.mkdir(parents=True)
    shutil.copytree(project, to, copy_function=_linked, ignore=shutil.ignore_patterns("jobs", "exports", "temp"))
    for name in ("jobs", "exports", "temp"):
        (to / name).mkdir()
    return to


def _linked(source: str, target: str) -> None:
    if Path(source).parent.name != "artifacts" and "artifacts" not in Path(source).parts:
        shutil.copy2(source, target)
        return
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
