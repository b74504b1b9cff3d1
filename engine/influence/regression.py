"""Kernel ridge regression: the scores of the landmarks, carried to any row by its embedding.

Notation. l landmarks with embeddings E_L (l, e) and exact scores P_L (l, t); K = K(E_L, E_L), A = K + δ·mean(diag K)·I.
Prediction: P ≈ C P_L with C = K(E, E_L) A⁻¹. A is factorised once (Cholesky) for all targets, and the pool is streamed
in chunks: O(l³ + l²t + n·l·(e + t)). Far from every landmark an RBF prediction shrinks to 0.
Leaving one landmark out needs no refit: its prediction is P_L − α / diag(A⁻¹), α = A⁻¹ P_L. The posterior variance is
k(x, x) − k_L(x)ᵀ A⁻¹ k_L(x), in units of the kernel (RBF: 1 where no landmark is near, about δ on one).

Speed: the factorisation is in float64 where affordable; the pool side (kernel blocks, their products) is in float32,
checked at fitting: on landmarks the prediction is known without a kernel, P_L − (δ·mean(diag K) + jitter)·α, and where
float32 misses it by more than `TOLERANCE` of a column's spread the pool side takes float64 too; `notes` say which and
how far off. A linear kernel needs no landmarks at prediction: P ≈ E (E_Lᵀα) + b·Σα.

A kernel that is singular in the precision at hand gets a growing jitter on its diagonal; the one used is kept and
said in `notes`. Chooses no landmarks and judges no fit. (METHODS section 1, "Landmarks"; section 3, "Uncertainty".)
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from scipy.linalg import cho_solve, cholesky, get_lapack_funcs, solve_triangular

from engine.errors import EngineError
from engine.influence.factorisation import factorised
from engine.influence.kernels import (
    DIAGONALS,
    KERNELS,
    KernelName,
    Prepared,
    Scaling,
    mean_squared_norm,
    median_distance,
    prepare,
    scaling_of,
)
from engine.influence.ridge_config import Precision, RidgeConfig
from engine.influence.streaming import pieces, rows_per_chunk

FLOAT64_LANDMARKS = 12288  # above, the kernel alone passes 1.2 GB in float64 and "auto" takes float32
CHUNK = 4096  # rows, for callers that stream themselves; None takes a size by bytes
TOLERANCE = 5e-3  # of a column's spread: what float32 may cost at the worst landmark; far below any residual
CHECKED = 512  # landmarks it is checked on


@dataclass(frozen=True)
class KernelRidge:
    """A fitted regression. Build it with `KernelRidge.fit`.

    `parameter` is the kernel's own: σ (RBF) or the intercept b (linear). `landmarks` are the scaled embeddings (l, e),
    `factor` the lower Cholesky factor of A, `alpha` = A⁻¹ P_L (l, t), `targets` are P_L. `prepared` is the kernel as
    the pool meets it, in the pool side's precision.
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
    prepared: Prepared

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
        bandwidth_factor: float = 1.0,
    ) -> "KernelRidge":
        """Fit the landmarks' embeddings (l, e) to their exact scores (l, t) or (l,).

        Raises `EngineError` for no landmark, values that are not finite, unequal lengths, settings out of range, or a
        kernel that stays singular under the largest jitter.
        """
        config = RidgeConfig(
            kernel=kernel,
            bandwidth=bandwidth,
            ridge=ridge,
            standardise=standardise,
            precision=precision,
            seed=seed,
            bandwidth_factor=bandwidth_factor,
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
        factor, jitter = factorised(gram, config.ridge)
        alpha = cho_solve((factor, True), known.astype(dtype))
        notes = _notes(config, rule, jitter, dtype)
        pool_side = np.dtype(np.float64 if config.precision == "float64" else np.float32)
        prepared = prepare(config.kernel, embeddings, scaling, parameter, dtype=pool_side)
        model = cls(config, parameter, jitter, notes, scaling, rows, factor, alpha, known, prepared)
        return model if config.precision == "float64" else _checked_speed(model, embeddings)

    def predict(self, embeddings: np.ndarray, *, chunk: int | None = None) -> np.ndarray:
        """Predicted scores (m, t) float32 of rows with embeddings (m, e), which may be memory-mapped; NaN stays NaN.

        `chunk` rows are taken at a time (None: by bytes); mapped pages are given back after each.
        """
        if self.config.kernel == "linear":
            weights, constant = self._weights
            return self._streamed(embeddings, chunk, self.alpha.shape[1], lambda z, q: z @ weights + constant)
        alpha = self._alpha
        return self._streamed(embeddings, chunk, alpha.shape[1], lambda z, q: self.prepared.block(z, q) @ alpha)

    def variance(self, embeddings: np.ndarray, *, chunk: int | None = None, rank: int | None = None) -> np.ndarray:
        """Posterior variance (m,) float32 in units of the kernel; costs O(m·l·(e + l)).

        With `rank` it is given only that many landmarks (those of the kernel's pivoted Cholesky factor), which costs
        O(m·rank·(e + rank)) and can only overstate the variance.
        """
        kernel, inverse = self._root(rank)

        def left(scaled: np.ndarray, squares: np.ndarray) -> np.ndarray:
            explained = kernel.block(scaled, squares) @ inverse  # (chunk, rank)
            return (kernel.diagonal(squares) - np.einsum("ij,ij->i", explained, explained))[:, None]

        found = self._streamed(embeddings, chunk, 1, left)[:, 0]
        return np.maximum(found, 0, out=found)  # rounding; NaN stays NaN

    def coefficients(self, embeddings: np.ndarray, *, chunk: int | None = None) -> np.ndarray:
        """C (m, l) float32: how much of each landmark's score a row is given; P ≈ C P_L."""

        def solved(scaled: np.ndarray, squares: np.ndarray) -> np.ndarray:
            return cho_solve((self.factor, True), self.prepared.block(scaled, squares).T).T

        return self._streamed(embeddings, chunk, len(self.landmarks), solved)

    def covariance(self, embeddings: np.ndarray) -> np.ndarray:
        """Posterior covariance (m, m) float64 between rows with finite embeddings (m, e), in units of the kernel."""
        _check_width(embeddings, self.landmarks.shape[1])
        rows = self.scaling(embeddings).astype(np.float64)
        kernel, landmarks = KERNELS[self.config.kernel], self.landmarks.astype(np.float64)
        explained = solve_triangular(self.factor, kernel(rows, landmarks, self.parameter).T, lower=True)  # (l, m)
        found = kernel(rows, rows, self.parameter) - explained.T @ explained
        return (found + found.T) / 2

    @property
    def noise(self) -> float:
        """What was added to the kernel's diagonal: δ·mean(diag K) and the jitter."""
        return self.config.ridge * self._mean_diagonal() + self.jitter

    def leave_one_out(self) -> np.ndarray:
        """Predictions (l, t) float64 of every landmark from all others, in closed form (scaling and σ stay)."""
        return self.targets - self.alpha / self._inverse_diagonal()[:, None]

    def leave_one_out_variance(self) -> np.ndarray:
        """Posterior variance (l,) float64 of every landmark given all others, in units of the kernel."""
        return np.maximum(1 / self._inverse_diagonal() - self.noise, 0)

    def _mean_diagonal(self) -> float:
        return float(DIAGONALS[self.config.kernel](self.landmarks, self.parameter).mean())

    def _inverse_diagonal(self) -> np.ndarray:
        (invert,) = get_lapack_funcs(("potri",), (self.factor,))
        inverse, info = invert(self.factor, lower=1)
        if info != 0:
            raise EngineError(f"The kernel's factor could not be inverted (LAPACK potri: {info}). Raise the ridge.")
        return np.diagonal(inverse).astype(np.float64)

    @cached_property
    def _alpha(self) -> np.ndarray:
        return self.alpha.astype(self.prepared.dtype)

    @cached_property
    def _weights(self) -> tuple[np.ndarray, np.ndarray]:
        """Of the linear kernel: the weights of the coordinates (e, t) and the constant (t,)."""
        weights = self.prepared.columns.astype(np.float64) @ self.alpha
        constant = self.prepared.offset * self.alpha.sum(axis=0)
        return weights.astype(self.prepared.dtype), constant.astype(self.prepared.dtype)

    @cached_property
    def _roots(self) -> dict[int, tuple[Prepared, np.ndarray]]:
        return {}

    def _root(self, rank: int | None) -> tuple[Prepared, np.ndarray]:
        """The kernel against `rank` landmarks and L⁻ᵀ (rank, rank) of their A = L Lᵀ, in the pool side's precision."""
        count = len(self.landmarks)
        if rank is not None and rank < 1:
            raise EngineError(f"rank is {rank}; the variance needs at least 1 of the {count} landmarks.")
        size = count if rank is None else min(rank, count)
        if size not in self._roots:  # one inverse serves every later chunk
            kernel, factor = (self.prepared, self.factor) if size == count else self._subset(size)
            (invert,) = get_lapack_funcs(("trtri",), (factor,))
            inverse, info = invert(np.tril(factor), lower=1)
            if info != 0:
                raise EngineError(f"The kernel's factor could not be inverted (LAPACK trtri: {info}). Raise the ridge.")
            self._roots[size] = (kernel, np.ascontiguousarray(inverse.T, dtype=kernel.dtype))
        return self._roots[size]

    def _subset(self, rank: int) -> tuple[Prepared, np.ndarray]:
        gram = KERNELS[self.config.kernel](self.landmarks, self.landmarks, self.parameter)
        (pivoted,) = get_lapack_funcs(("pstrf",), (gram,))
        _, pivots, _, _ = pivoted(gram, lower=1)
        chosen = np.sort(pivots[:rank] - 1)
        system = gram[np.ix_(chosen, chosen)] + self.noise * np.eye(rank, dtype=gram.dtype)
        columns, norms = self.prepared.columns[:, chosen], self.prepared.norms
        kernel = replace(self.prepared, columns=columns, norms=norms[chosen])
        return kernel, cholesky(system, lower=True)

    def _streamed(
        self,
        embeddings: np.ndarray,
        chunk: int | None,
        width: int,
        each: Callable[[np.ndarray, np.ndarray], np.ndarray],
    ) -> np.ndarray:
        """`each` of scaled rows and their squared norms, piece by piece, (m, width) float32."""
        _check_width(embeddings, self.landmarks.shape[1])
        result = np.full((len(embeddings), width), np.nan, dtype=np.float32)
        size = self.prepared.dtype.itemsize * max(len(self.landmarks), embeddings.shape[1])
        for here, part in pieces(embeddings, chunk or rows_per_chunk(size)):
            scaled, squares, good = _scaled(self.prepared, part)
            if good.all():
                result[here] = each(scaled, squares)
            elif good.any():
                result[here][good] = each(scaled[good], squares[good])
        return result


def _scaled(kernel: Prepared, part: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scaled rows, their squared norms, and which of them are finite; a row too large for the precision is not."""
    with np.errstate(invalid="ignore", over="ignore"):
        scaled = kernel.coordinates(part)
        squares = np.einsum("ij,ij->i", scaled, scaled)
    return scaled, squares, np.isfinite(squares)


def _checked_speed(model: KernelRidge, embeddings: np.ndarray) -> KernelRidge:
    """The model with its pool side in float32 where that is exact enough on landmarks, else in float64; said."""
    count = len(embeddings)
    chosen = np.linspace(0, count - 1, min(count, CHECKED)).astype(np.int64)
    known = model.targets[chosen] - model.noise * model.alpha[chosen]
    off = np.abs(model.predict(embeddings[chosen]) - known).max(axis=0)  # (t,)
    spread, level = model.targets.std(axis=0), np.abs(model.targets).max(axis=0)
    scale = np.where(spread > 1e-9 * level, spread, np.where(level > 0, level, 1.0))
    worst = float(np.max(off / scale))
    if worst <= TOLERANCE or model.config.precision == "float32":
        said = (
            f"Samples are predicted in float32, which on landmarks is off by {worst:.1g} of the scores' spread at most."
        )
        return replace(model, notes=(*model.notes[:2], said, *model.notes[2:]))
    prepared = prepare(model.config.kernel, embeddings, model.scaling, model.parameter, dtype=np.dtype(np.float64))
    said = f"Samples are predicted in float64, half as fast: float32 would be off by {worst:.1g} of the scores' spread."
    return replace(model, prepared=prepared, notes=(*model.notes[:2], said, *model.notes[2:]))


def _checked(embeddings: np.ndarray, scores: np.ndarray) -> np.ndarray:
    known = np.asarray(scores, dtype=np.float64)
    known = known[:, None] if known.ndim == 1 else known
    if embeddings.ndim != 2 or len(embeddings) == 0 or len(known) != len(embeddings):
        raise EngineError(
            f"A regression needs one row of scores per landmark; got embeddings of shape {embeddings.shape} and "
            f"scores of shape {known.shape}. Nothing was fitted."
        )
    if not (np.isfinite(embeddings).all() and np.isfinite(known).all()):
        raise EngineError("Some landmarks have embeddings or scores that are not finite; leave those samples out.")
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
    sigma, rule = config.bandwidth, "as given"
    if sigma is None:
        sigma, rule = median_distance(rows, seed=config.seed)
    if config.bandwidth_factor != 1:
        rule = f"{config.bandwidth_factor:g} × the {rule}" if config.bandwidth is None else f"{rule}, × its factor"
    sigma *= config.bandwidth_factor
    return sigma, f"Bandwidth {sigma:.6g}: {rule}."


def _notes(config: RidgeConfig, rule: str, jitter: float, dtype: np.dtype) -> tuple[str, ...]:
    notes = (f"Kernel ridge regression, {config.kernel} kernel, ridge {config.ridge:g}, {dtype.name}.", rule)
    if jitter == 0:
        return notes
    return (*notes, f"The kernel was singular in {dtype.name}; a jitter of {jitter:.3g} was added to its diagonal.")
