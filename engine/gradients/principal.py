"""The leading directions of a set of target gradients, as weighted sums of them.

Notation. G_T (t, d) stacks the target gradients; its Gram matrix G_T G_Tᵀ = A S² Aᵀ (t, t) gives the right singular
vectors V = G_Tᵀ A S⁻¹ without forming G_T: each is a weighted sum of target gradients, with the weights in a column of
A S⁻¹. With r of them, P = G_S G_Tᵀ ≈ (G_S V)(G_T V)ᵀ, and G_T V = A S: exact scores along r directions instead of
one for each target. (METHODS section 3, "Directional scores".)
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from engine.errors import EngineError


@dataclass(frozen=True)
class Principal:
    """`weights` (t, r) of the targets in each direction, `targets` (t, r) = G_T V, both float64; `share` is the part
    of the squared size of G_T that the r directions carry."""

    weights: Tensor
    targets: Tensor
    share: float

    def scores(self, products: Tensor) -> Tensor:
        """P (n, t) ≈ (G_S V)(G_T V)ᵀ from the rows' products (n, r) with the directions."""
        return products @ self.targets.T.to(products)


def principal_directions(gram: Tensor, count: int) -> Principal:
    """The `count` leading directions of the Gram matrix (t, t); fewer where its rank is lower.

    The directions are orthonormal as far as the Gram matrix is exact; from projected gradients it is an estimate. The
    sign of a direction makes its largest weight positive. Raises `EngineError` for a matrix that is not square,
    finite and symmetric, or is zero, and for a count outside 1 to t.
    """
    if gram.ndim != 2 or gram.shape[0] != gram.shape[1] or not bool(gram.isfinite().all()):
        raise EngineError(f"A Gram matrix is square and finite; got {tuple(gram.shape)}. Nothing was computed.")
    matrix = gram.double()
    if not torch.allclose(matrix, matrix.T, rtol=1e-3, atol=1e-5 * float(matrix.abs().max())):
        raise EngineError("The Gram matrix of the targets is not symmetric. Nothing was computed.")
    if not 1 <= count <= len(gram):
        raise EngineError(f"{count} directions asked for from {len(gram)} targets; ask for 1 to {len(gram)}.")
    values, vectors = torch.linalg.eigh((matrix + matrix.T) / 2)  # ascending
    values, vectors = values.flip(0).clamp_min(0), vectors.flip(1)
    floor = float(values[0]) * len(gram) * np.finfo(np.float32).eps
    rank = int((values[:count] > floor).sum())
    if rank == 0:
        raise EngineError("All target gradients are zero, so they have no leading direction. Nothing was computed.")
    sizes, kept = values[:rank].sqrt(), vectors[:, :rank]
    kept = kept * kept.gather(0, kept.abs().argmax(dim=0, keepdim=True)).sign()
    return Principal(kept / sizes, kept * sizes, float(values[:rank].sum() / values.sum()))
