"""How much less likely a model finds a response than those of similar rows: where wrong and swapped answers show.

Notation: loss_i is the mean response loss of row i in nats, N(i) its neighbours on the map. A row's excess is
e_i = loss_i - median of loss over N(i), so that a kind of task that is hard throughout surprises nobody.
surprise_i = (e_i - median e) / (1.4826 · median |e - median e|): typical deviations above the usual excess, robust
against the faults themselves. High means that the model, which has seen the rest, did not expect this answer: it may
be wrong, swapped, cut, or right and unusual. It says nothing of usefulness, and nothing where loss or neighbours miss.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

NORMAL = 1.4826
"""The standard deviation of a normal distribution in units of its median absolute deviation."""
THRESHOLD = 6.0
"""Rows above this are worth a look. Losses have long tails; among sound rows few go beyond it."""
BLOCK = 50_000  # rows whose neighbours are looked at together, to bound memory


def surprise(loss: ArrayLike, neighbours: NDArray[np.integer] | Sequence[Sequence[int]]) -> NDArray[np.float32]:
    """Surprise (n,) from loss (n,) and neighbours (n, k), the row numbers of similar rows, -1 where there is none.

    NaN where the row's loss is unknown or no neighbour's is known; zero throughout where all excesses are alike.
    """
    losses = np.asarray(loss, dtype=np.float64)
    excess = np.full(len(losses), np.nan)
    for start in range(0, len(losses), BLOCK):
        own = slice(start, start + BLOCK)
        excess[own] = losses[own] - _usual(losses, np.asarray(neighbours[own], dtype=np.int64), start)
    excess[~np.isfinite(excess)] = np.nan
    known = np.isfinite(excess)
    if not known.any():
        return excess.astype(np.float32)
    centred = excess - np.nanmedian(excess)
    spread = NORMAL * float(np.nanmedian(np.abs(centred)))
    return (centred / spread if spread > 0 else np.where(known, 0.0, np.nan)).astype(np.float32)


def _usual(losses: NDArray[np.float64], rows: NDArray[np.int64], first: int) -> NDArray[np.float64]:
    """The median loss (m,) of the neighbours (m, k) of the rows from `first` on; NaN where none is known."""
    if rows.size == 0:
        return np.full(len(rows), np.nan)
    own = np.arange(first, first + len(rows))[:, None]
    near = np.where((rows >= 0) & (rows != own), losses[rows], np.nan)  # (m, k)
    near.sort(axis=1)  # NaN last
    known = np.isfinite(near).sum(axis=1)
    at = np.arange(len(rows))
    middles = near[at, np.maximum(known - 1, 0) // 2] + near[at, np.minimum(known // 2, near.shape[1] - 1)]
    return np.where(known > 0, middles / 2, np.nan)
