"""Cheap vectors per sample from which the scores of a few landmark samples are propagated to the whole pool.

Four kinds behind one call, `embedding(batch) -> (B, dim) float32`: pooled hidden states (RDS+, arXiv 2503.01807),
forward-mode derivatives of a shallow hidden state (Influence Distillation, arXiv 2505.19051), projected gradients of
the last blocks from a truncated backward pass, and of the last layer from a forward pass alone (METHODS section 3).
`EMBEDDINGS` names them; `TEXT_EMBEDDINGS` names those that read texts instead of batches. All are the same for any
batch and padding.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Literal, Protocol

import torch
from torch import Tensor, nn

from engine.errors import EngineError
from engine.gradients.feature_sites import Sites, feature_sites
from engine.gradients.forwarding import (
    BatchLike,
    ModelLike,
    base_model,
    hidden_and_logits,
    last_hidden,
    predictions,
    response_logits,
    row_losses,
)
from engine.gradients.jvp import JvpEmbedding
from engine.gradients.last_layer import LastLayer
from engine.gradients.parameters import block_stack, shortened
from engine.gradients.persample import projected_gradients
from engine.gradients.projection import FactoredProjection
from engine.gradients.sentence_features import SentenceFeatures, TextEmbedding

EmbeddingName = Literal["hidden", "jvp", "gradient", "last-layer"]
TextEmbeddingName = Literal["sentence"]


class Embedding(Protocol):
    """Maps a batch to one float32 vector per row.

    `dim` is its length, `parts` the lengths of the blocks it is made of (one, unless said), `notes` say how it is
    computed and why.
    """

    dim: int
    parts: tuple[int, ...]
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
        self.parts: tuple[int, ...] = (self.dim,)
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

    `sites` takes all linear layers of a block, or those of its MLP or its down projection alone: then the pass ends
    before the attention of the first of the blocks. The factored projection (`side` x `side` per layer) is compressed
    to at most `width` coordinates by a randomised Hadamard transform. `blocks` is clamped to the model's depth (a note
    says so). A row without a response is NaN.

    `early_exit` runs only that many of the first blocks, then the final norm and the head: the gradients are those of
    the shortened model, at a part of the price, and `knows_loss` is False, because the whole model's loss is not seen.

    `append_hidden` adds the pooled hidden states of the same pass (those of `HiddenStates`) behind the gradient, scaled
    in every row to the gradient's length, so that neither part outweighs the other; `parts` are the two lengths.
    """

    def __init__(
        self,
        lm: ModelLike,
        *,
        blocks: int = 2,
        width: int = 1024,
        side: int = 48,
        seed: int = 0,
        sites: Sites = "all",
        append_hidden: bool = False,
        early_exit: int | None = None,
    ) -> None:
        if early_exit is not None and early_exit < 1:
            raise EngineError(f"early_exit is {early_exit}; it must be at least 1 block. Nothing was computed.")
        self.stack = block_stack(lm.model)
        whole = len(self.stack.blocks)
        self.depth = whole if early_exit is None else min(early_exit, whole)
        self.knows_loss = self.depth == whole
        depth, used = self.depth, min(blocks, self.depth)
        with shortened(self.stack, self.depth):
            chosen = feature_sites(lm.model, used, sites)
        plain = FactoredProjection(chosen, width=side, seed=seed)
        narrow = plain.raw_dim > width
        self.lm, self.append_hidden = lm, append_hidden
        self.projection = FactoredProjection(chosen, width=side, seed=seed, compress=width) if narrow else plain
        hidden = int(lm.model.config.get_text_config().hidden_size) if append_hidden else 0
        self.parts: tuple[int, ...] = (self.projection.dim, hidden) if append_hidden else (self.projection.dim,)
        self.dim = sum(self.parts)
        self.notes: tuple[str, ...] = self._notes(blocks, used, depth, sites)

    def _notes(self, asked: int, used: int, depth: int, sites: Sites) -> tuple[str, ...]:
        where = "" if sites == "all" else f" ({', '.join(site.name for site in self.projection.sites)} alone)"
        last = "block" if used == 1 else f"{used} blocks"
        notes = [f"Projected gradients of the last {last}{where}, {self.projection.dim} coordinates."]
        if not self.knows_loss:
            notes.append(
                f"The model is left after {self.depth} of {len(self.stack.blocks)} blocks: gradients of the shortened "
                "model, and losses are known for exactly measured samples alone."
            )
        if self.append_hidden:
            notes.append(
                f"{self.parts[1]} pooled hidden states behind them, scaled to the gradient's length in each sample."
            )
        if used != asked:
            notes.append(f"{asked} blocks asked for; the model has {depth}, all of them are used.")
        return tuple(notes)

    def __call__(self, batch: BatchLike) -> Tensor:
        """The vectors (B, dim), float32."""
        return self.with_loss(batch)[0]

    def with_loss(self, batch: BatchLike) -> tuple[Tensor, Tensor]:
        """The vectors (B, dim) and the rows' response losses (B,), float32, from one forward and backward pass.

        After an early exit the losses are the shortened model's.
        """
        with shortened(self.stack, self.depth), _kept_hidden(self.lm.model) as kept:
            vectors, losses, lengths = projected_gradients(self.lm, batch, self.projection)
        if self.append_hidden:
            vectors = torch.cat([vectors, self._hidden(batch, kept, lengths)], dim=1)
        return vectors.masked_fill(losses.isnan()[:, None], torch.nan), losses

    def _hidden(self, batch: BatchLike, kept: list[Tensor], lengths: Tensor) -> Tensor:
        """Pooled hidden states (B, H) of the lengths (B,)."""
        if not kept:  # no row has a response, so nothing was run
            return torch.full((len(lengths), self.parts[1]), torch.nan, device=lengths.device)
        pooled = weighted_mean(kept[0], batch.attention)
        own = torch.linalg.vector_norm(pooled, dim=1)
        return pooled * (lengths / own.where(own > 0, 1))[:, None]


@contextmanager
def _kept_hidden(model: nn.Module) -> Iterator[list[Tensor]]:
    """Yields a list that holds the last hidden states (B, T, H) once the model has run."""
    kept: list[Tensor] = []

    def keep(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        kept.append(output.last_hidden_state.detach())

    handle = base_model(model).register_forward_hook(keep)
    try:
        yield kept
    finally:
        handle.remove()


def weighted_mean(hidden: Tensor, attention: Tensor) -> Tensor:
    """Σ_t t·h_t / Σ_t t over the tokens of each row, (B, H) float32, from (B, T, H) and a right-padded mask (B, T)."""
    real = attention.bool()
    weights = real.cumsum(dim=1) * real  # (B, T): 1, 2, …, 0 for padding
    shares = weights / weights.sum(dim=1, keepdim=True)
    return (shares.unsqueeze(1) @ hidden.float().masked_fill(~real.unsqueeze(2), 0)).squeeze(1)  # (B, H)


def with_loss(lm: ModelLike, embedding: Embedding) -> Callable[[BatchLike], tuple[Tensor, Tensor]]:
    """`embedding` and the response loss beside it: (B, dim) and (B,), from one forward pass where it can be one."""
    if isinstance(embedding, HiddenStates | GradientFeatures | LastLayer):
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
    "last-layer": LastLayer,
}
TEXT_EMBEDDINGS: dict[TextEmbeddingName, Callable[..., TextEmbedding]] = {"sentence": SentenceFeatures}
