"""What a selection may still take: a budget, quotas, and the rows held back so that every minimum can be met.

Notation: n rows of cost c_i ≥ 0 (1 where the budget is of rows, else tokens or words), B the budget, T the rows taken,
R the rows *held*: chosen beforehand (`reserving`) such that T ∪ R keeps budget and caps and meets all minimums. A row
of R may always be taken. Another row i may be taken if T ∪ {i} ∪ R' still does, where R' is R without the rows that i
makes needless. So a strategy that always takes its best row that fits ends with all minimums met and no cap broken.
With quotas on one column and a budget of rows that is the greedy choice of a matroid: by score it is the best choice
there is, and by a submodular gain worth at least half of it (Fisher, Nemhauser and Wolsey 1978).

Chooses nothing and knows no scores.
"""

from bisect import insort

import numpy as np

from engine.selection.quotas import NONE, Limits

_WINDOW = 1 << 15
_FEW = 16  # rows that are sooner taken one by one
_STEPS = 4096  # rows between two looks at which still fit, while rows are held


class Account:
    """The state of one selection. `costs` int64 (n,) or None for rows; `held` are R; rows once taken stay."""

    def __init__(
        self, budget: int, limits: Limits, *, costs: np.ndarray | None = None, held: np.ndarray | None = None
    ) -> None:
        """Nothing is taken yet; the rows of `held` keep budget and caps together with what will be put in."""
        n = limits.member.shape[1]
        self.costs = np.ones(n, np.int64) if costs is None else np.asarray(costs, np.int64)
        self.budget, self.limits, self.by_rows = budget, limits, costs is None
        self.taken = np.zeros(n, bool)
        self.left = budget
        self._smallest = int(self.costs.min(initial=NONE))
        groups = limits.groups
        self._most = np.array([[g.most for g in groups], [g.most_cost for g in groups]], np.int64).reshape(2, -1)
        self._least = np.array([[g.least for g in groups], [g.least_cost for g in groups]], np.int64).reshape(2, -1)
        self._needed = set(np.flatnonzero(self._least.any(axis=0)).tolist())
        self._used = np.zeros((2, len(groups)), np.int64)  # rows and costs of T in each group
        self._kept = np.zeros((2, len(groups)), np.int64)  # the same of R
        self._held = np.zeros(n, bool)
        self._cells: dict[tuple[int, ...], list[int]] = {}  # R by the groups its rows are in, cheapest first
        self._held_cost = 0
        rows = np.zeros(0, np.int64) if held is None else np.asarray(held, np.int64)
        for row in rows[np.argsort(self.costs[rows], kind="stable")].tolist():
            self._hold(row, +1)

    @property
    def counted(self) -> int:
        """How many rows are taken."""
        return int(self.taken.sum())

    @property
    def full(self) -> bool:
        """Whether less is left of the budget than any row costs."""
        return self.left < self._smallest

    @property
    def bound(self) -> bool:
        """Whether all that is left is held for the minimums."""
        return bool(self._held_cost) and self.left <= self._held_cost

    def put(self, rows: np.ndarray) -> None:
        """Take rows that are in whatever holds, such as approved ones."""
        self._count_many(np.asarray(rows, np.int64))

    def may(self, rows: np.ndarray) -> np.ndarray:
        """bool (m,): which of `rows` could be taken next; a row it refuses cannot, one it lets pass may be refused."""
        cost = self.costs[rows]
        fits: np.ndarray = ~self.taken[rows] & (cost <= self.left)
        spare, open_, needed = cost <= self.left - self._held_cost, np.ones(len(rows), bool), np.zeros(len(rows), bool)
        lacking: np.ndarray = np.any(self._used < self._least, axis=0)
        for member in self.limits.member:
            group, known = member[rows], member[rows] >= 0
            g = group[known]
            used, kept = self._used[:, g], self._kept[:, g]
            fits[known] &= (used[0] + 1 <= self._most[0, g]) & (used[1] + cost[known] <= self._most[1, g])
            open_[known] &= (used[0] + kept[0] + 1 <= self._most[0, g]) & (
                used[1] + kept[1] + cost[known] <= self._most[1, g]
            )
            needed[known] |= lacking[g]
        return fits & ((spare & open_) | needed | self._held[rows])

    def take(self, row: int) -> bool:
        """Take `row` if it fits; False if it does not, and nothing changes then."""
        cost = int(self.costs[row])
        if self.taken[row] or cost > self.left:
            return False
        if self._held[row]:
            self._hold(row, -1)
            self._count(row)
            return True
        groups = self._groups(row)
        released = self._needless(groups, cost) if self._cells and self._needed.intersection(groups) else []
        for other in released:
            self._hold(other, -1)
        if cost <= self.left - self._held_cost and self._open(groups, cost):
            self._count(row)
            return True
        for other in released:
            self._hold(other, +1)
        return False

    def fill(self, order: np.ndarray) -> np.ndarray:
        """Take the rows of `order` (m,), best first, each that fits, until none does; the rows taken, in that order."""
        found: list[np.ndarray] = []
        rest = np.asarray(order, np.int64)
        while len(rest) and not self.full:
            passed = self._pass(rest)
            found += passed
            if not self.limits.lower or not passed:  # only rows that were held can make room for one passed over
                break
            rest = rest[self.may(rest)]
        return np.concatenate([np.zeros(0, np.int64), *found])

    def lacks(self) -> np.ndarray:
        """What is missing of each minimum, in rows and in costs; int64 (2, groups)."""
        return np.maximum(self._least - self._used, 0)

    def _pass(self, rest: np.ndarray) -> list[np.ndarray]:
        found, at = [], 0
        while at < len(rest) and not self.full:
            size = _STEPS if self._cells else _WINDOW
            window = rest[at : at + size]
            window = window[self.may(window)]
            if self._cells:
                found += self._around_held(window)
            else:
                found += self._run(window)
            at += size
        return [rows for rows in found if len(rows)]

    def _around_held(self, rows: np.ndarray) -> list[np.ndarray]:
        """Take the rows that fit in their order while rows are held: at once those that no minimum is about."""
        apart = self._held[rows]
        for member in self.limits.member:
            apart |= np.isin(member[rows], list(self._needed))
        found: list[np.ndarray] = []
        edges = np.flatnonzero(np.r_[True, apart[1:] != apart[:-1], True]) if len(rows) else np.zeros(0, int)
        for start, end in zip(edges[:-1].tolist(), edges[1:].tolist()):
            some = rows[start:end]
            if apart[start] or len(some) < _FEW:
                found.append(np.array([row for row in some.tolist() if self.take(row)], np.int64))
            else:
                found += self._run(some[self.may(some)])
        return found

    def _run(self, rows: np.ndarray) -> list[np.ndarray]:
        """Take the rows that fit in their order, beside those held: as many at once as break no bound."""
        found = []
        while len(rows):
            fits = self._prefix(rows)
            some = rows[:fits]
            self._count_many(some)
            found.append(some)
            rows = rows[fits:]
            rows = rows[self.may(rows)]
        return found

    def _prefix(self, rows: np.ndarray) -> int:
        """How many of the first rows fit together."""
        cost = self.costs[rows]
        good = np.cumsum(cost) <= self.left - self._held_cost
        taken, spent_on = self._used + self._kept
        for member in self.limits.member:
            group = member[rows]
            by = np.argsort(group, kind="stable")
            g = group[by]
            number, spent = np.arange(1, len(g) + 1), np.cumsum(cost[by])
            first = np.flatnonzero(np.r_[True, g[1:] != g[:-1]])
            run = np.repeat(first, np.diff(np.r_[first, len(g)]))
            number, spent = number - run, spent - spent[run] + cost[by][run]  # within the group
            fine = (g < 0) | ((taken[g] + number <= self._most[0, g]) & (spent_on[g] + spent <= self._most[1, g]))
            good[by] &= fine
        return len(rows) if good.all() else int(np.argmin(good))

    def _groups(self, row: int) -> tuple[int, ...]:
        return tuple(g for g in self.limits.member[:, row].tolist() if g >= 0)

    def _open(self, groups: tuple[int, ...], cost: int) -> bool:
        """Whether the caps leave room for another row beside those held."""
        return all(
            self._used[0, g] + self._kept[0, g] + 1 <= self._most[0, g]
            and self._used[1, g] + self._kept[1, g] + cost <= self._most[1, g]
            for g in groups
        )

    def _needless(self, groups: tuple[int, ...], cost: int) -> list[int]:
        """Held rows that no minimum needs once a row of these groups is taken, the most expensive first."""
        total = self._used + self._kept
        for g in groups:
            total[:, g] += (1, cost)
        found: list[int] = []
        for cell in [cell for cell in self._cells if set(cell) & set(groups)]:
            for row in reversed(self._cells[cell]):
                amount = (1, int(self.costs[row]))
                if any(total[kind, g] - amount[kind] < self._least[kind, g] for g in cell for kind in (0, 1)):
                    break
                found.append(row)
                for g in cell:
                    total[:, g] -= amount
        return found

    def _hold(self, row: int, sign: int) -> None:
        """Put a row into R, or take it out."""
        groups, cost = self._groups(row), int(self.costs[row])
        self._held[row] = sign > 0
        self._held_cost += sign * cost
        for g in groups:
            self._kept[0, g] += sign
            self._kept[1, g] += sign * cost
        cell = self._cells.setdefault(groups, [])
        if sign < 0:
            cell.remove(row)
        else:
            insort(cell, row, key=self.costs.__getitem__)
        if not cell:
            del self._cells[groups]

    def _count(self, row: int) -> None:
        cost = int(self.costs[row])
        self.taken[row] = True
        self.left -= cost
        for g in self._groups(row):
            self._used[0, g] += 1
            self._used[1, g] += cost

    def _count_many(self, rows: np.ndarray) -> None:
        self.taken[rows] = True
        self.left -= int(self.costs[rows].sum())
        self._used[0] += self.limits.counts(rows)
        self._used[1] += self.limits.counts(rows, self.costs)
