"""Two columns of values against each other: how densely samples lie, and the samples within a region.

Notation: x and y values (m,) of the compared rows, scores (float32) or ranks (int). The picture has `bins` × `bins`
equal cells; scores beyond the 0.1st and 99.9th percentile are drawn in the outermost cells. A *region* is a rectangle
with its ends included, None for open. What a cell counts is exactly what `inside` finds in its region.
Does not draw and does not rank.
"""

from dataclasses import dataclass

import numpy as np

FEWEST, MOST = 12, 60  # cells along an axis
CLIP = 0.1  # per cent at either end of the scores


@dataclass(frozen=True)
class Region:
    """A rectangle: x and y within `x` and `y`, both (low, high) with ends included and None for open."""

    x: tuple[float | None, float | None]
    y: tuple[float | None, float | None]


@dataclass(frozen=True)
class Density:
    """How many samples lie in each cell, uint32 (bins, bins) with y upwards, and the lowest value of each cell along
    both axes, then the highest of all, (bins + 1,). `outside`: samples beyond the ends, counted in the outermost cells.
    """

    counts: np.ndarray
    x: np.ndarray
    y: np.ndarray
    outside: int

    def region(self, column: int, row: int) -> Region:
        """The region of one cell; the outermost cells are open to their side."""
        return Region(_span(self.x, column), _span(self.y, row))


def density(x: np.ndarray, y: np.ndarray, *, bins: int | None = None) -> Density:
    """Count the samples by cell: `bins` along an axis, by default so that a cell holds some six of evenly spread ones,
    and no more than there are samples. Raises `ValueError` for no samples.
    """
    if not len(x):
        raise ValueError("no samples to count")
    bins = min(bins or int(np.clip(np.sqrt(len(x) / 6), FEWEST, MOST)), len(x))
    across, up = _edges(x, bins), _edges(y, bins)
    cells = _cells(y, up) * bins + _cells(x, across)
    counts = np.bincount(cells, minlength=bins * bins).reshape(bins, bins)
    beyond = (x < across[0]) | (x > across[-1]) | (y < up[0]) | (y > up[-1])
    return Density(counts.astype(np.uint32), across, up, int(beyond.sum()))


def _cells(values: np.ndarray, edges: np.ndarray) -> np.ndarray:
    return np.clip(np.searchsorted(edges[:-1], values, side="right") - 1, 0, len(edges) - 2)


def inside(x: np.ndarray, y: np.ndarray, region: Region) -> np.ndarray:
    """int64: the positions of the samples in the region."""
    return np.flatnonzero(_within(x, *region.x) & _within(y, *region.y))


def _within(values: np.ndarray, low: float | None, high: float | None) -> np.ndarray:
    passing = np.ones(len(values), bool)
    if low is not None:
        passing &= values >= low
    return passing & (values <= high) if high is not None else passing


def _edges(values: np.ndarray, bins: int) -> np.ndarray:
    """(bins + 1,) in the type of the values, so that comparing with them is exact: whole numbers for ranks."""
    if values.dtype.kind in "iu":
        low, high = int(values.min()), int(values.max())
        return low + (high - low + 1) * np.arange(bins + 1) // bins
    low, high = np.percentile(values, [CLIP, 100 - CLIP])
    if not high > low:
        low, high = values.min(), values.max()
    return np.linspace(low, high if high > low else low + 1, bins + 1).astype(values.dtype)


def _span(edges: np.ndarray, at: int) -> tuple[float | None, float | None]:
    """The values of cell `at`, both ends included."""
    last = len(edges) - 2
    low = None if at == 0 else edges[at]
    high = None if at == last else _before(edges[at + 1])
    return None if low is None else low.item(), high


def _before(value: np.generic) -> float:
    """The value just below, in its own type."""
    if value.dtype.kind in "iu":
        return int(value) - 1
    return float(np.nextafter(value, np.array(-np.inf, value.dtype)))
