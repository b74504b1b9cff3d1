"""The optimiser's step as a formula that is linear in the batch gradient: θ' = θ − η (a ⊙ g + b).

Notation. θ parameters, g the gradient of the (weighted) batch, η the learning rate, s the steps taken so far, m and v
the optimiser's moments after them, β1, β2, ε, wd (weight decay), μ (momentum) and τ (dampening) its settings. For
Adam and AdamW v is held fixed over the step; SGD is linear as it is. (Influence Distillation, arXiv 2505.19051;
METHODS section 1.) The target side is never preconditioned: only a pool row's gradient meets a.

Pure formulas by parameter name. Takes no gradients, trains nothing and knows no model.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from engine.errors import EngineError
from engine.gradients.parameters import Site

Tensors = Mapping[str, Tensor]
Moments = Mapping[str, tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class Step:
    """a and b by parameter name, each of its parameter's shape (in the module's own layout), float32 and detached.

    `a` None stands for 1 everywhere, `b` None for 0 everywhere. `notes` say what was assumed.
    """

    eta: float
    a: Tensors | None = None
    b: Tensors | None = None
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuse a learning rate that is no positive number."""
        if not 0 < self.eta < float("inf"):
            raise EngineError(f"The learning rate is {self.eta!r}; a step needs a finite one above 0.")

    def factor(self, site: Site) -> Tensor | None:
        """a for one site, (out, in), or None for 1. Raises `EngineError` where it is missing."""
        return _of_site(self.a, site, "a")

    def shift(self, site: Site) -> Tensor | None:
        """b for one site, (out, in), or None for 0. Raises `EngineError` where it is missing."""
        return _of_site(self.b, site, "b")

    def scale(self, sites: Sequence[Site]) -> tuple[Tensor | None, ...] | None:
        """a of every site, as the functions that take per-row gradients want their `scale`; None where all are 1."""
        return None if self.a is None else tuple(self.factor(site) for site in sites)

    def moved(self, parameters: Tensors, gradients: Tensors) -> dict[str, Tensor]:
        """θ' of every parameter that `gradients` names."""
        return {name: parameters[name] - self.eta * self._move(name, g) for name, g in gradients.items()}

    def _move(self, name: str, gradient: Tensor) -> Tensor:
        scaled = gradient if self.a is None else self.a[name] * gradient
        return scaled if self.b is None else scaled + self.b[name]


def parameter_name(site: Site) -> str:
    """The name under which the model and its optimiser know the parameter of `site`."""
    return site.name if site.name.endswith(f".{site.parameter}") else f"{site.name}.{site.parameter}"


def gradient_descent(*, eta: float) -> Step:
    """θ' = θ − η g: a = 1, b = 0."""
    return Step(eta)


def sgd(
    parameters: Tensors,
    buffers: Tensors | None = None,
    *,
    eta: float,
    momentum: float = 0.0,
    dampening: float = 0.0,
    weight_decay: float = 0.0,
    nesterov: bool = False,
) -> Step:
    """SGD as `torch.optim.SGD` steps: a = 1 − τ, b = μ m + (1 − τ) wd θ; Nesterov a = 1 + μ, b = μ² m + (1 + μ) wd θ.

    `buffers` are the momentum buffers m by name; without them momentum takes its first step, which torch does not
    dampen (m = 0, τ = 0; a note says so). Weight decay enters the gradient, so that it is dampened with it. Raises
    `EngineError` for settings out of range, Nesterov without momentum or with dampening, and missing buffers.
    """
    _check_sgd(momentum, dampening, weight_decay, nesterov)
    first = momentum > 0 and buffers is None
    damp = 0.0 if first or momentum == 0 else dampening
    scale = 1.0 + momentum if nesterov else 1.0 - damp
    carried = momentum**2 if nesterov else momentum
    held = None if first or momentum == 0 else _matching(parameters, buffers or {}, "momentum buffer")
    notes = ("No momentum has been gathered yet: this is the optimiser's first step, which is not dampened.",)
    shifts: dict[str, Tensor] = {}
    for name, value in parameters.items():
        shift = scale * weight_decay * value.detach().float()
        shifts[name] = shift if held is None else shift + carried * held[name]
    plain = held is None and weight_decay == 0
    return Step(
        eta,
        None
        if scale == 1
        else {n: torch.tensor(scale, device=p.device).expand(p.shape) for n, p in parameters.items()},
        None if plain else shifts,
        notes if first else (),
    )


def adam(
    parameters: Tensors,
    moments: Moments,
    *,
    steps: int,
    eta: float,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
    weight_decay: float = 0.0,
) -> Step:
    """Adam without L2, the v of the coming step held at `moments`; see `adamw`. A weight decay is refused."""
    if weight_decay != 0:
        raise EngineError(
            f"Adam with an L2 term (weight_decay {weight_decay!r}) adds it to the gradient before the moments, so the "
            "step is not linear in the samples alone. Train with AdamW, whose decay is apart, or without decay."
        )
    return adamw(parameters, moments, steps=steps, eta=eta, betas=betas, eps=eps, weight_decay=0.0)


def adamw(
    parameters: Tensors,
    moments: Moments,
    *,
    steps: int,
    eta: float,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
    weight_decay: float = 0.0,
) -> Step:
    """AdamW after `steps` = s steps, v held: with D = sqrt(v / (1 − β2^{s+1})) + ε and c = 1 / (1 − β1^{s+1}),

    a = c (1 − β1) / D and b = wd θ + c β1 m / D. `moments` map a name to (m, v). Raises `EngineError` for s = 0 (there
    are no moments then), settings out of range, missing moments, and moments that are negative or not finite.
    """
    _check_adam(steps, betas, eps, weight_decay)
    first, second = betas
    gain, decay = 1 / (1 - first ** (steps + 1)), 1 - second ** (steps + 1)
    m = _matching(parameters, {name: pair[0] for name, pair in moments.items()}, "first moment")
    v = _matching(parameters, {name: pair[1] for name, pair in moments.items()}, "second moment")
    a: dict[str, Tensor] = {}
    b: dict[str, Tensor] = {}
    for name, value in parameters.items():
        if bool((v[name] < 0).any()):
            raise EngineError(f"The second moment of {name} is negative somewhere; it is no running mean of squares.")
        divisor = (v[name] / decay).sqrt() + eps
        a[name] = gain * (1 - first) / divisor
        b[name] = gain * first * m[name] / divisor + weight_decay * value.detach().float()
    return Step(eta, a, b, ("Adam's second moment is held fixed over the step.",))


def _of_site(values: Tensors | None, site: Site, what: str) -> Tensor | None:
    if values is None:
        return None
    name = parameter_name(site)
    if name not in values or values[name].shape != site.weight.shape:
        got = tuple(values[name].shape) if name in values else "nothing"
        raise EngineError(
            f"The step has no {what} for {name} of shape {tuple(site.weight.shape)} (got {got}). Condition by the "
            "moments of the model that is scored."
        )
    return site.as_matrix(values[name])


def _matching(parameters: Tensors, found: Tensors, what: str) -> dict[str, Tensor]:
    """The tensors of every parameter, float32, on its device. Raises `EngineError` for one that does not fit it."""
    for name, value in parameters.items():
        if name not in found or found[name].shape != value.shape:
            got: Any = tuple(found[name].shape) if name in found else "none"
            raise EngineError(
                f"{name} has shape {tuple(value.shape)}, its {what} {got}. Take the moments of this very model's "
                "warm-up. Nothing was computed."
            )
        if not bool(found[name].isfinite().all()):
            raise EngineError(f"The {what} of {name} is not finite; the warm-up diverged. Run it at a lower rate.")
    return {name: found[name].detach().to(device=p.device, dtype=torch.float32) for name, p in parameters.items()}


def _check_sgd(momentum: float, dampening: float, weight_decay: float, nesterov: bool) -> None:
    if not (0 <= momentum < 1 and 0 <= dampening <= 1 and 0 <= weight_decay < float("inf")):
        raise EngineError(
            f"Momentum {momentum!r} must be in [0, 1), dampening {dampening!r} in [0, 1] and weight decay "
            f"{weight_decay!r} finite and not negative."
        )
    if nesterov and (momentum == 0 or dampening != 0):
        raise EngineError(
            f"Nesterov needs a momentum and no dampening; got momentum {momentum!r} and dampening {dampening!r}."
        )


def _check_adam(steps: int, betas: tuple[float, float], eps: float, weight_decay: float) -> None:
    if steps < 1:
        raise EngineError(
            f"The optimiser has taken {steps} steps, so Adam has no moments to condition by. Warm up for at least one "
            "step, or score without conditioning."
        )
    if len(betas) != 2 or not all(0 <= beta < 1 for beta in betas) or not eps > 0:
        raise EngineError(f"Adam needs two betas in [0, 1) and eps above 0; got {betas!r} and {eps!r}.")
    if not 0 <= weight_decay < float("inf"):
        raise EngineError(f"weight_decay is {weight_decay!r}; it must be finite and not negative.")
