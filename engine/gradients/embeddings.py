"""Cheap vectors per sample from which the scores of a few landmark samples are propagated to the whole pool.

Three kinds behind one call, `embedding(batch) -> (B, dim) float32`: pooled hidden states (RDS+, arXiv 2503.01807),
forward-mode derivatives of a shallow hidden state (Influence Distillation, arXiv 2505.19051), and projected gradients
of the last blocks from a truncated backward pass (METHODS section 3). `EMBEDDINGS` names them. All are the same for any
batch and padding.
"""

from collections.abc import Callable
from typing import Literal, Protocol

import torch
from torch import Tensor

from engine.gradients.forwarding import (
    BatchLike,
    ModelLike,
    hidden_and_logits,
    last_hidden,
    predictions,
    response_logits,
    row_losses,
)
from engine.gradients.jvp import JvpEmbedding
from engine.gradients.parameters import block_linears, block_stack
from engine.gradients.persample import projected_gradients
from engine.gradients.projection import FactoredProjection

EmbeddingName = Literal["hidden", "jvp", "gradient"]


class Embedding(Protocol):
    """Maps a batch to one float32 vector per row; `dim` is its length, `notes` say how it is computed and why."""

    dim: int
    notes: tuple[str, ...]

    def __call__(self, batch: BatchLike) -> Tensor:
        """The vectors (B, dim), float32, on the model's device."""


class HiddenStates:
    """Position-weighted mean of the last hidden states over all tokens: Σ_t t·h_t / Σ_t t, t from 1 (RDS+).

    The hidden states are those after the final norm; the head is not run. A row without tokens is NaN.
    """

    def __init__(self, lm: ModelLike) -> None:
        self.lm = lm
        self.dim = int(lm.model.config.get_text_config().hidden_size)
        self.notes: tuple[str, ...] = (
            "Last hidden states after the final norm, mean over tokens weighted by position.",
        )

    @torch.no_grad()
    def __call__(self, batch: BatchLike) -> Tensor:
        """The vectors (B, hidden size), float32."""
        return weighted_mean(last_hidden(self.lm.model, batch), batch.attention)

    @torch.no_grad()
    def with_loss(self, batch: BatchLike) -> tuple[Tensor, Tensor]:
        """The vectors (B, hidden size) and the rows' response losses (B,), float32, from one forward pass."""
        where = predictions(batch)
        hidden, logits = hidden_and_logits(self.lm.model, batch, where)
        return weighted_mean(hidden, batch.attention), row_losses(logits, where)


class GradientFeatures:
    """Projected per-sample gradients of the last `blocks` blocks, from a backward pass that ends there.

    The factored projection (`side` x `side` per layer) is compressed to at most `width` coordinates by a randomised
    Hadamard transform. `blocks` is clamped to the model's depth (a note says so). A row without a response is NaN.
    """

    def __init__(self, lm: ModelLike, *, blocks: int = 2, width: int = 1024, side: int = 48, seed: int = 0) -> None:
        depth = len(block_stack(lm.model).blocks)
        used = min(blocks, depth)
        sites = block_linears(lm.model, last=used)
        plain = FactoredProjection(sites, width=side, seed=seed)
        narrow = plain.raw_dim > width
        self.lm = lm
        self.projection = FactoredProjection(sites, width=side, seed=seed, compress=width) if narrow else plain
        self.dim = self.projection.dim
        clamped = (
            () if used == blocks else (f"{blocks} blocks asked for; the model has {depth}, all of them are used.",)
        )
        self.notes = (f"Projected gradients of the last {used} blocks, {self.dim} coordinates.", *clamped)

    def __call__(self, batch: BatchLike) -> Tensor:
        """The vectors (B, dim), float32."""
        return self.with_loss(batch)[0]

    def with_loss(self, batch: BatchLike) -> tuple[Tensor, Tensor]:
        """The vectors (B, dim) and the rows' response losses (B,), float32, from one forward and backward pass."""
        vectors, losses, _ = projected_gradients(self.lm, batch, self.projection)
        return vectors.masked_fill(losses.isnan()[:, None], torch.nan), losses


def weighted_mean(hidden: Tensor, attention: Tensor) -> Tensor:
    """Σ_t t·h_t / Σ_t t over the tokens of each row, (B, H) float32, from (B, T, H) and a right-padded mask (B, T)."""
    real = attention.bool()
    weights = real.cumsum(dim=1) * real  # (B, T): 1, 2, …, 0 for padding
    shares = weights / weights.sum(dim=1, keepdim=True)
    return (shares.unsqueeze(1) @ hidden.float().masked_fill(~real.unsqueeze(2), 0)).squeeze(1)  # (B, H)


def with_loss(lm: ModelLike, embedding: Embedding) -> Callable[[BatchLike], tuple[Tensor, Tensor]]:
    """`embedding` and the response loss beside it: (B, dim) and (B,), from one forward pass where it can be one."""
    if isinstance(embedding, HiddenStates | GradientFeatures):
        return embedding.with_loss

    @torch.no_grad()
    def both(batch: BatchLike) -> tuple[Tensor, Tensor]:
        where = predictions(batch)
        return embedding(batch), row_losses(response_logits(lm.model, batch, where), where)

    return both


EMBEDDINGS: dict[EmbeddingName, Callable[..., Embedding]] = {
    "hidden": HiddenStates,
    "jvp": JvpEmbedding,
    "gradient": GradientFeatures,
}
