"""Which parameters a gradient is taken in: by default the linear weights of the transformer blocks, by structure.

Notation. A *block* is one element of the model's stack of transformer layers, whatever it is called
(`model.layers`, `transformer.h`, `gpt_neox.layers` …). A *site* is one parameter, read as a matrix (out, in): a
linear weight W applied as y = W x; a token embedding (vocabulary, hidden), which is a linear weight applied to one-hot
tokens, so that an embedding tied to the output head is one site with two uses; or the weight or bias of a norm, read
as (n, 1). The sites are the parameter set of every method of a run, so that all of them estimate one quantity.

Knows nothing of data, losses or projections, and never changes a model. `subsets` chooses among the sites.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Literal

from torch import Tensor, nn

from engine.errors import EngineError

Kind = Literal["linear", "embedding", "vector"]


@dataclass(frozen=True)
class Site:
    """One parameter of the parameter set.

    `weight` of `module` is (out, in) for `nn.Linear` and `nn.Embedding`, (in, out) for GPT-2's Conv1D (`transposed`),
    and (out,) with in = 1 for a `vector`, the parameter called `parameter` of a norm; the gradient is always written
    as (out, in). `tied` are further modules that hold the very same weight.
    """

    name: str
    module: nn.Module
    in_features: int
    out_features: int
    transposed: bool = False
    tied: tuple[nn.Module, ...] = ()
    parameter: str = "weight"
    kind: Kind = "linear"

    @property
    def weight(self) -> Tensor:
        """The parameter itself, in the module's own layout."""
        return getattr(self.module, self.parameter)

    def as_matrix(self, values: Tensor) -> Tensor:
        """Values in the module's own layout, such as a gradient or the weight itself, as a view (out, in)."""
        if self.kind == "vector":
            return values.unsqueeze(1)
        return values.T if self.transposed else values

    @property
    def modules(self) -> tuple[nn.Module, ...]:
        """Every module that applies this weight."""
        return (self.module, *self.tied)


@dataclass(frozen=True)
class Stack:
    """Where the blocks live: attribute `attribute` of `owner`, reached by the path `name`."""

    name: str
    owner: nn.Module
    attribute: str
    blocks: nn.ModuleList


def block_stack(model: nn.Module) -> Stack:
    """The outermost `nn.ModuleList` that holds most of the weights: the transformer blocks.

    Raises `EngineError` for a model without such a list.
    """
    found = list(_outermost_lists(model, prefix=""))
    sized = [(sum(site.weight.numel() for site in _linears(stack.blocks)), stack) for stack in found]
    sized = [pair for pair in sized if pair[0] > 0]
    if not sized:
        raise EngineError(
            f"{type(model).__name__} has no list of transformer blocks with linear layers, so there is no parameter "
            "set to take gradients in. Choose a decoder language model. Nothing was computed."
        )
    return max(sized, key=lambda pair: pair[0])[1]


@contextmanager
def shortened(stack: Stack, depth: int) -> Iterator[None]:
    """Let the stack's owner hold only its first `depth` blocks, and give it back whole."""
    whole: nn.ModuleList = getattr(stack.owner, stack.attribute)
    setattr(stack.owner, stack.attribute, whole[:depth])
    try:
        yield
    finally:
        setattr(stack.owner, stack.attribute, whole)


def blocks(model: nn.Module) -> list[nn.Module]:
    """The transformer blocks in order of evaluation. Raises `EngineError` if there are none."""
    return list(block_stack(model).blocks)


def block_linears(model: nn.Module, last: int | None = None) -> list[Site]:
    """The sites of the last `last` blocks (None: all), in order of evaluation; a shared weight appears once.

    Raises `EngineError` if `last` is not between 1 and the number of blocks.
    """
    stack = block_stack(model)
    count = len(stack.blocks)
    if last is not None and not 1 <= last <= count:
        raise EngineError(
            f"Gradients of the last {last} blocks asked for; the model has {count}. Ask for 1 to {count}."
        )
    start = 0 if last is None else count - last
    sites = [site for index in range(start, count) for site in _linears(stack.blocks[index], f"{stack.name}.{index}")]
    return join_tied(sites)


def is_linear(module: nn.Module) -> bool:
    """Whether a module is y = W x (+ b) on its last axis: `nn.Linear` or GPT-2's Conv1D."""
    return isinstance(module, nn.Linear) or _is_conv1d(module)


def _is_conv1d(module: nn.Module) -> bool:
    weight = getattr(module, "weight", None)
    return (
        type(module).__name__ == "Conv1D" and hasattr(module, "nf") and isinstance(weight, Tensor) and weight.ndim == 2
    )


def linear_site(name: str, module: nn.Module) -> Site:
    """The site of a linear module."""
    transposed = _is_conv1d(module)
    rows, columns = module.weight.shape  # type: ignore[misc]
    out_features, in_features = (columns, rows) if transposed else (rows, columns)
    return Site(name, module, int(in_features), int(out_features), transposed)


def _linears(root: nn.Module, prefix: str = "") -> list[Site]:
    named = root.named_modules(prefix=prefix)
    return [linear_site(name, module) for name, module in named if is_linear(module)]


def join_tied(sites: list[Site]) -> list[Site]:
    """The sites with those that hold one parameter made one, at the place of the first."""
    groups: dict[int, list[Site]] = {}
    for site in sites:
        groups.setdefault(id(site.weight), []).append(site)
    return [_joined(group) for group in groups.values()]


def _joined(group: list[Site]) -> Site:
    first = group[0]
    others: list[nn.Module] = []
    for site in group[1:]:
        if site.module is not first.module and all(site.module is not other for other in others):
            others.append(site.module)
    return replace(first, tied=tuple(others))


def _outermost_lists(module: nn.Module, prefix: str) -> Iterator[Stack]:
    for name, child in module.named_children():
        path = f"{prefix}.{name}" if prefix else name
        if isinstance(child, nn.ModuleList):
            yield Stack(path, module, name, child)
        else:
            yield from _outermost_lists(child, path)
