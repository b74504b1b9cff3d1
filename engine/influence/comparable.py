"""Making propagated scores comparable with exact ones before they are ranked together.

Notation. For one column, y are the landmarks' exact scores and ŷ their leave-one-out predictions, what propagation
would have said of rows it had not seen. Propagated scores are mostly shrunken: ŷ spreads less than y, so in a joint
ranking the landmarks would crowd both ends merely for having been measured. The map x ↦ intercept + slope·x with
slope = std(y)/std(ŷ) and intercept = mean(y) − slope·mean(ŷ) gives propagated scores the location and spread of exact
ones. The slope is positive, so the order among propagated rows stays.

The consequence: a propagated score is then no longer the best guess in squared error; its errors are widened with it,
and where propagation knows little (a leave-one-out correlation near 0) the top of the ranking holds rows that are
there by chance, in the proportion in which unmeasured rows are there. The coefficients are stored with the run, so
the plain prediction is (score − intercept) / slope.
"""

from dataclasses import dataclass

import numpy as np

LEAST_LANDMARKS = 3
WEAK = 0.1
ROUNDING = 1e-6  # of the largest value: a narrower spread is noise, which the slope would blow up


@dataclass(frozen=True)
class AffineMap:
    """x ↦ intercept + slope·x for one column; `correlation` is Pearson's of y and ŷ, None where undefined.

    `reason` says why a degenerate column kept slope 1, or warns of a weak prediction; empty otherwise.
    """

    name: str
    slope: float
    intercept: float
    correlation: float | None
    reason: str = ""

    def __call__(self, scores: np.ndarray) -> np.ndarray:
        """Mapped scores, float32."""
        return (self.intercept + self.slope * np.asarray(scores, dtype=np.float64)).astype(np.float32)


def comparable_map(name: str, exact: np.ndarray, left_out: np.ndarray) -> AffineMap:
    """The map of one column from its exact scores (l,) and leave-one-out predictions (l,).

    Fewer than three landmarks: the identity. Constant predictions: location only. Constant exact scores: every
    prediction is mapped next to that constant (slope 1 around it), since there is no spread to match.
    """
    if len(exact) < LEAST_LANDMARKS:
        return AffineMap(name, 1.0, 0.0, None, f"{len(exact)} landmarks are too few to compare with")
    spread, predicted = float(exact.std()), float(left_out.std())
    if not _varies(left_out) or not _varies(exact):
        which = "leave-one-out predictions are" if not _varies(left_out) else "exact scores of the landmarks are"
        return AffineMap(name, 1.0, float(exact.mean() - left_out.mean()), None, f"the {which} constant")
    slope = spread / predicted
    correlation = float(np.corrcoef(exact, left_out)[0, 1])
    return AffineMap(name, slope, float(exact.mean() - slope * left_out.mean()), correlation, _warning(correlation))


def _varies(values: np.ndarray) -> bool:
    """Whether they differ by more than the rounding of float32, in which they were measured."""
    return float(np.ptp(values)) > ROUNDING * float(np.abs(values).max())


def _warning(correlation: float) -> str:
    if correlation >= WEAK:
        return ""
    return f"leave-one-out predictions hardly follow the exact scores (correlation {correlation:.2f})"
