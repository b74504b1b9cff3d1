"""Parameter subsets: what is chosen, and embeddings, tied heads and norms against autograd one row at a time."""

import copy
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from engine.errors import EngineError
from engine.gradients.exact import exact_products, gradient_norms, weighted_gradient
from engine.gradients.keyed import coins
from engine.gradients.parameters import Site, block_linears
from engine.gradients.persample import projected_gradients
from engine.gradients.projection import FactoredProjection, LayerHadamard
from engine.gradients.subsets import ParameterChoice, choose_sites, coordinate_masks

NAMES = ["llama", "gpt2", "neox", "qwen2", "gemma"]
EVERYTHING = ParameterChoice(embeddings=True, norms=True)
PARAMETERS_OUT = {"gpt2": {"transformer.wpe.weight"}}


def test_the_default_is_every_linear_of_every_block(model_of):
    model = model_of("llama").model
    chosen = choose_sites(model, ParameterChoice())
    assert list(chosen.sites) == block_linears(model)
    assert chosen.masks is None and "21 layers" in chosen.notes[0]


@pytest.mark.parametrize("name", [*NAMES, "gemma2"])
def test_everything_is_every_weight_once(name, model_of):
    model = model_of(name, "eager").model
    sites = choose_sites(model, EVERYTHING).sites
    held = [id(site.weight) for site in sites]
    assert len(held) == len(set(held))
    expected = {n for n, p in model.named_parameters() if p.ndim == 2 or "norm" in n or "ln_" in n}
    expected -= PARAMETERS_OUT.get(name, set())
    assert {n for n, p in model.named_parameters() if id(p) in held} == expected
    assert all(tuple(site.as_matrix(site.weight).shape) == (site.out_features, site.in_features) for site in sites)
    assert len({site.name for site in sites}) == len(sites)


def test_a_tied_head_is_one_site_with_two_uses(model_of):
    sites = choose_sites(model_of("gpt2").model, EVERYTHING).sites
    embedding = next(site for site in sites if site.kind == "embedding")
    assert [type(m) for m in embedding.modules] == [nn.Embedding, nn.Linear]
    assert not any(site.name == "lm_head" for site in sites)
    untied = choose_sites(model_of("llama").model, EVERYTHING).sites
    assert untied[0].kind == "embedding" and not untied[0].tied and untied[-1].name == "lm_head"


def check_everything(lm, samples, batch_of, gradient_oracle, sites):
    batch = batch_of(samples, pad_to=14, pad_id=5)
    generator = torch.Generator().manual_seed(0)
    directions = [
        tuple(torch.randn(s.out_features, s.in_features, generator=generator) for s in sites) for _ in range(2)
    ]
    products, norms, _ = exact_products(lm, batch, directions, sites)
    alone = gradient_norms(lm, batch, sites)[0]
    projected, _, ghost = projected_gradients(lm, batch, FactoredProjection(sites, width=4000), norm="ghost")
    total = weighted_gradient(lm, [batch], [[1.0] * len(samples)], sites)
    rows = []
    for sample in samples:
        found = gradient_oracle(lm, list(sites), sample)
        rows.append(torch.cat([g.float().flatten() for g in found]))
    truth = torch.stack(rows)
    matrix = torch.stack([torch.cat([u.flatten() for u in d]) for d in directions])
    size = float(truth.norm(dim=1).max())
    torch.testing.assert_close(projected, truth, rtol=1e-3, atol=2e-5 * size)
    torch.testing.assert_close(products, truth @ matrix.T, rtol=1e-3, atol=2e-3 * size)
    for found in (norms, alone, ghost):
        torch.testing.assert_close(found, truth.norm(dim=1), rtol=2e-4, atol=1e-6)
    joined = torch.cat([u.flatten() for u in total])
    torch.testing.assert_close(joined, truth.sum(dim=0), rtol=1e-3, atol=5e-5 * size)


@pytest.mark.parametrize(
    ("name", "attention"), [(n, a) for n in ("llama", "gpt2", "neox") for a in ("sdpa", "eager")] + [("gemma", "sdpa")]
)
def test_embeddings_heads_and_norms_against_autograd(name, attention, model_of, samples, batch_of, gradient_oracle):
    lm = model_of(name, attention)
    check_everything(lm, samples, batch_of, gradient_oracle, choose_sites(lm.model, EVERYTHING).sites)


@pytest.mark.parametrize(
    "choice",
    [
        ParameterChoice(names=("wte",), embeddings=True),
        ParameterChoice(names=("ln_f*",), norms=True),
        ParameterChoice(blocks=1, norms=True),
        ParameterChoice(blocks=1, names=("*.mlp.*", "ln_2"), norms=True),
    ],
)
def test_small_choices_against_autograd(choice, model_of, samples, batch_of, gradient_oracle):
    lm = model_of("gpt2")
    check_everything(lm, samples, batch_of, gradient_oracle, choose_sites(lm.model, choice).sites)


@pytest.mark.parametrize("names", [("lm_head",), ("norm",), ("embed_tokens", "norm")])
def test_what_lies_outside_the_blocks_against_autograd(names, model_of, samples, batch_of, gradient_oracle):
    lm = model_of("llama")
    sites = choose_sites(lm.model, ParameterChoice(names=names, embeddings=True, norms=True)).sites
    assert len(sites) == len(names)
    check_everything(lm, samples, batch_of, gradient_oracle, sites)


def test_a_backward_pass_ends_at_the_first_block_with_a_site(model_of, samples, batch_of):
    lm = model_of("llama")
    sites = choose_sites(lm.model, ParameterChoice(blocks=1, norms=True)).sites
    seen = []
    handle = lm.model.model.layers[1].register_forward_hook(lambda m, args, out: seen.append(out.requires_grad))
    try:
        gradient_norms(lm, batch_of(samples), sites)
    finally:
        handle.remove()
    assert seen == [False]


def test_last_blocks_bring_the_norms_behind_them(model_of):
    names = [site.name for site in choose_sites(model_of("gpt2").model, ParameterChoice(blocks=1, norms=True)).sites]
    assert "transformer.ln_f" in names and "transformer.ln_f.bias" in names
    assert "transformer.h.2.ln_1" in names and not any(name.startswith("transformer.h.1.") for name in names)


@pytest.mark.parametrize(
    ("pattern", "count"), [("down_proj", 3), ("*.mlp.*", 9), ("model.layers.1.*", 7), ("*q_proj.weight", 3)]
)
def test_names_are_globs(pattern, count, model_of):
    assert len(choose_sites(model_of("llama").model, ParameterChoice(names=(pattern,))).sites) == count


def test_a_name_that_matches_nothing_says_what_would(model_of):
    with pytest.raises(EngineError, match=r"No parameter is called dense.*down_proj matches 3.*q_proj.*gate_proj"):
        choose_sites(model_of("llama").model, ParameterChoice(names=("dense", "down_proj")))


@pytest.mark.parametrize("options", [{"blocks": 0}, {"keep": 0.0}, {"keep": 1.5}, {"keep": float("nan")}])
def test_impossible_choices_are_refused(options):
    with pytest.raises(EngineError, match=r"must be above 0|at least 1"):
        ParameterChoice(**options)


def test_more_blocks_than_there_are_is_refused(model_of):
    with pytest.raises(EngineError, match="1 to 3"):
        choose_sites(model_of("llama").model, ParameterChoice(blocks=4))


def test_a_model_without_a_token_embedding_is_refused(model_of):
    bare = nn.Module()
    bare.layers = model_of("llama").model.model.layers
    with pytest.raises(EngineError, match="no plain token embedding"):
        choose_sites(bare, ParameterChoice(embeddings=True))


def test_masks_are_fixed_by_seed_and_name(model_of):
    model = model_of("llama").model
    some = choose_sites(model, ParameterChoice(blocks=1, keep=0.3, seed=4))
    every = choose_sites(model, ParameterChoice(keep=0.3, seed=4))
    assert all(torch.equal(a, b) for a, b in zip(some.masks, every.masks[-7:]))
    assert not torch.equal(every.masks[0], every.masks[1])
    other = coordinate_masks(every.sites, 0.3, seed=5)
    assert not torch.equal(other[0], every.masks[0])
    share = float(torch.cat([m.flatten() for m in every.masks]).float().mean())
    assert abs(share - 0.3) < 0.01 and f"{int(sum(m.sum() for m in every.masks)):,} of" in every.notes[0]


def test_the_random_coins_never_change():
    assert coins(12, 0.5, "mask", 0, "a").astype(int).tolist() == EXPECTED_COINS
    assert coins(7, 1.0, "x").all() and not coins(7, 0.0, "x").any()
    assert abs(np.mean(coins(20001, 0.05, "y")) - 0.05) < 0.006


EXPECTED_COINS = [1, 1, 1, 1, 0, 1, 0, 0, 0, 0, 1, 1]


def test_a_mask_keeps_the_coordinates_it_says(model_of, samples, batch_of, gradient_oracle):
    lm = model_of("gpt2")
    chosen = choose_sites(lm.model, ParameterChoice(keep=0.2, norms=True, embeddings=True))
    norms = gradient_norms(lm, batch_of(samples), chosen.sites, scale=chosen.masks)[0]
    for row, sample in enumerate(samples):
        found = gradient_oracle(lm, list(chosen.sites), sample)
        kept = torch.cat([g.reshape(m.shape)[m] for g, m in zip(found, chosen.masks)])
        torch.testing.assert_close(norms[row], kept.norm(), rtol=2e-4, atol=1e-6)
    width = 400
    projection = LayerHadamard(chosen.sites, width=width)
    grads, _, ghost = projected_gradients(lm, batch_of(samples), projection, norm="ghost", scale=chosen.masks)
    torch.testing.assert_close(ghost, norms)
    torch.testing.assert_close(grads.norm(dim=1), norms)  # wider than any layer: nothing is lost


@pytest.mark.parametrize("name", ["llama", "gpt2"])
def test_a_row_that_is_silent_or_overflows_stays_alone(name, model_of, samples, samples_of, batch_of):

    lm = SimpleNamespace(model=copy.deepcopy(model_of(name).model), device=torch.device("cpu"))
    sites = choose_sites(lm.model, EVERYTHING).sites
    rows = [samples[0], samples[2], *samples_of([6], [6]), samples[1]]
    batch = batch_of(rows)
    expected = gradient_norms(lm, batch, sites)[0]

    def poison(module, args, output):
        output = output.clone()
        output[3] = torch.inf
        return output

    handle = lm.model.get_input_embeddings().register_forward_hook(poison, prepend=True)
    norms, losses = gradient_norms(lm, batch, sites)
    handle.remove()
    torch.testing.assert_close(norms[:3], expected[:3])
    assert norms[2] == 0 and losses[2].isnan() and not norms[3].isfinite()


def test_an_unknown_kind_of_embedding_is_refused(model_of, samples, batch_of):

    class Odd(nn.Embedding):
        def forward(self, ids):
            return torch.tanh(super().forward(ids))

    model = copy.deepcopy(model_of("llama").model)
    odd = Odd(61, 24)
    odd.weight = nn.Parameter(model.get_input_embeddings().weight.clone(), False)
    model.set_input_embeddings(odd)
    lm = SimpleNamespace(model=model, device=torch.device("cpu"))
    with pytest.raises(EngineError, match="Odd, whose gradient is not known"):
        gradient_norms(lm, batch_of(samples), choose_sites(model, EVERYTHING).sites)


def test_float16_weights_in_embeddings_and_norms(model_of, samples, batch_of):
    exact, half = model_of("gpt2"), model_of("gpt2", dtype=torch.float16)
    truth = gradient_norms(exact, batch_of(samples), choose_sites(exact.model, EVERYTHING).sites)[0]
    found = gradient_norms(half, batch_of(samples), choose_sites(half.model, EVERYTHING).sites)[0]
    assert ((found - truth) / truth).abs().max() < 0.02


def test_a_site_of_an_embedding_reads_as_vocabulary_by_hidden(model_of):
    site: Site = choose_sites(model_of("gpt2").model, EVERYTHING).sites[0]
    assert (site.out_features, site.in_features) == (61, 24)
