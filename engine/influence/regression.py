"""Kernel ridge regression: the scores of the landmarks, carried to any row by its embedding.

Notation. l landmarks with embeddings E_L (l, e) and exact scores P_L (l, t); K = K(E_L, E_L), A = K + δ·mean(diag K)·I.
Prediction: P ≈ C P_L with C = K(E, E_L) A⁻¹. A is factorised once (Cholesky) for all targets, and the pool is streamed
in chunks: O(l³ + l²t + n·l·(e + t)). Far from every landmark an RBF prediction shrinks to 0.
Leaving one landmark out needs no refit: its prediction is P_L − α / diag(A⁻¹), α = A⁻¹ P_L. The posterior variance is
k(x, x) − k_L(x)ᵀ A⁻¹ k_L(x), in units of the kernel (RBF: 1 where no landmark is near, about δ on one).

A kernel that is singular in the precision at hand gets a growing jitter on its diagonal; the one used is kept and
said in `notes`. Chooses no landmarks and judges no fit. (METHODS section 1, "Landmarks"; section 3, "Uncertainty".)
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from scipy.linalg import LinAlgError, cho_solve, cholesky, get_lapack_funcs, solve_triangular

from engine.errors import EngineError
from engine.influence.kernels import (
    DIAGONALS,
    KERNELS,
    KernelName,
    Scaling,
    mean_squared_norm,
    median_distance,
    scaling_of,
)

Precision = Literal["auto", "float64", "float32"]

FLOAT64_LANDMARKS = 12288  # above, the kernel alone passes 1.2 GB in float64 and "auto" takes float32
JITTERS = (0.0, 1e-14, 1e-12, 1e-10, 1e-8, 1e-6, 1e-4, 1e-2)  # of mean(diag K), in turn
CHUNK = 4096


@dataclass(frozen=True, kw_only=True)
class RidgeConfig:
    """How scores are propagated; saved with the run.

    `bandwidth` None takes the median distance. `ridge` is δ. `standardise` scales every coordinate of the embeddings
    by the landmarks' spread first.
    """

    kernel: KernelName = "rbf"
    bandwidth: float | None = None
    ridge: float = 1e-2
    standardise: bool = False
    precision: Precision = "auto"
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse values outside their range."""
        for name, allowed in (("kernel", KernelName), ("precision", Precision)):
            if getattr(self, name) not in get_args(allowed):
                value = getattr(self, name)
                raise EngineError(f"{name} is {value!r}; it must be one of: {', '.join(get_args(allowed))}.")
        if not (np.isfinite(self.ridge) and self.ridge >= 0):
            raise EngineError(f"ridge is {self.ridge!r}; it must be a number of at least 0.")
        if self.bandwidth is not None and not (np.isfinite(self.bandwidth) and self.bandwidth > 0):
            raise EngineError(f"bandwidth is {self.bandwidth!r}; it must be a number above 0.")


@dataclass(frozen=True)
class KernelRidge:
    """A fitted regression. Build it with `KernelRidge.fit`.

    `parameter` is the kernel's own: σ (RBF) or the intercept b (linear). `landmarks` are the scaled embeddings (l, e),
    `factor` the lower Cholesky factor of A, `alpha` = A⁻¹ P_L (l, t), `targets` are P_L.
    """

    config: RidgeConfig
    parameter: float
    jitter: float
    notes: tuple[str, ...]
    scaling: Scaling
    landmarks: np.ndarray
    factor: np.ndarray
    alpha: np.ndarray
    targets: np.ndarray

    @classmethod
    def fit(
        cls,
        embeddings: np.ndarray,
        scores: np.ndarray,
        *,
        kernel: KernelName = "rbf",
        bandwidth: float | None = None,
        ridge: float = 1e-2,
        standardise: bool = False,
        precision: Precision = "auto",
        seed: int = 0,
    ) -> "KernelRidge":
        """Fit the landmarks' embeddings (l, e) to their exact scores (l, t) or (l,).

        Raises `EngineError` for no landmark, values that are not finite, unequal lengths, settings out of range, or a
        kernel that stays singular under the largest jitter.
        """
        config = RidgeConfig(
            kernel=kernel, bandwidth=bandwidth, ridge=ridge, standardise=standardise, precision=precision, seed=seed
        )
        return cls.from_config(embeddings, scores, config)

    @classmethod
    def from_config(cls, embeddings: np.ndarray, scores: np.ndarray, config: RidgeConfig) -> "KernelRidge":
        """`fit` with its settings in one object."""
        known = _checked(embeddings, scores)
        dtype = _dtype(config.precision, len(embeddings))
        scaling = scaling_of(embeddings, standardise=config.standardise, dtype=dtype)
        rows = scaling(embeddings)
        parameter, rule = _parameter(config, rows)
        gram = KERNELS[config.kernel](rows, rows, parameter)
        np.fill_diagonal(gram, DIAGONALS[config.kernel](rows, parameter))
        factor, jitter = _factorise(gram, config.ridge)
        alpha = cho_solve((factor, True), known.astype(dtype))
        notes = _notes(config, rule, jitter, dtype)
        return cls(config, parameter, jitter, notes, scaling, rows, factor, alpha, known)

    def predict(self, embeddings: np.ndarray, *, chunk: int = CHUNK) -> np.ndarray:
        """Predicted scores (m, t) float32 of rows with embeddings (m, e), which may be memory-mapped; NaN stays NaN."""
        return self._streamed(embeddings, chunk, self.alpha.shape[1], lambda rows, k: k @ self.alpha)

    def variance(self, embeddings: np.ndarray, *, chunk: int = CHUNK) -> np.ndarray:
        """Posterior variance (m,) float32 in units of the kernel; costs O(m·l²)."""
        return self._streamed(embeddings, chunk, 1, self._posterior)[:, 0]

    def coefficients(self, embeddings: np.ndarray, *, chunk: int = CHUNK) -> np.ndarray:
        """C (m, l) float32: how much of each landmark's score a row is given; P ≈ C P_L."""
        return self._streamed(
            embeddings, chunk, len(self.landmarks), lambda rows, k: cho_solve((self.factor, True), k.T).T
        )

    def leave_one_out(self) -> np.ndarray:
        """Predictions (l, t) float64 of every landmark from all others, in closed form (scaling and σ stay)."""
        return self.targets - self.alpha / self._inverse_diagonal()[:, None]

    def leave_one_out_variance(self) -> np.ndarray:
        """Posterior variance (l,) float64 of every landmark given all others, in units of the kernel."""
        noise = self.config.ridge * self._mean_diagonal() + self.jitter
        return np.maximum(1 / self._inverse_diagonal() - noise, 0)

    def _mean_diagonal(self) -> float:
        return float(DIAGONALS[self.config.kernel](self.landmarks, self.parameter).mean())

    def _inverse_diagonal(self) -> np.ndarray:
        (invert,) = get_lapack_funcs(("potri",), (self.factor,))
        inverse, info = invert(self.factor, lower=1)
        if info != 0:
            raise EngineError(f"The kernel's factor could not be inverted (LAPACK potri: {info}). Raise the ridge.")
        return np.diagonal(inverse).astype(np.float64)

    def _posterior(self, rows: np.ndarray, kernel: np.ndarray) -> np.ndarray:
        explained = solve_triangular(self.factor, kernel.T, lower=True)  # (l, chunk)
        left = DIAGONALS[self.config.kernel](rows, self.parameter) - np.einsum("ij,ij->j", explained, explained)
        return np.maximum(left, 0)[:, None]

    def _streamed(
        self, embeddings: np.ndarray, chunk: int, width: int, each: Callable[[np.ndarray, np.ndarray], np.ndarray]
    ) -> np.ndarray:
        _check_width(embeddings, self.landmarks.shape[1])
        result = np.full((len(embeddings), width), np.nan, dtype=np.float32)
        for start in range(0, len(embeddings), chunk):
            part = np.asarray(embeddings[start : start + chunk])
            good = np.isfinite(part).all(axis=1)
            if good.any():
                rows = self.scaling(part[good])
                kernel = KERNELS[self.config.kernel](rows, self.landmarks, self.parameter)  # (chunk, l)
                result[start : start + chunk][good] = each(rows, kernel)
        return result


def _checked(embeddings: np.ndarray, scores: np.ndarray) -> np.ndarray:
    known = np.asarray(scores, dtype=np.float64)
    known = known[:, None] if known.ndim == 1 else known
    if embeddings.ndim != 2 or len(embeddings) == 0 or len(known) != len(embeddings):
        raise EngineError(
            f"A regression needs one row of scores per landmark; got embeddings of shape {embeddings.shape} and "
            f"scores of shape {known.shape}. Nothing was fitted."
        )
    if not (np.isfinite(embeddings).all() and np.isfinite(known).all()):
        raise EngineError("Some landmarks have embeddings or scores that are not finite; leave those rows out.")
    return known


def _check_width(embeddings: np.ndarray, width: int) -> None:
    if embeddings.ndim != 2 or embeddings.shape[1] != width:
        raise EngineError(f"The regression was fitted on {width} coordinates; got rows of shape {embeddings.shape}.")


def _dtype(precision: Precision, landmarks: int) -> np.dtype:
    if precision == "auto":
        return np.dtype(np.float64 if landmarks <= FLOAT64_LANDMARKS else np.float32)
    return np.dtype(precision)


def _parameter(config: RidgeConfig, rows: np.ndarray) -> tuple[float, str]:
    """The kernel's parameter and a sentence on where it came from."""
    if config.kernel == "linear":
        offset = mean_squared_norm(rows)
        return offset, f"Intercept {offset:.6g}: mean squared norm of the landmarks."
    if config.bandwidth is not None:
        return config.bandwidth, f"Bandwidth {config.bandwidth:.6g}: as given."
    sigma, rule = median_distance(rows, seed=config.seed)
    return sigma, f"Bandwidth {sigma:.6g}: {rule}."


def _factorise(gram: np.ndarray, ridge: float) -> tuple[np.ndarray, float]:
    """Lower Cholesky factor of K + ridge·mean(diag K)·I, and the jitter (absolute) that had to be added."""
    level = float(np.diagonal(gram).mean())
    diagonal = np.diagonal(gram).copy() + ridge * level
    for share in JITTERS:
        np.fill_diagonal(gram, diagonal + share * level)
        try:
            factor = cholesky(gram, lower=True)
        except LinAlgError:
            continue
        if _well_posed(factor):
            return factor, share * level
    raise EngineError(
        f"The kernel of {len(gram)} landmarks stays singular with a jitter of {JITTERS[-1]:g}. "
        "Raise the ridge, or standardise the embeddings. Nothing was propagated."
    )


def _well_posed(factor: np.ndarray) -> bool:
    """Whether the pivots are well above rounding, so that a solve means something."""
    pivots = np.diagonal(factor)
    rounding = 100 * np.sqrt(len(factor)) * np.finfo(factor.dtype).eps
    return bool(pivots.min() ** 2 > rounding * pivots.max() ** 2)


def _notes(config: RidgeConfig, rule: str, jitter: float, dtype: np.dtype) -> tuple[str, ...]:
    notes = (f"Kernel ridge regression, {config.kernel} kernel, ridge {config.ridge:g}, {dtype.name}.", rule)
    if jitter == 0:
        return notes
    return (*notes, f"The kernel was singular in {dtype.name}; a jitter of {jitter:.3g} was added to its diagonal.")
