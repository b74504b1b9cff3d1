"""Similarities of gradients against autograd, one unpadded row at a time; zero gradients, units, conditioning."""

from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional
from transformers import LlamaConfig, LlamaForCausalLM

from engine.errors import Cancelled
from engine.gradients.parameters import block_linears
from engine.gradients.projection import FactoredProjection
from engine.influence.functions.base import InfluenceFunction, Passes
from engine.influence.functions.gradients import NO_GRADIENT, GradientSimilarity
from engine.models.loading import LanguageModel
from engine.models.table import Encoded, TokenTable
from engine.progress import Silent

VOCABULARY = 61
SHAPE = {"hidden_size": 24, "intermediate_size": 40, "num_hidden_layers": 2, "num_attention_heads": 4}
RNG = np.random.default_rng(0)
WHOLE = 1 << 20


@cache
def lm() -> LanguageModel:
    """A tiny random model whose rows have unlike gradients; never changed."""
    config = LlamaConfig(vocab_size=VOCABULARY, pad_token_id=0, max_position_embeddings=64, **SHAPE)
    with torch.random.fork_rng():
        torch.manual_seed(1)
        model = LlamaForCausalLM._from_config(config)
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.ndim > 1:
                    parameter.normal_(std=0.2)
    model = model.eval().requires_grad_(False)
    return LanguageModel(model, None, torch.device("cpu"), torch.float32, 64, 0, "tiny", ())  # type: ignore[arg-type]


def encoded(length: int, prompt: int) -> Encoded:
    ids = RNG.integers(3, VOCABULARY, length).astype(np.int32)
    return Encoded(ids, (np.arange(length) >= prompt).astype(np.uint8), False)


SILENT = encoded(6, 6)  # no response token, so that its gradient is zero
POOL = TokenTable.of([encoded(7, 2), "no tokens at all", encoded(11, 4), SILENT, encoded(7, 1), encoded(4, 3)])
ITEMS = TokenTable.of([encoded(5, 2), SILENT, encoded(9, 5), "too long"])
ROWS = np.arange(6)
SCORED, USED = [0, 2, 4, 5], [0, 2]


def sites() -> list[Any]:
    return block_linears(lm().model)


def whole() -> FactoredProjection:
    """No projection at all: a width beyond every side."""
    return FactoredProjection(sites(), width=WHOLE)


def gradient(table: TokenTable, row: int) -> list[Tensor]:
    """The gradient of the mean response loss at every site."""
    ids, mask = (torch.from_numpy(a.astype(np.int64)) for a in table.row(row))
    weights = [site.weight.requires_grad_(True) for site in sites()]
    try:
        logits = lm().model(input_ids=ids[None]).logits[0, :-1]
        loss = functional.cross_entropy(logits[mask[1:] == 1], ids[1:][mask[1:] == 1])
        return [g.double() for g in torch.autograd.grad(loss, weights)]
    finally:
        for weight in weights:
            weight.requires_grad_(False)


def slowly(unit: str, scale: list[Tensor] | None = None, mask: list[Tensor] | None = None) -> np.ndarray:
    """P (6, 4) pair by pair."""
    found = np.full((6, 4), np.nan)

    def flat(table: TokenTable, row: int, factors: list[Tensor] | None) -> Tensor:
        parts = gradient(table, row)
        return torch.cat([(g if factors is None else f * g).flatten() for g, f in zip(parts, factors or parts)])

    for i in SCORED:
        for j in USED:
            a, b = flat(POOL, i, scale), flat(ITEMS, j, mask)
            found[i, j] = float(a @ b) / (float(a.norm() * b.norm()) if unit == "cosine" else 1.0)
    return found


@pytest.mark.parametrize("unit", ["cosine", "inner-product"])
@pytest.mark.parametrize("batch_tokens", [1, 20, 1024])
def test_against_autograd_pair_by_pair(unit, batch_tokens):
    function: InfluenceFunction = GradientSimilarity(lm(), POOL, ITEMS, whole(), unit=unit, batch_tokens=batch_tokens)
    found, expected = function(ROWS), slowly(unit)
    assert found.matrix.dtype == np.float32
    np.testing.assert_allclose(found.matrix, expected, rtol=1e-3, atol=1e-4 * np.nanmax(np.abs(expected)))
    assert found.problems == {1: "no tokens at all", 3: NO_GRADIENT}
    assert found.item_problems == {1: NO_GRADIENT, 3: "too long"}


def test_the_pool_side_is_conditioned_and_the_items_are_masked():
    generator = torch.Generator().manual_seed(0)
    shapes = [site.weight.shape for site in sites()]
    scale = [torch.rand(shape, generator=generator) + 0.1 for shape in shapes]
    mask = [(torch.rand(shape, generator=generator) > 0.5).float() for shape in shapes]
    function = GradientSimilarity(lm(), POOL, ITEMS, whole(), scale=scale, mask=mask)
    expected = slowly("cosine", scale, mask)
    np.testing.assert_allclose(function(ROWS).matrix, expected, rtol=1e-3, atol=1e-4)
    assert np.nanmax(np.abs(expected - slowly("cosine", mask, scale))) > 2e-3  # the sides are not exchangeable


def test_a_projection_comes_near_and_divides_by_true_norms():
    wide = GradientSimilarity(lm(), POOL, ITEMS, FactoredProjection(sites(), width=20, seed=1))(ROWS).matrix
    assert np.nanmax(np.abs(wide - slowly("cosine"))) < 0.15


@pytest.mark.parametrize(
    ("rows", "items"), [([5, 0, 0], [2]), ([3, 1], [0, 2]), ([4], [2, 1, 0]), ([], [0]), ([0, 1], [])]
)
def test_any_rows_and_items_in_any_order(rows, items):
    everything = GradientSimilarity(lm(), POOL, ITEMS, whole())(ROWS).matrix
    found = GradientSimilarity(lm(), POOL, ITEMS, whole())(np.array(rows, np.int64), np.array(items, np.int64))
    assert found.matrix.shape == (len(rows), len(items))
    np.testing.assert_allclose(found.matrix, everything[np.ix_(rows, items)], rtol=1e-4, atol=1e-6)
    assert set(found.item_problems) == {1, 3} & set(items)
    assert set(found.problems) == ({1, 3} & set(rows) if items else set())


class Listener(Silent):
    """Counts rows; cancels from the start where asked to."""

    def __init__(self, *, cancels: bool = False) -> None:
        self.done, self.cancels = 0, cancels

    def advance(self, n: int) -> None:
        self.done += n

    def check(self) -> None:
        if self.cancels:
            raise Cancelled("cancelled")


@pytest.mark.parametrize("items", [[1, 3], [1, 1]])
def test_items_without_a_gradient_score_nothing_and_run_nothing(items):
    function, listener = GradientSimilarity(lm(), POOL, ITEMS, whole()), Listener()
    found = function(ROWS, np.array(items), reporter=listener)
    assert np.isnan(found.matrix).all()
    assert set(found.item_problems) == set(items)
    assert function.passes.backward == 3  # the items, once
    assert listener.done == 6


def test_passes_count_rows_each_time_and_items_once():
    function = GradientSimilarity(lm(), POOL, ITEMS, whole())
    assert function.passes == Passes()
    function(np.array([0, 1, 2]), np.array([0]))
    assert function.passes == Passes(backward=2 + 3, tokens=7 + 11 + 5 + 6 + 9)
    function(np.array([5, 5]))
    assert function.passes == Passes(backward=6, tokens=7 + 11 + 5 + 6 + 9 + 4)
    assert function.passes.equivalents == 18


def test_progress_and_cancellation():
    listener = Listener()
    GradientSimilarity(lm(), POOL, ITEMS, whole())(ROWS, reporter=listener)
    assert listener.done == 6
    with pytest.raises(Cancelled):
        GradientSimilarity(lm(), POOL, ITEMS, whole())(ROWS, reporter=Listener(cancels=True))
