"""The application: what every command shares, and how errors become messages and exit statuses.

A user's mistake is one readable message on stderr; anything that is no `EngineError` is a defect and crashes visibly.
"""

import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import typer

from engine.errors import EngineError

COMMAND_LINE_ERROR: Any = typer.BadParameter.__mro__[2]  # `ClickException` of the copy of click that typer carries
HELP = "Find out which samples of an instruction-tuning pool help a target task, decide, and export the subset."
# each adds its commands, in this order
MODULES = (
    "approving",
    "checking",
    "choosing",
    "comparing",
    "counting",
    "data",
    "exporting",
    "finding",
    "merging",
    "running",
    "tagging",
    "trusting",
    "watching",
)

app = typer.Typer(
    help=HELP,
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def _touchstone() -> None:
    """Find out which samples of an instruction-tuning pool help a target task, decide, and export the subset."""


def run(words: list[str]) -> int:
    """Run one command; returns its exit status and lets `EngineError` and `KeyboardInterrupt` through."""
    for module in MODULES:
        import_module(f"engine.cli.{module}")
    try:
        status = typer.main.get_command(app).main(words, prog_name="python -m engine", standalone_mode=False)
    except typer.Abort:
        raise KeyboardInterrupt from None
    except COMMAND_LINE_ERROR as error:
        error.show(file=sys.stderr)
        return int(error.exit_code)
    return status if isinstance(status, int) else 0


class WrongUsage(EngineError):
    """An option or argument makes no sense (exit status 2)."""

    exit_status = 2


def note(message: str) -> None:
    """Tell the user something that is no result (stderr)."""
    print(message, file=sys.stderr)


def project_at(path: Path) -> Any:
    """The existing project at `path`."""
    from engine.store.project import Project

    return Project.open(path)


def project_at_or_new(path: Path) -> Any:
    """The project at `path`, made where the folder is absent or empty."""
    from engine.store.project import Project

    if Project.is_project(path):
        return Project.open(path)
    project = Project.create(path)
    note(f"Made the project {project.path}.")
    return project
