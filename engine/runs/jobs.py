"""Jobs of a project: submitting, listing, cancelling and resuming work that runs in its own process.

A job outlives whoever started it: the process is detached, writes its progress into its job folder, and whoever looks
reads that file. Nothing here computes or opens the catalogue; `work.py` is what the process does.
"""

import re
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, Protocol

import engine
from engine.errors import EngineError
from engine.runs.jobfolder import KINDS, JobFolder
from engine.runs.reporter import Progress, observed, read_progress, write_progress

Kind = Literal["score", "map", "signals", "demo", "search", "token-counts"]
ACTIVE = ("queued", "running")


class HasJobs(Protocol):
    """What a project must offer here: its own folder and the folder of its jobs."""

    @property
    def path(self) -> Path:
        """The project folder."""

    @property
    def jobs(self) -> Path:
        """The folder of the job folders."""


class Config(Protocol):
    """A frozen configuration such as `ScoreConfig` or `MapConfig`."""

    def to_dict(self) -> dict[str, Any]:
        """All fields as JSON values."""


@dataclass(frozen=True)
class Job:
    """One job as a reader should show it; `progress` is `failed` where the process died."""

    id: str
    kind: str
    created: float
    progress: Progress
    folder: JobFolder
    spec: dict[str, Any]
    result: dict[str, Any]

    @property
    def state(self) -> str:
        """One of `engine.runs.reporter.STATES`."""
        return self.progress.state

    @property
    def active(self) -> bool:
        """Whether the job waits or runs, so that it can be cancelled."""
        return self.state in ACTIVE


def create_job(
    project: HasJobs,
    kind: Kind,
    config: Config | dict[str, Any],
    *,
    run: str | None = None,
    prepare_only: bool = False,
) -> JobFolder:
    """Make a job folder in the state queued, with the next free id `<kind>-<number>`; starts nothing."""
    if kind not in KINDS:
        raise EngineError(f"There is no job of kind {kind!r}; kinds: {', '.join(KINDS)}. Nothing was started.")
    values = config if isinstance(config, dict) else config.to_dict()
    spec: dict[str, Any] = {"kind": kind, "config": values, "run": run, "prepare_only": prepare_only}
    spec |= {"created": time.time(), "version": engine.__version__}
    number = 1 + max((int(m[1]) for p in _folders(project) if (m := re.fullmatch(rf"{kind}-(\d+)", p.name))), default=0)
    while (project.jobs / f"{kind}-{number}").exists():
        number += 1
    folder = JobFolder.create(project.jobs / f"{kind}-{number}", spec)
    write_progress(folder, Progress())
    return folder


def submit(
    project: HasJobs,
    kind: Kind,
    config: Config | dict[str, Any],
    *,
    run: str | None = None,
    prepare_only: bool = False,
) -> str:
    """Start a job in its own detached process and return its id at once.

    `run`: the name of the run to be made (None: a name is chosen). `prepare_only`: end in the state `prepared`, to be
    run elsewhere; both for scoring only. Raises `EngineError` for an unknown kind. Jobs of one project run one after
    the other.
    """
    folder = create_job(project, kind, config, run=run, prepare_only=prepare_only)
    _spawn(project, folder)
    return folder.id


def jobs(project: HasJobs) -> list[Job]:
    """All jobs of the project, the newest first; a folder that is no job folder is left out."""
    found = []
    for path in _folders(project):
        try:
            found.append(_job(JobFolder(path)))
        except EngineError:
            continue  # being made or foreign: doctor names it
    return sorted(found, key=lambda job: job.created, reverse=True)


def job(project: HasJobs, job_id: str) -> Job:
    """The job named `job_id`; `EngineError` naming the jobs there are."""
    path = project.jobs / job_id
    if job_id not in {folder.name for folder in _folders(project)}:
        names = ", ".join(j.id for j in jobs(project)) or "none"
        raise EngineError(f"There is no job {job_id!r} in {project.path}; jobs: {names}.")
    return _job(JobFolder.open(path))


def cancel(project: HasJobs, job_id: str) -> Job:
    """Ask a job to stop; it stops at its next check and keeps what is complete. Returns the job as it stands.

    Raises `EngineError` where it has ended already.
    """
    found = job(project, job_id)
    if not found.active:
        raise EngineError(f"Job {job_id} is {found.state} already; there is nothing to cancel.")
    found.folder.ask_cancel()
    return found


def resume(project: HasJobs, job_id: str) -> str:
    """Start a cancelled, failed, dead, prepared or computed job again from what is complete; returns its id.

    Raises `EngineError` where it still works or is done.
    """
    found = job(project, job_id)
    if found.active:
        raise EngineError(f"Job {job_id} is {found.state} already; cancel it first, or wait. Nothing was changed.")
    if found.state == "done":
        raise EngineError(f"Job {job_id} is done; there is nothing to resume.")
    found.folder.withdraw_cancel()
    found.folder.update_spec(prepare_only=False)
    write_progress(found.folder, replace(Progress(), phases=found.progress.phases))
    _spawn(project, found.folder)
    return job_id


def _folders(project: HasJobs) -> list[Path]:
    return [p for p in project.jobs.iterdir() if (p / "spec.json").is_file()] if project.jobs.is_dir() else []


def _job(folder: JobFolder) -> Job:
    spec, progress = folder.spec, observed(read_progress(folder))
    return Job(folder.id, spec["kind"], float(spec.get("created", 0.0)), progress, folder, spec, folder.result)


def command(project: HasJobs, folder: JobFolder) -> list[str]:
    """The command of the detached process."""
    return [sys.executable, "-m", "engine", "work", str(project.path.resolve()), folder.id]


def _spawn(project: HasJobs, folder: JobFolder) -> None:
    with folder.log_path.open("ab") as log:
        process = subprocess.Popen(
            command(project, folder),
            cwd=Path(engine.__file__).parent.parent,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    # whoever started it may live long: collect the ended process, so that it does not linger as a zombie
    threading.Thread(target=process.wait, name=f"reap-{folder.id}", daemon=True).start()
