"""The parameter set of a run and its conditioning, from the configuration and the warm-up: the same for every method.

Notation. `sites` are the weights that gradients are taken in, `scale` the element-wise factor of pool-side gradients:
Adam's a (METHODS section 1), a random mask of zeros and ones, or their product; None for plain gradients.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from engine.errors import EngineError
from engine.gradients.conditioning import Step, adamw, parameter_name
from engine.gradients.parameters import Site
from engine.gradients.subsets import ParameterChoice, choose_sites
from engine.models.loading import LanguageModel
from engine.models.warmup import WarmUp
from engine.runs.config import ScoreConfig


@dataclass(frozen=True)
class Parameters:
    """What gradients are taken in, how they are conditioned, and sentences on both.

    `scale` is the element-wise factor per site (out, in) of pool-side gradients, `mask` that of target-side ones; the
    target side is never conditioned. `step` holds the optimiser's a and b where there is conditioning, `eta` is the
    learning rate that second-order weights are for: the warm-up's mean, or the configured one without a warm-up.
    """

    sites: tuple[Site, ...]
    mask: tuple[Tensor, ...] | None
    scale: tuple[Tensor | None, ...] | None
    step: Step | None
    eta: float
    notes: tuple[str, ...]


def parameters_of(lm: LanguageModel, config: ScoreConfig, warmed: WarmUp | None) -> Parameters:
    """The parameter set of `config` in the model. Raises `EngineError` as `choose_sites` does, or without moments."""
    choice = ParameterChoice(
        blocks=config.blocks,
        names=config.parameters,
        keep=config.keep,
        seed=config.seed,
        embeddings=config.with_embeddings,
        norms=config.with_norms,
    )
    chosen = choose_sites(lm.model, choice)
    step = None if config.conditioning == "plain" else _adam(lm, chosen.sites, warmed)
    scale: tuple[Tensor | None, ...] | None = chosen.masks
    if step is not None:
        factors = tuple(step.factor(site) for site in chosen.sites)
        masks = (None,) * len(factors) if chosen.masks is None else chosen.masks
        scale = tuple(mask if a is None else a if mask is None else a * mask for a, mask in zip(factors, masks))
    eta = config.warm_up_learning_rate if warmed is None else warmed.mean_learning_rate
    return Parameters(chosen.sites, chosen.masks, scale, step, eta, (*chosen.notes, *(step.notes if step else ())))


def _adam(lm: LanguageModel, sites: Sequence[Site], warmed: WarmUp | None) -> Step:
    if warmed is None:
        raise EngineError(
            "conditioning=adam needs the moments of a warm-up, and this run has none. Set warm_up=on, or "
            "conditioning=plain. Nothing was scored."
        )
    wanted = {parameter_name(site) for site in sites}
    own = {name: value for name, value in lm.model.named_parameters() if name in wanted}
    config = warmed.config
    return adamw(
        own,
        {name: warmed.moments[name] for name in own if name in warmed.moments},
        steps=warmed.steps,
        eta=warmed.mean_learning_rate,
        betas=config.betas,
        eps=config.eps,
        weight_decay=config.weight_decay,
    )
