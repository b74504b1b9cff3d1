"""Positions on the map: seeded UMAP of a subset of the rows, and a place for every other row among them.

UMAP (McInnes et al. 2018) runs on a neighbour graph handed to it, from a start on the two main axes of the
features, on one thread and always seeded, so that the same rows give the same map; its islands are then drawn
together (packing.py). Fitting a million rows is out
of reach on a small machine and UMAP's own `transform` is worse, so at most `fit_rows` rows are fitted and the rest
are placed beside those fitted rows that are nearest to them in feature space.

Notation: n rows, f fitted rows, k neighbours. Positions are float32 (n, 2), centred, the same scale on both axes.
Does not search neighbours in feature space (see neighbours.py) and does not colour or label anything.
"""

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from engine.maps.neighbours import Features, Neighbours, Table
from engine.maps.numba_cache import keep_compiled_code
from engine.maps.packing import packed
from engine.progress import Reporter, Silent

FEWEST_FOR_UMAP = 15  # below this UMAP's graph says nothing that the main axes do not say more plainly
MIN_DIST = 0.35  # UMAP's own 0.1 presses groups of like prompts into streaks too thin to lasso
ALIKE = 1e-9  # no two rows are further apart than this: the features do not differ
_SPREAD = 10.0  # half-width given to the start, as UMAP's own starts have

Positions = NDArray[np.float32]


def fitted_rows(n: int, limit: int, *, seed: int) -> NDArray[np.int64]:
    """The rows that UMAP is fitted to: all of them up to `limit`, else that many at random, in row order."""
    if n <= limit:
        return np.arange(n, dtype=np.int64)
    return np.sort(np.random.default_rng(seed).choice(n, size=limit, replace=False)).astype(np.int64)


def main_axes(features: Table, *, dims: int = 2, sample: int = 20_000, seed: int = 0) -> NDArray[np.float32]:
    """Rows on their first `dims` principal axes, float32 (n, dims); missing axes are zero.

    Axes come from at most `sample` rows (seeded); each axis points so that its largest entry is positive.
    """
    rows = fitted_rows(len(features), sample, seed=seed)
    part = np.asarray(features[rows], dtype=np.float64)
    mean = part.mean(axis=0)
    _, vectors = np.linalg.eigh((part - mean).T @ (part - mean))
    axes = vectors[:, ::-1][:, :dims]  # (d, <= dims), largest variance first
    axes = axes * np.where(axes[np.abs(axes).argmax(axis=0), np.arange(axes.shape[1])] < 0, -1.0, 1.0)
    out = np.zeros((len(features), dims), dtype=np.float32)
    for start in range(0, len(features), 50_000):
        block = np.asarray(features[start : start + 50_000], dtype=np.float64)
        out[start : start + len(block), : axes.shape[1]] = (block - mean) @ axes
    return out


def sunflower(n: int) -> Positions:
    """`n` evenly spread positions on the unit disc, (n, 2): where the features cannot tell the rows apart."""
    turn = np.arange(n) * np.pi * (3.0 - np.sqrt(5.0))
    radius = np.sqrt((np.arange(n)) / max(1, n - 1))
    return np.stack([radius * np.cos(turn), radius * np.sin(turn)], axis=1).astype(np.float32)


def fit(
    features: Features,
    found: Neighbours,
    *,
    seed: int,
    epochs: int | None = None,
    min_dist: float = MIN_DIST,
    reporter: Reporter | None = None,
) -> tuple[Positions, str]:
    """Lay out f rows from their neighbours; return positions (f, 2) and a phrase saying how.

    Features are as the neighbours saw them (unit rows for cosine). Defined for every f >= 1: fewer than 15 rows
    lie on their main axes, rows without any difference on an even disc.
    """
    listener = reporter or Silent()
    n = len(features)
    if n < 2 or float(found.distance.max(initial=0.0)) <= ALIKE:
        return sunflower(n), "the features do not differ: an even disc"
    start = _start(features, seed=seed)
    if n < FEWEST_FOR_UMAP:
        return start, "too few samples for UMAP: the two main axes of the features"
    placed = _umap(start, found, seed=seed, epochs=epochs, min_dist=min_dist, reporter=listener)
    return packed(placed), "UMAP"


def _start(features: Features, *, seed: int) -> Positions:
    """Main axes scaled to +-10, with a little seeded noise so that identical rows do not coincide."""
    axes = main_axes(features, seed=seed)
    spots = axes - np.median(axes, axis=0)
    reach = float(np.abs(spots).max(initial=0.0)) or 1.0
    noise = np.random.default_rng(seed).normal(scale=1e-3 * _SPREAD, size=axes.shape)
    return (spots * (_SPREAD / reach) + noise).astype(np.float32)


def _umap(
    start: Positions, found: Neighbours, *, seed: int, epochs: int | None, min_dist: float, reporter: Reporter
) -> Positions:
    umap = _umap_functions()
    n, rounds = len(start), epochs or (500 if len(start) <= 10_000 else 200)
    own = np.arange(n, dtype=np.int32)[:, None]
    index = np.concatenate([own, found.index], axis=1).astype(np.int32)  # UMAP counts the row itself first
    distance = np.concatenate([np.zeros((n, 1), np.float32), found.distance], axis=1)
    state = np.random.RandomState(seed)
    reporter.phase("layout", rounds, "epochs")
    graph, *_ = umap.fuzzy_simplicial_set(
        start, index.shape[1], state, "euclidean", knn_indices=index, knn_dists=distance
    )
    a, b = umap.find_ab_params(1.0, min_dist)
    placed, _ = umap.simplicial_set_embedding(
        start, graph, n_components=2, initial_alpha=1.0, a=a, b=b, gamma=1.0, negative_sample_rate=5,
        n_epochs=rounds, init=start, random_state=state, metric="euclidean", metric_kwds={}, densmap=False,
        densmap_kwds={}, output_dens=False, parallel=False, verbose=False, tqdm_kwds=_listening(reporter),
    )  # fmt: skip
    return np.asarray(placed, dtype=np.float32)


def _umap_functions() -> Any:
    """The module of UMAP's steps, imported without the warning that its unused TensorFlow variant is absent."""
    keep_compiled_code()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Tensorflow not installed", category=ImportWarning)
        import umap.umap_
    return umap.umap_


class _Epochs:
    """A text file that counts: UMAP's progress bar writes one line per epoch into it."""

    def __init__(self, reporter: Reporter) -> None:
        self._reporter, self._seen = reporter, 0

    def write(self, text: str) -> int:
        count = text.strip()
        if count.isdigit() and int(count) > self._seen:
            self._reporter.advance(int(count) - self._seen)
            self._seen = int(count)
            self._reporter.check()
        return len(text)

    def flush(self) -> None:
        """Nothing is buffered."""


def _listening(reporter: Reporter) -> dict[str, Any]:
    return {"disable": False, "file": _Epochs(reporter), "bar_format": "{n_fmt}", "mininterval": 0.2, "leave": False}


def place(fitted: Positions, found: Neighbours, *, seed: int, within: float = 6.0, block: int = 100_000) -> Positions:
    """Positions (m, 2) of rows that were not fitted, from their nearest fitted rows.

    A row stands at the mean of its nearest fitted row's neighbourhood: of its `k` fitted neighbours, those within
    `within` typical spacings of the nearest one count, the closer in feature space the more. (The plain mean of
    all would fall between islands.) A seeded jitter of half a spacing keeps rows from stacking up.

    Args:
        fitted: positions of the fitted rows (f, 2).
        found: for each row to place, its neighbours among the fitted, (m, k).
    """
    spacing = typical_spacing(fitted)
    rng = np.random.default_rng(seed)
    out = np.empty((len(found.index), 2), dtype=np.float32)
    for start in range(0, len(out), block):
        part = slice(start, start + block)
        spots = fitted[found.index[part]]  # (m, k, 2)
        near = np.linalg.norm(spots - spots[:, :1], axis=2) <= within * spacing  # (m, k)
        distance = found.distance[part]
        scale = np.maximum(distance.mean(axis=1, keepdims=True) - distance[:, :1], 1e-12)
        weight = np.exp(-(distance - distance[:, :1]) / scale) * near
        mean = (spots * (weight / weight.sum(axis=1, keepdims=True))[:, :, None]).sum(axis=1)
        out[part] = mean + rng.normal(scale=0.5 * spacing, size=mean.shape)
    return out


def typical_spacing(positions: Positions) -> float:
    """Median distance from a position to its nearest other one; 0 for a single position."""
    if len(positions) < 2:
        return 0.0
    distance, _ = cKDTree(positions).query(positions, k=2)
    return float(np.median(distance[:, 1]))


def centred(positions: Positions) -> Positions:
    """Positions turned so that they are widest from left to right, centred, the longer half-side 1."""
    middle = positions.astype(np.float64) - np.median(positions, axis=0)
    _, axes = np.linalg.eigh(middle.T @ middle)
    axes = axes[:, ::-1] * np.where(
        np.diag(axes[:, ::-1]) < 0, -1.0, 1.0
    )  # the widest first, as little turned as may be
    turned = middle @ axes
    low, high = turned.min(axis=0), turned.max(axis=0)
    half = float((high - low).max()) / 2 or 1.0
    return ((turned - (low + high) / 2) / half).astype(np.float32)
