"""Which chosen rows an approver should look at first, and why.

A chosen row has two points for each mark (a guard's flag, an answer unlike its neighbours') and one for each of: a
score among the least certain twentieth of the chosen, one among their lowest twentieth, no score at all; less two if a
person approved it. Rows come by falling points, then by rising score, then by row. Notation: k chosen rows. Does not
read a project.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

FRACTION = 0.05
MARK, OTHER = 2, 1  # points; an approval takes away a mark's
UNCERTAIN, LOW, UNSCORED = "among the least certain scores", "among the lowest scores", "no score"


@dataclass(frozen=True)
class Risk:
    """A chosen row by its place among the chosen, its points, and what they are for."""

    place: int
    points: int
    why: tuple[str, ...]


def riskiest(
    marks: Mapping[str, np.ndarray],
    score: np.ndarray,
    sigma: np.ndarray | None,
    approved: np.ndarray,
    *,
    most: int,
) -> list[Risk]:
    """The `most` riskiest of k chosen rows: `marks` bool (k,) by name, `score` (k,) and `sigma` (k,) NaN for none,
    `approved` bool (k,).
    """
    others = _of_scores(np.asarray(score, np.float64), sigma)
    points = -MARK * np.asarray(approved, np.int64)
    for weight, flags in ((MARK, marks), (OTHER, others)):
        for flag in flags.values():
            points += weight * np.asarray(flag, np.int64)
    reasons = {**marks, **others}
    order = np.lexsort((np.nan_to_num(score, nan=-np.inf), -points))[:most]  # the last key sorts first
    return [Risk(int(at), int(points[at]), tuple(name for name, flag in reasons.items() if flag[at])) for at in order]


def _of_scores(score: np.ndarray, sigma: np.ndarray | None) -> dict[str, np.ndarray]:
    """The flags that scores give: rows without one, the lowest, the least certain; ties by row order."""
    scored = np.isfinite(score)
    found = {UNSCORED: ~scored, LOW: _first(score)}
    if sigma is not None:
        found[UNCERTAIN] = _first(-np.where(np.asarray(sigma) > 0, sigma, np.nan))
    return found


def _first(values: np.ndarray) -> np.ndarray:
    """bool (k,): the smallest `FRACTION` of the finite values, rounded down."""
    flags = np.zeros(len(values), bool)
    known = np.flatnonzero(np.isfinite(values))
    flags[known[np.argsort(values[known], kind="stable")[: int(FRACTION * len(known))]]] = True
    return flags
