"""Why one row is in a choice or out of it, and what would bring it in.

    why(facts, run, choice, ground, chosen, row).causes

Every cause that holds is named, the one that decides first: a person's decision, a missing score, each guard, each
filter, a cap that is full, a budget with too little left, and its rank against the last row that came in. Reads;
changes nothing and chooses nothing.
"""

from dataclasses import dataclass

import numpy as np

from engine.curation import filters, guards
from engine.curation.facts import Facts
from engine.runs.choice import Choice
from engine.runs.ground import Ground
from engine.selection.eligible import APPROVED, REJECTED
from engine.selection.quotas import NONE
from engine.selection.strategies import Chosen
from engine.store.records import RunRecord


@dataclass(frozen=True)
class Why:
    """`inside`; `rank` among the rows with a score and `place` among those that could be chosen, from 1, else 0.

    `causes` are why it is in or out, `remedies` what would bring it in; in words, not escaped.
    """

    row: int
    inside: bool
    score: float
    rank: int
    scored: int
    place: int
    able: int
    causes: tuple[str, ...]
    remedies: tuple[str, ...]


def why(facts: Facts, run: RunRecord, choice: Choice, ground: Ground, chosen: Chosen, row: int) -> Why:
    """Tell of one pool row. Takes a pass or two over the pool, and one for each guard and filter."""
    score = ground.score
    at = int(np.searchsorted(chosen.rows, row))
    inside = at < len(chosen.rows) and int(chosen.rows[at]) == row
    known = np.isfinite(score)
    told = _inside(chosen, at, row) if inside else _outside(facts, run, choice, ground, chosen, row)
    return Why(
        row=row,
        inside=inside,
        score=float(score[row]),
        rank=_rank(score, known, row),
        scored=int(known.sum()),
        place=_rank(score, ground.able & known, row),
        able=int(ground.able.sum()),
        causes=tuple(told[0]),
        remedies=tuple(told[1]),
    )


def _rank(score: np.ndarray, among: np.ndarray, row: int) -> int:
    """The place of a row by falling score, ties by row order, from 1; 0 where it is not among them."""
    if not among[row]:
        return 0
    value = score[row]
    before = among & (score > value)
    level = among[:row] & (score[:row] == value)
    return int(before.sum() + level.sum()) + 1


Told = tuple[list[str], list[str]]


def _inside(chosen: Chosen, at: int, row: int) -> Told:
    reason = chosen.reasons[at]
    if reason == "approved":
        return ["A person approved it; approved samples are always in."], []
    causes = [f"It was taken: {reason}."]
    if chosen.order is not None:
        turn = int(np.flatnonzero(chosen.order == row)[0]) + 1
        causes.append(f"It came {turn:,} of {len(chosen.order):,}.")
    return causes, []


def _outside(facts: Facts, run: RunRecord, choice: Choice, ground: Ground, chosen: Chosen, row: int) -> Told:
    causes: list[str] = []
    remedies: list[str] = []
    if ground.decisions[row] == REJECTED:
        causes.append("A person rejected it; rejected samples are never in.")
        return causes, ["Take the rejection back."]
    if not np.isfinite(ground.score[row]):
        late = row >= run.rows
        causes.append("It joined the pool after the run and has no score." if late else "The run gave it no score.")
        remedies.append("Score the pool again to cover it." if late else "Approve it: approved samples need no score.")
    for cause, remedy in (*_guards(facts, run, choice, ground, row), *_filters(facts, choice, row)):
        causes.append(cause)
        remedies.append(remedy)
    if not causes:
        causes, remedies = _cut(facts, choice, ground, chosen, row)
    if ground.decisions[row] != APPROVED and not any("Approve" in text for text in remedies):
        remedies.append("Approve it: approved samples are always in.")
    return causes, remedies


def _guards(facts: Facts, run: RunRecord, choice: Choice, ground: Ground, row: int) -> list[tuple[str, str]]:
    found = []
    unfit = ground.outside | ~np.isfinite(ground.score)
    for text in choice.guards:
        out = guards.barred_by(
            facts, text, keep=choice.keep, run=run.name, column=choice.column, beside=choice.guards, unfit=unfit
        )
        if out[row]:
            found.append((f"The guard {text} leaves it out.", f"Drop the guard {text}."))
    return found


def _filters(facts: Facts, choice: Choice, row: int) -> list[tuple[str, str]]:
    layout = facts.layout() if any(part.kind == "cluster" for part in choice.within) else None
    labels = layout.labels if layout is not None else ()
    found = []
    for part in choice.within:
        if not filters.mask(facts, part)[row]:
            said = filters.describe(part, labels)
            found.append((f"It fails the filter {said}.", f"Remove the filter {said}."))
    return found


def _cut(facts: Facts, choice: Choice, ground: Ground, chosen: Chosen, row: int) -> Told:
    """Why a row that could be chosen was not: caps, what is left of the budget, or the order of the strategy."""
    causes: list[str] = []
    remedies: list[str] = []
    for name, used, most, unit in _full(ground, chosen, row):
        causes.append(f"{name} holds {used:,} of at most {most:,} {unit}.")
        remedies.append(f"Allow more of {name}.")
    if ground.costs is not None:
        cost, left = int(ground.costs[row]), ground.budget.amount - int(ground.costs[chosen.rows].sum())
        if cost > left:
            causes.append(f"It holds {cost:,} {ground.budget.unit}, and {left:,} of the budget are left.")
            remedies.append("Raise the budget.")
    place = _rank(ground.score, ground.able & np.isfinite(ground.score), row)
    if choice.described.covers:
        causes.append(f"Others added more in their turns. {_represented(facts, chosen, row)}".strip())
        remedies.append("Ask for more samples.")
        return causes, remedies
    last, said = _last(ground, chosen), choice.strategy in ("top", "weights")
    if not causes and np.isnan(last):
        causes.append("Approved samples fill all there is room for.")
    elif not causes or ground.score[row] < last:
        causes.append(
            f"It is number {place:,} by score of those that could be chosen; the lowest score that came in without "
            f"approval is {last:+.4f}, its own is {ground.score[row]:+.4f}."
            if said
            else f"No target sample got to it in its turn; by overall score it is number {place:,}."
        )
    if said and ground.costs is None and not ground.limits.groups:
        remedies.append(f"Ask for at least {place + _approved_behind(ground, row):,} samples.")
    elif not remedies:
        remedies.append("Ask for more.")
    return causes, remedies


def _approved_behind(ground: Ground, row: int) -> int:
    """How many approved rows the score would put behind this one; they take room all the same."""
    value, approved = ground.score[row], ground.fit.include
    ahead = int((approved & (ground.score > value)).sum()) + int((approved & (ground.score == value))[:row].sum())
    return int(approved.sum()) - ahead


def held_back(ground: Ground, chosen: Chosen, row: int, *, otherwise: str) -> str:
    """What kept a row out that could be chosen, in a few words: a full group, what is left of the budget, else that."""
    full = _full(ground, chosen, row)
    if full:
        return f"{full[0][0]} is full"
    if ground.costs is not None:
        left = ground.budget.amount - int(ground.costs[chosen.rows].sum())
        if ground.costs[row] > left:
            return f"{int(ground.costs[row]):,} {ground.budget.unit} do not fit any more"
    return otherwise


def _represented(facts: Facts, chosen: Chosen, row: int) -> str:
    """Which of the rows chosen is most like it among its neighbours on the map, where there is one."""
    layout = facts.layout()
    if layout is None or row >= len(layout.neighbours):
        return ""
    near = np.asarray(layout.neighbours[row])
    taken = np.flatnonzero(np.isin(near, chosen.rows) & (near >= 0) & (near != row))
    if not len(taken):
        return (
            f"None of its {int((near >= 0).sum())} nearest on the map is in either: few are like it, so it adds little."
        )
    at = int(taken[0])
    name = facts.project.rows([int(near[at])])[0].id
    return (
        f"The chosen sample {name} is like it (cosine {1 - float(layout.distances[row][at]):.2f} on the map) and "
        f"represents it; {len(taken)} of its {int((near >= 0).sum())} nearest are in."
    )


def _last(ground: Ground, chosen: Chosen) -> float:
    """The lowest score among the rows that came in without approval; NaN where there is none."""
    free = chosen.rows[~ground.fit.include[chosen.rows]]
    return float(np.min(ground.score[free])) if len(free) else float("nan")


def _full(ground: Ground, chosen: Chosen, row: int) -> list[tuple[str, int, int, str]]:
    """The caps that leave no room for the row: group, used, most, unit."""
    found = []
    costs = np.ones(len(ground.score), np.int64) if ground.costs is None else ground.costs
    for member in ground.limits.member:
        at = int(member[row])
        if at < 0:
            continue
        group, inside = ground.limits.groups[at], chosen.rows[member[chosen.rows] == at]
        if group.most != NONE and len(inside) + 1 > group.most:
            found.append((group.name, len(inside), group.most, "samples"))
        elif group.most_cost != NONE and int(costs[inside].sum() + costs[row]) > group.most_cost:
            found.append((group.name, int(costs[inside].sum()), group.most_cost, ground.budget.unit))
    return found
