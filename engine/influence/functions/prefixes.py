"""A prefix run once: its keys and values are kept and shared by every continuation.

Notation. R prefixes of exactly K tokens each, I continuations of at most S tokens, right-padded. A layer of the model
keeps the keys and values of the prefix (only the last window − 1 of them where its attention slides), and the tokens of
a continuation attend to those and to themselves, at the positions K, K + 1, …. Nothing is written into what is kept, so
one prefix serves any number of batches and no copy of all its layers is ever made: a layer's keys are repeated while
that layer runs.

Only layers that keep plain keys and values can be shared so; `why_not_shared` says where a model has others. Does not
choose prefixes or batches.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers.cache_utils import Cache, CacheLayerMixin, DynamicCache, DynamicLayer, DynamicSlidingWindowLayer

from engine.gradients.forwarding import Predictions, base_model, predictions, response_logits
from engine.models.batches import Batch
from engine.models.loading import LanguageModel

SHAREABLE = (DynamicLayer, DynamicSlidingWindowLayer)


@dataclass(frozen=True)
class Prefix:
    """What the layers of the model keep of R prefixes of `length` tokens."""

    layers: tuple[Any, ...]
    rows: int
    length: int

    def repeated(self, times: int) -> Cache:
        """The cache for `times` continuations of each prefix, those of one prefix side by side."""
        return Cache(layers=[_SharedLayer(layer, times) for layer in self.layers])


def why_not_shared(lm: LanguageModel) -> str | None:
    """Why a prefix of this model cannot be shared, or None; one token is run to see what the layers keep."""
    try:
        layers = encode_prefix(lm, torch.full((1, 1), lm.pad_id, device=lm.device)).layers
    except (TypeError, ValueError) as error:  # it takes no cache, or no positions
        return f"{type(lm.model).__name__} cannot go on from a prefix ({str(error).strip().partition(chr(10))[0]})"
    other = sorted({type(layer).__name__ for layer in layers if type(layer) not in SHAREABLE})
    if other:
        return f"layers of {type(lm.model).__name__} keep more than keys and values ({', '.join(other)})"
    depth = int(lm.model.config.get_text_config().num_hidden_layers)
    filled = sum(layer.get_seq_length() == 1 for layer in layers)
    return None if filled == depth else f"{type(lm.model).__name__} keeps keys of {filled} of its {depth} layers"


@torch.no_grad()
def encode_prefix(lm: LanguageModel, ids: Tensor) -> Prefix:
    """Run prefixes (R, K), all of one length, and keep what the layers keep. The head is not run."""
    cache = DynamicCache(config=lm.model.config)
    positions = torch.arange(ids.shape[1], device=ids.device).expand_as(ids)  # (R, K)
    base_model(lm.model)(
        input_ids=ids,
        attention_mask=torch.ones_like(ids),
        position_ids=positions,
        past_key_values=cache,
        use_cache=True,
    )
    return Prefix(tuple(cache.layers), len(ids), ids.shape[1])


@torch.no_grad()
def continued_logits(lm: LanguageModel, prefix: Prefix, batch: Batch) -> tuple[Tensor, Predictions]:
    """Logits (M, V) where response tokens of R·I sequences are predicted, in the order [prefix, continuation].

    `batch` holds the I continuations; a response token in its first column is none, since it is not predicted here.
    """
    tiled = Batch(
        batch.ids.repeat(prefix.rows, 1),  # (R·I, S)
        batch.attention.repeat(prefix.rows, 1),
        batch.response.repeat(prefix.rows, 1),
        np.tile(batch.rows, prefix.rows),
    )
    where = predictions(tiled)
    before = tiled.attention.new_ones(len(tiled), prefix.length)
    positions = torch.arange(tiled.ids.shape[1], device=tiled.ids.device) + prefix.length
    logits = response_logits(
        lm.model,
        tiled,
        where,
        attention_mask=torch.cat([before, tiled.attention], dim=1),  # (R·I, K + S)
        position_ids=positions.expand_as(tiled.ids),
        past_key_values=prefix.repeated(len(batch)),
        use_cache=True,
    )
    return logits, where


class _SharedLayer(CacheLayerMixin):
    """A layer's prefix, repeated for continuations; gives their keys and values behind it and keeps nothing."""

    def __init__(self, layer: DynamicLayer, times: int) -> None:
        super().__init__()
        self.layer, self.times = layer, times
        self.is_sliding = layer.is_sliding
        self.is_initialized = True

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        """Nothing to do: the prefix has filled the layer."""

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """Keys and values (R·I, heads, kept + S, d) of the prefix and the continuations."""
        return self._behind(self.layer.keys, key_states), self._behind(self.layer.values, value_states)

    def _behind(self, kept: Tensor | None, new: Tensor) -> Tensor:
        if kept is None:
            raise RuntimeError("a layer of the prefix is empty; `why_not_shared` must be asked first")
        return torch.cat([kept.repeat_interleave(self.times, dim=0), new], dim=-2)

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """Length and offset of the keys that `query_length` further tokens see."""
        return self.layer.get_mask_sizes(query_length)

    def get_seq_length(self) -> int:
        """The tokens K of the prefix."""
        return self.layer.get_seq_length()

    def get_max_length(self) -> int:
        """The window of a sliding layer, −1 for others."""
        return self.layer.get_max_length()
