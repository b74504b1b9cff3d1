"""Training against the published recipe and the defaults written out; what must not be learnt from is not."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from engine.errors import Cancelled, EngineError
from engine.influence.network import training
from engine.influence.network.config import PAPER, NetworkConfig
from engine.influence.network.estimate import Estimator
from engine.influence.network.network import InfluenceNetwork
from engine.influence.network.training import Fitted, fit_network, validation_rows
from engine.progress import Silent

RNG = np.random.default_rng(0)
D = 6
ROWS = RNG.normal(size=(14, D)).astype(np.float32)
ITEMS = RNG.normal(size=(9, D)).astype(np.float32)
LABELS = (ROWS @ RNG.normal(size=(D, D)) @ ITEMS.T + 2).astype(np.float32)
LABELS[3, 4] = LABELS[0, 0] = LABELS[13, 8] = np.nan
SMALL = NetworkConfig(hidden=8, members=2, rank=2, epochs=4, batch=3, refit=False)
PARTS = (4, 2)


def fit(rows: np.ndarray = ROWS, items: Any = ITEMS, labels: np.ndarray = LABELS, config=SMALL, **options) -> Fitted:
    return fit_network(rows, items, labels, config, **options)


def weights(fitted: Fitted) -> dict[str, np.ndarray]:
    return {name: value.numpy() for name, value in fitted.network.state_dict().items()}


def assert_same(first: Fitted, second: Fitted) -> None:
    for name, value in weights(first).items():
        np.testing.assert_array_equal(value, weights(second)[name], err_msg=name)
    np.testing.assert_array_equal(first.scaling.shift, second.scaling.shift)
    np.testing.assert_array_equal(first.scaling.factor, second.scaling.factor)
    assert (first.scaling.mean, first.scaling.spread) == (second.scaling.mean, second.scaling.spread)


def differ(first: Fitted, second: Fitted) -> bool:
    return any(not np.array_equal(value, weights(second)[name]) for name, value in weights(first).items())


def fitted_rows(config: NetworkConfig = SMALL) -> np.ndarray:
    return np.setdiff1d(np.arange(len(ROWS)), validation_rows(len(ROWS), config))


# the recipes, written out


def published(config: NetworkConfig, epochs: int) -> nn.Sequential:
    """Adam, batches of random pairs, mean squared error, on the published module over [x ; 0 ; y]."""
    start = InfluenceNetwork(D, D, config)
    first, last = nn.Linear(2 * D + 1, config.hidden), nn.Linear(config.hidden, 1)
    with torch.no_grad():
        first.weight.copy_(torch.cat([start.rows_in[0], start.zero_in[0], start.items_in[0]]).T)
        first.bias.copy_(start.bias[0, 0])
        last.weight.copy_(start.out[0][None])
        last.bias.copy_(start.offset[0, 0])
    module = nn.Sequential(first, nn.ReLU(), last)
    adam = torch.optim.Adam(module.parameters(), lr=1e-4)
    generator = np.random.default_rng((config.seed, 21))
    pairs = [(i, j) for i in fitted_rows(config) for j in range(len(ITEMS)) if np.isfinite(LABELS[i, j])]
    for _ in range(epochs):
        order = generator.permutation(len(pairs))
        for at in range(0, len(pairs), 64):
            chosen = [pairs[k] for k in order[at : at + 64]]
            inputs = torch.tensor(np.stack([np.concatenate([ROWS[i], [0], ITEMS[j]]) for i, j in chosen])).float()
            targets = torch.tensor([LABELS[i, j] for i, j in chosen])
            adam.zero_grad()
            nn.functional.mse_loss(module(inputs)[:, 0], targets).backward()
            adam.step()
    return module.requires_grad_(False)


@pytest.mark.parametrize("epochs", [1, 2, 20])
def test_the_paper_preset_trains_as_published(epochs):
    config = replace(PAPER, epochs=epochs, validation=0.0)
    found = fit(config=config).network
    module = published(config, epochs)
    whole = torch.cat([found.rows_in[0], found.zero_in[0], found.items_in[0]]).T
    for ours, theirs in ((whole, module[0].weight), (found.bias[0, 0], module[0].bias), (found.out, module[2].weight)):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(found.offset[0, 0], module[2].bias, rtol=1e-4, atol=1e-6)


def test_the_paper_preset_says_of_a_pair_what_the_published_module_says():
    config = replace(PAPER, epochs=5, validation=0.25)
    fitted = fit(config=config)
    module = published(config, fitted.best + 1)
    said = Estimator.of(fitted, ITEMS)(ROWS)
    for i, j in ((0, 0), (3, 4), (13, 8), (7, 2)):
        pair = torch.from_numpy(np.concatenate([ROWS[i], np.zeros(1, np.float32), ITEMS[j]]))
        assert said[i, j] == pytest.approx(float(module(pair)), rel=1e-4, abs=1e-5)


def test_the_defaults_train_by_rows_as_described():
    config = replace(SMALL, dropout=0.0, validation=0.0, epochs=3)
    found = fit(config=config, parts=PARTS)
    scale = found.scaling
    x, y, labels = scale.rows(ROWS), scale.items(ITEMS), scale.labels(LABELS)
    network = InfluenceNetwork(D, D, config, parts=PARTS)
    own = [w for name, w in network.named_parameters() if name != "similarity"]
    adam = torch.optim.AdamW(
        [
            {"params": own, "weight_decay": config.weight_decay},
            {"params": [network.similarity], "lr": 5 * config.learning_rate, "weight_decay": 0.0},
        ],
        lr=config.learning_rate,
    )
    generator = np.random.default_rng((config.seed, 21))
    for _ in range(3):
        order = generator.permutation(len(ROWS))
        for at in range(0, len(ROWS), 3):
            pairs = [(i, j) for i in order[at : at + 3] for j in range(len(ITEMS)) if np.isfinite(labels[i, j])]
            loss = torch.zeros(())
            for member in range(2):
                errors = [network.pairs(x[i : i + 1], y[j : j + 1])[member, 0] - labels[i, j] for i, j in pairs]
                loss = loss + torch.stack(errors).square().mean()
            adam.zero_grad()
            loss.backward()
            adam.step()
    for name, value in network.named_parameters():
        torch.testing.assert_close(found.network.state_dict()[name], value.detach(), rtol=2e-3, atol=2e-5)


# what training may and may not depend on


@pytest.mark.parametrize("config", [SMALL, replace(PAPER, epochs=3, batch=16)])
def test_a_seed_fixes_everything_and_the_global_state_is_left_alone(config):
    state = torch.random.get_rng_state(), np.random.get_state()[1].copy()
    first = fit(config=config)
    torch.manual_seed(77)
    assert_same(fit(config=config), first)
    assert differ(fit(config=replace(config, seed=1)), first)
    torch.random.set_rng_state(state[0])
    np.testing.assert_array_equal(np.random.get_state()[1], state[1])


def test_pairs_without_a_label_teach_nothing():
    labels = LABELS.copy()
    labels[5], labels[:, 6] = np.nan, np.nan
    first = fit(labels=labels)
    rows, items = ROWS.copy(), ITEMS.copy()
    rows[5], items[6] = 40.0, -40.0
    assert_same(fit(rows, items, labels), first)
    assert differ(fit(labels=LABELS), first)


def test_rows_and_items_that_cannot_be_read_are_as_if_absent():
    rows, items = ROWS.copy(), ITEMS.copy()
    rows[2, 1], items[4, 0] = np.nan, np.inf
    config = replace(SMALL, batch_of="pairs", dropout=0.0)
    kept, there = np.delete(np.arange(14), 2), np.delete(np.arange(9), 4)
    found = fit(rows, items, LABELS, config)
    assert_same(found, fit(ROWS[kept], ITEMS[there], LABELS[np.ix_(kept, there)], config))
    assert 2 not in found.validation
    assert all(np.isfinite(value).all() for value in weights(found).values())


def test_validation_rows_are_not_trained_on():
    held = validation_rows(len(ROWS), SMALL)
    assert len(held) == 2
    labels = LABELS.copy()
    labels[held] = 1e4
    once = replace(SMALL, epochs=1)
    first, second = fit(config=once), fit(labels=labels, config=once)
    np.testing.assert_array_equal(first.validation, held)
    assert_same(first, second)
    assert first.errors != second.errors
    labels[(held[0] + 1) % 14] += 1
    assert differ(fit(labels=labels, config=once), first)


def test_a_refit_trains_anew_on_all_labelled_rows_for_the_epochs_that_were_best():
    first = fit()
    found = fit(config=replace(SMALL, refit=True))
    expected = fit(config=replace(SMALL, validation=0.0, epochs=first.best + 1))
    assert_same(found, expected)
    assert (found.errors, found.best) == (first.errors, first.best)
    assert differ(found, first)


def test_what_is_held_out_was_said_by_weights_that_had_not_seen_it():
    """It is the first fit's, and no label of a validation row reaches it but by the stopping."""
    config = replace(SMALL, refit=True, epochs=1)
    held = validation_rows(len(ROWS), config)
    labels = LABELS.copy()
    labels[held] += 5
    first, second = fit(config=config), fit(labels=labels, config=config)
    np.testing.assert_array_equal(first.held_out, second.held_out)
    assert differ(first, second), "the refit did not see the validation rows"
    alone = fit(config=replace(config, refit=False))
    np.testing.assert_allclose(first.held_out, Estimator.of(alone, ITEMS)(ROWS[held]), rtol=1e-4, atol=1e-6)


def test_validation_rows_are_drawn_from_rows_with_labels():
    labels = LABELS.copy()
    labels[:6] = np.nan
    found = fit(labels=labels, config=replace(SMALL, validation=0.5))
    assert len(found.validation) == 4
    assert found.validation.min() >= 6
    labels[6] = np.nan  # seven are left
    assert not len(fit(labels=labels, config=replace(SMALL, validation=0.5)).validation)


@pytest.mark.parametrize(
    ("count", "share", "expected"), [(7, 0.5, 0), (8, 0.0, 0), (8, 0.01, 1), (8, 0.5, 4), (40, 0.15, 6)]
)
def test_how_many_rows_decide_when_to_stop(count, share, expected):
    found = validation_rows(count, NetworkConfig(validation=share))
    assert len(found) == expected
    assert sorted(set(found.tolist())) == found.tolist()
    assert all(0 <= row < count for row in found)


def test_without_validation_rows_the_epochs_run_out():
    found = fit(config=replace(SMALL, validation=0.0, patience=1, epochs=6))
    assert (found.errors, found.best, found.error) == ((), 5, None)


def said_errors(monkeypatch: pytest.MonkeyPatch, values: list[float]) -> None:
    remaining = iter(values)
    monkeypatch.setattr(training, "_error", lambda *_: next(remaining))


def test_stopping_keeps_the_best_weights(monkeypatch):
    said_errors(monkeypatch, [3.0, 2.0, 1.0])
    third = fit(config=replace(SMALL, epochs=3))
    said_errors(monkeypatch, [3.0, 2.0, 1.0, 1.5, 1.2, 0.1])
    found = fit(config=replace(SMALL, epochs=6, patience=2))
    assert (found.best, len(found.errors)) == (2, 5)
    assert found.error == min(found.errors)
    assert_same(found, third)
    said_errors(monkeypatch, [3.0, 2.0, 1.0, 1.5, 1.2, 0.1])
    last = fit(config=replace(SMALL, epochs=6, patience=3))
    assert (last.best, len(last.errors)) == (5, 6)
    assert differ(last, third)


@pytest.mark.parametrize("standardise", [True, False])
def test_errors_are_shares_of_the_labels_variance(standardise):
    config = replace(SMALL, standardise=standardise, epochs=3)
    found = fit(config=config)
    truth = LABELS[found.validation]
    said = Estimator.of(found, ITEMS)(ROWS[found.validation])
    expected = np.nanmean((said - truth) ** 2) / np.nanvar(LABELS[fitted_rows()].astype(np.float64))
    assert found.error == pytest.approx(expected, rel=1e-4)


def test_dropout_is_off_when_errors_are_measured_and_influence_is_estimated():
    config = replace(SMALL, dropout=0.9, epochs=2)
    found = fit(config=config)
    said = Estimator.of(found, ITEMS)(ROWS)
    np.testing.assert_array_equal(Estimator.of(found, ITEMS)(ROWS), said)
    truth = LABELS[found.validation]
    spread = np.nanvar(LABELS[fitted_rows()].astype(np.float64))
    assert found.error == pytest.approx(np.nanmean((said[found.validation] - truth) ** 2) / spread, rel=1e-4)
    assert not any(weight.requires_grad for weight in found.network.parameters())


class Impatient(Silent):
    """Cancels after some questions."""

    def __init__(self, after: int) -> None:
        self.left = after

    def check(self) -> None:
        self.left -= 1
        if self.left < 0:
            raise Cancelled("cancelled")


@pytest.mark.parametrize("config", [SMALL, replace(SMALL, batch_of="pairs", batch=16)])
def test_cancellation_between_batches(config):
    with pytest.raises(Cancelled):
        fit(config=config, reporter=Impatient(after=5))


# small and odd blocks


@pytest.mark.parametrize("batch_of", ["rows", "pairs"])
@pytest.mark.parametrize(("n", "u"), [(1, 1), (1, 9), (14, 1), (2, 3), (5, 9)])
def test_small_blocks_are_fitted_in_one_batch(n, u, batch_of):
    labels = np.nan_to_num(LABELS[:n, :u], nan=1.5)
    found = fit(ROWS[:n], ITEMS[:u], labels, replace(SMALL, batch=64, batch_of=batch_of))
    assert np.isfinite(Estimator.of(found, ITEMS)(ROWS)).all()
    assert found.constant == (labels.size == 1)


@pytest.mark.parametrize("config", [SMALL, PAPER], ids=["defaults", "paper"])
@pytest.mark.parametrize("value", [0.0, -3.5, 1e6])
def test_constant_labels_are_said_of_every_pair(config, value):
    labels = np.where(np.isfinite(LABELS), np.float32(value), np.nan)
    found = fit(labels=labels, config=config)
    assert found.constant
    assert found.error is None
    np.testing.assert_allclose(Estimator.of(found, ITEMS)(5 * ROWS), value, rtol=1e-6)


def test_labels_that_vary_little_around_a_large_number_are_learnt():
    found = fit(labels=LABELS + np.float32(1e4), config=replace(SMALL, epochs=25))
    assert not found.constant
    assert found.error is not None
    assert found.error < 1


def test_labels_that_vary_in_validation_rows_alone_are_constant():
    labels = np.where(np.isfinite(LABELS), np.float32(2), np.nan)
    labels[validation_rows(14, SMALL)] += 1
    assert fit(labels=labels).constant


def test_the_pointwise_form_reads_rows_alone():
    generator = np.random.default_rng(3)
    rows = generator.normal(size=(200, D)).astype(np.float32)
    labels = np.abs(rows[:, :1]) + rows[:, 1:2]
    found = fit(rows, None, labels, NetworkConfig(hidden=32, members=1, epochs=40, dropout=0.0), parts=PARTS)
    assert not found.network.similarity.numel()
    fresh = generator.normal(size=(200, D)).astype(np.float32)
    said = Estimator.of(found, None)(fresh)
    assert said.shape == (200, 1)
    truth = np.abs(fresh[:, :1]) + fresh[:, 1:2]
    assert ((said - truth) ** 2).mean() < 0.25 * truth.var()


@pytest.mark.parametrize(
    ("build", "says"),
    [
        (lambda: fit(labels=np.full_like(LABELS, np.nan)), "None of the 126 labelled pairs has an influence"),
        (lambda: fit(rows=np.full_like(ROWS, np.nan)), "None of the 126"),
        (lambda: fit(labels=LABELS.T), r"Labels of shape \(9, 14\) do not fit 14 rows and 9 items"),
        (lambda: fit(items=None), r"do not fit 14 rows and 1 items"),
        (lambda: fit(parts=(4, 4)), r"Parts of \(4, 4\) numbers do not make up rows of 6"),
        (lambda: fit(items=None, labels=LABELS[:, 1:2], parts=(3,)), r"Parts of \(3,\)"),
        (lambda: fit(config=replace(PAPER, learning_rate=1e30)), "left the range of numbers"),
        (lambda: fit(config=replace(PAPER, learning_rate=1e30, validation=0.0)), "left the range of numbers"),
    ],
)
def test_what_cannot_be_fitted_is_refused(build, says):
    with pytest.raises(EngineError, match=says):
        build()


# what it is for


def bilinear(n: int, generator: np.random.Generator, core: np.ndarray, items: np.ndarray) -> Any:
    rows = generator.normal(size=(n, len(core))).astype(np.float32)
    return rows, (rows @ core @ items.T).astype(np.float32)


def correlation(said: np.ndarray, truth: np.ndarray) -> float:
    return float(np.corrcoef(said.ravel(), truth.ravel())[0, 1])


def test_a_bilinear_influence_is_learnt_better_than_by_the_paper_and_the_right_way_round():
    generator = np.random.default_rng(5)
    core = generator.normal(size=(12, 2)) @ generator.normal(size=(2, 12))
    items = generator.normal(size=(30, 12)).astype(np.float32)
    rows, labels = bilinear(150, generator, core, items)
    fresh, truth = bilinear(100, generator, core, items)
    config = NetworkConfig(hidden=32, epochs=25, members=1, dropout=0.0)
    found = fit(rows, items, labels, config)
    said = Estimator.of(found, items)(fresh)
    paper = Estimator.of(fit(rows, items, labels, replace(PAPER, epochs=5)), items)(fresh)
    assert correlation(said, truth) > 0.9
    assert ((said - truth) ** 2).mean() < 0.5 * ((paper - truth) ** 2).mean()
    against = Estimator.of(fit(rows, items, -labels, config), items)(fresh)
    assert correlation(against, truth) < -0.9
    # the core is not symmetric: a network that took items for rows would say something else
    turned = Estimator.of(found, fresh)(items)
    assert abs(correlation(turned.T, truth)) < 0.5
