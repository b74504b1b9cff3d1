"""Warm-up: which rows, what it leaves behind, and that a saved one comes back bit for bit."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from engine.data.samples import Message
from engine.errors import EngineError
from engine.models.loading import LanguageModel, load
from engine.models.losses import mean_response_loss
from engine.models.tokens import TokenTable, tokenize
from engine.models.warmup import WarmUpConfig, load_warm_up, save_warm_up, warm_up, warm_up_rows
from engine.progress import Silent

CONFIG = WarmUpConfig(fraction=0.2, epochs=2, batch_rows=4, seed=5)
Loader = Callable[..., LanguageModel]


@pytest.fixture
def fresh(model_folder: Callable[..., Path]) -> Loader:
    """Loads a tiny model anew."""
    return lambda architecture="llama", **options: load(model_folder(architecture), device="cpu", **options)


@pytest.fixture
def table(fresh: Loader) -> TokenTable:
    """Forty rows; every tenth has no response."""
    rows = [[Message("user", "sum " * (1 + i % 4)), Message("assistant", "four " * (1 + i % 7))] for i in range(40)]
    rows[::10] = [r[:1] for r in rows[::10]]
    return tokenize([rows], fresh().tokenizer, max_length=128)


def test_rows_are_a_seeded_draw_of_usable_ones(table: TokenTable) -> None:
    rows = warm_up_rows(table, CONFIG)
    assert len(rows) == 7  # floor of 20 % of 36
    assert rows.tolist() == sorted(set(rows.tolist()))
    assert not np.isin(rows, [0, 10, 20, 30]).any()
    assert np.array_equal(rows, warm_up_rows(table, CONFIG))
    assert not np.array_equal(rows, warm_up_rows(table, replace(CONFIG, seed=6)))
    assert len(warm_up_rows(table, replace(CONFIG, max_rows=3))) == 3
    assert len(warm_up_rows(table, replace(CONFIG, fraction=0.001))) == 1
    assert np.array_equal(warm_up_rows(table, WarmUpConfig(fraction=1.0)), table.usable)
    with pytest.raises(EngineError, match="no usable sample"):
        warm_up_rows(TokenTable.of(["no response"]), CONFIG)


def test_every_usable_row_is_equally_likely(table: TokenTable) -> None:
    counts = np.zeros(len(table))
    for seed in range(400):
        counts[warm_up_rows(table, replace(CONFIG, seed=seed))] += 1
    expected = 400 * 7 / 36
    assert np.abs(counts[table.usable] - expected).max() < 5 * np.sqrt(expected)


def test_warm_up_trains_in_place_and_reports(fresh: Loader, table: TokenTable) -> None:
    class Lines(Silent):
        def __init__(self) -> None:
            self.lines: list[str] = []

        def log(self, message: str) -> None:
            self.lines.append(message)

    lm, lines = fresh(), Lines()
    before = mean_response_loss(lm, table, max_tokens=500)[0]
    warm = warm_up(lm, table, replace(CONFIG, epochs=6), reporter=lines)
    after = mean_response_loss(lm, table, max_tokens=500)[0]
    assert np.nanmean(after) < np.nanmean(before)
    assert warm.steps == len(warm.losses) == 12
    assert warm.mean_learning_rate == pytest.approx(1e-3 * 6.5 / 12)
    assert set(warm.moments) == {n for n, _ in lm.model.named_parameters()}
    assert lines.lines[0] == "Warm-up on 7 of 36 usable samples (19.4%), 6 epochs."


@pytest.mark.parametrize(("architecture", "dtype"), [("llama", "float32"), ("gpt2", "float32"), ("qwen2", "bfloat16")])
def test_a_saved_warm_up_comes_back_bit_for_bit(
    fresh: Loader, table: TokenTable, tmp_path: Path, architecture: str, dtype: str
) -> None:
    lm, other = fresh(architecture, dtype=dtype), fresh(architecture, dtype=dtype)
    warm = warm_up(lm, table, CONFIG)
    save_warm_up(tmp_path / "warm", lm, warm)
    again = load_warm_up(tmp_path / "warm", other)
    for (name, a), (_, b) in zip(lm.model.named_parameters(), other.model.named_parameters()):
        assert torch.equal(a, b), name
    assert not any(p.requires_grad for p in other.model.parameters())
    assert np.array_equal(*(mean_response_loss(m, table, max_tokens=200)[0] for m in (lm, other)), equal_nan=True)
    assert again.moments.keys() == warm.moments.keys()
    for name, pair in warm.moments.items():
        assert all(torch.equal(a, b) for a, b in zip(pair, again.moments[name]))
    assert np.array_equal(again.rows, warm.rows)
    assert (again.losses, again.steps, again.mean_learning_rate) == (warm.losses, warm.steps, warm.mean_learning_rate)
    assert (again.config, again.problems) == (warm.config, warm.problems)


def test_the_saved_files_go_by_parameter_name(fresh: Loader, table: TokenTable, tmp_path: Path) -> None:
    lm = fresh()
    save_warm_up(tmp_path, lm, warm_up(lm, table, CONFIG))
    names = {n for n, _ in lm.model.named_parameters()}
    assert set(load_file(tmp_path / "weights.safetensors")) == names
    assert set(load_file(tmp_path / "moments.safetensors")) == {f"{k}.{n}" for k in "mv" for n in names}


def test_a_warm_up_of_another_model_is_refused_and_the_model_untouched(
    fresh: Loader, table: TokenTable, tmp_path: Path
) -> None:
    lm = fresh("gpt2")
    save_warm_up(tmp_path, lm, warm_up(lm, table, CONFIG))
    for other in (fresh("llama"), fresh("gpt2", dtype="bfloat16")):
        before = [p.clone() for p in other.model.parameters()]
        with pytest.raises(EngineError, match=r"another model or precision.*The model is unchanged"):
            load_warm_up(tmp_path, other)
        assert all(torch.equal(a, b) for a, b in zip(before, other.model.parameters()))


@pytest.mark.parametrize("name", ["weights.safetensors", "moments.safetensors", "warmup.json"])
def test_a_damaged_warm_up_is_an_error(fresh: Loader, table: TokenTable, tmp_path: Path, name: str) -> None:
    lm = fresh()
    save_warm_up(tmp_path, lm, warm_up(lm, table, CONFIG))
    (tmp_path / name).write_bytes(b"{")
    with pytest.raises(EngineError, match="cannot be read"):
        load_warm_up(tmp_path, fresh())
    (tmp_path / name).unlink()
    with pytest.raises(EngineError, match="cannot be read"):
        load_warm_up(tmp_path, fresh())


def test_a_newer_format_is_refused(fresh: Loader, table: TokenTable, tmp_path: Path) -> None:
    lm = fresh()
    save_warm_up(tmp_path, lm, warm_up(lm, table, CONFIG))
    record = json.loads((tmp_path / "warmup.json").read_text())
    (tmp_path / "warmup.json").write_text(json.dumps(record | {"format": 99}))
    with pytest.raises(EngineError, match="format 99, expected 1"):
        load_warm_up(tmp_path, fresh())


@pytest.mark.parametrize(
    "wrong", [{"fraction": 0.0}, {"fraction": 1.5}, {"max_rows": 0}, {"optimizer": "sgd"}, {"epochs": 0}], ids=str
)
def test_settings_outside_their_range_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(EngineError, match=next(iter(wrong))):
        WarmUpConfig(**wrong)  # type: ignore[arg-type]
