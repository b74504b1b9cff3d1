"""How a choice stands against its quotas, and how much of each target's influence it holds.

Notation: n pool rows, S the rows chosen, k of them; t target columns. Pure functions of arrays.
"""

from dataclasses import dataclass

import numpy as np

from engine.selection.quotas import NONE, Limits
from engine.selection.strategies import best_first


@dataclass(frozen=True)
class Standing:
    """One bound of one group: `bound` is at least or at most `asked`, `there` can be chosen, `inside` are chosen.

    All in `unit`: rows, or what the budget counts. `inside` is None where nothing was chosen.
    """

    group: str
    bound: str
    asked: int
    there: int
    inside: int | None
    unit: str

    @property
    def lacks(self) -> int:
        """What a minimum lacks: of what is chosen, else of what can be."""
        has = self.there if self.inside is None else self.inside
        return max(0, self.asked - has) if self.bound == "at least" else 0

    @property
    def state(self) -> str:
        """In a word or two: lacks 12, met, room for 3, full."""
        if self.bound == "at least":
            return f"lacks {self.lacks:,}" if self.lacks else "met" if self.inside is not None else "can be met"
        if self.inside is None:
            return "can bind" if self.there > self.asked else "cannot bind"
        return f"room for {self.asked - self.inside:,}" if self.inside < self.asked else "full"


def standings(
    limits: Limits, able: np.ndarray, rows: np.ndarray | None, costs: np.ndarray | None, unit: str
) -> list[Standing]:
    """Every bound of `limits` for the rows `able` bool (n,) that can be chosen and those chosen, None if none are."""
    kinds = [("rows", None)] + ([] if costs is None else [(unit, costs)])
    there = {name: limits.counts(able, cost) for name, cost in kinds}
    inside = {name: None if rows is None else limits.counts(rows, cost) for name, cost in kinds}
    found = []
    for at, group in enumerate(limits.groups):
        for bound, asked, name in (
            ("at least", group.least, "rows"),
            ("at least", group.least_cost, unit),
            ("at most", group.most, "rows"),
            ("at most", group.most_cost, unit),
        ):
            if asked in (0, NONE) and not (bound == "at most" and asked == 0):
                continue
            got = inside[name]
            number = None if got is None else int(got[at])
            found.append(Standing(group.name, bound, int(asked), int(there[name][at]), number, name))
    return found


@dataclass(frozen=True)
class Held:
    """Of the influence on each target column that k rows could have at best: float64 (t,) of the rows chosen, and of k
    rows drawn at random from those that can be chosen. 0 where no row helps the target."""

    chosen: np.ndarray
    random: np.ndarray

    @property
    def least(self) -> int:
        """The column of which the rows chosen hold the smallest share."""
        return int(np.argmin(self.chosen))


def held(matrix: np.ndarray, rows: np.ndarray, able: np.ndarray) -> Held:
    """Shares of the sum of positive scores of `matrix` (n, t): Σ_{i∈S} max(s_i, 0) over that of the k best able rows.

    NaN counts as nothing. One column is worked on at a time.
    """
    k, free = len(rows), np.flatnonzero(able)
    shares = np.zeros((2, matrix.shape[1]))
    for j in range(matrix.shape[1]):
        values = np.nan_to_num(np.maximum(np.asarray(matrix[:, j], np.float64), 0))
        among = values[free]
        best = among[best_first(among, min(k, len(free)))].sum() if len(free) else 0.0
        if best > 0:
            shares[:, j] = min(1.0, values[rows].sum() / best), min(1.0, k * among.mean() / best)
    return Held(shares[0], shares[1])
