"""Commands about saved selections as a whole: list them, propose, approve, return."""

from typing import Annotated, Any

import typer

from engine.cli.app import app, note, project_at
from engine.cli.data import ProjectPath
from engine.cli.output import print_json, print_table

SelectionName = Annotated[str, typer.Argument(metavar="SEL", help="The selection; its latest version.")]
Note = Annotated[str, typer.Option("--note", help="Anything to remember.")]
_HEAD = ("selection", "version", "state", "samples", "run", "saved", "latest event")


@app.command()
def selections(
    project: ProjectPath,
    as_json: Annotated[bool, typer.Option("--json", help="For scripts.")] = False,
) -> None:
    """List all versions of all selections, with what happened to each."""
    found = project_at(project).selections()
    if as_json:
        print_json(selections=[_told(selection) for selection in found])
        return
    lines = [
        (s.name, s.version, s.state, f"{s.size:,}", s.run or "-", f"{s.created[:16]} by {s.by}", _latest(s))
        for s in found
    ]
    print_table(_HEAD, lines, empty="No selection has been saved yet; see select.")


def _told(selection: Any) -> dict[str, Any]:
    """One version for a script; the rows stand in the export."""
    events = [{"kind": e.kind, "by": e.by, "at": e.at, "note": e.note} for e in selection.events]
    return {
        "name": selection.name,
        "version": selection.version,
        "state": selection.state,
        "rows": selection.size,
        "run": selection.run,
        "saved": selection.created,
        "by": selection.by,
        "spec": selection.spec,
        "events": events,
        "remark": selection.remark,
    }


def _latest(selection: Any) -> str:
    if not selection.events:
        return "-"
    event = selection.events[-1]
    remark = f" ({selection.remark})" if selection.remark else ""
    return f"{event.kind} by {event.by}{remark}" + (f": {event.note}" if event.note else "")


def _sheet(place: Any, name: str) -> dict[str, Any]:
    """The figures that are kept with a proposal or an approval of the latest version."""
    from engine.curation.facts import Facts
    from engine.runs.sheets import sheet_of

    return sheet_of(Facts(place), place.selection(name))


@app.command()
def propose(
    project: ProjectPath,
    selection: SelectionName,
    by: Annotated[str, typer.Option(metavar="NAME", help="Who proposes.")],
    comment: Note = "",
) -> None:
    """Propose a selection's latest version for approval; one that was returned, with a note that answers why."""
    place = project_at(project)
    saved = place.propose_selection(selection, by=by, note=comment, details=_sheet(place, selection))
    note(f"{saved.name} version {saved.version}: proposed by {by}")


@app.command()
def approve(
    project: ProjectPath,
    selection: SelectionName,
    by: Annotated[str, typer.Option(metavar="NAME", help="Who approves.")],
    comment: Note = "",
) -> None:
    """Approve a selection as a whole, which freezes its latest version."""
    place = project_at(project)
    saved = place.approve_selection(selection, by=by, note=comment, details=_sheet(place, selection))
    remark = f" ({saved.remark})" if saved.remark else ""
    note(f"{saved.name} version {saved.version}: approved by {saved.approved_by}{remark}")


@app.command("return")
def send_back(
    project: ProjectPath,
    selection: SelectionName,
    by: Annotated[str, typer.Option(metavar="NAME", help="Who returns it.")],
    comment: Annotated[str, typer.Option("--note", metavar="WHY", help="Why, and what would mend it.")],
) -> None:
    """Return a proposed selection with a note that says why; it can then be answered, or selected anew."""
    saved = project_at(project).return_selection(selection, by=by, note=comment)
    note(f"{saved.name} version {saved.version}: returned by {by}")
