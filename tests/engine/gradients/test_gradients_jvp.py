"""Hand-carried tangents against torch's forward mode, rank-one ones against dense ones, and what each way costs."""

import copy
from types import SimpleNamespace

import pytest
import torch
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from engine.errors import EngineError
from engine.gradients import jvp
from engine.gradients.dual import Dual, NoRuleError, forward_mode
from engine.gradients.jvp import JvpEmbedding
from engine.gradients.parameters import blocks
from engine.gradients.tangents import RankOne

NAMES = ["llama", "gpt2", "neox", "qwen2", "gemma"]
CASES = [(name, attention) for name in NAMES for attention in ("sdpa", "eager")] + [("gemma2", "eager")]
GENERATOR = torch.Generator().manual_seed(0)


def normal(*shape):
    return torch.randn(*shape, generator=GENERATOR, dtype=torch.float64)


def along(function, *pairs):
    """The oracle: torch's own forward mode, one direction at a time."""
    values = tuple(value for value, _ in pairs)
    return [forward_mode(function, values, tuple(t[v] for _, t in pairs))[1] for v in range(2)]


def check(function, *shapes):
    pairs = [(normal(*shape), [normal(*shape) for _ in range(2)]) for shape in shapes]
    found = function(*(Dual(value, tangents) for value, tangents in pairs))
    assert type(found) is Dual and type(found.value) is torch.Tensor
    torch.testing.assert_close(found.value, function(*(value for value, _ in pairs)))
    for moved, expected in zip(found.tangents, along(function, *pairs), strict=True):
        torch.testing.assert_close(moved, expected)


CONSTANT = normal(5, 4)
UNARY = [
    lambda x: x.view(15, 2, 2).transpose(1, 2)[..., :1],
    lambda x: torch.cat([x, CONSTANT.expand(3, 5, 4)], dim=-1),
    lambda x: torch.stack([x, x * 2], dim=1),
    lambda x: x.chunk(2, dim=-1)[1],
    lambda x: 1 - x,
    lambda x: CONSTANT - x,
    lambda x: x - CONSTANT,
    lambda x: CONSTANT[0] + x,
    lambda x: -x / 3 + 2,
    lambda x: 1 / (x * x + 1),
    lambda x: x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-3),
    lambda x: torch.abs(x + 20).pow(1.5),
    lambda x: CONSTANT @ x.transpose(1, 2),
    lambda x: F.linear(x, CONSTANT, normal(5) * 0),
    lambda x: torch.addmm(CONSTANT[0, 0], x.reshape(-1, 4), CONSTANT.T),
    lambda x: F.layer_norm(x, (4,), CONSTANT[0], CONSTANT[1]),
    lambda x: F.softmax(x, dim=-1),
    lambda x: torch.log_softmax(x, dim=-1),
    lambda x: F.silu(x) + F.gelu(x, approximate="tanh") + F.relu(x) + torch.tanh(x),
    lambda x: x.masked_fill(CONSTANT > 0, 0.0),
    lambda x: torch.add(x, CONSTANT, alpha=2),
    lambda x: x.mT.contiguous().flatten(1),
]


@pytest.mark.parametrize("number", range(len(UNARY)))
def test_functions_of_one_dual(number):
    check(UNARY[number], (3, 5, 4))


@pytest.mark.parametrize(
    "function",
    [torch.add, torch.sub, torch.mul, torch.div, lambda x, y: x @ y.transpose(1, 2), lambda x, y: x[:, :1] * y],
)
def test_functions_of_two_duals(function):
    check(function, (3, 5, 4), (3, 5, 4))


@pytest.mark.parametrize("mask", ["causal", "seen", "added", "per head", None])
@pytest.mark.parametrize("length", [3, 150])
def test_attention_over_blocks_of_queries(mask, length):
    seen = torch.rand(2, 1, length, length, generator=GENERATOR).gt(0.3).tril() | torch.eye(length).bool()
    masks = {
        "causal": {"is_causal": True},
        "seen": {"attn_mask": seen},
        "added": {"attn_mask": torch.zeros(seen.shape, dtype=torch.float64).masked_fill(~seen, -torch.inf)},
        "per head": {"attn_mask": normal(1, 4, length, length)},
        None: {"scale": 0.3},
    }
    with sdpa_kernel(SDPBackend.MATH):
        check(lambda q, k, v: F.scaled_dot_product_attention(q, k, v, **masks[mask]), *[(2, 4, length, 6)] * 3)


def test_attention_with_grouped_heads():
    with sdpa_kernel(SDPBackend.MATH):
        check(
            lambda q, k, v: F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True),
            (2, 4, 5, 6),
            (2, 2, 5, 6),
            (2, 2, 5, 6),
        )


@pytest.mark.parametrize("write", [lambda x: x.add_(1), lambda x: F.relu(x, inplace=True), lambda x: x.exp_()])
def test_what_writes_in_place_is_refused(write):
    with pytest.raises(NoRuleError):
        write(Dual(normal(3), [normal(3)]))


def with_dense(embedding, lm, **settings):
    """The gaussian path given the dense form of another embedding's directions."""
    dense = JvpEmbedding(lm, **settings)
    dense.tangents = embedding.dense_tangents()
    return dense


@pytest.mark.parametrize(("name", "attention"), CASES)
def test_rank_one_equals_gaussian_given_the_same_directions(name, attention, model_of, samples, batch_of, true_double):
    lm = model_of(name, attention, torch.float64)
    embedding = JvpEmbedding(lm, blocks=2, tangents=3, tangent="rank-one", seed=3)
    assert embedding.way == "last token"
    batch = batch_of(samples, pad_to=14)
    found = embedding.derivatives(batch)
    dense = with_dense(embedding, lm, blocks=2, tangents=3)
    torch.testing.assert_close(found, dense.derivatives(batch), rtol=1e-9, atol=1e-12)
    dense.way = "torch"
    torch.testing.assert_close(found, dense.derivatives(batch), rtol=1e-9, atol=1e-12)
    embedding.way = "whole block"
    torch.testing.assert_close(found, embedding.derivatives(batch), rtol=1e-9, atol=1e-12)


def test_rank_one_directions_are_as_long_as_gaussian_ones(model_of):
    lm = model_of("gpt2")
    embedding = JvpEmbedding(lm, blocks=2, tangents=2, tangent="rank-one", seed=1)
    sizes = {name: tangent.shape for name, tangent in JvpEmbedding(lm, blocks=2).tangents.items()}
    assert {name: tangent.shape for name, tangent in embedding.dense_tangents().items()} == sizes
    many = JvpEmbedding(lm, blocks=1, tangents=400, tangent="rank-one").dense_tangents()
    assert all(abs(float(tangent.square().mean()) - 1) < 0.15 for tangent in many.values())
    assert all(isinstance(tangent, RankOne) for tangent in embedding.tangents.values())


@pytest.mark.parametrize("tangent", ["gaussian", "rank-one"])
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_rows_do_not_depend_on_batch_padding_or_parts(tangent, attention, model_of, samples_of, batch_of, monkeypatch):
    lm = model_of("llama", attention)
    rows = samples_of([60, 7, 33, 20, 1], [3, 2, 8, 1, 0], seed=2)
    embedding = JvpEmbedding(lm, blocks=2, tangent=tangent)
    found = embedding(batch_of(rows, pad_to=64, pad_id=5))
    close = {"rtol": 1e-3, "atol": 1e-4 * float(found.abs().max())}
    for k, row in enumerate(rows):
        torch.testing.assert_close(found[k], embedding(batch_of([row]))[0], **close)
    monkeypatch.setattr(jvp, "PART_TOKENS", 50)
    torch.testing.assert_close(embedding(batch_of(rows)), found, **close)


def test_no_number_of_one_row_reaches_another(model_of, samples, batch_of):
    lm = SimpleNamespace(model=copy.deepcopy(model_of("llama").model), device=torch.device("cpu"))
    embedding = JvpEmbedding(lm, blocks=2, tangent="rank-one")
    batch = batch_of(samples)
    expected = embedding(batch)
    lm.model.get_input_embeddings().weight.data[1] = torch.nan
    batch.ids[2, 1] = 1
    batch.attention[3] = 0
    found = embedding(batch)
    assert found[2:].isnan().all()
    torch.testing.assert_close(found[:2], expected[:2], rtol=1e-3, atol=1e-3)


def test_the_last_block_sees_only_last_tokens_behind_its_attention(model_of, samples, batch_of):
    lm = model_of("llama")
    embedding = JvpEmbedding(lm, blocks=2, tangent="rank-one")
    widths = {0: [], 1: []}
    handles = [
        block.mlp.register_forward_hook(lambda m, a, out, k=k: widths[k].append(out.shape[1]))
        for k, block in enumerate(blocks(lm.model)[:2])
    ]
    embedding(batch_of(samples))
    for handle in handles:
        handle.remove()
    assert widths == {0: [11], 1: [1]}


def test_a_block_that_mixes_behind_its_attention_runs_whole(model_of, samples, batch_of):
    """Shifting tokens after the attention breaks the shortcut; the check at construction sees it."""
    lm = SimpleNamespace(model=copy.deepcopy(model_of("llama").model), device=torch.device("cpu"))
    block = blocks(lm.model)[1]
    block.mlp.register_forward_pre_hook(lambda m, args: (torch.cat([args[0][:, :1], args[0][:, :-1]], dim=1),))
    embedding = JvpEmbedding(lm, blocks=2)
    assert embedding.way == "whole block"
    embedding.way = "torch"
    expected = embedding(batch_of(samples))
    embedding.way = "whole block"
    torch.testing.assert_close(embedding(batch_of(samples)), expected, rtol=1e-3, atol=1e-3)


def test_a_model_that_writes_in_place_takes_the_plain_way_and_says_so(model_of, samples, batch_of):
    lm = SimpleNamespace(model=copy.deepcopy(model_of("llama").model), device=torch.device("cpu"))
    expected = JvpEmbedding(lm, blocks=2)(batch_of(samples))
    blocks(lm.model)[0].mlp.register_forward_hook(lambda m, args, out: out.mul_(1.0))
    embedding = JvpEmbedding(lm, blocks=2)
    assert embedding.way == "torch" and "does not follow this model" in embedding.notes[0]
    torch.testing.assert_close(embedding(batch_of(samples)), expected, rtol=1e-3, atol=1e-3)


def test_bfloat16_takes_the_fast_way(model_of, samples, batch_of):
    embedding = JvpEmbedding(model_of("llama", "sdpa", torch.bfloat16), blocks=2, tangent="rank-one")
    assert embedding.way == "last token"
    found = embedding(batch_of(samples))
    assert found.dtype == torch.float32 and found.isfinite().all()


def test_an_unknown_tangent_is_refused(model_of):
    with pytest.raises(EngineError, match="gaussian, rank-one"):
        JvpEmbedding(model_of("llama"), tangent="sparse")
