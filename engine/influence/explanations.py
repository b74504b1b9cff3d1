"""Why a row has its score, and where on the map scores are worth less.

Notation. A propagated score is a sum over landmarks, p_ij = Σ_l C_il P_lj, with C_il the regression's coefficient (see
`regression`) and P_lj the landmark's exact score for column j: each term is what one landmark contributed. Terms may
be negative. A landmark's *share* is |C_il P_lj| over the sum of those sizes over all landmarks, so shares add up to
one and do not blow up where terms cancel. These are the plain prediction's terms, before any map that widens it.

A *weak region* is a cluster of the map whose uncertainty is notably worse than the pool's: its median is at least
`RATIO` times the pool's, and its ranks are higher than chance would have them. (METHODS section 3, "Explanations".)
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from engine.errors import EngineError

RATIO = 1.25
LEAST_ROWS = 20
CHANCE = 3.0  # standard errors of a rank sum


@dataclass(frozen=True)
class Carriers:
    """The landmarks that carried each score, largest contribution first.

    All (m, s, c): `rows` int64 pool rows of the landmarks, `coefficients` C_il, `contributions` C_il P_lj, `shares` of
    the total size; `covered` (m, s) is the sum of the c shares. Rows without coefficients have rows −1 and NaN.
    """

    rows: np.ndarray
    coefficients: np.ndarray
    contributions: np.ndarray
    shares: np.ndarray
    covered: np.ndarray


@dataclass(frozen=True)
class Extremes:
    """Each row's best and worst target items, most extreme first: items (m, c) int64 (−1 where none) and scores."""

    best: np.ndarray
    best_scores: np.ndarray
    worst: np.ndarray
    worst_scores: np.ndarray


@dataclass(frozen=True)
class WeakRegion:
    """A cluster whose uncertainty is notably worse: `median` against the pool's, over `rows` rows; worst first."""

    cluster: int
    rows: int
    median: float
    pool_median: float

    @property
    def ratio(self) -> float:
        """How many times the pool's median."""
        return self.median / self.pool_median if self.pool_median > 0 else float("inf")

    @property
    def sentence(self) -> str:
        """One line for the map."""
        return (
            f"Cluster {self.cluster} ({self.rows} samples): scores are {self.ratio:.1f} times as uncertain as in the "
            "pool."
        )


def carriers(
    coefficients: np.ndarray, landmark_scores: np.ndarray, landmark_rows: Sequence[int] | np.ndarray, *, count: int = 5
) -> Carriers:
    """The `count` landmarks (fewer where there are fewer) behind the scores of m rows, for every column.

    `coefficients` (m, l) are `KernelRidge.coefficients` of the rows, `landmark_scores` (l, s) what was fitted,
    `landmark_rows` (l,) their pool rows. Raises `EngineError` for lengths that do not match or a count below 1.
    """
    known = np.asarray(landmark_scores, np.float64)
    known = known[:, None] if known.ndim == 1 else known
    places = np.asarray(landmark_rows, dtype=np.int64)
    if coefficients.ndim != 2 or not coefficients.shape[1] == len(known) == len(places):
        raise EngineError(
            f"Coefficients {coefficients.shape}, landmark scores {known.shape} and {len(places)} landmark rows must "
            "have one entry per landmark."
        )
    _check_count(count)
    c, found = np.asarray(coefficients, np.float64), []
    for j in range(known.shape[1]):  # one column at a time: (m, l) at once, never (m, l, s)
        found.append(_carriers(c, c * known[:, j], places, min(count, len(places))))
    return Carriers(*(np.stack(parts, axis=1) for parts in zip(*found, strict=True)))


def _carriers(c: np.ndarray, terms: np.ndarray, places: np.ndarray, count: int) -> tuple[np.ndarray, ...]:
    sizes = np.abs(terms)
    defined = np.isfinite(sizes).all(axis=1)
    order = np.argsort(-np.where(np.isfinite(sizes), sizes, -1), axis=1, kind="stable")[:, :count]  # (m, count)
    total = sizes.sum(axis=1, keepdims=True)
    shares = np.divide(sizes, total, out=np.zeros_like(sizes), where=total > 0)
    taken = [np.take_along_axis(values, order, axis=1) for values in (c, terms, shares)]
    for values in taken:
        values[~defined] = np.nan
    rows = np.where(defined[:, None], places[order], -1)
    return rows, *taken, taken[2].sum(axis=1)


def best_and_worst_targets(item_scores: np.ndarray, *, count: int = 3) -> Extremes:
    """The `count` best and worst items (fewer where there are fewer) of item scores (m, t); NaN is never among them."""
    _check_count(count)
    scores = np.asarray(item_scores, np.float64)
    if scores.ndim != 2:
        raise EngineError(f"Item scores must be one row per sample and one column per target; got {scores.shape}.")
    return Extremes(*_first(scores, count, -1.0), *_first(scores, count, 1.0))


def _first(scores: np.ndarray, count: int, sign: float) -> tuple[np.ndarray, np.ndarray]:
    good = np.isfinite(scores)
    order = np.argsort(np.where(good, sign * scores, np.inf), axis=1, kind="stable")[:, :count]
    kept = np.take_along_axis(good, order, axis=1)
    values = np.take_along_axis(scores, order, axis=1)
    return np.where(kept, order, -1), np.where(kept, values, np.nan)


def weak_regions(
    uncertainty: np.ndarray, clusters: np.ndarray, *, ratio: float = RATIO, least: int = LEAST_ROWS
) -> tuple[WeakRegion, ...]:
    """The clusters whose `uncertainty` (n,) (σ, or posterior variance) is notably worse than the pool's, worst first.

    `clusters` (n,) are integer labels, −1 for none. Rows whose uncertainty is not finite are left out; clusters with
    fewer than `least` rows are not judged. Raises `EngineError` for unequal lengths.
    """
    values, labels = np.asarray(uncertainty, np.float64), np.asarray(clusters)
    if values.shape != labels.shape or values.ndim != 1:
        raise EngineError(f"One cluster per sample is needed: {values.shape} uncertainties, {labels.shape} labels.")
    good = np.isfinite(values)
    values, labels = values[good], labels[good]
    if not len(values):
        return ()
    from scipy.stats import rankdata  # it takes a second, and the Map page knows regions

    ranks, middle = rankdata(values), float(np.median(values))
    found = []
    for cluster in np.unique(labels[labels >= 0]):
        members = labels == cluster
        region = WeakRegion(int(cluster), int(members.sum()), float(np.median(values[members])), middle)
        worse = region.median > middle and region.median >= ratio * middle
        if region.rows >= least and worse and _beyond_chance(ranks, members):
            found.append(region)
    return tuple(sorted(found, key=lambda region: (-region.median, region.cluster)))


def _beyond_chance(ranks: np.ndarray, members: np.ndarray) -> bool:
    """Whether the members' mean rank is further above the pool's than a random group of their size would be."""
    n, m = len(ranks), int(members.sum())
    if m == n:
        return False
    error = np.sqrt((n + 1) * (n - m) / (12 * m))
    return float(ranks[members].mean() - (n + 1) / 2) > CHANCE * float(error)


def _check_count(count: int) -> None:
    if count < 1:
        raise EngineError(f"count is {count}; ask for at least 1.")
