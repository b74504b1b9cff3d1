"""The quadratic term of the weights' problem, wᵀQw with Q = C Q_L Cᵀ, and how negative it gets.

Notation. C (n, q) are the pool rows' coefficients on q landmarks, Q_L (q, q) the landmarks' curvature, symmetric but
possibly indefinite, because a Hessian may be. λ_min is Q's smallest eigenvalue: −pᵀw + (η/2) wᵀQw + (λ/2)‖w‖² is convex
for λ > −η λ_min. (METHODS section 1, "Q through landmarks".) Does not solve the problem.
"""

from dataclasses import dataclass

import numpy as np
from scipy.sparse.linalg import ArpackError, LinearOperator, eigsh

from engine.errors import EngineError

DENSE_EIGENVALUES = 512
NEGLIGIBLE = 1e-12


@dataclass(frozen=True)
class Quadratic:
    """Q = C Q_L Cᵀ from `factors` C (n, q) and `core` Q_L (q, q), float64. Rows of C that are not finite are NaN.

    Build it with `low_rank` or `dense`.
    """

    factors: np.ndarray
    core: np.ndarray

    @classmethod
    def low_rank(cls, factors: np.ndarray, core: np.ndarray) -> "Quadratic":
        """From C (n, q) and Q_L (q, q), which is made symmetric. Raises `EngineError` for shapes or a broken Q_L."""
        c, middle = np.asarray(factors, dtype=np.float64), np.asarray(core, dtype=np.float64)
        if c.ndim != 2 or middle.shape != (c.shape[1], c.shape[1]) or c.shape[1] < 1:
            raise EngineError(
                f"Curvature needs coefficients (n, q) and a (q, q) matrix; got {c.shape} and {middle.shape}."
            )
        return cls(c, _symmetric(middle))

    @classmethod
    def dense(cls, matrix: np.ndarray) -> "Quadratic":
        """From Q (n, n) itself, by its eigenvectors: O(n³), for some thousands of rows at most."""
        whole = np.asarray(matrix, dtype=np.float64)
        if whole.ndim != 2 or whole.shape[0] != whole.shape[1] or len(whole) < 1:
            raise EngineError(f"Curvature over rows needs a square matrix; got shape {whole.shape}.")
        values, vectors = np.linalg.eigh(_symmetric(whole))
        kept = np.abs(values) > NEGLIGIBLE * np.abs(values).max()
        kept |= np.arange(len(values)) == 0  # never empty
        return cls(vectors[:, kept], np.diag(values[kept]))

    def __len__(self) -> int:
        """The number of rows n."""
        return len(self.factors)

    @property
    def usable(self) -> np.ndarray:
        """Which rows have finite coefficients, bool (n,)."""
        return np.isfinite(self.factors).all(axis=1)

    def of(self, rows: np.ndarray) -> "Quadratic":
        """The same restricted to some rows."""
        return self if len(rows) == len(self) else Quadratic(self.factors[rows], self.core)

    def times(self, w: np.ndarray) -> np.ndarray:
        """Q w (n,), in O(nq)."""
        return self.factors @ (self.core @ (self.factors.T @ w))

    def split(self) -> tuple[np.ndarray, np.ndarray]:
        """A, B with Q = A Aᵀ − B Bᵀ (n, ·): the core's positive and negative parts, carried over to the rows."""
        values, vectors = np.linalg.eigh(self.core)
        least = NEGLIGIBLE * np.abs(values).max()
        up, down = values > least, values < -least
        positive = self.factors @ (vectors[:, up] * np.sqrt(values[up]))
        return positive, self.factors @ (vectors[:, down] * np.sqrt(-values[down]))

    def least_eigenvalue(self) -> float:
        """λ_min(Q) ≤ 0 or above: by Lanczos on the low-rank form, or exactly where n or q is small.

        Exact: Q's non-zero eigenvalues are those of R Q_L Rᵀ with RᵀR = CᵀC; the others are 0 when q < n. Lanczos
        returns a Ritz value, which lies above λ_min; it is lowered by its residual. Raises `EngineError` if it fails.
        """
        n, q = self.factors.shape
        if min(n, q) > DENSE_EIGENVALUES:
            return self._lanczos()
        if n <= q:
            return float(np.linalg.eigvalsh(self.factors @ self.core @ self.factors.T).min())
        values, vectors = np.linalg.eigh(self.factors.T @ self.factors)
        root = np.sqrt(values.clip(0))[:, None] * vectors.T  # R (q, q)
        return min(0.0, float(np.linalg.eigvalsh(root @ self.core @ root.T).min()))

    def _lanczos(self) -> float:
        n = len(self)
        operator = LinearOperator((n, n), matvec=lambda w: self.times(w.ravel()), dtype=np.float64)
        start = np.random.default_rng(0).standard_normal(n)
        try:
            values, vectors = eigsh(operator, k=1, which="SA", v0=start, tol=1e-8, maxiter=max(1000, 20 * n))
        except ArpackError as error:
            raise EngineError(
                f"The least eigenvalue of the curvature could not be found ({error}), so it is not known whether the "
                "weights' problem is convex. Use fewer landmarks or the Gauss–Newton matrix. Nothing was weighted."
            ) from error
        vector = vectors[:, 0]
        lowered = float(values[0] - np.linalg.norm(self.times(vector) - values[0] * vector))
        return lowered if n <= self.factors.shape[1] else min(0.0, lowered)


def _symmetric(matrix: np.ndarray) -> np.ndarray:
    if not np.isfinite(matrix).all():
        raise EngineError("The curvature holds numbers that are not finite; the model overflowed on the targets.")
    return (matrix + matrix.T) / 2
