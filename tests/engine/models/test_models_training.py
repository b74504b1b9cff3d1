"""The training loop against a naive one: one row at a time, AdamW written out."""

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional

from engine.data.samples import Message
from engine.errors import Cancelled, EngineError
from engine.models import training
from engine.models.batches import Batch
from engine.models.loading import LanguageModel, load
from engine.models.losses import mean_response_loss
from engine.models.tokens import TokenTable, tokenize
from engine.models.training import TrainConfig, learning_rate, planned_steps, train
from engine.progress import Silent

Loader = Callable[..., LanguageModel]


@pytest.fixture
def fresh(model_folder: Callable[..., Path]) -> Loader:
    """Loads a tiny model anew."""
    return lambda architecture="llama", **options: load(model_folder(architecture), device="cpu", **options)


@pytest.fixture
def table(fresh: Loader) -> TokenTable:
    """Ten rows of several lengths; row 4 has no response."""
    rows = [[Message("user", "sum " * (1 + i % 4)), Message("assistant", "four " * (1 + 5 * i % 7))] for i in range(10)]
    rows[4] = rows[4][:1]
    return tokenize([rows], fresh().tokenizer, max_length=128)


def weights(lm: LanguageModel) -> dict[str, torch.Tensor]:
    return {n: p.detach().clone() for n, p in lm.model.named_parameters()}


def row_loss(model: torch.nn.Module, table: TokenTable, i: int) -> torch.Tensor:
    ids, mask = (torch.tensor(a.astype(np.int64)) for a in table.row(i))
    logits = model(input_ids=ids[None]).logits[0, :-1]
    return functional.cross_entropy(logits[mask[1:] == 1], ids[1:][mask[1:] == 1])


def naive(lm: LanguageModel, table: TokenTable, config: TrainConfig) -> list[float]:
    """AdamW by its formulas, with the rows of each step one after the other."""
    lm.model.requires_grad_(True)
    parameters = list(lm.model.parameters())
    m, v = ([torch.zeros_like(p) for p in parameters] for _ in range(2))
    generator, losses, steps = np.random.default_rng(config.seed), [], []
    for _ in range(config.epochs):
        order = generator.permutation(table.usable)
        steps += [order[i : i + config.batch_rows] for i in range(0, len(order), config.batch_rows)]
    for s, rows in enumerate(steps, start=1):
        loss = torch.stack([row_loss(lm.model, table, int(i)) for i in rows]).mean()
        grads = list(torch.autograd.grad(loss, parameters))
        norm = torch.sqrt(sum((g**2).sum() for g in grads))
        scale = 1.0 if config.clip is None else min(1.0, config.clip / (float(norm) + 1e-6))
        rate = config.learning_rate * (1 - (s - 1) / len(steps))
        b1, b2 = config.betas
        with torch.no_grad():
            for k, (p, g) in enumerate(zip(parameters, grads)):
                m[k] = b1 * m[k] + (1 - b1) * scale * g
                v[k] = b2 * v[k] + (1 - b2) * (scale * g) ** 2
                p -= rate * config.weight_decay * p
                p -= rate * (m[k] / (1 - b1**s)) / ((v[k] / (1 - b2**s)).sqrt() + config.eps)
        losses.append(loss.item())
    return losses


@pytest.mark.parametrize("clip", [None, 0.5])
@pytest.mark.parametrize("architecture", ["llama", "gpt2", "gpt_neox"])
def test_training_equals_the_naive_loop(
    fresh: Loader, table: TokenTable, architecture: str, clip: float | None
) -> None:
    config = TrainConfig(epochs=2, learning_rate=3e-3, batch_rows=4, weight_decay=0.1, eps=1e-4, clip=clip, seed=3)
    reference, lm = fresh(architecture), fresh(architecture)
    expected = naive(reference, table, config)
    report = train(lm, table, None, config)
    np.testing.assert_allclose(report.losses, expected, rtol=1e-4)
    assert report.steps == 6
    assert report.mean_learning_rate == pytest.approx(3e-3 * np.mean([1 - s / 6 for s in range(6)]))
    for name, parameter in weights(lm).items():
        torch.testing.assert_close(parameter, dict(reference.model.named_parameters())[name], rtol=1e-3, atol=2e-5)


def test_micro_batches_change_nothing_but_rounding(fresh: Loader, table: TokenTable) -> None:
    for reduction in ("rows", "tokens"):
        results = []
        for budget in (1, 60, 10_000):
            lm = fresh()
            config = TrainConfig(batch_rows=5, batch_tokens=budget, reduction=reduction, eps=1e-4)  # type: ignore[arg-type]
            results.append((train(lm, table, None, config).losses, weights(lm)))
        for losses, found in results[1:]:
            np.testing.assert_allclose(losses, results[0][0], rtol=1e-5)
            for name in found:
                torch.testing.assert_close(found[name], results[0][1][name], rtol=1e-3, atol=1e-5)


def test_the_token_mean_weighs_long_responses_more(fresh: Loader, table: TokenTable) -> None:
    config = TrainConfig(batch_rows=2, max_steps=1, reduction="tokens")
    lm = fresh()
    expected = [row_loss(lm.model, table, i).item() for i in (0, 1)]
    counts = table.response_lengths[[0, 1]]
    (loss,) = train(lm, table, [0, 1], config).losses
    assert loss == pytest.approx(float(np.average(expected, weights=counts)), rel=1e-5)


def test_equal_seeds_give_equal_weights_and_touch_no_global_generator(fresh: Loader, table: TokenTable) -> None:
    states = torch.random.get_rng_state(), np.random.get_state()[1].copy()
    runs = []
    for seed, rows in ((1, None), (1, table.usable[::-1]), (2, None)):
        lm = fresh()
        train(lm, table, rows, TrainConfig(batch_rows=3, seed=seed))
        runs.append(weights(lm))
    assert all(torch.equal(runs[0][n], runs[1][n]) for n in runs[0])
    assert not all(torch.equal(runs[0][n], runs[2][n]) for n in runs[0])
    assert torch.equal(states[0], torch.random.get_rng_state())
    assert np.array_equal(states[1], np.random.get_state()[1])


def test_it_learns_what_it_is_shown(fresh: Loader, table: TokenTable) -> None:
    lm = fresh()
    before = np.nanmean(mean_response_loss(lm, table, max_tokens=500)[0])
    train(lm, table, None, TrainConfig(epochs=30, learning_rate=1e-2, batch_rows=9))
    after = np.nanmean(mean_response_loss(lm, table, max_tokens=500)[0])
    assert after < 0.3 * before


def test_the_moments_are_adams_by_parameter_name(fresh: Loader, table: TokenTable) -> None:
    lm = fresh()
    loss = torch.stack([row_loss(lm.model.requires_grad_(True), table, int(i)) for i in table.usable]).mean()
    names = [n for n, _ in lm.model.named_parameters()]
    grads = dict(zip(names, torch.autograd.grad(loss, list(lm.model.parameters()))))
    report = train(lm, table, None, TrainConfig(batch_rows=100, clip=None, betas=(0.8, 0.9)))
    assert set(report.moments) == set(names)
    assert "lm_head.weight" not in names  # tied to the embedding, counted once
    for name, (m, v) in report.moments.items():
        torch.testing.assert_close(m, 0.2 * grads[name], rtol=1e-4, atol=1e-8)
        torch.testing.assert_close(v, 0.1 * grads[name] ** 2, rtol=1e-3, atol=1e-10)


def test_half_precision_is_trained_through_float32_copies(fresh: Loader, table: TokenTable) -> None:
    """Steps far below bfloat16's resolution add up to the movement that float32 shows."""
    small = TrainConfig(epochs=10, learning_rate=2e-5, schedule="constant", batch_rows=9)
    moved: list[torch.Tensor] = []
    for dtype in ("bfloat16", "float32"):
        lm = fresh(dtype=dtype)
        start = weights(lm)
        report = train(lm, table, None, small)
        moved.append(torch.cat([(p - start[n]).float().flatten() for n, p in weights(lm).items()]))
        assert {str(p.dtype) for p in lm.model.parameters()} == {f"torch.{dtype}"}
        assert all(m.dtype == v.dtype == torch.float32 for m, v in report.moments.values())
    half, whole = moved
    assert float(half @ whole / (whole @ whole)) == pytest.approx(1.0, abs=0.15)


@pytest.mark.parametrize("schedule", ["linear", "cosine", "constant"])
def test_schedules_rise_over_the_ramp_and_fall_to_nothing(schedule: str) -> None:
    config = TrainConfig(learning_rate=1.0, schedule=schedule, ramp=0.2)  # type: ignore[arg-type]
    rates = [learning_rate(s, 10, config) for s in range(10)]
    assert rates[:3] == pytest.approx([1 / 3, 2 / 3, 1.0])
    assert all(0 < r <= 1 for r in rates)
    assert all(a >= b for a, b in pairwise(rates[2:]))
    assert rates[9] == pytest.approx({"linear": 1 / 8, "constant": 1.0}.get(schedule, 0.038), abs=1e-3)


def test_max_steps_ends_early_and_the_plan_is_kept(fresh: Loader, table: TokenTable) -> None:
    config = TrainConfig(epochs=3, batch_rows=4, max_steps=2)
    assert planned_steps(9, config) == 2
    assert planned_steps(9, TrainConfig(epochs=3, batch_rows=4)) == 9
    assert train(fresh(), table, None, config).steps == 2


def test_running_out_of_memory_shrinks_and_a_row_that_cannot_fit_is_set_aside(
    fresh: Loader, table: TokenTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    sums = training.response_sums
    largest = int(table.lengths.max())
    losers = np.flatnonzero(table.lengths == largest)

    def tight(logits: torch.Tensor, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        if batch.ids.numel() >= largest:
            raise torch.OutOfMemoryError("out of memory")
        return sums(logits, batch)

    config = TrainConfig(batch_rows=10, eps=1e-4)
    rows = table.usable[~np.isin(table.usable, losers)]
    expected = fresh()
    train(expected, table, rows, config)
    monkeypatch.setattr(training, "response_sums", tight)
    lm = fresh()
    report = train(lm, table, None, config)
    assert sorted(report.problems) == sorted([4, *losers])
    assert "out of memory" in report.problems[int(losers[0])]
    for name, parameter in weights(expected).items():
        torch.testing.assert_close(weights(lm)[name], parameter, rtol=1e-3, atol=1e-5)
    monkeypatch.setattr(training, "response_sums", lambda *a: (_ for _ in ()).throw(MemoryError()))
    with pytest.raises(EngineError, match="No sample fits in memory"):
        train(fresh(), table, None, config)


def test_divergence_is_an_error_and_not_a_model_of_nan(fresh: Loader, table: TokenTable) -> None:
    lm = fresh()
    with torch.no_grad():
        next(lm.model.parameters())[:] = float("nan")
    with pytest.raises(EngineError, match=r"Training diverged at step 1.*Lower the learning rate"):
        train(lm, table, None, TrainConfig())
    assert not any(p.requires_grad for p in lm.model.parameters())


def test_cancelling_leaves_a_model_that_can_be_used(fresh: Loader, table: TokenTable) -> None:
    class Impatient(Silent):
        done = 0

        def advance(self, n: int) -> None:
            self.done += n

        def check(self) -> None:
            if self.done >= 4:
                raise Cancelled("cancelled")

    lm = fresh()
    with pytest.raises(Cancelled):
        train(lm, table, None, TrainConfig(batch_rows=2), reporter=Impatient())
    assert not any(p.requires_grad or p.grad is not None for p in lm.model.parameters())
    assert np.isfinite(mean_response_loss(lm, table, max_tokens=500)[0][table.usable]).all()


def test_nothing_to_train_on_is_an_error(fresh: Loader, table: TokenTable) -> None:
    with pytest.raises(EngineError, match="no usable sample"):
        train(fresh(), table, [4], TrainConfig())


@pytest.mark.parametrize(
    "wrong",
    [
        {"epochs": 0},
        {"batch_rows": 0},
        {"batch_tokens": 0},
        {"learning_rate": 0.0},
        {"learning_rate": float("nan")},
        {"eps": 0.0},
        {"weight_decay": -1.0},
        {"ramp": 1.0},
        {"clip": 0.0},
        {"max_steps": 0},
        {"betas": (0.9, 1.0)},
        {"schedule": "steps"},
        {"reduction": "sum"},
        {"seed": -1},
    ],
    ids=str,
)
def test_settings_outside_their_range_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(EngineError, match=next(iter(wrong))):
        TrainConfig(**wrong)  # type: ignore[arg-type]
