"""Curvature products against finite differences of gradients and an explicit Hessian, in several architectures."""

import copy
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from torch.func import functional_call

from engine.errors import EngineError
from engine.gradients.hessian import TargetLoss
from engine.gradients.parameters import block_linears
from engine.gradients.subsets import ParameterChoice, choose_sites
from engine.gradients.unprojected import row_gradients

CASES = [("llama", "sdpa"), ("llama", "eager"), ("gpt2", "sdpa"), ("neox", "eager"), ("gemma2", "eager")]


def flat(parts):
    return torch.cat([part.flatten() for part in parts])


def unflat(vector, sites):
    parts = vector.split([s.out_features * s.in_features for s in sites])
    return [part.reshape(s.out_features, s.in_features) for s, part in zip(sites, parts)]


def directions(sites, count=1, seed=0):
    generator = torch.Generator().manual_seed(seed)
    made = [[torch.randn(s.out_features, s.in_features, generator=generator) for s in sites] for _ in range(count)]
    return [[part / flat(one).norm() for part in one] for one in made]


def moved(lm, sites, direction, size):
    """A copy of the model whose weights are moved along a direction."""
    model = copy.deepcopy(lm.model)
    with torch.no_grad():
        for site, part in zip(sites, direction):
            model.get_submodule(site.name).weight.add_(size * (part.T if site.transposed else part))
    return SimpleNamespace(model=model, device=lm.device)


def mean_gradient(lm, sites, samples, gradient_oracle):
    own = [SimpleNamespace(weight=lm.model.get_submodule(s.name).weight, transposed=s.transposed) for s in sites]
    rows = [flat(gradient_oracle(lm, own, sample)) for sample in samples]
    return torch.stack(rows).double().mean(dim=0)


@pytest.mark.parametrize(("name", "attention"), CASES)
def test_against_differences_of_gradients(name, attention, model_of, samples, batch_of, gradient_oracle, true_double):
    lm = model_of(name, attention, torch.float64)
    sites = block_linears(lm.model)
    target = TargetLoss(lm, sites, [batch_of(samples, pad_to=13)])
    torch.testing.assert_close(
        flat(target.gradient()).double(),
        mean_gradient(lm, sites, samples, gradient_oracle), rtol=1e-5, atol=1e-6,
    )  # fmt: skip
    (direction,) = directions(sites)
    size = 1e-5
    ends = [
        mean_gradient(moved(lm, sites, direction, sign * size), sites, samples, gradient_oracle) for sign in (1, -1)
    ]
    expected = (ends[0] - ends[1]) / (2 * size)
    found = flat(target.product(direction)).double()
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5 * float(expected.abs().max()))
    assert target.notes[0].startswith("Curvature runs under " + ("the math form" if attention == "sdpa" else "eager"))


def twice(function):
    """The explicit Hessian by reverse mode alone."""
    return torch.func.jacrev(torch.func.jacrev(function))


def dense(lm, sites, batch, loss_of_logits):
    """Explicit Hessian over the flattened sites, and the Jacobian of the logits, by torch.func on the whole logits."""
    names = [f"{s.name}.weight" for s in sites]

    def logits(vector):
        parts = unflat(vector, sites)
        weights = {n: (p.T if s.transposed else p) for n, s, p in zip(names, sites, parts)}
        inputs = {"input_ids": batch.ids, "attention_mask": batch.attention, "use_cache": False}
        return functional_call(lm.model, weights, (), inputs).logits

    theta = flat([(s.weight.T if s.transposed else s.weight) for s in sites]).clone()
    return logits, theta, twice(lambda v: loss_of_logits(logits(v)))(theta)


def mean_loss(batch):
    def of(logits):
        due = batch.response[:, 1:]
        each = torch.nn.functional.cross_entropy(logits[:, :-1].transpose(1, 2), batch.ids[:, 1:], reduction="none")
        return ((each * due).sum(dim=1) / due.sum(dim=1)).mean()

    return of


def test_both_matrices_against_explicit_ones(model_of, samples, batch_of):
    lm = model_of("llama", "eager")
    sites = block_linears(lm.model, last=1)[1:3]
    batch = batch_of(samples)
    logits, theta, hessian = dense(lm, sites, batch, mean_loss(batch))
    jacobian = torch.func.jacrev(logits)(theta)  # (B, T, V, d)
    outer = twice(mean_loss(batch))(logits(theta))  # (B, T, V, B, T, V)
    size = jacobian[..., 0].numel()
    square = outer.reshape(size, size)
    gauss_newton = jacobian.reshape(size, -1).T @ square @ jacobian.reshape(size, -1)
    for kind, matrix in (("hessian", hessian), ("gauss-newton", gauss_newton)):
        target = TargetLoss(lm, sites, [batch], kind=kind)
        for direction, product in zip(directions(sites, 3), target.products(directions(sites, 3))):
            expected = matrix @ flat(direction)
            torch.testing.assert_close(flat(product), expected, rtol=2e-3, atol=2e-4 * float(expected.abs().max()))
    assert not torch.allclose(hessian, gauss_newton, atol=1e-3 * float(hessian.abs().max()))


@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_embeddings_norms_and_a_tied_head(name, model_of, samples, batch_of, true_double):
    """Differences of gradients over every kind of site; GPT-2's head is its embedding."""
    lm = model_of(name, "eager", torch.float64)
    sites = choose_sites(lm.model, ParameterChoice(blocks=1, embeddings=True, norms=True)).sites
    assert {site.kind for site in sites} == {"linear", "embedding", "vector"}
    (direction,) = directions(sites)
    batch, size = batch_of(samples), 1e-5
    ends = []
    for sign in (1, -1):
        model = copy.deepcopy(lm.model)
        own = [replace(s, module=model.get_submodule(names_of(lm.model)[id(s.module)])) for s in sites]
        with torch.no_grad():
            for site, part in zip(own, direction):
                site.as_matrix(site.weight.data).add_(sign * size * part)
        ends.append(flat(TargetLoss(SimpleNamespace(model=model, device=lm.device), own, [batch]).gradient()).double())
    expected = (ends[0] - ends[1]) / (2 * size)
    found = flat(TargetLoss(lm, sites, [batch]).product(direction)).double()
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5 * float(expected.abs().max()))


def names_of(model):
    return {id(module): name for name, module in model.named_modules()}


def test_gauss_newton_is_symmetric_and_never_negative(model_of, samples, batch_of):
    lm = model_of("gpt2", "sdpa")
    sites = block_linears(lm.model)
    target = TargetLoss(lm, sites, [batch_of(samples)], kind="gauss-newton")
    many = directions(sites, 6)
    matrix = torch.stack([flat(p) for p in target.products(many)]) @ torch.stack([flat(d) for d in many]).T
    torch.testing.assert_close(matrix, matrix.T, rtol=1e-3, atol=1e-5)
    assert torch.linalg.eigvalsh(matrix.double()).min() > -1e-6 * matrix.abs().max()
    assert "Gauss–Newton" in target.notes[-1]


@pytest.mark.parametrize("kind", ["hessian", "gauss-newton"])
def test_batches_and_padding_do_not_show(kind, model_of, samples, batch_of):
    lm = model_of("llama")
    sites = block_linears(lm.model)
    pair = directions(sites, 2)
    together = TargetLoss(lm, sites, [batch_of(samples, pad_to=20, pad_id=7)], kind=kind)
    apart = TargetLoss(lm, sites, [batch_of(samples[2:]), batch_of([samples[1]]), batch_of([samples[0]])], kind=kind)
    assert (together.items, apart.items, apart.batches) == (4, 4, 3)
    assert together.loss == pytest.approx(apart.loss, rel=1e-5)
    torch.testing.assert_close(flat(together.gradient()), flat(apart.gradient()), rtol=1e-4, atol=1e-6)
    for one, other in zip(together.products(pair), apart.products(pair)):
        torch.testing.assert_close(flat(one), flat(other), rtol=1e-3, atol=1e-4 * float(flat(one).abs().max()))
    torch.testing.assert_close(flat(together.product(pair[1])), flat(together.products(pair)[1]))


def test_weights_of_items_scale_their_losses(model_of, samples, batch_of):
    lm = model_of("neox")
    sites = block_linears(lm.model, last=1)
    (direction,) = directions(sites)
    single = [TargetLoss(lm, sites, [batch_of([sample])]) for sample in samples]
    factors = torch.tensor([1.0, 0.0, -2.0, 1.0])
    target = TargetLoss(lm, sites, [batch_of(samples)], weights=[factors])
    expected = sum(f / 4 * flat(one.product(direction)) for f, one in zip(factors, single))
    torch.testing.assert_close(flat(target.product(direction)), expected, rtol=1e-3, atol=1e-5)
    assert target.loss == pytest.approx(float(sum(f / 4 * one.loss for f, one in zip(factors, single))), rel=1e-5)


def test_items_without_a_finite_loss_are_left_out_and_told(model_of, samples, samples_of, batch_of):
    lm = SimpleNamespace(model=copy.deepcopy(model_of("llama").model), device=torch.device("cpu"))
    lm.model.get_output_embeddings().weight = torch.nn.Parameter(model_of("llama").model.lm_head.weight.clone(), False)
    poison = next(t for t in samples[1].ids if all(t not in s.ids for k, s in enumerate(samples) if k != 1))
    lm.model.get_input_embeddings().weight[poison] = torch.inf
    sites = block_linears(lm.model)
    silent = samples_of([7], [7])
    target = TargetLoss(lm, sites, [batch_of([*samples, *silent]), batch_of(silent)])
    clean = TargetLoss(lm, sites, [batch_of([s for k, s in enumerate(samples) if k != 1])])
    assert (target.items, clean.items) == (3, 3)
    assert any(note.startswith("3 target items") for note in target.notes)
    (direction,) = directions(sites)
    torch.testing.assert_close(flat(target.product(direction)), flat(clean.product(direction)), rtol=1e-4, atol=1e-6)
    rows = [flat(g) for g in row_gradients(lm, sites, batch_of([*samples, *silent]))]
    assert [bool(g.isfinite().all()) for g in rows] == [True, False, True, True, True]
    assert [bool(g.abs().max() > 0) for g in rows if g.isfinite().all()] == [True, True, True, False]
    with pytest.raises(EngineError, match="None of the 2 target items"):
        TargetLoss(lm, sites, [batch_of(silent), batch_of(silent)])


@pytest.mark.parametrize("name", ["llama", "gpt2"])
def test_row_gradients_are_plain_autograd(name, model_of, samples, batch_of, gradient_oracle):
    lm = model_of(name)
    sites = block_linears(lm.model)
    for sample, found in zip(samples, row_gradients(lm, sites, batch_of(samples))):
        expected = gradient_oracle(lm, sites, sample)
        torch.testing.assert_close(flat(found), flat(expected), rtol=1e-4, atol=1e-5)


def test_the_model_is_left_as_it_was_also_after_an_error(model_of, samples, batch_of):
    lm = model_of("llama")
    sites = block_linears(lm.model)
    target = TargetLoss(lm, sites, [batch_of(samples)])
    target.product(directions(sites)[0])
    with pytest.raises(EngineError, match="one \\(out, in\\) matrix per weight"):
        target.product(directions(sites)[0][1:])
    assert all(p.grad is None and not p.requires_grad for p in lm.model.parameters())
    assert all(not m._forward_hooks and not m._forward_pre_hooks for m in lm.model.modules())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_refused(dtype, model_of, samples, batch_of):
    lm = model_of("llama", dtype=dtype)
    with pytest.raises(EngineError, match="float32 weights"):
        TargetLoss(lm, block_linears(lm.model), [batch_of(samples)])


def test_what_cannot_be_done_is_refused(model_of, samples, batch_of):
    lm = model_of("llama")
    sites = block_linears(lm.model)
    with pytest.raises(EngineError, match="hessian, gauss-newton"):
        TargetLoss(lm, sites, [batch_of(samples)], kind="fisher")
    with pytest.raises(EngineError, match="parameter set is empty"):
        TargetLoss(lm, [], [batch_of(samples)])
    other = SimpleNamespace(config=SimpleNamespace(_attn_implementation="flash_attention_2"))
    with pytest.raises(EngineError, match="eager or sdpa"):
        TargetLoss(SimpleNamespace(model=other, device=lm.device), sites, [batch_of(samples)])
