"""Choosing a subset from a finished run: scores, people's decisions and a strategy become a saved selection.

The strategies are `engine.selection`, the decisions and selections `engine.store`; this joins them. Approved rows are
always in, rejected rows never, unscored rows only where a person approved them.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from engine.errors import EngineError
from engine.influence.quadratic import Quadratic
from engine.selection.eligible import eligible
from engine.selection.sizes import size_of
from engine.selection.strategies import STRATEGY_NAMES, Chosen, select_round_robin, select_top
from engine.selection.weighted import select_weights
from engine.store.artifacts import load_array
from engine.store.project import Project
from engine.store.records import RunRecord
from engine.store.selections import Selection

_BY_SCORE: dict[str, Callable[..., Chosen]] = {"top": select_top, "weights": select_weights}


def choose(project: Project, run: RunRecord, *, size: str, strategy: str, seed: int = 0) -> Chosen:
    """The rows that `strategy` chooses from the scores of `run`; saves nothing.

    `size`: "500", or "10%" of the usable rows. Raises `EngineError` for an unknown strategy, a size that cannot be
    met, or a run without targets under round-robin.
    """
    if strategy not in STRATEGY_NAMES:
        known = ", ".join(STRATEGY_NAMES)
        raise EngineError(f"There is no strategy {strategy!r}; strategies: {known}. Nothing was saved.")
    folder, decisions = project.artifacts / run.artifact, project.decisions()
    n = len(decisions)
    status = _padded(load_array(folder, "status"), n, 0)
    masks = eligible(decisions, scorable=status > 0)
    k = size_of(size, n)
    if strategy in _BY_SCORE:
        score = _padded(load_array(folder, "score"), n, np.nan)
        second = second_order_of(project, run, n) if strategy == "weights" else {}
        return _BY_SCORE[strategy](score, k, include=masks.include, exclude=masks.exclude, **second)
    matrix, names = load_array(folder, "matrix"), _item_names(run)
    if not matrix.shape[1]:
        raise EngineError(f"The run {run.name!r} has no target, so targets cannot take turns; use the strategy top.")
    values = _padded(matrix, n, np.nan)
    return select_round_robin(values, k, include=masks.include, exclude=masks.exclude, seed=seed, names=names)


def select(
    project: Project, *, run: str, size: str, strategy: str, name: str, by: str, seed: int = 0
) -> tuple[Selection, Chosen]:
    """Choose from the run named `run` and save the rows, with their weights if any, as the next version of `name`.

    Raises `EngineError` as `choose` and `Project.save_selection` do; nothing is saved then.
    """
    record = project.run(run)
    chosen = choose(project, record, size=size, strategy=strategy, seed=seed)
    spec: dict[str, Any] = {"run": run, "artifact": record.artifact, "method": record.method}
    spec |= {"strategy": strategy, "size": size, "rows": len(chosen.rows), "seed": seed}
    spec |= {"notes": list(chosen.notes)} if chosen.notes else {}
    return project.save_selection(name, spec=spec, rows=chosen.rows, weights=chosen.weights, by=by), chosen


def second_order_of(project: Project, run: RunRecord, n: int) -> dict[str, Any]:
    """The curvature that a run kept for its weights, and its η; nothing for a run of first order."""
    kept = run.summary.get("curvature")
    if not kept:
        return {}
    folder = project.artifacts / run.artifact
    coefficients = _padded(load_array(folder, "coefficients"), n, np.nan)
    return {"curvature": Quadratic.low_rank(coefficients, load_array(folder, "curvature")), "eta": kept["eta"]}


def _padded(values: np.ndarray, n: int, missing: float) -> np.ndarray:
    """`values` of the rows a run covers, `missing` for rows added later."""
    if len(values) == n:
        return values
    whole = np.full((n, *values.shape[1:]), missing, dtype=values.dtype)
    whole[: len(values)] = values
    return whole


def _item_names(run: RunRecord) -> list[str]:
    """A name per column of the matrix: its target set, and the item's number in it from 1."""
    return [f"{described['name']}, item {item + 1}" for described in run.summary["sets"] for item in described["items"]]
