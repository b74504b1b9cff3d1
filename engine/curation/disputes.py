"""Where runs disagree about a sample: how far apart they rank it.

Notation: the *percentile* of a row in a run is the share of the run's scored rows that rank at or below it, 1 for the
best; comparable between runs whatever their units. The *spread* of a row is the highest percentile less the lowest
among the runs that score it, from 0 (all agree) to nearly 1; NaN where fewer than two do. Does not say who is right
(`agreement` compares whole runs).
"""

from collections.abc import Sequence

import numpy as np


def percentiles(place: np.ndarray, n: int) -> np.ndarray:
    """float32 (n,): the percentile of each of n rows from its rank, 1 for the highest, 0 where there is no score.

    NaN without a score and for rows beyond those the run covers.
    """
    scored = int(place.max(initial=0))
    found = np.full(n, np.nan, np.float32)
    covered = min(n, len(place))
    ranked = place[:covered] > 0
    found[:covered][ranked] = (scored - place[:covered][ranked] + 1) / max(scored, 1)
    return found


def spread(each: Sequence[np.ndarray]) -> np.ndarray:
    """float32 (n,): the highest percentile of each row less its lowest; each (n,), NaN where a run has none."""
    if len(each) < 2:
        return np.full(len(each[0]) if each else 0, np.nan, np.float32)
    known = np.zeros(len(each[0]), np.int32)
    low, high = np.full(len(known), np.inf, np.float32), np.full(len(known), -np.inf, np.float32)
    for values in each:
        known += np.isfinite(values)
        low, high = np.fmin(low, values), np.fmax(high, values)
    return np.where(known >= 2, high - low, np.nan).astype(np.float32)


def most_disputed(apart: np.ndarray) -> np.ndarray:
    """int64: the rows with a spread, the widest first, ties by row order."""
    order = np.argsort(-apart, kind="stable")  # NaN sorts last
    return order[: int(np.isfinite(apart).sum())]
