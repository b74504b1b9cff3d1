"""Projected per-sample gradients against autograd one sample at a time, in every architecture and attention."""

import copy
from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from engine.errors import EngineError
from engine.gradients import layers
from engine.gradients.parameters import block_linears
from engine.gradients.persample import backward, ghost_squared_norm, projected_gradients
from engine.gradients.projection import FactoredProjection, LayerHadamard

NAMES = ["llama", "gpt2", "neox", "qwen2", "gemma"]
CASES = [(name, attention) for name in NAMES for attention in ("sdpa", "eager")] + [("gemma2", "eager")]
EXACT = 1000  # wider than any layer: the projection is the identity


def projected_oracle(lm, projection, sample, gradient_oracle):
    gradients = gradient_oracle(lm, list(projection.sites), sample)
    parts = []
    for site, gradient in zip(projection.sites, gradients):
        p_out, p_in = projection.matrices(site)
        parts.append((p_out @ gradient.float() @ p_in.T).flatten())
    norm = torch.stack([g.float().square().sum() for g in gradients]).sum().sqrt()
    return torch.cat(parts), norm


@pytest.mark.parametrize(("name", "attention"), CASES)
def test_against_autograd_per_sample(name, attention, model_of, samples, batch_of, gradient_oracle, loss_oracle):
    lm = model_of(name, attention)
    projection = FactoredProjection(block_linears(lm.model), width=6, seed=1)
    grads, loss, norm = projected_gradients(lm, batch_of(samples, pad_to=14), projection, norm="ghost")
    assert grads.shape == (4, projection.dim) and grads.dtype == torch.float32
    for row, sample in enumerate(samples):
        expected, true_norm = projected_oracle(lm, projection, sample, gradient_oracle)
        torch.testing.assert_close(grads[row], expected, rtol=2e-4, atol=2e-4 * float(expected.abs().max()))
        torch.testing.assert_close(norm[row], true_norm, rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(loss[row], loss_oracle(lm.model, sample), rtol=1e-5, atol=1e-5)


def test_exact_cosines_without_projection(model_of, samples, batch_of, gradient_oracle):
    lm = model_of("llama")
    sites = block_linears(lm.model)
    grads, _, norm = projected_gradients(lm, batch_of(samples), FactoredProjection(sites, width=EXACT))
    full = [torch.cat([g.flatten() for g in gradient_oracle(lm, sites, sample)]) for sample in samples]
    oracle = torch.stack([g / g.norm() for g in full])
    unit = grads / norm[:, None]
    torch.testing.assert_close(unit @ unit.T, oracle @ oracle.T, rtol=1e-4, atol=1e-5)


def test_projected_norm_is_that_of_the_vector(model_of, samples, batch_of):
    lm = model_of("gpt2")
    projection = FactoredProjection(block_linears(lm.model), width=5)
    grads, _, norm = projected_gradients(lm, batch_of(samples), projection)
    torch.testing.assert_close(norm, grads.norm(dim=1))


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_padding_and_company_do_not_matter(attention, model_of, samples, batch_of):
    lm = model_of("llama", attention)
    projection = FactoredProjection(block_linears(lm.model), width=6)
    together, losses, norms = projected_gradients(lm, batch_of(samples, pad_to=20, pad_id=7), projection, norm="ghost")
    for row, sample in enumerate(samples):
        alone, loss, norm = projected_gradients(lm, batch_of([sample]), projection, norm="ghost")
        torch.testing.assert_close(together[row], alone[0], rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(losses[row], loss[0])
        torch.testing.assert_close(norms[row], norm[0], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_signal_at_padding_is_zero(attention, model_of, samples, batch_of):
    lm = model_of("qwen2", attention)
    batch = batch_of(samples, pad_to=16)
    seen = []

    def check(index, signal, inputs):
        seen.append(index)
        assert signal[batch.attention == 0].abs().max() == 0

    backward(lm, batch, block_linears(lm.model), check)
    assert sorted(seen) == list(range(21))


def test_truncated_backward_takes_the_last_blocks_only(model_of, samples, batch_of):
    lm = model_of("neox")
    every = FactoredProjection(block_linears(lm.model), width=6)
    last = FactoredProjection(block_linears(lm.model, last=1), width=6)
    full = projected_gradients(lm, batch_of(samples), every)[0]
    torch.testing.assert_close(projected_gradients(lm, batch_of(samples), last)[0], full[:, -last.dim :])


def test_a_row_without_response_has_no_gradient_and_harms_nobody(model_of, samples, samples_of, batch_of):
    lm = model_of("llama")
    projection = FactoredProjection(block_linears(lm.model), width=6)
    silent = samples_of([7, 1], [7, 0])  # no response token; a response that nothing predicts
    grads, loss, norm = projected_gradients(lm, batch_of([samples[0], *silent]), projection)
    assert loss.isnan().tolist() == [False, True, True]
    assert norm.tolist()[1:] == [0.0, 0.0] and grads[1:].abs().max() == 0
    torch.testing.assert_close(
        grads[0], projected_gradients(lm, batch_of(samples[:1]), projection)[0][0], rtol=1e-4, atol=1e-5
    )
    grads, loss, norm = projected_gradients(lm, batch_of(silent), projection, norm="ghost")
    assert loss.isnan().all() and norm.tolist() == [0.0, 0.0] and grads.abs().max() == 0


def test_a_row_that_is_not_a_number_stays_alone(model_of, samples, batch_of):
    lm = SimpleNamespace(model=copy.deepcopy(model_of("llama").model), device=torch.device("cpu"))
    poison = next(t for t in samples[1].ids if all(t not in s.ids for k, s in enumerate(samples) if k != 1))
    lm.model.get_input_embeddings().weight[poison] = torch.inf
    lm.model.get_output_embeddings().weight = nn.Parameter(model_of("llama").model.lm_head.weight.clone(), False)
    projection = FactoredProjection(block_linears(lm.model), width=6)
    grads, loss, norm = projected_gradients(lm, batch_of(samples), projection, norm="ghost")
    clean = [0, 2, 3]
    assert not loss[1].isfinite() and not norm[1].isfinite() and not grads[1].isfinite().all()
    assert grads[clean].isfinite().all() and norm[clean].isfinite().all()
    expected = projected_gradients(lm, batch_of([samples[k] for k in clean]), projection)[0]
    torch.testing.assert_close(grads[clean], expected, rtol=1e-4, atol=1e-5)


def test_the_model_is_left_as_it_was(model_of, samples, batch_of):
    model = model_of("llama").model
    projected_gradients(model_of("llama"), batch_of(samples), FactoredProjection(block_linears(model), width=4))
    assert all(p.grad is None and not p.requires_grad for p in model.parameters())
    assert all(not m._forward_hooks and not m._forward_pre_hooks for m in model.modules())


def test_parameters_that_want_gradients_get_none(model_of, samples, batch_of):
    lm = SimpleNamespace(model=copy.deepcopy(model_of("llama").model).requires_grad_(True), device=torch.device("cpu"))
    frozen = FactoredProjection(block_linears(model_of("llama").model), width=6)
    grads, _, _ = projected_gradients(lm, batch_of(samples), FactoredProjection(block_linears(lm.model), width=6))
    torch.testing.assert_close(grads, projected_gradients(model_of("llama"), batch_of(samples), frozen)[0])
    assert all(p.grad is None for p in lm.model.parameters())


@pytest.mark.parametrize("name", ["llama", "gemma2"])
def test_the_gathered_head_changes_nothing(name, model_of, samples, batch_of, monkeypatch):
    lm = model_of(name, "eager")
    projection = FactoredProjection(block_linears(lm.model), width=6)
    gathered = projected_gradients(lm, batch_of(samples), projection)
    monkeypatch.setattr(type(lm.model), "get_output_embeddings", lambda self: None)
    for fast, plain in zip(gathered, projected_gradients(lm, batch_of(samples), projection)):
        torch.testing.assert_close(fast, plain, rtol=1e-4, atol=1e-5)


def test_the_head_sees_response_positions_only(model_of, samples, batch_of):
    lm = model_of("llama")
    seen = []
    handle = lm.model.get_output_embeddings().register_forward_hook(lambda m, args, out: seen.append(out.shape))
    try:
        projected_gradients(lm, batch_of(samples), FactoredProjection(block_linears(lm.model), width=4))
    finally:
        handle.remove()
    assert [tuple(shape) for shape in seen] == [(1, 7 + 4 + 1 + 3, 61)]


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.bfloat16, 0.06), (torch.float16, 0.01)])
def test_half_precision_is_close(dtype, tolerance, model_of, samples, batch_of):
    exact, half = model_of("llama"), model_of("llama", dtype=dtype)
    truth = projected_gradients(exact, batch_of(samples), FactoredProjection(block_linears(exact.model), width=8))[0]
    found = projected_gradients(half, batch_of(samples), FactoredProjection(block_linears(half.model), width=8))[0]
    assert found.dtype == torch.float32
    assert torch.nn.functional.cosine_similarity(truth, found).min() > 1 - tolerance


def test_compressed_gradients_are_projected_again(model_of, samples, batch_of):
    lm = model_of("llama")
    sites = block_linears(lm.model)
    plain = FactoredProjection(sites, width=8)
    small = FactoredProjection(sites, width=8, compress=32)
    grads, _, norm = projected_gradients(lm, batch_of(samples), small)
    torch.testing.assert_close(grads, small.hadamard(projected_gradients(lm, batch_of(samples), plain)[0]))
    torch.testing.assert_close(norm, grads.norm(dim=1))


@pytest.mark.parametrize("length", [3, 40])
def test_both_forms_of_the_ghost_norm(length, monkeypatch):
    generator = torch.Generator().manual_seed(0)
    g, a = torch.randn(5, length, 6, generator=generator), torch.randn(5, length, 7, generator=generator)
    expected = torch.einsum("bto,bti->boi", g, a).square().sum(dim=(1, 2))
    torch.testing.assert_close(ghost_squared_norm(g, a).float(), expected, rtol=1e-4, atol=1e-4)
    monkeypatch.setattr("engine.gradients.layers.GHOST_ELEMENTS", 50)
    torch.testing.assert_close(ghost_squared_norm(g, a).float(), expected, rtol=1e-4, atol=1e-4)


def test_an_unknown_norm_is_refused(model_of, samples, batch_of):
    lm = model_of("llama")
    with pytest.raises(EngineError, match="projected, ghost"):
        projected_gradients(lm, batch_of(samples), FactoredProjection(block_linears(lm.model)), norm="true")


def test_layers_of_another_model_are_refused(model_of, samples, batch_of):
    projection = FactoredProjection(block_linears(model_of("gpt2").model))
    with pytest.raises(EngineError, match="belongs to this model"):
        projected_gradients(model_of("llama"), batch_of(samples), projection)


class Looped(nn.Module):
    """A model whose one block is applied twice and holds two modules with one weight."""

    def __init__(self, regroup: bool = False):
        super().__init__()
        self.embed = nn.Embedding(61, 8)
        block = nn.Module()
        block.first, block.second = nn.Linear(8, 8), nn.Linear(8, 8, bias=False)
        block.second.weight = block.first.weight
        self.regroup = regroup
        block.forward = self.step
        self.layers = nn.ModuleList([block])
        self.head = nn.Linear(8, 61)

    def step(self, hidden_states):
        block = self.layers[0]
        if self.regroup:
            return hidden_states + block.first(hidden_states.flatten(0, 1)[1:]).mean()
        return hidden_states + torch.tanh(block.second(torch.tanh(block.first(hidden_states))))

    def forward(self, input_ids, attention_mask=None, use_cache=False):
        hidden = self.embed(input_ids)
        for _ in range(2):
            hidden = self.layers[0](hidden)
            if self.regroup:
                break
        return SimpleNamespace(logits=self.head(hidden))


@dataclass
class Holder:
    model: nn.Module
    device: torch.device


def looped(**options) -> Holder:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Holder(Looped(**options).requires_grad_(False), torch.device("cpu"))


def test_a_weight_used_several_times_has_its_cross_terms(samples, batch_of, gradient_oracle):
    lm = looped()
    projection = FactoredProjection(block_linears(lm.model), width=4)
    assert len(projection.sites) == 1
    grads, _, norm = projected_gradients(lm, batch_of(samples), projection, norm="ghost")
    for row, sample in enumerate(samples):
        expected, true_norm = projected_oracle(lm, projection, sample, gradient_oracle)
        torch.testing.assert_close(grads[row], expected, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(norm[row], true_norm, rtol=1e-4, atol=1e-6)


def test_layers_that_regroup_tokens_are_refused(samples, batch_of):
    lm = looped(regroup=True)
    with pytest.raises(EngineError, match="regroup tokens"):
        projected_gradients(lm, batch_of(samples), FactoredProjection(block_linears(lm.model)))
    assert all(not m._forward_hooks for m in lm.model.modules())


def test_projected_inner_products_are_unbiased(model_of, samples, batch_of):
    lm = model_of("llama")
    sites = block_linears(lm.model)
    exact = projected_gradients(lm, batch_of(samples), FactoredProjection(sites, width=EXACT))[0]
    found = []
    for seed in range(60):
        grads = projected_gradients(lm, batch_of(samples), FactoredProjection(sites, width=10, seed=seed))[0]
        found.append((grads @ grads.T).numpy())
    error = np.std(found, axis=0) / np.sqrt(len(found))
    assert (np.abs(np.mean(found, axis=0) - (exact @ exact.T).numpy()) < 4 * error).all()
    assert (error < 0.1 * np.outer(exact.norm(dim=1), exact.norm(dim=1))).all()


def conditioning(sites):
    generator = torch.Generator().manual_seed(3)
    return [
        None if k == 1 else torch.rand(s.out_features, s.in_features, generator=generator) for k, s in enumerate(sites)
    ]


def conditioned_oracle(lm, projection, scale, sample, gradient_oracle):
    gradients = [g.float() for g in gradient_oracle(lm, list(projection.sites), sample)]
    gradients = [g if a is None else a * g for g, a in zip(gradients, scale)]
    parts = [projection.project_matrix(s, g[None])[0] for s, g in zip(projection.sites, gradients)]
    joined = projection.finish(torch.cat(parts)[None])[0]
    return joined, torch.cat([g.flatten() for g in gradients]).norm()


@pytest.mark.parametrize("kind", [FactoredProjection, LayerHadamard])
@pytest.mark.parametrize(("name", "attention"), [("llama", "sdpa"), ("gpt2", "eager"), ("neox", "sdpa")])
def test_conditioned_gradients_against_autograd(
    kind, name, attention, model_of, samples, batch_of, gradient_oracle, monkeypatch
):
    lm = model_of(name, attention)
    projection = kind(block_linears(lm.model), width=6, seed=1, compress=50)
    scale = conditioning(projection.sites)
    found = projected_gradients(lm, batch_of(samples, pad_to=14), projection, norm="ghost", scale=scale)
    for row, sample in enumerate(samples):
        expected, true_norm = conditioned_oracle(lm, projection, scale, sample, gradient_oracle)
        torch.testing.assert_close(found[0][row], expected, rtol=1e-3, atol=1e-3 * float(expected.abs().max()))
        torch.testing.assert_close(found[2][row], true_norm, rtol=2e-4, atol=1e-6)
    monkeypatch.setitem(layers.EXPLICIT_ELEMENTS, "cpu", 1)
    again = projected_gradients(lm, batch_of(samples, pad_to=14), projection, norm="ghost", scale=scale)
    for chunked, whole in zip(again, found):
        torch.testing.assert_close(chunked, whole, rtol=1e-4, atol=1e-5)


def test_a_layer_hadamard_without_a_scale(model_of, samples, batch_of, gradient_oracle):
    lm = model_of("llama")
    projection = LayerHadamard(block_linears(lm.model), width=6)
    nothing = [None] * len(projection.sites)
    grads, _, norm = projected_gradients(lm, batch_of(samples), projection)
    for row, sample in enumerate(samples):
        expected, _ = conditioned_oracle(lm, projection, nothing, sample, gradient_oracle)
        torch.testing.assert_close(grads[row], expected, rtol=1e-3, atol=1e-3 * float(expected.abs().max()))
    torch.testing.assert_close(norm, grads.norm(dim=1))


def test_a_conditioned_row_that_is_silent_or_overflows_stays_alone(model_of, samples, samples_of, batch_of):
    lm = SimpleNamespace(model=copy.deepcopy(model_of("llama").model), device=torch.device("cpu"))
    projection = LayerHadamard(block_linears(lm.model), width=6)
    scale = conditioning(projection.sites)
    rows = [samples[0], *samples_of([5], [5]), samples[1]]
    expected = projected_gradients(lm, batch_of(rows), projection, norm="ghost", scale=scale)

    def poison(module, args, output):
        output = output.clone()
        output[2] = torch.inf
        return output

    lm.model.get_input_embeddings().register_forward_hook(poison)
    grads, loss, norm = projected_gradients(lm, batch_of(rows), projection, norm="ghost", scale=scale)
    torch.testing.assert_close(grads[:2], expected[0][:2])
    torch.testing.assert_close(norm[:2], expected[2][:2])
    assert norm[1] == 0 and grads[1].abs().max() == 0 and loss[1].isnan()
    assert not norm[2].isfinite() and not grads[2].isfinite().any()


def test_a_scale_that_does_not_fit_is_refused(model_of, samples, batch_of):
    lm = model_of("llama")
    projection = FactoredProjection(block_linears(lm.model), width=4)
    with pytest.raises(EngineError, match="for each of 21 layers; got 2"):
        projected_gradients(lm, batch_of(samples), projection, scale=[None, None])
