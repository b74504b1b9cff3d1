"""The README's commands are ones that the shell understands, its files exist, and its benchmarks are registered."""

import re
import shlex
from pathlib import Path

import pytest
import typer

from engine.cli.app import app, run

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
COMMANDS = sorted(set(re.findall(r"^python -m engine (.+)$", README, re.MULTILINE)))


@pytest.mark.parametrize("line", COMMANDS)
def test_a_command_of_the_readme_parses(line: str) -> None:
    run(["--help"])  # registers the commands
    verb, *words = shlex.split(line)
    group = typer.main.get_command(app)
    command = group.commands[verb]  # type: ignore[attr-defined]
    context = command.make_context(verb, words, resilient_parsing=False)
    assert context.args == []


def test_what_the_readme_names_is_there() -> None:
    assert len(COMMANDS) >= 12
    for path in re.findall(r"\]\(((?!http)[^)#]+)\)", README):
        assert (ROOT / path).exists(), path
    for script in re.findall(r"python (tests/[\w/]+\.py)", README):
        assert (ROOT / script).is_file(), script


def test_the_readmes_benchmarks_are_registered() -> None:
    known = (ROOT / "tests" / "bench" / "run.py").read_text(encoding="utf-8")
    named = set(re.findall(r"tests/bench/run\.py (\w+)", README))
    assert named and all(f'"{name}"' in known for name in named), named
