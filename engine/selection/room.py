"""What a strategy is given to fill: a budget, what rows cost, and quotas; and a fill of it in one fixed order.

A *room* stands where a strategy takes a number of rows. Its rules are those of `account`: approved rows first, then the
strategy's best row that fits, until none does. A budget of rows is filled exactly, or it is an error. Chooses no order.
"""

from dataclasses import dataclass

import numpy as np

from engine.errors import EngineError
from engine.selection.account import Account
from engine.selection.quotas import Limits
from engine.selection.reserving import account_for


@dataclass(frozen=True)
class Room:
    """`budget` rows, or with `costs` int64 (n,) of what rows hold, so many tokens or words; and the quotas."""

    budget: int
    limits: Limits
    costs: np.ndarray | None = None
    unit: str = "samples"

    @property
    def exact(self) -> bool:
        """Whether exactly `budget` rows are wanted."""
        return self.costs is None

    def expected(self, candidates: np.ndarray) -> int:
        """About how many rows will be chosen, of candidates (m,)."""
        if self.costs is None or not len(candidates):
            return self.budget
        return int(min(len(candidates), max(1, self.budget / max(1.0, float(self.costs[candidates].mean())))))

    def of(self, rows: np.ndarray) -> "Room":
        """The same over some of the rows, renumbered."""
        costs = None if self.costs is None else self.costs[rows]
        return Room(self.budget, self.limits.of(rows), costs, self.unit)

    def account(self, inside: np.ndarray, order: np.ndarray, *, exactly: bool = False) -> Account:
        """An account with `inside` put in, which holds back what the minimums need, the first of `order` before others.

        Raises `EngineError` as `account_for` does.
        """
        return account_for(
            self.budget, self.limits, inside=inside, order=order, costs=self.costs, exactly=exactly and self.exact
        )

    def short(self, count: int) -> bool:
        """Whether `count` rows are fewer than must be chosen."""
        return self.exact and count < self.budget

    @property
    def tangled(self) -> bool:
        """Whether quotas on several columns may have stopped a fill early."""
        return self.exact and len(self.limits.member) > 1

    def refuse(self, count: int, there: int) -> None:
        """Raise `EngineError` where `count` rows, approved ones with them, are too few; `there` could be chosen."""
        if there == 0:
            raise EngineError(none_left("a score"))
        if count == 0:
            budget = f"{self.budget:,} {'samples' if self.exact else self.unit}"
            raise EngineError(
                f"None of the {there:,} samples that can be selected fits: the budget is {budget}. "
                "Raise the budget or the caps; nothing was selected."
            )
        if not self.short(count):
            return
        if count < min(there, self.budget):
            raise EngineError(
                f"{self.budget:,} samples were asked for, but the caps leave room for only {count:,} of the {there:,} "
                f"that can be selected, {self.budget - count:,} too few. Ask for fewer or widen a cap; nothing was "
                "selected."
            )
        raise EngineError(
            f"{self.budget:,} samples were asked for, but only {there:,} can be selected: the others are rejected, "
            f"left out or without a score. Ask for at most {there}; nothing was selected."
        )


def none_left(lacking: str) -> str:
    """That no row can be chosen, nor is any put in; rows that are no candidates may be without what is `lacking`."""
    return f"No sample can be selected: all are rejected, left out or without {lacking}; nothing was selected."


def filled(room: Room, inside: np.ndarray, order: np.ndarray) -> tuple[np.ndarray, Account]:
    """The rows of `order` (m,), best first, that are taken after `inside`, each that fits; and the account.

    Raises `EngineError` where minimums cannot be met, or a budget of rows cannot be filled.
    """
    account = room.account(inside, order)
    taken = account.fill(order)
    if room.tangled and room.short(account.counted) and len(inside) + len(order) >= room.budget:
        account = room.account(inside, order, exactly=True)
        taken = account.fill(order)
    room.refuse(account.counted, len(inside) + len(order))
    return taken, account
