"""Commands that bring data in: demo, add-pool, add-target, add-heldout, add-owned."""

from pathlib import Path
from typing import Annotated, Any

import typer

from engine.cli.app import app, note, project_at_or_new
from engine.cli.following import wait_for

ProjectPath = Annotated[Path, typer.Argument(metavar="PROJECT", help="The project folder.")]
Schema = Annotated[str, typer.Option(help="The schema of the rows, or auto to recognise it.")]


@app.command()
def demo(
    project: ProjectPath,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the demo data and of the run.")] = 0,
    detach: Annotated[bool, typer.Option("--detach", help="Return at once and print the job's id.")] = False,
) -> None:
    """Build the demo project: a made-up pool with two targets, scored and mapped; prints the run's name."""
    from engine.runs.jobs import submit

    place = project_at_or_new(project)
    job_id = submit(place, "demo", {"seed": seed})
    if detach:
        print(job_id)
        return
    print(wait_for(place, job_id)["run"])


@app.command("add-pool")
def add_pool(
    project: ProjectPath,
    files: Annotated[list[str], typer.Argument(metavar="FILE...", help="JSONL, JSON, Parquet, CSV, or a data set.")],
    schema: Schema = "auto",
    search: Annotated[
        bool, typer.Option("--search/--no-search", help="Prepare a large pool's search now, or when it is first used.")
    ] = True,
) -> None:
    """Add files to the pool, making the project where there is none; bad rows are counted and set aside."""
    from engine.runs import intake, search_jobs

    place = project_at_or_new(project)
    for file in files:
        _tell(file, intake.add_pool(place, file, mapping=schema))
    if search and (job_id := search_jobs.begin_if_large(place)):
        note("The pool is added; now its search is prepared (Ctrl-C leaves that to the first search)")
        wait_for(place, job_id)


@app.command("add-target")
def add_target(
    project: ProjectPath,
    name: Annotated[str, typer.Argument(metavar="NAME", help="What the target set is called; no commas.")],
    file: Annotated[str, typer.Argument(metavar="FILE", help="JSONL, JSON, Parquet, CSV, or a data set.")],
    schema: Schema = "auto",
) -> None:
    """Add a file as a named target set: samples of the task that the selected subset should help."""
    from engine.runs import intake

    place = project_at_or_new(project)
    _tell(file, intake.add_target(place, name, file, mapping=schema))


@app.command("add-heldout")
def add_heldout(
    project: ProjectPath,
    name: Annotated[str, typer.Argument(metavar="NAME", help="What the held-out file is called; no commas.")],
    file: Annotated[str, typer.Argument(metavar="FILE", help="JSONL, JSON, Parquet, CSV, or a data set.")],
    schema: Schema = "auto",
) -> None:
    """Add a file to be evaluated on: nothing is scored for it, the pool is checked for its items (see signals)."""
    from engine.runs import intake

    place = project_at_or_new(project)
    _tell(file, intake.add_heldout(place, name, file, mapping=schema))


@app.command("add-owned")
def add_owned(
    project: ProjectPath,
    files: Annotated[list[str], typer.Argument(metavar="FILE...", help="JSONL, JSON, Parquet, CSV, or a data set.")],
    schema: Schema = "auto",
) -> None:
    """Add files as data already owned: samples trained on anyway, which a selection can be made complementary to."""
    from engine.runs import intake

    place = project_at_or_new(project)
    for file in files:
        _tell(file, intake.add_owned(place, file, mapping=schema))


def _tell(file: str, report: Any) -> None:
    if report.already:
        note(f"{file}: already added, nothing changed ({report.rows:,} rows)")
        return
    extra = f", {report.duplicates:,} of them duplicates" if report.duplicates else ""
    note(f"{file}: {report.rows:,} rows added{extra}")
    if report.bad:
        reasons = ", ".join(f"{reason} {count:,}" for reason, count in report.reasons.items())
        note(f"{file}: {report.bad:,} bad rows set aside ({reasons})")
