"""Low-rank adapters (LoRA) beside the linear layers of the blocks: made, put into a model for a while, taken out again.

Notation. With its adapter a layer is y = W x + (α/r)·B A x: A (r, in) is drawn by the seed, B (out, r) begins at zero,
and W never changes. A and B are float32 whatever the model's precision; there is no dropout. Adapters are in a model
only inside `Adapters.attached` and are never merged into W. Trains nothing; `lora` does.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import ModuleType

import torch
from torch import Tensor, nn

from engine.errors import EngineError
from engine.gradients.parameters import Site, block_linears, linear_site
from engine.models.loading import LanguageModel

ADAPTER = "default"
PARTS = ("lora_A", "lora_B")


@dataclass(frozen=True)
class _Place:
    """Where a layer sits in the model, as it is and with its adapter around it."""

    owner: nn.Module
    attribute: str
    plain: nn.Module
    adapted: nn.Module


class Adapters:
    """Freshly drawn adapters of every linear layer of the blocks, outside the model until `attached`.

    `sites` are A and B of each layer in order of evaluation, `names` their parameters' names in the model with
    adapters. The global random state and the model are as before. Raises `EngineError` where peft is missing, and for
    a model without linear layers in blocks or with adapters already.
    """

    def __init__(self, lm: LanguageModel, *, rank: int, alpha: float, seed: int) -> None:
        layers = _layers(lm)
        self._places = _made(lm.model, layers, rank, alpha, seed)
        self.sites: tuple[Site, ...] = tuple(
            linear_site(f"{layer.name}.{part}.{ADAPTER}", getattr(place.adapted, part)[ADAPTER])
            for layer, place in zip(layers, self._places, strict=True)
            for part in PARTS
        )
        self.names = tuple(f"{site.name}.weight" for site in self.sites)

    @contextmanager
    def attached(self) -> Iterator[None]:
        """Run the model with its adapters inside, and give it back without them, also after an exception."""
        try:
            for place in self._places:
                setattr(place.owner, place.attribute, place.adapted)
            yield
        finally:
            for place in self._places:
                setattr(place.owner, place.attribute, place.plain)

    def weights(self) -> dict[str, Tensor]:
        """A and B as they are now, copied to the CPU, by parameter name."""
        return {n: s.weight.detach().to("cpu", copy=True) for n, s in zip(self.names, self.sites, strict=True)}

    def load(self, weights: Mapping[str, Tensor]) -> None:
        """Copy A and B by parameter name into the adapters."""
        with torch.no_grad():
            for name, site in zip(self.names, self.sites, strict=True):
                site.weight.copy_(weights[name])


def adapter_shapes(lm: LanguageModel, rank: int) -> dict[str, tuple[int, int]]:
    """The shapes of A (r, in) and B (out, r) of every layer by parameter name; makes no adapter and needs no peft."""
    shapes: dict[str, tuple[int, int]] = {}
    for layer in _layers(lm):
        sides = ((rank, layer.in_features), (layer.out_features, rank))
        shapes |= {f"{layer.name}.{part}.{ADAPTER}.weight": side for part, side in zip(PARTS, sides, strict=True)}
    return shapes


def _layers(lm: LanguageModel) -> list[Site]:
    """The layers to adapt: every linear layer of every block."""
    if hasattr(lm.model, "peft_config"):
        raise EngineError(
            f"{lm.name} has adapters already, and these must not be adapted once more. Load the model without them, "
            "or with them merged into its weights. The model is unchanged."
        )
    try:
        return block_linears(lm.model)
    except EngineError as error:
        raise EngineError(f"There is no layer that LoRA could adapt: {error}") from error


def _made(model: nn.Module, layers: Sequence[Site], rank: int, alpha: float, seed: int) -> list[_Place]:
    """Let peft put adapters around the layers, and take them out again; the model is as before, also in an error."""
    peft = _peft()
    settings = peft.LoraConfig(
        r=rank,
        lora_alpha=alpha,
        lora_dropout=0.0,
        target_modules=[layer.name for layer in layers],
        fan_in_fan_out=layers[0].transposed,
    )
    wanted = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    seats = [_seat(model, layer) for layer in layers]
    try:
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            peft.inject_adapter_in_model(settings, model, ADAPTER)
        adapted = [getattr(owner, attribute) for owner, attribute in seats]
    finally:
        for layer, (owner, attribute) in zip(layers, seats, strict=True):
            setattr(owner, attribute, layer.module)
        vars(model).pop("peft_config", None)
        for parameter, before in wanted:
            parameter.requires_grad_(before)
    for layer, module in zip(layers, adapted, strict=True):
        module.train(layer.module.training)
        for part in PARTS:
            getattr(module, part).float().requires_grad_(False)
    return [_Place(*seat, layer.module, a) for seat, layer, a in zip(seats, layers, adapted, strict=True)]


def _seat(model: nn.Module, layer: Site) -> tuple[nn.Module, str]:
    """The module that holds a layer, and under which attribute."""
    path, _, attribute = layer.name.rpartition(".")
    return model.get_submodule(path), attribute


def _peft() -> ModuleType:
    try:
        import peft
    except ImportError as error:
        raise EngineError(
            f"LoRA needs the package peft, which cannot be imported here ({error}). Install what requirements.txt "
            "names, peft among it. The model is unchanged."
        ) from error
    return peft
