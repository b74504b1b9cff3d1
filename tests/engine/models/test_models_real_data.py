"""The real pool through a tokenizer: every answer comes back whole from its mask."""

import json
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from transformers import PreTrainedTokenizerBase

from engine.data.samples import Message
from engine.models.loading import load
from engine.models.losses import mean_response_loss
from engine.models.tokens import tokenize

POOL = Path(__file__).parents[4] / "shared" / "data" / "pool_mixture.jsonl"
ROWS = 400

pytestmark = pytest.mark.skipif(not POOL.exists(), reason=f"{POOL} is not on this machine")


def test_every_answer_of_the_real_pool_comes_back_from_its_mask(
    make_byte_level: Callable[..., PreTrainedTokenizerBase], model_folder: Callable[..., Path]
) -> None:
    with POOL.open(encoding="utf-8") as lines:
        values = [json.loads(line)["messages"] for line in islice(lines, ROWS)]
    chats = [[Message(m["role"], m["content"]) for m in value] for value in values]
    tokenizer = make_byte_level()
    table = tokenize([chats], tokenizer, max_length=100_000)
    assert table.problems == {}
    assert not table.truncated.any()
    for i, chat in enumerate(chats):
        ids, mask = table.row(i)
        assert tokenizer.decode(ids[mask == 1]) == chat[-1].content + "</s>"
    short = tokenize([chats], tokenizer, max_length=128)
    assert short.lengths.max() == 128
    assert (short.response_lengths > 0).all()
    losses, problems = mean_response_loss(load(model_folder("llama")), short, max_tokens=2048, rows=np.arange(40))
    assert np.isfinite(losses).all()
    assert problems == {}
