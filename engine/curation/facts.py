"""What is known of a pool's rows, read once and kept: decisions, columns, scores, ranks, the map, the signals.

    facts = Facts(project)
    facts.scores(artifact).score, facts.categories("source").codes

`Facts` keeps what it has read for as long as it lives. A page has a `Facts` whose `remember` is shared between its
sessions (`pages.parts.reads`); nothing that comes back may be changed. Notation: n usable pool rows; `covered` rows are
the first ones, which a run, a map or the signals were made of. Does not choose, filter or draw.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd

from engine.data.surprise import surprise
from engine.errors import EngineError
from engine.store import artifacts
from engine.store.project import Project
from engine.store.records import RunRecord
from engine.store.selections import Selection

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
    128: "added after the run",
}
AGGREGATE = "score"
NOTHING = "(none)"
OTHERS = "(other values)"
MOST_VALUES = 20_000
POOL, STATE = "pool", "state"  # scopes of what is remembered; any other is the name of an artifact


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
    """A column as codes: `names` by falling frequency, `codes` int32 (n,), `counts` per name.

    A field of more than `MOST_VALUES` different values keeps the most frequent; the others are `OTHERS`, the last.
    """

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


class Facts:
    """Reads of one project, each made once."""

    def __init__(self, project: Project) -> None:
        """Read nothing yet."""
        self.project = project
        self._memory: dict[tuple[Any, ...], Any] = {}

    def remember(self, scope: str, name: str, compute: Callable[[], T], *args: Any) -> T:
        """What `compute` returns, made once per scope, name and args.

        `scope` says how long it holds: `POOL` until the pool changes, `STATE` until anything changes, else the name of
        the artifact it comes from.
        """
        key = (scope, name, *args)
        if key not in self._memory:
            self._memory[key] = compute()
        return self._memory[key]

    @property
    def n(self) -> int:
        """The number of usable pool rows."""
        return len(self.decisions())

    def decisions(self) -> Array:
        """int8 (n,): the decision in force on every pool row, coded as in `engine.store.decisions`."""
        return self.remember(STATE, "decisions", self.project.decisions)

    def runs(self) -> list[RunRecord]:
        """All runs, oldest first."""
        return self.remember(STATE, "runs", self.project.runs)

    def run(self, name: str) -> RunRecord:
        """The run of this name. Raises `EngineError` where there is none (any more)."""
        for record in self.runs():
            if record.name == name:
                return record
        return self.project.run(name)  # raises the store's own error

    def guide(self) -> RunRecord | None:
        """The latest run that is no random baseline, else the latest run, else None."""
        runs = self.runs()
        return next((run for run in reversed(runs) if run.method != "random"), runs[-1] if runs else None)

    def judge(self) -> RunRecord | None:
        """The latest run that knows how likely the responses are; not every method asks. None where there is none."""
        return next((run for run in reversed(self.runs()) if self._has_losses(run.artifact)), None)

    def _has_losses(self, artifact: str) -> bool:
        if not (self.project.artifacts / artifact).is_dir():
            return False
        return self.remember(
            artifact, "has losses", lambda: bool(np.isfinite(np.asarray(self.scores(artifact).loss)).any())
        )

    def fields(self) -> list[str]:
        """The original fields of the pool rows, in order of sight."""
        return self.remember(POOL, "columns", self.project.columns)

    def column(self, name: str) -> Array:
        """(n,) values of a built-in column or an original field."""
        return self.remember(POOL, "column", lambda: np.asarray(self.project.column(name)), name)

    def categories(self, name: str) -> Categories:
        """A field's values as text codes, the most frequent first; `NOTHING` where a row lacks it."""
        return self.remember(POOL, "categories", lambda: coded(self.column(name)), name)

    def artifact(self, name: str) -> Path:
        """The folder of an artifact. Raises `EngineError` where it is gone."""
        folder = self.project.artifacts / name
        if not folder.is_dir():
            raise EngineError(f"The results {name} are missing from the project. Run that step again.")
        return folder

    def scores(self, artifact: str) -> Scores:
        """The arrays of a scoring artifact, memory-mapped."""

        def load() -> Scores:
            folder = self.artifact(artifact)
            arrays: dict[str, Any] = {
                name: artifacts.load_array(folder, name)
                for name in ("score", "columns", "matrix", "status", "roles", "loss")
            }
            for name in ("variance", "sigma", "low", "high"):  # of landmark runs, where they were computed
                arrays[name] = artifacts.load_array(folder, name) if (folder / f"{name}.npy").exists() else None
            return Scores(artifact=artifact, summary=artifacts.read_json(folder / "summary.json"), **arrays)

        return self.remember(artifact, "scores", load)

    def ranks(self, artifact: str, column: str) -> Array:
        """int64 (covered,): 1 for the highest score of that column, ties by row order, 0 where there is no score."""
        return self.remember(artifact, "ranks", lambda: rank(self.scores(artifact).column(column)), column)

    def order(self, artifact: str, column: str) -> Array:
        """int64: the scored rows of that column, best first, ties by row order."""

        def compute() -> Array:
            values = np.asarray(self.scores(artifact).column(column))
            best_first = np.argsort(-values, kind="stable")  # NaN sorts last
            return best_first[: int(np.isfinite(values).sum())]

        return self.remember(artifact, "order", compute, column)

    def selections(self) -> list[Selection]:
        """All versions of all selections, in order of saving."""
        return self.remember(STATE, "selections", self.project.selections)

    def latest_map(self) -> str | None:
        """The artifact of the map recorded last, or None."""
        record = self.remember(STATE, "latest_map", self.project.latest_map)
        return None if record is None else record.artifact

    def layout(self) -> Layout | None:
        """The latest map, or None."""
        name = self.latest_map()
        if name is None:
            return None

        def load() -> Layout:
            folder = self.artifact(name)
            about = artifacts.read_json(folder / "map.json")
            parts = ("xy", "neighbours", "distances", "cluster", "centres")
            arrays = {part: artifacts.load_array(folder, part) for part in parts}
            return Layout(name, labels=about["labels"], notes=list(about.get("notes", ())), **arrays)

        return self.remember(name, "layout", load)

    def latest_signals(self) -> str | None:
        """The artifact of the signals recorded last, or None."""
        folder = self.remember(STATE, "latest_signals", self.project.latest_signals)
        return None if folder is None else Path(folder).name

    def marks(self) -> Marks | None:
        """The latest signals, or None."""
        name = self.latest_signals()
        if name is None:
            return None
        parts = ("near_duplicate_of", "leak", "leak_target", "looks_truncated")
        return self.remember(
            name, "marks", lambda: Marks(*(artifacts.load_array(self.artifact(name), part) for part in parts))
        )

    def surprises(self, artifact: str) -> Array | None:
        """float32 over the rows that both the run `artifact` and the latest map cover: how unexpected the response is.

        None without a map.
        """
        found = self.layout()
        if found is None:
            return None
        loss = self.scores(artifact).loss
        both = min(len(loss), len(found.neighbours))

        def compute() -> Array:
            near = np.asarray(found.neighbours[:both])
            return surprise(np.asarray(loss[:both]), np.where(near < both, near, -1))

        return self.remember(artifact, "surprise", compute, found.artifact)


def rank(values: Array) -> Array:
    """int64 (n,): 1 for the highest value, ties by position, 0 where not finite."""
    best_first = np.argsort(-np.asarray(values), kind="stable")[: int(np.isfinite(values).sum())]
    place = np.zeros(len(values), np.int64)
    place[best_first] = np.arange(1, len(best_first) + 1)
    return place


def coded(values: Array) -> Categories:
    """Any values (n,) as categories of their texts; 1 and "1" are one text, None and NaN are `NOTHING`."""
    codes, distinct = pd.factorize(pd.Series(values), use_na_sentinel=True)
    texts = [str(value) for value in distinct] + ([NOTHING] if (codes < 0).any() else [])
    codes = np.where(codes < 0, len(texts) - 1, codes)
    names, merged = np.unique(np.asarray(texts, object).astype(str), return_inverse=True)
    codes = merged[codes] if len(texts) else codes
    counts = np.bincount(codes, minlength=len(names))
    falling = np.argsort(-counts, kind="stable")
    place = np.argsort(falling, kind="stable").astype(np.int32)
    codes, counts = place[codes], counts[falling]
    ordered = [str(names[at]) for at in falling[:MOST_VALUES].tolist()]
    if len(falling) > MOST_VALUES:
        ordered.append(OTHERS)
        codes = np.minimum(codes, MOST_VALUES)
        counts = np.append(counts[:MOST_VALUES], counts[MOST_VALUES:].sum())
    return Categories(ordered, codes.astype(np.int32), counts)
