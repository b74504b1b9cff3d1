"""Greedy maximisation of a monotone submodular objective: lazily, or among random candidates.

The greedy choice of k rows is worth at least 1 − 1/e of the best k rows (Nemhauser et al. 1978; rows put in beforehand
count as given). *Lazy* (Minoux 1978): what a row added to a smaller set bounds what it adds now, so only rows whose
bound is at the top are looked at again, several at once; the choice is exactly the greedy one. *Stochastic*
(Mirzasoleiman et al. 2015): each pick is the best of (m/k)·ln(1/ε) of the m candidates, drawn anew; 1 − 1/e − ε in
expectation. Rows that add equally much go by row order.

Knows nothing of kernels, scores or decisions.
"""

import heapq
from dataclasses import dataclass

import numpy as np

from engine.errors import EngineError
from engine.progress import Reporter, Silent
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
    reporter: Reporter | None = None,
) -> Picks:
    """k rows: those of `start`, then always the candidate that adds most. `objective` keeps them.

    `candidates` are row numbers, all rows if None; `batch` rows at the top are looked at together, twice as many each
    time until the best is sure. Raises `EngineError` where start and candidates do not make k.
    """
    listener = reporter or Silent()
    picks = _Picking(objective, k, candidates, start, listener)
    bounds = _Bounds(picks.left, _first_gains(objective, picks.left, listener) if picks.wanted else picks.left)
    for turn in range(picks.wanted):
        size = batch
        while not bounds.sure(turn):
            rows = bounds.take(size, turn)
            bounds.put(rows, objective.gains(rows), turn)
            size = min(2 * size, _LARGEST_BATCH)
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
    reporter: Reporter | None = None,
) -> Picks:
    """k rows: those of `start`, then the best of a sample of the candidates each time. Raises as `lazy_greedy` does."""
    picks = _Picking(objective, k, candidates, start, reporter or Silent())
    size = sample_size(len(picks.left), picks.wanted, epsilon)
    generator = np.random.default_rng(seed)
    left, m = picks.left.copy(), len(picks.left)
    for _ in range(picks.wanted):
        drawn = generator.choice(m, size=min(size, m), replace=False, shuffle=False)
        drawn = drawn[np.argsort(left[drawn])]
        gains = objective.gains(left[drawn])
        at = int(np.argmax(gains))
        picks.pick(int(left[drawn[at]]), float(gains[at]))
        left[drawn[at]] = left[m - 1]
        m -= 1
    return picks.done()


def sample_size(candidates: int, wanted: int, epsilon: float) -> int:
    """⌈(m/k)·ln(1/ε)⌉, the rows looked at for each pick."""
    if not 0 < epsilon < 1 - np.exp(-1):
        raise EngineError(f"The loss accepted for speed must lie between 0 and 1 − 1/e, got epsilon {epsilon}.")
    return max(1, int(np.ceil(candidates / max(wanted, 1) * np.log(1 / epsilon))))


class _Picking:
    """The rows taken so far, and the candidates left at the start: ascending, without those put in beforehand."""

    def __init__(self, objective: Objective, k: int, candidates: Rows, start: Rows, reporter: Reporter) -> None:
        given = np.zeros(0, np.int64) if start is None else np.asarray(start, np.int64)
        free = np.arange(len(objective)) if candidates is None else np.asarray(candidates, np.int64)
        self.left = np.setdiff1d(free, given)
        self.wanted = k - len(given)
        if len(np.unique(given)) != len(given) or not 0 <= self.wanted <= len(self.left):
            raise EngineError(
                f"{k:,} rows were asked for: {len(given):,} are put in (each once) and {len(self.left):,} others can "
                "be chosen. Nothing was selected."
            )
        self.objective, self.reporter = objective, reporter
        self.order: list[int] = []
        self.gains: list[float] = []
        reporter.phase("choosing", k)
        for row in given.tolist():
            self.pick(row, float(objective.gains(np.array([row]))[0]))

    def pick(self, row: int, gain: float) -> None:
        self.objective.add(row)
        self.order.append(row)
        self.gains.append(gain)
        self.reporter.advance(1)
        self.reporter.check()

    def done(self) -> Picks:
        return Picks(np.array(self.order, np.int64), np.array(self.gains, np.float64))


class _Bounds:
    """Upper bounds of what rows add, highest first and then by row: a heap, fed from the rows sorted by first gain.

    Heap entries are (−bound, row, the turn in which the bound was what the row adds).
    """

    def __init__(self, rows: np.ndarray, gains: np.ndarray) -> None:
        order = np.argsort(-gains, kind="stable")
        self.rows, self.gains = rows[order], gains[order]
        self.at = 0
        self.heap: list[tuple[float, int, int]] = []

    def sure(self, turn: int) -> bool:
        """Whether the highest bound is what its row adds in this turn."""
        self._feed()
        return self.heap[0][2] == turn

    def take(self, count: int, turn: int) -> np.ndarray:
        """Up to `count` rows of the highest bounds that must be looked at in this turn, removed."""
        rows: list[int] = []
        while len(rows) < count and self._feed() and self.heap[0][2] != turn:
            rows.append(heapq.heappop(self.heap)[1])
        return np.array(rows, np.int64)

    def put(self, rows: np.ndarray, gains: np.ndarray, turn: int) -> None:
        """What rows add in this turn."""
        for row, gain in zip(rows.tolist(), gains.tolist(), strict=True):
            heapq.heappush(self.heap, (-gain, row, turn))

    def best(self) -> tuple[int, float]:
        """The row of the highest bound, and that bound; removed."""
        bound, row, _ = heapq.heappop(self.heap)
        return row, -bound

    def _feed(self) -> bool:
        """Move to the heap what could be at its top; False where no row is left."""
        while self.at < len(self.rows):
            head = (-float(self.gains[self.at]), int(self.rows[self.at]), 0)
            if self.heap and self.heap[0] < head:
                break
            heapq.heappush(self.heap, head)
            self.at += 1
        return bool(self.heap)


def _first_gains(objective: Objective, rows: np.ndarray, reporter: Reporter) -> np.ndarray:
    """What every row adds at the start, float64, in pieces."""
    gains = np.empty(len(rows), np.float64)
    for part in parts(len(rows), _FIRST_PASS):
        reporter.check()
        gains[part] = objective.gains(rows[part])
    return gains
