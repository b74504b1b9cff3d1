"""A network's mean over all items for each row, or over all rows for each item, without visiting the pairs.

Notation as in `network`. Σ_j relu(a + g_j) is piecewise linear in a, with a knee at every −g_j: with the t values g in
ascending order, k the first place with g_k > −a and S_k = Σ_{j≥k} g_j, it is (t − k)·a + S_k. Each hidden unit sorts
its g once and looks up each a; the other terms are linear in the averaged side and need its mean alone. In all
O((n + t)·hidden·log t) in place of O(n·t·hidden), and exact up to the rounding of a and g; sums are float64.

A few units at a time are held, so each side is read once per group of units and member. Knows nothing of missing rows.
"""

import math
from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from engine.influence.network.network import InfluenceNetwork

UNITS = 25  # hidden units whose sorted values are held: 12 bytes each for every averaged row or item
Blocks = Callable[[], Iterable[Tensor]]


@torch.no_grad()
def mean_over_items(network: InfluenceNetwork, rows: Blocks, items: Blocks) -> Tensor:
    """The mean of f over all items, (n,) float64 in the order of the rows; both sides come in blocks, at least one."""
    return _mean_over(network, rows, items, over_items=True)


@torch.no_grad()
def mean_over_rows(network: InfluenceNetwork, rows: Blocks, items: Blocks) -> Tensor:
    """The mean of f over all rows, (t,) float64 in the order of the items; both sides come in blocks, at least one."""
    return _mean_over(network, items, rows, over_items=False)


def _mean_over(network: InfluenceNetwork, asked: Blocks, averaged: Blocks, *, over_items: bool) -> Tensor:
    near, far = (network.rows_in, network.items_in) if over_items else (network.items_in, network.rows_in)
    slope = _slope(network, _centre(averaged()), over_items=over_items)
    found = torch.cat([block.double() @ slope for block in asked()]) + network.offset.mean().double()
    for member in range(network.config.members):
        for units in torch.arange(network.config.hidden).split(UNITS):
            knees = _Knees(torch.cat([block @ far[member][:, units] for block in averaged()]))
            share = network.out[member, units].double() / network.config.members
            bias = network.bias[member][:, units]
            found += torch.cat([knees.mean(block @ near[member][:, units] + bias) @ share for block in asked()])
    return found


def _centre(blocks: Iterable[Tensor]) -> Tensor:
    """The mean (d,) float64 of all rows of the blocks."""
    parts = [(block.sum(0, dtype=torch.float64), len(block)) for block in blocks]
    return torch.stack([total for total, _ in parts]).sum(0) / sum(count for _, count in parts)


def _slope(network: InfluenceNetwork, centre: Tensor, *, over_items: bool) -> Tensor:
    """What the terms that are linear in the averaged side multiply the asked side with, (d,) float64."""
    near, far = (network.left, network.right) if over_items else (network.right, network.left)
    slope = (near.double() @ (far.double().transpose(1, 2) @ centre)[:, :, None]).squeeze(2)  # (M, d)
    slope = slope / math.sqrt(max(1, network.config.rank))
    if network.similarity.shape[1]:
        parts = torch.tensor(network.parts)
        slope = slope + network.similarity.double().repeat_interleave(parts, dim=1) * centre
    return slope.mean(0)


class _Knees:
    """Some hidden units' values g (t, h) over the averaged side, sorted."""

    def __init__(self, values: Tensor) -> None:
        self.count = len(values)
        self.values = values.T.contiguous().sort(dim=1).values  # (h, t)
        self.sums = torch.zeros(self.values.shape[0], self.count + 1, dtype=torch.float64)  # S
        torch.cumsum(self.values.flip(1), dim=1, dtype=torch.float64, out=self.sums[:, 1:])
        self.sums = self.sums.flip(1)

    def mean(self, values: Tensor) -> Tensor:
        """Σ_j relu(a + g_j) / t (m, h) of a (m, h), float64."""
        asked = values.T.contiguous()  # (h, m)
        places = torch.searchsorted(self.values, -asked, right=True)
        active = (self.count - places).double()
        return ((active * asked + self.sums.gather(1, places)) / self.count).T
