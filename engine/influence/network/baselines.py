"""What a network has to beat: the mean, a linear model and kernel ridge, on the same labels and the same inputs.

Notation as in `training`: labelled rows X (m, d), items Y (u, e), labels P (m, u), NaN where a pair has none.

*Mean*: one number. *Linear*: w·x_i + z·y_j + c by ridge regression over the labelled pairs. *Kernel ridge*: the product
kernel K(i,i')·L(j,j') with RBF factors at their median distances, solved in closed form from the eigenvectors of both
(labels that are missing are first filled in by the linear model); on a block this large kernel over pairs costs no more
than the two small ones, and of rows or items beyond `KERNEL_SIDE` a seeded draw of so many takes part. The ridge is the
one of a few that the validation rows prefer, as the network's epochs are.
"""

from dataclasses import dataclass

import numpy as np

from engine.influence.kernels import median_distance

RIDGES = (1e-3, 1e-2, 1e-1, 1.0, 10.0)
KERNEL_SIDE = 1024  # rows, and items, of the block that kernel ridge is fitted to: its cost grows with their cube
BLOCK = 4096  # rows estimated at a time


@dataclass(frozen=True)
class Linear:
    """w (d,), z (e,) and c."""

    row_weights: np.ndarray
    item_weights: np.ndarray
    offset: float

    def __call__(self, rows: np.ndarray, items: np.ndarray) -> np.ndarray:
        """Estimates (n, u) float32."""
        return ((rows @ self.row_weights)[:, None] + (items @ self.item_weights)[None] + self.offset).astype(np.float32)


def linear(rows: np.ndarray, items: np.ndarray, labels: np.ndarray, *, ridge: float) -> Linear:
    """Least squares over the labelled pairs with penalty `ridge`·(w² + z²) per pair, in units of the inputs' size."""
    labels, known = np.asarray(labels, np.float64), np.isfinite(labels)
    weights = known.astype(np.float64)
    x, y = np.asarray(rows, np.float64), np.asarray(items, np.float64)
    count, by_row, by_item = weights.sum(), weights.sum(1), weights.sum(0)
    mean_x, mean_y = by_row @ x / count, by_item @ y / count
    x, y = x - mean_x, y - mean_y
    mean = float(np.where(known, labels, 0).sum() / count)
    target = np.where(known, labels - mean, 0)
    cross = x.T @ weights @ y
    gram = np.block([[(x.T * by_row) @ x, cross], [cross.T, (y.T * by_item) @ y]])
    scale = max(float(np.trace(gram)) / len(gram), 1e-30)
    right = np.concatenate([x.T @ target.sum(1), y.T @ target.sum(0)])
    found = np.linalg.solve(gram + ridge * scale * np.eye(len(gram)), right)
    w, z = found[: x.shape[1]], found[x.shape[1] :]
    return Linear(w, z, mean - float(mean_x @ w) - float(mean_y @ z))


@dataclass(frozen=True)
class PairKernel:
    """A product-kernel regression fitted to a block."""

    rows: np.ndarray
    items: np.ndarray
    widths: tuple[float, float]
    coefficients: np.ndarray
    mean: float

    def __call__(self, rows: np.ndarray, items: np.ndarray) -> np.ndarray:
        """Estimates (n, u) float32."""
        right = self.coefficients @ _rbf(items, self.items, self.widths[1]).T  # (m, u)
        found = np.empty((len(rows), len(items)), np.float32)
        for start in range(0, len(rows), BLOCK):
            here = slice(start, start + BLOCK)
            found[here] = _rbf(rows[here], self.rows, self.widths[0]) @ right + self.mean
        return found


class PairKernels:
    """The kernels' eigenvectors of one block, worked out once for every ridge."""

    def __init__(self, rows: np.ndarray, items: np.ndarray, labels: np.ndarray, filled: Linear) -> None:
        drawn, chosen = _drawn(len(rows)), _drawn(len(items))
        rows, items, labels = rows[drawn], items[chosen], labels[np.ix_(drawn, chosen)]
        self.rows, self.items = np.asarray(rows, np.float64), np.asarray(items, np.float64)
        block = np.where(np.isfinite(labels), labels, filled(rows, items)).astype(np.float64)
        self.mean = float(block.mean())
        self.widths = _width(self.rows), _width(self.items)
        self.left = np.linalg.eigh(_rbf(self.rows, self.rows, self.widths[0]))
        self.right = np.linalg.eigh(_rbf(self.items, self.items, self.widths[1]))
        self.turned = self.left[1].T @ (block - self.mean) @ self.right[1]

    def fit(self, ridge: float) -> PairKernel:
        """(K ⊗ L + ridge·I)⁻¹ vec(P − mean) as a matrix (m, u)."""
        spectrum = np.outer(self.left[0].clip(0), self.right[0].clip(0))
        coefficients = self.left[1] @ (self.turned / (spectrum + ridge)) @ self.right[1].T
        return PairKernel(self.rows, self.items, self.widths, coefficients, self.mean)


@dataclass(frozen=True)
class Baselines:
    """The fitted baselines; `ridges` are those chosen for the linear model and for the kernel."""

    mean: float
    linear: Linear
    kernel: PairKernel
    ridges: tuple[float, float]

    def estimates(self, rows: np.ndarray, items: np.ndarray) -> dict[str, np.ndarray]:
        """Estimates (n, u) by name."""
        constant = np.full((len(rows), len(items)), self.mean, np.float32)
        return {"mean": constant, "linear": self.linear(rows, items), "kernel": self.kernel(rows, items)}


def fit_baselines(
    rows: np.ndarray, items: np.ndarray, labels: np.ndarray, *, validation: np.ndarray, refit: bool = True
) -> Baselines:
    """Fit all of them; `validation` are positions of labelled rows that choose the ridges.

    With `refit` they are fitted to after, as the network is to its own.
    """
    kept = np.flatnonzero(np.isfinite(rows).all(axis=1) & np.isfinite(labels).any(axis=1))
    present = np.isfinite(items).all(axis=1) & np.isfinite(labels[kept]).any(axis=0)
    validation = np.flatnonzero(np.isin(kept, validation))
    rows, items, labels = rows[kept], items[present], labels[np.ix_(kept, present)]
    fitted = np.setdiff1d(np.arange(len(rows)), validation)
    first, second = (1e-2, 1e-2)
    if len(validation) and len(fitted):
        trial, truth = labels[fitted], labels[validation]
        makers = {ridge: linear(rows[fitted], items, trial, ridge=ridge) for ridge in RIDGES}
        first = min(RIDGES, key=lambda ridge: _error(makers[ridge](rows[validation], items), truth))
        kernels = PairKernels(rows[fitted], items, trial, makers[first])
        second = min(RIDGES, key=lambda ridge: _error(kernels.fit(ridge)(rows[validation], items), truth))
        if not refit:
            return Baselines(float(np.nanmean(trial)), makers[first], kernels.fit(second), (first, second))
    straight = linear(rows, items, labels, ridge=first)
    kernel = PairKernels(rows, items, labels, straight).fit(second)
    return Baselines(float(np.nanmean(labels)), straight, kernel, (first, second))


def _drawn(count: int) -> np.ndarray:
    """The places, ascending, that kernel ridge is fitted to."""
    return np.sort(np.random.default_rng(0).permutation(count)[:KERNEL_SIDE])


def _error(said: np.ndarray, truth: np.ndarray) -> float:
    known = np.isfinite(truth)
    return float(((said - truth)[known] ** 2).mean()) if known.any() else 0.0


def _width(values: np.ndarray) -> float:
    """The median distance; 1 where there is none."""
    if len(values) < 2:
        return 1.0
    found, _ = median_distance(values, seed=0)
    return found if np.isfinite(found) and found > 0 else 1.0


def _rbf(left: np.ndarray, right: np.ndarray, width: float) -> np.ndarray:
    a, b = np.asarray(left, np.float64), np.asarray(right, np.float64)
    square = (a * a).sum(1)[:, None] + (b * b).sum(1)[None] - 2 * a @ b.T
    return np.exp(-square.clip(0) / (2 * width**2))
