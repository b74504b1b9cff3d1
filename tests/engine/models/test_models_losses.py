"""The response loss against one row at a time, for several architectures, paddings and companies."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from engine.data.samples import Message
from engine.models.batches import collate
from engine.models.loading import LanguageModel, load
from engine.models.losses import mean_response_loss, response_loss
from engine.models.tokens import TokenTable, tokenize

ARCHITECTURES = ["gpt2", "gpt_neox", "llama", "qwen2", "mistral", "gemma"]


def pool() -> list[list[Message]]:
    """Chats of several lengths, one of them with two responses, one unusable."""
    rows = [[Message("user", "sum " * n), Message("assistant", "four " * (7 - n))] for n in range(1, 7)]
    rows.insert(3, [Message("user", "What?")])
    rows.append([*rows[0], Message("user", "And then?"), Message("assistant", "It is therefore two.")])
    return rows


def oracle(lm: LanguageModel, table: TokenTable, i: int) -> float:
    """ℓ of one row, unpadded, token by token, in double precision from the logits on."""
    ids, mask = table.row(i)
    with torch.no_grad():
        logits = lm.model(input_ids=torch.tensor(ids[None].astype(np.int64))).logits[0].double()
    terms = [-torch.log_softmax(logits[s - 1], 0)[ids[s]].item() for s in range(1, len(ids)) if mask[s]]
    return sum(terms) / len(terms)


@pytest.fixture(scope="module")
def loaded(model_folder: Callable[..., Path]) -> Callable[[str], tuple[LanguageModel, TokenTable]]:
    """A tiny model of an architecture with the pool's tokens."""

    def make(architecture: str) -> tuple[LanguageModel, TokenTable]:
        lm = load(model_folder(architecture), device="cpu")
        return lm, tokenize([pool()], lm.tokenizer, max_length=lm.max_length)

    return make


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_losses_equal_the_oracle_in_any_batch(
    loaded: Callable[[str], tuple[LanguageModel, TokenTable]], architecture: str
) -> None:
    lm, table = loaded(architecture)
    expected = [oracle(lm, table, i) if table.lengths[i] else np.nan for i in range(len(table))]
    for budget in (1, 150, 10_000):
        values, problems = mean_response_loss(lm, table, max_tokens=budget)
        np.testing.assert_allclose(values, expected, rtol=2e-5)
        assert list(problems) == [3]


def test_losses_do_not_depend_on_company_or_order(
    loaded: Callable[[str], tuple[LanguageModel, TokenTable]],
) -> None:
    lm, table = loaded("llama")
    rows = np.array([7, 0, 5, 2])
    alone = [mean_response_loss(lm, table, max_tokens=999, rows=[i])[0][0] for i in rows]
    together, _ = mean_response_loss(lm, table, max_tokens=999, rows=rows)
    np.testing.assert_allclose(together, alone, rtol=1e-5)


def test_what_stands_in_the_padding_has_no_effect(loaded: Callable[[str], tuple[LanguageModel, TokenTable]]) -> None:
    lm, table = loaded("gpt2")
    losses = [response_loss(lm.logits(b), b) for b in (collate(table, [0, 5], pad_id=p) for p in (0, 99))]
    torch.testing.assert_close(losses[0], losses[1])


def test_a_row_without_response_is_nan_and_its_neighbour_is_not(
    loaded: Callable[[str], tuple[LanguageModel, TokenTable]],
) -> None:
    lm, table = loaded("llama")
    batch = collate(table, [0, 5], pad_id=0)
    batch.response[0] = False
    values = response_loss(lm.logits(batch), batch)
    assert torch.isnan(values).tolist() == [True, False]


def test_a_poisoned_row_spreads_neither_in_value_nor_in_gradient(
    loaded: Callable[[str], tuple[LanguageModel, TokenTable]],
) -> None:
    lm, table = loaded("llama")
    batch = collate(table, [0, 5], pad_id=0)
    logits = lm.logits(batch).clone()
    logits[0] = float("nan")
    logits.requires_grad_(True)
    values = response_loss(logits, batch)
    assert torch.isnan(values).tolist() == [True, False]
    (gradient,) = torch.autograd.grad(values[1], logits)
    assert torch.isfinite(gradient[1]).all()


def test_half_precision_logits_are_summed_in_float32(
    loaded: Callable[[str], tuple[LanguageModel, TokenTable]],
) -> None:
    lm, table = loaded("llama")
    batch = collate(table, [0, 5], pad_id=0)
    logits = lm.logits(batch).bfloat16()
    values = response_loss(logits, batch)
    assert values.dtype == torch.float32
    torch.testing.assert_close(values, response_loss(logits.float(), batch))


def test_no_gradient_is_kept_and_the_model_stays_as_loaded(
    loaded: Callable[[str], tuple[LanguageModel, TokenTable]],
) -> None:
    lm, table = loaded("llama")
    before = [p.clone() for p in lm.model.parameters()]
    mean_response_loss(lm, table, max_tokens=200)
    assert all(torch.equal(a, b) for a, b in zip(before, lm.model.parameters()))
    assert not any(p.requires_grad or p.grad is not None for p in lm.model.parameters())
