"""Islands of a layout moved closer together, so that the map is read and not its voids.

UMAP pushes groups that share no neighbours far apart; how far means nothing (its loss has no term for it), yet the
voids leave a few pixels to each group. Here every island, a set of positions linked by short steps, is moved as a
rigid whole: towards the middle, and away from islands it would touch. Distances inside an island do not change,
directions between islands change little.

Notation: n positions, m islands with centres c (m, 2) and radii r (m,).
"""

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

Positions = NDArray[np.float32]
MOST_ISLANDS = 800
_LINKS = 8
_ROUNDS = 300


def islands(xy: Positions, *, reach: float = 5.0) -> NDArray[np.int32]:
    """Island number of each position, (n,): linked are near neighbours within `reach` typical steps.

    A typical step is the median distance to the eighth neighbour; it is doubled until there are few enough islands.
    """
    k = min(_LINKS, len(xy) - 1)
    distance, neighbour = cKDTree(xy).query(xy, k=k + 1)
    step = reach * float(np.median(distance[:, -1]))
    head = np.repeat(np.arange(len(xy)), k)
    while True:
        near = distance[:, 1:].reshape(-1) <= step
        pairs = (np.ones(int(near.sum()), np.int8), (head[near], neighbour[:, 1:].reshape(-1)[near]))
        count, codes = connected_components(coo_array(pairs, shape=(len(xy), len(xy))), directed=False)
        if count <= MOST_ISLANDS or step == 0.0 or near.all():
            return codes.astype(np.int32)
        step *= 2.0


def packed(xy: Positions, *, gap: float = 0.06) -> Positions:
    """Positions (n, 2) with the islands drawn together; `gap` is kept between them, as a share of the packed width.

    Deterministic. A layout of one island comes back as it is.
    """
    if len(xy) < 3:
        return xy
    codes = islands(xy)
    count = int(codes.max()) + 1
    if count < 2 or count > MOST_ISLANDS:
        return xy
    sizes = np.bincount(codes, minlength=count)
    centre = np.stack([np.bincount(codes, xy[:, axis], count) / sizes for axis in (0, 1)], axis=1)
    radius = np.zeros(count)
    np.maximum.at(radius, codes, np.linalg.norm(xy - centre[codes], axis=1))
    space = gap * float(np.sqrt(np.square(radius).sum()))
    moved = drawn_together(centre, radius + space / 2, weight=sizes.astype(np.float64))
    return (xy + (moved - centre)[codes]).astype(np.float32)


def drawn_together(
    centre: NDArray[np.float64], radius: NDArray[np.float64], *, weight: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Centres (m, 2) of discs pulled to their common middle until they touch; heavy discs move least.

    Each round shrinks all towards the middle by 3 %, then parts the discs that overlap; the last rounds only part.
    """
    placed = centre - np.average(centre, axis=0, weights=weight)
    apart = radius[:, None] + radius[None, :]
    yields = weight[None, :] / (weight[:, None] + weight[None, :])  # how much of a push disc i takes from disc j
    for turn in range(_ROUNDS):
        if turn < 0.8 * _ROUNDS:
            placed = 0.97 * placed
        between = placed[:, None, :] - placed[None, :, :]  # (m, m, 2)
        distance = np.maximum(np.linalg.norm(between, axis=2), 1e-9)
        overlap = np.maximum(apart - distance, 0.0) * yields
        np.fill_diagonal(overlap, 0.0)
        if turn >= 0.8 * _ROUNDS and not overlap.any():
            break
        placed = placed + 0.5 * (between / distance[:, :, None] * overlap[:, :, None]).sum(axis=1)
    return placed
