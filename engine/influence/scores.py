"""From gradients to scores: the matrix P (pool row, target item), and one score per row from its columns.

Notation. g_i is the (projected) gradient of pool row i, g_j that of target item j. P_ij = <g_i, g_j> (`inner-product`)
or <g_i, g_j> / (‖g_i‖ ‖g_j‖) (`cosine`); higher is better: a step along −g_i lowers the loss of j by η P_ij. A *column*
is one named target set: the mean or the maximum of P over its items; a `Combination` joins the columns. The norms are
the caller's true ones where given (then a cosine of projected gradients may pass 1 a little), else the vectors' own.

A row or an item whose gradient is zero or not finite has no score: that row, or that item, is NaN and nothing else.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor

from engine.errors import EngineError

Unit = Literal["cosine", "inner-product"]
Aggregate = Literal["mean", "max"]

UNSCORABLE, EXACT, PROPAGATED = 0, 1, 2
STATUS = {UNSCORABLE: "unscorable", EXACT: "exact", PROPAGATED: "propagated"}


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


@dataclass(frozen=True)
class Combination:
    """How the columns of the target sets join into one score per row; sets to avoid have negative weights.

    `across` "mean": Σ_s w_s·c_s / Σ_s |w_s|. "max": the largest w_s·c_s of the sets that count for a row, less the
    largest |w_s|·c_s of those that count against it (LESS takes the maximum over sub-tasks, arXiv 2402.04333).
    `weights` None: 1 each. Raises `EngineError` for an unknown name, or weights that are zero or not finite.
    """

    weights: tuple[float, ...] | None = None
    across: Aggregate = "mean"

    def __post_init__(self) -> None:
        """Refuse an unknown rule and weights without a meaning."""
        if self.across not in get_args(Aggregate):
            raise EngineError(f"The aggregate is {self.across!r}; it must be one of: {', '.join(get_args(Aggregate))}.")
        if self.weights is not None and not all(np.isfinite(w) and w != 0 for w in self.weights):
            raise EngineError(f"Target weights must be numbers other than 0; got {self.weights}.")

    def __call__(self, columns: np.ndarray) -> np.ndarray:
        """The combined score (n,) float32 of columns (n, s); NaN where a column is. Without a set it is NaN."""
        weights = np.ones(columns.shape[1]) if self.weights is None else np.asarray(self.weights)
        if len(weights) != columns.shape[1]:
            raise EngineError(f"{len(weights)} weights were given for {columns.shape[1]} target sets.")
        if not len(weights):
            return np.full(len(columns), np.nan, dtype=np.float32)
        weighted = columns * weights  # (n, s) float64
        if self.across == "mean":
            return (weighted.sum(axis=1) / np.abs(weights).sum()).astype(np.float32)
        parts = [part.max(axis=1) for part in (weighted[:, weights > 0],) if part.shape[1]]
        parts += [-(-part).max(axis=1) for part in (weighted[:, weights < 0],) if part.shape[1]]
        return np.sum(parts, axis=0).astype(np.float32)


def over_sets(columns: np.ndarray) -> np.ndarray:
    """The plain combination (n,) float32: the mean over the target sets' columns (n, s)."""
    return Combination()(columns)


def status_of(scores: np.ndarray, exact: Sequence[int] | np.ndarray) -> np.ndarray:
    """Status codes uint8 (n,): unscorable where the score is NaN, exact for the rows of `exact`, else propagated."""
    status = np.full(len(scores), PROPAGATED, dtype=np.uint8)
    status[np.asarray(exact, dtype=np.int64)] = EXACT
    status[~np.isfinite(scores)] = UNSCORABLE
    return status


def column_of(
    matrix: np.ndarray, items: Sequence[int], *, aggregate: Aggregate, groups: Sequence[str] = ()
) -> np.ndarray:
    """One target set's column (n,) float32 from item scores (n, t): the mean or maximum over its `items`.

    `groups` name the group of each of the items, in order: then the items of a group are joined so, and the best group
    counts (LESS's mean within a sub-task and maximum over sub-tasks, arXiv 2402.04333). NaN where an item score is.
    """
    part = matrix[:, np.asarray(items, np.int64)]
    if not len(groups):
        return _joined(part, aggregate)
    labels = np.asarray(groups, dtype=object)
    return np.max([_joined(part[:, labels == name], aggregate) for name in sorted(set(groups))], axis=0)


def _joined(values: np.ndarray, aggregate: Aggregate) -> np.ndarray:
    found = values.mean(axis=1, dtype=np.float64) if aggregate == "mean" else values.max(axis=1)
    return found.astype(np.float32)
