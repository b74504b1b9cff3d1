"""The second-order pieces against dense matrices on a tiny model."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode
from transformers import LlamaConfig, LlamaForCausalLM

from engine.errors import Cancelled, EngineError
from engine.gradients.conditioning import adamw, gradient_descent, parameter_name, sgd
from engine.gradients.hessian import TargetLoss
from engine.gradients.parameters import block_linears
from engine.gradients.unprojected import row_gradients
from engine.influence.curvature import corrected_direction, curvature_cost, landmark_curvature
from engine.influence.quadratic import Quadratic
from engine.influence.weights import solve_weights
from engine.progress import Silent

LANDMARKS, TARGETS, LENGTH = 5, 6, 9


def batch_of(rows, seed):
    generator = torch.Generator().manual_seed(seed)
    response = torch.zeros(rows, LENGTH, dtype=torch.bool)
    response[:, 3:] = True
    return SimpleNamespace(
        ids=torch.randint(3, 29, (rows, LENGTH), generator=generator),
        attention=torch.ones(rows, LENGTH, dtype=torch.long),
        response=response,
    )


def flat(parts):
    return torch.cat([part.flatten() for part in parts]).double()


@pytest.fixture(scope="module")
def scene():
    """A model of one block, landmark and target batches, an AdamW step, and the dense G_L, g_T, H_T, a, b."""
    config = LlamaConfig(vocab_size=29, hidden_size=8, intermediate_size=12, num_hidden_layers=1, num_attention_heads=2)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = LlamaForCausalLM._from_config(config, attn_implementation="eager").eval().requires_grad_(False)
        for parameter in model.parameters():
            if parameter.ndim > 1:
                nn.init.normal_(parameter, std=0.4)
        sites = block_linears(model)
        own = dict(model.named_parameters())
        names = {parameter_name(site): own[parameter_name(site)] for site in sites}
        moments = {n: (0.1 * torch.randn_like(p), torch.rand_like(p) + 0.1) for n, p in names.items()}
    step = adamw(names, moments, steps=4, eta=0.05, weight_decay=0.1)
    lm = SimpleNamespace(model=model, device=torch.device("cpu"))
    landmarks, targets = batch_of(LANDMARKS, 1), batch_of(TARGETS, 2)
    target = TargetLoss(lm, sites, [targets])
    size = sum(site.out_features * site.in_features for site in sites)
    basis = torch.eye(size).split([s.out_features * s.in_features for s in sites], dim=1)
    units = [[b[i].reshape(s.out_features, s.in_features) for s, b in zip(sites, basis)] for i in range(size)]
    hessian = torch.stack([flat(product) for product in target.products(units)])
    gradients = list(row_gradients(lm, sites, landmarks))
    return SimpleNamespace(
        lm=lm, sites=sites, step=step, target=target, targets=targets, landmarks=landmarks, names=names,
        gradients=gradients, G=torch.stack([flat(g) for g in gradients]), g=flat(target.gradient()), H=hessian,
        a=flat([step.factor(s) for s in sites]), b=flat([step.shift(s) for s in sites]), size=size,
    )  # fmt: skip


def test_the_corrected_direction(scene):
    expected = scene.a * (scene.g - scene.step.eta * scene.H @ scene.b)
    found = corrected_direction(scene.target, scene.step)
    torch.testing.assert_close(flat(found), expected, rtol=1e-4, atol=1e-5 * float(expected.abs().max()))
    plain = corrected_direction(scene.target, scene.step, curvature=False)
    torch.testing.assert_close(flat(plain), scene.a * scene.g, rtol=1e-5, atol=1e-8)
    assert (flat(plain) - flat(found)).abs().max() > 1e-3 * expected.abs().max()
    descent = corrected_direction(scene.target, gradient_descent(eta=0.1))
    torch.testing.assert_close(flat(descent), scene.g)


@pytest.mark.parametrize("hold", [1, 2, 5, 9])
def test_the_landmarks_curvature_is_the_dense_product_for_any_block(scene, hold):
    conditioned = scene.G * scene.a
    expected = (conditioned @ scene.H @ conditioned.T / 40).numpy()
    found = landmark_curvature(
        scene.target, scene.step, scene.gradients.__getitem__, LANDMARKS, pool=40, hold=hold
    )  # fmt: skip
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-5 * np.abs(expected).max())
    np.testing.assert_array_equal(found, found.T)


def test_gauss_newton_gives_a_curvature_that_is_never_negative(scene):
    target = TargetLoss(scene.lm, scene.sites, [scene.targets], kind="gauss-newton")
    found = landmark_curvature(target, gradient_descent(eta=1.0), scene.gradients.__getitem__, LANDMARKS, pool=40)
    assert np.linalg.eigvalsh(found).min() > -1e-6 * np.abs(found).max()


def test_weights_foretell_the_loss_after_one_step(scene):
    """f with p and Q of all rows as landmarks is the second-order change of the target loss, and weights lower it."""
    step = sgd(scene.names, scene.names, eta=0.02, momentum=0.1)
    u = flat(corrected_direction(scene.target, step))
    p = (scene.G @ u).numpy()
    core = landmark_curvature(scene.target, step, scene.gradients.__getitem__, LANDMARKS, pool=LANDMARKS)
    curvature = Quadratic.low_rank(np.eye(LANDMARKS), core)

    def loss_after(w):
        mean = torch.from_numpy(w) @ scene.G / LANDMARKS
        shift = flat([step.shift(s) for s in scene.sites])
        parts = (step.eta * (mean + shift)).float().split([s.out_features * s.in_features for s in scene.sites])
        held = [site.weight.clone() for site in scene.sites]
        try:
            for site, part in zip(scene.sites, parts):
                site.weight.data.sub_(part.reshape(site.out_features, site.in_features))
            return TargetLoss(scene.lm, scene.sites, [scene.targets]).loss
        finally:
            for site, weight in zip(scene.sites, held):
                site.weight.data.copy_(weight)

    def foretold(w):
        return step.eta / LANDMARKS * (-p @ w + step.eta / 2 * w @ curvature.times(w))

    generator = np.random.default_rng(0)
    w, other = (LANDMARKS * generator.dirichlet(np.ones(LANDMARKS)) for _ in range(2))
    assert loss_after(w) - loss_after(other) == pytest.approx(foretold(w) - foretold(other), rel=0.05)
    best = solve_weights(p, lam=1e-3, curvature=curvature, eta=step.eta, non_convex="raise").weights
    assert loss_after(best) < min(loss_after(w), loss_after(np.ones(LANDMARKS)))


def test_the_estimate_of_the_cost_is_near_what_is_counted(scene):
    head = scene.lm.model.lm_head.weight.numel() * 6 / LENGTH  # the head sees response positions only
    estimate = curvature_cost(
        scene.sites, landmarks=LANDMARKS, landmark_tokens=LANDMARKS * LENGTH, target_tokens=TARGETS * LENGTH,
        hold=2, other_weights=round(head),
    )  # fmt: skip
    calls = []

    def gradient(index):
        calls.append(index)
        row = SimpleNamespace(**{k: v[index : index + 1] for k, v in vars(scene.landmarks).items()})
        return next(row_gradients(scene.lm, scene.sites, row))

    with FlopCounterMode(display=False) as counter:
        landmark_curvature(scene.target, scene.step, gradient, LANDMARKS, pool=40, hold=2)
    assert len(calls) == estimate.gradients == 2 + 4 + 5
    assert estimate.products == LANDMARKS and estimate.bytes == (3 * 2 + 2) * scene.size * 4
    assert 0.6 < estimate.flops / counter.get_total_flops() < 1.7


def test_bad_input_and_cancelling(scene):
    class Stop(Silent):
        def check(self):
            raise Cancelled("stop")

    rest = (scene.step, scene.gradients.__getitem__)
    with pytest.raises(Cancelled):
        landmark_curvature(scene.target, *rest, LANDMARKS, pool=40, reporter=Stop())
    assert not any(p.requires_grad for p in scene.lm.model.parameters())
    for count, pool, hold in ((0, 40, 1), (5, 0, 1), (5, 40, 0)):
        with pytest.raises(EngineError, match="at least 1"):
            landmark_curvature(scene.target, *rest, count, pool=pool, hold=hold)
    broken = [[part * torch.nan for part in g] if i == 2 else g for i, g in enumerate(scene.gradients)]
    with pytest.raises(EngineError, match="landmark 2 is not finite"):
        landmark_curvature(scene.target, scene.step, broken.__getitem__, LANDMARKS, pool=40)
