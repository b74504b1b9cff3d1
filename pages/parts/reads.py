"""Cached reads of a project, so that a rerun of a page costs next to nothing.

Three kinds of cache key, each carrying the identity of what is read: the catalogue's stamp (changes with anything),
the pool's hash (changes with the pool, not with a decision), and the name of an artifact (content-addressed, so it
never changes). What comes back is shared between sessions and must not be changed; arrays are read-only, those of
artifacts memory-mapped. Shapes: n is the number of usable pool rows. What is read is `engine.curation.facts`' matter;
`facts(project)` gives it with this module's memory.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import streamlit as st

from engine.curation.facts import (
    AGGREGATE,
    POOL,
    ROLES,
    STATE,
    STATUS,
    Array,
    Categories,
    Facts,
    Layout,
    Marks,
    Scores,
    rank,
)
from engine.errors import EngineError
from engine.store.project import Project

__all__ = ["AGGREGATE", "ROLES", "STATUS", "Array", "Categories", "Layout", "Marks", "Scores", "rank"]
T = TypeVar("T")
# what is read together, so that one opening of the catalogue serves it: what reviewing needs, and the rest
_GROUPS = (
    ("decisions", "pool_hash", "runs", "latest_map", "latest_signals"),
    ("counts", "targets", "columns", "files"),
)
_GROUP_OF = {name: group for group in _GROUPS for name in group}


class CachedFacts(Facts):
    """Facts whose memory all sessions share."""

    def remember(self, scope: str, name: str, compute: Callable[[], T], *args: Any) -> T:
        """As `Facts.remember`; what belongs to the catalogue's state is read in groups."""
        if scope == STATE and not args and (name in _GROUP_OF or name == "selections"):
            return by_state(self.project, name)
        if scope == STATE:
            return by_stamp(self.project, name, compute, *args)
        if scope == POOL:
            return by_pool(self.project, name, compute, *args)
        return by_artifact(self.project, scope, name, lambda _: compute(), *args)


def facts(project: Project) -> CachedFacts:
    """What is known of the project's rows, out of the shared memory."""
    return CachedFacts(project)


def by_state(project: Project, name: str, *args: Any) -> Any:
    """`project.<name>(*args)`, kept until the catalogue changes; what belongs together is read in one session."""
    if name in _GROUP_OF and not args:
        return _facts(project, str(project.path), project.stamp(), _GROUP_OF[name])[name]
    return _by_state(project, str(project.path), project.stamp(), name, args)


@st.cache_resource(max_entries=64, show_spinner=False)
def _facts(_project: Project, path: str, stamp: int, names: tuple[str, ...]) -> dict[str, Any]:
    with _project.session():
        return {name: _frozen(getattr(_project, name)()) for name in names}


@st.cache_resource(max_entries=512, show_spinner=False)
def _by_state(_project: Project, path: str, stamp: int, name: str, args: tuple[Any, ...]) -> Any:
    return _frozen(getattr(_project, name)(*args))


def by_stamp(project: Project, name: str, compute: Callable[[], T], *args: Any) -> T:
    """What `compute` returns, kept until the catalogue changes; `name` and `args` say what it is."""
    return _by_stamp(compute, str(project.path), project.stamp(), name, args)


@st.cache_resource(max_entries=64, show_spinner=False)
def _by_stamp(_compute: Callable[[], Any], path: str, stamp: int, name: str, args: tuple[Any, ...]) -> Any:
    return _frozen(_compute())


def by_pool(project: Project, name: str, compute: Callable[[], T], *args: Any) -> T:
    """What `compute` returns, kept until the pool changes; `name` and `args` say what it is."""
    return _by_pool(compute, str(project.path), by_state(project, "pool_hash"), name, args)


@st.cache_resource(max_entries=256, show_spinner=False)
def _by_pool(_compute: Callable[[], Any], path: str, pool: str, name: str, args: tuple[Any, ...]) -> Any:
    return _frozen(_compute())


def by_artifact(project: Project, artifact: str, name: str, compute: Callable[[Path], T], *args: Any) -> T:
    """What `compute` makes of an artifact's folder, kept for good; `name` and `args` say what it is."""
    return _by_artifact(compute, str(project.artifacts / artifact), name, args)


@st.cache_resource(max_entries=256, show_spinner=False)
def _by_artifact(_compute: Callable[[Path], Any], folder: str, name: str, args: tuple[Any, ...]) -> Any:
    if not Path(folder).is_dir():
        raise EngineError(f"The results {Path(folder).name} are missing from the project. Run that step again.")
    return _frozen(_compute(Path(folder)))


def _frozen(value: T) -> T:
    if isinstance(value, np.ndarray) and value.flags.owndata:
        value.flags.writeable = False
    return value


def pool_size(project: Project) -> int:
    """The number of usable pool rows, n."""
    return len(decisions(project))


def decisions(project: Project) -> Array:
    """int8 (n,): the decision in force on every pool row, coded as in `engine.store.decisions`."""
    return by_state(project, "decisions")


def column(project: Project, name: str) -> Array:
    """(n,) values of a built-in column or an original field."""
    return facts(project).column(name)


def categories(project: Project, name: str) -> Categories:
    """A field's values as text codes, the most frequent first; "(none)" where a row lacks it."""
    return facts(project).categories(name)


def sample(project: Project, row: int) -> Any:
    """The stored row at pool position `row`."""
    return by_pool(project, "sample", lambda: project.rows([row])[0], row)


def samples(project: Project, rows: Sequence[int]) -> list[Any]:
    """Several stored rows in the order asked, read in one go."""
    wanted = tuple(int(row) for row in rows)
    return by_pool(project, "samples", lambda: project.rows(list(wanted)), wanted) if wanted else []


def row_of(project: Project, sample_id: str) -> int:
    """The pool position of a sample's id. Raises `EngineError` where there is none."""
    return by_pool(project, "row_of", lambda: project.row_of(sample_id), sample_id)


def guide(project: Project) -> Any:
    """The record of the latest run that is no random baseline, else the latest run, else None."""
    return facts(project).guide()


def scores(project: Project, artifact: str) -> Scores:
    """The arrays of a scoring artifact, memory-mapped."""
    return facts(project).scores(artifact)


def ranks(project: Project, artifact: str, name: str) -> Array:
    """int64 (covered,): 1 for the highest score of that column, ties by row order, 0 where there is no score."""
    return facts(project).ranks(artifact, name)


def order(project: Project, artifact: str, name: str) -> Array:
    """int64: the scored rows of that column, best first, ties by row order."""
    return facts(project).order(artifact, name)


def layout(project: Project) -> Layout | None:
    """The latest map, or None."""
    return facts(project).layout()


def surprises(project: Project, artifact: str) -> Array | None:
    """float32 over the rows that both the run `artifact` and the latest map cover: how unexpected the response is."""
    return facts(project).surprises(artifact)


def marks(project: Project) -> Marks | None:
    """The latest signals, or None."""
    return facts(project).marks()
