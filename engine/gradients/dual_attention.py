"""Attention and its derivatives along several directions, in one pass over blocks of queries that fit the cache.

Notation. Queries, keys and values come as lists [x, ẋ_1, …, ẋ_V] of plain tensors: values first, then their tangents.
With s = scale · q kᵀ (plus the mask), p = softmax(s) and o = p v, all directions share p:
    ȯ = (p ⊙ ṡ) v − rowsum(p ⊙ ṡ) ⊙ o + p v̇,  ṡ = scale · (q̇ kᵀ + q k̇ᵀ).
Keys behind the last one that a block of queries may see are skipped. Nothing of size T × S outlives its block.
"""

from math import sqrt

import torch
from torch import Tensor

QUERIES = 64  # per block


def attended(
    query: list[Tensor],
    key: list[Tensor],
    value: list[Tensor],
    *,
    mask: Tensor | None = None,
    causal: bool = False,
    scale: float | None = None,
) -> list[Tensor]:
    """[o, ȯ_1, …, ȯ_V], each (B, h, T, d'), from (B, h, T, d), (B, h, S, d) and (B, h, S, d').

    `mask` is bool (True: seen) or is added to the scores, of any shape that broadcasts to (B, h, T, S).
    """
    batch, heads, length, width = query[0].shape
    factor = 1 / sqrt(width) if scale is None else scale
    q = [x.reshape(batch * heads, length, width) * factor for x in query]
    k = [x.reshape(batch * heads, -1, width).transpose(1, 2) for x in key]  # (B·h, d, S)
    v = [x.reshape(batch * heads, k[0].shape[2], -1) for x in value]
    added = _scores_mask(mask, causal, (batch, heads, length, k[0].shape[2]), q[0])
    out = [q[0].new_empty(len(q[0]), length, v[0].shape[2]) for _ in q]
    for start in range(0, length, QUERIES):
        here = slice(start, min(start + QUERIES, length))
        _block(q, k, v, out, here, added, batch)
    return [x.unflatten(0, (batch, heads)) for x in out]  # (B, h, T, d')


def _scores_mask(mask: Tensor | None, causal: bool, shape: tuple[int, int, int, int], like: Tensor) -> Tensor | None:
    """What is added to the scores, (B or 1, h or 1, T, S), or None."""
    if causal:
        seen = torch.ones(shape[2:], dtype=torch.bool, device=like.device).tril()
        return like.new_zeros(shape[2:]).masked_fill_(~seen, -torch.inf)[None, None]
    if mask is None:
        return None
    added = like.new_zeros(mask.shape).masked_fill_(~mask, -torch.inf) if mask.dtype == torch.bool else mask
    while added.ndim < 4:
        added = added.unsqueeze(0)
    return added.expand(*added.shape[:2], *shape[2:])


def _block(
    q: list[Tensor], k: list[Tensor], v: list[Tensor], out: list[Tensor], here: slice, mask: Tensor | None, batch: int
) -> None:
    """The output (B·h, here, d') of a block of queries and its tangents, written into `out`."""
    keys = k[0].shape[2]
    if mask is not None:
        part = mask[:, :, here]  # (B or 1, h or 1, b, S)
        keys = _last_seen(part)
        k, v = [x[:, :, :keys] for x in k], [x[:, :keys] for x in v]
    scores = torch.bmm(q[0][:, here], k[0])  # (B·h, b, S)
    if mask is not None:
        scores.unflatten(0, (batch, -1)).add_(part[..., :keys])
    p = torch.softmax(scores, dim=-1)
    o = torch.bmm(p, v[0])
    out[0][:, here] = o
    for n in range(1, len(q)):
        moved = torch.bmm(q[n][:, here], k[0]).baddbmm_(q[0][:, here], k[n]).mul_(p)  # p ⊙ ṡ
        shift = moved.sum(dim=-1, keepdim=True).mul(o)
        out[n][:, here] = torch.bmm(moved, v[0]).baddbmm_(p, v[n]).sub_(shift)


def _last_seen(mask: Tensor) -> int:
    """How many keys, from the first, any query of this block may see; all of them off the CPU, to avoid a wait."""
    if mask.device.type != "cpu":
        return mask.shape[-1]
    seen = (mask > -1e4).flatten(0, -2).any(dim=0).nonzero()
    return int(seen[-1]) + 1 if len(seen) else mask.shape[-1]
