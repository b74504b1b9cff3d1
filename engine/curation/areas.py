"""Which positions of a map lie in an area drawn on it: a lasso (polygon) or a box.

Positions are (n, 2) in data coordinates. An area is applied to all positions, whether a page drew them or not.
Does not know maps, rows or filters.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Point = tuple[float, float]
Polygon = Sequence[Point]

_OUTSIDE, _INSIDE, _TOUCHED = 0, 1, 2


def polygon_mask(xy: NDArray[np.floating[Any]], polygon: Polygon) -> NDArray[np.bool_]:
    """Which of n positions lie inside a polygon, by the even-odd rule; bool (n,).

    A position on a left or lower edge counts as inside, on a right or upper edge as outside, so that polygons that
    share an edge share no position. Fewer than three corners contain nothing; NaN lies nowhere. A grid is laid over
    the polygon's box: positions in cells that no edge touches are decided by the cell's middle, only the others
    are tested themselves, so that the cost hardly grows with the number of corners.
    """
    corners = np.asarray(polygon, dtype=np.float64).reshape(-1, 2)
    if len(corners) < 3 or not np.isfinite(corners).all():
        return np.zeros(len(xy), dtype=bool)
    low, high = corners.min(axis=0), corners.max(axis=0)
    if not (high > low).all():
        return np.zeros(len(xy), dtype=bool)
    side = int(np.clip(np.sqrt(len(xy)) / 2, 8, 400))
    state = _cells(corners, low, (high - low) / side, side)
    column, row = (_cell(xy[:, axis], low[axis], (high - low)[axis] / side, side) for axis in (0, 1))
    found = state[row * (side + 2) + column]
    inside = found == _INSIDE
    near = np.flatnonzero(found == _TOUCHED)
    inside[near] = _odd_crossings(np.asarray(xy[near], dtype=np.float64), corners)
    return inside


def _cell(values: NDArray[np.floating[Any]], low: float, size: float, side: int) -> NDArray[np.int32]:
    """Grid cell 1..side of each value; 0 and side + 1 are the margins outside, where NaN goes too."""
    place = (values - values.dtype.type(low)) * values.dtype.type(1.0 / size) + values.dtype.type(1.0)
    return np.nan_to_num(np.clip(place, 0, side + 1, out=place), copy=False, nan=0.0).astype(np.int32)


def _cells(corners: NDArray[np.float64], low: NDArray[np.float64], size: NDArray[np.float64], side: int) -> Any:
    """What is known of the cells of a (side + 2)² grid with a margin, flattened: outside, inside, or touched.

    Every cell within one cell of an edge counts as touched, which covers any rounding of positions into cells.
    """
    middles = np.arange(side + 2) - 0.5
    grid = np.stack([low[0] + np.tile(middles, side + 2) * size[0], low[1] + np.repeat(middles, side + 2) * size[1]], 1)
    state = np.where(_odd_crossings(grid, corners), _INSIDE, _OUTSIDE).astype(np.uint8).reshape(side + 2, side + 2)
    placed = (corners - low) / size + 1.0  # in cells
    for (ax, ay), (bx, by) in zip(placed, np.roll(placed, -1, axis=0), strict=True):
        first, last = int(min(ay, by)), int(max(ay, by))
        for row in range(max(0, first - 1), min(side + 1, last + 1) + 1):
            at = np.clip((row - 1, row + 2), min(ay, by), max(ay, by))  # the edge's part within a row of this one
            x = ax + (at - ay) * ((bx - ax) / (by - ay)) if ay != by else np.array([ax, bx])
            state[row, max(0, int(x.min()) - 1) : int(x.max()) + 2] = _TOUCHED
    return state.reshape(-1)


def _odd_crossings(xy: NDArray[np.float64], corners: NDArray[np.float64]) -> NDArray[np.bool_]:
    """The even-odd rule itself: positions are sorted by y once, and each edge flips those in its own band."""
    order = np.argsort(xy[:, 1], kind="stable")
    px, py = xy[order, 0], xy[order, 1]
    odd = np.zeros(len(xy), dtype=bool)
    for (ax, ay), (bx, by) in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        if ay == by:
            continue
        if ay > by:
            ax, ay, bx, by = bx, by, ax, ay
        start, stop = np.searchsorted(py, (ay, by))  # the band ay <= y < by
        band = slice(int(start), int(stop))
        odd[band] ^= px[band] < ax + (py[band] - ay) * ((bx - ax) / (by - ay))
    out = np.empty(len(xy), dtype=bool)
    out[order] = odd
    return out
