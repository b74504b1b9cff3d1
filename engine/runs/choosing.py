"""Choosing a subset from a finished run: scores, people's decisions and a strategy become a saved selection.

The strategies are `engine.selection`, the decisions and selections `engine.store`; this joins them. Approved rows are
always in, rejected rows never, unscored rows only where a person approved them. Rows that represent others are chosen
in `covering`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from engine.errors import EngineError
from engine.influence.quadratic import Quadratic
from engine.progress import Reporter, Silent
from engine.runs.choice import Choice
from engine.runs.covering import cover
from engine.selection.eligible import Eligible, eligible
from engine.selection.sizes import size_of
from engine.selection.strategies import Chosen, select_round_robin, select_top
from engine.selection.weighted import select_weights
from engine.store.artifacts import load_array
from engine.store.project import Project
from engine.store.records import RunRecord
from engine.store.selections import Selection


@dataclass(frozen=True, kw_only=True)
class _Question:
    """What a strategy is asked: `score` (n,), the masks `fit`, k rows; `overall`: the score is the run's aggregate."""

    project: Project
    run: RunRecord
    choice: Choice
    score: np.ndarray
    overall: bool
    fit: Eligible
    k: int
    reporter: Reporter


def choose(
    project: Project,
    run: RunRecord,
    choice: Choice,
    *,
    score: np.ndarray | None = None,
    barred: np.ndarray | None = None,
    reporter: Reporter | None = None,
) -> Chosen:
    """The rows that `choice` takes from the scores of `run`; saves nothing.

    `score` (covered,): those of one target set in place of the run's aggregate. `barred` bool (n,): rows left out
    unless a person approved them. Raises `EngineError` for a size that cannot be met, or where the project lacks what
    the strategy needs: targets, a map, owned data.
    """
    decisions = project.decisions()
    n = len(decisions)
    given = load_array(project.artifacts / run.artifact, "score") if score is None else np.asarray(score)
    values = _padded(given, n, np.nan)
    question = _Question(
        project=project,
        run=run,
        choice=choice,
        score=values,
        overall=score is None,
        fit=eligible(decisions, scorable=np.isfinite(values), barred=barred),
        k=size_of(choice.size, n),
        reporter=reporter or Silent(),
    )
    return _cover(question) if choice.described.covers else _BY_SCORE[choice.strategy](question)


def select(
    project: Project, choice: Choice, *, run: str, name: str, by: str, reporter: Reporter | None = None
) -> tuple[Selection, Chosen]:
    """Choose from the run named `run` and save the rows as the next version of `name`, with what the strategy gives:
    weights, or the order of the rows and what each gained.

    Raises `EngineError` as `choose` and `Project.save_selection` do; nothing is saved then.
    """
    record = project.run(run)
    chosen = choose(project, record, choice, reporter=reporter)
    spec: dict[str, Any] = {"run": run, "artifact": record.artifact, "method": record.method}
    spec |= {**described(project, record, choice), "rows": len(chosen.rows)}
    spec |= {"notes": list(chosen.notes)} if chosen.notes else {}
    saved = project.save_selection(
        name, spec=spec, rows=chosen.rows, weights=chosen.weights, order=chosen.order, gains=chosen.gains, by=by
    )
    return saved, chosen


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
    coefficients = _padded(load_array(folder, "coefficients"), n, np.nan)
    return {"curvature": Quadratic.low_rank(coefficients, load_array(folder, "curvature")), "eta": kept["eta"]}


def _cover(q: _Question) -> Chosen:
    used = "targets" in q.choice.described.settings
    names = target_names(q.project, q.run, q.choice) if used else ()
    return cover(q.project, q.run, q.choice, score=q.score, fit=q.fit, k=q.k, targets=names, reporter=q.reporter)


def _top(q: _Question) -> Chosen:
    return select_top(q.score, q.k, include=q.fit.include, exclude=q.fit.exclude)


def _weights(q: _Question) -> Chosen:
    """To second order where the run kept curvature, which is that of its aggregate."""
    second = second_order_of(q.project, q.run, len(q.score)) if q.overall else {}
    return select_weights(q.score, q.k, include=q.fit.include, exclude=q.fit.exclude, **second)


def _round_robin(q: _Question) -> Chosen:
    matrix = load_array(q.project.artifacts / q.run.artifact, "matrix")
    if not matrix.shape[1]:
        raise EngineError(
            f"The run {q.run.name!r} has no target, so targets cannot take turns; use the highest scores (top), or "
            "another run. Nothing was selected."
        )
    values, names = _padded(matrix, len(q.score), np.nan), _item_names(q.run)
    return select_round_robin(
        values, q.k, include=q.fit.include, exclude=q.fit.exclude, seed=q.choice.seed, names=names
    )


_BY_SCORE: dict[str, Callable[[_Question], Chosen]] = {
    "top": _top,
    "round-robin": _round_robin,
    "weights": _weights,
}


def _padded(values: np.ndarray, n: int, missing: float) -> np.ndarray:
    """`values` of the rows a run covers, `missing` for rows added later."""
    if len(values) == n:
        return values
    whole = np.full((n, *values.shape[1:]), missing, dtype=values.dtype)
    whole[: len(values)] = values
    return whole


def _item_names(run: RunRecord) -> list[str]:
    """A name per column of the matrix: its target set, and the item's number in it from 1."""
    return [f"{entry['name']}, item {item + 1}" for entry in run.summary["sets"] for item in entry["items"]]
