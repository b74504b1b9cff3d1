"""The first-order weights in closed form: projection onto the scaled simplex {w ≥ 0, 1ᵀw = N}.

Notation. x (n,) linear terms, λ > 0, N the total. w(x) = argmin −xᵀw + (λ/2)‖w‖² on the simplex is max(x − θ, 0)/λ with
the θ that makes the sum N. With x sorted downwards and S_j the sum of the first j, the support is k exactly when
(S_k − k x_k)/N < λ ≤ (S_k − k x_{k+1})/N. (METHODS section 1, "Robust form".) Pure functions of arrays without NaN.
"""

import numpy as np


def project(x: np.ndarray, lam: float, total: float) -> np.ndarray:
    """w (n,) float64 minimising −xᵀw + (λ/2)‖w‖² over w ≥ 0, 1ᵀw = `total`; O(n log n)."""
    x = x - x.max()  # the constraint makes w blind to a shift; the largest is 0
    level = x.mean() - lam * total / len(x)
    if level >= x.min():  # otherwise everything is in, and there is nothing to sort
        level = _level(x, lam * total)
    w = np.maximum(x - level, 0) / lam
    return w * (total / w.sum())


def _level(x: np.ndarray, mass: float) -> float:
    """The θ with Σ max(x − θ, 0) = `mass`, for x whose largest entry is 0."""
    near = np.sort(x[x > -mass])[::-1]  # whatever is lower stays out, since the largest alone fills the total there
    excess = np.cumsum(near) - np.arange(1, len(near) + 1) * near  # S_j − j x_j, growing with j
    count = max(1, int(np.searchsorted(excess, mass, side="left")))
    return float((near[:count].sum() - mass) / count)


def sparsest(x: np.ndarray, k: int, total: float) -> tuple[np.ndarray, float]:
    """w (n,) and λ of the largest λ whose support is exactly k; with ties the smallest support above k.

    A support of all rows has no largest λ: it is infinity there, and the weights are equal.
    """
    x = x - x.max()
    ranked = np.sort(x)[::-1]
    support = int(np.searchsorted(-ranked, -ranked[k - 1], side="right"))  # where the run of ties at rank k ends
    if support == len(ranked):
        return np.full(len(x), total / len(x)), np.inf
    above = np.maximum(x - ranked[support], 0)  # θ = x_{k+1}, taken literally: exactly `support` entries are positive
    return above * (total / above.sum()), float(above.sum() / total)


def heaviest(w: np.ndarray, x: np.ndarray, k: int) -> np.ndarray:
    """The k rows of largest weight, ascending; ties by the larger x, then by row order."""
    order = np.lexsort((np.arange(len(w)), -x, -w))
    return np.sort(order[:k])
