"""Choosing k rows together with their weights: the support of the robust weights' problem.

Notation as in `strategies`; p the scores, Q the curvature and η as in `influence.weights`. Free rows get the weights of
the largest λ that leaves exactly as many of them as are wanted. An included row was put in by a person, perhaps without
a score: it has weight 1, the mean, whatever its score, and with curvature the others are weighted knowing that it is
there. Weights have mean one over the rows chosen, and so over the free rows among them.

In a `Room` the rows are chosen first, by score, or to second order by the weights that they would have without it. Then
the problem is solved over them and the rows that score less than all of them, so that to first order each weighs what
its score is above that of the best row left out below. Pure functions of arrays.
"""

import numpy as np

from engine.errors import EngineError
from engine.influence.quadratic import Quadratic
from engine.influence.weights import NonConvex, Weights, exported_weights, solve_weights
from engine.selection.room import Room, filled
from engine.selection.strategies import Chosen, Rows, best_first, joined, masks_of, wanted_of

_RAISED = 40  # how often λ is doubled until each chosen row has weight


def select_weights(
    score: np.ndarray,
    k: int | Room,
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
        raise EngineError(f"One score per sample is needed, got shape {values.shape}.")
    if curvature is not None and len(curvature) != len(values):
        raise EngineError(f"The curvature is over {len(curvature)} samples and the scores over {len(values)}.")
    inside, free = masks_of(len(values), k, include, exclude)
    known = free & ~np.isnan(values) & (True if curvature is None else curvature.usable)
    if isinstance(k, Room):
        return _in_room(values, k, inside, known, curvature, eta, non_convex)
    wanted = wanted_of(k, inside, int(known.sum()))
    if wanted == 0:
        return joined(inside, np.zeros(0, np.int64), [], weights=np.zeros(0))
    found = _solved(values, known, inside, k, wanted, curvature, eta, non_convex)
    weights = exported_weights(found.weights, found.rows)
    reasons = [f"weight {weight:.3g}" for weight in weights]
    notes = tuple(note for note in found.notes if "without a score" not in note)
    picked = np.flatnonzero(known)[found.rows]
    return joined(inside, picked, reasons, weights=weights, notes=notes)


def _in_room(
    values: np.ndarray,
    room: Room,
    inside: np.ndarray,
    known: np.ndarray,
    curvature: Quadratic | None,
    eta: float,
    non_convex: NonConvex,
) -> Chosen:
    """The rows that fit, and their weights among themselves and the rows of lower score."""
    rows = np.flatnonzero(known)
    order = rows[best_first(values[rows], len(rows))]
    picked, _ = filled(room, inside, order)
    if curvature is not None and len(picked):
        k = len(inside) + len(picked)
        free = _solved(values, known, inside, k, len(picked), curvature, eta, non_convex).weights
        picked, _ = filled(room, inside, order[np.argsort(-free[np.searchsorted(rows, order)], kind="stable")])
    if not len(picked):
        return joined(inside, picked, [], weights=np.zeros(0))
    k, chosen = len(inside) + len(picked), np.isin(np.arange(len(values)), picked)
    below = known & (values < values[picked].min())
    among = np.flatnonzero(chosen | below)
    found = _solved(values, chosen | below, inside, k, len(picked), curvature, eta, non_convex)
    notes = tuple(note for note in found.notes if "without a score" not in note)
    if not np.array_equal(among[found.rows], np.sort(picked)):
        found = _all_weighted(values, chosen, inside, k, found.lam, curvature, eta)
        notes = ("Quotas and budget decide which samples are in: λ is the smallest tried at which all of them weigh.",)
        among = np.flatnonzero(chosen)
    weights = exported_weights(found.weights, found.rows)
    reasons = [f"weight {weight:.3g}" for weight in weights]
    return joined(inside, among[found.rows], reasons, weights=weights, notes=notes)


def _all_weighted(
    values: np.ndarray,
    chosen: np.ndarray,
    inside: np.ndarray,
    k: int,
    lam: float,
    curvature: Quadratic | None,
    eta: float,
) -> Weights:
    """The problem over the chosen rows alone at the first λ, doubled from `lam`, that leaves none without weight."""
    p, rows = _bent(values, chosen, inside, k, curvature, eta)
    total = len(values) * len(rows) / k
    own = None if curvature is None else curvature.of(rows)
    for _ in range(_RAISED if np.isfinite(lam) and lam > 0 else 0):
        found = solve_weights(p, lam=lam, curvature=own, eta=eta, total=total, non_convex="raise")
        if found.support == len(rows):
            return found
        lam *= 2
    return solve_weights(p, k=len(rows), total=total)


def _bent(
    values: np.ndarray, known: np.ndarray, inside: np.ndarray, k: int, curvature: Quadratic | None, eta: float
) -> tuple[np.ndarray, np.ndarray]:
    """The scores of the known rows as the included ones, each holding n/k, bend them; and the rows' numbers."""
    rows = np.flatnonzero(known)
    p = values[rows]
    if curvature is not None and len(inside):
        held = np.nan_to_num(curvature.factors[inside], nan=0.0, posinf=0.0, neginf=0.0).sum(axis=0)
        p = p - eta * (curvature.factors[rows] @ (curvature.core @ (held * (len(values) / k))))
    return p, rows


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
    p, rows = _bent(values, known, inside, k, curvature, eta)
    total = len(values) * wanted / k
    if curvature is None:
        return solve_weights(p, k=wanted, total=total)
    return solve_weights(p, k=wanted, curvature=curvature.of(rows), eta=eta, total=total, non_convex=non_convex)
