"""Choosing k rows by score: the best of one column, or every target's best in turn. (`weighted` weighs them too.)

Notation: n pool rows, t targets, k rows wanted, higher score = better. `include` rows are in and count towards k,
`exclude` rows are out; both are bool (n,) masks or row numbers. NaN is never chosen; equal scores go by row order.
In place of k stands a `Room` where the budget is of tokens or words, or there are quotas.
Pure functions of arrays: does not know decisions, projects or how scores were made.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from engine.errors import EngineError
from engine.selection.account import Account
from engine.selection.room import Room, filled, none_left

Rows = np.ndarray | None
_PASSED = 256  # rows passed over one by one before those that cannot be taken are left out at once


@dataclass(frozen=True)
class Chosen:
    """`rows`: int64 (k,) ascending pool rows; `reasons`: k short texts, why each row is in.

    `weights`: float64 (k,) of mean one, or None where the strategy gives none. `notes`: what a reader should know.
    `order`: the rows int64 (k,) as they were taken, included ones first, and `gains` float64 (k,) what each added, in
    that order; None where the strategy takes them together.
    """

    rows: np.ndarray
    reasons: list[str]
    weights: np.ndarray | None = None
    notes: tuple[str, ...] = ()
    order: np.ndarray | None = None
    gains: np.ndarray | None = None


def select_top(score: np.ndarray, k: int | Room, *, include: Rows = None, exclude: Rows = None) -> Chosen:
    """The included rows and the best others of `score` (n,), k in all.

    In a room of rows with quotas on one column it is the choice of highest total score that there is. Raises
    `EngineError` if more are included than k, or fewer can be chosen than k.
    """
    values = np.asarray(score)
    if values.ndim != 1:
        raise EngineError(f"One score per sample is needed, got shape {values.shape}.")
    inside, free = masks_of(values.shape[0], k, include, exclude)
    candidates = np.flatnonzero(free & ~np.isnan(values))
    if isinstance(k, Room):
        order = candidates[best_first(values[candidates], len(candidates))]
        picked, _ = filled(k, inside, order)
        return joined(inside, picked, ranked(order, picked))
    wanted = wanted_of(k, inside, len(candidates))
    best = candidates[best_first(values[candidates], wanted)]
    return joined(inside, best, [f"rank {rank:,} by score" for rank in range(1, wanted + 1)])


def ranked(order: np.ndarray, picked: np.ndarray) -> list[str]:
    """Why each of `picked` is in: its place in `order`, and that others were passed over where they had to be."""
    place = np.zeros(int(order.max(initial=0)) + 1, np.int64)
    place[order] = np.arange(1, len(order) + 1)
    k = len(picked)
    return [f"rank {at:,} by score" + (", others passed over" if at > k else "") for at in place[picked].tolist()]


def select_round_robin(
    matrix: np.ndarray,
    k: int | Room,
    *,
    include: Rows = None,
    exclude: Rows = None,
    seed: int = 0,
    names: list[str] | None = None,
) -> Chosen:
    """The included rows, then every target in turn takes its best row not yet taken, until there are k.

    `matrix` (n, t); the order of the targets is drawn anew each round from `seed`; a target without a row left is
    passed over. `names` (t,) name the targets in the reasons. A row is a candidate if any target scores it.
    Raises `EngineError` as `select_top` does. METHODS section 1, "Per-target scores".
    """
    values = np.asarray(matrix)
    if values.ndim != 2 or values.shape[1] < 1:
        raise EngineError(f"One score per sample and target is needed, got shape {values.shape}.")
    titles = names or [f"target {j + 1}" for j in range(values.shape[1])]
    if len(titles) != values.shape[1]:
        raise EngineError(f"{len(titles)} target names were given for {values.shape[1]} columns.")
    inside, free = masks_of(values.shape[0], k, include, exclude)
    free = free & ~np.isnan(values).all(axis=1)
    if isinstance(k, Room):
        picked, by = _turns_in_room(values, k, inside, free, seed)
    else:
        wanted = wanted_of(k, inside, int(free.sum()))
        queues = [_Queue(values[:, j], free, wanted, len(titles)) for j in range(len(titles))]
        picked, by = _take_turns(queues, wanted, np.zeros(len(values), bool), np.random.default_rng(seed))
    return joined(inside, picked, [f"pick {turn:,} of {titles[j]}" for j, turn in by])


SelectTop = Callable[..., Chosen]
# the strategies that need scores alone and give no weights; `menu.STRATEGIES` are all
STRATEGIES: dict[str, SelectTop] = {"top": select_top, "round-robin": select_round_robin}


def best_first(score: np.ndarray, k: int) -> np.ndarray:
    """Positions of the k largest of `score` (m,) without NaN, best first, ties by position; O(m + k log k)."""
    m = len(score)
    if k >= m:
        return np.argsort(-_sortable(score), kind="stable")
    if k < 1:
        return np.zeros(0, np.int64)
    values = _sortable(score)
    threshold = np.partition(values, m - k)[m - k]
    above = np.flatnonzero(values > threshold)
    level = np.flatnonzero(values == threshold)[: k - len(above)]
    positions = np.concatenate([above, level])
    return positions[np.lexsort((positions, -values[positions]))]


class _Queue:
    """One target's candidates, best first, sorted only as far as they are asked for."""

    def __init__(self, score: np.ndarray, free: np.ndarray, wanted: int, targets: int) -> None:
        self.rows = np.flatnonzero(free & ~np.isnan(score))
        self.score = score[self.rows]
        self.depth = min(len(self.rows), 64 + 2 * -(-wanted // targets))
        self.order = best_first(self.score, self.depth)
        self.at = 0

    def take(self, taken: np.ndarray) -> int | None:
        """The best row not in `taken` (n,), or None when there is none left."""
        while True:
            passed = 0
            while self.at < len(self.order):
                row = int(self.rows[self.order[self.at]])
                self.at += 1
                if not taken[row]:
                    return row
                passed += 1
                if passed % _PASSED == 0:  # many in a row: leave them out all at once
                    rest = self.order[self.at :]
                    self.order, self.at = rest[~taken[self.rows[rest]]], 0
            if self.depth >= len(self.rows):
                return None
            rest = ~taken[self.rows]  # all in `order` are taken by now
            self.rows, self.score = self.rows[rest], self.score[rest]
            self.depth = min(len(self.rows), 4 * self.depth)
            self.order, self.at = best_first(self.score, self.depth), 0


Turns = tuple[np.ndarray, list[tuple[int, int]]]


def _turns_in_room(values: np.ndarray, room: Room, inside: np.ndarray, free: np.ndarray, seed: int) -> Turns:
    """Turns until nothing fits any more; once more with all of the budget held where they ended too early."""
    candidates = np.flatnonzero(free)
    best = np.nanmax(values[candidates], axis=1) if len(candidates) else np.zeros(0)
    order = candidates[best_first(best, len(candidates))]
    wanted = room.expected(candidates)
    for exactly in (False, True) if room.tangled else (False,):
        account = room.account(inside, order, exactly=exactly)
        queues = [_Queue(values[:, j], free, wanted, values.shape[1]) for j in range(values.shape[1])]
        found = _take_turns(queues, len(values), ~free, np.random.default_rng(seed), account)
        if not room.short(account.counted):
            break
    room.refuse(account.counted, len(inside) + len(candidates))
    return found


def _take_turns(
    queues: list[_Queue], wanted: int, taken: np.ndarray, generator: np.random.Generator, account: Account | None = None
) -> Turns:
    """The rows in the order taken, and for each (target, how many that target had taken with it).

    With an account rows that do not fit are passed over, and it ends where none fits.
    """
    picked: list[int] = []
    by: list[tuple[int, int]] = []
    turns = [0] * len(queues)
    while len(picked) < wanted and not (account is not None and account.full):
        before = len(picked)
        for j in generator.permutation(len(queues)).tolist():
            row = queues[j].take(taken) if account is None else _fitting(queues[j], taken, account)
            if row is None:
                continue
            taken[row] = True
            turns[j] += 1
            picked.append(row)
            by.append((j, turns[j]))
            if len(picked) == wanted:
                break
        if len(picked) == before:
            break
    return np.array(picked, np.int64), by


def _fitting(queue: _Queue, taken: np.ndarray, account: Account) -> int | None:
    """The queue's best row that the account takes; those it refuses are out for all queues, marked in `taken`."""
    refused = 0
    while not account.full and (row := queue.take(taken)) is not None:
        if account.take(row):
            return row
        taken[row] = True
        refused += 1
        if refused % _PASSED == 0:
            rest = np.flatnonzero(~taken)
            taken[rest[~account.may(rest)]] = True
    return None


def _sortable(score: np.ndarray) -> np.ndarray:
    """Floats as they are, whole numbers and flags as float64, so that a sign can be turned."""
    return score if np.issubdtype(score.dtype, np.floating) else score.astype(np.float64)


def masks_of(n: int, k: int | Room, include: Rows, exclude: Rows) -> tuple[np.ndarray, np.ndarray]:
    """Included rows, ascending, and the mask bool (n,) of rows a strategy may take."""
    if not isinstance(k, Room) and k < 1:
        raise EngineError(f"{k} samples were asked for; ask for at least one.")
    inside, outside = _mask(n, include), _mask(n, exclude)
    both = int((inside & outside).sum())
    if both:
        raise EngineError(
            f"{both:,} samples are to be included and excluded at once. Decide which; nothing was selected."
        )
    return np.flatnonzero(inside), ~inside & ~outside


def _mask(n: int, rows: Rows) -> np.ndarray:
    if rows is None:
        return np.zeros(n, bool)
    given = np.asarray(rows)
    if given.dtype == bool:
        if given.shape != (n,):
            raise EngineError(f"A mask over {n:,} samples is needed, got shape {given.shape}.")
        return given
    if given.size and (not np.issubdtype(given.dtype, np.integer) or given.min() < 0 or given.max() >= n):
        raise EngineError(f"Sample numbers from 0 to {n - 1} are needed to include or exclude samples.")
    mask = np.zeros(n, bool)
    mask[given.astype(np.int64)] = True
    return mask


def wanted_of(k: int, inside: np.ndarray, candidates: int, *, lacking: str = "a score") -> int:
    """How many rows a strategy has to find; rows that are no candidates are without what is `lacking`."""
    if len(inside) > k:
        raise EngineError(
            f"{len(inside):,} samples are approved, more than the {k:,} asked for, and approved samples are always in. "
            f"Ask for at least {len(inside)} or take approvals back; nothing was selected."
        )
    wanted = k - len(inside)
    if len(inside) + candidates == 0:
        raise EngineError(none_left(lacking))
    if wanted > candidates:
        raise EngineError(
            f"{k:,} samples were asked for, but only {len(inside) + candidates:,} can be selected: the others are "
            f"rejected, left out or without {lacking}. "
            f"Ask for at most {len(inside) + candidates}; nothing was selected."
        )
    return wanted


def joined(
    inside: np.ndarray,
    picked: np.ndarray,
    reasons: list[str],
    *,
    weights: np.ndarray | None = None,
    notes: tuple[str, ...] = (),
) -> Chosen:
    """The included and the picked rows as one choice in row order; `weights` (picked,) if any, included rows at 1."""
    rows = np.concatenate([inside, picked]).astype(np.int64)
    texts = ["approved"] * len(inside) + reasons
    order = np.argsort(rows)
    kept = None if weights is None else np.concatenate([np.ones(len(inside)), weights])[order]
    return Chosen(rows[order], [texts[at] for at in order.tolist()], kept, notes)
