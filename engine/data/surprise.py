"""How much less likely a model finds a response than those of similar rows: where wrong and swapped answers show.

Notation: loss_i is the mean response loss of row i in nats, N(i) its neighbours on the map. A row's excess is
e_i = loss_i - median of loss over N(i), so that a kind of task that is hard throughout surprises nobody.
surprise_i = (e_i - median e) / (1.4826 · median |e - median e|): typical deviations above the usual excess, robust
against the faults themselves. High means that the model, which has seen the rest, did not expect this answer: it may
be wrong, swapped, cut, or right and unusual. It says nothing of usefulness, and nothing where loss or neighbours miss.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

NORMAL = 1.4826
"""The standard deviation of a normal distribution in units of its median absolute deviation."""
THRESHOLD = 6.0
"""Rows above this are worth a look. Losses have long tails; among sound rows few go beyond it."""


def surprise(loss: ArrayLike, neighbours: ArrayLike) -> NDArray[np.float32]:
    """Surprise (n,) from loss (n,) and neighbours (n, k), the row numbers of similar rows, -1 where there is none.

    NaN where the row's loss is unknown or no neighbour's is known; zero throughout where all excesses are alike.
    """
    losses = np.asarray(loss, dtype=np.float64)
    rows = np.asarray(neighbours, dtype=np.int64)
    own = np.arange(len(losses))[:, None]
    near = np.where((rows >= 0) & (rows != own), losses[rows], np.nan)  # (n, k)
    known = np.isfinite(losses) & np.isfinite(near).any(axis=1)
    excess = np.full(len(losses), np.nan)
    excess[known] = losses[known] - np.nanmedian(near[known], axis=1)
    if not known.any():
        return excess.astype(np.float32)
    centred = excess - np.nanmedian(excess)
    spread = NORMAL * float(np.nanmedian(np.abs(centred)))
    return (centred / spread if spread > 0 else np.where(known, 0.0, np.nan)).astype(np.float32)
