"""Texts as embeddings: what an embedding that reads text instead of batches of tokens looks like.

The encoder is handed in (this room loads none and knows no model): anything with `dim`, `name` and `encode`.
"""

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from engine.errors import EngineError


class Encoder(Protocol):
    """A loaded sentence model: `encode` gives (n, dim) float32 in the order of the texts."""

    @property
    def dim(self) -> int: ...
    @property
    def name(self) -> str: ...
    def encode(self, texts: Sequence[str]) -> np.ndarray: ...


class TextEmbedding(Protocol):
    """Maps texts to one float32 vector each; `dim`, `parts` and `notes` as those of `Embedding`."""

    dim: int
    parts: tuple[int, ...]
    notes: tuple[str, ...]

    def __call__(self, texts: Sequence[str]) -> np.ndarray:
        """The vectors (n, dim), float32."""


class SentenceFeatures:
    """Sentence embeddings of "prompt response" texts. A text without a visible character is NaN, it alone."""

    def __init__(self, encoder: Encoder) -> None:
        self.encoder = encoder
        self.dim = encoder.dim
        self.parts: tuple[int, ...] = (self.dim,)
        self.notes: tuple[str, ...] = (f"Sentence embeddings of {encoder.name}, {self.dim} coordinates.",)

    def __call__(self, texts: Sequence[str]) -> np.ndarray:
        """The vectors (n, dim), float32. Raises `EngineError` if the encoder gives another shape."""
        found = np.full((len(texts), self.dim), np.nan, dtype=np.float32)
        readable = [k for k, text in enumerate(texts) if text.strip()]
        if readable:
            encoded = np.asarray(self.encoder.encode([texts[k] for k in readable]), dtype=np.float32)
            if encoded.shape != (len(readable), self.dim):
                raise EngineError(
                    f"{self.encoder.name} gave an array of shape {encoded.shape} for {len(readable)} texts; expected "
                    f"({len(readable)}, {self.dim}). Nothing was kept."
                )
            found[readable] = encoded
        return found
