"""Nearest neighbours in feature space: exact and blocked for tens of thousands of rows, approximate beyond.

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
from engine.maps.numba_cache import keep_compiled_code
from engine.progress import Reporter, Silent

Metric = Literal["cosine", "euclidean"]
METRICS: tuple[str, ...] = get_args(Metric)
EXACT_UP_TO = 30_000
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

    Exact up to `exact_up_to` rows, by pynndescent's neighbour descent beyond (seeded; its recall is near, not at,
    one, and its distances are recomputed exactly). Raises `EngineError` on an unknown metric or k < 1.
    """
    base = _prepared(features, metric, k)
    k = min(k, len(base) - 1)
    listener = reporter or Silent()
    if not k:
        return Neighbours(np.zeros((len(base), 0), np.int32), np.zeros((len(base), 0), np.float32))
    if len(base) <= max(exact_up_to, k + 1):
        listener.phase("neighbours", len(base))
        return _exact(base, base, k, metric=metric, itself=True, reporter=listener)
    listener.phase("neighbours (approximate)", 1, "step")
    found, _ = descend(base, k, seed=seed)
    listener.advance(1)
    return _finished(base, base, found, k, metric=metric, itself=True, reporter=listener)


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
    index = None if len(targets) <= exact_up_to else descend(targets, k, seed=seed)[1]
    parts = []
    for start in range(0, len(queries), block):
        rows = _prepared(queries[start : start + block], metric, k)
        if index is None:
            parts.append(_exact(rows, targets, k, metric=metric, itself=False, reporter=listener))
            continue
        listener.check()
        candidates, _ = index.query(rows, k=min(len(targets), k + _SPARE))
        parts.append(_finished(rows, targets, candidates, k, metric=metric, itself=False, reporter=listener))
        listener.advance(len(rows))
    if not parts:
        return Neighbours(np.zeros((0, k), np.int32), np.zeros((0, k), np.float32))
    return Neighbours(np.concatenate([p.index for p in parts]), np.concatenate([p.distance for p in parts]))


def descend(base: Features, k: int, *, seed: int) -> tuple[NDArray[np.int32], Any]:
    """Neighbour descent over prepared rows: candidates int32 (n, k + 1 + spare) and the searchable index."""
    keep_compiled_code()
    from pynndescent import NNDescent

    index = NNDescent(base, metric="euclidean", n_neighbors=k + 1 + _SPARE, random_state=seed)
    return np.asarray(index.neighbor_graph[0], dtype=np.int32), index


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


def _exact(rows: Features, base: Features, k: int, *, metric: Metric, itself: bool, reporter: Reporter) -> Neighbours:
    """Blocked search: the product picks k + spare candidates, direct differences measure and order them."""
    step = max(1, _BLOCK_ENTRIES // max(1, len(base)))
    targets = torch.from_numpy(base)
    half_square = 0.5 * (targets * targets).sum(1)  # (b,)
    parts = []
    for start in range(0, len(rows), step):
        reporter.check()
        block = torch.from_numpy(rows[start : start + step])
        closeness = block @ targets.T - half_square  # (step, b); largest is nearest in Euclidean distance
        if itself:
            here = torch.arange(len(block))
            closeness[here, start + here] = -torch.inf
        wanted = min(len(base) - int(itself), k + _SPARE)
        candidates = closeness.topk(wanted, dim=1).indices.numpy()
        parts.append(_measured(block.numpy(), base, candidates, k, metric=metric))
        reporter.advance(len(block))
    return Neighbours(np.concatenate([p.index for p in parts]), np.concatenate([p.distance for p in parts]))


def _measured(rows: Features, base: Features, candidates: NDArray[np.integer], k: int, *, metric: Metric) -> Neighbours:
    """The best `k` of each row's candidates (m, c) by direct distance; -1 is never chosen over a row."""
    index, distance = _ordered(base[np.maximum(candidates, 0)] - rows[:, None, :], candidates, metric=metric)
    return Neighbours(index[:, :k], distance[:, :k])


def _ordered(
    difference: NDArray[np.float32], candidates: NDArray[np.integer], *, metric: Metric
) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """Candidates (m, c) and distances from their differences (m, c, d), nearest first, ties by row number."""
    square = np.einsum("mcd,mcd->mc", difference, difference)
    square[candidates < 0] = np.inf
    order = np.lexsort((candidates, square), axis=1)
    square = np.take_along_axis(square, order, axis=1)
    distance = 0.5 * square if metric == "cosine" else np.sqrt(square)
    return np.take_along_axis(candidates, order, axis=1).astype(np.int32), distance.astype(np.float32)


def _finished(
    rows: Features,
    base: Features,
    candidates: NDArray[np.int32],
    k: int,
    *,
    metric: Metric,
    itself: bool,
    reporter: Reporter,
) -> Neighbours:
    """Approximate candidates measured exactly; rows left with fewer than `k` are searched exactly instead."""
    candidates = candidates.astype(np.int32, copy=True)
    if itself:
        candidates[candidates == np.arange(len(rows), dtype=np.int32)[:, None]] = -1
    index = np.empty((len(rows), k), dtype=np.int32)
    distance = np.empty((len(rows), k), dtype=np.float32)
    step = max(1, _BLOCK_ENTRIES // max(1, candidates.shape[1] * rows.shape[1]))
    for start in range(0, len(rows), step):
        reporter.check()
        part = slice(start, start + step)
        found = _measured(rows[part], base, candidates[part], k, metric=metric)
        index[part], distance[part] = found.index, found.distance
    for row in np.flatnonzero((index < 0).any(axis=1)):
        square = np.square(base - rows[row]).sum(axis=1)
        if itself:
            square[row] = np.inf
        order = np.argsort(square, kind="stable")[:k]
        index[row] = order
        distance[row] = 0.5 * square[order] if metric == "cosine" else np.sqrt(square[order])
    return Neighbours(index, distance)
