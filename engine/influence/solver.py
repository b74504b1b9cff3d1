"""The second-order weights' problem for one λ: semismooth Newton in q dimensions, exact to rounding.

Notation as in `weights`. ηQ = A Aᵀ − B Bᵀ with A (n, r) and B (n, r'), r + r' ≤ q. For B = 0 the dual of the problem is

    D(u) = −‖u‖²/2 + min_w { −(c − A u)ᵀw + (λ/2)‖w‖² },   u ∈ R^r,   c = p,

whose inner minimum is the projection w(u) of `simplex`. It is concave, ∇D = Aᵀw(u) − u, the duality gap is exactly
‖∇D‖²/2, and the generalised Hessian −I − (1/λ) A_Sᵀ (I − 11ᵀ/|S|) A_S over the support S makes Newton's method finite.
With B, f is a difference of convex functions, convex as a whole when λ > ‖B‖²: its concave part is linearised at w
(c = p + B Bᵀw), which lowers f each time; then Newton's step for the whole fixed point is tried, and the minimum over
the face of the current support is approached as far as the weights stay positive (active set). Neither may raise f.
Cost per step O(nq + |S|q² + n log n). Assumes a convex problem; the caller has seen to that.
"""

from dataclasses import dataclass

import numpy as np

from engine.influence.quadratic import Quadratic
from engine.influence.simplex import project

NEWTON_STEPS = 100
FACE_STEPS = 20
FALL = 4.0  # factor by which λ falls where Newton's method needs a nearer start
SETTLED = 1e-14
OUTER_STEPS = 300
ARMIJO = 1e-4
GRAM_ROWS = 1 << 15


@dataclass(frozen=True)
class Problem:
    """p (n,) without NaN, Q, η and the total, made ready once for every λ. Build it with `Problem.of`.

    `size` is an upper bound on |Q|'s largest eigenvalue.
    """

    p: np.ndarray
    quadratic: Quadratic
    eta: float
    total: float
    positive: np.ndarray
    negative: np.ndarray
    size: float

    @classmethod
    def of(cls, p: np.ndarray, quadratic: Quadratic, eta: float, total: float) -> "Problem":
        """Split ηQ into A Aᵀ − B Bᵀ, in O(nq²)."""
        positive, negative = quadratic.split()
        size = max(float(np.square(positive).sum()), float(np.square(negative).sum()))
        return cls(p, quadratic, eta, total, np.sqrt(eta) * positive, np.sqrt(eta) * negative, size)

    def objective(self, w: np.ndarray, lam: float) -> float:
        """f(w)."""
        return float(-self.p @ w + self.eta * (w @ self.quadratic.times(w)) / 2 + lam * (w @ w) / 2)


@dataclass(frozen=True)
class Solution:
    """w (n,) and the dual u (r,) that a neighbouring λ may start from; `support` counts the positive weights."""

    w: np.ndarray
    dual: np.ndarray

    @property
    def support(self) -> int:
        """How many weights are above 0."""
        return int((self.w > 0).sum())


def minimise(problem: Problem, lam: float, *, tolerance: float, near: Solution | None = None) -> Solution:
    """Minimise f until its relative gap is at most `tolerance`, or no step lowers it; the caller checks the gap."""
    start = project(problem.p, lam, problem.total) if near is None else near.w
    dual = problem.positive.T @ start if near is None else near.dual
    if problem.negative.shape[1] == 0:
        solved = _convex(problem, problem.p, dual, lam, tolerance)
        gap = _relative_gap(problem, solved.w, lam)
        polished = solved.w if gap <= tolerance else _polished(problem, solved.w, lam)
        return Solution(polished, solved.dual) if _relative_gap(problem, polished, lam) < gap else solved
    found = Solution(start, dual)
    for _ in range(OUTER_STEPS):
        if _relative_gap(problem, found.w, lam) <= tolerance:
            break
        linear = problem.p + problem.negative @ (problem.negative.T @ found.w)
        lowered = _convex(problem, linear, found.dual, lam, tolerance * 1e-2)
        leap = _leap(problem, lowered.w, lam)
        better = leap if problem.objective(leap, lam) < problem.objective(lowered.w, lam) else lowered.w
        polished = _polished(problem, better, lam)
        found = Solution(polished, problem.positive.T @ polished)
    return found


def _convex(problem: Problem, linear: np.ndarray, dual: np.ndarray, lam: float, tolerance: float) -> Solution:
    """Maximise D: straight from `dual`, or where that does not settle along falling λ, each from the one before."""
    found, settled = _newton(problem, linear, dual, lam, tolerance)
    if settled:
        return found
    first = max(problem.eta * problem.size, lam)
    for between in np.geomspace(first, lam, 1 + int(np.ceil(np.log(first / lam) / np.log(FALL)))):
        found, _ = _newton(problem, linear, found.dual, float(between), tolerance)
    return found


def _newton(
    problem: Problem, linear: np.ndarray, dual: np.ndarray, lam: float, tolerance: float
) -> tuple[Solution, bool]:
    """Newton steps with backtracking from `dual`; whether the duality gap has become negligible."""
    a, total = problem.positive, problem.total
    value, w, gradient = _dual_value(a, linear, dual, lam, total)
    for _ in range(NEWTON_STEPS):
        size = abs(linear @ w) + dual @ dual / 2 + lam * (w @ w) / 2
        if gradient @ gradient / 2 <= (tolerance * 1e-3) ** 2 * size:
            break
        centred = _centred_gram(a, w > 0)
        step = np.linalg.solve(np.eye(len(dual)) + centred / lam, gradient)
        slope, length = float(gradient @ step), 1.0
        for _ in range(40):
            moved = dual + length * step
            trial = _dual_value(a, linear, moved, lam, total)
            if trial[0] >= value + ARMIJO * length * slope or length * slope <= 1e-15 * size:
                break
            length /= 2
        stuck = trial[2] @ trial[2] >= gradient @ gradient and length * slope <= 1e-15 * size
        if stuck:
            break
        dual, (value, w, gradient) = moved, trial
    size = abs(linear @ w) + dual @ dual / 2 + lam * (w @ w) / 2
    return Solution(w, dual), bool(gradient @ gradient / 2 <= SETTLED * size)


def _dual_value(
    a: np.ndarray, linear: np.ndarray, dual: np.ndarray, lam: float, total: float
) -> tuple[float, np.ndarray, np.ndarray]:
    """D(u), w(u) (n,) and ∇D(u) (r,)."""
    inner = linear - a @ dual  # (n,)
    w = project(inner, lam, total)
    value = -(dual @ dual) / 2 - inner @ w + lam * (w @ w) / 2
    return float(value), w, w @ a - dual


def _centred_gram(a: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """A_Sᵀ (I − 11ᵀ/|S|) A_S (r, r), by pieces of the support so that no second copy of A is made."""
    rows = np.flatnonzero(inside)
    mean = a[rows].mean(axis=0) if len(rows) <= GRAM_ROWS else (inside / len(rows)) @ a
    gram = np.zeros((a.shape[1], a.shape[1]))
    for start in range(0, len(rows), GRAM_ROWS):
        part = a[rows[start : start + GRAM_ROWS]] - mean
        gram += part.T @ part
    return gram


def _leap(problem: Problem, w: np.ndarray, lam: float) -> np.ndarray:
    """Newton's step for z = Cᵀ w((p − ηC Q_L z)), the fixed point that the solution is, and its projection (n,)."""
    c, core = problem.quadratic.factors, problem.eta * problem.quadratic.core
    z = w @ c
    image = project(problem.p - c @ (core @ z), lam, problem.total)
    jacobian = np.eye(len(z)) + _centred_gram(c, image > 0) @ core / lam
    moved = z - np.linalg.lstsq(jacobian, z - image @ c, rcond=None)[0]
    return project(problem.p - c @ (core @ moved), lam, problem.total)


def _polished(problem: Problem, w: np.ndarray, lam: float) -> np.ndarray:
    """w moved to the minimum of f over its face, leaving rows behind as their weight reaches 0; f does not grow."""
    for _ in range(FACE_STEPS):
        rows = np.flatnonzero(w > 0)
        step = _face_minimum(problem, rows, lam) - w[rows]
        falling = step < 0
        room = np.min(-w[rows][falling] / step[falling], initial=1.0)
        trial = np.zeros_like(w)
        trial[rows] = np.maximum(w[rows] + room * step, 0)
        if room < 1:
            trial[rows[falling][np.argmin(-w[rows][falling] / step[falling])]] = 0
        trial *= problem.total / trial.sum()
        if problem.objective(trial, lam) > problem.objective(w, lam):
            break
        w = trial
        if room >= 1:
            break
    return w


def _face_minimum(problem: Problem, rows: np.ndarray, lam: float) -> np.ndarray:
    """The minimum of f over {1ᵀw = N, w = 0 outside `rows`}, signs ignored, (|rows|,).

    With Ĉ the centred C_S, c̄ its mean and z = C_Sᵀw: (I + (η/λ) ĈᵀĈ Q_L) z = N c̄ + Ĉᵀp_S / λ.
    """
    c, core = problem.quadratic.factors[rows], problem.eta * problem.quadratic.core
    mean, p = c.mean(axis=0), problem.p[rows] - problem.p[rows].mean()
    centred = c - mean
    z = np.linalg.lstsq(
        np.eye(len(core)) + centred.T @ centred @ core / lam,
        problem.total * mean + centred.T @ p / lam,
        rcond=None,
    )[0]
    return problem.total / len(rows) + (p - centred @ (core @ z)) / lam


def _relative_gap(problem: Problem, w: np.ndarray, lam: float) -> float:
    curved = problem.eta * problem.quadratic.times(w)
    gradient = -problem.p + curved + lam * w
    size = abs(problem.p @ w) + abs(w @ curved) / 2 + lam * (w @ w) / 2
    return float(gradient @ w - gradient.min() * w.sum()) / size if size > 0 else 0.0
