"""A prefix run once: its keys and values are kept and shared by every continuation.

Notation. R prefixes of L_r tokens each, at most K, and I continuations of at most S tokens, right-padded. A layer of
the model keeps the keys and values of a prefix (only the last window − 1 of them where its attention slides), and the
tokens of a continuation attend to those and to themselves, at the positions L_r, L_r + 1, …. Nothing is written into
what is kept, so one prefix serves any number of batches and no copy of all its layers is ever made: a layer's keys are
repeated while that layer runs.

Shorter prefixes are run with padding on their right, which causal attention hides from them; then what is kept of them
is moved to the end, behind zeros that the attention mask hides. So a continuation stands directly behind its prefix,
and what goes by distances between places (windows, linear biases) is as it would be without padding.

Only layers that keep plain keys and values can be shared so; `why_not_shared` says where a model has others, and
`why_not_padded` whether prefixes of several lengths can be run together. Does not choose prefixes or batches.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers.cache_utils import Cache, CacheLayerMixin, DynamicCache, DynamicLayer, DynamicSlidingWindowLayer

from engine.gradients.forwarding import Predictions, base_model, predictions, response_logits
from engine.models.batches import Batch
from engine.models.loading import LanguageModel

SHAREABLE = (DynamicLayer, DynamicSlidingWindowLayer)
_PROBED = (2, 8, 12)  # tokens of a prefix, of the same with padding, and of that with a continuation


@dataclass(frozen=True)
class Prefix:
    """What the layers of the model keep of R prefixes of `lengths` (R,) tokens, each in `width` places.

    They are the rows from `first` on of what is kept.
    """

    layers: tuple[Any, ...]
    lengths: Tensor
    width: int
    first: int = 0

    def __len__(self) -> int:
        """The number of prefixes R."""
        return len(self.lengths)

    def repeated(self, times: int) -> Cache:
        """The cache for `times` continuations of each prefix, those of one prefix side by side."""
        rows = slice(self.first, self.first + len(self))
        return Cache(layers=[_SharedLayer(layer, rows, times) for layer in self.layers])

    def halves(self) -> tuple["Prefix", "Prefix"]:
        """Its first and its last rows; both go on from what is kept already."""
        middle = len(self) // 2
        last = replace(self, lengths=self.lengths[middle:], first=self.first + middle)
        return replace(self, lengths=self.lengths[:middle]), last


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
def why_not_padded(lm: LanguageModel) -> str | None:
    """Why prefixes of several lengths cannot be run together, or None; a short one is run with padding and without.

    For models whose prefixes can be shared. The logits behind it may differ by four roundings (never less than a
    thousandth) of their spread, or by twice what sharing the prefix changes in them.
    """
    short, long, end = _PROBED
    ids = torch.arange(end, device=lm.device)[None] % lm.vocabulary  # (1, end)
    after = _predicted(ids[:, long:], behind=0)
    whole = _predicted(torch.cat([ids[:, :short], ids[:, long:]], dim=1), behind=short)
    padded = encode_prefix(lm, ids[:, :long], torch.tensor([short], device=lm.device))
    found = continued_logits(lm, padded, after)[0].float()  # (M, V)
    alone = continued_logits(lm, encode_prefix(lm, ids[:, :short]), after)[0].float()
    plain = response_logits(lm.model, whole, predictions(whole)).float()
    spread = (alone - alone.mean(dim=1, keepdim=True)).norm()
    allowed = torch.maximum(max(1e-3, 4 * torch.finfo(lm.dtype).eps) * spread, 2 * (alone - plain).norm())
    same = bool((found - alone).norm() <= allowed)
    return None if same else f"{type(lm.model).__name__} gives other values behind a padded one"


def _predicted(ids: Tensor, *, behind: int) -> Batch:
    """One sequence (1, T) of which the tokens behind column `behind` are predicted."""
    response = torch.arange(ids.shape[1], device=ids.device)[None] > behind
    return Batch(ids, torch.ones_like(ids), response, np.zeros(1, dtype=np.int64))


@torch.no_grad()
def encode_prefix(lm: LanguageModel, ids: Tensor, lengths: Tensor | None = None) -> Prefix:
    """Run right-padded prefixes (R, K) of `lengths` (R,) tokens, all of K for None. The head is not run."""
    cache = DynamicCache(config=lm.model.config)
    positions = torch.arange(ids.shape[1], device=ids.device).expand_as(ids)  # (R, K)
    if lengths is not None:
        for layer in cache.layers:
            if isinstance(layer, DynamicSlidingWindowLayer):
                layer.activate_past_recording()  # the window of a shorter prefix ends earlier
    base_model(lm.model)(
        input_ids=ids,
        attention_mask=torch.ones_like(ids),
        position_ids=positions,
        past_key_values=cache,
        use_cache=True,
    )
    if lengths is None:
        return Prefix(tuple(cache.layers), ids.new_full((len(ids),), ids.shape[1]), ids.shape[1])
    for layer in cache.layers:
        _align(layer, ids.shape[1] - lengths)
    return Prefix(tuple(cache.layers), lengths, ids.shape[1])


def _align(layer: Any, padding: Tensor) -> None:
    """Move what a layer keeps of right-padded prefixes to the end, behind zeros; where it slides, keep its window."""
    width = layer.keys.shape[2]
    kept = min(width, layer.sliding_window - 1) if layer.is_sliding else width
    places = torch.arange(width - kept, width, device=padding.device) - padding[:, None]  # (R, kept), negative: none
    layer.keys, layer.values = _taken(layer.keys, places), _taken(layer.values, places)


def _taken(states: Tensor, places: Tensor) -> Tensor:
    """The places (R, kept) of states (R, heads, K, d), zero where a place is negative."""
    among = places.clamp(min=0)[:, None, :, None].expand(-1, states.shape[1], -1, states.shape[3])
    return states.gather(2, among).masked_fill_((places < 0)[:, None, :, None], 0)  # (R, heads, kept, d)


@torch.no_grad()
def continued_logits(lm: LanguageModel, prefix: Prefix, batch: Batch) -> tuple[Tensor, Predictions]:
    """Logits (M, V) where response tokens of R·I sequences are predicted, in the order [prefix, continuation].

    `batch` holds the I continuations; a response token in its first column is none, since it is not predicted here.
    """
    tiled = Batch(
        batch.ids.repeat(len(prefix), 1),  # (R·I, S)
        batch.attention.repeat(len(prefix), 1),
        batch.response.repeat(len(prefix), 1),
        np.tile(batch.rows, len(prefix)),
    )
    where = predictions(tiled)
    lengths = prefix.lengths.repeat_interleave(len(batch))[:, None]  # (R·I, 1)
    places = torch.arange(prefix.width, device=lengths.device)
    before = (places >= prefix.width - lengths).to(tiled.attention.dtype)  # (R·I, K)
    positions = lengths + torch.arange(tiled.ids.shape[1], device=lengths.device)  # (R·I, S)
    logits = response_logits(
        lm.model,
        tiled,
        where,
        attention_mask=torch.cat([before, tiled.attention], dim=1),  # (R·I, K + S)
        position_ids=positions,
        past_key_values=prefix.repeated(len(batch)),
        use_cache=True,
    )
    return logits, where


class _SharedLayer(CacheLayerMixin):
    """Rows of a layer's prefix, repeated for continuations; gives those behind it and keeps nothing."""

    def __init__(self, layer: DynamicLayer, rows: slice, times: int) -> None:
        super().__init__()
        self.layer, self.rows, self.times = layer, rows, times
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
        before = kept[self.rows, None].expand(-1, self.times, -1, -1, -1)  # (R, I, heads, kept, d)
        return torch.cat([before, new.unflatten(0, before.shape[:2])], dim=-2).flatten(0, 1)

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """Length and offset of the keys that `query_length` further tokens see."""
        return self.layer.get_mask_sizes(query_length)

    def get_seq_length(self) -> int:
        """The places K of the prefix."""
        return self.layer.get_seq_length()

    def get_max_length(self) -> int:
        """The window of a sliding layer, −1 for others."""
        return self.layer.get_max_length()
