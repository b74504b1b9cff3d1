"""The job folder: everything one piece of heavy work needs and leaves behind, in plain files.

    jobs/<id>/spec.json       what to do: kind, configuration, model files; written once
              progress.json   state and progress, replaced atomically (see `reporter.py`)
              log.txt         one line of explanation each
              result.json     what came of it in the project, such as the run's name
              cancel          present = stop at the next check; what is complete stays
              lock            held (flock) by the process that works on the folder
              input/          token tables, masks, features; `manifest.json` written last
              work/           finished shards, from which a resume continues
              output/         the results; `summary.json` written last

The folder is self-contained, so it can be carried to a machine that has only torch, numpy, scipy and
transformers. This module knows nothing of the catalogue.
"""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from engine.errors import Cancelled, EngineError
from engine.store.artifacts import read_json, write_json

SPEC_VERSION = 1
KINDS = ("score", "map", "signals", "demo", "search", "token-counts")


class JobFolder:
    """One job's folder. Make it with `create`, find it with `open`; the constructor touches nothing."""

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        self.id = self.path.name
        self.input, self.work, self.output = (self.path / name for name in ("input", "work", "output"))
        self.progress_path, self.log_path = self.path / "progress.json", self.path / "log.txt"

    @classmethod
    def create(cls, path: Path, spec: dict[str, Any]) -> "JobFolder":
        """Make the folder and write `spec` (with the spec version); `EngineError` where the folder exists."""
        folder = cls(path)
        try:
            folder.path.mkdir(parents=True)
        except FileExistsError as error:
            raise EngineError(
                f"The job folder {path} exists already; choose another job id. Nothing was written."
            ) from error
        for room in (folder.input, folder.work, folder.output):
            room.mkdir()
        write_json(folder.path / "spec.json", {"spec_version": SPEC_VERSION, **spec})
        return folder

    @classmethod
    def open(cls, path: Path) -> "JobFolder":
        """The job folder at `path`; `EngineError` where there is none or it is of a newer version."""
        folder = cls(path)
        version = folder.spec.get("spec_version")
        if version != SPEC_VERSION:
            raise EngineError(
                f"The job folder {path} has format version {version}; this program reads version {SPEC_VERSION}. "
                "Use the version of the program that made it. Nothing was changed."
            )
        for room in (folder.input, folder.work, folder.output):  # carrying a folder about may drop empty ones
            room.mkdir(exist_ok=True)
        return folder

    @property
    def spec(self) -> dict[str, Any]:
        """The content of spec.json; `EngineError` where it is missing or broken."""
        try:
            spec = read_json(self.path / "spec.json")
        except EngineError as error:
            raise EngineError(f"{self.path} is no job folder: {error}") from error
        if not isinstance(spec, dict):
            raise EngineError(f"{self.path} is no job folder: spec.json holds no object.")
        return spec

    def update_spec(self, **changes: Any) -> None:
        """Set entries of the spec that only the preparation knows, such as the model's files."""
        write_json(self.path / "spec.json", {**self.spec, **changes})

    @property
    def result(self) -> dict[str, Any]:
        """What came of the job in its project (result.json), empty until it is done."""
        path = self.path / "result.json"
        return dict(read_json(path)) if path.is_file() else {}

    def write_result(self, **values: Any) -> None:
        """Keep what came of the job, beside what was kept before."""
        write_json(self.path / "result.json", {**self.result, **values})

    @property
    def input_complete(self) -> bool:
        """Whether the inputs are all there (their manifest is written last)."""
        return (self.input / "manifest.json").is_file()

    @property
    def output_complete(self) -> bool:
        """Whether the results are all there (their summary is written last)."""
        return (self.output / "summary.json").is_file()

    @property
    def cancel_asked(self) -> bool:
        """Whether somebody asked for the work to stop."""
        return (self.path / "cancel").exists()

    def ask_cancel(self) -> None:
        """Ask the work to stop at its next check."""
        (self.path / "cancel").touch()

    def withdraw_cancel(self) -> None:
        """Forget an earlier request to stop."""
        (self.path / "cancel").unlink(missing_ok=True)

    def append_log(self, message: str) -> None:
        """Append one line with its time (UTC) to log.txt."""
        stamp = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S")
        with self.log_path.open("a", encoding="utf-8") as file:
            file.write(f"{stamp}  {' '.join(message.splitlines())}\n")

    def log_tail(self, lines: int = 40) -> list[str]:
        """The last `lines` lines of the log; empty where there is none."""
        try:
            with self.log_path.open("rb") as file:
                size = file.seek(0, os.SEEK_END)
                file.seek(max(0, size - 400 * lines))
                return file.read().decode("utf-8", errors="replace").splitlines()[-lines:]
        except FileNotFoundError:
            return []


@contextmanager
def held(path: Path, *, wait_s: float = 0.0, stop: JobFolder | None = None) -> Iterator[bool]:
    """Hold the lock file `path` while the block runs; yields whether it was got within `wait_s` seconds.

    The lock goes when the process ends, however it ends. With `stop`, waiting raises `Cancelled` once that
    job is asked to stop.
    """
    with path.open("a") as file:
        got, until = _try_lock(file.fileno()), time.monotonic() + wait_s
        while not got and time.monotonic() < until:
            if stop is not None and stop.cancel_asked:
                raise Cancelled(f"Job {stop.id} was cancelled while it waited. Nothing was computed.")
            time.sleep(0.2)
            got = _try_lock(file.fileno())
        yield got


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
