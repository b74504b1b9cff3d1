"""Choosing k rows together with their weights: the support of the robust weights' problem.

Notation as in `strategies`; p the scores, Q the curvature and η as in `influence.weights`. Free rows get the weights of
the largest λ that leaves exactly as many of them as are wanted. An included row was put in by a person, perhaps without
a score: it has weight 1, the mean, whatever its score, and with curvature the others are weighted knowing that it is
there. Weights have mean one over the rows chosen, and so over the free rows among them. Pure functions of arrays.
"""

import numpy as np

from engine.errors import EngineError
from engine.influence.quadratic import Quadratic
from engine.influence.weights import NonConvex, Weights, exported_weights, solve_weights
from engine.selection.strategies import Chosen, Rows, joined, masks_of, wanted_of


def select_weights(
    score: np.ndarray,
    k: int,
    *,
    include: Rows = None,
    exclude: Rows = None,
    curvature: Quadratic | None = None,
    eta: float = 1.0,
    non_convex: NonConvex = "refuse",
) -> Chosen:
    """The included rows and the support of the weights' problem over the others of `score` (n,), k in all.

    To first order the rows are those of `select_top`, and a row weighs what its score is above that of the best row
    left out. With `curvature` over the n rows the problem is of second order. Rows without a finite coefficient are
    passed over like those without a score. `notes` say where no λ gives exactly k. Raises `EngineError` as `select_top`
    does, for an infinite score, and as `solve_weights` does where the problem is not convex.
    """
    values = np.asarray(score, dtype=np.float64)
    if values.ndim != 1:
        raise EngineError(f"One score per row is needed, got shape {values.shape}.")
    if curvature is not None and len(curvature) != len(values):
        raise EngineError(f"The curvature is over {len(curvature)} rows and the scores over {len(values)}.")
    inside, free = masks_of(len(values), k, include, exclude)
    known = free & ~np.isnan(values) & (True if curvature is None else curvature.usable)
    wanted = wanted_of(k, inside, int(known.sum()))
    if wanted == 0:
        return joined(inside, np.zeros(0, np.int64), [], weights=np.zeros(0))
    found = _solved(values, known, inside, k, wanted, curvature, eta, non_convex)
    weights = exported_weights(found.weights, found.rows)
    reasons = [f"weight {weight:.3g}" for weight in weights]
    notes = tuple(note for note in found.notes if "without a score" not in note)
    picked = np.flatnonzero(known)[found.rows]
    return joined(inside, picked, reasons, weights=weights, notes=notes)


def _solved(
    values: np.ndarray,
    known: np.ndarray,
    inside: np.ndarray,
    k: int,
    wanted: int,
    curvature: Quadratic | None,
    eta: float,
    non_convex: NonConvex,
) -> Weights:
    """The problem over the known rows alone: each included row holds its n/k, and bends the others' scores."""
    n, rows = len(values), np.flatnonzero(known)
    total = n * wanted / k
    if curvature is None:
        return solve_weights(values[rows], k=wanted, total=total)
    p = values[rows]
    if len(inside):
        held = np.nan_to_num(curvature.factors[inside], nan=0.0, posinf=0.0, neginf=0.0).sum(axis=0) * (n / k)  # (q,)
        p = p - eta * (curvature.factors[rows] @ (curvature.core @ held))
    return solve_weights(p, k=wanted, curvature=curvature.of(rows), eta=eta, total=total, non_convex=non_convex)
