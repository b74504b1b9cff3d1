"""Cached reads of a project, so that a rerun of a page costs next to nothing.

Three kinds of cache key, each carrying the identity of what is read: the catalogue's stamp (changes with anything),
the pool's hash (changes with the pool, not with a decision), and the name of an artifact (content-addressed, so it
never changes). What comes back is shared between sessions and must not be changed; arrays are read-only, those of
artifacts memory-mapped. Shapes: n is the number of usable pool rows.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd
import streamlit as st

from engine.data.surprise import surprise
from engine.errors import EngineError
from engine.store import artifacts
from engine.store.project import Project

T = TypeVar("T")
Array = np.ndarray
STATUS = {0: "unscorable", 1: "exact", 2: "propagated"}
ROLES = {
    1: "landmark",
    2: "audit",
    4: "warm-up",
    8: "truncated for the model",
    16: "tuning",
    32: "measured near the cut",
    64: "labelled for the network",
}
AGGREGATE = "score"
# what is read together, so that one opening of the catalogue serves it: what reviewing needs, and the rest
_GROUPS = (
    ("decisions", "pool_hash", "runs", "latest_map", "latest_signals"),
    ("counts", "targets", "columns", "files"),
)
_GROUP_OF = {name: group for group in _GROUPS for name in group}


@dataclass(frozen=True)
class Scores:
    """The arrays of one scoring artifact, over the `covered` first pool rows; `columns` has one column per target set,
    `matrix` one per usable target sample.

    Higher is better. `status` codes as `STATUS`, `roles` bit flags as `ROLES`. NaN where a row has no score. `variance`
    is that of the propagation, in units of the kernel; `sigma`, `low` and `high` are the standard deviation and the
    interval of the aggregate in units of the score. None where a run has none.
    """

    artifact: str
    score: Array
    columns: Array
    matrix: Array
    status: Array
    roles: Array
    loss: Array
    variance: Array | None
    summary: dict[str, Any]
    sigma: Array | None = None
    low: Array | None = None
    high: Array | None = None

    @property
    def covered(self) -> int:
        """How many pool rows the run covers."""
        return len(self.score)

    @property
    def sets(self) -> list[str]:
        """The target sets, in column order."""
        return [entry["name"] for entry in self.summary.get("sets", ())]

    def column(self, name: str) -> Array:
        """The aggregate under "score", else the named target set's column."""
        return self.score if name == AGGREGATE or name not in self.sets else self.columns[:, self.sets.index(name)]


@dataclass(frozen=True)
class Categories:
    """An original field as codes: `names` by falling frequency, `codes` int32 (n,), `counts` per name."""

    names: list[str]
    codes: Array
    counts: Array


@dataclass(frozen=True)
class Layout:
    """One map artifact over the first rows of the pool: positions (NaN where a row could not be placed), neighbours
    (rows, nearest first, -1 for none), clusters (-1 for none) with readable labels, and where the labels stand.
    """

    artifact: str
    xy: Array
    neighbours: Array
    distances: Array
    cluster: Array
    centres: Array
    labels: list[str]
    notes: list[str]


@dataclass(frozen=True)
class Marks:
    """One signals artifact: the first row of a near-duplicate group or -1, share of a target repeated, truncation."""

    near_duplicate_of: Array
    leak: Array
    leak_target: Array
    looks_truncated: Array


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
    return by_pool(project, "column", lambda: np.asarray(project.column(name)), name)


def categories(project: Project, name: str) -> Categories:
    """A field's values as text codes, the most frequent first; "(none)" where a row lacks it."""

    def compute() -> Categories:
        codes, values = pd.factorize(pd.Series(column(project, name), dtype=object), use_na_sentinel=True)
        texts = [str(value) for value in values] + (["(none)"] if (codes < 0).any() else [])
        codes = np.where(codes < 0, len(texts) - 1, codes)
        names, merged = np.unique(np.asarray(texts, object).astype(str), return_inverse=True)  # 1 and "1" are one text
        codes = merged[codes] if len(texts) else codes
        counts = np.bincount(codes, minlength=len(names))
        falling = np.argsort(-counts, kind="stable")
        place = np.argsort(falling, kind="stable")
        return Categories([str(names[at]) for at in falling], place[codes].astype(np.int32), counts[falling])

    return by_pool(project, "categories", compute, name)


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
    runs = by_state(project, "runs")
    return next((run for run in reversed(runs) if run.method != "random"), runs[-1] if runs else None)


def scores(project: Project, artifact: str) -> Scores:
    """The arrays of a scoring artifact, memory-mapped."""

    def load(folder: Path) -> Scores:
        arrays: dict[str, Any] = {
            name: artifacts.load_array(folder, name)
            for name in ("score", "columns", "matrix", "status", "roles", "loss")
        }
        for name in ("variance", "sigma", "low", "high"):  # of landmark runs, where they were computed
            arrays[name] = artifacts.load_array(folder, name) if (folder / f"{name}.npy").exists() else None
        return Scores(artifact=artifact, summary=artifacts.read_json(folder / "summary.json"), **arrays)

    return by_artifact(project, artifact, "scores", load)


def ranks(project: Project, artifact: str, name: str) -> Array:
    """int64 (covered,): 1 for the highest score of that column, ties by row order, 0 where there is no score."""
    return by_artifact(project, artifact, "ranks", lambda _: rank(scores(project, artifact).column(name)), name)


def order(project: Project, artifact: str, name: str) -> Array:
    """int64: the scored rows of that column, best first, ties by row order."""

    def compute(_: Path) -> Array:
        values = np.asarray(scores(project, artifact).column(name))
        best_first = np.argsort(-values, kind="stable")  # NaN sorts last
        return best_first[: int(np.isfinite(values).sum())]

    return by_artifact(project, artifact, "order", compute, name)


def rank(values: Array) -> Array:
    """int64 (n,): 1 for the highest value, ties by position, 0 where not finite."""
    best_first = np.argsort(-np.asarray(values), kind="stable")[: int(np.isfinite(values).sum())]
    place = np.zeros(len(values), np.int64)
    place[best_first] = np.arange(1, len(best_first) + 1)
    return place


def layout(project: Project) -> Layout | None:
    """The latest map, or None."""
    record = by_state(project, "latest_map")
    if record is None:
        return None

    def load(folder: Path) -> Layout:
        about = artifacts.read_json(folder / "map.json")
        arrays = {
            name: artifacts.load_array(folder, name) for name in ("xy", "neighbours", "distances", "cluster", "centres")
        }
        return Layout(record.artifact, labels=about["labels"], notes=list(about.get("notes", ())), **arrays)

    return by_artifact(project, record.artifact, "layout", load)


def surprises(project: Project, artifact: str) -> Array | None:
    """float32 over the rows that both the run `artifact` and the latest map cover: how unexpected the response is."""
    found = layout(project)
    loss = scores(project, artifact).loss
    if found is None:
        return None
    both = min(len(loss), len(found.neighbours))

    def compute(_: Path) -> Array:
        near = np.asarray(found.neighbours[:both])
        return surprise(np.asarray(loss[:both]), np.where(near < both, near, -1))

    return by_artifact(project, artifact, "surprise", compute, found.artifact)


def marks(project: Project) -> Marks | None:
    """The latest signals, or None."""
    folder = by_state(project, "latest_signals")
    if folder is None:
        return None
    names = ("near_duplicate_of", "leak", "leak_target", "looks_truncated")
    return by_artifact(
        project, Path(folder).name, "marks", lambda at: Marks(*(artifacts.load_array(at, name) for name in names))
    )
