"""Bringing files into a project: the pool, named target sets, held-out files, and data already owned.

Reading and recognising belong to `engine.data.intake`, keeping to `engine.store`; this joins the two.
"""

from pathlib import Path
from typing import Literal

from engine.data.intake import read
from engine.data.schemas import Mapping
from engine.errors import EngineError
from engine.progress import Reporter, Silent
from engine.store.project import Project
from engine.store.records import IntakeReport

Source = str | Path
AsMapping = Mapping | str  # a mapping, the name of a schema, or "auto"


def add_pool(
    project: Project, source: Source, *, mapping: AsMapping = "auto", reporter: Reporter | None = None
) -> IntakeReport:
    """Add the rows of `source` to the pool; a file already in it is recognised and changes nothing.

    Raises `EngineError` where the source cannot be read or holds no usable row (nothing is kept then).
    """
    return _add(project, "pool", "", source, mapping, reporter)


def add_target(
    project: Project, name: str, source: Source, *, mapping: AsMapping = "auto", reporter: Reporter | None = None
) -> IntakeReport:
    """Add `source` as the target set `name`; the same name with other content is an `EngineError`.

    A name is not empty and has no comma (names are listed with commas) and no surrounding blanks.
    """
    _check_name(name, "target set")
    return _add(project, "target", name, source, mapping, reporter)


def add_heldout(
    project: Project, name: str, source: Source, *, mapping: AsMapping = "auto", reporter: Reporter | None = None
) -> IntakeReport:
    """Add `source` as the held-out file `name`: data to be evaluated on, which the pool is checked against.

    Nothing is ever scored for it. Names as in `add_target`.
    """
    _check_name(name, "held-out file")
    return _add(project, "heldout", name, source, mapping, reporter)


def add_owned(
    project: Project, source: Source, *, mapping: AsMapping = "auto", reporter: Reporter | None = None
) -> IntakeReport:
    """Add the rows of `source` to the data already owned, to which a selection can be made complementary.

    Owned data is one unnamed set of any number of files; otherwise as `add_pool`.
    """
    return _add(project, "owned", "", source, mapping, reporter)


def _check_name(name: str, what: str) -> None:
    if not name.strip() or "," in name or name != name.strip():
        raise EngineError(f"{name!r} cannot name a {what}: choose a name without commas or surrounding blanks.")


def _add(
    project: Project,
    role: Literal["pool", "target", "owned", "heldout"],
    name: str,
    source: Source,
    mapping: AsMapping,
    reporter: Reporter | None,
) -> IntakeReport:
    listener = reporter or Silent()
    reading = read(source, mapping=mapping)
    listener.phase(f"reading {Path(str(source)).name}", 0)
    return project.add_rows(role, name, reading.info, reading, reporter=listener)
