"""Predicted passes beside those that the functions count themselves."""

from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from engine.gradients.parameters import block_linears
from engine.gradients.projection import FactoredProjection
from engine.influence.functions.base import Passes
from engine.influence.functions.costs import FRAME_TOKENS, predicted_passes
from engine.influence.functions.delift import Delift
from engine.influence.functions.gradients import GradientSimilarity
from engine.influence.functions.less import Less
from engine.influence.functions.rds import Rds
from engine.influence.functions.selectit import SelectIt
from engine.models.loading import LanguageModel
from engine.models.lora import LoraConfig, warm_up_lora
from engine.models.table import Encoded, TokenTable

WORDS = ["<pad>", "<s>", "</s>", "<unk>", "\n", *"12345", *(f"w{k}" for k in range(50))]
SHAPE = {"hidden_size": 24, "intermediate_size": 40, "num_hidden_layers": 2, "num_attention_heads": 4}
TEMPLATE = "{% for m in messages %}{{ m.content }} </s> \n {% endfor %}"
RNG = np.random.default_rng(0)


@cache
def lm() -> LanguageModel:
    core = Tokenizer(models.WordLevel({w: i for i, w in enumerate(WORDS)}, unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.Split(" ", "removed")
    core.add_special_tokens(["<pad>", "<s>", "</s>", "\n"])
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, eos_token="</s>", pad_token="<pad>")
    tokenizer.chat_template = TEMPLATE
    config = LlamaConfig(vocab_size=len(WORDS), pad_token_id=0, max_position_embeddings=512, **SHAPE)
    with torch.random.fork_rng():
        torch.manual_seed(1)
        model = LlamaForCausalLM._from_config(config).eval().requires_grad_(False)
    return LanguageModel(model, tokenizer, torch.device("cpu"), torch.float32, 512, 0, "tiny", ())


def table(lengths: list[int]) -> TokenTable:
    draws = [RNG.integers(10, len(WORDS), length).astype(np.int32) for length in lengths]
    return TokenTable.of(Encoded(ids, (np.arange(len(ids)) > 1).astype(np.uint8), False) for ids in draws)


POOL, ITEMS = table([6, 9, 4, 12, 7]), table([5, 8, 6])
PAIRS = [("w1 w2", "w3 w4 w5"), ("w6", "w7")] * 3
CHECKPOINTS = 2


def made(name: str) -> Any:
    if name == "delift":
        return Delift(lm(), POOL, ITEMS)
    if name == "less":
        config = LoraConfig(rank=2, alpha=4.0, fraction=0.6, epochs=CHECKPOINTS, batch_rows=3)
        return Less(lm(), POOL, ITEMS, warm_up_lora(lm(), POOL, config))
    if name == "selectit":
        return SelectIt(lm(), lambda rows: [PAIRS[int(i)] for i in rows])
    if name == "rds":
        return Rds(lm(), POOL, ITEMS)
    return GradientSimilarity(lm(), POOL, ITEMS, FactoredProjection(block_linears(lm().model), width=8))


def predicted(name: str, rows: int = 5) -> Passes:
    return predicted_passes(
        name,
        rows=rows,
        row_tokens=int(POOL.lengths[:rows].sum()),
        items=3,
        item_tokens=int(ITEMS.lengths.sum()),
        checkpoints=CHECKPOINTS,
        prompts=5,
    )


@pytest.mark.parametrize("name", ["delift", "less", "rds", "exact"])
@pytest.mark.parametrize("rows", [5, 2])
def test_what_is_predicted_is_what_is_counted_after(name, rows):
    function = made(name)
    assert function.passes == Passes()
    function(np.arange(rows))
    counted, expected = function.passes, predicted(name, rows)
    assert (counted.forward, counted.backward) == (expected.forward, expected.backward)
    slack = 3 * rows if name == "delift" else 0  # separators of its own
    assert abs(counted.tokens - expected.tokens) <= slack


def test_selectit_is_predicted_by_sequences_and_about_by_tokens():
    function = made("selectit")
    function(np.arange(5))
    expected = predicted("selectit")
    assert function.passes.forward == expected.forward == 25
    assert (function.passes.backward, expected.backward) == (0, 0)
    assert expected.tokens == 5 * int(POOL.lengths.sum()) + FRAME_TOKENS * 25
    assert predicted_passes("selectit", rows=2, row_tokens=9, items=0, item_tokens=0, models=3).forward == 30


@pytest.mark.parametrize("name", ["delift-se", "random"])
def test_what_runs_no_language_model_costs_nothing(name):
    assert predicted(name) == Passes()


def test_passes_add_up_and_a_backward_pass_counts_three():
    both = Passes(2, 3, 40) + Passes(5, 0, 2)
    assert both == Passes(7, 3, 42)
    assert both.equivalents == 7 + 9
