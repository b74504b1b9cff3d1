"""The shipped model: its files, its tokenizer, its card, and that it knows right answers from wrong ones."""

import re
from collections.abc import Sequence
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.data.demo_samples import Draft
from engine.data.demo_sources import SOURCES
from engine.data.samples import Message
from engine.models.builtin.corpus import SPECIAL, demo_prompts
from engine.models.builtin.train import TrainConfig, held_out_loss
from engine.models.loading import LanguageModel, load
from engine.models.losses import mean_response_loss
from engine.models.sources import BUILTIN, BUILTIN_FOLDER, resolve
from engine.models.tokens import encode, tokenize

FLOORS = {
    "word-problems": 0.9,
    "arithmetic": 0.85,
    "units": 0.8,
    "calendar": 0.6,
    "code": 0.75,
    "grammar": 0.9,
    "translation": 0.85,
}
"""The least share of right answers that must be likelier than wrong ones, below what the card reports."""

CARD = (BUILTIN_FOLDER / "README.md").read_text("utf-8")


@pytest.fixture(scope="module")
def lm() -> LanguageModel:
    return load(resolve(BUILTIN), device="cpu")


def chat(draft: Draft, response: str | None = None) -> list[Message]:
    return [Message(turn["role"], turn["content"]) for turn in draft.messages(response)]


def losses(lm: LanguageModel, chats: Sequence[list[Message]]) -> np.ndarray:
    table = tokenize([chats], lm.tokenizer, max_length=lm.max_length)
    values, problems = mean_response_loss(lm, table, max_tokens=4096)
    assert not problems
    return np.asarray(values)


def test_the_folder_is_small_and_holds_no_pickle() -> None:
    files = [path for path in BUILTIN_FOLDER.iterdir() if path.is_file()]
    assert {"config.json", "model.safetensors", "tokenizer.json", "README.md"} <= {path.name for path in files}
    assert sum(path.stat().st_size for path in files) < 6_000_000
    assert not [path for path in files if path.suffix in (".bin", ".pt", ".pkl", ".pth")]


def test_shape_and_size(lm: LanguageModel) -> None:
    config = lm.model.config
    assert 1_000_000 <= lm.model.num_parameters() <= 2_000_000
    assert (config.model_type, config.num_hidden_layers, lm.max_length) == ("llama", 6, 512)
    assert str(lm.dtype) == "torch.float32"


@given(text=st.text(max_size=80))
def test_every_text_comes_back(lm: LanguageModel, text: str) -> None:
    ids = lm.tokenizer.encode(text, add_special_tokens=False)
    if not any(special in text for special in SPECIAL):
        assert lm.tokenizer.decode(ids) == text


def test_tokens_of_a_chat(lm: LanguageModel) -> None:
    encoded = encode([Message("user", "What is 3 + 14?"), Message("assistant", "17.")], lm.tokenizer, max_length=64)
    tokens = lm.tokenizer.convert_ids_to_tokens(encoded.ids.tolist())
    assert tokens[:2] == ["<|begin|>", "<|user|>"]
    assert [token for token, mask in zip(tokens, encoded.mask) if mask] == ["1", "7", ".", "<|end|>"]


def test_plain_english_and_code_are_not_taken_byte_by_byte(lm: LanguageModel) -> None:
    for text in ("The weather in the mountains changes quickly.", "for index, value in enumerate(values):"):
        assert len(text) / len(lm.tokenizer.encode(text, add_special_tokens=False)) > 2


@pytest.mark.parametrize("source", FLOORS)
def test_wrong_answers_are_less_likely_than_right_ones(lm: LanguageModel, source: str) -> None:
    """On fresh samples outside the demo. `reading` and `lists` are near chance, as the card says: it cannot look up."""
    rng, held_out = Random(f"fresh {source}"), demo_prompts()
    drafts = [draft for draft in (SOURCES[source].draw(rng) for _ in range(60)) if draft.prompt not in held_out]
    right = losses(lm, [chat(draft) for draft in drafts])
    wrong = losses(lm, [chat(draft, draft.wrong) for draft in drafts])
    assert (right < wrong).mean() >= FLOORS[source]


def test_the_card_says_what_is_true(lm: LanguageModel) -> None:
    stated = re.search(r"(\d\.\d+) nats per response token", CARD)
    assert stated is not None
    measured = held_out_loss(lm.model, lm.tokenizer, TrainConfig())
    assert float(stated.group(1)) == pytest.approx(measured, abs=0.01)
    assert f"{lm.model.num_parameters():,}" in CARD
    assert "need not transfer" in CARD
