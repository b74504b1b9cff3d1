"""Features of the output head's gradient, from a forward pass alone.

Notation. h_t (H,) is what the head reads at position t, z_t (V,) what it gives, ℓ_i the response loss of row i, and
δ_t = dℓ_i/dz_t: (softmax(z_t) − one-hot) / count where nothing follows the head; what a model does after it
(soft-capping, scaling) is differentiated too. Only positions that predict a response token have δ ≠ 0, and only there
are logits computed. The gradient of the head is Σ_t δ_t h_tᵀ (V, H). With "residual", δ is pulled back through the
head to the residual stream, r_t = Wᵀ δ_t (H,), which every block's gradient is made of: Σ_t r_t h_tᵀ (H, H). Either
matrix is projected on both sides, P_out (Σ_t · h_tᵀ) P_inᵀ, and never written down. (METHODS section 3.)
"""

from math import isqrt
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from engine.errors import EngineError
from engine.gradients.capture import HALF_SCALE
from engine.gradients.forwarding import BatchLike, ModelLike, Predictions, predictions, response_logits, row_losses
from engine.gradients.parameters import Site, is_linear, linear_site
from engine.gradients.projection import FactoredProjection

Through = Literal["residual", "head"]


class LastLayer:
    """Projected last-layer gradients; `.dim` is at most `width` (a square: equally many directions on both sides).

    A row without a response is NaN. Raises `EngineError` for a width below 1, an unknown kind, or a model without a
    linear output head.
    """

    def __init__(self, lm: ModelLike, *, width: int = 1024, seed: int = 0, through: Through = "residual") -> None:
        if through not in get_args(Through):
            raise EngineError(f"through is {through!r}; it must be one of: {', '.join(get_args(Through))}.")
        self.lm, self.through = lm, through
        self.head = _head(lm.model)
        found = linear_site("output head", self.head)
        self.weight = found.as_matrix(found.weight)  # (V, H)
        residual = Site("output head", self.head, found.in_features, found.in_features)
        self.site = residual if through == "residual" else found
        self.projection = FactoredProjection([self.site], width=isqrt(max(width, 0)), seed=seed)
        self.dim = self.projection.dim
        self.parts: tuple[int, ...] = (self.dim,)
        self.notes: tuple[str, ...] = (
            f"Gradient of the last layer ({through}), {self.dim} coordinates, from a forward pass alone.",
        )

    def __call__(self, batch: BatchLike) -> Tensor:
        """The vectors (B, dim), float32."""
        return self.with_loss(batch)[0]

    def with_loss(self, batch: BatchLike) -> tuple[Tensor, Tensor]:
        """The vectors (B, dim) and the rows' response losses (B,), float32, from one forward pass."""
        where = predictions(batch)
        if len(where.rows) == 0:
            nothing = torch.full((len(batch.ids), 1), torch.nan, device=batch.ids.device)
            return nothing.expand(-1, self.dim).clone(), nothing[:, 0]
        inputs, signal, losses = self._at_the_head(batch, where)
        with torch.no_grad():
            p_out, p_in = self.projection.factors(self.site, inputs.device)
            if self.through == "residual":
                signal = signal @ self.weight.float()  # (M, H)
            left = signal if p_out is None else signal @ p_out.T  # (M, w_out)
            right = inputs if p_in is None else inputs @ p_in.T  # (M, w_in)
            vectors = spread(left, where).transpose(1, 2) @ spread(right, where)  # (B, w_out, w_in)
            return vectors.flatten(1).masked_fill(losses.isnan()[:, None], torch.nan), losses

    def _at_the_head(self, batch: BatchLike, where: Predictions) -> tuple[Tensor, Tensor, Tensor]:
        """h (M, H) and δ (M, V) at the predicting positions, float32, and the losses (B,)."""
        kept: list[Tensor] = []

        def begin(module: nn.Module, args: tuple[Any, ...], output: Tensor) -> Tensor:
            kept.extend((args[0].detach(), output.detach().requires_grad_(True)))
            return kept[1].view_as(kept[1])

        scale = HALF_SCALE if self.weight.dtype == torch.float16 else 1.0
        handle = self.head.register_forward_hook(begin)
        try:
            with torch.enable_grad():
                losses = row_losses(response_logits(self.lm.model, batch, where), where)
                (signal,) = torch.autograd.grad(scale * losses[where.counts > 0].sum(), kept[1])
        finally:
            handle.remove()
        gathered = kept[0].shape[:2] == (1, len(where.rows)) and kept[0].shape[:2] != batch.ids.shape
        at = (0,) if gathered else (where.rows, where.positions)
        return kept[0][at].float(), signal[at].float() / scale, losses.detach()


def spread(values: Tensor, where: Predictions) -> Tensor:
    """Values (M, n) at the predicting positions, as (B, R, n) with zeros behind each row's own."""
    starts = where.counts.cumsum(0) - where.counts  # (B,)
    slots = torch.arange(len(values), device=values.device) - starts[where.rows]  # (M,)
    wide = values.new_zeros(len(where.counts), int(where.counts.max()), values.shape[1])
    wide[where.rows, slots] = values
    return wide


def _head(model: Any) -> nn.Module:
    find = getattr(model, "get_output_embeddings", None)
    head = find() if find is not None else None
    if head is None or not is_linear(head):
        raise EngineError(
            f"{type(model).__name__} has no linear output head, so there is no last-layer gradient. "
            "Choose the embedding 'hidden' or 'gradient'. Nothing was computed."
        )
    return head
