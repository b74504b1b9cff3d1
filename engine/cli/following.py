"""Waiting for a job on behalf of a command: progress on stderr, Ctrl-C cancels, failures become the command's own."""

from typing import Any

from engine.cli.app import note
from engine.cli.follow import follow
from engine.errors import Cancelled, EngineError, ProjectLocked
from engine.runs import jobs
from engine.runs.reporter import Progress

ERRORS = {ProjectLocked.exit_status: ProjectLocked, Cancelled.exit_status: Cancelled}


def wait_for(project: Any, job_id: str) -> dict[str, Any]:
    """Show the job until it ends and return its result.

    Ctrl-C cancels the job and waits for it to stop. Raises `Cancelled`, or the error the job ended with.
    """
    folder = jobs.job(project, job_id).folder
    note(f"Job {job_id}; its log is {folder.log_path}")
    try:
        progress = follow(folder)
    except KeyboardInterrupt:
        progress = _cancelled(project, job_id)
    if progress.state == "cancelled":
        raise Cancelled(f"Job {job_id} was cancelled; `resume` continues from what is complete.")
    if progress.state == "failed":
        raise ERRORS.get(progress.exit_status, EngineError)(f"Job {job_id} failed: {progress.message}")
    return jobs.job(project, job_id).result


def _cancelled(project: Any, job_id: str) -> Progress:
    note("\nCancelling; what is complete is kept …")
    found = jobs.job(project, job_id)
    if found.active:
        jobs.cancel(project, job_id)
    return follow(found.folder)
