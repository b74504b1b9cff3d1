"""Similarities between pool rows, as selection reads them: dense, k-NN-sparse, or computed when asked for.

Notation. n pool rows; s_ij ≥ 0 says how well row j represents row i. For features s_ij = max(cos, 0), and so it is
between pool, target and owned rows alike: all three lie on one scale. j is a *column* (a candidate), i a *row* of V.
A row without features (NaN or zero: it has no direction) is not *usable*: it represents itself alone, with 1.

A dense kernel holds n² float32 (`DENSE_ROWS` at most from features). A sparse one holds, for each column, the rows in
whose list of nearest neighbours it is or that are in its own: s is symmetric, every other entry counts as 0, and
n × k neighbours take at most 16·n·k bytes. A kernel given as a function holds nothing and is asked again each time.
Sums are of float64 in an order that depends on the column alone, so that asking for columns one by one or together
gives the same bits (of a function: as far as the function itself does so).

Does not search for neighbours, and does not choose anything.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from scipy.sparse import csr_array

from engine.errors import EngineError
from engine.selection.similarity import ENTRIES, checked, directions, parts, raised_by

DENSE_ROWS = 20_000
_CACHED = 1 << 17  # similarities worked on at once that stay in a core's cache
_FUNCTION_COLUMNS = 256
_SYMMETRY = 1e-5  # of two float32 computed in another order

Block = Callable[[np.ndarray, np.ndarray], np.ndarray]


class Kernel(Protocol):
    """What an objective asks of similarities. `usable` bool (n,); `symmetric`: s_ij = s_ji."""

    @property
    def usable(self) -> np.ndarray:
        """Rows with features, bool (n,)."""

    @property
    def symmetric(self) -> bool:
        """Whether s_ij = s_ji."""

    def __len__(self) -> int:
        """Rows of the pool."""

    def improvements(self, columns: np.ndarray, level: np.ndarray, cap: np.ndarray | None = None) -> np.ndarray:
        """Σ_i max(min(s_ij, cap_i) − level_i, 0) of each column j, float64 (c,); level, cap ≥ 0 float32 (n,)."""

    def column(self, j: int) -> tuple[np.ndarray, np.ndarray]:
        """The rows that j may represent, each once, and s_ij float32; the others have s_ij = 0."""

    def strongest(self) -> np.ndarray:
        """max_j s_ij of every row, float32 (n,)."""

    def diagonal(self) -> np.ndarray:
        """s_jj, float32 (n,)."""


@dataclass(frozen=True)
class DenseKernel:
    """All similarities: `across` float32 (n, n), [j, i] = s_ij, so that what a candidate represents lies together."""

    across: np.ndarray
    usable: np.ndarray
    symmetric: bool

    @classmethod
    def of_features(cls, features: np.ndarray) -> "DenseKernel":
        """max(cos, 0) between all rows of `features` (n, d). Raises `EngineError` beyond `DENSE_ROWS` rows."""
        unit, usable = directions(features)
        n = len(unit)
        if n > DENSE_ROWS:
            raise EngineError(
                f"{n:,} samples would need {4 * n * n / 1e9:.0f} GB of similarities; at most {DENSE_ROWS:,} samples "
                "are held densely. Use a sparse kernel of nearest neighbours; nothing was computed."
            )
        across = np.empty((n, n), np.float32)
        for part in parts(n, max(1, ENTRIES // max(n, 1))):
            across[part, part.start :] = np.maximum(unit[part] @ unit[part.start :].T, 0)
            across[part.start :, part] = across[part, part.start :].T
            across[part, part] = np.maximum(across[part, part], across[part, part].T)
        np.fill_diagonal(np.minimum(across, 1, out=across), 1)
        return cls(across, usable, True)

    @classmethod
    def of_matrix(cls, matrix: np.ndarray) -> "DenseKernel":
        """The similarities s_ij = `matrix`[i, j] (n, n) as they are. Raises `EngineError` unless finite and ≥ 0."""
        given = np.asarray(matrix)
        if given.ndim != 2 or given.shape[0] != given.shape[1]:
            raise EngineError(f"Similarities between all samples are needed, (n, n); got shape {given.shape}.")
        across = np.ascontiguousarray(checked(given).T)
        return cls(across, np.ones(len(across), bool), bool(np.allclose(across, across.T, rtol=0, atol=_SYMMETRY)))

    def __len__(self) -> int:
        """Rows of the pool."""
        return len(self.across)

    def improvements(self, columns: np.ndarray, level: np.ndarray, cap: np.ndarray | None = None) -> np.ndarray:
        """Σ_i max(min(s_ij, cap_i) − level_i, 0) of each column, in blocks."""
        sums = np.empty(len(columns), np.float64)
        for part in parts(len(columns), max(1, _CACHED // max(len(self), 1))):
            sums[part] = raised_by(self.across[columns[part]], level, cap)  # (c, n)
        return sums

    def column(self, j: int) -> tuple[np.ndarray, np.ndarray]:
        """All rows, and s_ij."""
        return np.arange(len(self)), self.across[j]

    def strongest(self) -> np.ndarray:
        """max_j s_ij of every row."""
        return self.across.max(axis=0, initial=0)

    def diagonal(self) -> np.ndarray:
        """s_jj."""
        return np.diagonal(self.across)


@dataclass(frozen=True)
class SparseKernel:
    """The nearest neighbours' similarities: column j holds `rows`[a:b], ascending, and their s_ij in `values`[a:b].

    a, b = `start`[j : j + 2]; int32 (int64 beyond 2³¹ entries) and float32. Always symmetric.
    """

    start: np.ndarray
    rows: np.ndarray
    values: np.ndarray
    usable: np.ndarray
    symmetric: bool = True

    @classmethod
    def of_neighbours(
        cls, index: np.ndarray, distance: np.ndarray, *, usable: np.ndarray | None = None
    ) -> "SparseKernel":
        """From neighbours `index` (n, k), -1 for none, and their cosine distances `distance` (n, k): s = max(1 − d, 0).

        s_ij is kept if j is among the neighbours of i or i among those of j; s_jj = 1. Without `usable` bool (n,), rows
        that list no neighbour at all are without features. Raises `EngineError` on arrays that do not fit or a
        neighbour listed twice.
        """
        _check_neighbours(index, distance)
        known = _listing(index) if usable is None else np.asarray(usable, bool)
        if known.shape != (len(index),):
            raise EngineError(f"One flag per sample is needed for usable samples, got shape {known.shape}.")
        lists = _lists(index, distance, known)
        both = lists.maximum(lists.T.tocsr()).tocsr()
        both.sort_indices()
        return cls(both.indptr, both.indices, both.data, known)

    def __len__(self) -> int:
        """Rows of the pool."""
        return len(self.start) - 1

    def improvements(self, columns: np.ndarray, level: np.ndarray, cap: np.ndarray | None = None) -> np.ndarray:
        """Σ_i max(min(s_ij, cap_i) − level_i, 0) of each column, over the rows it holds."""
        first = self.start[columns]
        lengths = self.start[columns + 1] - first
        ends = np.cumsum(lengths)
        entries = np.repeat(first - ends + lengths, lengths) + np.arange(ends[-1] if len(ends) else 0)
        rows, values = self.rows[entries], self.values[entries]
        if cap is not None:
            values = np.minimum(values, cap[rows])
        raised = np.maximum(values - level[rows], 0)
        return np.bincount(np.repeat(np.arange(len(columns)), lengths), weights=raised, minlength=len(columns))

    def column(self, j: int) -> tuple[np.ndarray, np.ndarray]:
        """The rows that hold j among their neighbours or are among its own, and j itself."""
        part = slice(self.start[j], self.start[j + 1])
        return self.rows[part], self.values[part]

    def strongest(self) -> np.ndarray:
        """max_j s_ij of every row: its own, 1."""
        return np.maximum.reduceat(self.values, self.start[:-1]) if len(self) else np.zeros(0, np.float32)

    def diagonal(self) -> np.ndarray:
        """s_jj = 1."""
        return np.ones(len(self), np.float32)


@dataclass(frozen=True)
class FunctionKernel:
    """Similarities by `block(rows, columns)` -> s (r, c), finite and ≥ 0, over `n` rows; computed whenever asked for.

    `known` bool (n,): the rows it may be asked for, all if None. `symmetric` says whether s_ij = s_ji.
    """

    block: Block
    n: int
    known: np.ndarray | None = None
    symmetric: bool = False

    @property
    def usable(self) -> np.ndarray:
        """Rows that the function knows."""
        return np.ones(self.n, bool) if self.known is None else self.known

    def __len__(self) -> int:
        """Rows of the pool."""
        return self.n

    def improvements(self, columns: np.ndarray, level: np.ndarray, cap: np.ndarray | None = None) -> np.ndarray:
        """Σ_i max(min(s_ij, cap_i) − level_i, 0) of each column, block by block of rows and columns."""
        sums = np.zeros(len(columns), np.float64)
        for part in parts(len(columns), _FUNCTION_COLUMNS):
            for rows, values in self._of(columns[part]):
                sums[part] += raised_by(values, level[rows], None if cap is None else cap[rows])
        return sums

    def column(self, j: int) -> tuple[np.ndarray, np.ndarray]:
        """All rows, and s_ij."""
        return np.arange(self.n), np.concatenate([values[0] for _, values in self._of(np.array([j]))])

    def strongest(self) -> np.ndarray:
        """max_j s_ij of every row; computes all similarities once."""
        most = np.zeros(self.n, np.float32)
        for part in parts(self.n, _FUNCTION_COLUMNS):
            for rows, values in self._of(np.arange(self.n)[part]):
                most[rows] = np.maximum(most[rows], values.max(axis=0))
        return most

    def diagonal(self) -> np.ndarray:
        """s_jj, read from square blocks."""
        squares = (np.arange(self.n)[part] for part in parts(self.n, _FUNCTION_COLUMNS))
        own = [np.diagonal(self._values(rows, rows)) for rows in squares]
        return np.concatenate([np.zeros(0, np.float32), *own])

    def _of(self, columns: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
        """For block after block of rows: which, and s of the columns (c, r)."""
        for part in parts(self.n, max(1, ENTRIES // max(len(columns), 1))):
            yield part, self._values(np.arange(self.n)[part], columns)

    def _values(self, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        """s of the columns over the rows (c, r), asking the function for what it knows."""
        values = (rows[None, :] == columns[:, None]).astype(np.float32)  # (c, r)
        below, beside = self.usable[rows], self.usable[columns]
        if below.any() and beside.any():
            asked = rows[below], columns[beside]
            got = np.asarray(self.block(*asked))
            if got.shape != (len(asked[0]), len(asked[1])):
                raise EngineError(
                    f"The similarities of {len(asked[0])} samples and {len(asked[1])} columns came back with shape "
                    f"{got.shape}. Nothing was selected."
                )
            values[np.ix_(beside, below)] = checked(got).T
        return values


def _check_neighbours(index: np.ndarray, distance: np.ndarray) -> None:
    if index.ndim != 2 or index.shape != distance.shape or not np.issubdtype(index.dtype, np.integer):
        raise EngineError(
            f"Neighbours and their distances must be tables of one shape, got {index.shape} of {index.dtype} and "
            f"{distance.shape}. Nothing was computed."
        )
    if index.size and (index.min() < -1 or index.max() >= len(index)):
        raise EngineError(f"Neighbours must be row numbers below {len(index)}, or -1 for none. Nothing was computed.")


def _listing(index: np.ndarray) -> np.ndarray:
    """Rows that list a neighbour, bool (n,); all of them where nobody could list any."""
    return (index >= 0).any(axis=1) | (min(index.shape[1], len(index) - 1) < 1)


def _lists(index: np.ndarray, distance: np.ndarray, known: np.ndarray) -> csr_array:
    """Each row's own list and itself, (n, n): s = 1 − d where that is positive, among known rows."""
    own = np.arange(len(index), dtype=np.int32)
    linked = (index >= 0) & (index != own[:, None]) & known[:, None] & known[index]
    if not np.isfinite(distance[linked]).all():
        raise EngineError("Some distances between neighbours are not numbers. Nothing was computed.")
    linked &= distance < 1
    start = np.concatenate([[0], np.cumsum(linked.sum(axis=1) + 1)])
    start = start.astype(np.int32 if 2 * start[-1] < 2**31 else np.int64)  # twice: each list may be joined by others
    rows, values = np.empty(start[-1], np.int32), np.empty(start[-1], np.float32)
    others = np.ones(start[-1], bool)
    others[start[:-1]] = False
    rows[~others], values[~others] = own, 1
    rows[others], values[others] = index[linked], np.minimum(1 - distance[linked], 1)
    lists = csr_array((values, rows, start), shape=(len(index), len(index)))
    lists.sort_indices()
    again = lists.indices[1:] == lists.indices[:-1]
    again[start[1:-1] - 1] = False  # the next row's list may begin where this one's ends
    if again.any():
        raise EngineError(f"{int(again.sum()):,} neighbours are listed twice by one row. Nothing was computed.")
    return lists
