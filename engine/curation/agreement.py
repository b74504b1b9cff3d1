"""How far two runs agree on the rows that both score: correlations, overlap of the tops, and where they part.

Notation: n pool rows; m compared rows, those that both runs score; ranks count from 1 for the highest among the
compared rows, ties by row order; k a size of a top; A_k the share of the best k of one that is among the best k of the
other (k / m by chance). The *lead* of a row is (rank in the second - rank in the first) / m, float32 in (-1, 1):
above 0 the first run ranks it higher. Everything is a pure function of arrays; nothing is drawn.
"""

from dataclasses import dataclass

import numpy as np
from scipy.stats import kendalltau, spearmanr

from engine.curation.facts import rank

TOPS = (0.01, 0.05, 0.1, 0.25)  # shares of the compared rows whose overlap is told in figures
CURVE_POINTS = 80
DEPTH = 0.01  # mean depth of rank-biased overlap, as a share of the compared rows


@dataclass(frozen=True)
class Pair:
    """The compared rows: `rows` int32 (m,), ascending, and `ranks` int32 (m, 2) among them."""

    rows: np.ndarray
    ranks: np.ndarray

    @property
    def lead(self) -> np.ndarray:
        """float32 (m,): how much higher the first run ranks each row, as a share of m."""
        apart = self.ranks[:, 1] - self.ranks[:, 0]
        return apart.astype(np.float32) / np.float32(max(1, len(apart)))


@dataclass(frozen=True)
class Agreement:
    """Two runs in figures. `rows`: m. `spearman` and `kendall` (tau-b), ties averaged: None where undefined, `reason`
    says why. `k` int64 and `overlap` float64: A_k along the curve. `biased`: rank-biased overlap of mean depth `depth`,
    and `biased_by_chance` what unrelated runs would have; None without rows.
    """

    rows: int
    spearman: float | None
    kendall: float | None
    reason: str
    k: np.ndarray
    overlap: np.ndarray
    depth: int
    biased: float | None
    biased_by_chance: float | None

    def top(self, share: float) -> tuple[int, float]:
        """The size of the top of this share of the rows, at least 1, and A_k at it, from the curve."""
        k = top_size(self.rows, share)
        return k, float(self.overlap[np.searchsorted(self.k, k)])


def pair(first: np.ndarray, second: np.ndarray) -> Pair:
    """Compare two columns of scores over the first rows of one pool, NaN where there is none; lengths may differ."""
    n = min(len(first), len(second))
    one, two = np.asarray(first[:n]), np.asarray(second[:n])
    rows = np.flatnonzero(np.isfinite(one) & np.isfinite(two)).astype(np.int32)
    ranks = np.stack([rank(one[rows]), rank(two[rows])], axis=1).astype(np.int32)  # (m, 2)
    return Pair(rows, ranks)


def agreement(first: np.ndarray, second: np.ndarray, found: Pair | None = None) -> Agreement:
    """The figures of two columns; `found` is their `pair` where it is known already. O(n log n)."""
    found = found or pair(first, second)
    m = len(found.rows)
    one, two = np.asarray(first)[found.rows], np.asarray(second)[found.rows]
    reason = undefined(one, two)
    spearman = None if reason else float(spearmanr(one, two).statistic)
    kendall = None if reason else float(kendalltau(one, two).statistic)
    k = curve_sizes(m)
    shared = in_common(found.ranks)
    depth = max(1, round(DEPTH * m))
    sizes = np.arange(1, m + 1)
    return Agreement(
        m, spearman, kendall, reason, k, shared[k - 1] / k, depth,
        rank_biased(shared / sizes, depth), rank_biased(sizes / max(1, m), depth),
    )  # fmt: skip


def undefined(one: np.ndarray, two: np.ndarray) -> str:
    """Why the compared scores have no rank correlation; "" where they have one."""
    if len(one) < 3:
        return "fewer than three samples in common"
    if np.ptp(one) == 0 or np.ptp(two) == 0:
        return "a run gives all of them the same score"
    return ""


def in_common(ranks: np.ndarray) -> np.ndarray:
    """int64 (m,): at k - 1, how many rows are among the best k of both, which a row is from its worse rank on."""
    return np.cumsum(np.bincount(ranks.max(axis=1) - 1, minlength=len(ranks))) if len(ranks) else np.zeros(0, np.int64)


def top_size(m: int, share: float) -> int:
    """How many of m rows the top of this share holds, at least 1."""
    return max(1, int(m * share))


def curve_sizes(m: int) -> np.ndarray:
    """int64: sizes k along the curve, evenly in their logarithm, with those of `TOPS`; empty for no rows."""
    if m == 0:
        return np.zeros(0, np.int64)
    even = np.geomspace(1, m, CURVE_POINTS).round().astype(np.int64)
    return np.unique(np.concatenate([even, [top_size(m, share) for share in TOPS], [m]]))


def rank_biased(overlap: np.ndarray, depth: int) -> float | None:
    """Rank-biased overlap (Webber, Moffat and Zobel 2010, eq. 4) of two orders of the same m rows, from A_1 … A_m.

    (1 - p) sum over k of p^(k-1) A_k with p = 1 - 1/depth, so that a reader who stops at random reads `depth` rows on
    average; beyond m, where both hold every row, A is 1. None for no rows.
    """
    if not len(overlap):
        return None
    p = 1 - 1 / max(1, depth)
    weights = (1 - p) * p ** np.arange(len(overlap), dtype=np.float64)
    return float(weights @ overlap + p ** len(overlap))


def largest(lead: np.ndarray, most: int) -> np.ndarray:
    """int64: the positions of the `most` rows that part the runs furthest, the furthest first, ties by row order."""
    apart = np.abs(lead)
    if most < len(apart):
        least = np.partition(apart, len(apart) - most)[len(apart) - most]
        candidates = np.flatnonzero(apart >= least)
    else:
        candidates = np.arange(len(apart))
    return candidates[np.argsort(-apart[candidates], kind="stable")][:most]


@dataclass(frozen=True)
class Groups:
    """Per group, arrays (g,): `sizes`, how many compared rows; `first` and `second`, what share of each run's best k
    they are; `lead`, their mean lead, NaN for an empty group.
    """

    k: int
    sizes: np.ndarray
    first: np.ndarray
    second: np.ndarray
    lead: np.ndarray

    @property
    def shift(self) -> np.ndarray:
        """How much larger a share of the second run's top each group is, in (-1, 1)."""
        return self.second - self.first


def by_group(found: Pair, codes: np.ndarray, groups: int, k: int) -> Groups:
    """The compared rows by group; `codes` int (n,) over pool rows, negative for no group, missing behind its end."""
    places = found.rows < len(codes)
    own = np.full(len(found.rows), -1, np.int64)
    own[places] = codes[found.rows[places]]
    grouped = own >= 0
    own, lead = own[grouped], found.lead[grouped]
    sizes = np.bincount(own, minlength=groups)
    first, second = (np.bincount(own[found.ranks[grouped, side] <= k], minlength=groups) / max(1, k) for side in (0, 1))
    with np.errstate(invalid="ignore"):
        mean = np.bincount(own, weights=lead, minlength=groups) / sizes
    return Groups(k, sizes, first, second, mean)


def on_plane(found: Pair, xy: np.ndarray, *, bins: int, least: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The mean lead over a map, in bins × bins cells: float32 (bins, bins) with y upwards, NaN where fewer than
    `least` compared rows lie; their number, uint32; and the edges of both axes, float64 (2, bins + 1). `xy` (n, 2).
    """
    placed = found.rows < len(xy)
    place = np.asarray(xy)[found.rows[placed]]
    known = np.isfinite(place).all(axis=1)
    place, lead = place[known], found.lead[placed][known]
    if not len(place):
        return np.full((bins, bins), np.nan, np.float32), np.zeros((bins, bins), np.uint32), np.zeros((2, bins + 1))
    edges = np.stack([_edges(place[:, axis], bins) for axis in (0, 1)])
    column, row = (cell_of(place[:, axis], edges[axis]) for axis in (0, 1))
    number = np.bincount(row * bins + column, minlength=bins * bins)
    total = np.bincount(row * bins + column, weights=lead, minlength=bins * bins)
    mean = np.where(number >= least, total / np.maximum(number, 1), np.nan)
    return mean.reshape(bins, bins).astype(np.float32), number.reshape(bins, bins).astype(np.uint32), edges


def _edges(values: np.ndarray, bins: int) -> np.ndarray:
    low, high = float(values.min()), float(values.max())
    return np.linspace(low, high if high > low else low + 1, bins + 1)


def cell_of(values: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """int64: the cell of each value among equal cells; what lies outside belongs to the outermost ones."""
    bins = len(edges) - 1
    scale = bins / (edges[-1] - edges[0])
    return np.clip(((values - edges[0]) * scale).astype(np.int64), 0, bins - 1)
