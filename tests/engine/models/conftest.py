"""Toy tokenizers and models, built at random in the test: no download, no file of the repository."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
)

SPECIALS = [
    *("<pad>", "<s>", "</s>", "<|im_start|>", "<|im_end|>", "<|begin_of_text|>", "<|start_header_id|>"),
    *("<|end_header_id|>", "<|eot_id|>", "<start_of_turn>", "<end_of_turn>", "[INST]", "[/INST]"),
]
CORPUS = [
    "What is two plus two? The answer is four, and two times two is four as well.",
    "Write a function that returns the sum of a list. def total(values): return sum(values)",
    "user assistant system model think tool question answer because therefore which",
]

TINY: dict[str, dict[str, Any]] = {
    "gpt2": {"n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": 128},
    "gpt_neox": {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64},
    "llama": {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64},
    "qwen2": {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64},
    "mistral": {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64},
    "gemma": {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64},
}
TINY["gpt_neox"]["max_position_embeddings"] = 128
TINY["llama"] |= {"max_position_embeddings": 128, "num_key_value_heads": 1, "tie_word_embeddings": True}
TINY["qwen2"] |= {"max_position_embeddings": 128, "num_key_value_heads": 1}
TINY["mistral"] |= {"max_position_embeddings": 128, "num_key_value_heads": 1, "head_dim": 16}
TINY["gemma"] |= {"max_position_embeddings": 128, "num_key_value_heads": 1, "head_dim": 16}


def byte_level(*, bos: str | None = None, eos: str | None = "</s>", adds_bos: bool = False) -> PreTrainedTokenizerBase:
    """A byte-level BPE tokenizer, as GPT-2, Llama 3 and Qwen have."""
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=420, special_tokens=SPECIALS, initial_alphabet=alphabet, show_progress=False
    )
    core.train_from_iterator(CORPUS, trainer)
    return _wrap(core, bos, eos, adds_bos)


def metaspace(*, bos: str | None = "<s>", eos: str | None = "</s>", adds_bos: bool = True) -> PreTrainedTokenizerBase:
    """A SentencePiece-like BPE tokenizer that marks words with a leading low line, as Llama 2 and Gemma have."""
    core = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    core.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    core.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    tokens = ["<unk>", *SPECIALS, *(f"<0x{i:02X}>" for i in range(256))]
    trainer = trainers.BpeTrainer(vocab_size=600, special_tokens=tokens, show_progress=False)
    core.train_from_iterator(CORPUS, trainer)
    return _wrap(core, bos, eos, adds_bos)


def _wrap(core: Tokenizer, bos: str | None, eos: str | None, adds_bos: bool) -> PreTrainedTokenizerBase:
    if adds_bos and bos:
        pair = [(bos, core.token_to_id(bos))]
        core.post_processor = processors.TemplateProcessing(single=f"{bos} $A", special_tokens=pair)
    return PreTrainedTokenizerFast(tokenizer_object=core, bos_token=bos, eos_token=eos, pad_token="<pad>")


@pytest.fixture(scope="session")
def make_byte_level() -> Callable[..., PreTrainedTokenizerBase]:
    """The builder of byte-level tokenizers."""
    return byte_level


@pytest.fixture(scope="session")
def make_metaspace() -> Callable[..., PreTrainedTokenizerBase]:
    """The builder of SentencePiece-like tokenizers."""
    return metaspace


@pytest.fixture(scope="session")
def tokenizer() -> PreTrainedTokenizerBase:
    """A byte-level tokenizer without BOS or chat template."""
    return byte_level()


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory, tokenizer: PreTrainedTokenizerBase) -> Callable[..., Path]:
    """A folder with a random tiny model of an architecture, made once per architecture."""
    made: dict[str, Path] = {}

    def make(architecture: str = "llama") -> Path:
        if architecture not in made:
            folder = tmp_path_factory.mktemp(architecture)
            config = AutoConfig.for_model(
                architecture,
                vocab_size=len(tokenizer),
                bos_token_id=1,
                eos_token_id=2,
                pad_token_id=0,
                **TINY[architecture],
            )
            with torch.random.fork_rng():
                torch.manual_seed(7)
                model = AutoModelForCausalLM.from_config(config)
            model.save_pretrained(folder)
            tokenizer.save_pretrained(folder)
            made[architecture] = folder
        return made[architecture]

    return make
