"""Jobs as processes: detached, observable, cancellable, resumable."""

import json
import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from engine.errors import EngineError
from engine.runs import jobs as module
from engine.runs.jobfolder import JobFolder
from engine.runs.jobs import Job, cancel, create_job, job, jobs, resume, submit

# A job that squares numbers in shards: waits in shard 3 until the file `go` exists.
FAKE = """
import sys, time
from pathlib import Path
import numpy as np
from engine.runs.jobfolder import JobFolder
from engine.runs.reporter import reporting
from engine.runs.shards import compute_shards
folder = JobFolder.open(Path(sys.argv[1]))
def square(rows):
    with (folder.path / "computed").open("a") as file:
        file.write("".join(f"{row}\\n" for row in rows))
    while rows[0] == 12 and not (folder.path / "go").exists():
        reporter.check()
        time.sleep(0.02)
    reporter.advance(len(rows))
    return rows ** 2
with reporting(folder) as reporter:
    reporter.phase("squaring", 20)
    compute_shards(folder.work, "squares", np.arange(20), 4, square, reporter)
"""


@dataclass(frozen=True)
class Place:
    path: Path

    @property
    def jobs(self) -> Path:
        return self.path / "jobs"


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    (tmp_path / "jobs").mkdir()
    monkeypatch.setattr(module, "command", lambda _, folder: [sys.executable, "-c", FAKE, str(folder.path)])
    return Place(tmp_path)


def until(project: Place, job_id: str, ready: Callable[[Job], bool]) -> Job:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        found = job(project, job_id)
        if ready(found):
            return found
        time.sleep(0.02)
    raise AssertionError(f"{job_id} is {job(project, job_id).progress}, {job(project, job_id).folder.log_tail()}")


def ended(found: Job) -> bool:
    return not found.active


def waits(found: Job) -> bool:
    return found.state == "running" and found.progress.done == 12


def computed(folder: JobFolder) -> list[int]:
    return [int(line) for line in (folder.path / "computed").read_text().split()]


def test_a_job_runs_detached_to_its_end(project: Place) -> None:
    job_id = submit(project, "score", {"seed": 1}, run="first")
    running = until(project, job_id, waits)
    assert running.progress.pid not in (None, os.getpid())
    assert os.getsid(running.progress.pid or 0) != os.getsid(0), "a closed terminal would take the job with it"
    assert (running.spec["config"], running.spec["run"], running.kind) == ({"seed": 1}, "first", "score")
    (running.folder.path / "go").touch()
    assert until(project, job_id, ended).state == "done"
    with pytest.raises(EngineError, match="is done"):
        resume(project, job_id)
    with pytest.raises(EngineError, match="done already"):
        cancel(project, job_id)


def test_a_killed_job_shows_died_and_resumes_from_its_shards(project: Place) -> None:
    job_id = submit(project, "score", {})
    running = until(project, job_id, waits)
    with pytest.raises(EngineError, match="running already"):
        resume(project, job_id)
    os.kill(running.progress.pid or 0, signal.SIGKILL)
    dead = until(project, job_id, ended)
    assert (dead.state, dead.progress.message[:4]) == ("failed", "died")
    assert len(computed(dead.folder)) == 16  # three shards and the one in flight
    (dead.folder.path / "go").touch()
    assert resume(project, job_id) == job_id
    assert until(project, job_id, lambda j: j.state == "done").progress.done == 20
    assert computed(dead.folder)[16:] == list(range(12, 20)), "a finished shard was computed again"


def test_a_cancelled_job_stops_and_resumes(project: Place) -> None:
    job_id = submit(project, "map", {})
    until(project, job_id, waits)
    cancel(project, job_id)
    stopped = until(project, job_id, ended)
    assert stopped.state == "cancelled"
    assert (stopped.folder.work / "squares.shards" / "000002.npz").exists()
    (stopped.folder.path / "go").touch()
    resume(project, job_id)
    assert until(project, job_id, ended).state == "done"


def test_ids_are_numbered_by_kind_and_listed_newest_first(project: Place) -> None:
    made = [create_job(project, kind, {}).id for kind in ("score", "score", "map", "score")]
    assert made == ["score-1", "score-2", "map-1", "score-3"]
    assert [j.id for j in jobs(project)] == made[::-1]
    (project.jobs / "stray").mkdir()
    assert len(jobs(project)) == 4


def test_what_is_unknown_is_named(project: Place) -> None:
    with pytest.raises(EngineError, match="kinds: score, map, signals, demo, search, token-counts"):
        create_job(project, "bake", {})  # type: ignore[arg-type]
    assert jobs(project) == []
    create_job(project, "map", {})
    for name in ("map-2", "../jobs/map-1", ""):
        with pytest.raises(EngineError, match="jobs: map-1"):
            job(project, name)


def test_a_job_that_never_began_counts_as_dead_after_a_minute(project: Place) -> None:
    folder = create_job(project, "score", {})
    assert job(project, folder.id).state == "queued"
    progress = json.loads(folder.progress_path.read_text())
    folder.progress_path.write_text(json.dumps({**progress, "updated": time.time() - 120}))
    assert job(project, folder.id).state == "failed"
