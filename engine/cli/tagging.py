"""Commands about what people found out while reviewing: tag, tags, audit."""

import getpass
from dataclasses import asdict
from typing import Annotated

import typer

from engine.cli.app import WrongUsage, app, note, project_at
from engine.cli.data import ProjectPath
from engine.cli.output import print_json, print_table

Json = Annotated[bool, typer.Option("--json", help="As JSON.")]


@app.command()
def tag(
    project: ProjectPath,
    ids: Annotated[list[str], typer.Argument(metavar="ID... TAG", help="Sample ids, then the tag.")],
    remove: Annotated[bool, typer.Option("--remove", help="Take the tag off instead.")] = False,
    by: Annotated[str | None, typer.Option(metavar="NAME", help="Who does this; the login name by default.")] = None,
) -> None:
    """Put a tag on samples, or take it off; every act is kept, and a sample may carry several tags."""
    *named, name = ids
    if not named:
        raise WrongUsage("tag needs at least one ID and then the tag.")
    place = project_at(project)
    rows = [place.row_of(row_id) for row_id in named]
    batch = (place.untag if remove else place.tag)(rows, name, by=by or _login())
    note(f"{name}: {'taken off' if remove else 'put on'} {len(set(rows)):,} samples (batch {batch})")


@app.command()
def tags(project: ProjectPath, as_json: Json = False) -> None:
    """The tags in use and how many samples carry each."""
    found = {name: len(rows) for name, rows in project_at(project).tags().items()}
    if as_json:
        print_json(tags=found)
    else:
        print_table(("tag", "samples"), list(found.items()), empty="No sample is tagged.")


@app.command()
def audit(project: ProjectPath, as_json: Json = False) -> None:
    """What the latest random audit says of the samples nobody has reviewed. Audits are made on the Review page."""
    from engine.curation.audit import estimate

    found = estimate(project_at(project))
    if as_json:
        print_json(audit=None if found is None else {**asdict(found), "sentence": found.sentence})
    else:
        print(found.sentence if found is not None else "No audit was begun. Begin one on the Review page.")


def _login() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a user without an entry in the password file
        return "unknown"
