"""Choosing a subset from a finished run: scores, people's decisions and a strategy become a saved selection.

The strategies are `engine.selection`, the decisions and selections `engine.store`, what a choice is made on `ground`;
this joins them. Approved rows are always in, rejected rows never; rows that a guard or a filter leaves out, or without
a score, only where a person approved them. Rows that represent others are chosen in `covering`.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from engine.curation.facts import AGGREGATE, Facts
from engine.errors import EngineError
from engine.influence.quadratic import Quadratic
from engine.progress import Reporter, Silent
from engine.runs.choice import Choice
from engine.runs.covering import cover
from engine.runs.ground import Ground, ground_of, padded, recorded, unchecked
from engine.selection.strategies import Chosen, select_round_robin, select_top
from engine.selection.weighted import select_weights
from engine.store.artifacts import load_array
from engine.store.project import Project
from engine.store.records import RunRecord
from engine.store.selections import Selection


@dataclass(frozen=True, kw_only=True)
class _Question:
    """What a strategy is asked, and the ground it stands on; `overall`: the score is the run's aggregate."""

    project: Project
    run: RunRecord
    choice: Choice
    ground: Ground
    overall: bool
    reporter: Reporter

    @property
    def people(self) -> dict[str, Any]:
        """The masks of rows that must go in and may not."""
        return {"include": self.ground.fit.include, "exclude": self.ground.fit.exclude}


def choose(
    project: Project,
    run: RunRecord,
    choice: Choice,
    *,
    score: np.ndarray | None = None,
    barred: np.ndarray | None = None,
    facts: Facts | None = None,
    ground: Ground | None = None,
    reporter: Reporter | None = None,
) -> Chosen:
    """The rows that `choice` takes from the scores of `run`; saves nothing.

    `score` (covered,) in place of the run's own. `barred` bool (n,): further rows left out unless a person approved
    them. `facts` of the project and the `ground` of the choice, where they are at hand. Raises `EngineError` for a size
    or quotas that cannot be met, or where the project lacks what the strategy needs: targets, a map, owned data.
    """
    listener = reporter or Silent()
    known = facts or Facts(project)
    if ground is None:
        ground = ground_of(known, run, choice, score=score, barred=barred, reporter=listener)
    overall = score is None and choice.column == AGGREGATE
    question = _Question(
        project=project, run=run, choice=choice, ground=ground, overall=overall, reporter=listener
    )  # fmt: skip
    found = _cover(question) if choice.described.covers else _BY_SCORE[choice.strategy](question)
    notes = (*found.notes, *_about_budget(ground, found), *_about_guards(known, choice, ground, found))
    return replace(found, notes=notes)


def _about_guards(facts: Facts, choice: Choice, ground: Ground, found: Chosen) -> tuple[str, ...]:
    """That rows came in which no guard has looked at, where there are such."""
    if not choice.guards:
        return ()
    count = unchecked(facts, choice, found.rows[~ground.fit.include[found.rows]])
    if not count:
        return ()
    return (f"{count:,} of them joined the pool after it was checked, so no guard has looked at them: run `signals`.",)


def _about_budget(ground: Ground, found: Chosen) -> tuple[str, ...]:
    """What the rows hold of a budget that is not of rows, and how it was counted."""
    if ground.costs is None:
        return ()
    held = int(ground.costs[found.rows].sum())
    how = "" if ground.counted is None else f", {ground.counted.said}"
    passed = "; samples that did not fit any more were passed over" if len(found.rows) < ground.able.sum() else ""
    return (f"They hold {held:,} of {ground.budget.said}{how}{passed}.",)


def select(
    project: Project, choice: Choice, *, run: str, name: str, by: str, reporter: Reporter | None = None
) -> tuple[Selection, Chosen]:
    """Choose from the run named `run` and save the rows as the next version of `name`, with what the strategy gives:
    weights, or the order of the rows and what each gained.

    Raises `EngineError` as `choose` and `Project.save_selection` do; nothing is saved then.
    """
    record, facts = project.run(run), Facts(project)
    ground = ground_of(facts, record, choice, reporter=reporter)
    chosen = choose(project, record, choice, facts=facts, ground=ground, reporter=reporter)
    return save(project, record, choice, ground, chosen, facts=facts, name=name, by=by), chosen


def save(
    project: Project,
    run: RunRecord,
    choice: Choice,
    ground: Ground,
    chosen: Chosen,
    *,
    facts: Facts,
    name: str,
    by: str,
) -> Selection:
    """Keep what was chosen as the next version of `name`, with all it takes to choose it again."""
    spec: dict[str, Any] = {"run": run.name, "artifact": run.artifact, "method": run.method}
    spec |= {**described(project, run, choice), **recorded(facts, choice, ground), "rows": len(chosen.rows)}
    spec |= {"notes": list(chosen.notes)} if chosen.notes else {}
    return project.save_selection(
        name, spec=spec, rows=chosen.rows, by=by, weights=chosen.weights, order=chosen.order, gains=chosen.gains,
        reasons=chosen.reasons,
    )  # fmt: skip


def described(project: Project, run: RunRecord, choice: Choice) -> dict[str, Any]:
    """The settings of a choice as they are kept with a selection: target sets by name, and the map it went by."""
    said = choice.said()
    if "targets" in choice.described.settings:
        said["targets"] = list(target_names(project, run, choice))
    plane = project.latest_map() if "map" in choice.needs else None
    return said if plane is None else {**said, "map": plane.artifact}


def target_names(project: Project, run: RunRecord, choice: Choice) -> tuple[str, ...]:
    """The target sets that are covered: those asked for, else those of the run but the ones it avoids.

    Raises `EngineError` where there is none.
    """
    avoided = run.config.get("avoid") or ()
    names = choice.targets or tuple(name for name in run.targets if name not in avoided)
    if not names:
        known = ", ".join(target.name for target in project.targets()) or "none; add one with add-target"
        raise EngineError(
            f"The run {run.name!r} has no target to cover. Name target sets (there are: {known}), or choose by "
            "facility-location. Nothing was selected."
        )
    return names


def second_order_of(project: Project, run: RunRecord, n: int) -> dict[str, Any]:
    """The curvature that a run kept for its weights, and its η; nothing for a run of first order."""
    kept = run.summary.get("curvature")
    if not kept:
        return {}
    folder = project.artifacts / run.artifact
    coefficients = padded(load_array(folder, "coefficients"), n, np.nan)
    return {"curvature": Quadratic.low_rank(coefficients, load_array(folder, "curvature")), "eta": kept["eta"]}


def _cover(q: _Question) -> Chosen:
    used = "targets" in q.choice.described.settings
    names = target_names(q.project, q.run, q.choice) if used else ()
    return cover(q.project, q.run, q.choice, ground=q.ground, targets=names, reporter=q.reporter)


def _top(q: _Question) -> Chosen:
    return select_top(q.ground.score, q.ground.room, **q.people)


def _weights(q: _Question) -> Chosen:
    """To second order where the run kept curvature, which is that of its aggregate."""
    second = second_order_of(q.project, q.run, len(q.ground.score)) if q.overall else {}
    return select_weights(q.ground.score, q.ground.room, **q.people, **second)


def _round_robin(q: _Question) -> Chosen:
    matrix = load_array(q.project.artifacts / q.run.artifact, "matrix")
    if not matrix.shape[1]:
        raise EngineError(
            f"The run {q.run.name!r} has no target, so targets cannot take turns; use the highest scores (top), or "
            "another run. Nothing was selected."
        )
    values, names = padded(matrix, len(q.ground.score), np.nan), _item_names(q.run)
    return select_round_robin(values, q.ground.room, **q.people, seed=q.choice.seed, names=names)


_BY_SCORE: dict[str, Callable[[_Question], Chosen]] = {
    "top": _top,
    "round-robin": _round_robin,
    "weights": _weights,
}


def _item_names(run: RunRecord) -> list[str]:
    """A name per column of the matrix: its target set, and the item's number in it from 1."""
    return [f"{entry['name']}, item {item + 1}" for entry in run.summary["sets"] for item in entry["items"]]
