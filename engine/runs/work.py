"""What a job's process does: wait for its turn, prepare, compute, bring the results into the project.

    turn      jobs of one project run one after the other (a lock file that dies with its holder), but for `AT_ONCE`
    prepare   catalogue → `input/`, in short sessions, so that nobody is kept out     (`scoring_job`, `mapping_job`)
    compute   `input/` → `output/`, without the catalogue                             (`runjob.compute`)
    bring     `output/` → an artifact of the project, and one record in the catalogue

Each step is skipped where a former process completed it, so killing the process at any moment costs at most the shard
in flight.
"""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from importlib import import_module
from pathlib import Path
from types import FrameType

from engine.errors import Cancelled, EngineError
from engine.runs.jobfolder import JobFolder, held
from engine.runs.reporter import FileReporter, reporting
from engine.store.catalogue import patient
from engine.store.project import Project

CANCEL_GRACE_S = 10.0  # after this a call that cannot be interrupted, such as a layout's fit, is ended with the process
FOREVER_S = float("inf")
PATIENCE_S = 120.0  # a page or a command may hold the catalogue a while, which must not end a run of hours

WORK: dict[str, tuple[str, str]] = {
    "score": ("engine.runs.scoring_job", "work_score"),
    "map": ("engine.runs.mapping_job", "work_map"),
    "signals": ("engine.runs.signals_job", "work_signals"),
    "demo": ("engine.runs.demo_job", "work_demo"),
    "search": ("engine.runs.finding_job", "work_search"),
    "token-counts": ("engine.runs.token_counts_job", "work_token_counts"),
}
AT_ONCE = ("search", "token-counts")  # short, and someone waits for it: it need not wait for a run of hours


def work(project_path: Path, job_id: str) -> None:
    """Do the job `job_id` of the project at `project_path` in this process, whose main thread this must be.

    Every end, an error included, is written into the job folder before the exception goes on.
    """
    folder = JobFolder.open(Path(project_path) / "jobs" / job_id)
    with held(folder.path / "lock") as got:
        if not got:
            raise EngineError(f"Another process works on job {job_id}; wait for it or cancel it. Nothing was started.")
        with (
            reporting(folder) as reporter,
            _stopped_by_signal(),
            _stopped_in_time(folder, reporter),
            patient(PATIENCE_S),
        ):
            reporter.phase("starting", 0)
            project = Project.open(project_path)
            with nullcontext() if folder.spec["kind"] in AT_ONCE else _turn(project, folder, reporter):
                _worker(folder.spec["kind"])(project, folder, reporter)


def _worker(kind: str) -> Callable[[Project, JobFolder, FileReporter], None]:
    """The function of a kind; what it imports takes seconds, so that the job is reported as running before."""
    module, name = WORK[kind]
    worker: Callable[[Project, JobFolder, FileReporter], None] = getattr(import_module(module), name)
    return worker


@contextmanager
def _turn(project: Project, folder: JobFolder, reporter: FileReporter) -> Iterator[None]:
    lock = project.jobs / ".turn"
    with held(lock) as free:
        if free:
            yield
            return
    reporter.wait("waits for another job of this project to end")
    with held(lock, wait_s=FOREVER_S, stop=folder):
        reporter.go_on()
        yield


@contextmanager
def _stopped_by_signal() -> Iterator[None]:
    """A polite kill (SIGTERM) counts as a cancellation: the state is written and the shards stay."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise Cancelled("The process was told to end (SIGTERM); what was complete is kept for a resume.")

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def _stopped_in_time(folder: JobFolder, reporter: FileReporter) -> Iterator[None]:
    """End the whole process where a cancellation has not been heeded in time; everything complete is on disk."""
    over = threading.Event()

    def watch() -> None:
        while not over.wait(1.0):
            if folder.cancel_asked and not over.wait(CANCEL_GRACE_S):
                told = "cancelled while busy; what was complete is kept, and resuming goes on from there"
                reporter.finish("cancelled", told, exit_status=Cancelled.exit_status)
                os._exit(Cancelled.exit_status)

    threading.Thread(target=watch, name="cancel-watch", daemon=True).start()
    try:
        yield
    finally:
        over.set()
