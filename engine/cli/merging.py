"""Commands that carry decisions from one copy of a project to another: export-decisions, import-decisions."""

from pathlib import Path
from typing import Annotated, Any

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
    """Write the whole log of decisions, notes, tags and random audits, for another copy of the project to take in."""
    from engine.store.decision_files import export_decisions as write

    batches, tags, audits = write(project_at(project), out, force=force)
    note(f"{out}: {batches:,} batches of decisions, {tags:,} of tags, {audits:,} audits")


@app.command("import-decisions")
def import_decisions(
    project: ProjectPath,
    file: Annotated[Path, typer.Argument(metavar="FILE.jsonl", help="What export-decisions wrote.")],
    prefer: Annotated[
        str | None,
        typer.Option(metavar="SIDE", help="Whose decision holds where both sides differ: mine, theirs or latest."),
    ] = None,
    conflicts: Annotated[
        Path | None,
        typer.Option(metavar="OUT", help="Only write the conflicts to OUT (.csv or .jsonl), to be filled in."),
    ] = None,
    settle: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Settle by what was filled in; --prefer then settles the rest."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing file of conflicts.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would happen.")] = False,
    by: By = None,
) -> None:
    """Take in decisions, notes, tags and random audits made in another copy; conflicts are listed and wait (status 1).

    They are settled one by one (--conflicts writes a file with a column `settle` that takes mine or theirs, --settle
    reads it) or all at once (--prefer).
    """
    from engine.store.decision_reading import read_decisions
    from engine.store.merging import PREFER, merge
    from engine.store.settling import read_settled, write_conflicts

    if prefer is not None and prefer not in PREFER:
        raise WrongUsage(f"There is no side {prefer!r}; available: {', '.join(PREFER)}.")
    if conflicts is not None and (prefer, settle) != (None, None):
        raise WrongUsage("--conflicts only writes; use --settle or --prefer in a second call.")
    place, log, name = project_at(project), read_decisions(file), by or _login()
    found = merge(place, log, by=name, dry_run=True)
    if conflicts is not None:
        written = write_conflicts(place, found.conflicts, conflicts, force=force)
        note(f"{conflicts}: {written:,} conflicts. Fill in the column settle (mine or theirs), then use --settle.")
        note("Nothing was changed.")
        return
    filled = None if settle is None else read_settled(settle, found.conflicts)
    settled = {} if filled is None else filled.sides
    found = merge(place, log, by=name, prefer=prefer, settled=settled, expected=found.conflicts.state, dry_run=dry_run)
    if found.unsettled or dry_run:
        _listed(place, found, settled)
    if filled is not None:
        told = f"{settle}: {len(settled):,} conflicts settled, {filled.empty:,} left empty"
        note(told + (f"; {filled.passed:,} are none any more and were passed over" if filled.passed else ""))
    _told(file, found)
    if dry_run:
        note("A trial: nothing was changed.")
    elif not found.applied:
        raise EngineError(
            f"{found.unsettled:,} samples were decided differently on both sides. Settle them one by one with "
            "--conflicts and --settle, or give --prefer mine, theirs or latest. Nothing was changed."
        )


def _listed(project: Any, found: Any, settled: dict[int, str]) -> None:
    """The conflicts that no choice was made for, the first of them."""
    import numpy as np

    open_ones = np.flatnonzero(~np.isin(found.conflicts.rows, np.array(list(settled), np.int64)))
    head = ("id", "mine", "by", "at", "note", "theirs", "by", "at", "note")
    rows = [
        (c.id, *(v for s in (c.mine, c.theirs) for v in (s.decision, _line(s.by), s.at[:16], _line(s.note) or "-")))
        for c in found.conflicts.listed(project, open_ones[:_SHOWN])
    ]
    if rows:
        print_table(head, rows, empty="")
    if len(open_ones) > _SHOWN:
        print(f"… and {len(open_ones) - _SHOWN:,} more")


def _told(file: Path, found: Any) -> None:
    """What was taken in, or would be."""
    note(f"{file}: {found.new:,} new batches, {found.known:,} known already, {found.tags:,} new batches of tags")
    note(f"rows: {found.taken:,} changed, {found.kept:,} kept, {found.agreed:,} the same, {found.unknown:,} unknown")
    if found.unknown:
        names = ", ".join(_line(name) for name in found.unknown_ids[:5])
        note(f"not in this pool: {names}{', …' if found.unknown > 5 else ''}")
    if found.audits.new or found.audits.further:
        note(f"audits: {found.audits.new:,} new, {found.audits.further:,} answered further there")
    for reason in found.audits.left_out:
        note(f"{_line(reason, 300)}. It is left out.")
    if found.ahead:
        note(f"{found.ahead[:16]} UTC, of the latest act there, has not come yet here: one of the clocks is wrong.")


def _line(text: str, most: int = 60) -> str:
    return "".join(c if c.isprintable() else " " for c in text)[:most]
