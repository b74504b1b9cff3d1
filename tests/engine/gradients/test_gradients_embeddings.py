"""Embeddings against finite differences, against one sample and one tangent at a time, and against plain sums."""

import copy
from types import SimpleNamespace

import pytest
import torch

from engine.errors import EngineError
from engine.gradients.embeddings import EMBEDDINGS, GradientFeatures, HiddenStates
from engine.gradients.jvp import JvpEmbedding
from engine.gradients.parameters import block_linears, block_stack, blocks
from engine.gradients.persample import projected_gradients
from engine.gradients.projection import FactoredProjection, Hadamard, signs

NAMES = ["llama", "gpt2", "neox", "qwen2", "gemma"]
CASES = [(name, attention) for name in NAMES for attention in ("sdpa", "eager")] + [("gemma2", "eager")]


@pytest.mark.parametrize(("name", "attention"), CASES)
def test_hidden_states_against_a_plain_weighted_sum(name, attention, model_of, samples, batch_of):
    lm = model_of(name, attention)
    embedding = HiddenStates(lm)
    found = embedding(batch_of(samples, pad_to=15, pad_id=5))
    assert found.shape == (4, embedding.dim) and found.dtype == torch.float32
    for row, sample in enumerate(samples):
        hidden = lm.model(torch.tensor([sample.ids]), output_hidden_states=True).hidden_states[-1][0]
        total = sum((t + 1) * hidden[t] for t in range(len(sample.ids)))
        expected = total / sum(range(1, len(sample.ids) + 1))
        torch.testing.assert_close(found[row], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("name", "attention"), CASES)
def test_hidden_states_and_losses_from_one_pass(name, attention, model_of, samples, batch_of, loss_oracle):
    lm = model_of(name, attention)
    batch = batch_of(samples, pad_to=15)
    passes = []
    handle = lm.model.base_model.register_forward_hook(lambda *_: passes.append(1))
    try:
        vectors, losses = HiddenStates(lm).with_loss(batch)
    finally:
        handle.remove()
    assert len(passes) == 1
    torch.testing.assert_close(vectors, HiddenStates(lm)(batch), rtol=1e-4, atol=1e-5)
    expected = torch.stack([loss_oracle(lm.model, sample) for sample in samples])
    torch.testing.assert_close(losses, expected, rtol=1e-4, atol=1e-4)


def test_hidden_states_and_losses_without_a_known_head(model_of, samples, batch_of, monkeypatch):
    lm = model_of("llama")
    expected = HiddenStates(lm).with_loss(batch_of(samples))
    monkeypatch.setattr(type(lm.model), "get_output_embeddings", lambda self: None)
    for fast, plain in zip(expected, HiddenStates(lm).with_loss(batch_of(samples))):
        torch.testing.assert_close(fast, plain, rtol=1e-4, atol=1e-5)


def shallow_hidden(model, depth, sample):
    """The last token after `depth` blocks and the final norm, in a copy that holds no further blocks."""
    short = copy.deepcopy(model)
    config_depth = "n_layer" if hasattr(short.config, "n_layer") else "num_hidden_layers"
    base = short.base_model
    attribute = "h" if hasattr(base, "h") else "layers"
    setattr(base, attribute, getattr(base, attribute)[:depth])
    setattr(short.config, config_depth, depth)
    return base(torch.tensor([sample.ids])).last_hidden_state[0, -1]


@pytest.mark.parametrize(("name", "attention"), CASES)
def test_jvp_against_finite_differences(name, attention, model_of, samples, batch_of, true_double):
    lm = model_of(name, attention, torch.float64)
    embedding = JvpEmbedding(lm, blocks=2, tangents=2, seed=3)
    found = embedding.derivatives(batch_of(samples, pad_to=14))
    step = 1e-5
    moved = []
    for v in range(2):
        sides = []
        for sign in (1, -1):
            model = copy.deepcopy(lm.model)
            named = dict(model.base_model.named_parameters())
            for key, tangent in embedding.tangents.items():
                named[key].data += sign * step * tangent[v]
            sides.append(torch.stack([shallow_hidden(model, 2, sample) for sample in samples]))
        moved.append((sides[0] - sides[1]) / (2 * step))
    expected = torch.stack(moved)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6 * float(expected.abs().max()))


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_jvp_against_one_sample_and_one_tangent_at_a_time(attention, model_of, samples, batch_of):
    lm = model_of("llama", attention)
    embedding = JvpEmbedding(lm, blocks=2, tangents=3, seed=1)
    found = embedding(batch_of(samples, pad_to=17, pad_id=9))
    single = JvpEmbedding(lm, blocks=2, tangents=1, seed=1)
    for row, sample in enumerate(samples):
        parts = []
        for v in range(3):
            single.tangents = {key: tangent[v : v + 1] for key, tangent in embedding.tangents.items()}
            parts.append(single(batch_of([sample]))[0])
        torch.testing.assert_close(found[row], torch.cat(parts), rtol=1e-3, atol=1e-3 * float(found.abs().max()))


def test_tangents_are_the_linear_weights_of_the_first_blocks(model_of):
    tangents = JvpEmbedding(model_of("gpt2"), blocks=2, tangents=2).tangents
    assert sorted({key.split(".")[1] for key in tangents}) == ["0", "1"]
    assert len(tangents) == 8 and all(key.endswith("weight") and "ln" not in key for key in tangents)
    draws = torch.cat([t.flatten() for t in tangents.values()])
    assert abs(float(draws.mean())) < 0.02 and abs(float(draws.std()) - 1) < 0.02


def test_tangents_follow_seed_and_name_only(model_of):
    lm = model_of("llama")
    few, many = JvpEmbedding(lm, blocks=1, tangents=1, seed=4), JvpEmbedding(lm, blocks=3, tangents=2, seed=4)
    assert all(torch.equal(many.tangents[key][:1], tangent) for key, tangent in few.tangents.items())
    other = JvpEmbedding(lm, blocks=1, tangents=1, seed=5)
    assert not any(torch.equal(other.tangents[key], tangent) for key, tangent in few.tangents.items())


def test_blocks_beyond_the_first_are_not_evaluated(model_of, samples, batch_of):
    lm = SimpleNamespace(model=copy.deepcopy(model_of("llama").model), device=torch.device("cpu"))
    expected = JvpEmbedding(lm, blocks=2)(batch_of(samples))
    for parameter in blocks(lm.model)[2].parameters():
        parameter.data.fill_(torch.nan)
    assert torch.equal(JvpEmbedding(lm, blocks=2)(batch_of(samples)), expected)


def test_the_model_is_whole_again_even_after_a_failure(model_of, samples, batch_of):
    lm = model_of("llama")
    before = list(blocks(lm.model))
    embedding = JvpEmbedding(lm, blocks=1)
    embedding(batch_of(samples))
    bad = batch_of(samples)
    with pytest.raises(IndexError):
        embedding(SimpleNamespace(ids=bad.ids + 1000, attention=bad.attention, response=bad.response))
    assert blocks(lm.model) == before
    assert all(not p.requires_grad for p in lm.model.parameters())


def test_wide_derivatives_are_projected(model_of, samples, batch_of):
    lm = model_of("llama")
    plain = JvpEmbedding(lm, blocks=2, tangents=2, width=1000, seed=2)
    narrow = JvpEmbedding(lm, blocks=2, tangents=2, width=16, seed=2)
    assert (plain.dim, narrow.dim) == (48, 16)
    matrix = torch.from_numpy(signs(48 * 16, "jvp projection", 2).reshape(48, 16)) / 4
    torch.testing.assert_close(narrow(batch_of(samples)), plain(batch_of(samples)) @ matrix, rtol=1e-4, atol=1e-3)


def test_notes_say_depth_and_attention(model_of):
    assert "attention of its own" in JvpEmbedding(model_of("llama")).notes[0]
    assert "eager" in JvpEmbedding(model_of("llama", "eager")).notes[0]
    assert "2 gaussian tangents through 3 blocks" in JvpEmbedding(model_of("llama")).notes[1]
    assert "the model has 3" in JvpEmbedding(model_of("llama"), blocks=4).notes[2]
    assert len(JvpEmbedding(model_of("llama"), blocks=3).notes) == 2


def test_fused_attention_is_refused(model_of):
    model = copy.deepcopy(model_of("llama").model)
    model.config._attn_implementation_internal = "flash_attention_2"
    with pytest.raises(EngineError, match="eager or sdpa"):
        JvpEmbedding(SimpleNamespace(model=model, device=torch.device("cpu")))


@pytest.mark.parametrize("option", ["blocks", "tangents", "width"])
def test_counts_below_one_are_refused(option, model_of):
    with pytest.raises(EngineError, match="at least 1"):
        JvpEmbedding(model_of("llama"), **{option: 0})


@pytest.mark.parametrize("name", sorted(EMBEDDINGS))
def test_a_row_without_tokens_is_not_a_number(name, model_of, samples, batch_of):
    batch = batch_of(samples)
    batch.attention[1] = 0
    vectors = EMBEDDINGS[name](model_of("llama", "eager"))(batch)
    assert vectors[1].isnan().all() and vectors[[0, 2, 3]].isfinite().all()


def test_gradient_features_are_the_last_blocks_part_of_the_whole_gradient(model_of, samples, batch_of):
    """Uncompressed, they are the trailing coordinates of the projection of all blocks, whose losses they share."""
    lm = model_of("llama")
    features = GradientFeatures(lm, blocks=1, width=10**6, side=8, seed=3)
    whole = FactoredProjection(block_linears(lm.model), width=8, seed=3)
    grads, losses, _ = projected_gradients(lm, batch_of(samples), whole)
    vectors, own = features.with_loss(batch_of(samples))
    torch.testing.assert_close(vectors, grads[:, -features.dim :], rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(own, losses)
    assert features.dim < whole.dim


def test_gradient_features_are_compressed_and_say_what_they_are(model_of, samples, batch_of):
    lm = model_of("llama")
    plain = GradientFeatures(lm, blocks=2, width=10**6, side=8, seed=3)
    narrow = GradientFeatures(lm, blocks=2, width=32, side=8, seed=3)
    assert narrow.dim == 32
    expected = Hadamard(plain.dim, 32, seed=3)(plain(batch_of(samples)))
    torch.testing.assert_close(narrow(batch_of(samples)), expected, rtol=1e-3, atol=1e-5)
    assert any("99 blocks asked for" in note for note in GradientFeatures(lm, blocks=99).notes)


@pytest.mark.parametrize("name", NAMES)
def test_an_early_exit_gives_the_gradients_of_the_shortened_model(name, model_of, samples, batch_of):
    lm = model_of(name)
    count = len(blocks(lm.model))
    early = GradientFeatures(lm, blocks=1, side=4, width=4096, early_exit=count - 1)
    batch = batch_of(samples, pad_to=15)
    found = early(batch)
    assert not early.knows_loss and len(blocks(lm.model)) == count, "the model was not given back whole"
    short = copy.deepcopy(lm.model)
    stack = block_stack(short)
    setattr(stack.owner, stack.attribute, stack.blocks[: count - 1])
    plain = GradientFeatures(SimpleNamespace(model=short, device=lm.device), blocks=1, side=4, width=4096)
    torch.testing.assert_close(found, plain(batch), rtol=1e-4, atol=1e-6)
    assert not torch.allclose(found, GradientFeatures(lm, blocks=1, side=4, width=4096)(batch)[:, : found.shape[1]])


def test_an_exit_behind_the_last_block_is_none(model_of, samples, batch_of):
    lm = model_of("llama")
    whole = GradientFeatures(lm, blocks=1, side=4, early_exit=99)
    assert whole.knows_loss
    torch.testing.assert_close(whole(batch_of(samples)), GradientFeatures(lm, blocks=1, side=4)(batch_of(samples)))
    with pytest.raises(EngineError, match="at least 1 block"):
        GradientFeatures(lm, early_exit=0)
