"""Refinement of a landmark run: rows near the cut are measured, and what they say is learnt from before the next round.

Each round measures the rows most likely to be on the wrong side of the cut (`influence.refinement`), fits the
propagation again with them among the landmarks, and predicts anew the rows that are still in doubt. The rows are not a
uniform draw, so intervals keep their calibration by posterior variance, widened by what the round's errors say.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from engine.influence.distillation import Distilled, Measured
from engine.influence.propagation import Propagation
from engine.influence.refinement import Refined, refine
from engine.influence.regression import RidgeConfig
from engine.influence.scores import Combination
from engine.runs.config import ScoreConfig
from engine.runs.scored import REFINED, Scored
from engine.runs.trust import Trust
from engine.selection.sizes import size_of

ROUNDS = 6
LEAST_ROUND = 32
REACH = 6.0  # standard deviations from the cut beyond which a row is not predicted anew

MeasureRows = Callable[[str, np.ndarray], Measured]


@dataclass
class _Pool:
    """Plain predictions, their standard deviations and the exact scores (n,), NaN where there is none."""

    estimate: np.ndarray
    sigma: np.ndarray
    known: np.ndarray


def refine_scores(
    config: ScoreConfig,
    scored: Scored,
    features: np.ndarray,
    fitted: Measured,
    distilled: Distilled,
    trust: Trust,
    combine: Combination,
    measure: MeasureRows,
    ridge: RidgeConfig,
) -> dict[str, Any] | None:
    """Measure the rows near the cut that `config.refine` names, put what was found into `scored`, and describe it.

    None where no refinement was asked for; without intervals there is nothing to refine by, and the description says
    so. Raises `EngineError` for a size that the pool cannot meet.
    """
    if not config.refine:
        return None
    usable = int((distilled.status > 0).sum())
    k = size_of(config.refine, usable)
    if trust.plain is None or distilled.variance is None:
        sentence = "nothing was refined: without intervals it is not known which samples are in doubt."
        return _described(config, k, [], None, sentence)
    sigma = trust.plain.sigma(distilled.variance).astype(np.float64)
    pool = _Pool(distilled.plain.astype(np.float64), sigma, _known(distilled))
    pool.estimate[distilled.status == 0] = np.nan
    budget = math.floor(config.refine_budget * usable)
    per_round = max(LEAST_ROUND, math.ceil(budget / ROUNDS))
    rounds: list[Refined] = []
    taken = Measured.none(fitted.columns.shape[1], fitted.items.shape[1])

    def measured(rows: np.ndarray) -> np.ndarray:
        nonlocal taken
        found = measure(f"refinement, round {len(rounds) + 1}", np.sort(rows))
        taken = taken + found
        place = np.searchsorted(found.rows, rows)
        return combine(found.columns)[place]

    while len(taken.rows) < budget:
        left = min(per_round, budget - len(taken.rows))
        done = refine(
            pool.estimate, pool.sigma, pool.known, k, measured, confidence=config.confidence, budget=left, batch=left
        )
        rounds.append(done)
        fresh = done.measured
        if done.stable or not len(fresh):
            break
        _learn(pool, features, fitted, taken, distilled, trust, combine, ridge, done)
    _settle(scored, taken, combine)
    last = rounds[-1] if rounds else None
    return _described(config, k, rounds, last, _told(rounds, last))


def _told(rounds: list[Refined], last: Refined | None) -> str:
    count = sum(len(each.measured) for each in rounds)
    if last is None:
        return "no sample was left to measure."
    word = "stable" if last.stable else "not yet stable: the budget is spent"
    said = f"{count:,} samples in {len(rounds)} {'round' if len(rounds) == 1 else 'rounds'} measured exactly"
    return f"{said}; about {last.expected_errors:.1f} of the chosen samples are expected to be wrong ({word})."


def _known(distilled: Distilled) -> np.ndarray:
    return np.where(distilled.status == 1, distilled.score, np.nan).astype(np.float64)


def _learn(
    pool: _Pool,
    features: np.ndarray,
    fitted: Measured,
    taken: Measured,
    distilled: Distilled,
    trust: Trust,
    combine: Combination,
    ridge: RidgeConfig,
    done: Refined,
) -> None:
    """Fit again with the measured rows, and predict anew the rows in doubt; in place."""
    scores = combine(taken.columns)
    pool.known[taken.rows] = scores
    pool.estimate[taken.rows[~np.isfinite(scores)]] = np.nan
    known = (fitted + taken).fittable(features)
    rule = Propagation.fit(
        np.asarray(features[known.rows]), known.columns, known.columns[:, :0], names=distilled.sets, config=ridge
    )
    cut = float(done.score[done.chosen[-1]])
    near = np.abs(pool.estimate - cut) <= REACH * np.maximum(pool.sigma * done.sigma_factor, 1e-12)
    rows = np.flatnonzero(near & ~np.isfinite(pool.known) & np.isfinite(pool.estimate))
    if not len(rows) or trust.plain is None:
        return
    part = np.asarray(features[rows])
    pool.estimate[rows] = combine(rule(part)[0])
    pool.sigma[rows] = trust.plain.sigma(rule.ridge.variance(part)) * max(1.0, done.sigma_factor)


def _settle(scored: Scored, taken: Measured, combine: Combination) -> None:
    """Put the measured rows' exact values into the run's arrays."""
    arrays, rows = scored.arrays, taken.rows
    good = np.isfinite(taken.columns).all(axis=1)
    arrays["columns"][rows], arrays["matrix"][rows] = taken.columns, taken.items
    score = combine(taken.columns)
    arrays["score"][rows] = score
    arrays["status"][rows] = np.where(good, 1, 0)
    arrays["roles"][rows] |= REFINED
    for name, values in (("variance", 0.0), ("sigma", 0.0), ("low", score), ("high", score)):
        if name in arrays:
            arrays[name][rows] = np.where(good, values, np.nan)


def _described(
    config: ScoreConfig, k: int, rounds: list[Refined], last: Refined | None, sentence: str
) -> dict[str, Any]:
    return {
        "size": config.refine,
        "k": k,
        "rows": sum(len(each.measured) for each in rounds),
        "rounds": len(rounds),
        "stable": bool(last is not None and last.stable),
        "expected_errors": None if last is None else last.expected_errors,
        "sentence": f"Refinement of the top {k:,}: {sentence}",
    }
