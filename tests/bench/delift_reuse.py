"""DELIFT with and without shared prefixes: tokens processed, seconds, and whether the scores are the same.

The built-in model, rows of the real mixture as examples and items of GSM8K, float32, the same token budget for both,
one after the other in one run. Without reuse every pair is one plain sequence, batched by length within its row.
TOUCHSTONE_ROWS (default 40) and TOUCHSTONE_TARGETS (32) set the size, TOUCHSTONE_BATCH_TOKENS (1,024) the budget.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
from shell import SHARED_DATA, NotRun
from small_models import conditions, real_rows, setting, significant, timed

from engine.data.samples import Message
from engine.influence.functions.delift import Delift
from engine.models.loading import load
from engine.models.sources import BUILTIN, resolve
from engine.models.table import TokenTable
from engine.models.tokens import tokenize

ROWS = setting("ROWS", 40)
TARGETS = setting("TARGETS", 32)
BUDGET = setting("BATCH_TOKENS", 1024)


def run(folder: Path) -> dict[str, object]:
    """Both ways' cost, and their largest difference; `folder` is not used."""
    lm = load(resolve(BUILTIN), device="cpu", dtype="float32")
    pool = real_rows(lm, ROWS, longest=lm.max_length)
    if pool is None:
        raise NotRun("the real data is absent: shared/data/ beside the checkout")
    items = gsm8k(lm)
    shared, shared_figures = figures(lm, pool, items, reuse=True)
    whole, whole_figures = figures(lm, pool, items, reuse=False)
    means = (pool.lengths.mean(), items.lengths.mean())
    return {
        "size": f"{len(pool)} rows of {means[0]:.0f} tokens, {len(items)} items of {means[1]:.0f}",
        "conditions": conditions(),
        "reuse": shared_figures,
        "no_reuse": whole_figures,
        "fewer_tokens_by": significant(whole_figures["tokens"] / shared_figures["tokens"], 3),
        "faster_by": significant(whole_figures["seconds"] / shared_figures["seconds"], 3),
        "pairs_scored": int(np.isfinite(shared).sum()),
        "same_pairs_scored": bool((np.isfinite(shared) == np.isfinite(whole)).all()),
        "largest_difference": significant(float(np.nanmax(np.abs(shared - whole))), 2),
        "spread_of_scores": significant(float(np.nanstd(shared)), 2),
    }


def figures(lm: Any, pool: TokenTable, items: TokenTable, *, reuse: bool) -> tuple[np.ndarray, dict[str, Any]]:
    """P (n, t), and what it cost; one small call before keeps the first use of the model out of the seconds."""
    Delift(lm, pool, items, batch_tokens=BUDGET, reuse=reuse)(np.arange(1), np.arange(2))
    function = Delift(lm, pool, items, batch_tokens=BUDGET, reuse=reuse)
    scores, seconds = timed(lambda: function(np.arange(len(pool))))
    cost = {"sequences": function.passes.forward, "tokens": function.passes.tokens, "seconds": significant(seconds)}
    return scores.matrix, {**cost, "notes": list(function.notes)}


def gsm8k(lm: Any) -> TokenTable:
    """The first questions and answers of the GSM8K target."""
    lines = (SHARED_DATA / "target_gsm8k.jsonl").read_text(encoding="utf-8").splitlines()[:TARGETS]
    values = [json.loads(line) for line in lines]
    chats = [(Message("user", v["question"]), Message("assistant", v["answer"])) for v in values]
    return tokenize([chats], lm.tokenizer, max_length=lm.max_length)
