"""The input files of a manifest: where they lie now, whether they are the same, and a new project made of them.

A file is known by its content. It is looked for at the path it was added from, then under its name in the folder given,
then there under any name. Does not write an export.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from engine.data.intake import read
from engine.data.readers import open_source
from engine.data.schemas import Mapping as Schema
from engine.errors import EngineError
from engine.progress import Reporter
from engine.store.project import Project


def located(
    inputs: Sequence[Mapping[str, Any]], folder: Path | None, reporter: Reporter, *, needed: set[str] | None
) -> dict[int, Path | str]:
    """Where each input lies, by its file number; contents checked.

    `needed`: the roles wanted, None for all. Raises one `EngineError` naming all inputs that are missing or changed.
    """
    if folder is not None and not folder.is_dir():
        raise EngineError(f"There is no folder {folder} of inputs. Nothing was written.")
    found: dict[int, Path | str] = {}
    problems: list[str] = []
    lacking: set[str] = set()
    for entry in inputs:
        if needed is not None and entry["role"] not in needed:
            continue
        reporter.phase(f"checking {entry['name']}", 0)
        told: list[str] = []
        for place in _places(entry, folder):
            problem = _problem(place, entry["sha256"])
            if problem is None:
                found[entry["file_id"]] = place
                break
            told.append(problem)
        else:
            why = next((problem for problem in told if problem != "missing"), "missing")
            lacking.add(entry["role"])
            problems.append(f"{entry['name']} ({entry['role']}): {why}; it was {entry['path']}")
    if problems:
        spared = " Without --rescore the pool's files are enough." if "pool" not in lacking else ""
        raise EngineError(
            f"{len(problems)} of the inputs cannot be used. " + ". ".join(problems) + ". Put the originals into one "
            f"folder and give it with --inputs.{spared} Nothing was written."
        )
    return found


def rebuilt(
    folder: Path, found: Mapping[int, Path | str], inputs: Sequence[Mapping[str, Any]], reporter: Reporter
) -> Project:
    """A new project of the pool's files found, added in their order with their mappings."""
    project = Project.create(folder)
    for entry in inputs:
        if entry["file_id"] in found and entry["role"] == "pool":
            add_input(project, found[entry["file_id"]], entry, reporter)
    return project


def add_input(project: Project, place: Path | str, entry: Mapping[str, Any], reporter: Reporter) -> None:
    """Add one input in its role with the mapping it was read with, under the path it was added from: a filter may ask
    for the file's name, whatever the file that was found is called.
    """
    reporter.phase(f"reading {entry['name']}", 0)
    reading = read(place, mapping=Schema.from_dict(entry["mapping"]))
    info = replace(reading.info, path=str(entry["path"]))
    project.add_rows(entry["role"], entry["set_name"], info, reading, reporter=reporter)


def _places(entry: Mapping[str, Any], folder: Path | None) -> Iterator[Path | str]:
    yield entry["path"]
    if folder is None:
        return
    yield folder / entry["name"]
    for path in sorted(folder.iterdir()):
        if path.is_file() and path.name != entry["name"] and path.stat().st_size == entry["bytes"]:
            yield path


def _problem(place: Path | str, sha256: str) -> str | None:
    try:
        got = open_source(place).digest()[0]
    except EngineError:
        return "missing"
    return None if got == sha256 else f"changed (SHA-256 {got[:12]}…, recorded {sha256[:12]}…)"
