"""Keeping what a job computed: from its `output/` into the project's artifacts, under the name of its key."""

import os
import shutil
from pathlib import Path
from typing import Any

from engine.errors import EngineError
from engine.runs.jobfolder import JobFolder
from engine.store.artifacts import create, find
from engine.store.project import Project


def keep(
    project: Project, folder: JobFolder, stage: str, key: str, manifest: dict[str, Any], *, part: str = ""
) -> Path:
    """Make the artifact `<stage>-<key>` of `output/` (or its folder `part`), unless it is complete already.

    Files are linked rather than copied where the file system can, and the job folder keeps its own until `clear`, so a
    kill in between loses nothing. Returns the artifact's folder; raises `EngineError` where there is nothing to keep.
    """
    found = find(project.artifacts, stage, key)
    if found is None:
        source = folder.output / part
        if not (source / "summary.json").is_file():
            raise EngineError(f"Job {folder.id} has no complete results in {source}. Resume it. Nothing was recorded.")
        with create(project.artifacts, stage, key, manifest) as place:
            shutil.copytree(source, place, dirs_exist_ok=True, copy_function=_link_or_copy)
        found = find(project.artifacts, stage, key)
    if found is None:
        raise EngineError(f"The artifact {stage}-{key} could not be completed in {project.artifacts}.")
    return found


def _link_or_copy(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def clear(folder: JobFolder) -> None:
    """Give back the space of a job whose results are recorded."""
    for room in (folder.input, folder.work, folder.output):
        shutil.rmtree(room, ignore_errors=True)
        room.mkdir(exist_ok=True)
