"""`auto`: which embedding buys the most fidelity for a run's budget, judged on a small pilot that was scored exactly.

Notation. m pilot rows with exact scores (m, s), combined to one score each; candidate c has features (m, e_c) and
costs a_c seconds per row, exact scoring costs b seconds per row. A run over n rows with l landmarks costs n·a_c + l·b.

The rule. Every candidate predicts the pilot rows it was not fitted on (kernel ridge, K folds): ρ_c is the Spearman
correlation with the exact scores, at all training rows and at a half and a quarter of them. With budget B a candidate
affords l_c = (B − n·a_c)/b landmarks (at most n): cheaper features leave more for landmarks. Its *expected fidelity*
is 1 − (1 − ρ_c)·(l_pilot/l_c)^γ_c, the power law through the three sizes; γ_c is clipped to 0…1, averaged with the
candidates' median, and followed at most `REACH`-fold beyond the pilot. The pick is the cheapest candidate per row
whose expected fidelity is within one bootstrap standard error of the best; ties go to the higher one, then to the one
given first. Without a budget, B is what the dearest usable candidate costs with the number of landmarks given.

Pure: draws nothing but its folds and resamples, by seed. The pilot rows must not be audit rows. (METHODS section 3.)
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, get_args

import numpy as np

from engine.errors import EngineError
from engine.influence.fidelity import spearman, within_groups
from engine.influence.regression import KernelRidge
from engine.influence.ridge_config import RidgeConfig
from engine.influence.scores import Combination

Spend = Literal["equal-cost", "same-landmarks"]

FOLDS = 5
SHARES = (0.25, 0.5, 1.0)  # of the training rows of a fold: the points of the learning curve
REACH = 8.0
LEAST_ROWS = 20
LEAST_LANDMARKS = 8
LEAST_SHARE = 0.9  # of the scored pilot rows must have features
QUANTILES = 4
RESAMPLES = 200


@dataclass(frozen=True)
class Candidate:
    """An embedding tried on the pilot: its features (m, e), and what it costs in seconds per row."""

    name: str
    features: np.ndarray
    seconds: float


@dataclass(frozen=True)
class Tried:
    """What a candidate did. Figures are None where it failed, and `reason` then says why.

    `fidelity` is ρ at `fitted` training rows, `error` its bootstrap standard error, `within` the mean Spearman inside
    quarters of the exact score, `slope` γ, `landmarks` those the budget affords, `expected` the fidelity there.
    """

    name: str
    seconds: float
    fidelity: float | None = None
    error: float | None = None
    within: float | None = None
    fitted: int = 0
    slope: float | None = None
    landmarks: int = 0
    expected: float | None = None
    reason: str = ""


@dataclass(frozen=True)
class Pilot:
    """The pick, why, and the table of candidates in the order given.

    `landmarks` are those the pick may use, `budget` the seconds of the run that all candidates were given, `rows` the
    pilot rows that were judged on.
    """

    pick: str
    sentence: str
    candidates: tuple[Tried, ...]
    landmarks: int
    budget: float
    rows: int
    notes: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Everything as JSON values."""
        return asdict(self)


def choose_embedding(
    candidates: Sequence[Candidate],
    exact: np.ndarray,
    *,
    exact_seconds: float,
    pool_rows: int,
    landmarks: int,
    budget: float | None = None,
    spend: Spend = "equal-cost",
    config: RidgeConfig | None = None,
    combine: Combination | None = None,
    seed: int = 0,
) -> Pilot:
    """Pick one of the `candidates` by held-out fidelity at equal cost on pilot rows with `exact` scores (m, s) or (m,).

    With `spend` "same-landmarks" every candidate is judged at `landmarks`, whatever it costs. Rows whose exact score
    is not finite, or that a usable candidate has no features for, are left out for all. Raises `EngineError` for
    shapes, counts or seconds out of range, too few rows, or when no candidate can be used; a failing candidate alone
    is reported with its reason.
    """
    scores = np.asarray(exact, dtype=np.float64)
    scores = scores[:, None] if scores.ndim == 1 else scores
    _check(candidates, scores, exact_seconds, pool_rows, landmarks, budget, spend)
    usable, failed, rows = _usable(candidates, scores)
    settings = config or RidgeConfig()
    tried = {c.name: _curve(c, scores[rows], rows, settings, combine or Combination(), seed) for c in usable}
    tried |= failed
    alive = [each for each in tried.values() if each.fidelity is not None]
    if not alive:
        reasons = "; ".join(f"{each.name}: {each.reason}" for each in tried.values())
        raise EngineError(f"No embedding can be used on the pilot ({reasons}). Choose one yourself, or score exactly.")
    total = landmarks * exact_seconds + pool_rows * max(c.seconds for c in alive) if budget is None else float(budget)
    middle = float(np.median([each.slope for each in alive if each.slope is not None]))
    table = tuple(
        _expected(tried[c.name], middle, _afforded(c, total, exact_seconds, pool_rows, landmarks, spend))
        for c in candidates
    )
    best, pick = _pick(table, total)
    return Pilot(pick.name, _sentence(best, pick, table, spend), table, pick.landmarks, total, len(rows), _notes(table))


def _check(
    candidates: Sequence[Candidate],
    scores: np.ndarray,
    exact_seconds: float,
    pool_rows: int,
    landmarks: int,
    budget: float | None,
    spend: str,
) -> None:
    if not candidates or len({c.name for c in candidates}) != len(candidates):
        raise EngineError(f"A pilot compares embeddings of different names; got {[c.name for c in candidates]}.")
    wrong = [
        f"{c.name} {c.features.shape}" for c in candidates if c.features.ndim != 2 or len(c.features) != len(scores)
    ]
    if wrong or scores.ndim != 2 or scores.shape[1] == 0:
        raise EngineError(
            f"The pilot has exact scores {scores.shape}, but features of: {', '.join(wrong) or 'no shape'}."
        )
    seconds = [exact_seconds, *(c.seconds for c in candidates), *(() if budget is None else (budget,))]
    if not all(np.isfinite(s) and s >= 0 for s in seconds) or exact_seconds == 0:
        raise EngineError(f"Costs are seconds of at least 0, and exact scoring is never free; got {seconds}.")
    if not 1 <= landmarks <= pool_rows:
        raise EngineError(f"{landmarks} landmarks in a pool of {pool_rows} samples; give 1 to {pool_rows}.")
    if spend not in get_args(Spend):
        raise EngineError(f"spend is {spend!r}; it must be one of: {', '.join(get_args(Spend))}.")


def _usable(
    candidates: Sequence[Candidate], scores: np.ndarray
) -> tuple[list[Candidate], dict[str, Tried], np.ndarray]:
    """The candidates that have features, those that have not, and the rows (m',) that all of the former share."""
    known = np.isfinite(scores).all(axis=1)
    if known.sum() < LEAST_ROWS:
        raise EngineError(
            f"{known.sum()} of the {len(scores)} pilot samples have exact scores; at least {LEAST_ROWS} are needed to "
            "choose an embedding. Make the pilot larger, or choose one yourself."
        )
    usable: list[Candidate] = []
    failed: dict[str, Tried] = {}
    rows = known
    for candidate in candidates:
        finite = np.isfinite(candidate.features).all(axis=1) & known
        reason = ""
        if finite.sum() < LEAST_SHARE * known.sum() or (rows & finite).sum() < LEAST_ROWS:
            reason = f"it has features for only {finite.sum()} of {known.sum()} samples"
        elif np.ptp(candidate.features[finite], axis=0).max(initial=0) == 0:
            reason = "its features are the same for every sample"
        if reason:
            failed[candidate.name] = Tried(candidate.name, candidate.seconds, reason=reason)
            continue
        usable.append(candidate)
        rows = rows & finite
    return usable, failed, np.flatnonzero(rows)


def _curve(
    candidate: Candidate, scores: np.ndarray, rows: np.ndarray, config: RidgeConfig, combine: Combination, seed: int
) -> Tried:
    """Held-out fidelity at each size of `SHARES`, its error, and the slope of the power law through them."""
    tried = Tried(candidate.name, candidate.seconds)
    features, truth = candidate.features[rows], combine(scores)
    try:
        guesses = [combine(_held_out(features, scores, config, share, seed)) for share in SHARES]
    except EngineError as error:
        return replace(tried, reason=str(error))
    found = [spearman(truth, guess) for guess in guesses]
    value = found[-1].value
    if value is None:
        return replace(tried, reason=found[-1].reason)
    sizes = [_fitted(len(rows), share) for share in SHARES]
    losses = [1.0 if each.value is None else 1 - each.value for each in found]
    slope = -float(np.polyfit(np.log(sizes), np.log(np.maximum(losses, 1e-6)), 1)[0])
    quarters = np.argsort(np.argsort(truth, kind="stable")) * QUANTILES // len(truth)
    within = within_groups(truth, guesses[-1], quarters, least=3).mean.value
    deviation = _bootstrap(truth, guesses[-1], seed)
    return replace(
        tried, fidelity=value, error=deviation, within=within, fitted=sizes[-1], slope=float(np.clip(slope, 0, 1))
    )


def _held_out(features: np.ndarray, scores: np.ndarray, config: RidgeConfig, share: float, seed: int) -> np.ndarray:
    """Predictions (m, s) of every row from a share of the rows outside its fold."""
    order = np.random.default_rng((seed, 11)).permutation(len(features))
    found = np.full(scores.shape, np.nan)
    for fold in range(FOLDS):
        held = order[fold::FOLDS]
        train = np.setdiff1d(order, held, assume_unique=True)
        train = train[np.random.default_rng((seed, 12, fold)).permutation(len(train))]
        train = train[: _fitted(len(features), share)]
        found[held] = KernelRidge.from_config(features[train], scores[train], config).predict(features[held])
    return found


def _fitted(rows: int, share: float) -> int:
    """How many rows a fold fits at a share of its training rows."""
    return max(2, round(share * (rows - -(-rows // FOLDS))))


def _bootstrap(truth: np.ndarray, guess: np.ndarray, seed: int) -> float:
    """The standard error of the Spearman correlation over resampled rows."""
    draws = np.random.default_rng((seed, 13)).integers(0, len(truth), (RESAMPLES, len(truth)))
    values = [spearman(truth[d], guess[d]).value for d in draws]
    return float(np.std([v for v in values if v is not None]))


def _afforded(
    candidate: Candidate, budget: float, exact_seconds: float, pool_rows: int, landmarks: int, spend: Spend
) -> int:
    if spend == "same-landmarks":
        return landmarks
    left = (budget - pool_rows * candidate.seconds) / exact_seconds
    return int(np.clip(np.floor(left + 1e-9), 0, pool_rows))


def _expected(tried: Tried, middle: float, landmarks: int) -> Tried:
    """The candidate with the fidelity expected at its landmarks."""
    if tried.fidelity is None or tried.slope is None:
        return tried
    if landmarks < min(LEAST_LANDMARKS, tried.fitted):
        return replace(tried, landmarks=landmarks, reason=f"the budget leaves it {landmarks} landmarks")
    ratio = min(landmarks / tried.fitted, REACH)
    expected = 1 - (1 - tried.fidelity) * ratio ** -((tried.slope + middle) / 2)
    return replace(tried, landmarks=landmarks, expected=float(max(expected, -1.0)))


def _pick(table: Sequence[Tried], budget: float) -> tuple[Tried, Tried]:
    """The candidate expected to be best, and the one picked."""
    judged = [(each.expected, each) for each in table if each.expected is not None]
    if not judged:
        raise EngineError(
            f"A budget of {budget:.3g} seconds leaves no embedding any landmarks. Raise it, or take a smaller pool."
        )
    top, best = max(judged, key=lambda pair: pair[0])
    close = [(value, each) for value, each in judged if value >= top - (best.error or 0.0)]
    return best, min(close, key=lambda pair: (pair[1].seconds, -pair[0]))[1]


def _sentence(best: Tried, pick: Tried, table: Sequence[Tried], spend: Spend) -> str:
    judged = sum(each.expected is not None for each in table)
    terms = "at equal cost" if spend == "equal-cost" else "at the same number of landmarks"
    what = (
        f"Embedding '{pick.name}' picked of {judged} {terms}: expected fidelity {pick.expected:.2f} with "
        f"{pick.landmarks} landmarks (held-out Spearman {pick.fidelity:.2f} ± {pick.error:.2f} with {pick.fitted})"
    )
    if pick.name == best.name:
        return f"{what}; the highest, and no cheaper one is within its standard error."
    return (
        f"{what}; it is the cheapest within one standard error ({best.error:.2f}) of the highest, "
        f"'{best.name}' with {best.expected:.2f}."
    )


def _notes(table: Sequence[Tried]) -> tuple[str, ...]:
    return tuple(f"Embedding '{each.name}' was not judged: {each.reason}." for each in table if each.expected is None)
