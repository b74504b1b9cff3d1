"""Choosing rows that together represent others: candidates, similarities and the strategy's own array, for one run.

Notation. V the rows that are represented: those that could be chosen and those put in. A rejected row, one that a guard
or a filter leaves out, and with `among` one below the best share are not in V: nobody wants them represented. s_ij as
in `engine.selection.kernels`, by the features of the latest map or by the run's network. Everything is done within V,
so that a small V is compared in full however large the pool is.

Approved rows are put in even where they have no features; other rows without features are never chosen, and counted.
Knows decisions only as masks, and saves nothing.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from engine.errors import EngineError
from engine.progress import Reporter
from engine.runs.choice import Choice
from engine.runs.ground import Ground
from engine.runs.learnt_likeness import LearntLikeness
from engine.runs.likeness import Likeness
from engine.selection.room import Room
from engine.selection.sizes import size_of
from engine.selection.strategies import Chosen, best_first
from engine.selection.submodular import NEEDS, select_submodular
from engine.store.project import Project
from engine.store.records import RunRecord


@dataclass(frozen=True)
class _Setting:
    """What the strategies' arrays are made from: V as row numbers ascending (v,), and the scores of the pool (n,)."""

    targets: tuple[str, ...]
    likeness: Likeness | LearntLikeness
    rows: np.ndarray
    score: np.ndarray
    reporter: Reporter


def cover(
    project: Project,
    run: RunRecord,
    choice: Choice,
    *,
    ground: Ground,
    targets: tuple[str, ...],
    reporter: Reporter,
) -> Chosen:
    """The rows that `choice.strategy` chooses from the pool, as many as the ground's budget and quotas let in.

    `targets` are the target sets to cover, for the strategy that covers some. Rows that add equally much go by score.
    Raises `EngineError` where there is no map, no target or no owned data that the strategy needs, or too few rows.
    """
    score, fit = ground.score, ground.fit
    room = ground.room
    by_network = choice.kernel == "network"
    likeness = LearntLikeness.of(project, run, rows=len(score)) if by_network else Likeness.of(project, rows=len(score))
    free = ~fit.include & ~fit.exclude
    known = free & likeness.usable
    candidates = _best(known, score, choice.among, wanted=_least(ground))
    rows = np.flatnonzero(candidates | fit.include)
    if isinstance(room, Room):  # refuses what cannot be met before anything is compared
        room.account(np.flatnonzero(fit.include), np.flatnonzero(candidates & ~fit.include))
    setting = _Setting(targets, likeness, rows, score, reporter)
    own = {name: _ARRAYS[name](setting) for name in [NEEDS.get(choice.strategy)] if name is not None}
    kernel, how = likeness.kernel(rows, reporter=reporter)
    found = select_submodular(
        kernel,
        room.of(rows) if isinstance(room, Room) else room,
        strategy=choice.strategy,  # type: ignore[arg-type]
        include=fit.include[rows],
        greedy=choice.greedy,
        seed=choice.seed,
        tradeoff=choice.tradeoff,
        ties=score[rows],
        reporter=reporter,
        **own,  # type: ignore[arg-type]
    )
    notes = (*_about(choice, candidates, len(rows), len(score)), *likeness.absent(free), how, *found.notes)
    order = rows[found.order] if found.order is not None else None
    return replace(found, rows=rows[found.rows], order=order, notes=notes)


def _least(ground: Ground) -> int:
    """How many rows must be found at the least, approved ones aside."""
    return ground.budget.amount - int(ground.fit.include.sum()) if ground.costs is None else 1


def _best(known: np.ndarray, score: np.ndarray, among: str, *, wanted: int) -> np.ndarray:
    """bool (n,): the best share of the known rows by score, at least one; all of them where no share is given."""
    if not among:
        return known
    rows = np.flatnonzero(known)
    most = size_of(among, len(rows)) if len(rows) else 0
    if wanted > most:
        raise EngineError(
            f"The best {among} by score are {most:,} of {len(rows):,} samples, and {wanted:,} are to be chosen from "
            "them. Take a larger share or a smaller selection; nothing was selected."
        )
    best = np.zeros(len(known), bool)
    best[rows[best_first(score[rows], most)]] = True
    return best


def _about(choice: Choice, candidates: np.ndarray, shown: int, n: int) -> tuple[str, ...]:
    """Whom the choice represents."""
    whom = f"the best {choice.among} by score" if choice.among else "those that could be chosen"
    put_in = shown - int(candidates.sum())
    approved = f" and {put_in:,} approved" if put_in else ""
    return (f"Represented are {shown:,} of {n:,} samples: {whom}{approved}.",)


def _target_best(setting: _Setting) -> np.ndarray:
    """max_q s_iq over the items of the target sets, float32 (v,)."""
    best = [setting.likeness.to_side(setting.rows, "target", name, setting.reporter) for name in setting.targets]
    return np.maximum.reduce(best)


def _owned_best(setting: _Setting) -> np.ndarray:
    """max_p s_ip over the owned rows, float32 (v,)."""
    return setting.likeness.to_side(setting.rows, "owned", "", setting.reporter)


_ARRAYS: dict[str, Callable[[_Setting], np.ndarray]] = {
    "target_best": _target_best,
    "owned_best": _owned_best,
    "score": lambda setting: setting.score[setting.rows],
}
