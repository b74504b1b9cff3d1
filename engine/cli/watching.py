"""Commands about jobs: jobs, cancel, resume, doctor, and the hidden one that a job's process runs."""

from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from engine.cli.app import WrongUsage, app, note, project_at
from engine.cli.data import ProjectPath
from engine.cli.follow import describe
from engine.cli.following import wait_for
from engine.cli.output import print_json, print_table
from engine.errors import EngineError

if TYPE_CHECKING:
    from engine.runs.jobs import Job

AsJson = Annotated[bool, typer.Option("--json", help="Print versioned JSON instead of a table.")]
JobId = Annotated[str | None, typer.Argument(metavar="ID", help="The job; may be left out where only one fits.")]


@app.command("jobs")
def list_jobs(project: ProjectPath, as_json: AsJson = False) -> None:
    """List the project's jobs, the newest first, with state, progress and what came of them."""
    from engine.runs import jobs

    found = jobs.jobs(project_at(project))
    if as_json:
        listed = [
            {"id": j.id, "kind": j.kind, "created": j.created, "result": j.result, **asdict(j.progress)} for j in found
        ]
        print_json(jobs=listed)
        return
    rows = [(j.id, j.state, datetime.fromtimestamp(j.created).strftime("%Y-%m-%d %H:%M"), _what(j)) for j in found]
    print_table(("job", "state", "created", ""), rows, empty="No jobs yet.")


def _what(job: "Job") -> str:
    if job.active:
        return describe(job.progress)
    return job.result.get("run") or job.result.get("map") or job.progress.message


@app.command()
def cancel(project: ProjectPath, job: JobId = None) -> None:
    """Ask a job to stop; what is complete is kept, and resume continues from it."""
    from engine.runs import jobs

    place = project_at(project)
    chosen = _one(place, job, [j.id for j in jobs.jobs(place) if j.active], "waits or runs")
    jobs.cancel(place, chosen)
    note(f"Job {chosen} was asked to stop.")


@app.command()
def resume(
    project: ProjectPath,
    job: JobId = None,
    detach: Annotated[bool, typer.Option("--detach", help="Return at once and print the job's id.")] = False,
) -> None:
    """Continue a cancelled, failed or dead job from what is complete, or record one that was run elsewhere."""
    from engine.runs import jobs

    place = project_at(project)
    open_jobs = [j.id for j in jobs.jobs(place) if not j.active and j.state != "done"]
    chosen = jobs.resume(place, _one(place, job, open_jobs, "can be resumed"))
    if detach:
        print(chosen)
        return
    result = wait_for(place, chosen)
    print(result.get("run") or result.get("map") or chosen)


def _one(project: object, asked: str | None, fitting: list[str], what: str) -> str:
    if asked is not None:
        return asked
    if not fitting:
        raise EngineError(f"No job of this project {what}.")
    if len(fitting) > 1:
        raise WrongUsage(f"Several jobs fit; name one of: {', '.join(fitting)}.")
    return fitting[0]


@app.command()
def doctor(
    project: ProjectPath,
    fix: Annotated[bool, typer.Option("--fix", help="Remove what processes that are gone left behind.")] = False,
    as_json: AsJson = False,
) -> None:
    """Look the project over for leftovers, dead jobs and damage; exit status 1 where something needs attention."""
    from engine.runs import jobs
    from engine.store.doctor import Finding
    from engine.store.doctor import doctor as look_over

    place = project_at(project)
    found = look_over(place, fix=fix)
    found += [
        Finding("note", f"jobs/{job.id}", f"{job.progress.message}")
        for job in jobs.jobs(place)
        if job.state == "failed"
    ]
    if as_json:
        print_json(findings=[asdict(finding) for finding in found])
    else:
        rows = [(f.kind + (" (removed)" if f.fixed else ""), f.where, f.message) for f in found]
        print_table(("kind", "where", "what"), rows, empty="All is well.")
    if any(finding.kind != "note" and not finding.fixed for finding in found):
        raise typer.Exit(1)


@app.command("work", hidden=True)
def work_command(
    project: Annotated[Path, typer.Argument(help="The project folder.")],
    job: Annotated[str, typer.Argument(help="The job's id.")],
) -> None:
    """Do a job in this process; `score`, `map`, `demo` and `resume` start it."""
    from engine.runs.work import work

    work(project, job)


@app.command("run-job")
def run_job(
    folder: Annotated[Path, typer.Argument(metavar="JOBDIR", help="A prepared job folder.")],
) -> None:
    """Compute a prepared job folder without its project; needs only torch, numpy, scipy and transformers."""
    from engine.cli.run_job import run_job_command

    raise typer.Exit(run_job_command([str(folder)]))
