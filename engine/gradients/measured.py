"""All that an exactly measured row needs, from one backward pass: inner products, true norm, projection and loss.

Notation as in `exact` and `persample`: <a ⊙ g_i, u_j> with s directions, ‖a ⊙ g_i‖ over the whole parameter set, and
the projected gradient P(a ⊙ g_i), from which the scores of single target items are estimated without bias.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from engine.gradients.capture import backward
from engine.gradients.exact import Stacked
from engine.gradients.forwarding import BatchLike, ModelLike
from engine.gradients.layers import checked_scale, layer_gradients, products_and_norms
from engine.gradients.projection import Projection


@dataclass(frozen=True)
class MeasuredRows:
    """`products` (B, s), `norms` (B,), `projected` (B, dim) and `losses` (B,), float32.

    A row without a predicted response token has products, norm and projection 0 and loss NaN; a row that overflows is
    NaN, it alone.
    """

    products: Tensor
    norms: Tensor
    projected: Tensor
    losses: Tensor


def measured_rows(
    lm: ModelLike,
    batch: BatchLike,
    directions: Stacked,
    projection: Projection,
    *,
    scale: Sequence[Tensor | None] | None = None,
) -> MeasuredRows:
    """Measure every row of a batch; the projection's sites are the parameter set of the `directions`.

    Raises `EngineError` for a scale that does not fit or a layer that does not see the batch as (B, T).
    """
    factors = checked_scale(scale, projection.sites)
    count, device = len(batch.ids), batch.ids.device
    products = torch.zeros(count, directions.count, dtype=torch.float64, device=device)
    squared = torch.zeros(count, dtype=torch.float64, device=device)
    grads = torch.zeros(count, projection.raw_dim, device=device)

    def consume(index: int, signal: Tensor, inputs: Tensor) -> None:
        site, factor = projection.sites[index], factors[index]
        part, part_squared = products_and_norms(signal, inputs, directions.matrices[index], scale=factor, norm=True)
        products.add_(part)
        squared.add_(part_squared)
        place = grads[:, projection.offsets[index] : projection.offsets[index + 1]]
        if factor is None and not projection.needs_matrix:
            place.copy_(projection.project(site, signal, inputs))
            return
        for rows, gradient in layer_gradients(signal, inputs, factor):  # (b, out, in)
            place[rows] = projection.project_matrix(site, gradient)

    losses = backward(lm, batch, projection.sites, consume)
    return MeasuredRows(products.float(), squared.sqrt().float(), projection.finish(grads), losses)
