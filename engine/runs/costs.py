"""What each part of a scoring run costs: floating-point operations from the model's size, seconds from a measurement.

Notation: N parameters, D blocks, one token. A forward pass is 2N FLOPs; carrying gradients back through the blocks is
2N more, and every layer's products of a row a further 2N: 6N for an exactly measured row. Features from the gradients
of the last k blocks cost 2N·E/D + 4N·k/D, with an early exit after E of the D blocks; a forward-mode derivative along V
tangents through k blocks 2N·(1+V)·k/D.
Seconds come from the very operations on a few batches, on the device of the run. Knows no catalogue.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from engine.gradients.exact import stack_directions
from engine.gradients.forwarding import predictions, response_logits, row_losses
from engine.gradients.measured import measured_rows
from engine.gradients.parameters import blocks
from engine.gradients.projection import FactoredProjection
from engine.influence.functions.base import Passes
from engine.models.batches import Batch, collate, plan_batches
from engine.models.loading import LanguageModel
from engine.models.table import TokenTable
from engine.runs.config import ScoreConfig
from engine.runs.embedding import RowEmbedding, row_embedding
from engine.runs.parameters import Parameters

FORWARD, BACKWARD = 2, 4  # FLOPs per parameter and token
TARGET_PASSES = 2  # norms and projections of the target items first, then their weighted sum
MEASURED_TOKENS = 4096
BACKWARD_ONLY = frozenset({"less", "exact"})  # functions that go forward and back; LESS is timed as if in all weights


@dataclass(frozen=True)
class Speed:
    """Measured seconds per token: embedding (with the loss), exact gradients, forward passes; and to load the model.

    `encoding` is seconds per text of the sentence model. What a run does not need is not measured and 0.
    """

    parameters: int
    device: str
    embedding: float
    gradients: float
    loading: float
    depth: int = 1
    notes: tuple[str, ...] = ()
    forward: float = 0.0
    encoding: float = 0.0


def gradient_flops(speed: Speed, tokens: int) -> float:
    """FLOPs of exactly measured rows of so many tokens."""
    return float((FORWARD + BACKWARD) * speed.parameters * tokens)


def curvature_flops(speed: Speed, landmarks: int, target_tokens: int) -> float:
    """FLOPs of one Hessian product over the target set per landmark: 12N a token (`influence.curvature`)."""
    return 2 * gradient_flops(speed, landmarks * target_tokens)


def passes_flops(speed: Speed, passes: Passes) -> float:
    """FLOPs of an influence function's passes: 2N a token forward, 6N forward and back."""
    per_token = FORWARD + BACKWARD if passes.backward else FORWARD
    return float(per_token * speed.parameters * passes.tokens)


def passes_seconds(speed: Speed, passes: Passes) -> float:
    """Seconds of an influence function's passes."""
    return (speed.gradients if passes.backward else speed.forward) * passes.tokens


def embedding_flops(speed: Speed, config: ScoreConfig, tokens: int) -> float:
    """FLOPs of embedding rows of so many tokens; sentence embeddings count as their own model's, which is not known."""
    depth = max(speed.depth, 1)
    run = min(config.early_exit or depth, depth)
    shares = {
        "gradient": (FORWARD * run + BACKWARD * min(config.gradient_blocks, run)) / depth,
        "jvp": FORWARD * (1 + config.jvp_tangents) * min(config.jvp_blocks, depth) / depth,
    }
    return float(shares.get(config.embedding, FORWARD) * speed.parameters * tokens)


def time_operations(
    lm: LanguageModel,
    table: TokenTable,
    rows: np.ndarray,
    config: ScoreConfig,
    parameters: Parameters,
    *,
    sets: int,
    loading: float,
) -> Speed:
    """Time an exact measurement and the embedding on a few batches of `rows` of the table."""
    count = sum(p.numel() for p in lm.model.parameters())
    depth, device = len(blocks(lm.model)), str(lm.device)
    batches = plan_batches(table.lengths[rows], max_tokens=min(config.batch_tokens, MEASURED_TOKENS))
    if not batches:
        return Speed(
            count, device, 0.0, 0.0, loading, depth, ("none of the samples drawn has tokens: no speed measured",)
        )
    few = [batches[int(i)] for i in np.unique(np.linspace(0, len(batches) - 1, 3).round())]
    made = [collate(table, rows[part], pad_id=lm.pad_id, device=lm.device) for part in few]
    if config.function is not None:
        forward = _per_token(_forward(lm), made)
        goes_back = config.function in BACKWARD_ONLY or config.warm_up == "on"
        backward = _per_token(_exact(lm, config, parameters, 1), made) if goes_back else 0.0
        return Speed(count, device, 0.0, backward, loading, depth, forward=forward)
    if config.method == "directional":  # two forward passes per direction
        return Speed(count, device, 0.0, 2 * sets * _per_token(_forward(lm), made), loading, depth)
    gradients = _per_token(_exact(lm, config, parameters, sets), made)
    if config.method != "landmark":
        return Speed(count, device, 0.0, gradients, loading, depth)
    name = "hidden" if config.embedding in ("auto", "sentence") else config.embedding
    embedding = row_embedding(name, lm, config)
    return Speed(count, device, _per_token(_embed(embedding), made), gradients, loading, depth)


def _exact(lm: LanguageModel, config: ScoreConfig, parameters: Parameters, sets: int) -> Callable[[Batch], object]:
    directions = [tuple(torch.zeros(s.out_features, s.in_features) for s in parameters.sites)] * max(1, sets)
    stacked = stack_directions(directions, parameters.sites)
    projection = FactoredProjection(parameters.sites, width=config.projection, seed=config.seed)
    return lambda batch: measured_rows(lm, batch, stacked, projection, scale=parameters.scale).products.cpu()


def _forward(lm: LanguageModel) -> Callable[[Batch], object]:
    @torch.no_grad()
    def run(batch: Batch) -> None:
        where = predictions(batch)
        row_losses(response_logits(lm.model, batch, where), where).cpu()

    return run


def _embed(embedding: RowEmbedding) -> Callable[[Batch], object]:
    def run(batch: Batch) -> None:
        for values in embedding.measure(batch):
            values.cpu()

    return run


def _per_token(operation: Callable[[Batch], object], batches: Sequence[Batch]) -> float:
    """Seconds per real token: the median over the batches, after one call that allocates."""
    operation(batches[-1])
    found = []
    for batch in batches:
        began = time.perf_counter()
        operation(batch)
        found.append((time.perf_counter() - began) / int(batch.attention.sum()))
    return float(np.median(found))
