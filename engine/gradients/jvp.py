"""Forward-mode embeddings: how the shallow hidden state of a sample moves along shared random parameter directions.

Notation. h_i(θ) is the hidden state (H,) of the last non-padding token of sample i after the first few blocks, passed
through the final norm (as the released code does). For V Gaussian tangents u_v over the linear weights of those
blocks, the same for every sample, the embedding is the concatenation of dh_i/dθ · u_v, v = 1…V, randomly projected to
`width` where V·H is longer. (Influence Distillation, arXiv 2505.19051; METHODS section 1, "JVP embeddings".)

One pass carries the values once and all V tangents beside them; only the blocks needed are evaluated. Forward mode
has no rule for fused attention: the math form is used, and `notes` says so.
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from math import sqrt
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from engine.errors import EngineError
from engine.gradients.forwarding import BatchLike, ModelLike, base_model, last_hidden
from engine.gradients.parameters import block_linears, block_stack
from engine.gradients.projection import keyed_generator, signs

ATTENTION = ("eager", "sdpa")


class JvpEmbedding:
    """The forward-mode embedding; `.dim` is min(width, tangents · hidden size).

    `blocks` is clamped to the model's depth (a note says so). Tangents are fixed by seed and parameter name. Raises
    `EngineError` for counts below 1 or an attention implementation without forward mode.
    """

    def __init__(self, lm: ModelLike, *, blocks: int = 4, tangents: int = 2, width: int = 1024, seed: int = 0) -> None:
        if min(blocks, tangents, width) < 1:
            raise EngineError(f"Blocks, tangents and width must be at least 1; got {blocks}, {tangents} and {width}.")
        config = lm.model.config
        self.lm = lm
        self.stack = block_stack(base_model(lm.model))
        self.depth = min(blocks, len(self.stack.blocks))
        self.notes = (*_attention_notes(config), *_depth_notes(blocks, self.depth))
        self.tangents = _tangents(lm.model, self.depth, tangents, seed)
        length = tangents * int(config.get_text_config().hidden_size)
        self.dim = min(width, length)
        self.projection = None
        if self.dim < length:
            entries = signs(length * width, "jvp projection", seed).reshape(length, width) / sqrt(width)
            self.projection = torch.from_numpy(entries).to(lm.device)

    @torch.no_grad()
    def __call__(self, batch: BatchLike) -> Tensor:
        """The vectors (B, dim), float32. A row without tokens is NaN."""
        moved = self.derivatives(batch).float()  # (V, B, H)
        joined = moved.transpose(0, 1).flatten(1)  # (B, V·H)
        vectors = joined if self.projection is None else joined @ self.projection
        return vectors.masked_fill(~batch.attention.bool().any(dim=1, keepdim=True), torch.nan)

    def derivatives(self, batch: BatchLike) -> Tensor:
        """dh/dθ · u_v for every tangent and row, (V, B, H), in the model's dtype."""
        base = base_model(self.lm.model)
        named = dict(base.named_parameters())
        values = {name: named[name].detach() for name in self.tangents}

        def hidden(parameters: dict[str, Tensor]) -> Tensor:
            return torch.func.functional_call(_LastToken(base), {f"base.{k}": v for k, v in parameters.items()}, batch)

        def move(direction: dict[str, Tensor]) -> Tensor:
            return torch.func.jvp(hidden, (values,), (direction,))[1]  # (B, H)

        shortened = _truncated(self.stack.owner, self.stack.attribute, self.depth)
        with shortened, sdpa_kernel(SDPBackend.MATH), warnings.catch_warnings():
            # torch scripts its own forward-mode rules on first use, and warns of that
            warnings.filterwarnings("ignore", message="`torch.jit.script", category=DeprecationWarning)
            return torch.func.vmap(move)(self.tangents)


class _LastToken(nn.Module):
    """The hidden state (B, H) of the last non-padding token."""

    def __init__(self, base: nn.Module) -> None:
        super().__init__()
        self.base = base

    def forward(self, batch: BatchLike) -> Tensor:
        """Run the (shortened) base model and pick the last token of every row."""
        last = batch.attention.long().sum(dim=1).sub(1).clamp_min(0)  # (B,)
        return last_hidden(self.base, batch)[torch.arange(len(last), device=last.device), last]


def _attention_notes(config: Any) -> tuple[str, ...]:
    kind = getattr(config, "_attn_implementation", None) or "eager"
    if kind not in ATTENTION:
        raise EngineError(
            f"Forward-mode embeddings need eager or sdpa attention; the model was loaded with {kind!r}. "
            "Load it with attention='eager' or 'sdpa', or choose the embedding 'hidden'. Nothing was computed."
        )
    if kind == "sdpa":
        return ("Forward mode runs under the math form of attention; the fused kernels have no rule for it.",)
    return ("Forward mode runs under eager attention.",)


def _depth_notes(asked: int, depth: int) -> tuple[str, ...]:
    return () if asked == depth else (f"{asked} blocks asked for; the model has {depth}, all of them are used.",)


def _tangents(model: nn.Module, depth: int, count: int, seed: int) -> dict[str, Tensor]:
    """Standard normal directions (V, *shape) for the linear weights of the first `depth` blocks, by parameter name."""
    held = {id(site.weight) for site in block_linears(model)}
    names = {name: p for name, p in base_model(model).named_parameters() if id(p) in held}
    inside = {id(p) for block in list(block_stack(model).blocks)[:depth] for p in block.parameters()}
    return {name: _gaussian(name, p, count, seed) for name, p in names.items() if id(p) in inside}


def _gaussian(name: str, parameter: Tensor, count: int, seed: int) -> Tensor:
    draws = [
        np.random.Generator(keyed_generator("tangent", seed, name, v)).standard_normal(parameter.shape, np.float32)
        for v in range(count)
    ]
    return torch.from_numpy(np.stack(draws)).to(device=parameter.device, dtype=parameter.dtype)


@contextmanager
def _truncated(owner: nn.Module, attribute: str, depth: int) -> Iterator[None]:
    """Let `owner` hold only its first `depth` blocks, and give it back whole."""
    whole: nn.ModuleList = getattr(owner, attribute)
    setattr(owner, attribute, whole[:depth])
    try:
        yield
    finally:
        setattr(owner, attribute, whole)
