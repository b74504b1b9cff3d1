"""What the speed benchmarks share: small models, rows of tokens, batches and timing.

Needs torch, transformers and numpy alone (real rows also need `shared/data/` beside the checkout). Every size can be
set in the environment, so that a benchmark can be tried small: `TOUCHSTONE_ROWS=40 python tests/bench/run.py NAME`.
"""

import json
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, TypeVar

import numpy as np
import torch
from shell import SHARED_DATA
from transformers import AutoModelForCausalLM, LlamaConfig, PreTrainedModel

from engine.models.batches import Batch, collate, plan_batches
from engine.models.table import Encoded, TokenTable

R = TypeVar("R")

CPU_CLOCK = os.environ.get("TOUCHSTONE_CLOCK") == "cpu"  # to try a benchmark, with one thread, on a busy machine


@dataclass(frozen=True)
class Plain:
    """A model without a tokenizer, as the gradient rooms read it."""

    model: Any
    device: torch.device


def setting(name: str, default: int) -> int:
    """A whole number from the environment variable TOUCHSTONE_`name`."""
    return int(os.environ.get(f"TOUCHSTONE_{name}", default))


def random_model(
    config: Any, *, dtype: torch.dtype = torch.float32, device: torch.device | str = "cpu", seed: int = 0
) -> Plain:
    """A causal language model with random weights, ready to measure; the global random state is left as it was."""
    target = torch.device(device)
    with torch.random.fork_rng(devices=[target] if target.type == "cuda" else []), target:
        torch.manual_seed(seed)
        model: PreTrainedModel = AutoModelForCausalLM.from_config(config, dtype=dtype)
    return Plain(model.eval().requires_grad_(False), target)


def llama_config(*, blocks: int, hidden: int, heads: int, inner: int, vocabulary: int) -> LlamaConfig:
    """A Llama-shaped configuration with a tied head."""
    return LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=hidden,
        intermediate_size=inner,
        num_hidden_layers=blocks,
        num_attention_heads=heads,
        num_key_value_heads=heads,
        max_position_embeddings=2048,
        tie_word_embeddings=True,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
    )


def random_rows(
    count: int, *, shortest: int, longest: int, vocabulary: int, seed: int = 0, response: float = 0.6
) -> TokenTable:
    """`count` rows of random tokens of `shortest` to `longest` tokens; the last share `response` of each is response.

    Tokens are drawn unevenly (by a power law), so that rows differ in what they repeat.
    """
    generator = np.random.default_rng(seed)
    weights = 1 / np.arange(1, vocabulary - 3 + 1)
    rows: list[Encoded | str] = []
    for length in generator.integers(shortest, longest + 1, size=count):
        ids = 3 + generator.choice(vocabulary - 3, size=length, p=weights / weights.sum())
        mask = np.arange(length) >= max(1, round(length * (1 - response)))
        rows.append(Encoded(ids.astype(np.int32), mask.astype(np.uint8), False))
    return TokenTable.of(rows)


def real_rows(lm: Any, count: int, *, longest: int) -> TokenTable | None:
    """`count` rows of the real mixture, evenly spaced in the file; None where it is absent."""
    from engine.data.samples import Message
    from engine.models.tokens import tokenize

    path = SHARED_DATA / "pool_mixture.jsonl"
    if not path.exists():
        return None
    with path.open(encoding="utf-8") as lines:
        total = sum(1 for _ in lines)
    step = max(1, total // count)
    with path.open(encoding="utf-8") as lines:
        values = [json.loads(line)["messages"] for line in islice(lines, 0, step * count, step)]
    chats = [[Message(m["role"], m["content"]) for m in value] for value in values]
    return tokenize([chats], lm.tokenizer, max_length=longest)


def builtin_rows(lm: Any, count: int, *, longest: int = 256) -> tuple[TokenTable, str]:
    """Rows for the built-in model and what they are: real ones, or random ones where the data is absent."""
    table = real_rows(lm, count, longest=longest)
    if table is not None:
        return table, "rows of the real mixture"
    made = random_rows(count, shortest=64, longest=204, vocabulary=lm.vocabulary)
    return made, "rows of random tokens, since shared/data/ is absent"


def batches_of(
    table: TokenTable, *, budget: int, rows: Sequence[int] | np.ndarray | None = None, device: Any = "cpu"
) -> list[Batch]:
    """The rows as padded batches of at most `budget` tokens; `Batch.rows` says which rows each holds."""
    plan = plan_batches(table.lengths, max_tokens=budget, rows=rows)
    return [collate(table, part, pad_id=0, device=device) for part in plan]


def in_order(batches: Sequence[Batch], values: Sequence[torch.Tensor], count: int) -> np.ndarray:
    """Values (b, …) of every batch as one array (count, …) by row number; rows in no batch are NaN."""
    found = np.full((count, *values[0].shape[1:]), np.nan, dtype=np.float32)
    for batch, part in zip(batches, values):
        found[batch.rows] = part.float().cpu().numpy()
    return found


def timed(work: Callable[[], R]) -> tuple[R, float]:
    """What `work` returns, and its seconds with the device's queue emptied before and after."""
    clock = time.process_time if CPU_CLOCK else time.perf_counter
    _wait()
    start = clock()
    result = work()
    _wait()
    return result, clock() - start


def conditions() -> str:
    """How many threads and which clock the figures come from."""
    clock = "processor time of the process" if CPU_CLOCK else "wall time"
    return f"{torch.get_num_threads()} threads, {clock}"


def _wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def matmul_peak(*, size: int, dtype: torch.dtype, device: torch.device | str, repeats: int = 5) -> float:
    """The best measured rate of a square matrix product, in floating-point operations per second."""
    a, b = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    best = min(timed(lambda: a @ b)[1] for _ in range(repeats + 1))
    return 2 * size**3 / best


def significant(value: float, digits: int = 4) -> float:
    """A figure rounded to so many significant digits."""
    return float(f"{value:.{digits}g}")
