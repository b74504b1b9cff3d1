"""Folders that many tests want alike: the first is built, the others are copies of it, which takes milliseconds.

A copy has files and times of its own, so that a test may change it. What a catalogue says of where its rows came from
is the place of the first build, which lasts until the process ends.
"""

import atexit
import shutil
import tempfile
from collections.abc import Callable
from functools import cache, wraps
from pathlib import Path
from typing import Any


def built_once(build: Callable[..., Any]) -> Callable[..., None]:
    """`build(folder, **kind)`, run once for each kind in a process; afterwards its folder is copied."""

    @cache
    def first(**kind: Any) -> Path:
        folder = Path(tempfile.mkdtemp(dir=_kept()))
        build(folder, **kind)
        return folder

    @wraps(build)
    def copy(folder: Path, **kind: Any) -> None:
        shutil.copytree(first(**kind), folder, copy_function=shutil.copyfile, dirs_exist_ok=True)

    return copy


@cache
def _kept() -> Path:
    """Where the first builds lie until the process ends."""
    folder = Path(tempfile.mkdtemp(prefix="touchstone-tests-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder
