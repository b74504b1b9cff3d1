"""Tiny random models of several architectures, and the slow oracle: autograd, one unpadded sample at a time."""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import (
    Gemma2Config,
    Gemma2ForCausalLM,
    GemmaConfig,
    GemmaForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
)

VOCABULARY = 61
DEPTH = 3
SHARED = {"vocab_size": VOCABULARY, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
COMMON = {
    **SHARED,
    "hidden_size": 24,
    "intermediate_size": 40,
    "num_hidden_layers": DEPTH,
    "num_attention_heads": 4,
    "max_position_embeddings": 64,
}
ARCHITECTURES: dict[str, tuple[type, Any]] = {
    "llama": (LlamaForCausalLM, LlamaConfig(**COMMON, num_key_value_heads=2)),
    "gpt2": (
        GPT2LMHeadModel,
        GPT2Config(**SHARED, n_embd=24, n_layer=DEPTH, n_head=4, n_positions=64, attn_pdrop=0, resid_pdrop=0),
    ),
    "neox": (GPTNeoXForCausalLM, GPTNeoXConfig(**COMMON)),
    "qwen2": (Qwen2ForCausalLM, Qwen2Config(**COMMON, num_key_value_heads=2)),
    "gemma": (GemmaForCausalLM, GemmaConfig(**COMMON, num_key_value_heads=1, head_dim=8)),
    "gemma2": (Gemma2ForCausalLM, Gemma2Config(**COMMON, num_key_value_heads=1, head_dim=8, sliding_window=4)),
}


@dataclass(frozen=True)
class Batch:
    """Right-padded rows."""

    ids: Tensor
    attention: Tensor
    response: Tensor


@dataclass(frozen=True)
class Lm:
    """What the rooms read of a loaded model."""

    model: Any
    device: torch.device


@dataclass(frozen=True)
class Sample:
    """One unpadded row."""

    ids: list[int]
    response: list[bool]


@cache
def tiny(name: str, attention: str = "sdpa", dtype: torch.dtype = torch.float32, seed: int = 0) -> Lm:
    """A tiny random model; weights are large enough for gradients that differ between rows. Never change it."""
    cls, config = ARCHITECTURES[name]
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = cls._from_config(copy.deepcopy(config), attn_implementation=attention)
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.ndim > 1:
                    parameter.normal_(std=0.2)
    return Lm(model.eval().requires_grad_(False).to(dtype), torch.device("cpu"))


def make_samples(lengths: list[int], prompts: list[int], seed: int = 0) -> list[Sample]:
    """Random rows of the given lengths whose first `prompts` tokens are prompt."""
    generator = torch.Generator().manual_seed(seed)
    draw = [torch.randint(3, VOCABULARY, (n,), generator=generator).tolist() for n in lengths]
    return [Sample(ids, [t >= p for t in range(len(ids))]) for ids, p in zip(draw, prompts)]


def collate(samples: list[Sample], *, pad_to: int | None = None, pad_id: int = 0) -> Batch:
    """Right-padded batch of the samples, at least `pad_to` long."""
    length = max(pad_to or 0, *(len(s.ids) for s in samples))
    ids = torch.tensor([s.ids + [pad_id] * (length - len(s.ids)) for s in samples])
    attention = torch.tensor([[1] * len(s.ids) + [0] * (length - len(s.ids)) for s in samples])
    response = torch.tensor([s.response + [False] * (length - len(s.ids)) for s in samples])
    return Batch(ids, attention, response)


def plain_loss(model: nn.Module, sample: Sample) -> Tensor:
    """ℓ of one row, token by token from the full logits."""
    logits = model(input_ids=torch.tensor([sample.ids])).logits[0].float()
    terms = [
        -torch.log_softmax(logits[t - 1], dim=-1)[sample.ids[t]]
        for t in range(1, len(sample.ids))
        if sample.response[t]
    ]
    return torch.stack(terms).mean()


def plain_gradients(lm: Lm, sites: list[Any], sample: Sample) -> list[Tensor]:
    """The gradient (out, in) of every site by plain autograd on one sample."""
    weights = [site.weight for site in sites]
    for weight in weights:
        weight.requires_grad_(True)
    try:
        found = torch.autograd.grad(plain_loss(lm.model, sample), weights)
    finally:
        for weight in weights:
            weight.requires_grad_(False)
    return [g.T if site.transposed else g for site, g in zip(sites, found)]


@pytest.fixture
def true_double(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep float64 models in float64: transformers widens norms and softmax to float32, which narrows these."""
    to, single, softmax = Tensor.to, Tensor.float, nn.functional.softmax

    def keep(self: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        wanted = (*args, kwargs.get("dtype"))
        return self if self.dtype == torch.float64 and torch.float32 in wanted else to(self, *args, **kwargs)

    def keep_softmax(x: Tensor, dim: int | None = None, dtype: torch.dtype | None = None, **rest: Any) -> Tensor:
        return softmax(x, dim, dtype=None if x.dtype == torch.float64 else dtype, **rest)

    monkeypatch.setattr(Tensor, "to", keep)
    monkeypatch.setattr(Tensor, "float", lambda self: self if self.dtype == torch.float64 else single(self))
    monkeypatch.setattr(nn.functional, "softmax", keep_softmax)


@pytest.fixture
def samples() -> list[Sample]:
    """Four rows of different lengths, one with a response of a single token."""
    return make_samples([11, 6, 9, 4], [4, 2, 8, 1])


@pytest.fixture
def model_of() -> Callable[..., Lm]:
    """`model_of(architecture, attention, dtype)`: a cached tiny model."""
    return tiny


@pytest.fixture
def batch_of() -> Callable[..., Batch]:
    """`batch_of(samples, pad_to=…)`: the right-padded batch."""
    return collate


@pytest.fixture
def samples_of() -> Callable[..., list[Sample]]:
    """`samples_of(lengths, prompts, seed)`: random rows."""
    return make_samples


@pytest.fixture
def loss_oracle() -> Callable[..., Tensor]:
    """`loss_oracle(model, sample)`: the loss of one row, token by token."""
    return plain_loss


@pytest.fixture
def gradient_oracle() -> Callable[..., list[Tensor]]:
    """`gradient_oracle(lm, sites, sample)`: autograd on one unpadded sample."""
    return plain_gradients
