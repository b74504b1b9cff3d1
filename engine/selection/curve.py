"""How what was gained grows with the rows chosen: the curve, its knee, and one sentence about both.

Notation: k rows in the order they were taken, g_i ≥ 0 what row i added. Where a strategy tells no gains, scores stand
in for them: the sum of scores of the first rows by score, against that of the rows chosen and of rows drawn at random.
Does not choose rows and draws nothing.
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


@dataclass(frozen=True)
class Ranked:
    """`shares` float32 (m,): the sum of the 1, 2, … m highest scores, as a share of the sum of all positive ones.

    `knee` from 1: where the positive part bends most. `count` rows were chosen; their sum is `chosen`, that of the best
    as many `best`, and of as many at random `random`, all as such shares.
    """

    shares: np.ndarray
    knee: int
    count: int
    chosen: float
    best: float
    random: float

    @property
    def sentence(self) -> str:
        """What the rows chosen hold, beside the best and random ones."""
        k = f"{self.count:,} samples"
        return (
            f"The {k} chosen hold {100 * self.chosen:.0f} % of all positive scores; the {k} of highest score hold "
            f"{100 * self.best:.0f} %, as many at random {100 * self.random:.0f} %. The curve bends most at "
            f"{self.knee:,}: further samples add less each than those before."
        )


def ranked(score: np.ndarray, able: np.ndarray, rows: np.ndarray) -> Ranked | None:
    """The curve of `score` (n,) over the rows `able` bool (n,) that can be chosen; None where no score is positive."""
    values = np.asarray(score, np.float64)[able]
    values = np.sort(values[np.isfinite(values)])[::-1]
    total = float(values[values > 0].sum())
    if total <= 0:
        return None
    shares = np.cumsum(values) / total
    k, own = len(rows), np.asarray(score, np.float64)[rows]
    best = float(shares[min(k, len(shares)) - 1]) if k else 0.0
    chosen, random = float(own[np.isfinite(own)].sum()) / total, k * float(values.mean()) / total
    return Ranked(shares.astype(np.float32), knee(values[values > 0]), k, chosen, best, random)


def curve_of(gains: np.ndarray | None) -> Curve | None:
    """The curve of the `gains` (k,) in the order taken; None without gains, and where nothing was gained at all."""
    if gains is None:
        return None
    bend = knee(gains)
    if bend == 0:
        return None
    grown = np.cumsum(np.asarray(gains, np.float64))
    return Curve((grown / grown[-1]).astype(np.float32), bend)
