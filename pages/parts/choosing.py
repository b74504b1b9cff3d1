"""From what the Select page asks for to the rows chosen, with why each is in and what kept the others out.

The choice itself is the engine's; this joins a run's columns, people's decisions, the guards and the filters. The run
decides by its covered rows; rows it does not cover count as without a score.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from engine.progress import Reporter
from engine.runs.choice import Choice
from engine.runs.choosing import choose
from engine.selection.curve import Curve, curve_of
from engine.selection.eligible import APPROVED, REJECTED
from engine.store.project import Project
from pages.parts import filters, reads
from pages.parts.run_choice import View

GUARDS = ("leak", "near-duplicate", "looks truncated", filters.SURPRISING, "warm-up", "truncated for the model")


@dataclass(frozen=True)
class Wish:
    """What is asked for: the choice, marks to leave out, filters to pass."""

    choice: Choice
    guards: tuple[str, ...] = ()
    within: tuple[filters.Filter, ...] = ()


@dataclass(frozen=True)
class Proposal:
    """The rows chosen (int64, ascending) with their reasons, and a mask bool (n,) of them; `out` counts what the others
    fell to. `weights` (k,) have mean one, None where the strategy gives none. `order` int64 (k,) are the rows as they
    were taken and `gains` (k,) what each added, None where the strategy takes them together.
    """

    wish: Wish
    rows: np.ndarray
    reasons: list[str]
    out: dict[str, int]
    chosen: np.ndarray
    weights: np.ndarray | None = None
    notes: tuple[str, ...] = ()
    order: np.ndarray | None = None
    gains: np.ndarray | None = None

    @property
    def curve(self) -> Curve | None:
        """How what was gained grows with the rows, where the strategy tells."""
        return curve_of(self.gains)

    @property
    def effective(self) -> float:
        """How many equally weighted rows have as much variety: 1/Σp² of the weights' shares p."""
        if self.weights is None:
            return float(len(self.rows))
        return float(self.weights.sum() ** 2 / (self.weights**2).sum())


def propose(project: Project, view: View, wish: Wish) -> Proposal:
    """Choose. Raises `EngineError` where the wish cannot be met; nothing is kept either way."""
    key = (view.scores.artifact, view.column, wish)
    return reads.by_stamp(project, "proposal", lambda: propose_anew(project, view, wish), *key)


def propose_anew(project: Project, view: View, wish: Wish, *, reporter: Reporter | None = None) -> Proposal:
    """The same, computed whenever it is called."""
    n, decisions = reads.pool_size(project), reads.decisions(project)
    score = None if view.column == reads.AGGREGATE else np.asarray(view.values)
    guarded, outside = guard(project, wish.guards), ~filters.combined(project, wish.within)
    found = choose(project, view.record, wish.choice, score=score, barred=guarded | outside, reporter=reporter)
    chosen = np.zeros(n, bool)
    chosen[found.rows] = True
    scored = np.zeros(n, bool)
    scored[: view.scores.covered] = np.isfinite(view.values)
    rest = "not chosen" if wish.choice.described.covers else "ranked below the cut"
    out = _left_out(chosen, decisions, scored, guarded, outside, rest)
    return Proposal(wish, found.rows, found.reasons, out, chosen, found.weights, found.notes, found.order, found.gains)


def second_order(view: View) -> int:
    """How many landmarks' curvature the weights take into account; 0: to first order. It is the overall score's."""
    kept = view.scores.summary.get("curvature") or {}
    return int(kept.get("landmarks", 0)) if view.column == reads.AGGREGATE else 0


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
    chosen: np.ndarray, decisions: np.ndarray, scorable: np.ndarray, guarded: np.ndarray, outside: np.ndarray,
    rest: str,
) -> dict[str, int]:  # fmt: skip
    """How many rows are out, each counted under the first reason that holds; `rest` names the last."""
    left, counts = ~chosen, {}
    for reason, holds in (
        ("rejected by a person", decisions == REJECTED),
        ("outside the filters", outside),
        ("left out by a guard", guarded),
        ("no score", ~scorable),
    ):
        counts[reason] = int((left & holds).sum())
        left = left & ~holds
    counts[rest] = int(left.sum())
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
