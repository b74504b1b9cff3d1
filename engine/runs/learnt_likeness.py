"""How alike rows are by a run's second network, which learned the influence of pool rows on pool rows.

Notation: n pool rows, of which the run covers the first m; V some of them; f(i, j) what the network says of the
influence of row i on row j. s_ij = (max(f(i, j), 0) + max(f(j, i), 0)) / 2 over the largest of these among
`SAMPLED` pairs of different rows, so that the likeliest pairs have about 1, none has more, and s_ii = 1.

The network knows pool rows alone: there is no scale for targets and owned data. Has the interface of `likeness`.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from engine.errors import EngineError
from engine.progress import Reporter
from engine.runs.likeness import DENSE_UP_TO
from engine.selection.kernels import DenseKernel, FunctionKernel, Kernel
from engine.selection.similarity import parts
from engine.store.artifacts import load_array
from engine.store.project import Project
from engine.store.records import RunRecord

FILE = "pool_network.npz"
MOST_ROWS = 20_000  # of V; similarities of more than `DENSE_UP_TO` are computed whenever they are asked for
SAMPLED = 200_000
_COLUMNS = 256


@dataclass(frozen=True)
class LearntLikeness:
    """The inputs (m, d) of the network, memory-mapped; `usable` bool (n,): the rows that have some."""

    estimator: Any
    inputs: np.ndarray
    usable: np.ndarray

    @classmethod
    def of(cls, project: Project, run: RunRecord, *, rows: int) -> "LearntLikeness":
        """By the second network of `run`, for a pool of n = `rows`. Raises `EngineError` where it has none."""
        folder = project.artifacts / run.artifact
        if not has_network(folder):
            raise EngineError(
                f"The run {run.name!r} learned no network of pool samples on pool samples. Score by the method network "
                "with pool_network=true, or go by the map. Nothing was selected."
            )
        from engine.influence.network.estimate import Estimator  # torch
        from engine.runs.config import ScoreConfig

        inputs = load_array(folder, "features")
        usable = np.zeros(rows, bool)
        for part in parts(min(rows, len(inputs)), 50_000):
            usable[part] = np.isfinite(inputs[part]).all(axis=1)
        with np.load(folder / FILE, allow_pickle=False) as saved:
            estimator = Estimator.load(dict(saved), ScoreConfig.from_dict(run.config).network())
        return cls(estimator, inputs, usable)

    def kernel(self, rows: np.ndarray, *, reporter: Reporter) -> tuple[Kernel, str]:
        """The similarities between `rows` V (v,), ascending, and a sentence about them."""
        if len(rows) > MOST_ROWS:
            raise EngineError(
                f"{len(rows):,} samples are too many for the network's similarities, which are computed for at most "
                f"{MOST_ROWS:,}. Choose among a smaller share, or go by the map. Nothing was selected."
            )
        learnt = _Learnt.of(self.estimator, self.inputs, rows, self.usable[rows])
        how = f"The {len(rows):,} samples are compared by what the run's network says of their influence on each other."
        whole = FunctionKernel(learnt, len(rows), learnt.known, symmetric=True)
        return (_held(whole, reporter) if len(rows) <= DENSE_UP_TO else whole), how

    def to_side(self, rows: np.ndarray, role: str, name: str, reporter: Reporter) -> np.ndarray:
        """Always raises `EngineError`: see above."""
        raise EngineError("The network compares pool samples alone; go by the map for targets and owned data.")

    def absent(self, free: np.ndarray) -> tuple[str, ...]:
        """A sentence about the rows of `free` bool (n,) that cannot be chosen because the network cannot read them."""
        number = int((free & ~self.usable).sum())
        return (f"{number:,} samples are unknown to the run's network and are not chosen.",) if number else ()


def has_network(folder: Path) -> bool:
    """Whether the run whose artifact is `folder` kept a network of pool rows on pool rows."""
    return (folder / FILE).is_file()


@dataclass(frozen=True)
class _Learnt:
    """s of blocks of V; `known` bool (v,), `largest` the scale."""

    estimator: Any
    inputs: np.ndarray
    known: np.ndarray
    largest: float

    @classmethod
    def of(cls, estimator: Any, inputs: np.ndarray, rows: np.ndarray, known: np.ndarray) -> "_Learnt":
        """Reads the inputs of V and finds the scale on a sample of pairs."""
        values = np.full((len(rows), inputs.shape[1]), np.nan, np.float32)
        values[known] = inputs[rows[known]]
        found = cls(replace(estimator, items=values), values, known, 1.0)
        some = np.flatnonzero(known)
        side = min(len(some), int(SAMPLED**0.5))
        if side < 2:
            return found
        sampled = np.sort(np.random.default_rng(0).choice(some, side, replace=False))
        among = found._mean(sampled, sampled)
        np.fill_diagonal(among, 0)
        largest = float(among.max())
        if largest <= 0:
            raise EngineError(
                "By the run's network no sample helps any other, so none represents another. Go by the map. "
                "Nothing was selected."
            )
        return replace(found, largest=largest)

    def __call__(self, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        """s (r, c) float32."""
        alike = np.minimum(self._mean(rows, columns) / self.largest, 1)
        alike[rows[:, None] == columns[None]] = 1
        return alike

    def _mean(self, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        """(max(f(i, j), 0) + max(f(j, i), 0)) / 2, (r, c)."""
        there = self.estimator(self.inputs[rows], columns)
        back = self.estimator(self.inputs[columns], rows).T
        return (np.maximum(there, 0) + np.maximum(back, 0)) / 2


def _held(whole: FunctionKernel, reporter: Reporter) -> DenseKernel:
    """All similarities, computed once; rows without inputs represent themselves."""
    n, known = len(whole), np.flatnonzero(whole.usable)
    across = np.eye(n, dtype=np.float32)
    reporter.phase("similarities by the network", n)
    for part in parts(len(known), _COLUMNS):
        reporter.check()
        across[np.ix_(known[part], known)] = whole.block(known, known[part]).T
        reporter.advance(len(known[part]))
    return DenseKernel(across, whole.usable, True)
