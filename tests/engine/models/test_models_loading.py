"""Loading tiny models of six architectures, and refusing what is not a causal language model."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    AutoTokenizer,
    BertConfig,
    BertForMaskedLM,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerBase,
)

from engine.data.samples import Message
from engine.errors import EngineError
from engine.models.loading import choose_device, choose_dtype, load
from engine.models.losses import mean_response_loss
from engine.models.sources import resolve
from engine.models.tokens import tokenize

ROWS = [[Message("user", "What is two plus two?"), Message("assistant", "four")]]


@pytest.mark.parametrize("architecture", ["gpt2", "gpt_neox", "llama", "qwen2", "mistral", "gemma"])
@pytest.mark.parametrize("attention", ["auto", "eager", "sdpa"])
def test_every_architecture_loads_and_runs(
    model_folder: Callable[..., Path], architecture: str, attention: str
) -> None:
    lm = load(resolve(str(model_folder(architecture))), device="cpu", attention=attention)
    assert lm.max_length == 128
    assert lm.dtype == torch.float32
    assert not lm.model.training
    assert not any(p.requires_grad for p in lm.model.parameters())
    assert lm.model.config.use_cache is False
    used = lm.model.config._attn_implementation
    assert used == {"auto": "sdpa"}.get(attention, attention)
    assert any(note.startswith(f"attention {used}") for note in lm.notes)
    table = tokenize([ROWS], lm.tokenizer, max_length=lm.max_length)
    losses, problems = mean_response_loss(lm, table, max_tokens=100)
    assert np.isfinite(losses).all()
    assert problems == {}


def test_loading_twice_gives_the_same_weights_and_draws_no_random_number(model_folder: Callable[..., Path]) -> None:
    state = torch.random.get_rng_state()
    first, second = (load(model_folder("gpt2")).model.state_dict() for _ in range(2))
    assert all(torch.equal(first[n], second[n]) for n in first)
    assert torch.equal(state, torch.random.get_rng_state())


def test_loading_is_silent(model_folder: Callable[..., Path], capfd: pytest.CaptureFixture[str]) -> None:
    load(model_folder("gpt_neox"))
    captured = capfd.readouterr()
    assert captured.out + captured.err == ""


def test_the_notes_say_what_was_chosen_and_why(model_folder: Callable[..., Path]) -> None:
    lm = load(model_folder("llama"), device="cpu", dtype="bfloat16", attention="eager", max_length=50)
    assert lm.dtype == torch.bfloat16
    assert next(lm.model.parameters()).dtype == torch.bfloat16
    assert lm.notes[:4] == (
        "device cpu: as asked for",
        "precision bfloat16: as asked for",
        "attention eager: as asked for",
        "at most 50 tokens a sample: the limit of the setting",
    )
    assert load(model_folder("llama"), max_length=4096).max_length == 128


def test_precision_follows_stated_rules() -> None:
    cpu, cuda = torch.device("cpu"), torch.device("cuda")
    assert choose_dtype("auto", device=cpu, stored=torch.bfloat16)[0] == torch.float32
    assert choose_dtype("auto", device=cuda, stored=torch.float32)[0] == torch.float32
    assert choose_dtype("float64", device=cpu, stored=None)[0] == torch.float64
    with pytest.raises(EngineError, match="dtype is 'int8'"):
        choose_dtype("int8", device=cpu, stored=None)
    with pytest.raises(EngineError, match="MPS"):
        choose_dtype("float64", device=torch.device("mps"), stored=None)


@pytest.mark.parametrize("name", ["gpu", "cuda:x", "meta"])
def test_an_unknown_device_is_an_error(name: str) -> None:
    with pytest.raises(EngineError, match="it must be auto, cpu, mps, cuda or cuda:N"):
        choose_device(name)


def test_a_device_that_is_absent_is_an_error_and_never_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(EngineError, match="Device cuda is not available here"):
        choose_device("cuda")
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert choose_device("auto") == (torch.device("cpu"), "device cpu: chosen because no GPU is available")


def test_an_unknown_attention_is_an_error(model_folder: Callable[..., Path]) -> None:
    with pytest.raises(EngineError, match="attention is 'flash'"):
        load(model_folder("llama"), attention="flash")


def copy_of(folder: Path, to: Path) -> Path:
    shutil.copytree(folder, to)
    return to


def test_weights_that_would_be_random_are_refused(model_folder: Callable[..., Path], tmp_path: Path) -> None:
    folder = copy_of(model_folder("qwen2"), tmp_path / "m")
    weights = load_file(folder / "model.safetensors")
    del weights["model.layers.1.mlp.up_proj.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(EngineError, match=r"lack 1 of the model's parameters \(model.layers.1.mlp.up_proj.weight\)"):
        load(folder)


def test_weights_that_are_not_used_are_named(model_folder: Callable[..., Path], tmp_path: Path) -> None:
    folder = copy_of(model_folder("mistral"), tmp_path / "m")
    weights = load_file(folder / "model.safetensors") | {"extra.weight": torch.zeros(2)}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    assert load(folder).notes[-1] == "1 stored weights are not part of the model (extra.weight)"


def test_broken_weights_are_one_readable_error(model_folder: Callable[..., Path], tmp_path: Path) -> None:
    folder = copy_of(model_folder("llama"), tmp_path / "m")
    (folder / "model.safetensors").write_bytes(b"not safetensors at all")
    with pytest.raises(EngineError, match="cannot be loaded on cpu"):
        load(folder, device="cpu")


def test_an_encoder_is_refused(tmp_path: Path, tokenizer: PreTrainedTokenizerBase) -> None:
    config = BertConfig(
        vocab_size=len(tokenizer), hidden_size=16, num_hidden_layers=1, num_attention_heads=1, intermediate_size=16
    )
    BertForMaskedLM(config).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    with pytest.raises(EngineError, match="BertForMaskedLM, which is no causal language model"):
        load(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"model_type": "nonesuch", "auto_map": {"AutoConfig": "evil.Config"}},
            "Code shipped with a model is never run",
        ),
        ({"quantization_config": {"quant_method": "gptq", "bits": 4}}, "quantised"),
    ],
)
def test_models_that_need_foreign_code_or_are_quantised_are_refused(
    model_folder: Callable[..., Path], tmp_path: Path, change: dict[str, object], message: str
) -> None:
    folder = copy_of(model_folder("llama"), tmp_path / "m")
    (folder / "evil.py").write_text("raise SystemExit('foreign code was run')")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | change))
    with pytest.raises(EngineError, match=message):
        load(folder)


def test_a_tokenizer_of_another_model_is_refused(tmp_path: Path, tokenizer: PreTrainedTokenizerBase) -> None:
    config = LlamaConfig(
        vocab_size=20, hidden_size=16, num_hidden_layers=1, num_attention_heads=1, intermediate_size=16
    )
    LlamaForCausalLM(config).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    with pytest.raises(EngineError, match=r"has \d+ tokens, but the model embeds only 20"):
        load(tmp_path)


def test_a_row_with_a_token_that_the_model_does_not_embed_is_set_aside(
    model_folder: Callable[..., Path], tmp_path: Path
) -> None:
    folder = copy_of(model_folder("llama"), tmp_path / "m")
    grown = AutoTokenizer.from_pretrained(folder)
    grown.add_tokens(["<|late|>"])
    grown.save_pretrained(folder)
    lm = load(folder)
    assert lm.notes[-1] == "the model does not embed <|late|>: samples with them are set aside"
    late = [Message("user", "What is <|late|>?"), Message("assistant", "two")]
    table = tokenize([[late, *ROWS]], lm.tokenizer, max_length=lm.max_length)
    losses, problems = mean_response_loss(lm, table, max_tokens=100)
    assert np.isnan(losses).tolist() == [True, False]
    assert problems == {0: f"a token id beyond the {lm.vocabulary} that the model embeds"}


def test_a_model_too_large_for_memory_is_one_readable_error(
    model_folder: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: object, device: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr(torch.nn.Module, "to", full)
    with pytest.raises(EngineError, match="cannot be loaded on cpu: CUDA out of memory"):
        load(model_folder("llama"), device="cpu")
