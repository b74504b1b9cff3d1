"""The embedding of a run by name: from batches of tokens, or from texts, ready for the propagation.

Embeddings made of gradients are scaled to length 1 where the score is a cosine: a cosine is carried by directions, and
the size of a gradient would only blur which landmarks are near (`ScoreConfig.scales_rows`).
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from engine.gradients.embeddings import EMBEDDINGS, Embedding, with_loss
from engine.gradients.forwarding import predictions, response_logits, row_losses
from engine.gradients.sentence_features import SentenceFeatures
from engine.models.batches import Batch
from engine.models.loading import LanguageModel
from engine.runs.config import ScoreConfig

UNIT_NOTE = "Embeddings are scaled to length 1, since the score is a cosine."


@dataclass(frozen=True)
class RowEmbedding:
    """A named embedding. `measure` gives vectors (B, dim) and response losses (B,) of a batch, float32.

    `encode` turns texts into vectors (m, dim) instead, where the embedding reads text; `measure` then gives losses
    beside empty vectors. Without
    `knows_loss` the losses are zeros: a pass through a part of the model does not tell them.
    """

    name: str
    dim: int
    notes: tuple[str, ...]
    measure: Callable[[Batch], tuple[Tensor, Tensor]]
    encode: Callable[[list[str]], np.ndarray] | None = None
    knows_loss: bool = True


def row_embedding(name: str, lm: LanguageModel, config: ScoreConfig) -> RowEmbedding:
    """The embedding `name` with the settings of the configuration. Raises `EngineError` as the embedding does."""
    if name == "sentence":
        return _sentence(lm)
    embedding = EMBEDDINGS[name](lm, **config.settings_of(name))  # type: ignore[index]
    partial = name == "jvp" or not getattr(embedding, "knows_loss", True)
    both = _vectors_alone(embedding) if partial else with_loss(lm, embedding)
    if not config.scales_rows(name):
        return RowEmbedding(name, embedding.dim, embedding.notes, both, knows_loss=not partial)

    def scaled(batch: Batch) -> tuple[Tensor, Tensor]:
        vectors, losses = both(batch)
        return unit_rows(vectors), losses

    return RowEmbedding(name, embedding.dim, (*embedding.notes, UNIT_NOTE), scaled, knows_loss=not partial)


def _vectors_alone(embedding: Embedding) -> Callable[[Batch], tuple[Tensor, Tensor]]:
    """The embedding with zeros for losses, which its pass through a part of the model does not tell."""

    def run(batch: Batch) -> tuple[Tensor, Tensor]:
        vectors = embedding(batch)
        return vectors, vectors.new_zeros(len(vectors))

    return run


def unit_rows(vectors: Tensor) -> Tensor:
    """Vectors (m, e) scaled to length 1; a zero vector stays zero."""
    lengths = torch.linalg.vector_norm(vectors, dim=1, keepdim=True)
    return vectors / lengths.where(lengths > 0, 1)


def _sentence(lm: LanguageModel) -> RowEmbedding:
    from engine.maps.sentence import load_encoder

    encoder = load_encoder()

    @torch.no_grad()
    def losses(batch: Batch) -> tuple[Tensor, Tensor]:
        where = predictions(batch)
        found = row_losses(response_logits(lm.model, batch, where), where)
        return torch.zeros(len(found), 0, device=found.device), found

    features = SentenceFeatures(encoder)
    return RowEmbedding("sentence", features.dim, features.notes, losses, features)
