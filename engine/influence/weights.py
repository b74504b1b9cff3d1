"""Row weights that lower the target loss most in one step: the robust weights' problem on the scaled simplex.

Notation. n pool rows, p (n,) their scores against the target (higher is better), Q (n, n) their curvature, η the
learning rate, λ the robustness, N the total weight (n unless given). The problem is

    minimise  f(w) = −pᵀw + (η/2) wᵀQw + (λ/2)‖w‖²   subject to   w ≥ 0, 1ᵀw = N,

with Q = 0 to first order. (Influence Distillation, arXiv 2505.19051; METHODS section 1.) The *gap* is
max_s ∇f(w)ᵀ(w − s) over the simplex, an upper bound on f(w) − min f wherever f is convex; it is relative to the sum of
the magnitudes of f's terms, with p counted from its mean over the rows. Rows whose p is NaN have weight 0 and count
nowhere but in n. Does not compute p or Q and knows no strategy.
"""

from dataclasses import dataclass, replace
from typing import Literal, cast, get_args

import numpy as np

from engine.errors import EngineError
from engine.influence.quadratic import Quadratic
from engine.influence.simplex import heaviest, project, sparsest
from engine.influence.solver import Problem, Solution, minimise

NonConvex = Literal["refuse", "raise"]

TOLERANCE = 1e-9
WORST_GAP = 1e-5
MARGIN = 1e-3  # how far above its bound λ is put when it has to be raised
SHRINKING = 12  # how often the search for λ goes down by 4 before it says that no λ gives so few rows
CONDITION = 1e-7  # smallest λ searched, relative to the curvature's size: below, rounding would decide
PRECISION = 1e-6  # relative width at which the search for the largest λ stops
TIE = 1e-9  # relative width below which a support that leaps over k is called a tie


@dataclass(frozen=True)
class Weights:
    """The solution. `weights` float64 (n,), their sum N; `support` how many are above 0; `lam` the λ used.

    `rows` int64, ascending: the rows of the support, or the k of them that were asked for where ties or convexity
    allow no such support (`notes` say so). `objective` is f(w) with p counted from its mean, `gap` and `relative_gap`
    how far it can be above the optimum. `least_eigenvalue` is λ_min(Q), 0 to first order.
    """

    weights: np.ndarray
    rows: np.ndarray
    support: int
    lam: float
    objective: float
    gap: float
    relative_gap: float
    least_eigenvalue: float
    notes: tuple[str, ...]


def solve_weights(
    p: np.ndarray,
    *,
    lam: float | None = None,
    k: int | None = None,
    curvature: Quadratic | None = None,
    eta: float = 1.0,
    total: float | None = None,
    non_convex: NonConvex = "refuse",
) -> Weights:
    """Solve for a given λ, or for the largest λ whose support is exactly k rows.

    To first order in O(n log n); with `curvature` to second order. For all rows λ is infinite and the weights equal.
    Where Q has a negative eigenvalue, `non_convex` "refuse" raises and "raise" lifts λ just above −η λ_min(Q) and says
    so. Raises `EngineError` for arguments out of range, p that is infinite, no row with a score, k beyond those, and a
    relative gap that stays above 1e-5.
    """
    scores = _checked(p, lam, k, curvature, eta, total, non_convex)
    usable = ~np.isnan(scores) if curvature is None else ~np.isnan(scores) & curvature.usable
    kept = np.flatnonzero(usable)
    if len(kept) == 0:
        raise EngineError(f"None of the {len(scores)} samples has a score, so there is nothing to weight.")
    if k is not None and k > len(kept):
        raise EngineError(f"{k:,} samples were asked for, but only {len(kept):,} have a score. Ask for at most those.")
    x = scores[kept] - scores[kept].mean()
    mass = float(len(scores) if total is None else total)
    found = (
        _first_order(x, lam, k, mass)
        if curvature is None or k == len(kept)
        else _second_order(Problem.of(x, curvature.of(kept), eta, mass), lam, k, non_convex)
    )
    return _placed(found, kept, len(scores))


def exported_weights(weights: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """The weights of the chosen rows (k,) float64, rescaled to mean one over them.

    Raises `EngineError` if there is no row, or one of them has no positive weight.
    """
    chosen = np.asarray(weights, dtype=np.float64)[np.asarray(rows)]
    if chosen.size == 0 or not (np.isfinite(chosen) & (chosen > 0)).all():
        raise EngineError(
            f"Weights are exported for samples whose weight is above 0; {int((~(chosen > 0)).sum())} of {chosen.size} "
            "chosen samples have none. Choose samples of the support. Nothing was written."
        )
    return chosen / chosen.mean()


def _first_order(x: np.ndarray, lam: float | None, k: int | None, total: float) -> Weights:
    if lam is not None:
        return _described(x, project(x, lam, total), lam, None, None)
    w, largest = sparsest(x, cast(int, k), total)
    notes = ("Every λ from a finite one on keeps all samples; in the limit their weights are equal.",)
    found = _described(x, w, largest, None, k)
    return replace(found, notes=notes + found.notes) if np.isinf(largest) else found


def _second_order(problem: Problem, lam: float | None, k: int | None, non_convex: NonConvex) -> Weights:
    least = problem.quadratic.least_eigenvalue()
    floor = -problem.eta * least if _negative(problem, least) else 0.0
    notes: tuple[str, ...] = ()
    if lam is not None:
        used, notes = _convex(lam, floor, non_convex)
        found = _described(problem.p, minimise(problem, used, tolerance=TOLERANCE).w, used, problem, None)
    else:
        solution, used, notes = _largest_lambda(problem, cast(int, k), floor, non_convex)
        found = _described(problem.p, solution.w, used, problem, k)
    if not found.relative_gap <= WORST_GAP:
        raise EngineError(
            f"The weights' problem did not converge: the relative gap is {found.relative_gap:.1e} at λ = {used:.3g}, "
            f"where {WORST_GAP:.0e} is the most. Take a larger λ or more samples, or the first-order weights."
        )
    return replace(found, least_eigenvalue=least, notes=notes + found.notes)


def _negative(problem: Problem, least: float) -> bool:
    """Whether λ_min is negative beyond rounding."""
    return least < -1e-10 * problem.size


def _convex(lam: float, floor: float, non_convex: NonConvex) -> tuple[float, tuple[str, ...]]:
    """λ as it is, or raised. Raises `EngineError` where it may not be."""
    if floor == 0 or lam > floor:
        return lam, ()
    if non_convex == "refuse":
        raise EngineError(
            f"The weights' problem is not convex at λ = {lam:.3g}: the curvature has a negative eigenvalue and needs "
            f"λ above {floor:.3g}. Take a larger λ, let λ be raised, or use the Gauss–Newton matrix. Nothing was "
            "weighted."
        )
    raised = floor * (1 + MARGIN)
    return raised, (f"λ was raised from {lam:.3g} to {raised:.3g}, where the weights' problem becomes convex.",)


def _largest_lambda(
    problem: Problem, k: int, floor: float, non_convex: NonConvex
) -> tuple[Solution, float, tuple[str, ...]]:
    """The solution at the largest λ found whose support is k, else at the smallest support above k.

    To second order the support need not grow with λ everywhere; the search halves a bracket whose lower end has at
    most k rows and whose upper end has more.
    """
    start = _first_guess(problem, k)
    low = max(start, floor * (1 + MARGIN))
    below = _at(problem, low, None)
    lowest = min(low, max(floor * (1 + MARGIN), low * 4.0**-SHRINKING, CONDITION * problem.eta * problem.size))
    while below.support > k and low > lowest:
        low = max(low / 4, lowest)
        below = _at(problem, low, below)
    if below.support > k:
        return below, low, _too_many(k, below.support, low, floor, non_convex)
    high, above = low, below
    while above.support <= k:
        low, below = high, above
        high *= 4
        above = _at(problem, high, above)
    turn = 0
    while high > low * (1 + (PRECISION if below.support == k else TIE)):
        middle = _between(low, high, (below.support, above.support), k, halve=turn % 3 == 2)
        found, turn = _at(problem, middle, below), turn + 1
        if found.support > k:
            high, above = middle, found
        else:
            low, below = middle, found
    return (below, low, ()) if below.support == k else (above, high, ())


def _between(low: float, high: float, supports: tuple[int, int], k: int, *, halve: bool) -> float:
    """Where to look next: by interpolation of the supports, kept off the ends, or in the middle, both of log λ."""
    share = 0.5 if halve else (k + 0.5 - supports[0]) / (supports[1] - supports[0])
    return float(low * (high / low) ** min(max(share, 0.05), 0.95))


def _at(problem: Problem, lam: float, near: Solution | None) -> Solution:
    return minimise(problem, lam, tolerance=TOLERANCE, near=near)


def _first_guess(problem: Problem, k: int) -> float:
    """The first-order λ for k, or where that is none the scale on which p or Q would give one."""
    _, lam = sparsest(problem.p, k, problem.total)
    if np.isfinite(lam) and lam > 0:
        return lam
    spread = float(np.ptp(problem.p)) or problem.eta * problem.size * problem.total / len(problem.p)
    return spread / problem.total or 1.0


def _too_many(k: int, support: int, low: float, floor: float, non_convex: NonConvex) -> tuple[str, ...]:
    """What is said where no λ gives so few rows. Raises `EngineError` where that is for want of convexity."""
    if floor == 0:
        return (
            f"No λ down to {low:.3g} leaves as few as {k} samples: the curvature spreads the weight over {support}.",
        )
    if non_convex == "refuse":
        raise EngineError(
            f"{k} samples need a λ below {floor:.3g}, where the weights' problem is not convex; the smallest convex λ "
            f"gives {support} samples. Ask for more samples, let λ be raised, or use the Gauss–Newton matrix. Nothing "
            "was weighted."
        )
    return (f"λ was raised to {floor * (1 + MARGIN):.3g}, where the weights' problem becomes convex.",)


def _described(x: np.ndarray, w: np.ndarray, lam: float, problem: Problem | None, k: int | None) -> Weights:
    """The result over the usable rows: support, the rows chosen, objective and gap."""
    support = int((w > 0).sum())
    rows = np.flatnonzero(w > 0)
    notes: tuple[str, ...] = ()
    if k is not None and support > k:
        rows = heaviest(w, x, k)
        notes = (
            f"No λ gives exactly {k} samples (ties, or curvature); the smallest support above has {support}, of which "
            "the heaviest were taken, ties by score and then by sample order.",
        )
    objective, gap, relative = _gap(x, w, lam, problem)
    return Weights(w, rows, support, lam, objective, gap, relative, 0.0, notes)


def _gap(x: np.ndarray, w: np.ndarray, lam: float, problem: Problem | None) -> tuple[float, float, float]:
    """f(w), the gap and the relative gap; for an infinite λ those of its limit, where f is ‖w‖² alone."""
    if np.isinf(lam):
        return float(-x @ w), 0.0, 0.0
    curved = np.zeros_like(w) if problem is None else problem.eta * problem.quadratic.times(w)
    gradient = -x + curved + lam * w
    terms = np.array([-x @ w, w @ curved / 2, lam * w @ w / 2])
    gap = max(0.0, float(gradient @ w - gradient.min() * w.sum()))
    size = float(np.abs(terms).sum())
    return float(terms.sum()), gap, gap / size if size > 0 else 0.0


def _placed(found: Weights, kept: np.ndarray, n: int) -> Weights:
    """The result over all n rows, with what was left out said."""
    if len(kept) == n:
        return found
    weights = np.zeros(n)
    weights[kept] = found.weights
    notes = (*found.notes, f"{n - len(kept)} samples without a score have weight 0.")
    return replace(found, weights=weights, rows=kept[found.rows], notes=notes)


def _checked(
    p: np.ndarray,
    lam: float | None,
    k: int | None,
    curvature: Quadratic | None,
    eta: float,
    total: float | None,
    non_convex: NonConvex,
) -> np.ndarray:
    scores = np.asarray(p, dtype=np.float64)
    if scores.ndim != 1 or np.isinf(scores).any():
        raise EngineError(f"One finite score (or NaN) per sample is needed; got shape {scores.shape}, some infinite.")
    if (lam is None) == (k is None):
        raise EngineError("Say either λ or the number of samples k, not both and not neither.")
    if k is not None and k < 1:
        raise EngineError(f"{k} samples were asked for; ask for at least one.")
    if curvature is not None and len(curvature) != len(scores):
        raise EngineError(f"The curvature is over {len(curvature)} samples and the scores over {len(scores)}.")
    if non_convex not in get_args(NonConvex):
        raise EngineError(f"non_convex is {non_convex!r}; it must be one of: {', '.join(get_args(NonConvex))}.")
    for name, value in (("λ", lam), ("η", eta), ("The total", total)):
        if value is not None and not 1e-100 < value < 1e100:
            raise EngineError(f"{name} is {value!r}; it must be above 0 and finite.")
    return scores
