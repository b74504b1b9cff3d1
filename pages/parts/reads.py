"""Cached reads of a project, so that a rerun of a page costs next to nothing.

Four kinds of what is kept, each by the identity of what is read: facts of the catalogue until their own subject changes
(`engine.store.versions`: a decision does not make anything else be read again), what is computed from the catalogue
until it changes at all, from the pool until the pool changes, and from an artifact for good (its name is that of its
content). All of it lives in one memory of at most `LIMIT` bytes, shared by all sessions, so it must not be changed;
arrays are read-only, those of artifacts memory-mapped. Shapes: n is the number of usable pool rows. What is read is
`engine.curation.facts`' matter; `facts(project)` gives it with this module's memory.
"""

import hashlib
import pickle
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

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
from engine.store.decisions import DecisionState
from engine.store.project import Project
from pages.parts.memory import Memory

__all__ = ["AGGREGATE", "ROLES", "STATUS", "Array", "Categories", "Layout", "Marks", "Scores", "rank"]
T = TypeVar("T")
LIMIT = 500_000_000
# which subjects of the catalogue a fact depends on; any other is read again whenever the catalogue changes
_SUBJECTS: dict[str, tuple[str, ...]] = {
    "decisions": ("sets", "decisions"),
    "counts": ("sets", "decisions"),
    "pool_hash": ("sets",),
    "files": ("sets",),
    "targets": ("sets",),
    "heldout": ("sets",),
    "beside": ("sets",),
    "columns": ("sets",),
    "bad_rows": ("sets",),
    "runs": ("runs",),
    "run": ("runs",),
    "maps": ("maps",),
    "latest_map": ("maps",),
    "latest_signals": ("signals",),
    "selections": ("selections",),
    "tags": ("tags",),
    "tag_version": ("tags",),
}
# what nearly every page needs: one opening of the catalogue serves it
_TOGETHER = ("decisions", "pool_hash", "runs", "latest_map", "latest_signals")


class CachedFacts(Facts):
    """Facts whose memory all sessions share."""

    def remember(self, scope: str, name: str, compute: Callable[[], T], *args: Any) -> T:
        """As `Facts.remember`; facts of the catalogue are kept until their own subject changes."""
        if scope == STATE and not args and name in _SUBJECTS:
            return by_state(self.project, name)
        if scope == STATE:
            return by_stamp(self.project, name, compute, *args)
        if scope == POOL:
            return by_pool(self.project, name, compute, *args)
        return by_artifact(self.project, scope, name, lambda _: compute(), *args)


def facts(project: Project) -> CachedFacts:
    """What is known of the project's rows, out of the shared memory."""
    return CachedFacts(project)


_MEMORY = Memory(LIMIT)  # one for the process; a page asks it hundreds of times


def _kept(project: Project, kind: str, key: tuple[Any, ...], version: Any, make: Callable[[Any], T]) -> T:
    """A value of the shared memory. A thread inside a session of the catalogue waits for nobody who may need one."""
    patient = not project.is_open_here()
    whole = (str(project.path), kind, *_hashable(key))
    return _MEMORY.get(whole, version, lambda before: _frozen(make(before)), patient=patient)


def _hashable(key: tuple[Any, ...]) -> tuple[Any, ...]:
    """The key itself, or the digest of one that holds lists, mappings or arrays."""
    try:
        hash(key)
    except TypeError:
        return (hashlib.blake2b(pickle.dumps(key), digest_size=16).hexdigest(),)
    return key


def by_state(project: Project, name: str, *args: Any) -> Any:
    """`project.<name>(*args)`, kept until its subject changes in the catalogue; see `_SUBJECTS`."""
    return _fact(project, marks_of(project), name, args)


def marks_of(project: Project) -> dict[str, str]:
    """The marks of the catalogue's subjects as they are now; when it changed, what pages need is read with them."""

    def read(_: Any) -> dict[str, str]:
        with project.session():
            marks = project.versions()
            for name in _TOGETHER:
                _fact(project, marks, name, ())
        return marks

    return _kept(project, "marks", (), project.stamp(), read)


def _fact(project: Project, marks: dict[str, str], name: str, args: tuple[Any, ...]) -> Any:
    known = name in _SUBJECTS
    version = tuple(marks[subject] for subject in _SUBJECTS[name]) if known else (project.stamp(),)
    if name == "decisions":
        return _kept(project, "decisions", (), version, lambda before: _decided(project, before)).codes
    return _kept(project, "fact", (name, args), version, lambda _: getattr(project, name)(*args))


def _decided(project: Project, before: DecisionState | None) -> DecisionState:
    """The decisions in force: those known, and what came after them."""
    found = project.decision_state(before)
    found.codes.flags.writeable = False
    return found


def by_stamp(project: Project, name: str, compute: Callable[[], T], *args: Any) -> T:
    """What `compute` returns, kept until the catalogue changes; `name` and `args` say what it is."""
    return _kept(project, "stamp", (name, args), project.stamp(), lambda _: compute())


def by_pool(project: Project, name: str, compute: Callable[[], T], *args: Any) -> T:
    """What `compute` returns, kept until the pool changes; `name` and `args` say what it is."""
    return _kept(project, "pool", (name, args), by_state(project, "pool_hash"), lambda _: compute())


def by_artifact(project: Project, artifact: str, name: str, compute: Callable[[Path], T], *args: Any) -> T:
    """What `compute` makes of an artifact's folder, kept for good; `name` and `args` say what it is."""

    def make(_: Any) -> T:
        folder = project.artifacts / artifact
        if not folder.is_dir():
            raise EngineError(f"The results {artifact} are missing from the project. Run that step again.")
        return compute(folder)

    return _kept(project, "artifact", (artifact, name, args), None, make)


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
