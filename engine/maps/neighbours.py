"""Nearest neighbours in feature space: exact and blocked for tens of thousands of rows, by cells beyond.

Beyond, rows are gathered into cells (k-means, about `CELL_ROWS` rows each; an inverted file, Jégou et al. 2011) and
a row is compared with the rows of the `PROBES` cells nearest to its own cell. Neighbours across further cells are
missed: recall is high and not one, and every distance told is exact. Nothing is compiled and all is seeded, so the
same rows give the same neighbours.

Notation: n rows of d features, k neighbours per row (the row itself is never among its own), b base rows.
Distances are float32: `cosine` is 1 - cos, computed as half the squared Euclidean distance of the unit vectors (so
that near-duplicates keep their digits), `euclidean` is Euclidean. A zero row has no direction: its cosine distance
is 0.5 to every other row and 0 to other zero rows. Rows of equal distance are ordered by row number.

Does not choose features and does not place anything on the map.
"""

from dataclasses import dataclass
from typing import Any, Literal, Protocol, get_args

import numpy as np
import torch
from numpy.typing import NDArray

from engine.errors import EngineError
from engine.progress import Reporter, Silent

Metric = Literal["cosine", "euclidean"]
METRICS: tuple[str, ...] = get_args(Metric)
EXACT_UP_TO = 30_000
CELL_ROWS = 500
PROBES = 24
_BLOCK_ENTRIES = 32_000_000  # similarities held at once: 128 MB
_SPARE = 4  # further candidates asked for, so that rounding in the product cannot lose a true neighbour

Features = NDArray[np.float32]


@dataclass(frozen=True)
class Neighbours:
    """`index` int32 (m, k) into the base rows, nearest first, and `distance` float32 (m, k)."""

    index: NDArray[np.int32]
    distance: NDArray[np.float32]

    @property
    def k(self) -> int:
        """Neighbours per row."""
        return int(self.index.shape[1])


def unit_rows(features: Features) -> Features:
    """Rows scaled to unit Euclidean length, float32 (n, d); zero rows stay zero."""
    rows = np.asarray(features, dtype=np.float32)
    peak = np.max(np.abs(rows), axis=1, keepdims=True, initial=0.0)
    scaled = rows / np.where(peak > 0, peak, 1.0)  # first by the peak: squares of huge features must not overflow
    length = np.sqrt(np.einsum("ij,ij->i", scaled, scaled))[:, None]
    return (scaled / np.where(length > 0, length, 1.0)).astype(np.float32)


def nearest(
    features: Features,
    k: int,
    *,
    metric: Metric = "cosine",
    seed: int = 0,
    exact_up_to: int = EXACT_UP_TO,
    reporter: Reporter | None = None,
) -> Neighbours:
    """The `k` nearest other rows of every row, (n, min(k, n - 1)).

    Exact up to `exact_up_to` rows, by cells beyond. Raises `EngineError` on an unknown metric or k < 1.
    """
    base = _prepared(features, metric, k)
    k = min(k, len(base) - 1)
    listener = reporter or Silent()
    if not k:
        return Neighbours(np.zeros((len(base), 0), np.int32), np.zeros((len(base), 0), np.float32))
    listener.phase("neighbours", len(base))
    if len(base) <= exact_up_to:
        return _exact(base, base, k, metric=metric, itself=True, reporter=listener)
    cells = Cells.of(base, seed=seed)
    return cells.search(base, k, metric=metric, itself=True, reporter=listener)


def nearest_among(
    queries: Features,
    base: Features,
    k: int,
    *,
    metric: Metric = "cosine",
    seed: int = 0,
    exact_up_to: int = EXACT_UP_TO,
    block: int = 20_000,
    reporter: Reporter | None = None,
) -> Neighbours:
    """The `k` nearest rows of `base` for every row of `queries`, (m, min(k, b)); exact where `base` is small."""
    listener = reporter or Silent()
    targets = _prepared(base, metric, k)
    k = min(k, len(targets))
    listener.phase("placing", len(queries))
    cells = None if len(targets) <= exact_up_to else Cells.of(targets, seed=seed)
    parts = []
    for start in range(0, len(queries), block):
        rows = _prepared(queries[start : start + block], metric, k)
        if cells is None:
            parts.append(_exact(rows, targets, k, metric=metric, itself=False, reporter=listener))
        else:
            parts.append(cells.search(rows, k, metric=metric, itself=False, reporter=listener))
    if not parts:
        return Neighbours(np.zeros((0, k), np.int32), np.zeros((0, k), np.float32))
    return Neighbours(np.concatenate([p.index for p in parts]), np.concatenate([p.distance for p in parts]))


@dataclass(frozen=True)
class Cells:
    """Base rows gathered into c cells: `members` (b,) row numbers cell by cell, cell i from `start[i]`."""

    base: Features
    centres: torch.Tensor
    members: NDArray[np.int64]
    start: NDArray[np.int64]

    @classmethod
    def of(cls, base: Features, *, seed: int) -> "Cells":
        """Gather prepared rows by Lloyd's k-means on at most 50,000 of them; eight rounds are plenty for this."""
        count = int(np.clip(len(base) // CELL_ROWS, 4, 4096))
        rng = np.random.default_rng(seed)
        some = torch.from_numpy(base[np.sort(rng.choice(len(base), min(len(base), 50_000), replace=False))])
        centres = some[torch.from_numpy(np.sort(rng.choice(len(some), count, replace=False)))].clone()
        for _ in range(8):
            cell = _nearest_centre(some, centres)
            sums = torch.zeros_like(centres).index_add_(0, cell, some)
            sizes = torch.bincount(cell, minlength=count)[:, None]
            centres = torch.where(sizes > 0, sums / sizes.clamp(min=1), centres)
        cell_of = _nearest_centre(torch.from_numpy(base), centres).numpy()
        start = np.concatenate([[0], np.cumsum(np.bincount(cell_of, minlength=count))])
        return cls(base, centres, np.argsort(cell_of, kind="stable"), start)

    def search(self, rows: Features, k: int, *, metric: Metric, itself: bool, reporter: Reporter) -> Neighbours:
        """The `k` nearest members of the probed cells for every row; with `itself`, rows are the base rows."""
        index = np.empty((len(rows), k), dtype=np.int32)
        distance = np.empty((len(rows), k), dtype=np.float32)
        cell_of = _nearest_centre(torch.from_numpy(rows), self.centres).numpy()
        order = np.argsort(cell_of, kind="stable")
        bounds = np.searchsorted(cell_of[order], np.arange(len(self.centres) + 1))
        for cell in np.flatnonzero(np.diff(bounds)):
            reporter.check()
            asking = order[bounds[cell] : bounds[cell + 1]]
            pool = self._pool(int(cell), at_least=k + 1)
            found = self._within(rows[asking], asking if itself else None, pool, k, metric=metric)
            index[asking], distance[asking] = found.index, found.distance
            reporter.advance(len(asking))
        return Neighbours(index, distance)

    def _pool(self, cell: int, *, at_least: int) -> NDArray[np.int64]:
        """Row numbers in the cells nearest to `cell`: `PROBES` of them, more where those hold too few rows."""
        near = torch.linalg.norm(self.centres - self.centres[cell], dim=1).argsort(stable=True).numpy()
        held = np.cumsum(np.diff(self.start)[near])
        probed = near[: max(PROBES, int(np.searchsorted(held, at_least)) + 1)]
        return np.sort(np.concatenate([self.members[self.start[c] : self.start[c + 1]] for c in probed]))

    def _within(
        self, rows: Features, own: NDArray[np.int64] | None, pool: NDArray[np.int64], k: int, *, metric: Metric
    ) -> Neighbours:
        """Exact search of `rows` among `pool`; `own` are the rows' numbers where they are base rows themselves."""
        targets = self.base[pool]
        here = None if own is None else np.searchsorted(pool, own)
        found = _exact(rows, targets, k, metric=metric, itself=False, own=here, reporter=Silent())
        return Neighbours(pool[found.index].astype(np.int32), found.distance)


def _nearest_centre(rows: torch.Tensor, centres: torch.Tensor, *, block: int = 20_000) -> torch.Tensor:
    """Number of the centre nearest to each row, int64 (n,); ties go to the lower number."""
    half_square = 0.5 * (centres * centres).sum(1)
    parts = [(rows[i : i + block] @ centres.T - half_square).argmax(1) for i in range(0, len(rows), block)]
    return torch.cat(parts) if parts else torch.zeros(0, dtype=torch.int64)


class Table(Protocol):
    """Rows that can be counted and read by number: an array, or something that reads one."""

    def __len__(self) -> int:
        """Rows."""

    def __getitem__(self, which: Any, /) -> Features:
        """The rows asked for, float32 (m, d)."""


def measured(rows: Table, index: NDArray[np.int32], *, metric: Metric, block: int = 2000) -> Neighbours:
    """Neighbours `index` (n, k) with their distances in `rows` (unit rows for cosine), each row's re-ordered."""
    out = Neighbours(np.empty_like(index), np.empty(index.shape, dtype=np.float32))
    if not out.k:
        return out
    for start in range(0, len(index), block):
        part = slice(start, start + block)
        others = rows[index[part].reshape(-1)].reshape(*index[part].shape, -1)  # (m, k, d)
        out.index[part], out.distance[part] = _ordered(others - rows[part][:, None, :], index[part], metric=metric)
    return out


def _prepared(features: Features, metric: Metric, k: int) -> Features:
    if metric not in METRICS:
        raise EngineError(f"Unknown distance {metric!r}: expected one of {', '.join(METRICS)}. Nothing was computed.")
    if k < 1:
        raise EngineError(f"Got {k} neighbours: expected at least 1. Nothing was computed.")
    if features.ndim != 2:
        raise EngineError(f"Features must be a table of rows, got shape {features.shape}. Nothing was computed.")
    rows = unit_rows(features) if metric == "cosine" else np.asarray(features, dtype=np.float32)
    return np.ascontiguousarray(rows)


def _exact(
    rows: Features,
    base: Features,
    k: int,
    *,
    metric: Metric,
    itself: bool,
    reporter: Reporter,
    own: NDArray[np.int64] | None = None,
) -> Neighbours:
    """Blocked search: the product picks k + spare candidates, direct differences measure and order them.

    `itself`: row i is base row i and not its own neighbour; `own` says so for rows that lie elsewhere in the base.
    """
    step = max(1, _BLOCK_ENTRIES // max(1, len(base)))
    targets = torch.from_numpy(base)
    half_square = 0.5 * (targets * targets).sum(1)  # (b,)
    selves = np.arange(len(rows)) if itself else own
    wanted = min(len(base) - int(selves is not None), k + _SPARE)
    parts = []
    for start in range(0, len(rows), step):
        reporter.check()
        block = torch.from_numpy(rows[start : start + step])
        closeness = block @ targets.T - half_square  # (step, b); largest is nearest in Euclidean distance
        if selves is not None:
            closeness[torch.arange(len(block)), torch.from_numpy(selves[start : start + step])] = -torch.inf
        candidates = closeness.topk(wanted, dim=1).indices.numpy()
        parts.append(_measured(block.numpy(), base, candidates, k, metric=metric))
        reporter.advance(len(block))
    return Neighbours(np.concatenate([p.index for p in parts]), np.concatenate([p.distance for p in parts]))


def _measured(rows: Features, base: Features, candidates: NDArray[np.integer], k: int, *, metric: Metric) -> Neighbours:
    """The best `k` of each row's candidates (m, c) by direct distance."""
    index, distance = _ordered(base[candidates] - rows[:, None, :], candidates, metric=metric)
    return Neighbours(index[:, :k], distance[:, :k])


def _ordered(
    difference: NDArray[np.float32], candidates: NDArray[np.integer], *, metric: Metric
) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """Candidates (m, c) and distances from their differences (m, c, d), nearest first, ties by row number."""
    square = np.einsum("mcd,mcd->mc", difference, difference)
    order = np.lexsort((candidates, square), axis=1)
    square = np.take_along_axis(square, order, axis=1)
    distance = 0.5 * square if metric == "cosine" else np.sqrt(square)
    return np.take_along_axis(candidates, order, axis=1).astype(np.int32), distance.astype(np.float32)
