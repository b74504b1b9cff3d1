"""Random directions in the linear weights of the first blocks, fixed by seed and parameter name.

Notation. A direction Ẇ of a weight W (out, in) is *gaussian*, with standard normal entries, or *rank-one*, Ẇ = b aᵀ
with standard normal b (out,) and a (in,): E‖Ẇx‖² is the same, and Ẇx = b (aᵀx) costs one narrow product instead of one
as wide as the layer. The same for every sample, batch and depth. (arXiv 2505.19051; METHODS section 1.)
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from engine.gradients.forwarding import base_model
from engine.gradients.keyed import keyed_generator
from engine.gradients.parameters import Site, block_linears, block_stack

Tangent = Literal["gaussian", "rank-one"]


@dataclass(frozen=True)
class RankOne:
    """V directions Ẇ_v = b_v a_vᵀ of one weight: `out` is b (V, out), `into` is a (V, in)."""

    out: Tensor
    into: Tensor

    def dense(self, site: Site) -> Tensor:
        """The directions (V, …) in the layout of the site's weight."""
        full = self.out.unsqueeze(2) * self.into.unsqueeze(1)  # (V, out, in)
        return full.transpose(1, 2) if site.transposed else full

    def __getitem__(self, which: slice) -> "RankOne":
        """Some of the directions."""
        return RankOne(self.out[which], self.into[which])


Tangents = Mapping[str, Tensor | RankOne]


def draw_tangents(sites: Mapping[str, Site], count: int, tangent: Tangent, *, seed: int) -> Tangents:
    """`count` directions of every site, by its name."""
    if tangent == "gaussian":
        return {name: _gaussian(name, site.weight, count, seed) for name, site in sites.items()}
    return {name: _rank_one(name, site, count, seed) for name, site in sites.items()}


def dense(tangents: Tangents, sites: Mapping[str, Site]) -> dict[str, Tensor]:
    """The directions (V, …) in the layout of each weight, rank-one ones written out."""
    return {name: t if isinstance(t, Tensor) else t.dense(sites[name]) for name, t in tangents.items()}


def shallow_sites(model: nn.Module, depth: int) -> dict[str, Site]:
    """The linear weights of the first `depth` blocks, by their parameter name in the model without its head."""
    by_weight = {id(site.weight): site for site in block_linears(model)}
    inside = {id(p) for block in list(block_stack(model).blocks)[:depth] for p in block.parameters()}
    named = base_model(model).named_parameters()
    return {name: by_weight[id(p)] for name, p in named if id(p) in by_weight and id(p) in inside}


def _gaussian(name: str, parameter: Tensor, count: int, seed: int) -> Tensor:
    """(V, *shape), entry by entry standard normal."""
    draws = [_normal(parameter.shape, "tangent", seed, name, v) for v in range(count)]
    return torch.from_numpy(np.stack(draws)).to(device=parameter.device, dtype=parameter.dtype)


def _rank_one(name: str, site: Site, count: int, seed: int) -> RankOne:
    sides = (("out", site.out_features), ("in", site.in_features))
    out, into = (
        torch.from_numpy(np.stack([_normal((size,), "rank-one", side, seed, name, v) for v in range(count)])).to(
            device=site.weight.device, dtype=site.weight.dtype
        )
        for side, size in sides
    )
    return RankOne(out, into)


def _normal(shape: tuple[int, ...], *key: object) -> np.ndarray:
    return np.random.Generator(keyed_generator(*key)).standard_normal(shape, np.float32)
