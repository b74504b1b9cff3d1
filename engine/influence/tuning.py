"""Choosing the regression's settings on rows held out for it: kernel, bandwidth, ridge, standardisation.

Notation. l landmarks, m tuning rows with exact scores (never audit rows). Each setting fits the landmarks and predicts
the tuning rows; its score is the Spearman correlation over them, of the mean column or as the mean over columns. One
eigendecomposition K = V Λ Vᵀ per kernel and bandwidth serves every ridge: A⁻¹ = V (Λ + δ·mean(diag K))⁻¹ Vᵀ.

The best of many settings looks good by luck alone. The default is kept unless the best beats it by more than
`ERRORS` standard errors of their difference, bootstrapped over the tuning rows. (METHODS section 1: `PAPER`.)
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np
from scipy.linalg import eigh
from scipy.stats import rankdata

from engine.errors import EngineError
from engine.influence.kernels import (
    KERNELS,
    KernelName,
    mean_squared_norm,
    median_distance,
    scaling_of,
)
from engine.influence.regression import RidgeConfig

Criterion = Literal["mean", "columns"]

PAPER = RidgeConfig(kernel="rbf", bandwidth_factor=1.0, ridge=1e-2, standardise=False)  # arXiv 2505.19051
FACTORS = (0.5, 0.7, 1.0, 1.4, 2.0, 3.0)
RIDGES = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
LEAST_ROWS = 20
MOST_LANDMARKS = 2048  # an eigendecomposition of more takes minutes; the rest is left out of the search
ERRORS = 2.0
RESAMPLES = 200


@dataclass(frozen=True)
class Trial:
    """One setting and its Spearman correlation on the tuning rows; None where its predictions are constant."""

    kernel: KernelName
    bandwidth_factor: float
    ridge: float
    standardise: bool
    score: float | None


@dataclass(frozen=True)
class Tuned:
    """The chosen settings; every trial in order of trying; the default's and the best trial's scores.

    `error` is the bootstrap standard error of their difference, `sentence` what was decided and why, `notes` what the
    search left out.
    """

    config: RidgeConfig
    trials: tuple[Trial, ...]
    default_score: float | None
    best_score: float | None
    error: float | None
    sentence: str
    notes: tuple[str, ...]


def tune(
    embeddings: np.ndarray,
    scores: np.ndarray,
    held_embeddings: np.ndarray,
    held_scores: np.ndarray,
    *,
    default: RidgeConfig = PAPER,
    kernels: Sequence[KernelName] = get_args(KernelName),
    factors: Sequence[float] = FACTORS,
    ridges: Sequence[float] = RIDGES,
    standardise: Sequence[bool] = (False, True),
    by: Criterion = "mean",
    seed: int = 0,
) -> Tuned:
    """Settings for landmarks (l, e) with scores (l, s), judged on tuning rows (m, e) with exact scores (m, s).

    Rows that are not finite are left out on both sides and counted. Under `LEAST_ROWS` tuning rows, or with scores
    that do not vary, the default is kept and the sentence says so. Raises `EngineError` for shapes that do not match.
    """
    _check(embeddings, scores, held_embeddings, held_scores)
    rows, known, held, truth, notes = _usable(embeddings, scores, held_embeddings, held_scores, seed)
    reason = _too_little(len(rows), truth)
    if reason:
        return Tuned(default, (), None, None, None, f"Settings kept as they were: {reason}.", notes)
    grid = _grid(default, kernels, factors, ridges, standardise)
    trials, predicted = [], []
    for config, found in _predictions(rows, known, held, grid, seed):
        score = _criterion(truth, found, by)
        trials.append(Trial(config.kernel, config.bandwidth_factor, config.ridge, config.standardise, _finite(score)))
        predicted.append((config, found, score))
    return _decision(default, trials, predicted, truth, by, seed, notes)


def _decision(
    default: RidgeConfig,
    trials: list[Trial],
    predicted: list[tuple[RidgeConfig, np.ndarray, float]],
    truth: np.ndarray,
    by: Criterion,
    seed: int,
    notes: tuple[str, ...],
) -> Tuned:
    base = next(item for item in predicted if item[0] == _plain(default))
    best = max(predicted, key=lambda item: -np.inf if np.isnan(item[2]) else item[2])
    error = _error(truth, base[1], best[1], by, seed)
    gain = best[2] - base[2]
    told = f"Spearman {best[2]:.3f} on {len(truth)} tuning samples against {base[2]:.3f} for {_named(base[0])}"
    scores = (_finite(base[2]), _finite(best[2]), error if np.isfinite(error) else None)
    if np.isnan(best[2]) or best[0] == base[0]:
        said = f"Settings kept: none of {len(trials)} tried did better than {_named(base[0])} ({base[2]:.3f})."
        return Tuned(default, tuple(trials), *scores, said, notes)
    if not np.isnan(base[2]) and not gain > ERRORS * error:
        said = f"Settings kept: the best of {len(trials)} tried, {_named(best[0])}, gave {told}: a gain within noise"
        return Tuned(default, tuple(trials), *scores, f"{said} (standard error {error:.3f}).", notes)
    chosen = replace(best[0], precision=default.precision, seed=default.seed)
    said = f"Settings chosen among {len(trials)}: {_named(chosen)}, {told}."
    return Tuned(chosen, tuple(trials), *scores, said, notes)


def _predictions(
    rows: np.ndarray, known: np.ndarray, held: np.ndarray, grid: list[RidgeConfig], seed: int
) -> Iterator[tuple[RidgeConfig, np.ndarray]]:
    """Each setting with its prediction (m, s); settings that differ in the ridge alone share a decomposition."""
    groups: dict[RidgeConfig, list[RidgeConfig]] = {}
    for config in grid:
        groups.setdefault(replace(config, ridge=0.0), []).append(config)
    for shared, members in groups.items():
        scaling = scaling_of(rows, standardise=shared.standardise, dtype=np.dtype(np.float64))
        left, right = scaling(rows), scaling(held)
        parameter = _parameter(shared, left, seed)
        gram = KERNELS[shared.kernel](left, left, parameter)
        level = float(np.diagonal(gram).mean())
        values, vectors = eigh(gram, overwrite_a=True, check_finite=False)
        values = np.maximum(values, 0)
        cross = KERNELS[shared.kernel](right, left, parameter) @ vectors  # (m, l)
        turned = vectors.T @ known  # (l, s)
        for config in members:
            floor = max(config.ridge, 1e-12) * level
            yield config, cross @ (turned / (values + floor)[:, None])


def _parameter(config: RidgeConfig, rows: np.ndarray, seed: int) -> float:
    if config.kernel == "linear":
        return mean_squared_norm(rows)
    sigma = config.bandwidth if config.bandwidth is not None else median_distance(rows, seed=seed)[0]
    return config.bandwidth_factor * sigma


def _grid(
    default: RidgeConfig,
    kernels: Sequence[KernelName],
    factors: Sequence[float],
    ridges: Sequence[float],
    standardise: Sequence[bool],
) -> list[RidgeConfig]:
    """All settings, the default first, each once; a linear kernel has no bandwidth."""
    found = [_plain(default)]
    for kernel in kernels:
        for scaled in standardise:
            for factor in factors if kernel == "rbf" else (1.0,):
                found += [
                    RidgeConfig(kernel=kernel, bandwidth_factor=factor, ridge=ridge, standardise=scaled)
                    for ridge in ridges
                ]
    return list(dict.fromkeys(found))


def _plain(config: RidgeConfig) -> RidgeConfig:
    """The setting without what the search does not touch."""
    return replace(config, precision="auto", seed=0)


def _criterion(truth: np.ndarray, found: np.ndarray, by: Criterion) -> float:
    if by == "mean":
        truth, found = truth.mean(axis=1, keepdims=True), found.mean(axis=1, keepdims=True)
    values = [_rank_correlation(truth[:, j], found[:, j]) for j in range(truth.shape[1])]
    defined = [value for value in values if not np.isnan(value)]
    return float(np.mean(defined)) if defined else float("nan")


def _rank_correlation(first: np.ndarray, second: np.ndarray) -> float:
    a, b = rankdata(first), rankdata(np.round(second, 12))
    a, b = a - a.mean(), b - b.mean()
    scale = float(np.sqrt((a @ a) * (b @ b)))
    return float(a @ b) / scale if scale > 0 else float("nan")


def _error(truth: np.ndarray, base: np.ndarray, best: np.ndarray, by: Criterion, seed: int) -> float:
    """Bootstrap standard error of the gain; infinite where it is mostly undefined."""
    generator = np.random.default_rng((seed, 7))
    gains = []
    for _ in range(RESAMPLES):
        draw = generator.integers(0, len(truth), len(truth))
        gains.append(_criterion(truth[draw], best[draw], by) - _criterion(truth[draw], base[draw], by))
    defined = np.array(gains)[np.isfinite(gains)]
    return float(defined.std()) if 2 * len(defined) >= RESAMPLES else float("inf")


def _usable(
    embeddings: np.ndarray, scores: np.ndarray, held: np.ndarray, held_scores: np.ndarray, seed: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, tuple[str, ...]]:
    rows, known = _finite_rows(embeddings, scores)
    tuning, truth = _finite_rows(held, held_scores)
    lost = len(embeddings) - len(rows) + len(held) - len(tuning)
    notes = (f"{lost} landmarks or tuning samples that are not finite were left out of the search.",) if lost else ()
    if len(rows) > MOST_LANDMARKS:
        notes = (*notes, f"Settings were tried on {MOST_LANDMARKS} of {len(rows)} landmarks, drawn uniformly.")
        chosen = np.random.default_rng((seed, 8)).permutation(len(rows))[:MOST_LANDMARKS]
        rows, known = rows[chosen], known[chosen]
    return rows, known, tuning, truth, notes


def _finite_rows(embeddings: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    known = np.asarray(scores, dtype=np.float64)
    known = known[:, None] if known.ndim == 1 else known
    good = np.isfinite(embeddings).all(axis=1) & np.isfinite(known).all(axis=1)
    return np.asarray(embeddings[good], dtype=np.float64), known[good]


def _too_little(landmarks: int, truth: np.ndarray) -> str:
    if len(truth) < LEAST_ROWS:
        return f"{len(truth)} tuning samples are too few to choose by (at least {LEAST_ROWS})"
    if landmarks < 2:
        return f"{landmarks} landmarks are too few to choose by"
    if np.ptp(truth.mean(axis=1)) == 0:
        return "the exact scores of the tuning samples do not vary"
    return ""


def _check(embeddings: np.ndarray, scores: np.ndarray, held: np.ndarray, held_scores: np.ndarray) -> None:
    for noun, rows, known in (("landmarks", embeddings, scores), ("tuning samples", held, held_scores)):
        if np.ndim(rows) != 2 or len(rows) != len(known):
            raise EngineError(
                f"Tuning needs one row of scores per row: the {noun} have embeddings of shape {np.shape(rows)} and "
                f"scores of shape {np.shape(known)}. Nothing was chosen."
            )
    if embeddings.shape[1] != held.shape[1] or np.shape(scores)[1:] != np.shape(held_scores)[1:]:
        raise EngineError(
            f"Landmarks {embeddings.shape} with scores {np.shape(scores)} and tuning samples {held.shape} with "
            f"{np.shape(held_scores)} must have as many coordinates and columns. Nothing was chosen."
        )


def _named(config: RidgeConfig) -> str:
    width = f", {config.bandwidth_factor:g} × median bandwidth" if config.kernel == "rbf" else ""
    if config.kernel == "rbf" and config.bandwidth is not None:
        width = f", bandwidth {config.bandwidth * config.bandwidth_factor:g}"
    return f"{config.kernel}{width}, ridge {config.ridge:g}{', standardised' if config.standardise else ''}"


def _finite(value: float) -> float | None:
    return None if np.isnan(value) else value
