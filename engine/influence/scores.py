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
import torch
from torch import Tensor

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


class TargetSide:
    """The target gradients (t, k) made ready once, to score batches of pool gradients where those lie.

    `norms` (t,) replace the vectors' own in the cosine, and say in either unit which items have a gradient at all.
    Raises `EngineError` for an unknown unit or targets that are all unusable.
    """

    def __init__(
        self,
        grads: np.ndarray | Tensor,
        *,
        unit: Unit = "cosine",
        norms: np.ndarray | Tensor | None = None,
        device: torch.device | str = "cpu",
    ) -> None:
        if unit not in get_args(Unit):
            raise EngineError(f"The unit is {unit!r}; it must be one of: {', '.join(get_args(Unit))}.")
        self.unit = unit
        self.items, self.unusable = _ready(_tensor(grads).to(device), norms, unit)
        if bool(self.unusable.all()):
            raise EngineError("No target item has a usable gradient, so there is nothing to score against.")

    def __call__(self, grads: Tensor, norms: np.ndarray | Tensor | None = None) -> Tensor:
        """P (n, t) float32 from pool gradients (n, k), with their true `norms` (n,) where the caller has them."""
        if grads.shape[1:] != self.items.shape[1:]:
            raise EngineError(
                f"Pool gradients have {tuple(grads.shape[1:])} coordinates and target gradients "
                f"{tuple(self.items.shape[1:])}; score both with one projection. Nothing was scored."
            )
        rows, unusable = _ready(grads.to(self.items.device), norms, self.unit)
        products = rows @ self.items.T  # (n, t)
        return products.masked_fill(unusable[:, None] | self.unusable[None, :], torch.nan)


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
    return TargetSide(target_grads, unit=unit, norms=target_norms)(_tensor(grads), norms).numpy()


def _tensor(values: np.ndarray | Tensor) -> Tensor:
    """The same numbers as a tensor; an array that may not be written to (memory-mapped) is copied."""
    return values if isinstance(values, Tensor) else torch.from_numpy(np.require(values, requirements="W"))


def _ready(vectors: Tensor, norms: np.ndarray | Tensor | None, unit: Unit) -> tuple[Tensor, Tensor]:
    """A float32 copy of the vectors (m, k), unit length for cosines, zero where unusable; and which are (m,) bool."""
    values = vectors.float()
    own = torch.linalg.vector_norm(values, dim=1, dtype=torch.float64)
    length = own if norms is None else _tensor(norms).to(values.device).double()
    good = own.isfinite() & (own > 0) & length.isfinite() & (length.float() > 0)
    scale = length.where(good, 1).float() if unit == "cosine" else torch.ones_like(own, dtype=torch.float32)
    return (values / scale[:, None]).masked_fill(~good[:, None], 0), ~good


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
