"""Adapters in and out of a model, and the LoRA warm-up against torch's AdamW run by hand."""

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch.nn import functional

from engine.data.samples import Message
from engine.errors import Cancelled, EngineError
from engine.gradients.parameters import block_linears
from engine.models import lora
from engine.models.adapters import Adapters, adapter_shapes
from engine.models.batches import collate
from engine.models.loading import LanguageModel, load
from engine.models.lora import LoraConfig, LoraWarmUp, check_same_base, load_lora, save_lora, warm_up_lora
from engine.models.tokens import TokenTable, tokenize
from engine.models.training import AfterEpoch, TrainConfig, TrainReport, train
from engine.models.warmup import warm_up_rows
from engine.progress import Silent

ARCHITECTURES = ["llama", "gpt2", "gpt_neox", "qwen2", "mistral", "gemma"]
CONFIG = LoraConfig(rank=4, alpha=8.0, fraction=0.3, epochs=3, batch_rows=4, learning_rate=1e-2, seed=5)
Loader = Callable[..., LanguageModel]


@pytest.fixture
def fresh(model_folder: Callable[..., Path]) -> Loader:
    """Loads a tiny model anew."""
    return lambda architecture="llama", **options: load(model_folder(architecture), device="cpu", **options)


@pytest.fixture
def table(fresh: Loader) -> TokenTable:
    """Thirty rows of several lengths; every tenth has no response."""
    rows = [[Message("user", "sum " * (1 + i % 4)), Message("assistant", "four " * (1 + i % 5))] for i in range(30)]
    rows[::10] = [r[:1] for r in rows[::10]]
    return tokenize([rows], fresh().tokenizer, max_length=128)


def logits(lm: LanguageModel, table: TokenTable) -> torch.Tensor:
    with torch.no_grad():
        return lm.logits(collate(table, table.usable[:6], pad_id=lm.pad_id))


def row_loss(lm: LanguageModel, table: TokenTable, i: int) -> torch.Tensor:
    ids, mask = (torch.tensor(a.astype(np.int64)) for a in table.row(i))
    found = lm.model(input_ids=ids[None]).logits[0, :-1].float()
    return functional.cross_entropy(found[mask[1:] == 1], ids[1:][mask[1:] == 1])


def same(one: LoraWarmUp, other: LoraWarmUp) -> bool:
    """Whether two warm-ups are the same bit for bit."""
    if not np.array_equal(one.rows, other.rows) or len(one.checkpoints) != len(other.checkpoints):
        return False
    plain = ("losses", "problems", "config", "model", "dtype", "notes")
    if any(getattr(one, name) != getattr(other, name) for name in plain):
        return False
    for a, b in zip(one.checkpoints, other.checkpoints):
        if a.mean_learning_rate != b.mean_learning_rate or a.weights.keys() != b.weights.keys():
            return False
        for name in a.weights:
            pairs = zip((a.weights[name], *a.moments[name]), (b.weights[name], *b.moments[name]))
            if not all(torch.equal(x, y) and x.dtype == y.dtype == torch.float32 for x, y in pairs):
                return False
    return True


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_adapters_go_in_and_come_out(fresh: Loader, table: TokenTable, architecture: str, dtype: str) -> None:
    lm = fresh(architecture, dtype=dtype)
    modules = list(lm.model.named_modules())
    before, weights = logits(lm, table), [p.clone() for p in lm.model.parameters()]
    adapters = Adapters(lm, rank=4, alpha=8.0, seed=0)
    layers = block_linears(lm.model)
    assert torch.equal(logits(lm, table), before)
    assert len(adapters.sites) == 2 * len(layers) and len(layers) > 6
    assert {site.weight.dtype for site in adapters.sites} == {torch.float32}
    with adapters.attached():
        names = {n for n, _ in lm.model.named_parameters()}
        assert names.issuperset(adapters.names)
        assert torch.equal(logits(lm, table), before)  # B is zero
        moved = {n: torch.full_like(w, 0.05) for n, w in adapters.weights().items()}
        adapters.load(moved)
        assert not torch.allclose(logits(lm, table), before)
        assert not any(p.requires_grad for p in lm.model.parameters())
        assert not any(module.training for module in lm.model.modules())
    assert torch.equal(logits(lm, table), before)
    assert [n for n, _ in lm.model.named_modules()] == [n for n, _ in modules]
    assert all(a is b for (_, a), (_, b) in zip(lm.model.named_modules(), modules))
    assert all(torch.equal(a, b) for a, b in zip(weights, lm.model.parameters()))
    assert not hasattr(lm.model, "peft_config")


@pytest.mark.parametrize("architecture", ["llama", "gpt2"])
def test_an_adapter_adds_a_low_rank_product(fresh: Loader, architecture: str) -> None:
    lm = fresh(architecture)
    adapters = Adapters(lm, rank=3, alpha=12.0, seed=1)
    layer = block_linears(lm.model)[0]
    generator = torch.Generator().manual_seed(0)
    values = {n: torch.randn(w.shape, generator=generator) for n, w in adapters.weights().items()}
    x = torch.randn(2, 5, layer.in_features, generator=generator)
    plain = layer.module(x)
    with adapters.attached():
        adapters.load(values)
        found = lm.model.get_submodule(layer.name)(x)
    a, b = (values[n] for n in adapters.names[:2])
    torch.testing.assert_close(found, plain + 4.0 * x @ a.T @ b.T, rtol=1e-4, atol=1e-4)


def test_adapters_are_drawn_by_the_seed_alone(fresh: Loader) -> None:
    state = torch.random.get_rng_state(), np.random.get_state()[1].copy()
    first = Adapters(fresh(), rank=4, alpha=8.0, seed=1).weights()
    torch.rand(3)
    again, other = (Adapters(fresh(), rank=4, alpha=8.0, seed=seed).weights() for seed in (1, 2))
    names = [n for n in first if "lora_A" in n]
    assert all(torch.equal(first[n], again[n]) for n in first)
    assert not any(torch.equal(first[n], other[n]) for n in names)
    torch.random.set_rng_state(state[0])
    Adapters(fresh(), rank=4, alpha=8.0, seed=3)
    assert torch.equal(state[0], torch.random.get_rng_state())
    assert np.array_equal(state[1], np.random.get_state()[1])


def test_shapes_are_known_without_adapters(fresh: Loader) -> None:
    for architecture in ("llama", "gpt2"):
        lm = fresh(architecture)
        made = Adapters(lm, rank=5, alpha=1.0, seed=0)
        assert adapter_shapes(lm, 5) == {n: tuple(w.shape) for n, w in made.weights().items()}


def test_an_exception_takes_the_adapters_out(fresh: Loader, table: TokenTable) -> None:
    lm = fresh()
    before = logits(lm, table)
    adapters = Adapters(lm, rank=4, alpha=8.0, seed=0)
    with pytest.raises(RuntimeError, match="inside"), adapters.attached():
        adapters.load({n: torch.ones_like(w) for n, w in adapters.weights().items()})
        raise RuntimeError("inside")
    assert torch.equal(logits(lm, table), before)


def test_what_wanted_gradients_still_does(fresh: Loader) -> None:
    lm = fresh()
    chosen = next(lm.model.parameters()).requires_grad_(True)
    Adapters(lm, rank=4, alpha=8.0, seed=0)
    assert [p is chosen for p in lm.model.parameters()] == [p.requires_grad for p in lm.model.parameters()]


def test_a_model_with_adapters_or_without_layers_is_refused(fresh: Loader) -> None:
    lm = fresh()
    lm.model.peft_config = {}
    with pytest.raises(EngineError, match=r"has adapters already.*The model is unchanged"):
        Adapters(lm, rank=4, alpha=8.0, seed=0)
    bare = replace(lm, model=torch.nn.Sequential(torch.nn.Embedding(4, 3)))  # type: ignore[arg-type]
    with pytest.raises(EngineError, match=r"no layer that LoRA could adapt.*no list of transformer blocks"):
        Adapters(bare, rank=4, alpha=8.0, seed=0)


def test_a_missing_peft_is_one_clear_error(fresh: Loader, table: TokenTable, monkeypatch: pytest.MonkeyPatch) -> None:
    lm = fresh()
    before = logits(lm, table)
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(EngineError, match=r"needs the package peft.*requirements\.txt.*The model is unchanged"):
        warm_up_lora(lm, table, CONFIG)
    assert torch.equal(logits(lm, table), before)


def test_peft_is_imported_by_those_alone_who_need_it() -> None:
    code = "import sys, engine.influence.functions.less, engine.models.lora; assert 'peft' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[3])


def test_a_layer_that_peft_refuses_leaves_the_model_whole(
    fresh: Loader, table: TokenTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    import peft

    real = peft.inject_adapter_in_model

    def half(settings: peft.LoraConfig, model: torch.nn.Module, name: str) -> None:
        real(settings, model, name)
        raise ValueError("refused")

    lm = fresh()
    before = logits(lm, table)
    monkeypatch.setattr(peft, "inject_adapter_in_model", half)
    with pytest.raises(ValueError, match="refused"):
        Adapters(lm, rank=4, alpha=8.0, seed=0)
    assert torch.equal(logits(lm, table), before)
    assert not any("lora" in n for n, _ in lm.model.named_modules()) and not hasattr(lm.model, "peft_config")


@pytest.mark.parametrize(
    ("architecture", "dtype"),
    [("llama", "float32"), ("gpt2", "float32"), ("gpt_neox", "bfloat16"), ("gemma", "float32")],
)
def test_a_warm_up_trains_adapters_alone_and_leaves_the_model_as_it_was(
    fresh: Loader, table: TokenTable, architecture: str, dtype: str
) -> None:
    lm = fresh(architecture, dtype=dtype)
    before, weights = logits(lm, table), [p.clone() for p in lm.model.parameters()]
    warm = warm_up_lora(lm, table, CONFIG)
    assert torch.equal(logits(lm, table), before)
    assert all(torch.equal(a, b) for a, b in zip(weights, lm.model.parameters()))
    assert not any(p.requires_grad or p.grad is not None for p in lm.model.parameters())
    assert np.array_equal(warm.rows, warm_up_rows(table, CONFIG)) and len(warm.rows) == 8
    assert len(warm.checkpoints) == 3 and len(warm.losses) == 6
    assert np.mean(warm.losses[-2:]) < np.mean(warm.losses[:2])
    assert {n for c in warm.checkpoints for n in c.weights} == set(adapter_shapes(lm, CONFIG.rank))
    for first, second in zip(warm.checkpoints, warm.checkpoints[1:]):
        assert all(not torch.equal(first.weights[n], second.weights[n]) for n in first.weights)
        assert all(not torch.equal(first.moments[n][1], second.moments[n][1]) for n in first.weights)


@pytest.mark.parametrize("clip", [None, 0.5])
@pytest.mark.parametrize("architecture", ["llama", "gpt2"])
def test_checkpoints_are_those_of_adamw_by_hand(
    fresh: Loader, table: TokenTable, architecture: str, clip: float | None
) -> None:
    config = replace(CONFIG, clip=clip, betas=(0.8, 0.95), eps=1e-4)
    warm = warm_up_lora(fresh(architecture), table, config)
    lm = fresh(architecture)
    adapters = config.adapters(lm)
    parameters = [site.weight.requires_grad_(True) for site in adapters.sites]
    optimiser = torch.optim.AdamW(parameters, betas=config.betas, eps=config.eps, weight_decay=0.0)
    order, step, total = np.random.default_rng(config.seed), 0, 6
    with adapters.attached():
        for epoch in range(config.epochs):
            rates = []
            for part in np.split(order.permutation(warm.rows), 2):
                rates.append(config.learning_rate * (1 - step / total))
                optimiser.param_groups[0]["lr"] = rates[-1]
                optimiser.zero_grad()
                torch.stack([row_loss(lm, table, int(i)) for i in part]).mean().backward()
                if clip is not None:
                    torch.nn.utils.clip_grad_norm_(parameters, clip)
                optimiser.step()
                step += 1
            checkpoint = warm.checkpoints[epoch]
            assert checkpoint.mean_learning_rate == pytest.approx(np.mean(rates))
            for name, parameter in zip(adapters.names, parameters):
                state = optimiser.state[parameter]
                torch.testing.assert_close(checkpoint.weights[name], parameter.detach(), rtol=1e-3, atol=1e-5)
                torch.testing.assert_close(checkpoint.moments[name][0], state["exp_avg"], rtol=1e-3, atol=1e-6)
                torch.testing.assert_close(checkpoint.moments[name][1], state["exp_avg_sq"], rtol=1e-3, atol=1e-8)


def test_an_adapter_that_no_loss_depends_on_has_moments_of_zero(
    fresh: Loader, table: TokenTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forgetful(*args: Any, after_epoch: AfterEpoch, trainable: list[str], **options: Any) -> TrainReport:
        def tell(epoch: int, report: TrainReport) -> None:
            after_epoch(epoch, replace(report, moments={trainable[0]: report.moments[trainable[0]]}))

        return train(*args, after_epoch=tell, trainable=trainable, **options)

    monkeypatch.setattr(lora, "train", forgetful)
    (checkpoint,) = warm_up_lora(fresh(), table, replace(CONFIG, epochs=1)).checkpoints
    assert checkpoint.moments.keys() == checkpoint.weights.keys()
    moved = {n for n, (m, v) in checkpoint.moments.items() if m.any() or v.any()}
    assert len(moved) == 1 and len(checkpoint.moments) > 1


def test_equal_seeds_give_equal_warm_ups_and_notes_tell_of_them(fresh: Loader, table: TokenTable) -> None:
    class Lines(Silent):
        def __init__(self) -> None:
            self.lines: list[str] = []

        def log(self, message: str) -> None:
            self.lines.append(message)

    lines = Lines()
    first = warm_up_lora(fresh(), table, CONFIG, reporter=lines)
    lm = fresh()
    assert same(first, warm_up_lora(lm, table, CONFIG))
    assert same(first, warm_up_lora(lm, table, CONFIG))  # the first run left nothing behind
    assert not same(first, warm_up_lora(lm, table, replace(CONFIG, seed=6)))
    assert tuple(lines.lines) == first.notes
    assert first.notes[0] == "LoRA warm-up on 8 of 27 usable samples (29.6%), 3 epochs."
    assert "rank 4, alpha 8, at 14 layers" in first.notes[1] and len(first.notes) == 2


def test_a_rank_above_a_layers_own_is_said_and_works(fresh: Loader, table: TokenTable) -> None:
    warm = warm_up_lora(fresh(), table, replace(CONFIG, rank=20, epochs=1))
    assert "Rank 20 is above what 4 of 14 layers can have (16 at the least)" in warm.notes[2]
    assert all(w.isfinite().all() for w in warm.checkpoints[0].weights.values())


def test_cancelling_takes_the_adapters_out(fresh: Loader, table: TokenTable) -> None:
    class Impatient(Silent):
        done = 0

        def advance(self, n: int) -> None:
            self.done += n

        def check(self) -> None:
            if self.done >= 8:
                raise Cancelled("cancelled")

    lm = fresh()
    before = logits(lm, table)
    with pytest.raises(Cancelled):
        warm_up_lora(lm, table, CONFIG, reporter=Impatient())
    assert torch.equal(logits(lm, table), before)
    assert same(warm_up_lora(lm, table, CONFIG), warm_up_lora(fresh(), table, CONFIG))


@pytest.mark.parametrize(("architecture", "dtype"), [("llama", "float32"), ("gpt2", "bfloat16")])
def test_a_saved_warm_up_comes_back_bit_for_bit(
    fresh: Loader, table: TokenTable, tmp_path: Path, architecture: str, dtype: str
) -> None:
    lm, other = fresh(architecture, dtype=dtype), fresh(architecture, dtype=dtype)
    before = logits(other, table)
    warm = warm_up_lora(lm, table, CONFIG)
    save_lora(tmp_path / "lora", warm)
    assert same(load_lora(tmp_path / "lora", other), warm)
    assert torch.equal(logits(other, table), before)
    names = set(adapter_shapes(lm, CONFIG.rank))
    files = sorted(path.name for path in (tmp_path / "lora").iterdir())
    assert files == [*(f"checkpoint-{k}.safetensors" for k in range(3)), "lora.json"]
    assert set(load_file(tmp_path / "lora" / files[0])) == {f"{k}.{n}" for k in "wmv" for n in names}


def test_a_killed_save_is_no_warm_up_and_a_second_run_mends_it(
    fresh: Loader, table: TokenTable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lm = fresh()
    warm = warm_up_lora(lm, table, CONFIG)
    save_lora(tmp_path, warm)
    with monkeypatch.context() as broken:
        broken.setattr("engine.models.lora.json.dumps", lambda record: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            save_lora(tmp_path, replace(warm, config=replace(CONFIG, seed=9)))
    with pytest.raises(EngineError, match=r"cannot be read.*Run the warm-up again"):
        load_lora(tmp_path, lm)
    save_lora(tmp_path, warm_up_lora(lm, table, CONFIG))
    assert same(load_lora(tmp_path, fresh()), warm)


@pytest.mark.parametrize("name", ["checkpoint-0.safetensors", "checkpoint-2.safetensors", "lora.json"])
def test_a_damaged_warm_up_is_an_error(fresh: Loader, table: TokenTable, tmp_path: Path, name: str) -> None:
    lm = fresh()
    save_lora(tmp_path, warm_up_lora(lm, table, CONFIG))
    (tmp_path / name).write_bytes(b"{")
    with pytest.raises(EngineError, match="cannot be read"):
        load_lora(tmp_path, lm)
    (tmp_path / name).unlink()
    with pytest.raises(EngineError, match="cannot be read"):
        load_lora(tmp_path, lm)


def test_a_newer_format_or_another_model_is_refused(fresh: Loader, table: TokenTable, tmp_path: Path) -> None:
    lm = fresh()
    warm = warm_up_lora(lm, table, CONFIG)
    save_lora(tmp_path, warm)
    for other, message in (
        (fresh("gpt2"), r"another model.*The model is unchanged"),
        (fresh(dtype="bfloat16"), r"ran in torch\.float32.*torch\.bfloat16"),
    ):
        with pytest.raises(EngineError, match=message):
            load_lora(tmp_path, other)
    with pytest.raises(EngineError, match="another model"):
        check_same_base(lm, replace(warm, config=replace(CONFIG, rank=3)))
    record = json.loads((tmp_path / "lora.json").read_text())
    (tmp_path / "lora.json").write_text(json.dumps(record | {"format": 99}))
    with pytest.raises(EngineError, match="format 99, expected 1"):
        load_lora(tmp_path, lm)
    for strange in (record | {"config": {"unheard of": 1}}, [], {}):
        (tmp_path / "lora.json").write_text(json.dumps(strange))
        with pytest.raises(EngineError, match="cannot be read"):
            load_lora(tmp_path, lm)


@pytest.mark.parametrize(
    "wrong",
    [{"rank": 0}, {"alpha": 0.0}, {"alpha": float("inf")}, {"epochs": 0}, {"fraction": 0.0}, {"learning_rate": -1.0}],
    ids=str,
)
def test_settings_outside_their_range_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(EngineError, match=next(iter(wrong))):
        LoraConfig(**wrong)  # type: ignore[arg-type]


def test_only_named_parameters_are_trained(fresh: Loader, table: TokenTable) -> None:
    lm = fresh()
    before = {n: p.detach().clone() for n, p in lm.model.named_parameters()}
    chosen = [n for n in before if "down_proj" in n]
    report = train(lm, table, None, TrainConfig(batch_rows=9), trainable=chosen)
    assert set(report.moments) == set(chosen)
    for name, parameter in lm.model.named_parameters():
        assert torch.equal(parameter, before[name]) == (name not in chosen), name
    for wrong, message in (
        (["lm_head.nothing"], r"1 of 1 parameters.*lm_head\.nothing"),
        ([], "No parameter was named"),
    ):
        with pytest.raises(EngineError, match=message):
            train(lm, table, None, TrainConfig(), trainable=wrong)


def test_every_parameter_named_is_as_none_named(fresh: Loader, table: TokenTable) -> None:
    one, other = fresh(), fresh()
    names = {n for n, _ in one.model.named_parameters()}
    first = train(one, table, None, TrainConfig(batch_rows=9))
    second = train(other, table, None, TrainConfig(batch_rows=9), trainable=names, after_epoch=lambda *_: None)
    assert first.losses == second.losses
    assert all(torch.equal(a, b) for a, b in zip(one.model.parameters(), other.model.parameters()))


def test_epochs_are_told_one_by_one(fresh: Loader, table: TokenTable) -> None:
    told: list[tuple[int, TrainReport]] = []
    config = TrainConfig(epochs=3, batch_rows=10, max_steps=8, learning_rate=1e-3)
    report = train(fresh(), table, None, config, after_epoch=lambda epoch, r: told.append((epoch, r)))
    assert [epoch for epoch, _ in told] == [0, 1, 2]  # 27 rows: three steps an epoch, and the last is cut short
    assert [r.steps for _, r in told] == [3, 3, 2]
    assert sum((r.losses for _, r in told), ()) == report.losses
    rates = [1e-3 * (1 - s / 8) for s in range(8)]
    expected = [np.mean(rates[:3]), np.mean(rates[3:6]), np.mean(rates[6:])]
    assert [r.mean_learning_rate for _, r in told] == pytest.approx(expected)
    assert all(torch.equal(a, b) for n in report.moments for a, b in zip(report.moments[n], told[-1][1].moments[n]))
