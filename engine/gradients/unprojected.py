"""Plain gradients by autograd: the whole, unprojected gradient of one row's response loss over the parameter set.

For a few rows, such as the landmarks that carry the curvature; `persample` and `exact` serve whole pools. Also what
other plain autograd needs: some rows of a batch, and parameters that want gradients for a while.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from engine.gradients.forwarding import BatchLike, ModelLike, predictions, response_logits, row_losses
from engine.gradients.parameters import Site

Matrices = tuple[Tensor, ...]


@dataclass(frozen=True)
class TakenRows:
    """Some rows of a batch, with their factors c (B,) in the target loss."""

    ids: Tensor
    attention: Tensor
    response: Tensor
    factors: Tensor
    position_ids: Tensor | None


def row_gradients(lm: ModelLike, sites: Sequence[Site], batch: BatchLike) -> Iterator[Matrices]:
    """∇ℓ_i of every row of a batch in turn, one matrix (out, in) per site, float32; one row's is alive at a time.

    One backward pass per row. A row without a response gives zeros, one whose loss is not finite NaN.
    """
    for row in range(len(batch.ids)):
        one = torch.zeros(len(batch.ids), dtype=torch.bool, device=batch.ids.device)
        one[row] = True
        yield _row_gradient(lm, sites, taken(batch, one, torch.ones(len(one), device=one.device)))


def _row_gradient(lm: ModelLike, sites: Sequence[Site], row: TakenRows) -> Matrices:
    zeros = tuple(torch.zeros(site.out_features, site.in_features, device=site.weight.device) for site in sites)
    where = predictions(row)
    if len(where.rows) == 0:
        return zeros
    with wanting_gradients(sites) as weights:
        loss = row_losses(response_logits(lm.model, row, where), where).sum()
        found = torch.autograd.grad(loss, weights, materialize_grads=True)
    if not bool(loss.isfinite()):
        return tuple(torch.full_like(zero, torch.nan) for zero in zeros)
    return tuple(site.as_matrix(part).float() for site, part in zip(sites, found, strict=True))


@contextmanager
def wanting_gradients(sites: Sequence[Site]) -> Iterator[list[Tensor]]:
    """The sites' parameters, wanting gradients inside, and as they were afterwards."""
    weights = [site.weight for site in sites]
    before = [weight.requires_grad for weight in weights]
    try:
        for weight in weights:
            weight.requires_grad_(True)
        with torch.enable_grad():
            yield weights
    finally:
        for weight, wanted in zip(weights, before, strict=True):
            weight.requires_grad_(wanted)


def taken(batch: BatchLike, good: Tensor, factors: Tensor) -> TakenRows:
    """The rows of `good` (B,) bool, cut to the longest of them."""
    length = int(batch.attention[good].sum(dim=1).max().clamp_min(1))
    places: Tensor | None = getattr(batch, "position_ids", None)
    cut = [part[good][:, :length] for part in (batch.ids, batch.attention, batch.response)]
    return TakenRows(cut[0], cut[1], cut[2], factors[good], None if places is None else places[good][:, :length])
