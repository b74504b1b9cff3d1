"""How unusual a length is in its pool: a robust z of the logarithm.

Notation: L_i words of row i's response (marks of punctuation count as words), l_i = ln(1 + L_i),
z_i = (l_i - median l) / max(1.4826 · median |l - median l|, FLOOR): typical deviations above the usual length, which
outliers do not move. Where half of the pool has one and the same length, the spread is `FLOOR`, not zero.
Says nothing of a right length.
"""

import numpy as np
from numpy.typing import NDArray

from engine.data.surprise import NORMAL

OUTLYING = 3.5
"""|z| beyond this is an outlier (Iglewicz and Hoaglin's rule for robust z)."""
FLOOR = 0.2
"""Smallest spread of ln(1 + words) taken: about a fifth of the length."""


def robust_length(words: NDArray[np.integer]) -> NDArray[np.float32]:
    """z (n,) of counts of words (n,); zero for an empty pool's worth of equal lengths."""
    logs = np.log1p(np.asarray(words, dtype=np.float64))
    if not len(logs):
        return np.zeros(0, dtype=np.float32)
    centred = logs - np.median(logs)
    return (centred / max(NORMAL * float(np.median(np.abs(centred))), FLOOR)).astype(np.float32)
