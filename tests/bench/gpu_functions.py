"""The influence functions on a device, as `gpu.py` runs them: correctness against their slow paths, and speed.

Random weights and random tokens: they say nothing of quality. DELIFT with shared prefixes is checked against whole
sequences, in float32; every function in bfloat16 against itself in float32 by the order of its scores. LESS needs peft.
"""

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from scipy.stats import spearmanr
from small_models import Plain, random_model, random_rows, significant, timed
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from engine.influence.functions.base import InfluenceFunction
from engine.influence.functions.delift import Delift
from engine.influence.functions.less import Less
from engine.influence.functions.rds import Rds
from engine.influence.functions.selectit import SelectIt
from engine.models.loading import LanguageModel
from engine.models.lora import LoraConfig, warm_up_lora
from engine.models.table import TokenTable

ENTRIES = 400  # of the tokenizer: every byte, the digits and a few specials


def tokenizer() -> PreTrainedTokenizerFast:
    """A byte-level tokenizer with single digits, made here."""
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    specials = ["<pad>", "<s>", "</s>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=ENTRIES, special_tokens=specials, initial_alphabet=alphabet, show_progress=False
    )
    core.train_from_iterator(["Rate the sample below. The answer is four."], trainer)
    return PreTrainedTokenizerFast(tokenizer_object=core, bos_token="<s>", eos_token="</s>", pad_token="<pad>")


def whole(lm: Plain, dtype: torch.dtype) -> LanguageModel:
    """A random model as the functions read it."""
    return LanguageModel(lm.model, tokenizer(), lm.device, dtype, 2048, 0, "random", ())


def functions(
    lm: LanguageModel, pool: TokenTable, items: TokenTable, *, budget: int, epochs: int
) -> dict[str, InfluenceFunction]:
    """Every function that runs a language model, over the same rows and items."""
    settings = LoraConfig(
        max_rows=8, fraction=1.0, epochs=epochs, batch_rows=4, batch_tokens=budget, learning_rate=1e-3
    )
    texts = [(f"What is {row} plus {row}?", f"It is {2 * row}. " * 8) for row in range(len(pool))]
    return {
        "delift": Delift(lm, pool, items, batch_tokens=budget),
        "delift, whole pairs": Delift(lm, pool, items, batch_tokens=budget, reuse=False),
        "less": Less(lm, pool, items, warm_up_lora(lm, pool, settings), batch_tokens=budget),
        "rds": Rds(lm, pool, items, batch_tokens=budget),
        "selectit": SelectIt(lm, lambda rows: [texts[int(row)] for row in rows], batch_tokens=budget),
    }


def correctness(config: Any, device: str) -> dict[str, object]:
    """On a small model: shared prefixes against whole pairs, and bfloat16 against float32."""
    single = random_model(config, device=device, seed=1)
    half = random_model(config, dtype=torch.bfloat16, device=device, seed=1)
    half.model.load_state_dict(single.model.state_dict())
    pool = random_rows(12, shortest=24, longest=48, vocabulary=ENTRIES, seed=2)
    items = random_rows(6, shortest=24, longest=48, vocabulary=ENTRIES, seed=3)
    rows = np.arange(len(pool))
    exact = {n: f(rows).matrix for n, f in _of(single, torch.float32, pool, items).items()}
    rough = {n: f(rows).matrix for n, f in _of(half, torch.bfloat16, pool, items).items()}
    shared, plain = exact["delift"], exact.pop("delift, whole pairs")
    found: dict[str, object] = {
        "delift_shared_against_whole": significant(float(np.abs(shared - plain).max() / np.abs(plain).max()), 2)
    }
    for name, values in exact.items():
        found[f"{name}_bf16_spearman"] = round(float(spearmanr(values.ravel(), rough[name].ravel()).statistic), 4)
    return found


def _of(lm: Plain, dtype: torch.dtype, pool: TokenTable, items: TokenTable) -> dict[str, InfluenceFunction]:
    return functions(whole(lm, dtype), pool, items, budget=512, epochs=2)


def figures(lm: Plain, size: Any) -> dict[str, object]:
    """Tokens per second, sequences per second and peak memory of every function on one architecture in bfloat16."""
    entries = int(lm.model.config.vocab_size)
    pool = random_rows(size.rows // 4, shortest=size.tokens // 4, longest=size.tokens, vocabulary=entries, seed=4)
    items = random_rows(size.targets, shortest=size.tokens // 4, longest=size.tokens // 2, vocabulary=entries, seed=5)
    model = replace(whole(lm, torch.bfloat16), max_length=max(1024, 4 * size.tokens))
    found: dict[str, object] = {"rows": f"{len(pool)} rows, {len(items)} items of {size.tokens // 4} tokens and more"}
    for name, function in functions(model, pool, items, budget=size.budget, epochs=1).items():
        function(np.arange(2, len(pool)))  # allocates, and works out what all rows share
        before = function.passes
        if size.device == "cuda":
            torch.cuda.reset_peak_memory_stats()
        _, seconds = timed(lambda function=function: function(np.arange(2, len(pool))))  # type: ignore[misc]
        after = function.passes
        done = after.forward + after.backward - before.forward - before.backward
        found[name] = {
            "seconds": significant(seconds),
            "tokens_per_s": significant((after.tokens - before.tokens) / seconds),
            "sequences_per_s": significant(done / seconds),
            "peak_memory_gb": round(torch.cuda.max_memory_allocated() / 1e9, 2) if size.device == "cuda" else None,
        }
    return found
