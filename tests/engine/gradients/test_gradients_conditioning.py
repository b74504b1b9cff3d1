"""Every form of the optimiser's step against one real step of torch's optimisers."""

import pytest
import torch

from engine.errors import EngineError
from engine.gradients.conditioning import Step, adam, adamw, gradient_descent, parameter_name, sgd
from engine.gradients.parameters import block_linears

SHAPES = {"one.weight": (4, 3), "two.weight": (5,)}


def draws(seed):
    generator = torch.Generator().manual_seed(seed)
    return {name: torch.randn(shape, generator=generator) for name, shape in SHAPES.items()}


def stepped(optimiser_of, parameters, gradients, before=()):
    """θ after one real step with `gradients`; `before` are gradients of earlier steps. Also θ and state before it."""
    held = {name: torch.nn.Parameter(value.clone()) for name, value in parameters.items()}
    optimiser = optimiser_of(list(held.values()))
    for earlier in before:
        for name, parameter in held.items():
            parameter.grad = earlier[name].clone()
        optimiser.step()
    theta = {name: parameter.detach().clone() for name, parameter in held.items()}
    state = {n: {k: torch.as_tensor(v).clone() for k, v in optimiser.state[p].items() if v is not None}
             for n, p in held.items()}  # fmt: skip
    for name, parameter in held.items():
        parameter.grad = gradients[name].clone()
    return held, optimiser, theta, state


def same(found, expected):
    for name in expected:
        torch.testing.assert_close(found[name], expected[name].detach(), rtol=1e-5, atol=1e-6)


def test_gradient_descent():
    held, optimiser, theta, _ = stepped(lambda p: torch.optim.SGD(p, lr=0.3), draws(0), draws(1))
    optimiser.step()
    step = gradient_descent(eta=0.3)
    assert step.a is None and step.b is None
    same(step.moved(theta, draws(1)), held)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"weight_decay": 0.1},
        {"momentum": 0.9},
        {"momentum": 0.9, "dampening": 0.3},
        {"momentum": 0.8, "dampening": 0.3, "weight_decay": 0.2},
        {"momentum": 0.8, "weight_decay": 0.2, "nesterov": True},
        {"momentum": 0.0, "dampening": 0.3, "weight_decay": 0.2},
    ],
)
@pytest.mark.parametrize("earlier", [0, 3])
def test_sgd_is_torchs_step_exactly(settings, earlier):
    held, optimiser, theta, state = stepped(
        lambda p: torch.optim.SGD(p, lr=0.05, **settings), draws(0), draws(1), [draws(9 + i) for i in range(earlier)]
    )
    buffers = {name: values["momentum_buffer"] for name, values in state.items() if "momentum_buffer" in values}
    step = sgd(theta, buffers or None, eta=0.05, **settings)
    optimiser.step()
    same(step.moved(theta, draws(1)), held)
    first = settings.get("momentum", 0) > 0 and earlier == 0
    assert any("first step" in note for note in step.notes) == first


@pytest.mark.parametrize("form", ["adam", "adamw"])
@pytest.mark.parametrize("earlier", [1, 4])
def test_adam_is_torchs_step_where_v_stays(form, earlier):
    """The state before the step is set so that torch's own update of v lands on the v that the formula holds."""
    settings = {"betas": (0.8, 0.95), "eps": 1e-6, "weight_decay": 0.3 if form == "adamw" else 0.0}
    kind = torch.optim.AdamW if form == "adamw" else torch.optim.Adam
    gradients = draws(1)
    held, optimiser, theta, state = stepped(
        lambda p: kind(p, lr=0.05, **settings), draws(0), gradients, [draws(9 + i) for i in range(earlier)]
    )
    v = {name: values["exp_avg_sq"] + 2 * gradients[name].square() for name, values in state.items()}
    for name, parameter in held.items():
        optimiser.state[parameter]["exp_avg_sq"].copy_((v[name] - 0.05 * gradients[name].square()) / 0.95)
    moments = {name: (values["exp_avg"], v[name]) for name, values in state.items()}
    function = adamw if form == "adamw" else adam
    step = function(theta, moments, steps=earlier, eta=0.05, **settings)
    optimiser.step()
    same(step.moved(theta, gradients), held)
    assert step.notes == ("Adam's second moment is held fixed over the step.",)


def test_adam_reads_as_the_formula():
    theta, m, v = draws(0), draws(1), {n: t.square() for n, t in draws(2).items()}
    step = adamw(theta, {n: (m[n], v[n]) for n in theta}, steps=7, eta=1e-3, weight_decay=0.1)
    for n in theta:
        root = (v[n] / (1 - 0.999**8)).sqrt() + 1e-8
        torch.testing.assert_close(step.a[n], (0.1 / (1 - 0.9**8)) / root)
        torch.testing.assert_close(step.b[n], 0.1 * theta[n] + (0.9 / (1 - 0.9**8)) * m[n] / root)


def test_a_second_moment_of_zero_stays_finite():
    zeros = {n: torch.zeros(s) for n, s in SHAPES.items()}
    step = adam(draws(0), {n: (zeros[n], zeros[n]) for n in zeros}, steps=1, eta=1.0)
    assert all(a.isfinite().all() for a in step.a.values())


@pytest.mark.parametrize("name", ["llama", "gpt2"])
def test_a_site_gets_its_own_layout(name, model_of):
    model = model_of(name).model
    sites = block_linears(model)
    parameters = dict(model.named_parameters())
    mine = {parameter_name(site): parameters[parameter_name(site)] for site in sites}
    step = sgd(mine, mine, eta=1.0, momentum=0.5, weight_decay=1.0)
    for site in sites:
        weight = site.weight.T if site.transposed else site.weight
        torch.testing.assert_close(step.shift(site), 1.5 * weight)
        assert step.factor(site) is None
        assert step.shift(site).shape == (site.out_features, site.in_features)
    assert gradient_descent(eta=1.0).shift(sites[0]) is None
    with pytest.raises(EngineError, match="has no a for"):
        Step(1.0, a={}).factor(sites[0])


def test_what_is_refused():
    theta = draws(0)
    moments = {n: (t, t.square()) for n, t in draws(1).items()}
    with pytest.raises(EngineError, match="0 steps"):
        adamw(theta, moments, steps=0, eta=1.0)
    with pytest.raises(EngineError, match="L2"):
        adam(theta, moments, steps=3, eta=1.0, weight_decay=0.1)
    with pytest.raises(EngineError, match="no dampening"):
        sgd(theta, eta=1.0, momentum=0.9, dampening=0.1, nesterov=True)
    with pytest.raises(EngineError, match="needs a momentum"):
        sgd(theta, eta=1.0, nesterov=True)
    with pytest.raises(EngineError, match=r"two\.weight has shape .* first moment none"):
        adamw(theta, {"one.weight": moments["one.weight"]}, steps=3, eta=1.0)
    with pytest.raises(EngineError, match="negative somewhere"):
        adamw(theta, {n: (t, -t.abs() - 1) for n, t in theta.items()}, steps=3, eta=1.0)
    with pytest.raises(EngineError, match="not finite"):
        adamw(theta, {n: (t * torch.nan, t * t) for n, t in theta.items()}, steps=3, eta=1.0)
    with pytest.raises(EngineError, match="betas"):
        adamw(theta, moments, steps=3, eta=1.0, betas=(1.0, 0.9))
    with pytest.raises(EngineError, match="Momentum"):
        sgd(theta, eta=1.0, momentum=1.5)
    for eta in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(EngineError, match="learning rate"):
            gradient_descent(eta=eta)
