"""How the built-in model is made: its documents, its tokenizer and its training, on a tiny scale."""

from itertools import islice
from pathlib import Path

import pytest
import torch
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from engine.errors import EngineError
from engine.models.builtin import train as training
from engine.models.builtin.corpus import PROMPT_WEIGHT, SPECIAL, Stage, demo_prompts, documents
from engine.models.builtin.train import STAGES, TrainConfig, batches, build, encode, held_out_loss, save, train
from engine.models.builtin.vocabulary import train_tokenizer
from engine.models.loading import load
from engine.models.sources import BUILTIN_FOLDER

TINY = TrainConfig(
    tokens=(4000, 2000), width=32, inner=48, layers=2, heads=2, context=128, batch_tokens=512, held_out=20
)


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    return AutoTokenizer.from_pretrained(BUILTIN_FOLDER, local_files_only=True)


@pytest.mark.parametrize("stage", STAGES)
def test_documents_follow_the_seed_and_leave_the_demo_out(stage: Stage) -> None:
    first, again, other = (list(islice(documents(seed=seed, stage=stage), 600)) for seed in (4, 4, 5))
    assert first == again != other
    held_out = demo_prompts()
    assert len(held_out) > 2500
    assert not held_out & {text.removesuffix("<|end|>") for document in first for text, _ in document.parts}


def test_responses_count_fully_prompts_little_and_markers_nothing() -> None:
    chats = (document for document in islice(documents(seed=1), 60) if "<|assistant|>" in document.text)
    for document in chats:
        weights = dict(document.parts)
        assert weights["<|assistant|>"] == weights["<|user|>"] == weights["<|begin|>"] == 0.0
        assert set(weights.values()) == {0.0, 1.0, PROMPT_WEIGHT}


def test_a_tokenizer_learns_and_keeps_every_text() -> None:
    tokenizer = train_tokenizer(["the cat sat on the mat 12 times"] * 20, size=300, max_length=64)
    for text in ("the cat", "naïve ☃ \x00\x7f\n\t  x", "１２ 345", "".join(map(chr, range(256)))):
        assert tokenizer.decode(tokenizer.encode(text, add_special_tokens=False)) == text
    assert tokenizer.convert_tokens_to_ids(list(SPECIAL)) == list(range(len(SPECIAL)))
    assert len(tokenizer.encode("123456", add_special_tokens=False)) == 6


def test_batches_hold_every_row_once_within_the_budget() -> None:
    lengths = [5, 90, 17, 17, 300, 2, 64, 64, 33] * 20
    rows = [(list(range(1, length + 1)), [1.0] * length) for length in lengths]
    made = list(batches(iter(rows), batch_tokens=512, seed=0, pool=64))
    assert sorted(length for _, weights in made for length in weights.sum(dim=1).int().tolist()) == sorted(lengths)
    assert max(ids.numel() for ids, _ in made) <= 512
    assert all((ids[weights == 0] == 0).all() for ids, weights in made)


@torch.no_grad()
def test_padding_does_not_change_the_loss(tokenizer: PreTrainedTokenizerFast) -> None:
    model = build(TINY, tokenizer)
    rows = [encode(document, tokenizer, context=TINY.context) for document in islice(documents(seed=3), 6)]
    together = training.weighted_loss(model, training._padded(rows))
    apart = [training.weighted_loss(model, training._padded([row])) for row in rows]
    assert float(together[0]) == pytest.approx(sum(float(total) for total, _ in apart), rel=1e-4)
    assert float(together[1]) == pytest.approx(sum(float(count) for _, count in apart), rel=1e-6)


def test_training_repeats_exactly_lowers_the_loss_and_saves_a_model(
    tokenizer: PreTrainedTokenizerFast, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one, two = train(TINY, tokenizer), train(TINY, tokenizer)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters()))
    assert "loss" in capsys.readouterr().out
    assert held_out_loss(one, tokenizer, TINY) < held_out_loss(build(TINY, tokenizer), tokenizer, TINY) - 0.2
    save(one, tokenizer, tmp_path)
    loaded = load(tmp_path)
    assert loaded.dtype == torch.float32
    for kept, known in zip(loaded.model.parameters(), one.parameters()):
        torch.testing.assert_close(kept, known, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("wrong", [{"batch_tokens": 100}, {"tokens": (5, 0)}, {"heads": 3}])
def test_settings_that_cannot_be_trained_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(EngineError):
        TrainConfig(**wrong)
