"""Kernels between embeddings, the bandwidth rule, and the scaling of coordinates.

Notation. x, y are embeddings (e,). `rbf` is exp(−‖x−y‖²/2σ²) with σ the median distance between landmarks; `linear` is
<x, y> + b with b the landmarks' mean squared norm: an intercept, without which standardised landmarks, whose sum is
zero, would predict each other from that fact alone. Each kernel has this one *parameter*, σ or b. Standardising gives
every coordinate mean 0 and standard deviation 1 over the landmarks first; a coordinate that is constant over them is
only shifted. (METHODS section 1, "Landmarks".)

`Prepared` evaluates a kernel at the speed of the matrix product: scaling and bandwidth are folded into one shift and
one factor per coordinate, ‖y‖²/2 is computed once, and exp runs in place. An RBF kernel sees differences only, so it
is also centred on the landmarks' mean, without which float32 would cancel where embeddings sit far from the origin.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.spatial.distance import pdist

KernelName = Literal["rbf", "linear"]

BANDWIDTH_ROWS = 1024  # landmarks the median distance is taken over
BAND = 16  # rows of a block whose passes share the cache


@dataclass(frozen=True)
class Scaling:
    """x ↦ (x − shift) / scale, in a given precision."""

    shift: np.ndarray
    scale: np.ndarray
    dtype: np.dtype

    def __call__(self, rows: np.ndarray) -> np.ndarray:
        """Scaled rows (m, e) in the scaling's precision."""
        return ((np.asarray(rows, dtype=np.float64) - self.shift) / self.scale).astype(self.dtype)


def scaling_of(rows: np.ndarray, *, standardise: bool, dtype: np.dtype) -> Scaling:
    """The scaling learnt from the landmarks (l, e); without `standardise` it only changes the precision."""
    width = rows.shape[1]
    if not standardise:
        return Scaling(np.zeros(width), np.ones(width), dtype)
    spread = rows.std(axis=0, dtype=np.float64)
    level = np.abs(rows).max(axis=0).astype(np.float64)
    constant = spread <= 1e-7 * level  # rounding, not variation
    return Scaling(rows.mean(axis=0, dtype=np.float64), np.where(constant, 1.0, spread), dtype)


def median_distance(rows: np.ndarray, *, seed: int) -> tuple[float, str]:
    """σ and how it was found: the median distance over pairs of a seeded subsample of the rows (l, e).

    Where the median is 0 (most rows identical) it is the mean of the positive distances, and 1 where there are none.
    """
    chosen = rows
    if len(rows) > BANDWIDTH_ROWS:
        chosen = rows[np.random.default_rng((seed, 3)).permutation(len(rows))[:BANDWIDTH_ROWS]]
    distances = pdist(chosen.astype(np.float64)) if len(chosen) > 1 else np.zeros(0)
    middle = float(np.median(distances)) if len(distances) else 0.0
    if middle > 0:
        return middle, f"median distance of {len(chosen)} landmarks"
    positive = distances[distances > 0]
    if len(positive):
        return float(positive.mean()), "mean of the positive distances, since most landmarks coincide"
    return 1.0, "1, since all landmarks coincide"


def rbf(rows: np.ndarray, landmarks: np.ndarray, bandwidth: float) -> np.ndarray:
    """exp(−‖x−y‖²/2σ²), (m, l)."""
    squares = np.einsum("ij,ij->i", rows, rows)[:, None] + np.einsum("ij,ij->i", landmarks, landmarks)[None, :]
    squares -= 2 * (rows @ landmarks.T)
    np.maximum(squares, 0, out=squares)
    squares /= -2 * bandwidth**2
    return np.exp(squares, out=squares)


def linear(rows: np.ndarray, landmarks: np.ndarray, offset: float) -> np.ndarray:
    """<x, y> + b, (m, l)."""
    return rows @ landmarks.T + rows.dtype.type(offset)


def rbf_diagonal(rows: np.ndarray, bandwidth: float) -> np.ndarray:
    """k(x, x) of the RBF kernel, (m,): one."""
    return np.ones(len(rows), dtype=rows.dtype)


def linear_diagonal(rows: np.ndarray, offset: float) -> np.ndarray:
    """k(x, x) of the linear kernel, (m,): the squared norm and the intercept."""
    return np.einsum("ij,ij->i", rows, rows) + rows.dtype.type(offset)


def mean_squared_norm(rows: np.ndarray) -> float:
    """b, the intercept of the linear kernel: the mean ‖x‖² of the landmarks (l, e), 1 where they are all zero."""
    return float(np.square(rows, dtype=np.float64).sum(axis=1).mean()) or 1.0


@dataclass(frozen=True)
class Prepared:
    """A kernel against fixed landmarks, for raw rows in blocks. Build it with `prepare`.

    A row x becomes z = (x − shift)·factor; `columns` (e, l) are the landmarks' z, transposed; `norms` (l,) are ‖z‖²/2
    (RBF) and unused by the linear kernel, whose `offset` is b.
    """

    kernel: KernelName
    shift: np.ndarray
    factor: np.ndarray
    columns: np.ndarray
    norms: np.ndarray
    offset: float

    @property
    def dtype(self) -> np.dtype:
        """The precision everything is computed in."""
        return self.columns.dtype

    def coordinates(self, rows: np.ndarray) -> np.ndarray:
        """z (m, e) of raw rows (m, e), a fresh array."""
        scaled = np.subtract(rows, self.shift, dtype=self.dtype, casting="unsafe")
        scaled *= self.factor
        return scaled

    def block(self, scaled: np.ndarray, squares: np.ndarray) -> np.ndarray:
        """K (m, l) of rows z (m, e) with squared norms (m,)."""
        kernel = scaled @ self.columns  # (m, l)
        if self.kernel == "linear":
            kernel += self.dtype.type(self.offset)
            return kernel
        for start in range(0, len(kernel), BAND):  # bands stay in the cache between the passes
            band = kernel[start : start + BAND]
            band -= self.norms
            band -= (squares[start : start + BAND] / 2)[:, None]
            np.minimum(band, 0, out=band)
            np.exp(band, out=band)
        return kernel

    def diagonal(self, squares: np.ndarray) -> np.ndarray:
        """k(x, x) (m,) of rows with squared norms (m,)."""
        return np.ones_like(squares) if self.kernel == "rbf" else squares + self.dtype.type(self.offset)


def prepare(
    kernel: KernelName, landmarks: np.ndarray, scaling: Scaling, parameter: float, *, dtype: np.dtype
) -> Prepared:
    """The kernel against raw landmarks (l, e), in precision `dtype`."""
    centred = kernel == "rbf" and not scaling.shift.any()
    shift = landmarks.mean(axis=0, dtype=np.float64) if centred else scaling.shift
    factor = 1 / (scaling.scale * (parameter if kernel == "rbf" else 1.0))
    shell = Prepared(kernel, shift.astype(dtype), factor.astype(dtype), np.zeros((0, 0), dtype), np.zeros(0), parameter)
    scaled = shell.coordinates(landmarks)
    norms = (np.square(scaled, dtype=np.float64).sum(axis=1) / 2).astype(dtype)
    return Prepared(kernel, shell.shift, shell.factor, np.ascontiguousarray(scaled.T), norms, parameter)


KERNELS: dict[KernelName, Callable[[np.ndarray, np.ndarray, float], np.ndarray]] = {"rbf": rbf, "linear": linear}
DIAGONALS: dict[KernelName, Callable[[np.ndarray, float], np.ndarray]] = {
    "rbf": rbf_diagonal,
    "linear": linear_diagonal,
}
