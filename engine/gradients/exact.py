"""Exact inner products and norms of per-sample gradients, without projection, from one backward pass.

Notation. g_i is the gradient of row i's response loss over the sites, a an element-wise preconditioner (`scale`), u a
direction: one matrix (out, in) per site. The quantities are <a ⊙ g_i, u_j>, ‖a ⊙ g_i‖ and Σ_j w_j g_j. With
u = Σ_j g_j / t the product is the score against the mean target, with u = Σ_j g_j / ‖g_j‖ and the norm it is the mean
cosine. (METHODS section 3, "Exact cosines".) A higher product means that a step along row i's gradient lowers the
target loss more. Cross terms of tied and reused weights are included.

Each layer's part is formed as soon as the backward pass reaches it, by whichever of the two forms in `layers` takes
fewer multiplications, and summed in float64; never more than one layer's gradient of a few rows is held.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from engine.errors import EngineError
from engine.gradients.capture import backward
from engine.gradients.forwarding import BatchLike, ModelLike, predictions
from engine.gradients.layers import checked_scale, ghost_squared_norm, layer_gradients, products_and_norms
from engine.gradients.parameters import Site

Direction = tuple[Tensor, ...]
Scale = Sequence[Tensor | None]


@dataclass(frozen=True)
class Stacked:
    """s directions laid side by side, so that many batches can share the work: per site (s, out·in), float32."""

    matrices: tuple[Tensor, ...]
    count: int


@dataclass(frozen=True)
class Weighted:
    """Weighted sums of row gradients: `directions` r of them, `losses` (n,) of the rows, and which rows were `used`."""

    directions: tuple[Direction, ...]
    losses: Tensor
    used: Tensor


def gradient_norms(
    lm: ModelLike, batch: BatchLike, sites: Sequence[Site], *, scale: Scale | None = None
) -> tuple[Tensor, Tensor]:
    """(‖a ⊙ g_i‖ (B,), losses (B,)), float32, over all sites, from one forward and backward pass.

    A row without a predicted response token has norm 0 and loss NaN; a row that overflows is NaN, it alone.
    """
    factors = checked_scale(scale, sites)
    squared = torch.zeros(len(batch.ids), dtype=torch.float64, device=batch.ids.device)

    def consume(index: int, signal: Tensor, inputs: Tensor) -> None:
        squared.add_(ghost_squared_norm(signal, inputs, factors[index]))

    losses = backward(lm, batch, sites, consume)
    return squared.sqrt().float(), losses


def exact_products(
    lm: ModelLike,
    batch: BatchLike,
    directions: Sequence[Direction] | Stacked,
    sites: Sequence[Site],
    *,
    norm: bool = True,
    scale: Scale | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """(<a ⊙ g_i, u_j> (B, s), ‖a ⊙ g_i‖ (B,), losses (B,)), float32, from one forward and backward pass.

    Stack the directions once (`stack_directions`) when there are several batches. Without `norm` the norms are NaN.
    A row without a predicted response token has products and norm 0 and loss NaN; a row that overflows is NaN, it
    alone. Raises `EngineError` for a direction that does not fit the sites or is not finite.
    """
    stacked = directions if isinstance(directions, Stacked) else stack_directions(directions, sites)
    factors = checked_scale(scale, sites)
    count, device = len(batch.ids), batch.ids.device
    products = torch.zeros(count, stacked.count, dtype=torch.float64, device=device)
    squared = torch.full((count,), 0.0 if norm else torch.nan, dtype=torch.float64, device=device)

    def consume(index: int, signal: Tensor, inputs: Tensor) -> None:
        part, part_squared = products_and_norms(
            signal, inputs, stacked.matrices[index], scale=factors[index], norm=norm
        )
        products.add_(part)
        squared.add_(part_squared)

    losses = backward(lm, batch, sites, consume)
    return products.float(), squared.sqrt().float(), losses


def stack_directions(directions: Sequence[Direction], sites: Sequence[Site]) -> Stacked:
    """The directions laid side by side on the sites' devices, in float32: s times the sites' own size.

    Raises `EngineError` for none, one that does not have a matrix (out, in) for each site, or one that is not finite.
    """
    check_directions(directions, sites)
    return Stacked(
        tuple(
            torch.stack([u[k].to(site.weight.device, torch.float32).flatten() for u in directions])  # (s, out·in)
            for k, site in enumerate(sites)
        ),
        len(directions),
    )


def conditioned(direction: Direction, scale: Scale, sites: Sequence[Site]) -> Direction:
    """a ⊙ u: <g_i, a ⊙ u> = <a ⊙ g_i, u>, for methods that take no scale of their own."""
    return tuple(u if a is None else u * a for u, a in zip(direction, checked_scale(scale, sites)))


def check_directions(directions: Sequence[Direction], sites: Sequence[Site]) -> None:
    """Raise `EngineError` unless there is a direction and each has a finite matrix (out, in) for every site."""
    if not directions:
        raise EngineError("No direction was given; inner products need at least one. Nothing was computed.")
    expected = [(site.out_features, site.in_features) for site in sites]
    for number, direction in enumerate(directions):
        if [tuple(u.shape) for u in direction] != expected:
            raise EngineError(
                f"Direction {number} has {len(direction)} matrices that do not fit the {len(sites)} layers; each layer "
                "needs one (out, in). Take it over the same layers. Nothing was computed."
            )
        bad = [site.name for site, u in zip(sites, direction) if not bool(torch.isfinite(u).all())]
        if bad:
            raise EngineError(
                f"Direction {number} is not finite in {len(bad)} of {len(sites)} layers ({bad[0]} first): the samples "
                "it was made from overflow, or there were none. Leave them out. Nothing was computed."
            )


def weighted_gradient(
    lm: ModelLike, batches: Iterable[BatchLike], weights: Iterable[Tensor | Sequence[float]], sites: Sequence[Site]
) -> Direction:
    """Σ_j w_j g_j over all rows, float32, from one weight vector (B,) per batch; see `weighted_gradients`."""
    columns = (torch.as_tensor(w, dtype=torch.float32).unsqueeze(1) for w in weights)
    return weighted_gradients(lm, batches, columns, sites).directions[0]


def weighted_gradients(
    lm: ModelLike, batches: Iterable[BatchLike], weights: Iterable[Tensor], sites: Sequence[Site]
) -> Weighted:
    """r weighted sums of row gradients in one pass over the rows, from weights (B, r) for each batch.

    A row without a response, with a loss or gradient that is not finite, or with weights that are not, is left out of
    every sum and not `used`. Raises `EngineError` when batches and weights do not match, or no row can be used.
    """
    totals: list[Tensor] = []
    losses: list[Tensor] = []
    used: list[Tensor] = []
    for batch, given in zip(batches, weights, strict=True):
        if given.ndim != 2 or len(given) != len(batch.ids) or given.shape[1] < 1:
            raise EngineError(f"{len(batch.ids)} samples need weights ({len(batch.ids)}, r); got {tuple(given.shape)}.")
        sums, loss, kept = _weighted_sums(lm, batch, given.to(batch.ids.device, torch.float32), sites)
        totals = sums if not totals else [total.add_(each) for total, each in zip(totals, sums)]
        losses.append(loss)
        used.append(kept)
    if not used or not any(bool(kept.any()) for kept in used):
        raise EngineError("No sample has a finite gradient of its response loss, so there is no direction to follow.")
    directions = tuple(tuple(total[j] for total in totals) for j in range(len(totals[0])))
    return Weighted(directions, torch.cat(losses), torch.cat(used))


def _weighted_sums(
    lm: ModelLike, batch: BatchLike, weights: Tensor, sites: Sequence[Site]
) -> tuple[list[Tensor], Tensor, Tensor]:
    """Per site (r, out, in); the losses; the rows used. A row found bad on the way costs another pass without it."""
    used = weights.isfinite().all(dim=1) & (predictions(batch).counts > 0)
    while True:
        sums, losses, clean = _pass(lm, batch, weights, sites, used)
        usable = used & clean & losses.isfinite()
        if torch.equal(usable, used):
            return sums, losses, used
        used = usable


def _pass(
    lm: ModelLike, batch: BatchLike, weights: Tensor, sites: Sequence[Site], used: Tensor
) -> tuple[list[Tensor], Tensor, Tensor]:
    """The sums over the `used` rows, the losses, and which rows have finite gradients throughout."""
    count, device = weights.shape[1], batch.ids.device
    sums = [torch.zeros(count, site.out_features, site.in_features, device=device) for site in sites]
    clean = torch.ones_like(used)

    def consume(index: int, signal: Tensor, inputs: Tensor) -> None:
        clean.logical_and_(_finite(signal) & _finite(inputs))
        keep = (used & clean)[:, None, None]
        _add_sums(sums[index], signal.where(keep, 0), inputs.where(keep, 0), weights.where(keep[:, 0], 0))

    losses = backward(lm, batch, sites, consume)
    return sums, losses, clean


def _finite(values: Tensor) -> Tensor:
    return values.isfinite().flatten(1).all(dim=1)


def _add_sums(total: Tensor, signal: Tensor, inputs: Tensor, weights: Tensor) -> None:
    """total[j] += Σ_i w_ij G_i (out, in): one sum over all positions, or several from each row's gradient."""
    if len(total) == 1:
        weighted = signal * weights[:, :, None]  # (B, T, out)
        total[0].addmm_(weighted.flatten(0, 1).T, inputs.flatten(0, 1))
        return
    for rows, gradient in layer_gradients(signal, inputs):
        total.flatten(1).addmm_(weights[rows].T, gradient.flatten(1))
