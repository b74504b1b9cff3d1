"""Clusters of the map: dense islands, none so large that it says nothing, with what lies between them kept apart.

HDBSCAN (Campello et al. 2013) on at most `SAMPLE` positions finds the islands; every other row joins
the cluster of its nearest sampled rows. A row that HDBSCAN calls noise joins the island beside it when it is close,
else it stays `NOISE`. An island holding more than `LARGEST` of the rows is cut by k-means, so that a map without
gaps is still labelled. Seeded throughout; works on positions, hence what one sees is what is labelled.

Does not read any text (see labels.py).
"""

import math

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from engine.maps.layout import Positions, fitted_rows

NOISE = -1
SAMPLE = 15_000
LARGEST = 0.3
_CUT_TO = 0.12  # the share of all rows that a part of a cut cluster should have
FEWEST = 20  # below this all rows are one cluster: labels of four rows each help nobody

Codes = NDArray[np.int32]


def smallest_size(n: int) -> int:
    """Fewest of `n` rows that make a cluster: about n / 60, at least 5."""
    return max(5, round(n / 60))


def cluster(xy: Positions, *, seed: int = 0) -> Codes:
    """Cluster code of each of n positions, int32 (n,): 0 is the largest cluster, `NOISE` is none.

    Deterministic for a seed. At most about 60 clusters at any n; fewer than 20 rows, or rows all in one place,
    make a single cluster 0.
    """
    n = len(xy)
    if n < FEWEST or float(np.ptp(xy, axis=0).max(initial=0.0)) == 0.0:
        return np.zeros(n, dtype=np.int32)
    rows = fitted_rows(n, SAMPLE, seed=seed)
    codes = _reattached(xy[rows], _islands(xy[rows]))
    codes = _cut_large(xy[rows], codes, seed=seed)
    if len(rows) < n:
        codes = _spread(xy, xy[rows], codes)
    return by_size(codes)


def by_size(codes: Codes) -> Codes:
    """Codes renumbered so that cluster 0 is the largest, ties by the first row; `NOISE` stays."""
    names, first, counts = np.unique(codes[codes >= 0], return_index=True, return_counts=True)
    order = np.lexsort((first, -counts))
    renamed = np.full(int(codes.max(initial=-1)) + 2, NOISE, dtype=np.int32)  # the last entry serves NOISE
    renamed[names[order]] = np.arange(len(order), dtype=np.int32)
    return renamed[codes]


def centres(xy: Positions, codes: Codes) -> Positions:
    """A position inside each cluster for its label, float32 (c, 2): the member nearest to the median."""
    out = np.zeros((int(codes.max(initial=-1)) + 1, 2), dtype=np.float32)
    for code in range(len(out)):
        members = xy[codes == code]
        middle = np.median(members, axis=0)
        out[code] = members[np.square(members - middle).sum(axis=1).argmin()]
    return out


def _islands(xy: Positions) -> Codes:
    from sklearn.cluster import HDBSCAN

    size = smallest_size(len(xy))
    model = HDBSCAN(min_cluster_size=size, min_samples=min(size, 10), cluster_selection_method="eom", copy=True)
    codes = model.fit_predict(xy.astype(np.float64)).astype(np.int32)
    return codes if (codes >= 0).any() else np.zeros(len(xy), dtype=np.int32)


def _reattached(xy: Positions, codes: Codes) -> Codes:
    """Noise joins its nearest member's cluster within three times that cluster's own spacing of ten neighbours."""
    members, lost = np.flatnonzero(codes >= 0), np.flatnonzero(codes < 0)
    if not len(lost):
        return codes
    tree = cKDTree(xy[members])
    reach, _ = tree.query(xy[members], k=min(11, len(members)))
    spacing = np.array([np.median(reach[codes[members] == c, -1]) for c in range(int(codes.max()) + 1)])
    distance, position = tree.query(xy[lost])
    joins = codes[members[position]]
    out = codes.copy()
    out[lost] = np.where(distance <= 3.0 * spacing[joins], joins, NOISE)
    return out


def _cut_large(xy: Positions, codes: Codes, *, seed: int) -> Codes:
    from sklearn.cluster import KMeans

    out, following = codes.copy(), int(codes.max()) + 1
    for code in range(following):
        members = np.flatnonzero(codes == code)
        parts = math.ceil(len(members) / (_CUT_TO * len(xy)))
        if (
            len(members) <= LARGEST * len(xy)
            or len(members) // parts < 5
            or float(np.ptp(xy[members], axis=0).max()) == 0.0
        ):
            continue
        found = KMeans(parts, n_init=3, random_state=seed).fit_predict(xy[members].astype(np.float64))
        out[members] = np.where(found == 0, code, following + found - 1)
        following += parts - 1
    return out


def _spread(xy: Positions, sampled: Positions, codes: Codes) -> Codes:
    """Each position takes the commonest code among its three nearest sampled ones, the nearest's where none is."""
    _, near = cKDTree(sampled).query(xy, k=3)
    votes = codes[near]  # (n, 3)
    second_agrees = (votes[:, 1] == votes[:, 2]) & (votes[:, 0] != votes[:, 1])
    return np.where(second_agrees, votes[:, 1], votes[:, 0]).astype(np.int32)
