"""Adaptive rounds: more landmarks where the posterior variance is highest, until the fidelity asked for is reached.

Each round fits without the tuning rows and takes the Spearman correlation of their plain predictions with their exact
scores; below the fidelity asked for, a quarter more landmarks are measured, until `max_landmarks` (by default twice the
first number) is spent. The audit rows see none of this. (METHODS section 3, "Better landmarks".)
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from engine.influence.distillation import Measured
from engine.influence.fidelity import spearman
from engine.influence.landmarks import next_landmarks
from engine.influence.propagation import Propagation
from engine.influence.regression import RidgeConfig
from engine.influence.scores import Combination
from engine.runs.config import ScoreConfig

LEAST_ROUND = 16
GROWTH = 0.25


@dataclass(frozen=True)
class Adapted:
    """The landmarks after the last round, and the rounds: landmarks and the tuning slice's Spearman before each."""

    landmarks: Measured
    rounds: tuple[dict[str, Any], ...]
    note: str

    def to_dict(self) -> dict[str, Any]:
        """The rounds as JSON values."""
        return {"rounds": list(self.rounds), "note": self.note}


def adapt(
    config: ScoreConfig,
    features: np.ndarray,
    landmarks: Measured,
    tuning: Measured,
    *,
    ridge: RidgeConfig,
    combine: Combination,
    usable: np.ndarray,
    exclude: np.ndarray,
    measure: Callable[[int, np.ndarray], Measured],
) -> Adapted:
    """Add landmarks in rounds; `measure(round, rows)` measures them. `exclude` holds the audit and tuning rows.

    Without a fidelity asked for nothing is added.
    """
    if config.fidelity is None:
        return Adapted(landmarks, (), "")
    most = min(config.max_landmarks or 2 * len(landmarks.rows), len(usable) - len(exclude))
    rounds: list[dict[str, Any]] = []
    while True:
        rule = _fitted(features, landmarks, ridge)
        reached = _tuning_spearman(rule, features, tuning, combine)
        rounds.append({"landmarks": len(landmarks.rows), "spearman": reached})
        if reached is not None and reached >= config.fidelity:
            return Adapted(landmarks, tuple(rounds), f"The tuning slice reached Spearman {reached:.2f}.")
        count = min(max(LEAST_ROUND, round(GROWTH * len(landmarks.rows))), most - len(landmarks.rows))
        if count <= 0 or reached is None:
            return Adapted(landmarks, tuple(rounds), _why_ended(reached, config, len(landmarks.rows)))
        taken = np.concatenate([landmarks.rows, exclude])
        rows = next_landmarks(
            rule.ridge.variance(features),
            count,
            covariance=lambda some: rule.ridge.covariance(np.asarray(features[some])),  # noqa: B023 (used at once)
            noise=rule.ridge.noise,
            usable=usable,
            exclude=taken,
            seed=config.seed + len(rounds),
        )
        landmarks = landmarks + measure(len(rounds), np.sort(rows))


def _fitted(features: np.ndarray, landmarks: Measured, ridge: RidgeConfig) -> Propagation:
    good = landmarks.fittable(features)
    names = [str(j) for j in range(good.columns.shape[1])]
    return Propagation.fit(
        np.asarray(features[good.rows]), good.columns, good.columns[:, :0], names=names, config=ridge
    )


def _tuning_spearman(rule: Propagation, features: np.ndarray, tuning: Measured, combine: Combination) -> float | None:
    exact, said = combine(tuning.columns), combine(rule(np.asarray(features[tuning.rows]))[0])
    good = np.isfinite(exact) & np.isfinite(said)
    return spearman(exact[good], said[good]).value


def _why_ended(reached: float | None, config: ScoreConfig, count: int) -> str:
    if reached is None:
        return "The tuning slice is too small or too uniform to judge by; no landmarks were added."
    return (
        f"The tuning slice reached Spearman {reached:.2f} of the {config.fidelity:g} asked for when all {count} "
        "landmarks of the budget were spent."
    )
