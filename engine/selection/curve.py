"""How what was gained grows with the rows chosen: the curve, its knee, and one sentence about both.

Notation: k rows in the order they were taken, g_i ≥ 0 what row i added. Does not choose rows and draws nothing.
"""

from dataclasses import dataclass

import numpy as np

from engine.selection.submodular import knee

MOST = 0.7  # of all that is gained, and each further row less than
LITTLE = 1 / 3  # of what a row up to the knee adds: then further rows add little


@dataclass(frozen=True)
class Curve:
    """`shares` float32 (k,): what the first 1, 2, … k rows gained, as a share of all that was gained; `knee` from 1."""

    shares: np.ndarray
    knee: int

    @property
    def at_knee(self) -> float:
        """The share that the rows up to the knee gained."""
        return float(self.shares[self.knee - 1])

    @property
    def sentence(self) -> str:
        """What the curve says about the size of the selection."""
        k = len(self.shares)
        if self.knee == k:
            return f"Each of the {k:,} samples adds about as much as the others; more samples would add as much again."
        first = "The first sample gains" if self.knee == 1 else f"The first {self.knee:,} samples gain"
        each, after = self.at_knee / self.knee, (1 - self.at_knee) / (k - self.knee)
        rest = "add little" if self.at_knee >= MOST and after <= LITTLE * each else "add less each"
        return f"{first} {100 * self.at_knee:.0f} %; further ones {rest}."


def curve_of(gains: np.ndarray | None) -> Curve | None:
    """The curve of the `gains` (k,) in the order taken; None without gains, and where nothing was gained at all."""
    if gains is None:
        return None
    bend = knee(gains)
    if bend == 0:
        return None
    grown = np.cumsum(np.asarray(gains, np.float64))
    return Curve((grown / grown[-1]).astype(np.float32), bend)
