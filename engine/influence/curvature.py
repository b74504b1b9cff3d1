"""The second-order pieces of the weights' problem, from the model: the corrected target direction and Q_L.

Notation. The step is θ' = θ − η (a ⊙ g + b) (`gradients.conditioning`); g_T and H_T are gradient and Hessian (or
Gauss–Newton matrix) of the mean target loss; G_L (q, d) the unprojected gradients of q landmark rows; n pool rows. Then

    u = a ⊙ (g_T − η H_T b),   p = G_S u,   Q_L = (1/n) G_L diag(a) H_T diag(a) G_Lᵀ,   wᵀQw ≈ (Cᵀw)ᵀ Q_L (Cᵀw).

A direction is one matrix (out, in) per site, d numbers in all. (Influence Distillation, arXiv 2505.19051; METHODS
section 1.) Q_L takes one Hessian product per landmark over the target set. Memory: 3 × `hold` directions (those held,
in the modules' own layout, and their products) and two gradients; every landmark's gradient is computed anew for each
block of `hold` landmarks at or before its own. Knows neither embeddings nor C and does not solve the problem.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import ceil

import numpy as np
import torch

from engine.errors import EngineError
from engine.gradients.conditioning import Step
from engine.gradients.hessian import Direction, TargetLoss
from engine.gradients.parameters import Site
from engine.gradients.unprojected import Matrices
from engine.progress import Reporter, Silent

HOLD = 8
FLOAT_BYTES = 4


@dataclass(frozen=True)
class CurvatureCost:
    """What Q_L costs: Hessian products, landmark gradients, floating-point operations, and bytes beside the model."""

    products: int
    gradients: int
    flops: float
    bytes: int


def corrected_direction(target: TargetLoss, step: Step, *, curvature: bool = True) -> Matrices:
    """u = a ⊙ (g_T − η H_T b) of one target set, one matrix (out, in) per site; p_i = <g_i, u>.

    Without `curvature` u = a ⊙ g_T, the first-order direction. Raises `EngineError` where the step lacks a parameter.
    """
    return conditioned(
        corrected(target.gradient(), target, step) if curvature else target.gradient(), target.sites, step
    )


def corrected(gradient: Direction, target: TargetLoss, step: Step) -> Matrices:
    """g_T − η H_T b from a target gradient g_T: what an optimiser's step that has gathered momentum b leaves of it."""
    shifts = [step.shift(site) for site in target.sites]
    if all(shift is None for shift in shifts):
        return tuple(gradient)
    direction = [torch.zeros_like(g) if b is None else b.to(g) for g, b in zip(gradient, shifts, strict=True)]
    bent = target.product(direction)
    return tuple(g - step.eta * h.to(g) for g, h in zip(gradient, bent, strict=True))


def conditioned(gradient: Direction, sites: Sequence[Site], step: Step) -> Matrices:
    """a ⊙ g, one matrix (out, in) per site."""
    factors = [step.factor(site) for site in sites]
    return tuple(g if a is None else a.to(g) * g for g, a in zip(gradient, factors, strict=True))


def landmark_curvature(
    target: TargetLoss,
    step: Step,
    gradients: Callable[[int], Direction],
    count: int,
    *,
    pool: int,
    hold: int = HOLD,
    reporter: Reporter | None = None,
) -> np.ndarray:
    """Q_L (q, q) float64, symmetric, from `gradients(i)`, the unprojected gradient of landmark i < `count` = q.

    `pool` is n. The result does not depend on `hold`. Begins the phase "curvature", counted in Hessian products over
    one batch. Raises `EngineError` for counts below 1 and a landmark whose gradient is not finite.
    """
    if min(count, pool, hold) < 1:
        raise EngineError(
            f"Curvature needs landmarks, pool samples and a block of at least 1; got {count}, {pool}, {hold}."
        )
    listener = reporter or Silent()
    listener.phase("curvature", count * target.batches, "products")
    inner = np.zeros((count, count))
    for start in range(0, count, hold):
        end = min(start + hold, count)
        block = [_landmark(target, step, gradients, i) for i in range(start, end)]
        products = target.products(block, reporter=listener)
        for i in range(end):  # by symmetry the later rows come with their own block
            listener.check()
            left = block[i - start] if i >= start else _landmark(target, step, gradients, i)
            inner[i, start:end] = [_dot(left, right) for right in products]
        within = inner[start:end, start:end]
        inner[start:end, start:end] = (within + within.T) / 2
        inner[start:end, :start] = inner[:start, start:end].T
    return inner / pool


def curvature_cost(
    sites: Sequence[Site],
    *,
    landmarks: int,
    landmark_tokens: int,
    target_tokens: int,
    batches: int = 1,
    hold: int = HOLD,
    other_weights: int = 0,
) -> CurvatureCost:
    """An estimate for Q_L: `landmark_tokens` of all landmark rows together, `target_tokens` of all target items.

    With P weights in the parameter set (and `other_weights`, such as the head, that only pass gradients on) a token's
    forward pass is 2P operations; its gradient 4P more; the product, through the graph of both, 8P more for what the
    backward pass did and 4P for the forward pass. Each block of `hold` landmarks builds the target graph once.
    Attention over long rows and the graph of a target batch (activations, kept twice) are not counted.
    """
    weights = sum(site.in_features * site.out_features for site in sites)
    blocks = ceil(landmarks / hold)
    graph = (6 * weights + 4 * other_weights) * target_tokens
    product = (12 * weights + 6 * other_weights) * target_tokens
    gradients = sum(min(landmarks, (at + 1) * hold) for at in range(blocks))
    each = (6 * weights + 4 * other_weights) * landmark_tokens / landmarks
    return CurvatureCost(
        products=landmarks * batches,
        gradients=gradients,
        flops=float(blocks * graph + landmarks * product + gradients * each + landmarks**2 * weights),
        bytes=(3 * min(hold, landmarks) + 2) * weights * FLOAT_BYTES,
    )


def _landmark(target: TargetLoss, step: Step, gradients: Callable[[int], Direction], index: int) -> Matrices:
    found = conditioned(gradients(index), target.sites, step)
    if not all(bool(part.isfinite().all()) for part in found):
        raise EngineError(
            f"The gradient of landmark {index} is not finite. Leave it out of the landmarks that carry the curvature."
        )
    return found


def _dot(left: Direction, right: Direction) -> float:
    """<left, right> summed over the sites in float64, layer by layer."""
    return sum(float((a.double() * b.double()).sum()) for a, b in zip(left, right, strict=True))
