"""What goes into an InfluenceNetwork and comes out of it, brought to one scale and back.

Notation. An embedding is made of parts side by side (a sentence embedding, a lexical one, …). Each part of the rows is
centred on the labelled rows' mean and divided by their root mean square length, and then given the same length in all,
√30, so that no part outweighs another by its units; items are moved and scaled by the very same numbers, because the
similarity of a row and an item means something only on one scale. Labels are brought to mean 0 and spread 1.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

INPUT_LENGTH = math.sqrt(30.0)
NOISE = 1e-6  # a part whose rows differ by a smaller share of their mean differs by rounding alone


@dataclass(frozen=True)
class Scaling:
    """`shift` and `factor` (d,) float32 of the inputs, or of rows alone; `items_alike`: items have the same form.

    `mean` and `spread` are those of the labels: a network's output times spread plus mean is an influence.
    """

    shift: np.ndarray
    factor: np.ndarray
    items_alike: bool
    mean: float = 0.0
    spread: float = 1.0

    @cached_property
    def moves_nothing(self) -> bool:
        """Whether inputs stay as they are."""
        return not self.shift.any() and bool((self.factor == 1).all())

    @classmethod
    def of(
        cls, rows: np.ndarray, labels: np.ndarray, *, parts: Sequence[int], items_alike: bool, on: bool
    ) -> "Scaling":
        """From labelled rows (m, d), made of `parts`, and their labels (m, u), NaN where a pair has none.

        `on` False changes nothing. A part that is the same in all rows becomes 0 everywhere, and constant labels keep
        spread 1, so that nothing is divided by zero.
        """
        width = rows.shape[1]
        if not on:
            return cls(np.zeros(width, np.float32), np.ones(width, np.float32), items_alike)
        shift = rows.mean(axis=0, dtype=np.float64)
        factor, start = np.ones(width), 0
        for part in parts:
            here = slice(start, start + part)
            length = _length(rows[:, here] - shift[here])
            varies = length > NOISE * _length(shift[here])
            factor[here] = INPUT_LENGTH / math.sqrt(len(parts)) / length if varies else 0.0
            start += part
        known = labels[np.isfinite(labels)].astype(np.float64)
        spread = float(known.std())
        spread = spread if spread > 1e-9 * max(1e-30, float(np.abs(known).max())) else 1.0
        return cls(shift.astype(np.float32), factor.astype(np.float32), items_alike, float(known.mean()), spread)

    def rows(self, values: np.ndarray) -> Tensor:
        """Rows (m, d) as the network reads them; the very array where nothing is to be moved."""
        if self.moves_nothing:
            return torch.from_numpy(np.require(values, np.float32, "W"))
        moved = np.asarray(values, np.float32) - self.shift
        moved *= self.factor
        return torch.from_numpy(moved)

    def items(self, values: np.ndarray) -> Tensor:
        """Items (u, e) as the network reads them."""
        return self.rows(values) if self.items_alike else torch.from_numpy(np.asarray(values, np.float32))

    def labels(self, values: np.ndarray) -> np.ndarray:
        """Labels (m, u) as the network learns them."""
        return ((np.asarray(values, np.float64) - self.mean) / self.spread).astype(np.float32)

    def influence(self, output: Tensor) -> np.ndarray:
        """The network's output as influence, float32."""
        return (output.cpu().numpy() * np.float32(self.spread) + np.float32(self.mean)).astype(np.float32)


def _length(rows: np.ndarray) -> float:
    """The root mean square length of rows (m, d), or of one (d,)."""
    return math.sqrt(float((rows**2).sum(axis=-1).mean()))
