"""From what the Select page asks for to the rows chosen, with why each is in and what kept the others out.

The choice itself is the engine's, guards, filters and quotas included; this keeps it for the page, and counts. The run
decides by its covered rows; rows it does not cover count as without a score.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from engine.curation import columns
from engine.progress import Reporter
from engine.runs.choice import Choice
from engine.runs.choosing import choose
from engine.runs.ground import Ground, ground_of
from engine.runs.token_counts import STAGE, TokenCounts, kept_counts
from engine.runs.why import Why, why
from engine.selection.curve import Curve, Ranked, curve_of, ranked
from engine.selection.eligible import APPROVED, REJECTED
from engine.selection.standing import Held, Standing, held, standings
from engine.selection.strategies import Chosen
from engine.store.project import Project
from pages.parts import reads
from pages.parts.run_choice import View

MOST_ITEMS = 50_000_000  # scores of target samples looked at together; with more, target sets are
OUT = ("rejected by a person", "outside the filters", "left out by a guard", "no score")


@dataclass(frozen=True)
class Proposal:
    """What was asked, the ground it stands on, and what was found; a mask bool (n,) of the rows chosen; `out` counts
    what the others fell to.
    """

    choice: Choice
    ground: Ground
    found: Chosen
    chosen: np.ndarray
    out: dict[str, int]

    @property
    def rows(self) -> np.ndarray:
        """The rows chosen, int64 (k,), ascending."""
        return self.found.rows

    @property
    def curve(self) -> Curve | None:
        """How what was gained grows with the rows, where the strategy tells."""
        return curve_of(self.found.gains)

    @property
    def effective(self) -> float:
        """How many equally weighted rows have as much variety: 1/Σp² of the weights' shares p."""
        weights = self.found.weights
        return float(len(self.rows)) if weights is None else float(weights.sum() ** 2 / (weights**2).sum())


def ground(project: Project, view: View, choice: Choice) -> Ground:
    """What the choice stands on. Raises `EngineError` for a size, guard, filter or quota without a meaning."""
    made = reads.facts(project)
    key = (view.scores.artifact, choice)
    return reads.by_stamp(project, "ground", lambda: ground_of(made, view.record, choice), *key)


def propose(project: Project, view: View, choice: Choice) -> Proposal:
    """Choose. Raises `EngineError` where it cannot be met; nothing is kept either way."""
    key = (view.scores.artifact, choice)
    return reads.by_stamp(project, "proposal", lambda: propose_anew(project, view, choice), *key)


def propose_anew(project: Project, view: View, choice: Choice, *, reporter: Reporter | None = None) -> Proposal:
    """The same, computed whenever it is called."""
    stand = ground(project, view, choice)
    found = choose(project, view.record, choice, facts=reads.facts(project), ground=stand, reporter=reporter)
    chosen = np.zeros(len(stand.score), bool)
    chosen[found.rows] = True
    return Proposal(choice, stand, found, chosen, _left_out(chosen, stand, choice))


def second_order(view: View) -> int:
    """How many landmarks' curvature the weights take into account; 0: to first order. It is the overall score's."""
    kept = view.scores.summary.get("curvature") or {}
    return int(kept.get("landmarks", 0)) if view.column == reads.AGGREGATE else 0


def _left_out(chosen: np.ndarray, stand: Ground, choice: Choice) -> dict[str, int]:
    """How many rows are out, each counted under the first reason that holds; the last is the strategy's."""
    left, counts = ~chosen, {}
    holds = (stand.decisions == REJECTED, stand.outside, stand.guarded, ~np.isfinite(stand.score))
    for reason, mask in zip(OUT, holds, strict=True):
        counts[reason] = int((left & mask).sum())
        left = left & ~mask
    plainly = stand.costs is None and not stand.limits.groups and not choice.described.covers
    counts["ranked below the cut" if plainly else "not chosen"] = int(left.sum())
    return counts


def runners_up(project: Project, view: View, proposal: Proposal, limit: int) -> np.ndarray:
    """The best rows that are out for no other reason than their score, quotas or the budget; best first."""
    order = reads.order(project, view.scores.artifact, view.column)
    out = ~proposal.chosen & ~proposal.ground.fit.exclude
    return order[out[order]][:limit]


def category_columns(project: Project) -> dict[str, columns.Column]:
    """The columns one can compare shares or set quotas by, the fields of the rows first."""
    found = columns.listed(reads.facts(project))
    order = {"Field": 0, "Map": 1, "Signal": 3}
    kept = [column for column in found if column.kind != "number" and not column.name.startswith("selection/")]
    return {column.name: column for column in sorted(kept, key=lambda column: order.get(column.group, 2))}


def composition(project: Project, chosen: np.ndarray, name: str) -> list[dict[str, Any]]:
    """Per value of a column: how many are in the pool and in the subset, and the ratio of the shares."""
    found = columns.categories(reads.facts(project), name)
    inside = np.bincount(found.codes[chosen], minlength=len(found.names))
    total, taken = max(1, len(found.codes)), max(1, int(chosen.sum()))
    lines = [
        {
            "Value": value,
            "In the pool": int(found.counts[at]),
            "Share of the pool": found.counts[at] / total,
            "In the subset": int(inside[at]),
            "Share of the subset": inside[at] / taken,
            "Subset against pool": (inside[at] / taken) / (found.counts[at] / total),
        }
        for at, value in enumerate(found.names)
        if found.counts[at]
    ]
    return sorted(lines, key=lambda line: -line["In the pool"])


def quota_lines(stand: Ground, rows: np.ndarray | None) -> list[Standing]:
    """How every quota stands, with what was chosen or, where nothing could be, with what can."""
    return standings(stand.limits, stand.able, rows, stand.costs, stand.budget.unit)


def influence(proposal: Proposal) -> Ranked | None:
    """The sum of scores against the number of samples."""
    return ranked(proposal.ground.score, proposal.ground.able, proposal.rows)


def targets_held(project: Project, view: View, proposal: Proposal) -> tuple[list[str], Held]:
    """Of each target sample (in large pools each target set) the share of its best possible influence that is held."""
    matrix, names = view.scores.matrix, item_names(view)
    if matrix.shape[1] != len(names) or matrix.size > MOST_ITEMS or not len(names):
        matrix, names = view.scores.columns, view.scores.sets
    covered = len(matrix)
    rows = proposal.rows[proposal.rows < covered]
    able = proposal.ground.able[:covered] & np.isfinite(view.scores.score)
    key = (view.scores.artifact, proposal.choice)
    return names, reads.by_stamp(project, "targets held", lambda: held(matrix, rows, able), *key)


def item_names(view: View) -> list[str]:
    """A name per column of the matrix."""
    sets = view.scores.summary.get("sets", ())
    return [f"{entry['name']}, item {item + 1}" for entry in sets for item in entry.get("items", ())]


def why_of(project: Project, view: View, proposal: Proposal, row: int) -> Why:
    """Why one row is in or out."""
    return why(reads.facts(project), view.record, proposal.choice, proposal.ground, proposal.found, row)


def kept_tokens(project: Project, view: View) -> TokenCounts | None:
    """The token counts for the run's model where they were made; looked for again when any are."""
    made = tuple(sorted(path.name for path in project.artifacts.glob(f"{STAGE}-*")))
    if not made:
        return None
    artifact = view.scores.artifact
    return reads.by_pool(project, "token counts", lambda: kept_counts(project, view.record), artifact, made)


def approved_count(project: Project) -> int:
    """How many rows a person approved."""
    return int((reads.decisions(project) == APPROVED).sum())
