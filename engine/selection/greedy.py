"""Greedy maximisation of a monotone submodular objective: lazily, or among random candidates.

The greedy choice of k rows is worth at least 1 − 1/e of the best k rows (Nemhauser et al. 1978; rows put in beforehand
count as given). *Lazy* (Minoux 1978): what a row added to a smaller set bounds what it adds now, so only rows whose
bound is at the top are looked at again, several at once; the choice is exactly the greedy one. *Stochastic*
(Mirzasoleiman et al. 2015): each pick is the best of (m/k)·ln(1/ε) of the m candidates, drawn anew; 1 − 1/e − ε in
expectation. Rows that add equally much go by `ties` (n,), the highest first, and then by row order.

With an `account` of budget and quotas each pick is the best row that fits, and k only bounds how many: it ends where no
row fits. Worth at least half of the best under quotas on one column (Fisher, Nemhauser and Wolsey 1978).

Knows nothing of kernels, scores or decisions.
"""

import heapq
from dataclasses import dataclass

import numpy as np

from engine.errors import EngineError
from engine.progress import Reporter, Silent
from engine.selection.account import Account
from engine.selection.objectives import Objective
from engine.selection.similarity import parts

_FIRST_PASS = 4096  # rows asked for between two looks at a cancellation
_BATCH = 8
_LARGEST_BATCH = 512
Rows = np.ndarray | None


@dataclass(frozen=True)
class Picks:
    """`order` int64 (k,): rows as they were taken, those put in beforehand first; `gains` float64 (k,) of each."""

    order: np.ndarray
    gains: np.ndarray


def lazy_greedy(
    objective: Objective,
    k: int,
    *,
    candidates: Rows = None,
    start: Rows = None,
    batch: int = _BATCH,
    ties: Rows = None,
    account: Account | None = None,
    reporter: Reporter | None = None,
) -> Picks:
    """k rows: those of `start`, then always the candidate that adds most. `objective` keeps them.

    `candidates` are row numbers, all rows if None; `batch` rows at the top are looked at together, twice as many each
    time until the best is sure. Raises `EngineError` where start and candidates do not make k.
    """
    listener = reporter or Silent()
    picks = _Picking(objective, k, candidates, start, listener, account)
    first = _first_gains(objective, picks.left, listener) if picks.wanted else np.zeros(0)
    bounds = _Bounds(picks.left, first, _places(ties, len(objective))) if picks.wanted else None
    while bounds is not None and len(picks.order) < k and _settled(bounds, objective, picks, batch):
        picks.pick(*bounds.best())
    return picks.done()


def stochastic_greedy(
    objective: Objective,
    k: int,
    *,
    candidates: Rows = None,
    start: Rows = None,
    epsilon: float = 0.1,
    seed: int = 0,
    ties: Rows = None,
    account: Account | None = None,
    expected: int = 0,
    reporter: Reporter | None = None,
) -> Picks:
    """k rows: those of `start`, then the best of a sample of the candidates each time. Raises as `lazy_greedy` does.

    `expected` is how many rows to reckon with where an account decides; k if 0.
    """
    picks = _Picking(objective, k, candidates, start, reporter or Silent(), account)
    size = sample_size(len(picks.left), min(expected, k) - len(picks.order) if expected else picks.wanted, epsilon)
    generator = np.random.default_rng(seed)
    place = _places(ties, len(objective))
    left, m = picks.left.copy(), len(picks.left)
    while len(picks.order) < k and m:
        drawn = generator.choice(m, size=min(size, m), replace=False, shuffle=False)
        drawn = drawn[np.argsort(place[left[drawn]])]
        fits = drawn[picks.may(left[drawn])]
        if not len(fits):  # leave out all that do not fit, and draw again
            left = left[:m][picks.may(left[:m])]
            m = len(left)
            continue
        gains = objective.gains(left[fits])
        at = int(fits[int(np.argmax(gains))])
        if picks.accepts(int(left[at])):
            picks.pick(int(left[at]), float(gains.max()))
        left[at] = left[m - 1]
        m -= 1
    return picks.done()


def sample_size(candidates: int, wanted: int, epsilon: float) -> int:
    """⌈(m/k)·ln(1/ε)⌉, the rows looked at for each pick."""
    if not 0 < epsilon < 1 - np.exp(-1):
        raise EngineError(f"The loss accepted for speed must lie between 0 and 1 − 1/e, got epsilon {epsilon}.")
    return max(1, int(np.ceil(candidates / max(wanted, 1) * np.log(1 / epsilon))))


class _Picking:
    """The rows taken so far, and the candidates left at the start: ascending, without those put in beforehand."""

    def __init__(
        self, objective: Objective, k: int, candidates: Rows, start: Rows, reporter: Reporter, account: Account | None
    ) -> None:
        given = np.zeros(0, np.int64) if start is None else np.asarray(start, np.int64)
        free = np.arange(len(objective)) if candidates is None else np.asarray(candidates, np.int64)
        self.left = np.setdiff1d(free, given)
        self.wanted = k - len(given)
        if len(np.unique(given)) != len(given) or not 0 <= self.wanted <= len(self.left):
            raise EngineError(
                f"{k:,} samples were asked for: {len(given):,} are put in (each once) and {len(self.left):,} others "
                "can be chosen. Nothing was selected."
            )
        self.objective, self.reporter, self.account = objective, reporter, account
        self.order: list[int] = []
        self.gains: list[float] = []
        reporter.phase("choosing", k)
        for row in given.tolist():
            self.pick(row, float(objective.gains(np.array([row]))[0]))

    def may(self, rows: np.ndarray) -> np.ndarray:
        """bool (m,): the rows that could be next."""
        return np.ones(len(rows), bool) if self.account is None else self.account.may(rows)

    def accepts(self, row: int) -> bool:
        """Whether `row` fits; it counts as taken then."""
        return self.account is None or self.account.take(row)

    def pick(self, row: int, gain: float) -> None:
        self.objective.add(row)
        self.order.append(row)
        self.gains.append(gain)
        self.reporter.advance(1)
        self.reporter.check()

    def done(self) -> Picks:
        return Picks(np.array(self.order, np.int64), np.array(self.gains, np.float64))


class _Bounds:
    """Upper bounds of what rows add, highest first and then by `place` (n,): a heap, fed from the rows so sorted.

    Heap entries are (−bound, place, how many rows were taken when the bound was what the row adds).
    """

    def __init__(self, rows: np.ndarray, gains: np.ndarray, place: np.ndarray) -> None:
        order = np.lexsort((place[rows], -gains))
        self.rows, self.gains = rows[order], gains[order]
        self.place, self.row_at = place, np.argsort(place)
        self.turn = -1  # that of the first gains, set when they are first looked at
        self.at = 0
        self.heap: list[tuple[float, int, int]] = []

    def sure(self, turn: int) -> bool:
        """Whether the highest bound is what its row adds in this turn."""
        self.feed()
        return self.heap[0][2] == turn

    @property
    def top(self) -> int:
        """The row of the highest bound."""
        return int(self.row_at[self.heap[0][1]])

    def take(self, count: int, turn: int) -> np.ndarray:
        """Up to `count` rows of the highest bounds that must be looked at in this turn, removed."""
        places: list[int] = []
        while len(places) < count and self.feed() and self.heap[0][2] != turn:
            places.append(heapq.heappop(self.heap)[1])
        return self.row_at[places].astype(np.int64)

    def put(self, rows: np.ndarray, gains: np.ndarray, turn: int) -> None:
        """What rows add in this turn."""
        for place, gain in zip(self.place[rows].tolist(), gains.tolist(), strict=True):
            heapq.heappush(self.heap, (-gain, place, turn))

    def best(self) -> tuple[int, float]:
        """The row of the highest bound, and that bound; removed."""
        bound, place, _ = heapq.heappop(self.heap)
        return int(self.row_at[place]), -bound

    def feed(self) -> bool:
        """Move to the heap what could be at its top; False where no row is left."""
        while self.at < len(self.rows):
            head = (-float(self.gains[self.at]), int(self.place[self.rows[self.at]]), self.turn)
            if self.heap and self.heap[0] < head:
                break
            heapq.heappush(self.heap, head)
            self.at += 1
        return bool(self.heap)


def _settled(bounds: _Bounds, objective: Objective, picks: _Picking, batch: int) -> bool:
    """Bring the row that adds most among those that fit to the top; False where none fits any more."""
    size, turn = batch, len(picks.order)
    bounds.turn = turn if bounds.turn < 0 else bounds.turn
    while bounds.feed():
        if not bounds.sure(turn):
            rows = bounds.take(size, turn)
            rows = rows[picks.may(rows)]
            if len(rows):
                bounds.put(rows, objective.gains(rows), turn)
            size = min(2 * size, _LARGEST_BATCH)
        elif picks.accepts(bounds.top):
            return True
        else:
            bounds.best()
    return False


def _places(ties: Rows, n: int) -> np.ndarray:
    """Where each row stands among rows that add equally much: by falling `ties`, NaN last, then by row order."""
    place = np.arange(n)
    if ties is not None:
        place[np.argsort(-np.asarray(ties, np.float64), kind="stable")] = np.arange(n)
    return place


def _first_gains(objective: Objective, rows: np.ndarray, reporter: Reporter) -> np.ndarray:
    """What every row adds at the start, float64, in pieces."""
    gains = np.empty(len(rows), np.float64)
    for part in parts(len(rows), _FIRST_PASS):
        reporter.check()
        gains[part] = objective.gains(rows[part])
    return gains
