"""Projected per-sample gradients of the response loss from one batched forward and backward pass.

Notation. For a site y = W x in row i, a_t is its input and g_t the gradient of the row's loss at its output, so that
∇_W ℓ_i = Σ_t g_t a_tᵀ (see `capture`). Its factored projection P_out (Σ_t g_t a_tᵀ) P_inᵀ is formed from the narrow
products P_out g_t and P_in a_t, and its squared norm from the ghost identity; no per-sample gradient is held for more
than one layer, and none at all where the narrow form will do. An element-wise preconditioner a (`scale`: the Adam form
of METHODS section 1, or a mask) needs the layer's whole gradient a ⊙ ∇_W ℓ_i, held for a few rows at a time.
"""

from collections.abc import Sequence
from typing import Literal, get_args

import torch
from torch import Tensor

from engine.errors import EngineError
from engine.gradients.capture import backward
from engine.gradients.forwarding import BatchLike, ModelLike
from engine.gradients.layers import checked_scale, ghost_squared_norm, layer_gradients, pairwise_is_cheaper
from engine.gradients.projection import Projection

__all__ = ["Norm", "backward", "ghost_squared_norm", "projected_gradients"]

Norm = Literal["projected", "ghost"]


def projected_gradients(
    lm: ModelLike,
    batch: BatchLike,
    projection: Projection,
    *,
    norm: Norm = "projected",
    scale: Sequence[Tensor | None] | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Projected gradients of every row's response loss, conditioned where a `scale` is given.

    `scale`: for each of the projection's sites, a (out, in) or None for all ones; the gradient is then a ⊙ g. Returns
    (grads (B, dim), loss (B,), norm (B,)), float32 on the model's device. `norm` is that of the projected gradient,
    or with "ghost" the exact norm over the whole parameter set (before projection, conditioned alike). A row without
    a predicted response token has loss NaN, a zero gradient and norm 0; a row whose numbers overflow is NaN, it alone.
    Raises `EngineError` for an unknown norm, a scale that does not fit or a layer that does not see the batch as
    (B, T).
    """
    if norm not in get_args(Norm):
        raise EngineError(f"The norm is {norm!r}; it must be one of: {', '.join(get_args(Norm))}.")
    factors = checked_scale(scale, projection.sites)
    count = len(batch.ids)
    grads = torch.zeros(count, projection.raw_dim, device=batch.ids.device)
    squared = torch.zeros(count, dtype=torch.float64, device=batch.ids.device)

    def consume(index: int, signal: Tensor, inputs: Tensor) -> None:
        site, factor = projection.sites[index], factors[index]
        part = grads[:, projection.offsets[index] : projection.offsets[index + 1]]
        # where the norm is cheapest from the layer's gradient, so is the projection
        whole = norm == "ghost" and not pairwise_is_cheaper(signal, inputs)
        if factor is None and not projection.needs_matrix and not whole:
            part.copy_(projection.project(site, signal, inputs))
            if norm == "ghost":
                squared.add_(ghost_squared_norm(signal, inputs))
            return
        for rows, gradient in layer_gradients(signal, inputs, factor):  # (b, out, in)
            part[rows] = projection.project_matrix(site, gradient)
            if norm == "ghost":
                flat = gradient.flatten(1)
                squared[rows] += torch.linalg.vecdot(flat, flat).double()

    loss = backward(lm, batch, projection.sites, consume)
    finished = projection.finish(grads)  # (B, dim)
    norms = squared.sqrt().float() if norm == "ghost" else finished.norm(dim=1)
    return finished, loss, norms
