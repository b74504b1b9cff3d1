"""The command that checks the pool: signals."""

from dataclasses import asdict
from typing import Annotated, Any

import typer

from engine.cli.app import app, project_at
from engine.cli.data import ProjectPath
from engine.cli.following import wait_for
from engine.cli.output import print_json, print_table
from engine.cli.settings import configured


@app.command()
def signals(
    project: ProjectPath,
    show: Annotated[bool, typer.Option("--show", help="Only show what was found before; computes nothing.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print versioned JSON instead of a table.")] = False,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="regions=DE,FR: find phone numbers as written there; regions=auto: as in the language of each text.",
        ),
    ] = None,
    detach: Annotated[bool, typer.Option("--detach", help="Return at once and print the job's id.")] = False,
) -> None:
    """Check the pool and list what was found: copies, leaks, empty or cut answers, personal data, languages."""
    from engine.runs.jobs import submit
    from engine.runs.signals_config import SignalsConfig

    place = project_at(project)
    config = configured(SignalsConfig, settings or [])
    if not show:
        job_id = submit(place, "signals", config)
        if detach:
            print(job_id)
            return
        wait_for(place, job_id)
    _print(place, as_json)


def _print(place: Any, as_json: bool) -> None:
    from engine.curation.facts import Facts
    from engine.curation.signals import categories, signals_of, summary

    facts = Facts(place)
    found, all_signals = summary(facts), signals_of(facts)
    if as_json:
        columns = []
        for column, count, covered in found:
            values = categories(all_signals, column.name).to_dict() if column.kind == "category" else None
            columns.append({**asdict(column), "rows": count, "covered": covered, "counts": values})
        print_json(rows=facts.n, signals=columns)
        return
    rows = []
    for column, count, covered in found:
        if column.kind == "number" and column.threshold is None:
            continue
        limit = f"from {column.threshold:g} on" if column.kind == "number" and column.threshold is not None else ""
        if column.kind == "category":
            top = categories(all_signals, column.name).head(4)
            limit = ", ".join(f"{name} {number:,}" for name, number in top.items())
        share = f"{count / covered:.1%}" if covered else "-"
        rows.append((column.name, f"{count:,}", share, "guard" if column.guard else "", limit))
    print_table(("signal", "samples", "share", "", ""), rows, empty="The pool was not checked yet; run signals.")
