"""From what the Select page asks for to the rows chosen, with why each is in and what kept the others out.

The choice itself is the engine's; this joins a run's columns, people's decisions, the guards and the filters. The run
decides by its covered rows; rows it does not cover count as without a score.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from engine.errors import EngineError
from engine.runs.choosing import second_order_of
from engine.selection.eligible import APPROVED, REJECTED, eligible
from engine.selection.sizes import size_of
from engine.selection.strategies import Chosen, select_round_robin, select_top
from engine.selection.weighted import select_weights
from engine.store.project import Project
from pages.parts import filters, reads
from pages.parts.run_choice import View

GUARDS = ("leak", "near-duplicate", "looks truncated", filters.SURPRISING, "warm-up", "truncated for the model")


@dataclass(frozen=True)
class Wish:
    """What is asked for: size as typed, strategy, seed of the round robin, marks to leave out, filters to pass."""

    size: str
    strategy: str
    seed: int = 0
    guards: tuple[str, ...] = ()
    within: tuple[filters.Filter, ...] = ()


@dataclass(frozen=True)
class Proposal:
    """The rows chosen (int64, ascending) with their reasons, and a mask bool (n,) of them; `out` counts what the others
    fell to. `weights` (k,) have mean one, None where the strategy gives none.
    """

    wish: Wish
    rows: np.ndarray
    reasons: list[str]
    out: dict[str, int]
    chosen: np.ndarray
    weights: np.ndarray | None = None
    notes: tuple[str, ...] = ()

    @property
    def effective(self) -> float:
        """How many equally weighted rows have as much variety: 1/Σp² of the weights' shares p."""
        if self.weights is None:
            return float(len(self.rows))
        return float(self.weights.sum() ** 2 / (self.weights**2).sum())


def propose(project: Project, view: View, wish: Wish) -> Proposal:
    """Choose. Raises `EngineError` where the wish cannot be met; nothing is kept either way."""
    key = (view.scores.artifact, view.column, wish)
    return reads.by_stamp(project, "proposal", lambda: _propose(project, view, wish), *key)


def _propose(project: Project, view: View, wish: Wish) -> Proposal:
    n, decisions = reads.pool_size(project), reads.decisions(project)
    score = _padded(np.asarray(view.values), n)
    scorable = np.isfinite(score)
    guarded, outside = guard(project, wish.guards), ~filters.combined(project, wish.within)
    fit = eligible(decisions, scorable=scorable, barred=guarded | outside)
    k = size_of(wish.size, n)
    found = _choose(project, view, wish, score, k, fit.include, fit.exclude)
    chosen = np.zeros(n, bool)
    chosen[found.rows] = True
    out = _left_out(chosen, decisions, scorable, guarded, outside)
    return Proposal(wish, found.rows, found.reasons, out, chosen, found.weights, found.notes)


def _choose(
    project: Project, view: View, wish: Wish, score: np.ndarray, k: int, include: np.ndarray, exclude: np.ndarray
) -> Chosen:
    if wish.strategy == "top":
        return select_top(score, k, include=include, exclude=exclude)
    if wish.strategy == "weights":
        curved = second_order_of(project, view.record, len(score)) if second_order(view) else {}
        return select_weights(score, k, include=include, exclude=exclude, **curved)
    columns, names = round_robin_columns(view)
    return select_round_robin(
        _padded(columns, len(score)), k, include=include, exclude=exclude, seed=wish.seed, names=names
    )


def second_order(view: View) -> int:
    """How many landmarks' curvature the weights take into account; 0: to first order. It is the overall score's."""
    kept = view.scores.summary.get("curvature") or {}
    return int(kept.get("landmarks", 0)) if view.column == reads.AGGREGATE else 0


def round_robin_columns(view: View) -> tuple[np.ndarray, list[str]]:
    """The columns that take turns, one per target sample, (covered, t), with readable names.

    Raises `EngineError` for a run without targets.
    """
    matrix = view.scores.matrix
    if matrix.shape[1] == 0:
        raise EngineError(
            f"Run {view.record.name} has no targets to take turns. Use the highest scores, or another run. "
            "Nothing was selected."
        )
    names = [f"{s['name']}, item {at + 1}" for s in view.scores.summary["sets"] for at in range(_items(s))]
    if len(names) != matrix.shape[1]:
        names = [f"target sample {at + 1}" for at in range(matrix.shape[1])]
    return matrix, names


def _items(entry: dict[str, Any]) -> int:
    items = entry.get("items", entry.get("rows", 0))
    return items if isinstance(items, int) else len(items)


def guard(project: Project, names: tuple[str, ...]) -> np.ndarray:
    """bool (n,): rows that a guard leaves out. Of a near-duplicate group the first stays."""
    n = reads.pool_size(project)
    barred = np.zeros(n, bool)
    for name in names:
        covered = np.array(filters.marked(project, name)[:n], bool)
        if name == "near-duplicate" and (found := reads.marks(project)) is not None:
            first = np.asarray(found.near_duplicate_of)[:n] == np.arange(len(covered))
            covered &= ~first
        barred[: len(covered)] |= covered
    return barred


def _left_out(
    chosen: np.ndarray, decisions: np.ndarray, scorable: np.ndarray, guarded: np.ndarray, outside: np.ndarray
) -> dict[str, int]:
    """How many rows are out, each counted under the first reason that holds."""
    left, counts = ~chosen, {}
    for reason, holds in (
        ("rejected by a person", decisions == REJECTED),
        ("outside the filters", outside),
        ("left out by a guard", guarded),
        ("no score", ~scorable),
    ):
        counts[reason] = int((left & holds).sum())
        left = left & ~holds
    counts["ranked below the cut"] = int(left.sum())
    return counts


def runners_up(project: Project, view: View, proposal: Proposal, limit: int) -> np.ndarray:
    """The best rows that are out for no other reason than their score, best first."""
    order = reads.order(project, view.scores.artifact, view.column)
    barred = guard(project, proposal.wish.guards) | ~filters.combined(project, proposal.wish.within)
    out = ~proposal.chosen & ~barred & (reads.decisions(project) != REJECTED)
    return order[out[order]][:limit]


def composition(project: Project, chosen: np.ndarray, field: str) -> list[dict[str, Any]]:
    """Per value of a field: how many are in the pool and in the subset, and the ratio of the shares."""
    found = reads.categories(project, field)
    inside = np.bincount(found.codes[chosen], minlength=len(found.names))
    total, taken = max(1, len(found.codes)), max(1, int(chosen.sum()))
    return [
        {
            field: name,
            "In the pool": int(found.counts[at]),
            "Share of the pool": found.counts[at] / total,
            "In the subset": int(inside[at]),
            "Share of the subset": inside[at] / taken,
            "Subset against pool": (inside[at] / taken) / (found.counts[at] / total),
        }
        for at, name in enumerate(found.names)
    ]


def approved_count(project: Project) -> int:
    """How many rows a person approved."""
    return int((reads.decisions(project) == APPROVED).sum())


def _padded(values: np.ndarray, n: int) -> np.ndarray:
    if len(values) >= n:
        return values[:n]
    return np.concatenate([values, np.full((n - len(values), *values.shape[1:]), np.nan, np.float32)])
