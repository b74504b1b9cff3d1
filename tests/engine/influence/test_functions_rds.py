"""RDS+ against its formula: one unpadded row at a time, a loop over tokens, cosines written out."""

from functools import cache

import numpy as np
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from engine.errors import Cancelled
from engine.influence.functions.base import InfluenceFunction, Passes
from engine.influence.functions.rds import NO_DIRECTION, Rds
from engine.models.loading import LanguageModel
from engine.models.table import Encoded, TokenTable
from engine.progress import Silent

VOCABULARY = 61
SHAPE = {"hidden_size": 24, "intermediate_size": 40, "num_hidden_layers": 2, "num_attention_heads": 4}
RNG = np.random.default_rng(0)


@cache
def lm() -> LanguageModel:
    """A tiny random model; never changed for good."""
    config = LlamaConfig(vocab_size=VOCABULARY, pad_token_id=0, max_position_embeddings=64, **SHAPE)
    with torch.random.fork_rng():
        torch.manual_seed(1)
        model = LlamaForCausalLM._from_config(config).eval().requires_grad_(False)
    return LanguageModel(model, None, torch.device("cpu"), torch.float32, 64, 0, "tiny", ())  # type: ignore[arg-type]


def encoded(length: int) -> Encoded:
    return Encoded(RNG.integers(3, VOCABULARY, length).astype(np.int32), np.ones(length, np.uint8), False)


POOL = TokenTable.of([encoded(7), encoded(1), "no response", encoded(12), encoded(7), encoded(5)])
ITEMS = TokenTable.of([encoded(4), "too long", encoded(9)])
ROWS = np.arange(6)


def pooled(table: TokenTable, row: int) -> np.ndarray:
    """Σ_t t·h_t / Σ_t t, token by token."""
    ids = torch.from_numpy(table.row(row)[0].astype(np.int64))
    states = lm().model.model(input_ids=ids[None]).last_hidden_state[0].double().numpy()
    return sum((t + 1) * state for t, state in enumerate(states)) / sum(range(1, len(states) + 1))


def slowly() -> np.ndarray:
    found = np.full((6, 3), np.nan)
    for i in (0, 1, 3, 4, 5):
        for j in (0, 2):
            a, b = pooled(POOL, i), pooled(ITEMS, j)
            found[i, j] = (a @ b) / np.sqrt((a @ a) * (b @ b))
    return found


@pytest.mark.parametrize("batch_tokens", [1, 16, 1024])
def test_against_the_formula_row_by_row(batch_tokens):
    function: InfluenceFunction = Rds(lm(), POOL, ITEMS, batch_tokens=batch_tokens)
    found = function(ROWS)
    assert found.matrix.dtype == np.float32
    np.testing.assert_allclose(found.matrix, slowly(), rtol=1e-4, atol=1e-5)
    assert found.problems == {2: "no response"}
    assert found.item_problems == {1: "too long"}
    assert not function.pointwise


@pytest.mark.parametrize(("rows", "items"), [([5, 0, 0, 3], [2]), ([2], [0, 2]), ([4], [1]), ([], [0]), ([1, 2], [])])
def test_any_rows_and_items_in_any_order(rows, items):
    found = Rds(lm(), POOL, ITEMS)(np.array(rows, np.int64), np.array(items, np.int64))
    np.testing.assert_allclose(found.matrix, slowly()[np.ix_(rows, items)], rtol=1e-4, atol=1e-5)
    assert set(found.problems) == {2} & set(rows)
    assert set(found.item_problems) == {1} & set(items)


def test_passes_count_rows_each_time_and_items_once():
    function = Rds(lm(), POOL, ITEMS)
    assert function.passes == Passes()
    function(np.array([0, 2, 3]), np.array([0]))
    assert function.passes == Passes(forward=2 + 2, tokens=7 + 12 + 4 + 9)
    function(np.array([5, 5]), np.array([2]))
    assert function.passes == Passes(forward=5, tokens=7 + 12 + 4 + 9 + 5)
    assert function.passes.equivalents == 5


def test_a_row_whose_states_are_zero_is_nan_with_its_reason():
    function = Rds(lm(), POOL, ITEMS)
    function(ROWS)
    norm = lm().model.model.norm.weight
    kept = norm.detach().clone()
    try:
        norm.zero_()
        found = function(ROWS)
    finally:
        norm.copy_(kept)
    assert np.isnan(found.matrix).all()
    assert found.problems == {
        0: NO_DIRECTION,
        1: NO_DIRECTION,
        2: "no response",
        **dict.fromkeys((3, 4, 5), NO_DIRECTION),
    }


class Listener(Silent):
    """Counts rows; cancels from the start where asked to."""

    def __init__(self, *, cancels: bool = False) -> None:
        self.done, self.cancels = 0, cancels

    def advance(self, n: int) -> None:
        self.done += n

    def check(self) -> None:
        if self.cancels:
            raise Cancelled("cancelled")


def test_progress_and_cancellation():
    listener = Listener()
    Rds(lm(), POOL, ITEMS)(ROWS, reporter=listener)
    assert listener.done == 6
    with pytest.raises(Cancelled):
        Rds(lm(), POOL, ITEMS)(ROWS, reporter=Listener(cancels=True))
