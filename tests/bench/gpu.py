"""The gradient engines at real size on a CUDA device: one command, torch, transformers, numpy and scipy alone.

    python tests/bench/gpu.py [--json OUT] [--models 0.5B 1.5B] [--batch-tokens N]     on the device
    python tests/bench/gpu.py --tiny                                                   on the CPU, to see that it runs

Architectures of 0.5B and 1.5B parameters (those of Qwen2.5, random weights, bfloat16), rows of 512 random tokens. Per
engine: tokens per second, peak memory, and the operations that torch counts in one batch (matrix products and
attention, whatever their precision) as a share of the best bfloat16 matrix product measured here. Per model: landmark
scoring against exact scoring of all rows, and the influence functions (`gpu_functions`; LESS needs peft). First the
engines are checked on this device against autograd, one row at a time in float32. Random weights say nothing of
quality.
"""

import argparse
import json
import platform
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

if __name__ == "__main__":
    sys.path[:0] = [str(Path(__file__).resolve().parents[2])]

import gpu_functions
from deep_model import exact_scores, landmark_scores, target_direction
from gradient_speed import agreement, one_row
from scipy.stats import spearmanr
from shell import NotRun
from small_models import Plain, batches_of, in_order, matmul_peak, random_model, random_rows, significant, timed
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry
from transformers import Qwen2Config

from engine.errors import EngineError
from engine.gradients.directional import Directional
from engine.gradients.embeddings import GradientFeatures, HiddenStates
from engine.gradients.exact import Stacked, exact_products, stack_directions
from engine.gradients.parameters import Site, block_linears
from engine.gradients.persample import projected_gradients
from engine.gradients.projection import FactoredProjection
from engine.models.batches import Batch
from engine.models.table import TokenTable

Measure = Callable[[Batch], torch.Tensor]
SHARED: dict[str, Any] = {
    "tie_word_embeddings": True,
    "rope_theta": 1e6,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
MODELS = {
    "0.5B": Qwen2Config(
        vocab_size=151_936,
        hidden_size=896,
        intermediate_size=4864,
        num_hidden_layers=24,
        num_attention_heads=14,
        num_key_value_heads=2,
        **SHARED,
    ),
    "1.5B": Qwen2Config(
        vocab_size=151_936,
        hidden_size=1536,
        intermediate_size=8960,
        num_hidden_layers=28,
        num_attention_heads=12,
        num_key_value_heads=2,
        **SHARED,
    ),
}
SMALL = Qwen2Config(
    vocab_size=512,
    hidden_size=64,
    intermediate_size=160,
    num_hidden_layers=4,
    num_attention_heads=4,
    num_key_value_heads=2,
    **SHARED,
)
SIDE = 16


@dataclass(frozen=True)
class Size:
    """How much is measured: rows of `tokens` tokens, in batches of `budget` tokens, and the matrix of the peak."""

    device: str
    rows: int
    tokens: int
    budget: int
    targets: int
    peak: int
    models: dict[str, Any]


FULL = Size("cuda", rows=256, tokens=512, budget=16_384, targets=16, peak=8192, models=MODELS)
TINY = Size("cpu", rows=24, tokens=48, budget=384, targets=4, peak=256, models={"tiny": SMALL})


class Operations(TorchDispatchMode):
    """Counts floating-point operations of matrix products and attention by torch's own formulas.

    `FlopCounterMode` would do, but it watches modules in a way that `autograd.grad` does not bear.
    """

    total = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run the operation and count it."""
        found = func(*args, **(kwargs or {}))
        formula = flop_registry.get(func._overloadpacket)
        if "scaled_dot_product" in str(func):
            self.total += attention_operations(args, backward="backward" in str(func))
        elif formula is not None:
            self.total += formula(*args, **(kwargs or {}), out_val=found)
        return found


def attention_operations(args: Sequence[Any], *, backward: bool) -> int:
    """Operations of one attention kernel: two products forward, five back; keys may have fewer heads than queries."""
    query, key = args[1:3] if backward else args[:2]
    rows, heads, length, width = query.shape
    return (10 if backward else 4) * rows * heads * length * key.shape[2] * width


def run(folder: Path) -> dict[str, object]:
    """Everything at full size; `folder` is not used. Raises `NotRun` without a CUDA device."""
    if not torch.cuda.is_available():
        raise NotRun("there is no CUDA device")
    return measured(FULL)


def measured(size: Size) -> dict[str, object]:
    """Device, peak, correctness, and the figures of every model."""
    peak = matmul_peak(size=size.peak, dtype=torch.bfloat16, device=size.device)
    figures: dict[str, object] = {
        "device": torch.cuda.get_device_name() if size.device == "cuda" else platform.processor() or "CPU",
        "torch": torch.__version__,
        "bf16_matmul_peak_tflops": significant(peak / 1e12),
        "tf32_allowed": torch.backends.cuda.matmul.allow_tf32,
        "correctness": correctness(size),
        "functions_correctness": gpu_functions.correctness(SMALL, size.device),
    }
    for name, config in size.models.items():
        figures[name] = model_figures(config, size, peak)
    return figures


def correctness(size: Size) -> dict[str, object]:
    """The engines on a small model against autograd on the weights, row by row, in float32; bfloat16 beside it."""
    lm = random_model(SMALL, device=size.device, seed=1)
    sites = block_linears(lm.model)
    table = random_rows(12, shortest=24, longest=48, vocabulary=SMALL.vocab_size, seed=2)
    stacked = target_direction(lm, sites, table, budget=384)
    direction = tuple(
        u[0].view(site.out_features, site.in_features) for u, site in zip(stacked.matrices, sites, strict=True)
    )
    every = batches_of(table, budget=384, device=size.device)
    alone = batches_of(table, budget=1, device=size.device)
    truth = in_order(alone, [one_row(lm, batch, sites, direction) for batch in alone], len(table))
    found = _products_and_norms(lm, every, stacked, sites, len(table))
    half = random_model(SMALL, dtype=torch.bfloat16, device=size.device, seed=1)
    half.model.load_state_dict(lm.model.state_dict())
    rough = _products_and_norms(half, every, stacked, block_linears(half.model), len(table))
    instrument = Directional(lm, sites, [direction])
    moved = in_order(every, [products for products, _ in instrument.shard(every)], len(table))
    cosines, rough_cosines = (each[:, 0] / each[:, 1] for each in (truth, rough))
    return {
        "products_relative_error": _worst(found[:, 0], truth[:, 0]),
        "norms_relative_error": _worst(found[:, 1], truth[:, 1]),
        "projection_relative_error": _projection_error(lm, every[0], sites),
        "directional": agreement(moved, truth[:, :1]),
        "bf16_cosines_spearman": round(float(spearmanr(rough_cosines, cosines).statistic), 4),
        "bf16_cosines_largest_difference": significant(float(np.abs(rough_cosines - cosines).max()), 2),
    }


def _products_and_norms(
    lm: Plain, every: Sequence[Batch], stacked: Stacked, sites: Sequence[Site], count: int
) -> np.ndarray:
    parts = [exact_products(lm, batch, stacked, sites)[:2] for batch in every]
    return in_order(every, [torch.stack([p[:, 0], norm], dim=1) for p, norm in parts], count)


def _projection_error(lm: Plain, batch: Batch, sites: Sequence[Site]) -> float:
    """The projected gradient of the first row against its full gradient sent through the explicit matrices."""
    projection = FactoredProjection(sites, width=SIDE)
    found = projected_gradients(lm, batch, projection)[0][0].cpu()
    alone = Batch(batch.ids[:1], batch.attention[:1], batch.response[:1], batch.rows[:1])
    units = []
    for index, site in enumerate(sites):
        gradient = _weight_gradient(lm, alone, sites, index).cpu()
        left, right = projection.matrices(site)
        units.append((left @ gradient @ right.T).flatten())
    truth = torch.cat(units)
    return significant(float((found - truth).norm() / truth.norm()), 2)


def _weight_gradient(lm: Plain, batch: Batch, sites: Sequence[Site], index: int) -> torch.Tensor:
    """The gradient (out, in) of one site, of a batch of one row, by autograd."""
    weight = sites[index].weight.requires_grad_(True)
    try:
        with torch.enable_grad():
            labels = batch.ids.where(batch.response, -100)
            logits = lm.model(input_ids=batch.ids, attention_mask=batch.attention, use_cache=False).logits
            loss = torch.nn.functional.cross_entropy(logits[0, :-1], labels[0, 1:])
            return sites[index].as_matrix(torch.autograd.grad(loss, weight)[0])
    finally:
        weight.requires_grad_(False)


def model_figures(config: Any, size: Size, peak: float) -> dict[str, object]:
    """All engines on one architecture in bfloat16, landmark scoring against exact, and directional in float32."""
    lm = random_model(config, dtype=torch.bfloat16, device=size.device)
    sites = block_linears(lm.model)
    pool, targets = (
        random_rows(count, shortest=size.tokens, longest=size.tokens, vocabulary=config.vocab_size, seed=seed)
        for count, seed in ((size.rows, 0), (size.targets, 1))
    )
    stacked = target_direction(lm, sites, targets, budget=size.budget)
    figures: dict[str, object] = {
        "parameters": sum(p.numel() for p in lm.model.parameters()),
        "rows": f"{size.rows} rows of {size.tokens} random tokens, {size.budget} tokens a batch",
        "engines": {name: speed(measure, pool, size, peak) for name, measure in engines(lm, stacked, sites).items()},
        "landmark_against_exact": landmark_figures(lm, pool, stacked, sites, size),
        "directional_in_bfloat16": refused(lm, sites, stacked, pool, size),
        "influence_functions": gpu_functions.figures(lm, size),
    }
    del lm, stacked
    return figures | {"directional_in_float32": directional_figures(config, pool, targets, size)}


def engines(lm: Plain, stacked: Stacked, sites: Sequence[Site]) -> dict[str, Measure]:
    """What is measured, each a function of a batch."""
    projection = FactoredProjection(sites, width=SIDE)
    last, last_two = (GradientFeatures(lm, blocks=blocks) for blocks in (1, 2))
    return {
        "hidden states": HiddenStates(lm),
        "gradients of the last block": last,
        "gradients of the last two blocks": last_two,
        "products, one direction": lambda batch: exact_products(lm, batch, stacked, sites, norm=False)[0],
        "products and norms": lambda batch: exact_products(lm, batch, stacked, sites)[0],
        f"projected gradients, side {SIDE}": lambda batch: projected_gradients(lm, batch, projection)[0],
    }


def speed(measure: Measure, pool: TokenTable, size: Size, peak: float) -> dict[str, object]:
    """Tokens per second, share of the peak and peak memory of one engine, or that memory ran out."""
    batches = batches_of(pool, budget=size.budget, device=size.device)
    try:
        with Operations() as counter:
            measure(batches[0])
        if size.device == "cuda":
            torch.cuda.reset_peak_memory_stats()
        _, seconds = timed(lambda: [measure(batch) for batch in batches])
    except torch.OutOfMemoryError:
        return {"not_run": f"out of memory at {size.budget} tokens a batch"}
    operations = counter.total * sum(len(batch) for batch in batches) / len(batches[0])
    return {
        "tokens_per_s": significant(sum(batch.ids.numel() for batch in batches) / seconds),
        "tflops": significant(operations / seconds / 1e12),
        "share_of_bf16_peak": significant(operations / seconds / peak, 3),
        "peak_memory_gb": _peak_memory(size),
    }


def landmark_figures(
    lm: Plain, pool: TokenTable, stacked: Stacked, sites: Sequence[Site], size: Size
) -> dict[str, object]:
    """Wall seconds of exact scoring of all rows, and of landmark scoring by the features of the last block or two."""
    exact, exact_s = exact_scores(lm, pool, np.arange(len(pool)), stacked, sites, budget=size.budget)
    figures: dict[str, object] = {"exact_s": significant(exact_s)}
    for blocks in (1, 2):
        embed = GradientFeatures(lm, blocks=blocks)
        found = landmark_scores(lm, pool, embed, stacked, sites, budget=size.budget)
        total = sum(found.seconds.values())
        figures[f"gradients of the last {blocks}"] = {
            "seconds": {part: significant(s) for part, s in found.seconds.items()},
            "faster_than_exact": significant(exact_s / total, 3),
            "spearman_on_random_weights": found.agreement(exact),
        }
    return figures


def refused(lm: Plain, sites: Sequence[Site], stacked: Stacked, pool: TokenTable, size: Size) -> str:
    """What the engine says of differences of the loss in bfloat16."""
    batch = batches_of(pool, budget=size.budget, device=size.device)[-1]
    directions = [tuple(u[0].view(s.out_features, s.in_features) for u, s in zip(stacked.matrices, sites, strict=True))]
    try:
        Directional(lm, sites, directions).check(batch)
    except EngineError as error:
        return f"refused: {error}"
    return "accepted by its own check"


def directional_figures(config: Any, pool: TokenTable, targets: TokenTable, size: Size) -> dict[str, object]:
    """Differences of the loss with float32 weights against exact products in float32."""
    lm = random_model(config, device=size.device)
    sites = block_linears(lm.model)
    stacked = target_direction(lm, sites, targets, budget=size.budget)
    direction = tuple(u[0].view(s.out_features, s.in_features) for u, s in zip(stacked.matrices, sites, strict=True))
    every = batches_of(pool, budget=size.budget, device=size.device)
    again = stack_directions([direction], sites)
    exact_products(lm, every[-1], again, sites, norm=False)
    truth, exact_s = timed(lambda: [exact_products(lm, b, again, sites, norm=False)[0] for b in every])
    instrument = Directional(lm, sites, [direction])
    instrument.check(every[-1])
    found, seconds = timed(lambda: instrument.shard(every))
    return {
        "tokens_per_s": significant(sum(batch.ids.numel() for batch in every) / seconds),
        "exact_tokens_per_s": significant(sum(batch.ids.numel() for batch in every) / exact_s),
        "share_of_exact": significant(seconds / exact_s, 3),
        **agreement(in_order(every, [p for p, _ in found], len(pool)), in_order(every, truth, len(pool))),
    }


def _worst(found: np.ndarray, truth: np.ndarray) -> float:
    return significant(float((np.abs(found - truth) / np.abs(truth).max()).max()), 2)


def _peak_memory(size: Size) -> float | None:
    return round(torch.cuda.max_memory_allocated() / 1e9, 2) if size.device == "cuda" else None


def main() -> None:
    """Run on the device, or tiny on the CPU, and print or save the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tiny", action="store_true", help="a small model on the CPU, to see that it runs")
    parser.add_argument("--models", nargs="+", choices=list(MODELS), default=list(MODELS))
    parser.add_argument("--batch-tokens", type=int, default=FULL.budget, help="smaller where memory runs out")
    parser.add_argument("--json", type=Path, metavar="OUT", help="write the figures to this file")
    options = parser.parse_args()
    if not options.tiny and not torch.cuda.is_available():
        parser.error("there is no CUDA device; --tiny runs a small model on the CPU")
    chosen = {name: MODELS[name] for name in options.models}
    size = TINY if options.tiny else replace(FULL, models=chosen, budget=options.batch_tokens)
    text = json.dumps(measured(size), indent=2)
    print(text)
    if options.json:
        options.json.write_text(text + "\n")


if __name__ == "__main__":
    main()
