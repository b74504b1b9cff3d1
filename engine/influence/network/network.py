"""The InfluenceNetwork: from the embeddings of a row and an item to the influence of one on the other.

Notation. x_i (d) is the embedding of pool row i, y_j (e) that of item j. The published form is one hidden layer over
`[x_i ; 0 ; y_j]` (arXiv 2502.09969, section 3), f(i, j) = Σ_h v_h·relu(w_hᵀ[x_i ; 0 ; y_j] + b_h) + c. Its first layer
splits, w_hᵀ[x ; 0 ; y] = A_hᵀx + B_hᵀy, and relu(a + g) = max(a, −g) + g, so with a = Aᵀx and g = Bᵀy + b

    f = c + Σ_h v_h·g_h + Σ_h v_h·max(a_h, −g_h):

two products with A and B for all rows and items, then a maximum and a product with v for all pairs, for as many rows at
a time as stay in a core's cache; nothing of n x t x hidden is ever held. To this a `rank` adds
Σ_r (Uᵀx)_r (Wᵀy)_r / √rank, and `cosine` adds Σ_p k_p <x_p, y_p> over the parts p that the embeddings are joined of.
The weights of the published zero never act; they exist so that the shape is the published one (205,101 parameters for
embeddings of 1,024). A point-wise function is a network over one item whose embedding is the number 1. M members stand
side by side, and their mean is the answer.

Trains nothing (`training`) and knows no texts.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from engine.errors import EngineError
from engine.influence.network.config import NetworkConfig

CACHED = 1 << 18  # numbers of n x t x hidden at a time, half of a core's second-level cache


class _Draws:
    """Weights uniform in ±edge, from a generator of their own."""

    def __init__(self, seed: int) -> None:
        self.generator = torch.Generator().manual_seed(seed)

    def __call__(self, *shape: int, edge: float) -> nn.Parameter:
        return nn.Parameter((2 * torch.rand(*shape, generator=self.generator) - 1) * edge)


class InfluenceNetwork(nn.Module):
    """`members` networks over rows of `row_dim` and items of `item_dim` numbers; `parts` are the lengths of the parts.

    Initial weights are those of `nn.Linear`, drawn from `config.seed`. Raises `EngineError` for parts that do not add
    up to both widths where similarities are to enter.
    """

    def __init__(self, row_dim: int, item_dim: int, config: NetworkConfig, *, parts: Sequence[int] = ()) -> None:
        super().__init__()
        self.row_dim, self.item_dim, self.config = row_dim, item_dim, config
        self.parts = tuple(parts) or (row_dim,)
        alike = row_dim == item_dim == sum(self.parts)
        if parts and not alike:
            raise EngineError(
                f"Parts of {self.parts} numbers do not make up rows of {row_dim} and items of {item_dim}. "
                "Nothing was fitted."
            )
        draw = _Draws(config.seed)
        members, hidden = config.members, config.hidden
        edge = 1 / math.sqrt(row_dim + 1 + item_dim)
        self.rows_in = draw(members, row_dim, hidden, edge=edge)  # A
        self.zero_in = draw(members, 1, hidden, edge=edge)
        self.items_in = draw(members, item_dim, hidden, edge=edge)  # B
        self.bias = draw(members, 1, hidden, edge=edge)
        self.out = draw(members, hidden, edge=1 / math.sqrt(hidden))  # v
        self.offset = draw(members, 1, 1, edge=1 / math.sqrt(hidden))  # c
        self.left = draw(members, row_dim, config.rank, edge=1 / math.sqrt(row_dim))  # U
        self.right = draw(members, item_dim, config.rank, edge=1 / math.sqrt(item_dim))  # W
        self.similarity = nn.Parameter(torch.zeros(members, len(self.parts) if config.cosine and alike else 0))  # k

    @property
    def count(self) -> int:
        """How many weights one member has."""
        return sum(weight[0].numel() for weight in self.parameters())

    def forward(self, rows: Tensor, items: Tensor, *, noise: torch.Generator | None = None) -> Tensor:
        """f (M, n, t) of rows (n, d) and items (t, e), for training; small blocks alone.

        With `noise` a share of the inputs' coordinates is dropped for every member, but never from the similarities.
        """
        left, right = self._dropped(rows, noise), self._dropped(items, noise)
        hidden = torch.relu((left @ self.rows_in + self.bias)[:, :, None] + (right @ self.items_in)[:, None])
        found = (hidden @ self.out[:, None, :, None]).squeeze(3) + self.offset  # (M, n, t)
        if self.config.rank:
            found = found + (left @ self.left) @ (right @ self.right).transpose(1, 2) / math.sqrt(self.config.rank)
        for k, (r, i) in zip(self.similarity.T, self._parts(rows, items)):
            found = found + k[:, None, None] * (r @ i.T)
        return found

    def pairs(self, rows: Tensor, items: Tensor, *, noise: torch.Generator | None = None) -> Tensor:
        """f (M, m) of single pairs, from rows (m, d) and items (m, e): the published form."""
        left, right = self._dropped(rows, noise), self._dropped(items, noise)
        hidden = torch.relu(left @ self.rows_in + right @ self.items_in + self.bias)  # (M, m, h)
        found = (hidden @ self.out[:, :, None]).squeeze(2) + self.offset[:, :, 0]
        if self.config.rank:
            found = found + ((left @ self.left) * (right @ self.right)).sum(2) / math.sqrt(self.config.rank)
        for k, (r, i) in zip(self.similarity.T, self._parts(rows, items)):
            found = found + k[:, None] * (r * i).sum(1)
        return found

    def _dropped(self, values: Tensor, noise: torch.Generator | None) -> Tensor:
        """Inputs with a share of their coordinates set to 0, for each member anew (M, m, ·)."""
        share = self.config.dropout
        if noise is None or not share or values.shape[1] == 1:
            return values
        keep = torch.rand(self.config.members, *values.shape, generator=noise) >= share
        return values * keep / (1 - share)

    def _parts(self, rows: Tensor, items: Tensor) -> list[tuple[Tensor, Tensor]]:
        if not self.similarity.shape[1]:
            return []
        return list(zip(rows.split(self.parts, dim=1), items.split(self.parts, dim=1)))

    @torch.no_grad()
    def mean(self, rows: Tensor, items: Tensor) -> Tensor:
        """The members' mean (n, t), float32: all pairs by the split layer, for one block of rows and items."""
        found = self._of_member(0, rows, items)
        for member in range(1, self.config.members):
            found += self._of_member(member, rows, items)
        return found.div_(self.config.members)

    def _of_member(self, member: int, rows: Tensor, items: Tensor) -> Tensor:
        out = self.out[member]
        left = self.rows_in[member].T @ rows.T  # a (h, n)
        right = self.items_in[member].T @ items.T + self.bias[member].T  # g (h, t)
        found = _maxima(left, -right, out)
        found += out @ right + self.offset[member]  # (n, t)
        if self.config.rank:
            found += (rows @ self.left[member]) @ (items @ self.right[member]).T / math.sqrt(self.config.rank)
        for k, (r, i) in zip(self.similarity[member], self._parts(rows, items)):
            found += k * (r @ i.T)
        return found


def _maxima(left: Tensor, right: Tensor, weights: Tensor) -> Tensor:
    """Σ_h w_h·max(left_h, right_h) (n, t) of left (h, n), right (h, t) and weights (h,)."""
    hidden, rows, items = *left.shape, right.shape[1]
    found = left.new_empty(rows * items)
    if not found.numel():
        return found.view(rows, items)
    step = max(1, CACHED // (hidden * items))  # rows at a time
    room = left.new_empty(hidden * min(step, rows) * items)
    for part, place in zip(left[:, :, None].split(step, dim=1), found.split(step * items)):
        pairs = room[: hidden * len(place)].view(hidden, -1, items)
        torch.maximum(part, right[:, None], out=pairs)
        torch.mm(weights[None], pairs.flatten(1), out=place[None])
    return found.view(rows, items)
