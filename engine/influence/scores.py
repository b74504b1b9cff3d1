"""From gradients to scores: the matrix P (pool row, target), columns per target set, and one score per row.

Notation. g_i is the (projected) gradient of pool row i, g_j that of target item j. P_ij = <g_i, g_j> (`inner-product`)
or <g_i, g_j> / (‖g_i‖ ‖g_j‖) (`cosine`); higher is better: a step along −g_i lowers the loss of j by η P_ij. A *column*
is one named target set: the mean or the maximum of P over its items; the aggregate is the mean over the columns. The
norms are the caller's true ones where given (then a cosine of projected gradients may pass 1 a little), else those of
the vectors themselves.

A row or an item whose gradient is zero or not finite has no score: that row, or that item, is NaN and nothing else.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Literal, get_args

import numpy as np

from engine.errors import EngineError

Unit = Literal["cosine", "inner-product"]
Aggregate = Literal["mean", "max"]

UNSCORABLE, EXACT, PROPAGATED = 0, 1, 2
STATUS = {UNSCORABLE: "unscorable", EXACT: "exact", PROPAGATED: "propagated"}


def _mean(values: np.ndarray) -> np.ndarray:
    return values.mean(axis=1, dtype=np.float64)  # wide, so that the memory layout cannot show in the last digit


def _max(values: np.ndarray) -> np.ndarray:
    return values.max(axis=1)


REDUCTIONS: dict[Aggregate, Callable[[np.ndarray], np.ndarray]] = {"mean": _mean, "max": _max}


def score_matrix(
    grads: np.ndarray,
    target_grads: np.ndarray,
    *,
    unit: Unit = "cosine",
    norms: np.ndarray | None = None,
    target_norms: np.ndarray | None = None,
) -> np.ndarray:
    """P (n, t) float32 from gradients (n, k) and target gradients (t, k); higher is better.

    `norms` (n,) and `target_norms` (t,) replace the vectors' own in the cosine, and say in either unit which rows
    have a gradient at all. Raises `EngineError` for an unknown unit, unequal widths, or targets that are all unusable.
    """
    if unit not in get_args(Unit):
        raise EngineError(f"The unit is {unit!r}; it must be one of: {', '.join(get_args(Unit))}.")
    if grads.shape[1:] != target_grads.shape[1:]:
        raise EngineError(
            f"Pool gradients have {grads.shape[1:]} coordinates and target gradients {target_grads.shape[1:]}; "
            "score both with one projection. Nothing was scored."
        )
    rows, row_norms = _usable(grads, norms)
    items, item_norms = _usable(target_grads, target_norms)
    if np.isnan(item_norms).all():
        raise EngineError("No target item has a usable gradient, so there is nothing to score against.")
    if unit == "cosine":
        rows /= row_norms[:, None]
        items /= item_norms[:, None]
    products = rows @ items.T  # (n, t)
    products[np.isnan(row_norms)] = np.nan
    products[:, np.isnan(item_norms)] = np.nan
    return products


def _usable(vectors: np.ndarray, norms: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """A copy of the vectors in float32 with unusable ones zeroed, and float32 norms, NaN for those."""
    values = np.array(vectors, dtype=np.float32)
    own = np.sqrt(np.einsum("ij,ij->i", values, values, dtype=np.float64))
    length = own if norms is None else np.asarray(norms, dtype=np.float64)
    good = np.isfinite(own) & (own > 0) & np.isfinite(length) & (length > 0)
    values[~good] = 0
    return values, np.where(good, length, np.nan).astype(np.float32)


def columns_of(matrix: np.ndarray, sets: Mapping[str, Sequence[int]], *, aggregate: Aggregate = "mean") -> np.ndarray:
    """One column per target set (n, s) float32: the mean or maximum of P (n, t) over the set's usable items.

    `sets` maps a name to its columns of P. An item that is NaN in every scorable row is left out. Raises
    `EngineError` for an unknown aggregate, no set, an empty set or a set without a usable item.
    """
    if aggregate not in REDUCTIONS:
        raise EngineError(f"The aggregate is {aggregate!r}; it must be one of: {', '.join(REDUCTIONS)}.")
    if not sets:
        raise EngineError("Scores need at least one target set; got none.")
    usable = usable_items(matrix)
    return np.stack([_column(matrix, name, items, usable, aggregate) for name, items in sets.items()], axis=1)


def usable_items(matrix: np.ndarray) -> np.ndarray:
    """Which target items (t,) have a score in some row; all of them for a matrix without a scorable row."""
    finite = np.isfinite(matrix)
    return finite.any(axis=0) | ~finite.any()


def _column(
    matrix: np.ndarray, name: str, items: Sequence[int], usable: np.ndarray, aggregate: Aggregate
) -> np.ndarray:
    chosen = np.asarray(items, dtype=np.int64)
    kept = chosen[usable[chosen]] if len(chosen) else chosen
    if len(kept) == 0:
        raise EngineError(
            f"Target set {name!r} has no item with a usable gradient ({len(chosen)} given). Check that its rows have "
            "a response the model can read, or score without it. Nothing was scored."
        )
    return REDUCTIONS[aggregate](matrix[:, kept]).astype(np.float32)


def over_sets(columns: np.ndarray) -> np.ndarray:
    """The aggregate score (n,) float32: the mean over the target sets' columns (n, s)."""
    return _mean(columns).astype(np.float32)


def round_robin_input(matrix: np.ndarray, sets: Mapping[str, Sequence[int]]) -> np.ndarray:
    """The item columns of P (n, u) float32 that take turns in a round robin: every usable item of every set, once."""
    usable = usable_items(matrix)
    named = sorted({int(item) for items in sets.values() for item in items})
    return np.ascontiguousarray(matrix[:, [item for item in named if usable[item]]], dtype=np.float32)


def status_of(scores: np.ndarray, exact: Sequence[int] | np.ndarray) -> np.ndarray:
    """Status codes uint8 (n,): unscorable where the score is NaN, exact for the rows of `exact`, else propagated."""
    status = np.full(len(scores), PROPAGATED, dtype=np.uint8)
    status[np.asarray(exact, dtype=np.int64)] = EXACT
    status[~np.isfinite(scores)] = UNSCORABLE
    return status
