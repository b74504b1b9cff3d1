"""Exact products, norms and weighted sums against autograd one row at a time, by both forms, with what must not be."""

import copy
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from engine.errors import EngineError
from engine.gradients import exact, layers
from engine.gradients.exact import (
    conditioned,
    exact_products,
    gradient_norms,
    stack_directions,
    weighted_gradient,
    weighted_gradients,
)
from engine.gradients.parameters import block_linears
from engine.gradients.subsets import ParameterChoice, choose_sites

CASES = [(name, attention) for name in ("llama", "gpt2", "neox") for attention in ("sdpa", "eager")]
CLOSE = {"rtol": 2e-4, "atol": 1e-5}


def random_direction(sites, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return tuple(torch.randn(s.out_features, s.in_features, generator=generator) for s in sites)


def random_scale(sites):
    return [None if k % 3 == 0 else a.square() for k, a in enumerate(random_direction(sites, seed=9))]


def flat(matrices):
    return torch.cat([m.flatten() for m in matrices])


def oracle(lm, sites, sample, gradient_oracle, scale=None):
    gradients = [g.float() for g in gradient_oracle(lm, list(sites), sample)]
    gradients = [g.reshape(s.out_features, s.in_features) for g, s in zip(gradients, sites)]
    return flat(g if a is None else a * g for g, a in zip(gradients, scale or [None] * len(sites)))


def check_against_autograd(lm, sites, samples, batch, gradient_oracle, loss_oracle, scale=None, norm=True):
    directions = [random_direction(sites, seed) for seed in range(2)]
    products, norms, losses = exact_products(lm, batch, directions, sites, scale=scale, norm=norm)
    assert products.dtype == norms.dtype == losses.dtype == torch.float32
    for row, sample in enumerate(samples):
        truth = oracle(lm, sites, sample, gradient_oracle, scale)
        size = float(truth.norm()) * float(flat(directions[0]).norm())
        expected = torch.stack([truth @ flat(u) for u in directions])
        torch.testing.assert_close(products[row], expected, rtol=1e-3, atol=2e-5 * size)
        if norm:
            torch.testing.assert_close(norms[row], truth.norm(), rtol=2e-4, atol=1e-6)
        torch.testing.assert_close(losses[row], loss_oracle(lm.model, sample), rtol=1e-5, atol=1e-5)
    if not norm:
        assert norms.isnan().all()
    alone = gradient_norms(lm, batch, sites, scale=scale)
    expected_norms = torch.stack([oracle(lm, sites, s, gradient_oracle, scale).norm() for s in samples])
    torch.testing.assert_close(alone[0], expected_norms, rtol=2e-4, atol=1e-6)


@pytest.mark.parametrize("form", ["token", "explicit"])
@pytest.mark.parametrize(("name", "attention"), CASES)
def test_against_autograd(
    form, name, attention, model_of, samples, batch_of, gradient_oracle, loss_oracle, monkeypatch
):
    monkeypatch.setattr(layers, "_token_form_is_cheaper", lambda *args: form == "token")
    lm = model_of(name, attention)
    batch = batch_of(samples, pad_to=14)
    check_against_autograd(lm, block_linears(lm.model), samples, batch, gradient_oracle, loss_oracle)


@pytest.mark.parametrize("norm", [True, False])
@pytest.mark.parametrize("name", ["llama", "gpt2"])
def test_preconditioned(name, norm, model_of, samples, batch_of, gradient_oracle, loss_oracle):
    lm = model_of(name)
    sites = block_linears(lm.model)
    check_against_autograd(
        lm, sites, samples, batch_of(samples), gradient_oracle, loss_oracle, random_scale(sites), norm=norm
    )


def test_preconditioned_products_in_token_form(model_of, samples, batch_of, monkeypatch):
    lm = model_of("neox")
    sites = block_linears(lm.model)
    scale, directions = random_scale(sites), [random_direction(sites)]
    explicit = exact_products(lm, batch_of(samples), directions, sites, scale=scale)[0]
    by_direction = exact_products(lm, batch_of(samples), [conditioned(directions[0], scale, sites)], sites)[0]
    torch.testing.assert_close(by_direction, explicit, rtol=1e-3, atol=1e-3)
    monkeypatch.setattr(layers, "_token_form_is_cheaper", lambda *args: True)
    token = exact_products(lm, batch_of(samples), directions, sites, scale=scale, norm=False)[0]
    torch.testing.assert_close(token, explicit, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    ("length", "out", "into", "count", "scaled", "norm", "token"),
    [
        (4, 300, 300, 1, False, True, False),  # the norm's T²(in + out) is more than 2·in·out is saved
        (200, 64, 64, 1, False, False, True),
        (200, 64, 64, 2, False, False, False),
        (200, 64, 64, 1, False, True, False),
        (200, 64, 64, 1, True, True, False),
        (2, 9000, 9000, 1, False, True, True),
        (2, 64, 64, 0, False, True, False),
    ],
)
def test_the_form_with_fewer_multiplications_is_taken(length, out, into, count, scaled, norm, token):
    g, a = torch.empty(1, length, out, device="meta"), torch.empty(1, length, into, device="meta")
    expected = count * length * into * out + norm * length**2 * (into + out)
    explicit = length * into * out + (count + norm) * into * out
    found = layers._token_form_is_cheaper(g, a, count, scaled, norm)
    assert found == (count > 0 and not (scaled and norm) and expected < explicit)
    if length != 4:
        assert found == token


def test_chunks_of_rows_change_nothing(model_of, samples, batch_of, monkeypatch):
    lm = model_of("llama")
    sites = block_linears(lm.model)
    directions = stack_directions([random_direction(sites, k) for k in range(3)], sites)
    whole = exact_products(lm, batch_of(samples), directions, sites)
    monkeypatch.setitem(layers.EXPLICIT_ELEMENTS, "cpu", 1)
    monkeypatch.setattr(layers, "GHOST_ELEMENTS", 1)
    for found, expected in zip(exact_products(lm, batch_of(samples), directions, sites), whole):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_never_more_than_a_few_numbers_of_one_layer(model_of, samples, batch_of, monkeypatch):
    lm = model_of("llama")
    sites = block_linears(lm.model)
    monkeypatch.setitem(layers.EXPLICIT_ELEMENTS, "cpu", 2000)
    held = []
    plain = layers.layer_gradients

    def watched(*args):
        for rows, gradient in plain(*args):
            held.append(gradient.numel())
            yield rows, gradient

    monkeypatch.setattr(layers, "layer_gradients", watched)
    exact_products(lm, batch_of(samples), [random_direction(sites)] * 2, sites, scale=random_scale(sites))
    assert held and max(held) <= max(2000, 24 * 40)


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_padding_company_and_order_do_not_matter(attention, model_of, samples, batch_of):
    lm = model_of("llama", attention)
    chosen = choose_sites(lm.model, ParameterChoice(embeddings=True, norms=True))
    directions = stack_directions([random_direction(chosen.sites, k) for k in range(2)], chosen.sites)
    scale = random_scale(chosen.sites)
    together = exact_products(lm, batch_of(samples, pad_to=20, pad_id=7), directions, chosen.sites, scale=scale)
    order = [2, 0, 3, 1]
    permuted = exact_products(lm, batch_of([samples[k] for k in order]), directions, chosen.sites, scale=scale)
    for mixed, there in zip(permuted, together):
        torch.testing.assert_close(mixed, there[order], rtol=1e-3, atol=1e-3)
    for row, sample in enumerate(samples):
        alone = exact_products(lm, batch_of([sample]), directions, chosen.sites, scale=scale)
        for one, many in zip(alone, together):
            torch.testing.assert_close(many[row], one[0], rtol=1e-3, atol=1e-3)


def test_a_row_without_response_is_zero(model_of, samples, samples_of, batch_of):
    lm = model_of("llama")
    sites = block_linears(lm.model)
    silent = samples_of([7, 1], [7, 0])
    products, norms, losses = exact_products(lm, batch_of([samples[0], *silent]), [random_direction(sites)], sites)
    assert losses.isnan().tolist() == [False, True, True]
    assert products[1:].abs().max() == 0 and norms.tolist()[1:] == [0.0, 0.0] and norms[0] > 0
    products, norms, losses = exact_products(lm, batch_of(silent), [random_direction(sites)], sites)
    assert losses.isnan().all() and products.abs().max() == 0 and norms.abs().max() == 0


@pytest.fixture
def poisoned(model_of, samples):
    """A model that overflows on the second row alone."""
    lm = SimpleNamespace(model=copy.deepcopy(model_of("llama").model), device=torch.device("cpu"))
    poison = next(t for t in samples[1].ids if all(t not in s.ids for k, s in enumerate(samples) if k != 1))
    lm.model.get_input_embeddings().weight[poison] = torch.inf
    lm.model.get_output_embeddings().weight = nn.Parameter(model_of("llama").model.lm_head.weight.clone(), False)
    return lm


@pytest.mark.parametrize("scaled", [False, True])
def test_a_row_that_overflows_stays_alone(scaled, poisoned, samples, batch_of):
    sites = block_linears(poisoned.model)
    scale = random_scale(sites) if scaled else None
    clean = [0, 2, 3]
    found = exact_products(poisoned, batch_of(samples), [random_direction(sites)], sites, scale=scale)
    assert not any(values[1].isfinite().any() for values in found)
    without = exact_products(
        poisoned, batch_of([samples[k] for k in clean]), [random_direction(sites)], sites, scale=scale
    )
    for values, expected in zip(found, without):
        torch.testing.assert_close(values[clean], expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", ["llama", "gpt2"])
def test_weighted_sums(name, model_of, samples, batch_of, gradient_oracle):
    lm = model_of(name)
    sites = block_linears(lm.model)
    rows = torch.stack([oracle(lm, sites, s, gradient_oracle) for s in samples])
    batches = [batch_of(samples[:3]), batch_of(samples[3:])]
    one = torch.tensor([0.5, -1.0, 2.0, 0.25])
    found = weighted_gradient(lm, batches, one.split([3, 1]), sites)
    assert [tuple(u.shape) for u in found] == [(s.out_features, s.in_features) for s in sites]
    torch.testing.assert_close(flat(found), one @ rows, **CLOSE)
    several = torch.stack([one, one.flip(0), torch.ones(4)], dim=1)
    many = weighted_gradients(lm, batches, several.split([3, 1]), sites)
    assert many.used.all() and many.losses.isfinite().all()
    for j, direction in enumerate(many.directions):
        torch.testing.assert_close(flat(direction), several[:, j] @ rows, **CLOSE)


def test_rows_that_are_not_numbers_are_left_out_of_sums(poisoned, samples, samples_of, batch_of):
    sites = block_linears(poisoned.model)
    rows = [*samples, *samples_of([5], [5])]
    weights = torch.tensor([[1.0], [1.0], [2.0], [torch.nan], [1.0]])
    found = weighted_gradients(poisoned, [batch_of(rows)], [weights], sites)
    assert found.used.tolist() == [True, False, True, False, False]
    expected = weighted_gradient(poisoned, [batch_of([rows[0], rows[2]])], [[1.0, 2.0]], sites)
    torch.testing.assert_close(flat(found.directions[0]), flat(expected), **CLOSE)


def test_a_gradient_that_overflows_late_is_left_out_of_every_layer(model_of, samples, batch_of, monkeypatch):
    lm = model_of("llama")
    sites = block_linears(lm.model)

    plain = exact.backward

    def broken(lm, batch, sites, consume):
        def spoil(index, signal, inputs):
            signal = signal.clone()
            if index == 0:  # the first block is reached last
                signal[1] = torch.nan
            consume(index, signal, inputs)

        return plain(lm, batch, sites, spoil)

    monkeypatch.setattr(exact, "backward", broken)
    found = weighted_gradients(lm, [batch_of(samples)], [torch.ones(4, 1)], sites)
    monkeypatch.setattr(exact, "backward", plain)
    assert found.used.tolist() == [True, False, True, True]
    expected = weighted_gradient(lm, [batch_of([samples[k] for k in (0, 2, 3)])], [[1.0] * 3], sites)
    torch.testing.assert_close(flat(found.directions[0]), flat(expected), **CLOSE)


def test_no_usable_row_is_refused(model_of, samples_of, batch_of):
    lm = model_of("llama")
    with pytest.raises(EngineError, match="no direction to follow"):
        weighted_gradient(lm, [batch_of(samples_of([4, 5], [4, 5]))], [[1.0, 1.0]], block_linears(lm.model))
    with pytest.raises(EngineError, match="no direction to follow"):
        weighted_gradient(lm, [], [], block_linears(lm.model))


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.bfloat16, 0.06), (torch.float16, 0.01)])
def test_half_precision_is_close(dtype, tolerance, model_of, samples, batch_of):
    single, half = model_of("llama"), model_of("llama", dtype=dtype)
    sites, narrow = block_linears(single.model), block_linears(half.model)
    direction = weighted_gradient(single, [batch_of(samples)], [[1.0] * 4], sites)
    truth = exact_products(single, batch_of(samples), [direction], sites)
    found = exact_products(half, batch_of(samples), [direction], narrow)
    for value, expected in zip(found, truth):
        assert value.dtype == torch.float32
        assert (value - expected).norm() / expected.norm() < tolerance
    close = weighted_gradient(half, [batch_of(samples)], [[1.0] * 4], narrow)
    assert (flat(close) - flat(direction)).norm() / flat(direction).norm() < tolerance


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda u: [], "No direction"),
        (lambda u: [u[:-1]], "do not fit"),
        (lambda u: [u, (u[0].T.contiguous()[:3], *u[1:])], "Direction 1"),
        (lambda u: [(u[0] * torch.nan, *u[1:])], "not finite in 1 of 21"),
    ],
)
def test_directions_that_do_not_fit_are_refused(spoil, says, model_of, samples, batch_of):
    lm = model_of("llama")
    sites = block_linears(lm.model)
    with pytest.raises(EngineError, match=says):
        exact_products(lm, batch_of(samples), spoil(random_direction(sites)), sites)


def test_weights_and_scales_that_do_not_fit_are_refused(model_of, samples, batch_of):
    lm = model_of("llama")
    sites = block_linears(lm.model)
    with pytest.raises(EngineError, match="samples need weights"):
        weighted_gradients(lm, [batch_of(samples)], [torch.ones(3, 1)], sites)
    with pytest.raises(EngineError, match="one tensor"):
        gradient_norms(lm, batch_of(samples), sites, scale=[None])
    with pytest.raises(EngineError, match="q_proj: \\(2, 2\\)"):
        gradient_norms(lm, batch_of(samples), sites, scale=[torch.ones(2, 2), *[None] * 20])


def test_the_model_is_left_as_it_was(model_of, samples, batch_of):
    model = copy.deepcopy(model_of("llama").model)
    before = {name: p.clone() for name, p in model.named_parameters()}
    lm = SimpleNamespace(model=model, device=torch.device("cpu"))
    sites = choose_sites(model, ParameterChoice(embeddings=True, norms=True)).sites
    exact_products(lm, batch_of(samples), [random_direction(sites)], sites)
    weighted_gradient(lm, [batch_of(samples)], [[1.0] * 4], sites)
    assert all(p.grad is None and torch.equal(p, before[name]) for name, p in model.named_parameters())
    assert all(not m._forward_hooks and not m._forward_pre_hooks for m in model.modules())
