"""How far a propagated score may be off: a standard deviation and a calibrated interval per row.

Notation. A row's plain prediction ŷ (before any map that widens it) has posterior variance v, in units of the kernel;
its error is r = y − ŷ. The variance alone is not on the scores' scale and knows nothing of misfit, so both are learnt
from m calibration rows with exact scores. First the size of errors, log s = a polynomial in the standardised log v
(degree 1 to 4 with the rows at hand, lightly penalised; covariates enter as one log term each), which minimises
Σ log s + |r|/s: convex, and calm under heavy tails; σ is s scaled to the errors' root mean square. Then, whatever
the errors' shape, the interval is ŷ ± q(v)·σ, where q is the quantile of |r|/σ over the calibration rows: constant in
v, or with `SMOOTH_ROWS` rows or more a straight line in the rank of v (quantile regression), stretched so that
⌈(m+1)·level⌉ of the m calibration rows lie inside (split conformal prediction). Beyond the calibration's variances σ
stays at its end. Coverage holds for rows drawn like the calibration rows: leave-one-out residuals of *uniform*
landmarks, or a tuning slice. Exact rows have no error and no business here.
(METHODS section 3, "Uncertainty".)
"""

from dataclasses import dataclass
from math import ceil

import numpy as np
from scipy.optimize import linprog, minimize
from scipy.sparse import csr_array, hstack, identity
from scipy.stats import norm

from engine.errors import EngineError

LEVEL = 0.9
LEAST_ROWS = 20
SMOOTH_ROWS = 1000
DEGREES = ((500, 4), (200, 3), (60, 2), (0, 1))  # (calibration rows at least, degree in log v)
PENALTY = 1.0
TAIL = 0.995  # errors above this quantile are clipped in the fit of σ, not in the interval


@dataclass(frozen=True)
class Calibration:
    """σ and the interval's width as functions of the posterior variance. Build it with `calibrate`.

    `coefficients` are those of log σ, `scaling` (1 + c, 5) what the log of the variance and of each covariate is
    standardised by (floor, mean, spread, least, most), `variances` the sorted calibration variances that ranks are
    taken in, `quantile` (2,) the intercept and slope of q in that rank. `m` counts the calibration rows; `notes` say
    how it was fitted and where it is weak.
    """

    level: float
    m: int
    coefficients: np.ndarray
    scaling: np.ndarray
    variances: np.ndarray
    quantile: np.ndarray
    notes: tuple[str, ...]

    def sigma(self, variance: np.ndarray, *, covariates: np.ndarray | None = None) -> np.ndarray:
        """Predictive standard deviation (n,) float32, in units of the score; NaN where the variance is."""
        extra = _extra(covariates, len(variance))
        if extra.shape[1] != len(self.scaling) - 1:
            raise EngineError(
                f"The calibration was fitted with {len(self.scaling) - 1} covariates and got {extra.shape[1]}; give "
                "the covariates it was fitted with."
            )
        values = np.column_stack([np.asarray(variance, np.float64), extra])
        degree = len(self.coefficients) - len(self.scaling)
        return np.exp(_features(values, self.scaling, degree) @ self.coefficients).astype(np.float32)

    def half_width(self, variance: np.ndarray, *, covariates: np.ndarray | None = None) -> np.ndarray:
        """Half the width of the interval (n,) float32, in units of the score; NaN where the variance is."""
        sigma = self.sigma(variance, covariates=covariates)
        return (sigma * _line(self.quantile, _rank(self.variances, variance))).astype(np.float32)

    def interval(
        self, prediction: np.ndarray, variance: np.ndarray, *, covariates: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Lower and upper ends (n,) float32 around the plain prediction (n,)."""
        half = self.half_width(variance, covariates=covariates)
        return (prediction - half).astype(np.float32), (prediction + half).astype(np.float32)


@dataclass(frozen=True)
class Coverage:
    """How often intervals held the exact score on n audit rows; `deciles` from the lowest variance to the highest.

    `mean_width` is the mean full width, `relative_width` that over the standard deviation of the exact scores (None
    where they are constant), `rows` the rows per decile. An undefined share is None.
    """

    n: int
    overall: float | None
    deciles: tuple[float | None, ...]
    rows: tuple[int, ...]
    mean_width: float | None
    relative_width: float | None
    level: float = LEVEL

    def holds(self, low: float = 0.87, high: float = 0.93) -> bool:
        """Whether the overall share and that of every decile that has rows lie within [low, high]."""
        shares = [share for share in (self.overall, *self.deciles) if share is not None]
        return bool(shares) and all(low <= share <= high for share in shares)


def calibrate(
    variance: np.ndarray,
    residuals: np.ndarray,
    *,
    covariates: np.ndarray | None = None,
    level: float = LEVEL,
) -> Calibration:
    """Calibrate on posterior variances (m,) and errors exact − predicted (m,) of rows that were not fitted to.

    `covariates` (m, c), non-negative, may enter σ² beside the variance (a loss, the size of the prediction). Rows that
    are not finite are left out and counted. Raises `EngineError` for unequal lengths, a level outside (0, 1), negative
    covariates, or fewer than `LEAST_ROWS` rows.
    """
    variance, residuals = np.asarray(variance, np.float64), np.asarray(residuals, np.float64)
    extra = _extra(covariates, len(variance))
    good = _checked(variance, residuals, extra, level)
    v, r, x = variance[good], residuals[good], extra[good]
    values = np.column_stack([v, x])
    scaling = np.stack([_standard(column) for column in values.T])
    degree = next(degree for least, degree in DEGREES if len(v) >= least)
    features = _features(values, scaling, degree)
    coefficients = _fitted(features, np.abs(r))
    sigma = np.exp(features @ coefficients)
    ordered = np.sort(v)
    quantile, how = _conformal(np.abs(r) / sigma, _rank(ordered, v), level)
    notes = (
        f"Uncertainty calibrated on {len(v)} samples: {how}.",
        *_weaknesses(v, r, sigma, int((~good).sum()), level),
    )
    return Calibration(level, len(v), coefficients, scaling, ordered, quantile, notes)


def coverage(
    calibration: Calibration,
    exact: np.ndarray,
    prediction: np.ndarray,
    variance: np.ndarray,
    *,
    covariates: np.ndarray | None = None,
    groups: int = 10,
) -> Coverage:
    """The shares of audit rows (n,) whose interval holds the exact score, overall and by `groups` of variance."""
    exact, prediction = np.asarray(exact, np.float64), np.asarray(prediction, np.float64)
    half = calibration.half_width(variance, covariates=covariates).astype(np.float64)
    good = np.isfinite(exact) & np.isfinite(prediction) & np.isfinite(half)
    inside = np.abs(exact - prediction)[good] <= half[good]
    if not len(inside):
        return Coverage(0, None, (None,) * groups, (0,) * groups, None, None, calibration.level)
    order = np.argsort(np.asarray(variance)[good], kind="stable")
    parts = np.array_split(inside[order], groups)
    width, spread = float(2 * half[good].mean()), float(exact[good].std())
    return Coverage(
        n=len(inside),
        overall=float(inside.mean()),
        deciles=tuple(float(part.mean()) if len(part) else None for part in parts),
        rows=tuple(len(part) for part in parts),
        mean_width=width,
        relative_width=width / spread if spread > 0 else None,
        level=calibration.level,
    )


def _standard(values: np.ndarray) -> np.ndarray:
    """(floor, mean, spread, least, most) of the log of non-negative values (m,)."""
    positive = values[values > 0]
    floor = 0.5 * float(np.quantile(positive, 0.01)) if len(positive) else 1.0
    logs = np.log(np.maximum(values, 0) + floor)
    spread = float(logs.std())
    return np.array([floor, logs.mean(), spread if spread > 1e-6 else 1.0, logs.min(), logs.max()])


def _features(values: np.ndarray, scaling: np.ndarray, degree: int) -> np.ndarray:
    """[1, u, … u^degree, covariates…] (n, 1 + degree + c) of values (n, 1 + c), u the standardised log variance."""
    floor, mean, spread, least, most = scaling.T
    logs = np.clip(np.log(np.maximum(values, 0) + floor), least, most)
    u = (logs - mean) / spread
    return np.column_stack([*(u[:, 0] ** power for power in range(degree + 1)), *u[:, 1:].T])


def _extra(covariates: np.ndarray | None, rows: int) -> np.ndarray:
    if covariates is None:
        return np.zeros((rows, 0))
    values = np.asarray(covariates, np.float64)
    return values[:, None] if values.ndim == 1 else values


def _fitted(features: np.ndarray, errors: np.ndarray) -> np.ndarray:
    """Coefficients b of log σ: features @ b minimises Σ log s + |r|/s + penalty, then s is scaled to the errors."""
    clipped = np.minimum(errors, np.quantile(errors, TAIL))
    level = float(clipped.mean())
    start = np.zeros(features.shape[1])
    if level <= 0:  # every error is zero
        start[0] = np.log(np.finfo(np.float32).tiny)
        return start
    shares = clipped / level

    def loss(b: np.ndarray) -> tuple[float, np.ndarray]:
        logs = np.clip(features @ b, -30, 30)
        ratio = shares * np.exp(-logs)
        pull = PENALTY * np.concatenate([[0.0], b[1:]])
        return float((logs + ratio).sum() + 0.5 * pull @ b), features.T @ (1 - ratio) + pull

    found = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=[(-10, 10)] * len(start)).x
    ratio = errors / np.exp(features @ found)
    found[0] += 0.5 * np.log(np.mean(ratio**2))
    return found


def _conformal(ratios: np.ndarray, ranks: np.ndarray, level: float) -> tuple[np.ndarray, str]:
    """Intercept and slope of q in the rank of v, so that enough calibration rows lie inside."""
    m = len(ratios)
    if not ratios.any():
        return np.array([1.0, 0.0]), "every error is zero"
    line, how = np.array([1.0, 0.0]), "one conformal quantile of |error|/σ"
    if m >= SMOOTH_ROWS:
        line, how = (
            _quantile_line(ratios, ranks, level),
            "a conformal quantile of |error|/σ, linear in the variance's rank",
        )
    position = min(ceil((m + 1) * level), m) - 1
    stretch = np.sort(ratios / _line(line, ranks))[position]
    return line * stretch, how


def _quantile_line(ratios: np.ndarray, ranks: np.ndarray, level: float) -> np.ndarray:
    """Intercept and slope of the `level` quantile of ratios (m,) given ranks (m,): the pinball loss's minimum."""
    m = len(ratios)
    costs = np.concatenate([np.zeros(2), np.full(m, level), np.full(m, 1 - level)])
    design = np.column_stack([np.ones(m), ranks])
    equations = hstack([csr_array(design), identity(m), -identity(m)], format="csr")
    found = linprog(costs, A_eq=equations, b_eq=ratios, bounds=[(None, None)] * 2 + [(0, None)] * (2 * m))
    plain = np.array([float(np.quantile(ratios, level)), 0.0])
    if found.status != 0:
        return plain
    line = np.asarray(found.x[:2])
    return line if min(line[0], line.sum()) > 0.25 * plain[0] else plain


def _line(line: np.ndarray, ranks: np.ndarray) -> np.ndarray:
    return line[0] + line[1] * ranks


def _rank(ordered: np.ndarray, variance: np.ndarray) -> np.ndarray:
    """Where variances (n,) stand among the calibration's, 0 … 1."""
    v = np.asarray(variance, np.float64)
    return (np.searchsorted(ordered, v, side="left") + np.searchsorted(ordered, v, side="right")) / (2 * len(ordered))


def _checked(variance: np.ndarray, residuals: np.ndarray, extra: np.ndarray, level: float) -> np.ndarray:
    if variance.ndim != 1 or variance.shape != residuals.shape or len(extra) != len(variance):
        raise EngineError(
            f"Calibration needs one variance and one error per sample; got {variance.shape}, {residuals.shape} and "
            f"covariates {extra.shape}. Nothing was calibrated."
        )
    if not 0 < level < 1:
        raise EngineError(f"level is {level!r}; it must lie between 0 and 1, such as 0.9.")
    good = np.isfinite(variance) & np.isfinite(residuals) & np.isfinite(extra).all(axis=1)
    if (extra[good] < 0).any():
        raise EngineError("A covariate is negative; give magnitudes, such as |prediction| or a loss.")
    if good.sum() < LEAST_ROWS:
        raise EngineError(
            f"Only {int(good.sum())} samples have an exact score to calibrate on; at least {LEAST_ROWS} are needed. "
            "Measure more landmarks, or show no intervals."
        )
    return good


def _weaknesses(
    variance: np.ndarray, residuals: np.ndarray, sigma: np.ndarray, lost: int, level: float
) -> tuple[str, ...]:
    notes = []
    if lost:
        notes.append(f"{lost} calibration samples that are not finite were left out.")
    error = norm.ppf(0.975) * np.sqrt(level * (1 - level) / len(variance))
    if error > 0.03:
        notes.append(
            f"With {len(variance)} calibration samples the stated {level:.0%} may be off by {error:.0%} by chance."
        )
    if np.ptp(sigma) <= 1e-3 * sigma.max() and np.ptp(residuals) > 0:
        notes.append("The posterior variance says nothing about the size of the errors: one width serves all samples.")
    return tuple(notes)
