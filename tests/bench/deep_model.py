"""A deep model: landmark scoring of n rows against exact scoring of all of them, as wall-time ratios in one run.

The model is Llama-shaped with `BLOCKS` blocks and random weights on the CPU, so the figures are about cost alone; what
a configuration is worth is reported on a trained model (`landmark_fidelity`). Landmark scoring is all of
it: an embedding of every row, exact products and norms of 6 % landmarks and a 2 % audit, fit and propagation. Exact
scoring is taken twice: by the engine's batched pass (products and norms, nothing projected), and as LESS does it, one
row at a time with the whole gradient formed and projected to 8,192 coordinates. LESS's projection is replaced by the
randomised Hadamard transform, which is cheaper; the loop takes evenly spaced rows and is extended to n by its rate.

TOUCHSTONE_ROWS (default 400), TOUCHSTONE_BLOCKS (24) and TOUCHSTONE_HIDDEN (256) set the size.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from gradient_speed import response_loss
from scipy.stats import spearmanr
from small_models import (
    Plain,
    batches_of,
    conditions,
    in_order,
    llama_config,
    random_model,
    random_rows,
    setting,
    significant,
    timed,
)

from engine.gradients.embeddings import GradientFeatures, HiddenStates
from engine.gradients.exact import Stacked, exact_products, stack_directions, weighted_gradients
from engine.gradients.jvp import JvpEmbedding
from engine.gradients.parameters import Site, block_linears
from engine.gradients.projection import Hadamard
from engine.influence.regression import KernelRidge
from engine.models.batches import Batch
from engine.models.table import TokenTable

ROWS = setting("ROWS", 400)
BLOCKS = setting("BLOCKS", 24)
HIDDEN = setting("HIDDEN", 256)
BUDGET = setting("BATCH_TOKENS", 2048)
VOCABULARY = 8192
TARGETS = 16
LANDMARKS, AUDIT = 0.06, 0.02
LESS_ROWS, LESS_DIM = 24, 8192

Embed = Callable[[Batch], torch.Tensor]


def gradients(lm: Plain, early_exit: int | None) -> GradientFeatures:
    """The default embedding of a run (`ScoreConfig`), whole or with an early exit."""
    return GradientFeatures(lm, blocks=1, side=24, width=4096, early_exit=early_exit)


EMBEDDINGS: dict[str, Callable[[Plain], Embed]] = {
    "gradients of the last block": lambda lm: gradients(lm, None),
    "gradients, exit after a third": lambda lm: gradients(lm, max(1, BLOCKS // 3)),
    "hidden states": HiddenStates,
    "jvp, rank-one tangents": lambda lm: JvpEmbedding(lm, blocks=4, tangents=2, tangent="rank-one"),
    "jvp, gaussian tangents": lambda lm: JvpEmbedding(lm, blocks=4, tangents=2, tangent="gaussian"),
}


def run(folder: Path) -> dict[str, object]:
    """Seconds of both exact forms and of landmark scoring with each embedding; `folder` is not used."""
    heads = max(1, HIDDEN // 32)
    inner = 32 * round(HIDDEN * 8 / 3 / 32)
    lm = random_model(llama_config(blocks=BLOCKS, hidden=HIDDEN, heads=heads, inner=inner, vocabulary=VOCABULARY))
    pool = random_rows(ROWS, shortest=128, longest=256, vocabulary=VOCABULARY)
    sites = block_linears(lm.model)
    targets = random_rows(TARGETS, shortest=128, longest=256, vocabulary=VOCABULARY, seed=1)
    stacked = target_direction(lm, sites, targets)
    exact, exact_s = exact_scores(lm, pool, np.arange(ROWS), stacked, sites)
    less_s = less_seconds(lm, pool, sites)
    figures: dict[str, object] = {
        "model": f"{BLOCKS} blocks, hidden {HIDDEN}, {sum(s.weight.numel() for s in sites) / 1e6:.1f}M block weights",
        "rows": f"{ROWS} rows of random tokens, {pool.lengths.mean():.0f} each",
        "conditions": conditions(),
        "exact_s": significant(exact_s),
        "less_style_s": significant(less_s),
        "less_style_rows_measured": min(LESS_ROWS, ROWS),
    }
    for name, make in EMBEDDINGS.items():
        found = landmark_scores(lm, pool, make(lm), stacked, sites)
        total = sum(found.seconds.values())
        figures[name] = {
            "seconds": {part: significant(s) for part, s in found.seconds.items()} | {"all": significant(total)},
            "faster_than_exact": significant(exact_s / total, 3),
            "faster_than_less_style": significant(less_s / total, 3),
            "spearman_on_random_weights": found.agreement(exact),
        }
    return figures


def target_direction(lm: Plain, sites: Sequence[Site], targets: TokenTable, *, budget: int = BUDGET) -> Stacked:
    """The mean gradient of the target rows."""
    every = batches_of(targets, budget=budget, device=lm.device)
    weights = [torch.full((len(batch), 1), 1 / len(targets)) for batch in every]
    return stack_directions(weighted_gradients(lm, every, weights, sites).directions, sites)


def exact_scores(
    lm: Plain, pool: TokenTable, rows: np.ndarray, stacked: Stacked, sites: Sequence[Site], *, budget: int = BUDGET
) -> tuple[np.ndarray, float]:
    """Cosine scores (n,) of the given rows, NaN elsewhere, and the seconds they took."""

    def cosine(batch: Batch) -> torch.Tensor:
        products, norms, _ = exact_products(lm, batch, stacked, sites)
        return products[:, 0] / norms

    batches = batches_of(pool, budget=budget, rows=rows, device=lm.device)
    cosine(batches[-1])
    parts, seconds = timed(lambda: [cosine(batch) for batch in batches])
    return in_order(batches, parts, len(pool)), seconds


def less_seconds(lm: Plain, pool: TokenTable, sites: Sequence[Site]) -> float:
    """Seconds for the whole pool at the rate of a few evenly spaced rows, each gradient formed whole and projected."""
    length = sum(site.weight.numel() for site in sites)
    project = Hadamard(length, min(LESS_DIM, length))
    weights = [site.weight for site in sites]

    def one(batch: Batch) -> torch.Tensor:
        for weight in weights:
            weight.requires_grad_(True)
        with torch.enable_grad():
            gradients = torch.autograd.grad(response_loss(lm.model, batch), weights)
        for weight in weights:
            weight.requires_grad_(False)
        return project(torch.cat([g.flatten() for g in gradients]))

    chosen = np.linspace(0, len(pool) - 1, min(LESS_ROWS, len(pool))).astype(np.int64)
    batches = batches_of(pool, budget=1, rows=chosen)
    one(batches[-1])
    _, seconds = timed(lambda: [one(batch) for batch in batches])
    return seconds / sum(batch.ids.numel() for batch in batches) * float(pool.lengths.sum())


class Landmarked:
    """Propagated scores (n,), which rows were measured, and the seconds of each part."""

    def __init__(self, scores: np.ndarray, measured: np.ndarray, seconds: dict[str, float]) -> None:
        self.scores, self.measured, self.seconds = scores, measured, seconds

    def agreement(self, exact: np.ndarray) -> float:
        """Spearman with the exact scores over the rows that were not measured."""
        rest = np.setdiff1d(np.arange(len(exact)), self.measured)
        return round(float(spearmanr(self.scores[rest], exact[rest]).statistic), 3)


def landmark_scores(
    lm: Plain, pool: TokenTable, embed: Embed, stacked: Stacked, sites: Sequence[Site], *, budget: int = BUDGET
) -> Landmarked:
    """Embeddings of all rows, exact scores of a uniform draw, and the propagation."""
    batches = batches_of(pool, budget=budget, device=lm.device)
    embed(batches[-1])
    parts, embedding_s = timed(lambda: [embed(batch) for batch in batches])
    features = in_order(batches, parts, len(pool))
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    drawn = np.random.default_rng(0).permutation(len(pool))
    landmarks = drawn[: max(2, round(LANDMARKS * len(pool)))]
    measured = drawn[: len(landmarks) + max(1, round(AUDIT * len(pool)))]
    known, exact_s = exact_scores(lm, pool, measured, stacked, sites, budget=budget)
    fitted, fit_s = timed(lambda: KernelRidge.fit(features[landmarks], known[landmarks]))
    scores, predict_s = timed(lambda: fitted.predict(features)[:, 0])
    return Landmarked(
        scores, measured, {"embeddings": embedding_s, "landmarks and audit": exact_s, "propagation": fit_s + predict_s}
    )
