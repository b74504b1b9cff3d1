"""Commands that carry decisions and tags from one copy of a project to another: export-decisions, import-decisions."""

from pathlib import Path
from typing import Annotated

import typer

from engine.cli.app import WrongUsage, app, note, project_at
from engine.cli.choosing import By, _login
from engine.cli.data import ProjectPath
from engine.cli.output import print_table
from engine.errors import EngineError

_SHOWN = 50


@app.command("export-decisions")
def export_decisions(
    project: ProjectPath,
    out: Annotated[Path, typer.Argument(metavar="FILE.jsonl", help="The file to write.")],
    force: Annotated[bool, typer.Option("--force", help="Replace an existing file.")] = False,
) -> None:
    """Write the whole log of decisions, notes and tags, for another copy of the project to take in."""
    from engine.store.decision_files import export_decisions as write

    batches, tags = write(project_at(project), out, force=force)
    note(f"{out}: {batches:,} batches of decisions, {tags:,} of tags")


@app.command("import-decisions")
def import_decisions(
    project: ProjectPath,
    file: Annotated[Path, typer.Argument(metavar="FILE.jsonl", help="What export-decisions wrote.")],
    prefer: Annotated[
        str | None,
        typer.Option(metavar="SIDE", help="Whose decision holds where both sides differ: mine, theirs or latest."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would happen.")] = False,
    by: By = None,
) -> None:
    """Take in decisions, notes and tags made in another copy; conflicts are listed and wait for --prefer (status 1)."""
    from engine.store.decision_files import read_decisions
    from engine.store.merging import PREFER, merge

    if prefer is not None and prefer not in PREFER:
        raise WrongUsage(f"There is no side {prefer!r}; available: {', '.join(PREFER)}.")
    place = project_at(project)
    found = merge(place, read_decisions(file), by=by or _login(), prefer=prefer, dry_run=dry_run)
    if found.conflicts:
        head = ("id", "mine", "by", "at", "note", "theirs", "by", "at", "note")
        rows = [
            (c.id, *(v for s in (c.mine, c.theirs) for v in (s.decision, s.by, s.at[:16], _line(s.note) or "-")))
            for c in found.conflicts[:_SHOWN]
        ]
        print_table(head, rows, empty="")
        if found.conflicted > _SHOWN:
            print(f"… and {found.conflicted - _SHOWN:,} more")
    note(f"{file}: {found.new:,} new batches, {found.known:,} known already, {found.tags:,} new batches of tags")
    note(f"rows: {found.taken:,} changed, {found.kept:,} kept, {found.agreed:,} the same, {found.unknown:,} unknown")
    if found.unknown:
        names = ", ".join(_line(name) for name in found.unknown_ids[:5])
        note(f"not in this pool: {names}{', …' if found.unknown > 5 else ''}")
    if dry_run:
        note("A trial: nothing was changed.")
    elif not found.applied:
        raise EngineError(
            f"{found.conflicted:,} samples were decided differently on both sides. Give --prefer mine, theirs or "
            "latest to settle them. Nothing was changed."
        )


def _line(text: str) -> str:
    return "".join(c if c.isprintable() else " " for c in text)[:60]
