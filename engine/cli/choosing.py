"""Commands by which people choose: select, decide, approve, export."""

import getpass
from pathlib import Path
from typing import Annotated, get_args

import typer

from engine.cli.app import WrongUsage, app, note, project_at
from engine.cli.data import ProjectPath

STRATEGY_NAMES = ("top", "round-robin", "weights")
FORMATS = ("original", "chat", "alpaca", "parquet", "hf")
SelectionName = Annotated[str, typer.Argument(metavar="SEL", help="The selection.")]
By = Annotated[str | None, typer.Option(metavar="NAME", help="Who does this; the login name by default.")]


@app.command()
def select(
    project: ProjectPath,
    run: Annotated[str, typer.Option(metavar="NAME", help="The run whose scores choose.")],
    size: Annotated[str, typer.Option(help="How many rows: 500, or 10% of the usable rows.")],
    name: Annotated[str, typer.Option(metavar="SEL", help="What the selection is called.")],
    strategy: Annotated[str, typer.Option(help=f"How to choose: {', '.join(STRATEGY_NAMES)}.")] = "top",
    seed: Annotated[int, typer.Option(min=0, help="Seed of the order in which targets take turns.")] = 0,
    by: By = None,
) -> None:
    """Choose a subset by a run's scores and save it as a draft: approved rows are in, rejected rows out."""
    from engine.runs.choosing import select as choose_and_save

    _one_of(strategy, STRATEGY_NAMES, "strategy")
    place = project_at(project)
    saved, chosen = choose_and_save(
        place, run=run, size=size, strategy=strategy, name=name, by=by or _login(), seed=seed
    )
    approved = sum(reason == "approved" for reason in chosen.reasons)
    extra = f", {approved:,} of them because a person approved them" if approved else ""
    note(f"{saved.name} version {saved.version}: {len(saved.rows):,} rows{extra}")
    for told in chosen.notes:
        note(told)
    print(saved.name)


@app.command()
def decide(
    project: ProjectPath,
    ids: Annotated[list[str], typer.Argument(metavar="ID... DECISION", help="Row ids, then the decision.")],
    by: By = None,
    comment: Annotated[str, typer.Option("--note", help="Why.")] = "",
) -> None:
    """Record a decision about rows: approve, reject, skip, or clear to take a decision back."""
    from engine.store.decisions import Decision

    *named, decision = ids
    if not named:
        raise WrongUsage("decide needs at least one ID and then the decision.")
    _one_of(decision, get_args(Decision), "decision")
    place = project_at(project)
    batch = place.decide([place.row_of(row_id) for row_id in named], decision, by=by or _login(), note=comment)
    note(f"{decision}: {len(named):,} rows (batch {batch})")


@app.command()
def approve(
    project: ProjectPath,
    selection: SelectionName,
    by: Annotated[str, typer.Option(metavar="NAME", help="Who approves.")],
    comment: Annotated[str, typer.Option("--note", help="Anything to remember.")] = "",
) -> None:
    """Approve a selection as a whole, which freezes its latest version."""
    saved = project_at(project).approve_selection(selection, by=by, note=comment)
    note(f"{saved.name} version {saved.version}: approved by {saved.approved_by}")


@app.command()
def export(
    project: ProjectPath,
    selection: SelectionName,
    out: Annotated[Path, typer.Argument(metavar="OUT", help="The file to write; for hf a folder.")],
    form: Annotated[str, typer.Option("--format", help=f"One of: {', '.join(FORMATS)}.")] = "original",
    force: Annotated[bool, typer.Option("--force", help="Replace what is there.")] = False,
) -> None:
    """Write exactly the selected rows, and a manifest beside them that says how they came about."""
    from engine.export.export import export as write
    from engine.export.manifest import build_manifest

    _one_of(form, FORMATS, "format")
    place = project_at(project)
    saved = place.selection(selection)
    words = ["python", "-m", "engine", "export", str(project), selection, str(out), "--format", form]
    manifest = build_manifest(place, saved, format=form, command=words)
    report = write(place, saved, out, format=form, force=force, manifest=manifest)
    approval = f"approved by {saved.approved_by}" if saved.state == "approved" else "not approved"
    note(f"{out}: {report.rows:,} rows of {saved.name} version {saved.version}, {approval}")


def _one_of(value: str, allowed: tuple[str, ...], what: str) -> None:
    if value not in allowed:
        raise WrongUsage(f"There is no {what} {value!r}; available: {', '.join(allowed)}.")


def _login() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a user without an entry in the password file
        return "unknown"
