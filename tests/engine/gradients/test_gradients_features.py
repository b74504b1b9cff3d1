"""Last-layer features, gradient features of chosen sites, and texts as embeddings, against autograd and plain sums."""

import copy
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from engine.errors import EngineError
from engine.gradients import capture
from engine.gradients.embeddings import EMBEDDINGS, TEXT_EMBEDDINGS, GradientFeatures, HiddenStates, with_loss
from engine.gradients.feature_sites import feature_sites
from engine.gradients.last_layer import LastLayer
from engine.gradients.parameters import block_linears, blocks
from engine.gradients.sentence_features import SentenceFeatures

NAMES = ["llama", "gpt2", "neox", "qwen2", "gemma"]
CASES = [(name, attention) for name in NAMES for attention in ("sdpa", "eager")] + [("gemma2", "eager")]
LAST = {"llama": 7, "gpt2": 4, "neox": 4, "qwen2": 7, "gemma": 7, "gemma2": 7}
MLP = {"llama": 3, "gpt2": 2, "neox": 2, "qwen2": 3, "gemma": 3, "gemma2": 3}


def untied(lm):
    """A copy whose head has a weight of its own, so that autograd's gradient of it is that of the head alone."""
    model = copy.deepcopy(lm.model)
    head = model.get_output_embeddings()
    head.weight = torch.nn.Parameter(head.weight.detach().clone(), requires_grad=False)
    return SimpleNamespace(model=model, device=torch.device("cpu"))


def head_gradient(lm, sample, loss_oracle):
    """(V, H) by autograd on one unpadded row."""
    weight = lm.model.get_output_embeddings().weight.requires_grad_(True)
    try:
        return torch.autograd.grad(loss_oracle(lm.model, sample), weight)[0]
    finally:
        weight.requires_grad_(False)


@pytest.mark.parametrize(("name", "attention"), CASES)
def test_last_layer_against_autograd_of_the_head(name, attention, model_of, samples, batch_of, loss_oracle):
    lm = untied(model_of(name, attention))
    exact = torch.stack([head_gradient(lm, sample, loss_oracle) for sample in samples])  # (B, V, H)
    batch = batch_of(samples, pad_to=15, pad_id=7)
    whole = LastLayer(lm, width=61 * 61, through="head")
    found, losses = whole.with_loss(batch)
    close = {"rtol": 1e-3, "atol": 1e-4 * float(exact.abs().max())}
    torch.testing.assert_close(found, exact.flatten(1), **close)
    torch.testing.assert_close(losses, torch.stack([loss_oracle(lm.model, sample) for sample in samples]))
    narrow = LastLayer(lm, width=100, through="head", seed=3)
    p_out, p_in = narrow.projection.matrices(narrow.site)
    torch.testing.assert_close(narrow(batch), (p_out @ exact @ p_in.T).flatten(1), rtol=1e-3, atol=close["atol"] * 10)
    assert (whole.dim, narrow.dim, narrow.parts) == (61 * 24, 100, (100,))


@pytest.mark.parametrize(("name", "attention"), CASES)
def test_last_layer_in_the_residual_stream(name, attention, model_of, samples, batch_of, loss_oracle):
    """Σ_t r_t h_tᵀ = Wᵀ · (the head's gradient), since Σ_t (Wᵀ δ_t) h_tᵀ = Wᵀ Σ_t δ_t h_tᵀ."""
    lm = untied(model_of(name, attention))
    exact = torch.stack([head_gradient(lm, sample, loss_oracle) for sample in samples])
    pulled = lm.model.get_output_embeddings().weight.T @ exact  # (B, H, H)
    batch = batch_of(samples, pad_to=15, pad_id=7)
    whole = LastLayer(lm, width=10**4)
    close = {"rtol": 1e-3, "atol": 1e-4 * float(pulled.abs().max())}
    torch.testing.assert_close(whole(batch), pulled.flatten(1), **close)
    narrow = LastLayer(lm, width=64, seed=3)
    p_out, p_in = narrow.projection.matrices(narrow.site)
    expected = (p_out @ pulled @ p_in.T).flatten(1)
    torch.testing.assert_close(narrow(batch), expected, rtol=1e-3, atol=1e-4 * float(expected.abs().max()))
    assert (whole.dim, narrow.dim) == (24 * 24, 64)


def test_last_layer_builds_no_graph_before_the_head_and_computes_few_logits(model_of, samples, batch_of):
    lm = model_of("llama")
    seen = []
    handle = lm.model.get_output_embeddings().register_forward_hook(lambda m, a, out: seen.append((a[0], out)))
    LastLayer(lm)(batch_of(samples))
    handle.remove()
    hidden, logits = seen[0]
    assert not hidden.requires_grad and logits.shape[:2] == (1, 7 + 4 + 1 + 3)
    assert all(p.grad is None and not p.requires_grad for p in lm.model.parameters())


def test_last_layer_without_a_head_or_with_bad_settings_is_refused(model_of, monkeypatch):
    lm = model_of("llama")
    with pytest.raises(EngineError, match="residual, head"):
        LastLayer(lm, through="tail")
    with pytest.raises(EngineError, match="at least 1"):
        LastLayer(lm, width=0)
    monkeypatch.setattr(type(lm.model), "get_output_embeddings", lambda self: None)
    with pytest.raises(EngineError, match="no linear output head"):
        LastLayer(lm)


@pytest.mark.parametrize("name", sorted(LAST))
def test_sites_by_structure(name, model_of):
    model = model_of(name, "eager").model
    everything = block_linears(model, last=2)
    chosen = {which: feature_sites(model, 2, which) for which in ("all", "mlp", "down")}
    assert [len(chosen[which]) for which in ("all", "mlp", "down")] == [2 * LAST[name], 2 * MLP[name], 2]
    assert chosen["all"] == everything
    assert [site for site in everything if "mlp" in site.name] == chosen["mlp"]
    assert all(site.out_features == 24 and site.in_features > 24 for site in chosen["down"])


def test_a_block_without_an_mlp_of_its_own_is_refused():
    layers = torch.nn.ModuleList([torch.nn.Sequential(torch.nn.Linear(6, 6), torch.nn.Linear(6, 6))])
    model = torch.nn.ModuleDict({"layers": layers})
    assert len(feature_sites(model, 1)) == 2
    with pytest.raises(EngineError, match="No MLP stands apart"):
        feature_sites(model, 1, "mlp")
    with pytest.raises(EngineError, match="all, mlp, down"):
        feature_sites(model, 1, "attention")


@pytest.mark.parametrize(("name", "attention"), CASES)
@pytest.mark.parametrize("which", ["mlp", "down"])
def test_features_of_chosen_sites_against_autograd(
    which, name, attention, model_of, samples, batch_of, gradient_oracle
):
    lm = model_of(name, attention)
    features = GradientFeatures(lm, blocks=2, sites=which, width=10**6, side=8, seed=3)
    sites = features.projection.sites
    assert list(sites) == feature_sites(lm.model, 2, which) and sites[0].name in features.notes[0]
    matrices = [features.projection.matrices(site) for site in sites]
    expected = []
    for sample in samples:
        gradients = gradient_oracle(lm, sites, sample)
        expected.append(torch.cat([(p @ g @ q.T).flatten() for (p, q), g in zip(matrices, gradients)]))
    found = features(batch_of(samples, pad_to=14, pad_id=3))
    torch.testing.assert_close(found, torch.stack(expected), rtol=1e-3, atol=1e-4 * float(found.abs().max()))


@pytest.mark.parametrize(("which", "starts"), [("all", "layers.1"), ("mlp", "layers.1.mlp"), ("down", "down_proj")])
def test_the_pass_ends_before_the_attention_where_it_can(which, starts, model_of):
    model = model_of("llama").model
    names = {id(module): name for name, module in model.named_modules()}
    (beginning,) = capture._beginnings(model, feature_sites(model, 2, which))
    assert names[id(beginning)].endswith(starts)


def test_hidden_states_behind_the_gradient(model_of, samples, batch_of):
    lm = model_of("llama")
    batch = batch_of(samples, pad_to=14)
    passes = []
    plain = GradientFeatures(lm, blocks=1, side=8, seed=3)
    joined = GradientFeatures(lm, blocks=1, side=8, seed=3, append_hidden=True)
    handle = lm.model.base_model.register_forward_hook(lambda *_: passes.append(1))
    found, losses = joined.with_loss(batch)
    handle.remove()
    assert len(passes) == 1
    assert joined.parts == (plain.dim, 24) and joined.dim == plain.dim + 24 and "hidden" in joined.notes[1]
    gradient, hidden = found.split(joined.parts, dim=1)
    torch.testing.assert_close(gradient, plain(batch))
    torch.testing.assert_close(hidden.norm(dim=1), gradient.norm(dim=1))
    expected = torch.nn.functional.normalize(HiddenStates(lm)(batch), dim=1)
    torch.testing.assert_close(torch.nn.functional.normalize(hidden, dim=1), expected, rtol=1e-3, atol=1e-5)
    torch.testing.assert_close(losses, plain.with_loss(batch)[1])


SETTINGS = {
    "hidden": {},
    "jvp": {"tangent": "rank-one"},
    "gradient": {"append_hidden": True, "sites": "mlp"},
    "last-layer": {"width": 100},
}


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("name", sorted(EMBEDDINGS))
def test_every_embedding_is_the_same_for_any_batch_and_padding(name, attention, model_of, samples_of, batch_of):
    lm = model_of("qwen2", attention)
    rows = samples_of([40, 7, 23, 12], [3, 2, 8, 5], seed=2)
    embedding = EMBEDDINGS[name](lm, **SETTINGS[name])
    both = with_loss(lm, embedding)
    found, losses = both(batch_of(rows, pad_to=45, pad_id=5))
    assert found.shape == (4, embedding.dim) and sum(embedding.parts) == embedding.dim and embedding.notes
    assert found.dtype == losses.dtype == torch.float32
    close = {"rtol": 1e-3, "atol": 1e-4 * float(found.abs().max())}
    for k, row in enumerate(rows):
        alone, loss = both(batch_of([row]))
        torch.testing.assert_close(found[k : k + 1], alone, **close)
        torch.testing.assert_close(losses[k : k + 1], loss, rtol=1e-4, atol=1e-4)
    turned = embedding(batch_of(rows[::-1]))
    torch.testing.assert_close(turned.flip(0), found, **close)


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("name", ["gradient", "last-layer"])
def test_rows_without_a_response_are_not_numbers_they_alone(name, attention, model_of, samples, batch_of):
    lm = model_of("llama", attention)
    embedding = EMBEDDINGS[name](lm, **SETTINGS[name])
    batch = batch_of(samples)
    expected = embedding(batch)
    batch.response[1] = False
    found, losses = embedding.with_loss(batch)
    assert found[1].isnan().all() and losses[1].isnan()
    torch.testing.assert_close(found[[0, 2, 3]], expected[[0, 2, 3]], rtol=1e-4, atol=1e-5)
    batch.response[:] = False
    found, losses = embedding.with_loss(batch)
    assert found.shape == expected.shape and found.isnan().all() and losses.isnan().all()


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("name", sorted(EMBEDDINGS))
def test_no_number_of_a_broken_row_reaches_another(name, attention, model_of, samples, batch_of):
    lm = SimpleNamespace(model=copy.deepcopy(model_of("qwen2", attention).model), device=torch.device("cpu"))
    embedding = EMBEDDINGS[name](lm, **SETTINGS[name])
    batch = batch_of(samples)
    batch.ids[batch.ids == 1] = 2
    expected = embedding(batch)
    hidden = lm.model.get_input_embeddings()
    hidden.register_forward_hook(lambda m, args, out: out.masked_fill((args[0] == 1)[..., None], torch.nan))
    batch.ids[2, 1] = 1
    found = embedding(batch)
    assert found[2].isnan().all()
    torch.testing.assert_close(found[[0, 1, 3]], expected[[0, 1, 3]], rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("name", ["gradient", "last-layer"])
def test_half_precision_stays_finite_and_close(name, model_of, samples, batch_of):
    single, half = model_of("llama"), model_of("llama", "sdpa", torch.bfloat16)
    exact, found = (EMBEDDINGS[name](lm, **SETTINGS[name])(batch_of(samples)) for lm in (single, half))
    assert found.dtype == torch.float32
    assert torch.nn.functional.cosine_similarity(exact, found).min() > 0.97


class Letters:
    """An encoder that counts letters, and remembers what it was given."""

    dim, name, seen = 26, "letters", ()

    def encode(self, texts):
        self.seen = list(texts)
        return np.array([[text.lower().count(chr(97 + k)) for k in range(self.dim)] for text in texts], np.float64)


def test_texts_become_vectors_and_an_empty_one_is_not_a_number():
    encoder = Letters()
    embedding = TEXT_EMBEDDINGS["sentence"](encoder)
    found = embedding(["abba", " \n", "Cab"])
    assert encoder.seen == ["abba", "Cab"] and found.dtype == np.float32 and found.shape == (3, 26)
    assert found[0, :3].tolist() == [2, 2, 0] and np.isnan(found[1]).all() and found[2, :3].tolist() == [1, 1, 1]
    assert embedding.parts == (26,) and "letters" in embedding.notes[0]
    assert SentenceFeatures(encoder)([]).shape == (0, 26) and SentenceFeatures(encoder)([""]).shape == (1, 26)


def test_an_encoder_of_another_width_is_refused():
    class Wrong(Letters):
        dim = 25

        def encode(self, texts):
            return np.zeros((len(texts), 26))

    with pytest.raises(EngineError, match=r"shape \(1, 26\).*expected \(1, 25\)"):
        SentenceFeatures(Wrong())(["a"])


def test_features_leave_the_model_as_it_was(model_of, samples, batch_of):
    lm = model_of("llama")
    for name in sorted(EMBEDDINGS):
        EMBEDDINGS[name](lm, **SETTINGS[name])(batch_of(samples))
    for module in lm.model.modules():
        assert not module._forward_hooks and not module._forward_pre_hooks
    assert not any("forward" in vars(block) for block in blocks(lm.model))
