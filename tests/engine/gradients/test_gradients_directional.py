"""Directional products against the true derivative, in both modes; weights given back; noise refused."""

import copy
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from engine.errors import EngineError
from engine.gradients import directional
from engine.gradients.directional import Directional, perturbed
from engine.gradients.exact import conditioned, exact_products, weighted_gradient
from engine.gradients.parameters import block_linears
from engine.gradients.subsets import ParameterChoice, choose_sites

CASES = [(name, attention) for name in ("llama", "gpt2", "neox") for attention in ("sdpa", "eager")]
EVERYTHING = ParameterChoice(embeddings=True, norms=True)


def own(lm):
    """A model of one's own, which may be changed."""
    return SimpleNamespace(model=copy.deepcopy(lm.model), device=lm.device)


@pytest.fixture
def directions(samples_of, batch_of):
    """The summed gradients of two little sets of other rows."""

    def make(lm, sites):
        sets = [samples_of([9, 12], [3, 5], seed=seed) for seed in (5, 6)]
        return [weighted_gradient(lm, [batch_of(rows)], [[1.0, 1.0]], sites) for rows in sets]

    return make


@pytest.mark.parametrize("mode", ["difference", "forward"])
@pytest.mark.parametrize(("name", "attention"), CASES)
def test_against_the_true_derivative(mode, name, attention, model_of, samples, batch_of, directions):
    lm = own(model_of(name, attention))
    sites = choose_sites(lm.model, EVERYTHING).sites
    chosen = directions(lm, sites)
    batch = batch_of(samples, pad_to=14)
    truth, _, losses = exact_products(lm, batch, chosen, sites)
    measure = Directional(lm, sites, chosen, mode=mode)
    found, found_losses = measure(batch)
    tolerance = 1e-3 if mode == "forward" else 5e-2
    assert (found - truth).norm() / truth.norm() < tolerance
    torch.testing.assert_close(found_losses, losses, rtol=1e-5 if mode == "forward" else 5e-2, atol=1e-4)
    assert measure.checked.rows == 4 and measure.checked.relative_error < tolerance and measure.checked.spearman > 0.99


def test_ranks_are_those_of_the_true_derivative(model_of, samples_of, batch_of, directions):
    lm = own(model_of("llama"))
    sites = block_linears(lm.model)
    rows = samples_of([6 + k % 9 for k in range(40)], [2 + k % 4 for k in range(40)], seed=3)
    chosen = directions(lm, sites)
    measure = Directional(lm, sites, chosen)
    check = measure.check(batch_of(rows), rows=40)
    assert check.rows == 40 and check.spearman > 0.999 and check.relative_error < 0.02
    assert check.epsilon == measure.epsilon


def test_padding_company_and_shards_do_not_matter(model_of, samples, batch_of, directions):
    lm = own(model_of("llama"))
    sites = block_linears(lm.model)
    for mode in ("difference", "forward"):
        measure = Directional(lm, sites, directions(lm, sites), mode=mode, epsilon=0.02)
        together, losses = measure(batch_of(samples, pad_to=20, pad_id=7))
        order = [2, 0, 3, 1]
        permuted = measure(batch_of([samples[k] for k in order]))[0]
        shard = measure.shard([batch_of([sample]) for sample in samples])
        close = {"rtol": 1e-3, "atol": 2e-3 * float(together.abs().max())}
        torch.testing.assert_close(permuted, together[order], **close)
        torch.testing.assert_close(torch.cat([p for p, _ in shard]), together, **close)
        torch.testing.assert_close(torch.cat([loss for _, loss in shard]), losses, rtol=1e-4, atol=1e-5)


def test_a_shard_moves_the_weights_twice_per_direction(model_of, samples, batch_of, directions, monkeypatch):
    lm = own(model_of("llama"))
    sites = block_linears(lm.model)
    measure = Directional(lm, sites, directions(lm, sites), epsilon=0.02)
    measure.check(batch_of(samples))
    steps = []

    def counted(chosen):
        context = perturbed(chosen)

        class Counting:
            def __enter__(self):
                move = context.__enter__()
                return lambda unit, step: (steps.append(step), move(unit, step))

            def __exit__(self, *reason):
                return context.__exit__(*reason)

        return Counting()

    monkeypatch.setattr(directional, "perturbed", counted)
    measure.shard([batch_of([sample]) for sample in samples])
    assert steps == [0.02, -0.02, 0.02, -0.02]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_the_weights_are_given_back_bit_for_bit(dtype, model_of):
    lm = own(model_of("gpt2", dtype=dtype))
    sites = choose_sites(lm.model, EVERYTHING).sites
    before = {name: p.clone() for name, p in lm.model.named_parameters()}
    unit = tuple(torch.ones(s.out_features, s.in_features) for s in sites)
    with perturbed(sites) as move:
        move(unit, 0.37)
        assert all(not torch.equal(s.weight, before_) for s, before_ in zip(sites, [s.weight * 0 for s in sites]))
        move(unit, -0.37)
    assert all(torch.equal(p, before[name]) for name, p in lm.model.named_parameters())
    with pytest.raises(ZeroDivisionError), perturbed(sites) as move:
        move(unit, 0.37)
        assert not torch.equal(lm.model.transformer.wte.weight, before["transformer.wte.weight"])
        raise ZeroDivisionError
    assert all(torch.equal(p, before[name]) for name, p in lm.model.named_parameters())


def test_an_error_on_the_way_gives_the_weights_back(model_of, samples, batch_of, directions):
    lm = own(model_of("llama"))
    sites = block_linears(lm.model)
    measure = Directional(lm, sites, directions(lm, sites), epsilon=0.02)
    measure.check(batch_of(samples))
    before = [site.weight.clone() for site in sites]

    def fail(*args):
        raise RuntimeError("out of memory")

    handle = lm.model.model.layers[2].register_forward_hook(fail)
    with pytest.raises(RuntimeError, match="out of memory"):
        measure(batch_of(samples))
    handle.remove()
    assert all(torch.equal(site.weight, old) for site, old in zip(sites, before))


def test_the_check_chooses_a_step_only_where_it_is_free(model_of, samples, batch_of, directions):
    lm = own(model_of("llama"))
    sites = block_linears(lm.model)
    chosen = directions(lm, sites)
    given = Directional(lm, sites, chosen, epsilon=0.05)
    assert given.check(batch_of(samples)).epsilon == 0.05 == given.epsilon
    free = Directional(lm, sites, chosen)
    suggested = free.epsilon
    assert 0.015 < suggested < 0.025
    assert free.check(batch_of(samples)).epsilon in [suggested * f for f in directional.LADDER]


def test_a_step_that_measures_nothing_is_refused(model_of, samples, batch_of, directions):
    lm = own(model_of("llama"))
    sites = block_linears(lm.model)
    before = [site.weight.clone() for site in sites]
    for epsilon in (1e-9, 100.0):
        with pytest.raises(EngineError, match=r"off by .*Give another epsilon"):
            Directional(lm, sites, directions(lm, sites), epsilon=epsilon)(batch_of(samples))
    assert all(torch.equal(site.weight, old) for site, old in zip(sites, before))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_refused_when_it_is_noise(dtype, model_of, samples, batch_of, directions):
    exact, lm = model_of("llama"), own(model_of("llama", dtype=dtype))
    sites = block_linears(lm.model)
    chosen = directions(exact, block_linears(exact.model))
    with pytest.raises(EngineError, match=r"lost in the rounding.*float32"):
        Directional(lm, sites, chosen, epsilon=1e-4)
    before = [site.weight.clone() for site in sites]
    with pytest.raises(EngineError, match=r"off by .*Load the model in float32"):
        Directional(lm, sites, chosen).check(batch_of(samples), tolerance=1e-3)
    assert all(torch.equal(site.weight, old) for site, old in zip(sites, before))
    measure = Directional(lm, sites, chosen)  # a toy bears a step so large that some of it is left, and it is checked
    measure(batch_of(samples))
    assert 1e-3 < measure.checked.relative_error < directional.TOLERANCE


def test_forward_mode_bears_half_precision_as_far_as_the_check_says(model_of, samples, batch_of, directions):
    lm = own(model_of("llama", dtype=torch.bfloat16))
    sites = block_linears(lm.model)
    measure = Directional(lm, sites, directions(lm, sites), mode="forward")
    measure(batch_of(samples))
    assert measure.checked.relative_error < 0.1 and measure.checked.epsilon is None


@pytest.mark.parametrize("mode", ["difference", "forward"])
def test_silent_rows_and_overflow_stay_alone(mode, model_of, samples, samples_of, batch_of, directions):
    lm = own(model_of("llama"))
    clean = own(model_of("llama"))
    poison = next(t for t in samples[1].ids if all(t not in s.ids for k, s in enumerate(samples) if k != 1))
    lm.model.get_input_embeddings().weight[poison] = torch.inf
    lm.model.get_output_embeddings().weight = nn.Parameter(clean.model.lm_head.weight.clone(), False)
    chosen = directions(clean, block_linears(clean.model))
    rows = [samples[0], *samples_of([7, 1], [7, 0], seed=8), samples[1], samples[2]]
    rows[1] = samples_of([7], [7], seed=21)[0]
    measure = Directional(lm, block_linears(lm.model), chosen, mode=mode, epsilon=0.02)
    products, losses = measure(batch_of(rows))
    assert losses.isnan().tolist()[1:3] == [True, True] and products[1:3].abs().max() == 0
    assert products[3].isnan().all()
    whole = Directional(clean, block_linears(clean.model), chosen, mode=mode, epsilon=0.02)
    expected = whole(batch_of([samples[0], samples[2]]))[0]
    torch.testing.assert_close(products[[0, 4]], expected, rtol=1e-2, atol=1e-2 * float(expected.abs().max()))
    nothing, none = measure(batch_of(rows[1:3]))
    assert nothing.abs().max() == 0 and none.isnan().all()


def test_a_zero_direction_has_products_of_zero(model_of, samples, batch_of):
    lm = own(model_of("llama"))
    sites = block_linears(lm.model)
    nothing = tuple(torch.zeros(s.out_features, s.in_features) for s in sites)
    for mode in ("difference", "forward"):
        assert Directional(lm, sites, [nothing], mode=mode)(batch_of(samples))[0].abs().max() == 0


def test_a_conditioned_score_takes_the_conditioned_direction(model_of, samples, batch_of, directions):
    lm = own(model_of("neox"))
    sites = block_linears(lm.model)
    chosen = directions(lm, sites)
    scale = [
        torch.rand(s.out_features, s.in_features, generator=torch.Generator().manual_seed(k))
        for k, s in enumerate(sites)
    ]
    truth = exact_products(lm, batch_of(samples), chosen, sites, scale=scale)[0]
    found = Directional(lm, sites, [conditioned(u, scale, sites) for u in chosen], mode="forward")(batch_of(samples))[0]
    torch.testing.assert_close(found, truth, rtol=1e-3, atol=1e-4 * float(truth.abs().max()))


def test_many_directions_in_forward_mode_go_in_chunks(model_of, samples, batch_of, directions, monkeypatch):
    lm = own(model_of("llama"))
    sites = block_linears(lm.model)
    chosen = [*directions(lm, sites)] * 2
    whole = Directional(lm, sites, chosen, mode="forward")(batch_of(samples))[0]
    monkeypatch.setattr(directional, "TANGENTS_AT_ONCE", 3)
    torch.testing.assert_close(Directional(lm, sites, chosen, mode="forward")(batch_of(samples))[0], whole)


def test_notes_say_how(model_of, directions):
    lm = model_of("llama")
    sites = block_linears(lm.model)
    assert "central differences" in Directional(own(lm), sites, directions(lm, sites)).notes[0]
    assert "math form" in Directional(lm, sites, directions(lm, sites), mode="forward").notes[0]
    eager = model_of("llama", "eager")
    chosen = directions(eager, block_linears(eager.model))
    assert "eager" in Directional(eager, block_linears(eager.model), chosen, mode="forward").notes[0]


@pytest.mark.parametrize(
    ("options", "says"), [({"mode": "backward"}, "difference, forward"), ({"epsilon": 0.0}, "above 0")]
)
def test_impossible_settings_are_refused(options, says, model_of, directions):
    lm = model_of("llama")
    sites = block_linears(lm.model)
    with pytest.raises(EngineError, match=says):
        Directional(lm, sites, directions(lm, sites), **options)


def test_fused_attention_without_forward_mode_is_refused(model_of, directions):
    lm = own(model_of("llama"))
    sites = block_linears(lm.model)
    chosen = directions(lm, sites)
    lm.model.config._attn_implementation = "flash_attention_2"
    with pytest.raises(EngineError, match="eager or sdpa"):
        Directional(lm, sites, chosen, mode="forward")
