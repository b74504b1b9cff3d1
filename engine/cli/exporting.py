"""Commands that write a selection out and make it again: export, reproduce."""

import shlex
from pathlib import Path
from typing import Annotated, Any

import typer

from engine.cli.app import WrongUsage, app, note, project_at
from engine.cli.data import ProjectPath
from engine.errors import EngineError

SelectionName = Annotated[str, typer.Argument(metavar="SEL", help="The selection.")]
_FORMATS = "original, chat, sharegpt, alpaca, prompt-completion, prompt-completion-chat, parquet, hf"


@app.command()
def export(
    project: ProjectPath,
    selection: SelectionName,
    out: Annotated[Path, typer.Argument(metavar="OUT", help="The file to write; a folder for hf, a split or shards.")],
    form: Annotated[
        str, typer.Option("--format", help=f"One of: {_FORMATS}; the last two hold chats unless --container is used.")
    ] = "original",
    container: Annotated[str, typer.Option(help="jsonl, parquet or hf; jsonl for a form by default.")] = "",
    fields: Annotated[str, typer.Option(metavar="A,B", help="Original fields to add.")] = "",
    added: Annotated[
        str,
        typer.Option(
            "--with", metavar="WHAT,…", help="Of weights, scores, decision, reason, tags, note, signals; none."
        ),
    ] = "weights",
    validation: Annotated[str, typer.Option(metavar="SHARE", help="Hold back a share, such as 5%, as a split.")] = "",
    group: Annotated[
        str,
        typer.Option(
            "--by-group", help="What the split never parts: near-duplicates, exact-duplicates, cluster or field/NAME."
        ),
    ] = "near-duplicates",
    seed: Annotated[int, typer.Option(min=0, help="Seed of the split.")] = 0,
    shard_rows: Annotated[int, typer.Option(min=0, help="Most samples in one file.")] = 0,
    shard_mb: Annotated[float, typer.Option(min=0, help="Most megabytes (10^6 bytes) in one file.")] = 0.0,
    version: Annotated[int | None, typer.Option(min=1, help="The version; the latest by default.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace what is there.")] = False,
) -> None:
    """Write exactly the selected samples, with a manifest that says how they came about, and a data set card."""
    from engine.export.commands import plan_options
    from engine.export.export import export as write
    from engine.export.plan import Plan, named

    try:
        plan = Plan(
            **named(form, container), columns=_list(fields), added=_added(added), validation=_share(validation),
            group=group, seed=seed, shard_rows=shard_rows, shard_mb=shard_mb,
        )  # fmt: skip
    except EngineError as error:
        raise WrongUsage(str(error)) from error
    place = project_at(project)
    saved = place.selection(selection, version)
    words = ["python", "-m", "engine", "export", str(project), selection, str(out)]
    words += [str(word) for name, value in plan_options(plan) if value is not None for word in (name, value)]
    report = write(place, saved, out, plan=plan, force=force, command=shlex.join(words))
    approval = f"approved by {saved.approved_by}" if saved.state == "approved" else "not approved"
    note(f"{out}: {report.rows:,} samples of {saved.name} version {saved.version}, {approval}")
    if len(report.splits) > 1:
        note(", ".join(f"{name} {rows:,}" for name, rows in report.splits.items()))
    for line in report.notes:
        note(line)


@app.command()
def reproduce(
    manifest: Annotated[Path, typer.Argument(metavar="MANIFEST", help="The manifest of an export.")],
    out: Annotated[
        Path | None, typer.Option(metavar="OUT", help="Where to write it again; without it only compared.")
    ] = None,
    inputs: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Where the input files lie if not where they were.")
    ] = None,
    rescore: Annotated[
        bool, typer.Option("--rescore", help="Score, map and select anew too, and compare the samples chosen.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace what is there.")] = False,
) -> None:
    """Make an export again from its manifest and inputs, and say whether it is identical (exit status 1 if not)."""
    from engine.export.reproduce import reproduce as again

    report = again(manifest, out=out, inputs=inputs, rescore=rescore, force=force, reporter=_Phases())
    for line in report.notes:
        note(line)
    for line in report.differences:
        print(line)
    print(report.sentence)
    if not report.identical:
        raise typer.Exit(1)


class _Phases:
    """Names phases on stderr."""

    def phase(self, name: str, total: int, unit: str = "samples") -> None:
        """Name it."""
        note(name)

    def advance(self, n: int) -> None:
        """Say nothing."""

    def check(self) -> None:
        """Never cancel."""

    def log(self, message: str) -> None:
        """Say it."""
        note(message)


def _list(text: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))


def _added(text: str) -> tuple[Any, ...]:
    names = _list(text)
    return () if names == ("none",) else names


def _share(text: str) -> float:
    value = text.strip()
    try:
        return float(value[:-1]) / 100 if value.endswith("%") else float(value or 0)
    except ValueError as error:
        raise EngineError(f"The share for validation is {text!r}; write 5% or 0.05. Nothing was written.") from error
