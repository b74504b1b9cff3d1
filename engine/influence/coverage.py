"""Choosing rows that cover a set of embeddings: k-means++, farthest point, randomly pivoted Cholesky.

Notation. m rows with embeddings (m, e) float32, all different. Each method keeps one number per row, how badly it is
covered: the squared distance to the nearest pick (k-means++ draws in proportion to it, farthest point takes the
largest), or the diagonal of the residual kernel K − K_·S K_SS⁻¹ K_S· (RPCholesky draws in proportion to it).

Picks are made in blocks, yet distributed as one by one. The numbers only fall, so a row drawn from the old numbers and
kept with probability new/old is a draw from the new ones (rejection); and the largest among a block of old leaders
that beats every old number outside the block is the largest of all. Inside a block only its own rows are updated; all
others follow with one matrix product per block.
"""

from collections.abc import Callable
from dataclasses import dataclass
from hashlib import blake2b

import numpy as np

from engine.influence.kernels import DIAGONALS, KERNELS, KernelName

BLOCK = 128
ROUNDING = 1e-6  # of a row's squared norm, or of its kernel value: below, a remainder is rounding


@dataclass(frozen=True)
class Cover:
    """Picks (count,) int64 in order, and sentences on anything unusual."""

    picks: np.ndarray
    notes: tuple[str, ...] = ()


Update = Callable[[np.ndarray, np.ndarray], np.ndarray]


def distinct(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Positions of the first of every set of identical rows (m, e), and of all others; both ascending."""
    seen: dict[bytes, int] = {}
    first = np.zeros(len(rows), dtype=bool)
    for i in range(len(rows)):
        key = blake2b((rows[i] + 0.0).tobytes(), digest_size=16).digest()  # + 0.0: one zero, not two
        first[i] = seen.setdefault(key, i) == i
    return np.flatnonzero(first), np.flatnonzero(~first)


def k_means_pp(rows: np.ndarray, count: int, generator: np.random.Generator, *, block: int = BLOCK) -> Cover:
    """`count` of the rows (m, e), each drawn in proportion to its squared distance to the picks before it."""
    space = _Distances(rows)
    start = int(generator.integers(len(rows))) if count else 0
    return _by_rejection(space, count, generator, block, start)


def rp_cholesky(
    rows: np.ndarray,
    count: int,
    generator: np.random.Generator,
    *,
    kernel: KernelName,
    parameter: float,
    block: int = BLOCK,
) -> Cover:
    """`count` of the rows (m, e), each drawn in proportion to the diagonal of the kernel's residual given the others.

    `parameter` is the kernel's bandwidth or intercept. (Chen, Epperly, Tropp, Webber 2022, with rejection sampling.)
    """
    return _by_rejection(_Residual(rows, kernel, parameter, count), count, generator, block, None)


def farthest_point(rows: np.ndarray, count: int, generator: np.random.Generator, *, block: int = BLOCK) -> Cover:
    """`count` of the rows (m, e): a random one, then always the row farthest from its nearest pick."""
    space = _Distances(rows)
    picks: list[int] = []
    if count:
        picks = [int(generator.integers(len(rows)))]
        space.take(np.array(picks))
    while len(picks) < count and space.left.max() > 0:
        order = np.argsort(-space.left, kind="stable")
        leaders, outside = order[:block], space.left[order[block]] if len(order) > block else -1.0
        here = _greedy(space, leaders, float(outside), count - len(picks))
        space.take(here)
        picks += here.tolist()
    return _completed(picks, count, len(rows), generator)


def _greedy(space: "_Distances", leaders: np.ndarray, outside: float, most: int) -> np.ndarray:
    """Farthest points among the leaders, as long as each provably beats every row outside them."""
    among = space.between(leaders)  # (b, b)
    left = space.left[leaders].copy()
    chosen: list[int] = []
    while len(chosen) < most:
        best = int(np.argmax(left))
        if left[best] <= 0 or (chosen and left[best] < outside):
            break
        chosen.append(best)
        left = np.minimum(left, among[best])
        left[best] = 0
    return leaders[np.array(chosen, dtype=np.int64)]


def _by_rejection(
    space: "_Distances | _Residual", count: int, generator: np.random.Generator, block: int, start: int | None
) -> Cover:
    picks: list[int] = []
    if start is not None and count:
        picks = [start]
        space.take(np.array(picks))
    while len(picks) < count and space.left.max() > 0:
        old = space.left.astype(np.float64)
        proposed = generator.choice(len(old), size=block, p=old / old.sum())
        here = space.accept(proposed, old[proposed], generator.random(block), count - len(picks))
        space.take(here)
        picks += here.tolist()
    return _completed(picks, count, len(space.left), generator)


def _completed(picks: list[int], count: int, rows: int, generator: np.random.Generator) -> Cover:
    """Where rounding sees nothing left to cover, the rest is drawn uniformly, and said."""
    missing = count - len(picks)
    if missing <= 0:
        return Cover(np.array(picks, dtype=np.int64))
    others = np.setdiff1d(np.arange(rows), np.array(picks, dtype=np.int64))
    drawn = generator.permutation(others)[:missing]
    note = f"After {len(picks)} landmarks all embeddings were covered to rounding; {missing} were drawn uniformly."
    return Cover(np.concatenate([np.array(picks, dtype=np.int64), drawn]), (note,))


class _Distances:
    """Squared distances of rows to their nearest pick; `left` (m,) starts infinite."""

    def __init__(self, rows: np.ndarray) -> None:
        self.rows = rows - rows.mean(axis=0, dtype=np.float64).astype(np.float32) if len(rows) else rows
        self.norms = np.einsum("ij,ij->i", self.rows, self.rows)
        self.left = np.full(len(rows), np.inf, dtype=np.float32)

    def between(self, some: np.ndarray) -> np.ndarray:
        """Squared distances (b, b) among some rows."""
        return self._squares(some, some)

    def _squares(self, ones: np.ndarray, others: np.ndarray) -> np.ndarray:
        sums = self.norms[ones][:, None] + self.norms[others][None]
        squares = sums - 2 * (self.rows[ones] @ self.rows[others].T)
        squares[squares < ROUNDING * sums] = 0
        return squares

    def take(self, picks: np.ndarray) -> None:
        """Let the picks (b,) cover every row."""
        if not len(picks):
            return
        for start in range(0, len(self.rows), 8192):
            some = np.arange(start, min(start + 8192, len(self.rows)))
            self.left[some] = np.minimum(self.left[some], self._squares(some, picks).min(axis=1))
        self.left[picks] = 0

    def accept(self, proposed: np.ndarray, old: np.ndarray, luck: np.ndarray, most: int) -> np.ndarray:
        """The proposals kept, in order: each with probability (distance now)/(distance when drawn)."""
        among, left = self.between(proposed), old.copy()
        kept: list[int] = []
        for i in range(len(proposed)):
            if len(kept) < most and luck[i] * old[i] < left[i]:
                kept.append(i)
                left = np.minimum(left, among[i])
                left[proposed == proposed[i]] = 0
        return proposed[np.array(kept, dtype=np.int64)]


class _Residual:
    """The diagonal `left` (m,) of a kernel's residual given the picks, with the factor F (m, count), K ≈ F Fᵀ."""

    def __init__(self, rows: np.ndarray, kernel: KernelName, parameter: float, count: int) -> None:
        centre = rows.mean(axis=0, dtype=np.float64).astype(np.float32) if kernel == "rbf" and len(rows) else 0
        self.rows, self.kernel, self.parameter = rows - centre, KERNELS[kernel], parameter
        self.own = DIAGONALS[kernel](self.rows, parameter)
        self.left = self.own.copy()
        self.factor = np.zeros((len(rows), count), dtype=np.float32)
        self.done = 0

    def _residual(self, ones: np.ndarray, others: np.ndarray) -> np.ndarray:
        found = self.kernel(self.rows[ones], self.rows[others], self.parameter)
        return found - self.factor[ones, : self.done] @ self.factor[others, : self.done].T

    def take(self, picks: np.ndarray) -> None:
        """Condition on the picks (b,)."""
        if not len(picks):
            return
        block = self._residual(picks, picks).astype(np.float64)
        level = float(np.diagonal(block).max())
        root = np.linalg.cholesky((block + block.T) / 2 + 4 * ROUNDING * level * np.eye(len(picks)))
        inverse = np.linalg.inv(root).T.astype(np.float32)
        here = slice(self.done, self.done + len(picks))
        for start in range(0, len(self.rows), 8192):
            some = np.arange(start, min(start + 8192, len(self.rows)))
            self.factor[some, here] = self._residual(some, picks) @ inverse
        self.done = here.stop
        self.left -= np.einsum("ij,ij->i", self.factor[:, here], self.factor[:, here])
        self.left[self.left < 10 * ROUNDING * self.own] = 0
        self.left[picks] = 0

    def accept(self, proposed: np.ndarray, old: np.ndarray, luck: np.ndarray, most: int) -> np.ndarray:
        """The proposals kept, in order: each with probability (remainder now)/(remainder when drawn)."""
        among = self._residual(proposed, proposed).astype(np.float64)  # (b, b), swept as rows are kept
        kept: list[int] = []
        for i in range(len(proposed)):
            pivot = among[i, i]
            if len(kept) < most and pivot > 10 * ROUNDING * self.own[proposed[i]] and luck[i] * old[i] < pivot:
                kept.append(i)
                among = among - np.outer(among[:, i], among[i] / pivot)
        return proposed[np.array(kept, dtype=np.int64)]
