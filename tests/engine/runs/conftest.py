"""A small project on disk and a tiny random model: what a job needs, without network."""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from engine.runs import intake
from engine.store.project import Project
from tests.catalogues import loaded
from tests.copies import built_once

POOL_ROWS = 40
TARGET_ROWS = {"sums": 5, "colours": 3}


def chat(number: int, prompt: str, answer: str) -> str:
    """One line of a chat file."""
    messages = [{"role": "user", "content": prompt}, {"role": "assistant", "content": answer}]
    return json.dumps({"id": f"row-{number}", "source": f"s{number % 3}", "messages": messages}) + "\n"


def write_chats(path: Path, rows: int, *, first: int = 0) -> Path:
    """A chat file of `rows` rows about sums."""
    numbers = range(first, first + rows)
    lines = [chat(i, f"What is {i} plus {2 * i}?", f"The sum is {3 * i}." * (1 + i % 3)) for i in numbers]
    path.write_text("".join(lines), encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def toy_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a random two-block Llama and a byte-level tokenizer."""
    folder = tmp_path_factory.mktemp("toy-model")
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    specials = ["<pad>", "<s>", "</s>"]
    trainer = trainers.BpeTrainer(
        vocab_size=300, special_tokens=specials, initial_alphabet=alphabet, show_progress=False
    )
    core.train_from_iterator(["What is one plus two? The sum is three."], trainer)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, bos_token="<s>", eos_token="</s>", pad_token="<pad>")
    shape = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = LlamaConfig(vocab_size=300, max_position_embeddings=96, bos_token_id=1, eos_token_id=2, **shape)
    with torch.random.fork_rng():
        torch.manual_seed(3)
        LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def roomy_model(toy_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same model, reading up to 1,024 tokens: rating prompts and examples before an item fit."""
    folder = tmp_path_factory.mktemp("roomy") / "model"
    shutil.copytree(toy_model, folder)
    settings = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    (folder / "config.json").write_text(json.dumps({**settings, "max_position_embeddings": 1024}), encoding="utf-8")
    return folder


@built_once
def _build(folder: Path) -> None:
    place = Project.create(folder / "project")
    intake.add_pool(place, write_chats(folder / "pool.jsonl", POOL_ROWS))
    for at, (name, rows) in enumerate(TARGET_ROWS.items()):
        intake.add_target(place, name, write_chats(folder / f"{name}.jsonl", rows, first=1000 * (at + 1)))


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    """A project with a pool of 40 rows and two target sets, and their files beside it."""
    _build(tmp_path)
    with loaded():
        yield Project(tmp_path / "project")


@pytest.fixture
def more_rows(tmp_path: Path) -> Callable[[Project, int], None]:
    """`more_rows(project, n)`: add n further rows to the pool."""

    def add(place: Project, rows: int) -> None:
        intake.add_pool(place, write_chats(tmp_path / "more.jsonl", rows, first=500))

    return add
