"""Which layers of the last blocks gradient features are taken in, found by position and shape, never by name.

In the order of evaluation a transformer block ends with the layer that writes back to the residual stream, the
*down* projection: the last linear layer as wide as what the block's first one reads. The *mlp* is that layer and its
siblings, the linear layers of the same module. Features of these alone need no backward pass through the attention of
the first block that holds one. (METHODS section 3, truncated-backward gradient features.)
"""

from typing import Literal, get_args

from torch import nn

from engine.errors import EngineError
from engine.gradients.parameters import Site, block_linears, block_stack

Sites = Literal["all", "mlp", "down"]


def feature_sites(model: nn.Module, blocks: int, which: Sites = "all") -> list[Site]:
    """The sites of the last `blocks` blocks, all or those of their MLP or down projection alone, in order.

    Raises `EngineError` for an unknown kind, more blocks than there are, or a block without such layers of its own.
    """
    if which not in get_args(Sites):
        raise EngineError(f"The sites are {which!r}; they must be one of: {', '.join(get_args(Sites))}.")
    sites = block_linears(model, last=blocks)
    if which == "all":
        return sites
    stack = block_stack(model)
    prefixes = [f"{stack.name}.{k}." for k in range(len(stack.blocks) - blocks, len(stack.blocks))]
    groups = [[site for site in sites if site.name.startswith(prefix)] for prefix in prefixes]
    return [site for group in groups if group for site in _chosen(group, which)]


def _chosen(block: list[Site], which: Sites) -> list[Site]:
    """Of the sites of one block, in order of evaluation."""
    writing = [site for site in block if site.out_features == block[0].in_features]
    mlp = [site for site in block if writing and _parent(site) == _parent(writing[-1])]
    if not writing or len(mlp) == len(block):
        raise EngineError(
            f"No MLP stands apart in the block of {block[0].name} ({len(block)} linear layers), so features cannot be "
            f"taken in its {which!r} layers alone. Choose sites 'all'. Nothing was computed."
        )
    return mlp if which == "mlp" else writing[-1:]


def _parent(site: Site) -> str:
    return site.name.rpartition(".")[0]
