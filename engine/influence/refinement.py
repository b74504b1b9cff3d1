"""Refinement: rows near the cut are measured exactly, in rounds, until the chosen top k is stable.

Notation. n rows; μ (n,) estimated scores with standard deviations σ (n,), exact scores where they are known. The top k
is cut at a level τ at which the expected number of rows above it is k: Σ p_i = k with p_i = P(score_i > τ), normal for
estimated rows, 0 or 1 for exact ones. The expected number of wrong members of the chosen k is Σ_{chosen} (1 − p_i). A
round measures the rows most likely to be on the wrong side: 1 − p_i of the chosen, p_i of the others. Rounds end when
the expected errors are at most (1 − confidence)·k, when the budget is spent, or when no row is left in doubt.

What a round measures also corrects what is not measured yet: μ by a shift and a slope (a Bayesian line through the
fresh residuals, drawn to no correction), σ by one factor from the residuals' size. Rows are chosen by μ and σ alone,
never by their exact score, so the residuals are fair. One round is always measured before a cut between estimates is
called stable: a σ that is too small must be found out. (METHODS section 3, "Refinement".)
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.stats import norm

from engine.errors import EngineError

Measure = Callable[[np.ndarray], np.ndarray]

PRIOR_ROWS = 10  # what the stated σ counts for against the fresh residuals
SLOPE_SPREAD = 0.25  # how far the slope is expected to be from 1
DOUBT = 1e-9  # below this chance of being misplaced a row is not worth a measurement
BISECTIONS = 100


@dataclass(frozen=True)
class Refined:
    """What refinement found.

    `score` (n,) float64 is exact where known or measured, the corrected estimate elsewhere, NaN for rows that cannot
    be scored. `measured` (b,) int64 are the rows measured, in order. `stable` says whether `expected_errors`, the
    number of wrong rows among the chosen k, is at most (1 − confidence)·k. `chosen` (k,) are the top rows, best first;
    fewer where fewer can be scored. `slope`, `shift` and `sigma_factor` are the last corrections.
    """

    score: np.ndarray
    chosen: np.ndarray
    measured: np.ndarray
    rounds: int
    stable: bool
    expected_errors: float
    slope: float
    shift: float
    sigma_factor: float
    notes: tuple[str, ...]


@dataclass(frozen=True)
class _Correction:
    """μ ↦ centre + shift + slope·(μ − centre), σ ↦ factor·σ, for rows that are not exact."""

    centre: float = 0.0
    shift: float = 0.0
    slope: float = 1.0
    factor: float = 1.0

    def __call__(self, estimate: np.ndarray) -> np.ndarray:
        return self.centre + self.shift + self.slope * (estimate - self.centre)


@dataclass(frozen=True)
class _State:
    """Scores (n,), the chance p (n,) to be above the cut, the chosen rows, and how many of them are expected wrong."""

    score: np.ndarray
    above: np.ndarray
    chosen: np.ndarray
    errors: float


def refine(
    estimate: np.ndarray,
    sigma: np.ndarray,
    known: np.ndarray,
    k: int,
    measure: Measure,
    *,
    confidence: float = 0.95,
    budget: int,
    batch: int = 64,
) -> Refined:
    """Measure rows near the cut of the top `k` until it is stable, at most `budget` rows, `batch` at a time.

    `estimate` (n,) are plain predictions, `sigma` (n,) their standard deviations, `known` (n,) exact scores, NaN where
    there is none. `measure(rows)` returns the exact scores of pool rows (int64); a NaN makes a row unscorable. Rows
    without an estimate or an exact score are never chosen nor measured, exact rows never measured again. Raises
    `EngineError` for unequal lengths or values out of range, and where `measure` returns another number of scores.
    """
    estimate, sigma, exact = _checked(estimate, sigma, known, k, confidence, budget, batch)
    sigma, notes = _positive(sigma, estimate, np.isfinite(exact))
    gone = np.zeros(len(estimate), dtype=bool)  # measured without a score
    measured: list[int] = []
    correction, rounds = _Correction(), 0
    state = _state(estimate, sigma, exact, gone, k, correction)
    while len(measured) < budget:
        rows = _doubtful(state, exact, gone, min(batch, budget - len(measured)))
        settled = state.errors <= (1 - confidence) * k and (rounds > 0 or not len(_near(state, exact)))
        if settled or not len(rows):
            break
        found = _measured(measure, rows)
        exact[rows], gone[rows] = found, ~np.isfinite(found)
        measured += rows.tolist()
        rounds += 1
        correction = _corrected(estimate, sigma, exact, np.array(measured))
        state = _state(estimate, sigma, exact, gone, k, correction)
    return _refined(state, measured, rounds, gone, correction, k, confidence, notes)


def _state(
    estimate: np.ndarray, sigma: np.ndarray, exact: np.ndarray, gone: np.ndarray, k: int, correction: _Correction
) -> _State:
    sure = np.isfinite(exact)
    score = np.where(sure, exact, correction(estimate))
    score[gone] = np.nan
    spread = np.where(sure, 0.0, correction.factor * sigma)
    usable = np.flatnonzero(np.isfinite(score))
    order = usable[np.argsort(-score[usable], kind="stable")]  # ties go to the earlier row
    chosen = order[:k]
    above = np.zeros(len(score))
    if k >= len(usable):
        above[usable] = 1.0
        return _State(score, above, chosen, 0.0)
    above[usable] = _chances(score[usable], spread[usable], k, score[order[k - 1]], score[order[k]])
    above[chosen[sure[chosen]]] = np.maximum(above[chosen[sure[chosen]]], _tied(score, chosen, order, k))
    return _State(score, above, chosen, float((1 - above[chosen]).sum()))


def _tied(score: np.ndarray, chosen: np.ndarray, order: np.ndarray, k: int) -> float:
    """1 where the cut falls inside a run of equal scores: any of the tied rows is a right member."""
    return float(score[order[k - 1]] == score[order[k]])


def _chances(score: np.ndarray, spread: np.ndarray, k: int, last: float, first_out: float) -> np.ndarray:
    """P(score > τ) (m,) with Σ P = k as nearly as exact rows allow."""
    if not spread.any():
        return (score >= last).astype(np.float64)
    reach = 10 * spread
    low, high = float((score - reach).min()) - 1, float((score + reach).max()) + 1
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        if _above(score, spread, middle).sum() > k:
            low = middle
        else:
            high = middle
        if high - low <= 1e-12 * max(abs(low), abs(high), 1e-12):
            break
    return _above(score, spread, (low + high) / 2)


def _above(score: np.ndarray, spread: np.ndarray, level: float) -> np.ndarray:
    estimated = spread > 0
    found = (score > level).astype(np.float64)
    found[estimated] = norm.cdf((score[estimated] - level) / spread[estimated])
    return found


def _doubtful(state: _State, exact: np.ndarray, gone: np.ndarray, count: int) -> np.ndarray:
    """The rows not yet exact that are most likely misplaced, most doubtful first."""
    wrong = state.above.copy()
    wrong[state.chosen] = 1 - wrong[state.chosen]
    wrong[np.isfinite(exact) | gone | ~np.isfinite(state.score)] = 0
    rows = np.flatnonzero(wrong > DOUBT)
    if not len(rows):  # a σ that claims no doubt at all: the rows beside the cut, to find out
        rows = _near(state, exact)
        return rows[:count]
    return rows[np.argsort(-wrong[rows], kind="stable")][:count].astype(np.int64)


def _near(state: _State, exact: np.ndarray) -> np.ndarray:
    """Rows that are not exact, nearest to the cut first; none where everything is chosen."""
    usable = np.isfinite(state.score)
    open_rows = np.flatnonzero(usable & ~np.isfinite(exact))
    if usable.sum() <= len(state.chosen):
        return open_rows[:0]
    cut = state.score[state.chosen[-1]]
    return open_rows[np.argsort(np.abs(state.score[open_rows] - cut), kind="stable")].astype(np.int64)


def _corrected(estimate: np.ndarray, sigma: np.ndarray, exact: np.ndarray, measured: np.ndarray) -> _Correction:
    """The line and factor that the fresh residuals support; rows without a score or an estimate say nothing."""
    rows = measured[np.isfinite(exact[measured]) & np.isfinite(estimate[measured])]
    if not len(rows):
        return _Correction()
    centre = float(estimate[rows].mean())
    offset, error, spread = estimate[rows] - centre, exact[rows] - estimate[rows], sigma[rows]
    typical = float(np.median(spread))
    design = np.column_stack([np.ones(len(rows)), offset]) / spread[:, None]
    noise = max(1.0, float(np.mean((error / spread) ** 2)))  # a σ too small must not make the line too sure
    prior = np.diag([1 / (typical**2 * noise), 1 / SLOPE_SPREAD**2])
    shift, tilt = np.linalg.solve(design.T @ design / noise + prior, design.T @ (error / spread) / noise)
    slope = float(np.clip(1 + tilt, 0.5, 2.0))
    left = (error - shift - (slope - 1) * offset) / spread
    factor = np.sqrt((PRIOR_ROWS + float((left**2).sum())) / (PRIOR_ROWS + len(rows)))
    return _Correction(centre, float(shift), slope, float(factor))


def _measured(measure: Measure, rows: np.ndarray) -> np.ndarray:
    found = np.asarray(measure(rows.copy()), dtype=np.float64)
    if found.shape != rows.shape:
        raise EngineError(
            f"{len(rows)} samples were to be measured and scores of shape {found.shape} came back. The scores measured "
            "before were not used."
        )
    return np.where(np.isfinite(found), found, np.nan)


def _refined(
    state: _State,
    measured: list[int],
    rounds: int,
    gone: np.ndarray,
    correction: _Correction,
    k: int,
    confidence: float,
    notes: tuple[str, ...],
) -> Refined:
    stable = state.errors <= (1 - confidence) * k
    told = [*notes]
    if len(state.chosen) < k:
        told.append(f"Only {len(state.chosen)} samples can be scored; {k} were asked for.")
    if gone.any():
        told.append(f"{int(gone.sum())} samples turned out to have no exact score and are unscorable.")
    if correction.factor > 1.5:
        told.append(
            f"Errors near the cut were {correction.factor:.1f} times as large as stated; the estimate allows for it."
        )
    word = "stable" if stable else "not stable"
    told.append(
        f"The top {len(state.chosen)} are {word} after {len(measured)} exact samples in {rounds} rounds: "
        f"{state.errors:.2g} of them are expected to be wrong."
    )
    return Refined(
        score=state.score,
        chosen=state.chosen,
        measured=np.array(measured, dtype=np.int64),
        rounds=rounds,
        stable=bool(stable),
        expected_errors=state.errors,
        slope=correction.slope,
        shift=correction.shift,
        sigma_factor=correction.factor,
        notes=tuple(told),
    )


def _positive(sigma: np.ndarray, estimate: np.ndarray, sure: np.ndarray) -> tuple[np.ndarray, tuple[str, ...]]:
    """σ with its undefined values set to the largest one, and zeros to a sliver, so that every row can be weighed."""
    needed = np.isfinite(estimate) & ~sure
    finite = np.isfinite(sigma) & (sigma >= 0)
    largest = float(sigma[finite].max()) if finite.any() else 0.0
    values = estimate[np.isfinite(estimate)]
    spread = float(values.std()) if len(values) else 0.0
    sliver = 1e-9 * (spread or 1.0)
    filled = np.maximum(np.where(finite, sigma, largest or spread), sliver)
    count = int((needed & ~finite).sum())
    return filled, (f"{count} samples without an uncertainty were given the largest one.",) if count else ()


def _checked(
    estimate: np.ndarray, sigma: np.ndarray, known: np.ndarray, k: int, confidence: float, budget: int, batch: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    arrays = [np.array(values, dtype=np.float64) for values in (estimate, sigma, known)]
    shapes = {array.shape for array in arrays}
    if len(shapes) != 1 or arrays[0].ndim != 1:
        raise EngineError(
            f"Refinement needs one estimate, uncertainty and known score per sample; got {[a.shape for a in arrays]}. "
            "Nothing was measured."
        )
    if not 1 <= k <= max(len(arrays[0]), 1):
        raise EngineError(f"k is {k}; it must be from 1 to the {len(arrays[0])} samples. Nothing was measured.")
    if not 0 < confidence < 1 or budget < 0 or batch < 1:
        raise EngineError(
            f"confidence is {confidence}, budget {budget} and batch {batch}; they must be between 0 and 1, at least 0 "
            "and at least 1. Nothing was measured."
        )
    arrays[0][~np.isfinite(arrays[0])] = np.nan
    arrays[2][~np.isfinite(arrays[2])] = np.nan
    return arrays[0], arrays[1], arrays[2]
