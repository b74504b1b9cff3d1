"""Speed of the gradient engines on the built-in model, as ratios measured in one run, and what each is worth.

    jvp          JVP embeddings, 4 blocks and 2 tangents, against the loop as published: one row and one tangent at a
                 time, the primal computed again for each
    directional  inner products from forward passes alone against exact ones, for 1, 4 and 16 directions
    exact        products and norms by three engines: each layer's gradient formed, the ghost identities, and a loop of
                 one backward pass per row; beside them the one that the engine chooses layer by layer
    embeddings   rows per second of every embedding beside the exact engine

All run on the same rows under one thread count. TOUCHSTONE_ROWS (default 240) sets how many; the loops take a share of
them, evenly spaced in length, and are stated in rows per second.
"""

import copy
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.stats import spearmanr
from small_models import batches_of, builtin_rows, conditions, in_order, setting, significant, timed
from torch.nn.attention import SDPBackend, sdpa_kernel

from engine.gradients.capture import backward
from engine.gradients.directional import Directional
from engine.gradients.embeddings import EMBEDDINGS
from engine.gradients.exact import Direction, exact_products, stack_directions, weighted_gradients
from engine.gradients.jvp import JvpEmbedding
from engine.gradients.layers import layer_gradients
from engine.gradients.parameters import Site, block_linears, block_stack
from engine.models.batches import Batch
from engine.models.loading import load
from engine.models.sources import BUILTIN, resolve

ROWS = setting("ROWS", 240)
BUDGET = setting("BATCH_TOKENS", 2048)
LOOP_SHARE = 6  # the one-row loops take every sixth row
DIRECTIONS = (1, 4, 16)


def run(folder: Path) -> dict[str, object]:
    """All four comparisons; `folder` is not used."""
    lm = load(resolve(BUILTIN), device="cpu", dtype="float32")
    table, what = builtin_rows(lm, ROWS)
    every = batches_of(table, budget=BUDGET)
    loop = batches_of(table, budget=1, rows=np.argsort(table.lengths, kind="stable")[::LOOP_SHARE])
    sites = block_linears(lm.model)
    return {
        "rows": f"{len(table)} {what}, {table.lengths.mean():.0f} tokens each",
        "loop_rows": len(loop),
        "conditions": conditions(),
        "jvp": jvp_figures(lm, every, loop),
        "directional": directional_figures(lm, every, sites, len(table)),
        "exact": exact_figures(lm, every, loop, sites, len(table)),
        "embeddings": embedding_figures(lm, every, sites),
    }


def jvp_figures(lm: Any, every: Sequence[Batch], loop: Sequence[Batch]) -> dict[str, object]:
    """Rows per second of the engine's embedding, with each kind of tangent, and of the loop as published."""
    published = PublishedJvp(lm.model, blocks=4, tangents=2)
    _, seconds = timed(lambda: [published(batch) for batch in loop])
    slow = len(loop) / seconds
    figures: dict[str, object] = {"published_loop_rows_per_s": significant(slow)}
    for kind in ("gaussian", "rank-one"):
        embedding = JvpEmbedding(lm, blocks=4, tangents=2, tangent=kind)
        embedding(every[-1])
        rate = _rate(embedding, every)
        figures[kind] = {"rows_per_s": significant(rate), "times_the_loop": significant(rate / slow, 3)}
    return figures


class PublishedJvp:
    """The embedding as published: every row by itself, one `jvp` per Gaussian tangent, final norm, last token."""

    def __init__(self, model: Any, *, blocks: int, tangents: int, seed: int = 0) -> None:
        self.base = copy.deepcopy(model.base_model)
        stack = block_stack(self.base)
        setattr(stack.owner, stack.attribute, stack.blocks[:blocks])
        held = {id(site.weight) for site in block_linears(self.base)}
        named = dict(self.base.named_parameters())
        self.values = {name: p.detach() for name, p in named.items() if id(p) in held}
        generator = torch.Generator().manual_seed(seed)
        self.tangents = [
            {name: torch.randn(p.shape, generator=generator) for name, p in self.values.items()}
            for _ in range(tangents)
        ]

    @torch.no_grad()
    def __call__(self, batch: Batch) -> torch.Tensor:
        """The vectors (1, tangents · H) of a batch of one row."""

        def hidden(parameters: dict[str, torch.Tensor]) -> torch.Tensor:
            found = torch.func.functional_call(self.base, parameters, kwargs={"input_ids": batch.ids})
            return found.last_hidden_state[:, -1]

        with sdpa_kernel(SDPBackend.MATH):
            moved = [torch.func.jvp(hidden, (self.values,), (tangent,))[1] for tangent in self.tangents]
        return torch.cat(moved, dim=1)


def directional_figures(lm: Any, every: Sequence[Batch], sites: Sequence[Site], count: int) -> dict[str, object]:
    """Agreement with exact inner products, and wall time against them, in both modes."""
    directions = made_directions(lm, every, sites, max(DIRECTIONS))
    return {str(number): _directional(lm, every, sites, directions[:number], count) for number in DIRECTIONS}


def _directional(
    lm: Any, every: Sequence[Batch], sites: Sequence[Site], directions: Sequence[Direction], count: int
) -> dict[str, object]:
    stacked = stack_directions(directions, sites)
    truth, exact_s = _products(lambda batch: exact_products(lm, batch, stacked, sites, norm=False)[0], every, count)
    figures: dict[str, object] = {"exact_s": significant(exact_s)}
    for mode in ("difference", "forward"):
        instrument = Directional(lm, sites, directions, mode=mode)
        instrument.check(every[-1])
        parts, seconds = timed(lambda: instrument.shard(every))  # noqa: B023
        found = in_order(every, [products for products, _ in parts], count)
        times = {"s": significant(seconds), "share_of_exact": significant(seconds / exact_s, 3)}
        figures[mode] = times | agreement(found, truth)
    return figures


def made_directions(lm: Any, every: Sequence[Batch], sites: Sequence[Site], count: int) -> list[Direction]:
    """Mean gradients of `count` disjoint parts of the rows."""
    weights = []
    for batch in every:
        part = torch.from_numpy(batch.rows % count)
        weights.append(torch.nn.functional.one_hot(part, count).float())
    return list(weighted_gradients(lm, every, weights, sites).directions)


def agreement(found: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """The lowest Spearman over directions (n, s), and the largest error relative to a direction's largest product."""
    good = np.isfinite(truth).all(axis=1) & np.isfinite(found).all(axis=1)
    ranks = [spearmanr(found[good, j], truth[good, j]).statistic for j in range(truth.shape[1])]
    errors = np.abs(found[good] - truth[good]).max(axis=0) / np.abs(truth[good]).max(axis=0)
    return {"lowest_spearman": round(float(min(ranks)), 6), "largest_relative_error": significant(errors.max(), 2)}


def exact_figures(
    lm: Any, every: Sequence[Batch], loop: Sequence[Batch], sites: Sequence[Site], count: int
) -> dict[str, object]:
    """Rows per second of the products with one direction and the norms, by each engine; and that they agree."""
    direction = made_directions(lm, every, sites, 1)
    stacked = stack_directions(direction, sites)
    engines: dict[str, Callable[[Batch], torch.Tensor]] = {
        "explicit": lambda batch: _forced(lm, batch, sites, direction[0], explicit_form),
        "ghost": lambda batch: _forced(lm, batch, sites, direction[0], ghost_form),
        "chosen_per_layer": lambda batch: _joined(*exact_products(lm, batch, stacked, sites)[:2]),
        "one_row_loop": lambda batch: one_row(lm, batch, sites, direction[0]),
    }
    figures: dict[str, object] = {}
    found: dict[str, np.ndarray] = {}
    for name, engine in engines.items():
        taken = loop if name == "one_row_loop" else every
        engine(taken[-1])
        found[name], seconds = _products(engine, taken, count)
        rows = sum(len(batch) for batch in taken)
        figures[name] = {"rows_per_s": significant(rows / seconds)}
    known = np.isfinite(found["one_row_loop"]).all(axis=1)
    truth = found["one_row_loop"][known]
    for name in engines:
        worst = (np.abs(found[name][known] - truth) / np.abs(truth).max(axis=0)).max()
        figures[name] |= {"off_the_loop_by": significant(float(worst), 2)}  # type: ignore[operator]
    return figures


Form = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], tuple[torch.Tensor, torch.Tensor]]


def explicit_form(signal: torch.Tensor, inputs: torch.Tensor, u: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Products with U (out, in) and squared norms (B,) of one layer, its gradient formed for a few rows at a time."""
    products, squares = [], []
    for _, gradient in layer_gradients(signal, inputs):
        flat = gradient.flatten(1)
        products.append(flat @ u.flatten())
        squares.append(torch.linalg.vecdot(flat, flat))
    return torch.cat(products), torch.cat(squares)


def ghost_form(signal: torch.Tensor, inputs: torch.Tensor, u: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The same from pairs of positions; no gradient is formed."""
    products = torch.linalg.vecdot(signal @ u, inputs).sum(dim=1)
    pairs = (signal @ signal.transpose(1, 2)) * (inputs @ inputs.transpose(1, 2))  # (B, T, T)
    return products, pairs.sum(dim=(1, 2))


def _forced(lm: Any, batch: Batch, sites: Sequence[Site], direction: Direction, form: Form) -> torch.Tensor:
    products = torch.zeros(len(batch), dtype=torch.float64)
    squares = torch.zeros(len(batch), dtype=torch.float64)

    def consume(index: int, signal: torch.Tensor, inputs: torch.Tensor) -> None:
        part, square = form(signal, inputs, direction[index])
        products.add_(part)
        squares.add_(square)

    backward(lm, batch, sites, consume)
    return _joined(products, squares.clamp_min(0).sqrt())


def one_row(lm: Any, batch: Batch, sites: Sequence[Site], direction: Direction) -> torch.Tensor:
    """Product and norm (1, 2) of a batch of one row, by autograd on the weights."""
    weights = [site.weight.requires_grad_(True) for site in sites]
    try:
        with torch.enable_grad():
            gradients = torch.autograd.grad(response_loss(lm.model, batch), weights)
    finally:
        for weight in weights:
            weight.requires_grad_(False)
    matrices = [site.as_matrix(g) for site, g in zip(sites, gradients)]
    product = sum(float((g * u).sum()) for g, u in zip(matrices, direction))
    norm = sum(float(g.square().sum()) for g in matrices) ** 0.5
    return torch.tensor([[product, norm]])


def response_loss(model: Any, batch: Batch) -> torch.Tensor:
    """The mean cross-entropy of a batch of one row over its response tokens."""
    labels = batch.ids.where(batch.response, -100)
    logits = model(input_ids=batch.ids, use_cache=False).logits
    return torch.nn.functional.cross_entropy(logits[0, :-1].float(), labels[0, 1:])


def embedding_figures(lm: Any, every: Sequence[Batch], sites: Sequence[Site]) -> dict[str, object]:
    """Rows per second of every embedding with its default settings, and their cost as a share of the exact engine's."""
    stacked = stack_directions(made_directions(lm, every, sites, 1), sites)
    exact = _rate(lambda batch: exact_products(lm, batch, stacked, sites)[0], every)
    figures: dict[str, object] = {"exact_rows_per_s": significant(exact)}
    for name, make in EMBEDDINGS.items():
        embedding = make(lm)
        embedding(every[-1])
        rate = _rate(embedding, every)
        figures[name] = {
            "rows_per_s": significant(rate),
            "cost_against_exact": significant(exact / rate, 3),
            "coordinates": embedding.dim,
        }
    return figures


def _products(
    measure: Callable[[Batch], torch.Tensor], batches: Sequence[Batch], count: int
) -> tuple[np.ndarray, float]:
    parts, seconds = timed(lambda: [measure(batch) for batch in batches])
    return in_order(batches, parts, count), seconds


def _rate(measure: Callable[[Batch], torch.Tensor], batches: Sequence[Batch]) -> float:
    _, seconds = timed(lambda: [measure(batch) for batch in batches])
    return sum(len(batch) for batch in batches) / seconds


def _joined(products: torch.Tensor, norms: torch.Tensor) -> torch.Tensor:
    return torch.stack([products.flatten(), norms], dim=1)
