"""An estimator against its network pair by pair; blocks, order and missing sides; reductions; a round trip to disk."""

import tracemalloc
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from engine.errors import Cancelled, EngineError
from engine.influence.network import estimate, means
from engine.influence.network.config import PAPER, NetworkConfig
from engine.influence.network.estimate import Estimator, top_mean
from engine.influence.network.inputs import Scaling
from engine.influence.network.network import InfluenceNetwork
from engine.progress import Silent

D = 6
PARTS = (4, 2)
RNG = np.random.default_rng(0)
ROWS = RNG.normal(size=(23, D)).astype(np.float32)
ITEMS = RNG.normal(size=(8, D)).astype(np.float32)
LABELS = RNG.normal(3, 2, (23, 8)).astype(np.float32)
CONFIG = NetworkConfig(hidden=30, members=3, rank=2)
KINDS = {"defaults": CONFIG, "plain": replace(CONFIG, rank=0, cosine=False, members=1), "paper": PAPER}


def make(items: np.ndarray = ITEMS, config: NetworkConfig = CONFIG) -> Estimator:
    """Random weights, those of the similarities too, with the scales of a fit."""
    network = InfluenceNetwork(D, D, config, parts=PARTS)
    with torch.no_grad():
        network.similarity.copy_(torch.linspace(-1, 1, network.similarity.numel()).view_as(network.similarity))
    scaling = Scaling.of(ROWS, LABELS, parts=PARTS, items_alike=True, on=config.standardise)
    return Estimator(network.eval().requires_grad_(False), scaling, items)


def by_pairs(estimator: Estimator, rows: np.ndarray = ROWS) -> np.ndarray:
    """f (n, u), one pair at a time."""
    scale, network = estimator.scaling, estimator.network
    found = np.full((len(rows), len(estimator.items)), np.nan)
    for i, x in enumerate(rows):
        for j, y in enumerate(estimator.items):
            if np.isfinite(x).all() and np.isfinite(y).all():
                said = network.pairs(scale.rows(x[None]), scale.items(y[None]))[:, 0].mean()
                found[i, j] = float(said) * scale.spread + scale.mean
    return found


def gaps() -> tuple[np.ndarray, np.ndarray]:
    rows, items = ROWS.copy(), ITEMS.copy()
    rows[4, 1], rows[11], items[2, 3] = np.nan, np.inf, np.nan
    return rows, items


def blocks_of(monkeypatch: pytest.MonkeyPatch, rows: int, items: int) -> None:
    monkeypatch.setattr(estimate, "ROW_BLOCK", rows)
    monkeypatch.setattr(estimate, "ITEM_BLOCK", items)


@pytest.mark.parametrize("kind", KINDS)
def test_every_pair_is_what_the_network_says_of_it(kind):
    estimator = make(config=KINDS[kind])
    found = estimator(ROWS)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, by_pairs(estimator), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("rows", "items"), [(1, 1), (5, 3), (7, 8), (100, 2)])
def test_blocks_change_nothing(monkeypatch, rows, items):
    estimator = make()
    whole, best = estimator(ROWS), estimator.by_item(ROWS, top=4)
    blocks_of(monkeypatch, rows, items)
    np.testing.assert_allclose(estimator(ROWS), whole, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(estimator.by_row(ROWS, top_mean(3)), top_mean(3)(whole), rtol=1e-5, atol=1e-5)
    found = estimator.by_item(ROWS, top=4)
    np.testing.assert_allclose(found.mean, best.mean, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(found.best, best.best, rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(found.rows, best.rows)


def test_the_order_of_rows_and_items_changes_nothing_but_the_order():
    p, q = RNG.permutation(23), RNG.permutation(8)
    found = make(ITEMS[q])(ROWS[p])
    np.testing.assert_allclose(found, make()(ROWS)[np.ix_(p, q)], rtol=1e-5, atol=1e-5)


def test_columns_are_those_of_the_whole():
    whole = make()(ROWS)
    for columns in (slice(2, 5), np.array([6, 1, 1]), np.zeros(0, np.int64)):
        np.testing.assert_allclose(make()(ROWS, columns), whole[:, columns], rtol=1e-5, atol=1e-5)
    assert make()(ROWS[:0]).shape == (0, 8)
    assert make()(ROWS[:0], slice(2, 5)).shape == (0, 3)


def test_rows_and_items_that_cannot_be_read_are_nan_alone(monkeypatch):
    whole = make()(ROWS)
    rows, items = gaps()
    for size in (4096, 3):
        blocks_of(monkeypatch, size, size)
        found = make(items)(rows)
        expected = whole.copy()
        expected[[4, 11]] = np.nan
        expected[:, 2] = np.nan
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
    assert np.isnan(rows[4, 1])  # nothing handed in was changed
    assert np.isnan(items[2, 3])


def test_memory_mapped_rows_and_other_precisions(tmp_path: Path):
    np.save(tmp_path / "rows.npy", ROWS)
    mapped = np.load(tmp_path / "rows.npy", mmap_mode="r")
    np.testing.assert_array_equal(make()(mapped), make()(ROWS))
    np.testing.assert_array_equal(make(ITEMS.astype(np.float64))(ROWS.astype(np.float64)), make()(ROWS))


# reductions


@pytest.mark.parametrize("count", [1, 3, 8, 20])
def test_top_mean_is_over_the_largest_of_each_row(count):
    found = make().by_row(ROWS, top_mean(count))
    assert found.dtype == np.float32
    expected = np.sort(make()(ROWS).astype(np.float64), axis=1)[:, ::-1][:, :count].mean(axis=1)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("count", [1, 3, 8])
def test_an_item_that_cannot_be_read_leaves_the_top_mean_of_the_others(count):
    rows, items = gaps()
    found = make(items).by_row(rows, top_mean(count))
    kept = make(np.delete(ITEMS, 2, axis=0)).by_row(ROWS, top_mean(count))
    expected = np.where(np.isin(np.arange(23), [4, 11]), np.nan, kept)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_a_reduction_may_give_several_values_a_row_and_sees_every_row_once():
    seen: list[int] = []

    def extremes(values: np.ndarray) -> np.ndarray:
        seen.append(len(values))
        return np.stack([values.min(axis=1), values.max(axis=1)], axis=1)

    whole = make()(ROWS)
    np.testing.assert_array_equal(make().by_row(ROWS, extremes), np.stack([whole.min(1), whole.max(1)], axis=1))
    assert sum(seen) == 23
    assert make().by_row(ROWS[:0], extremes_of_none).shape == (0, 2)


def extremes_of_none(values: np.ndarray) -> np.ndarray:
    return values[:, :2]


@pytest.mark.parametrize("top", [0, 1, 5, 23, 30])
@pytest.mark.parametrize("missing", [False, True])
def test_items_know_their_mean_and_their_best_rows(monkeypatch, top, missing):
    rows, items = gaps() if missing else (ROWS, ITEMS)
    blocks_of(monkeypatch, 5, 3)
    found, whole = make(items).by_item(rows, top=top), make(items)(rows).astype(np.float64)
    kept = max(1, top)
    assert found.best.shape == found.rows.shape == (kept, 8)
    for j in range(8):
        known = np.flatnonzero(np.isfinite(whole[:, j]))
        if not len(known):
            assert np.isnan(found.mean[j])
        else:
            assert found.mean[j] == pytest.approx(whole[known, j].mean(), rel=1e-5, abs=1e-6)
        order = known[np.argsort(-whole[known, j], kind="stable")][:kept]
        assert found.rows[: len(order), j].tolist() == order.tolist()
        assert (found.rows[len(order) :, j] == -1).all()
        np.testing.assert_allclose(found.best[: len(order), j], whole[order, j], rtol=1e-5)
        assert np.isnan(found.best[len(order) :, j]).all()


def test_among_equals_the_earlier_row_comes_first(monkeypatch):
    blocks_of(monkeypatch, 4, 8)
    rows = np.repeat(ROWS[:1], 11, axis=0)
    assert make().by_item(rows, top=3).rows[:, 0].tolist() == [0, 1, 2]


def test_no_rows_say_nothing_of_an_item():
    found = make().by_item(ROWS[:0], top=2)
    assert np.isnan(found.mean).all()
    assert (found.rows == -1).all()


def test_fewer_rows_are_held_where_there_are_many_items(monkeypatch):
    monkeypatch.setattr(estimate, "HELD", 40)
    sizes: list[int] = []
    make().by_row(ROWS, lambda values: sizes.append(len(values)) or values[:, 0])  # type: ignore[func-returns-value]
    assert max(sizes) == 5
    monkeypatch.setattr(estimate, "HELD", 3)
    np.testing.assert_allclose(make().by_row(ROWS, top_mean(2)), top_mean(2)(make()(ROWS)), rtol=1e-5, atol=1e-6)


def test_streaming_holds_neither_all_pairs_nor_all_rows_pairs():
    rows = np.random.default_rng(1).normal(size=(60_000, D)).astype(np.float32)
    items = np.random.default_rng(2).normal(size=(60, D)).astype(np.float32)
    estimator = make(items, replace(CONFIG, members=1))
    tracemalloc.start()
    estimator.by_row(rows, top_mean(5))
    estimator.by_item(rows, top=5)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4 * 60_000 * 60  # bytes of f; numpy's alone are traced


class Listener(Silent):
    """Counts rows; cancels when asked so often."""

    def __init__(self, after: int = 1000) -> None:
        self.done, self.left = 0, after

    def advance(self, n: int) -> None:
        self.done += n

    def check(self) -> None:
        self.left -= 1
        if self.left < 0:
            raise Cancelled("cancelled")


ASKED: dict[str, Any] = {
    "by_row": lambda e, listener: e.by_row(ROWS, top_mean(2), reporter=listener),
    "by_item": lambda e, listener: e.by_item(ROWS, reporter=listener),
    "mean_over_items": lambda e, listener: e.mean_over_items(ROWS, reporter=listener),
    "mean_over_rows": lambda e, listener: e.mean_over_rows(ROWS, reporter=listener),
}


@pytest.mark.parametrize("name", ASKED)
def test_cancellation_between_blocks(monkeypatch, name):
    blocks_of(monkeypatch, 5, 8)
    with pytest.raises(Cancelled):
        ASKED[name](make(), Listener(after=3))


@pytest.mark.parametrize("name", ["by_row", "by_item"])
def test_rows_are_counted(monkeypatch, name):
    blocks_of(monkeypatch, 5, 8)
    listener = Listener()
    ASKED[name](make(), listener)
    assert listener.done == 23


# the means in sorted form


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.parametrize("units", [1, 7, 100])
def test_means_without_visiting_the_pairs_are_those_of_the_matrix(monkeypatch, kind, missing, units):
    blocks_of(monkeypatch, 6, 8)
    monkeypatch.setattr(means, "UNITS", units)
    rows, items = gaps() if missing else (ROWS, ITEMS)
    estimator = make(items, KINDS[kind])
    whole = by_pairs(estimator, rows)
    some_items, some_rows = np.isfinite(whole).any(axis=0), np.isfinite(whole).any(axis=1)
    over_items, over_rows = np.full(23, np.nan), np.full(8, np.nan)
    over_items[some_rows] = whole[np.ix_(some_rows, some_items)].mean(axis=1)
    over_rows[some_items] = whole[np.ix_(some_rows, some_items)].mean(axis=0)
    found = estimator.mean_over_items(rows)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, over_items, rtol=1e-5, atol=1e-6)
    found = estimator.mean_over_rows(rows)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, over_rows, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found, estimator.by_item(rows).mean, rtol=1e-4, atol=1e-5)


def test_units_whose_knees_coincide_or_lie_on_the_asked_values():
    values = torch.tensor([[-1.0, 2.0], [0.0, 2.0], [0.0, 2.0], [3.0, 2.0]])
    asked = torch.tensor([[1.0, -2.0], [0.0, -3.0], [-3.0, 0.0], [-4.0, 9.0], [2.0, -2.5]])
    found = means._Knees(values).mean(asked)
    expected = torch.relu(asked[:, None] + values[None]).double().mean(1)
    torch.testing.assert_close(found, expected)


def test_means_over_many_values_far_from_zero_keep_their_precision():
    generator = torch.Generator().manual_seed(0)
    values = 1000 + torch.randn(20_000, 3, generator=generator)
    asked = -1000 + torch.randn(50, 3, generator=generator)
    expected = torch.relu(asked.double()[:, None] + values.double()[None]).mean(1)
    torch.testing.assert_close(means._Knees(values).mean(asked), expected, rtol=1e-6, atol=1e-9)


def test_means_of_nothing_are_undefined():
    nothing = np.full_like(ITEMS, np.nan)
    assert np.isnan(make(nothing).mean_over_items(ROWS)).all()
    assert np.isnan(make(nothing).mean_over_rows(ROWS)).all()
    assert make().mean_over_items(ROWS[:0]).shape == (0,)
    assert np.isnan(make().mean_over_rows(ROWS[:0])).all()
    assert np.isnan(make().mean_over_rows(np.full_like(ROWS, np.nan))).all()


def test_the_mean_over_items_of_a_pointwise_network_is_its_one_value():
    network = InfluenceNetwork(D, 1, CONFIG).requires_grad_(False)
    scaling = Scaling.of(ROWS, LABELS[:, :1], parts=PARTS, items_alike=False, on=True)
    estimator = Estimator(network, scaling, np.ones((1, 1), np.float32))
    np.testing.assert_allclose(estimator.mean_over_items(ROWS), estimator(ROWS)[:, 0], rtol=1e-5, atol=1e-6)


# kept and read again


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_saved_is_read_again_bit_for_bit(tmp_path, kind):
    _, items = gaps()
    estimator = make(items, KINDS[kind])
    np.savez(tmp_path / "network.npz", allow_pickle=False, **estimator.save())
    with np.load(tmp_path / "network.npz") as arrays:
        again = Estimator.load(arrays, KINDS[kind])
    np.testing.assert_array_equal(again(ROWS), estimator(ROWS))
    np.testing.assert_array_equal(again.items, estimator.items)
    for first, second in zip(estimator.network.parameters(), again.network.parameters()):
        assert torch.equal(first, second)
    assert (again.scaling.mean, again.scaling.spread) == (estimator.scaling.mean, estimator.scaling.spread)
    assert not any(weight.requires_grad for weight in again.network.parameters())


def test_a_pointwise_network_is_read_again():
    network = InfluenceNetwork(D, 1, CONFIG).requires_grad_(False)
    scaling = Scaling.of(ROWS, LABELS[:, :1], parts=PARTS, items_alike=False, on=True)
    estimator = Estimator(network, scaling, np.ones((1, 1), np.float32))
    np.testing.assert_array_equal(Estimator.load(estimator.save(), CONFIG)(ROWS), estimator(ROWS))


def without(name: str) -> dict[str, np.ndarray]:
    return {key: value for key, value in make().save().items() if key != name}


@pytest.mark.parametrize(
    ("build", "says"),
    [
        (lambda: Estimator.load(make().save(), replace(CONFIG, hidden=31)), "cannot be read.*Score again"),
        (lambda: Estimator.load(make().save(), replace(CONFIG, rank=3)), "cannot be read"),
        (lambda: Estimator.load(make().save(), replace(CONFIG, members=2)), "cannot be read"),
        (lambda: Estimator.load(make().save(), replace(CONFIG, cosine=False)), "cannot be read"),
        (lambda: Estimator.load(without("weight:rows_in"), CONFIG), "cannot be read"),
        (lambda: Estimator.load(without("factor"), CONFIG), "cannot be read"),
        (lambda: Estimator.load({}, CONFIG), "cannot be read"),
        (lambda: Estimator.load({"numbers": np.array([2.0, 0, 0])}, CONFIG), "format 2, expected 1"),
        (lambda: Estimator.load(make().save() | {"numbers": np.array([1.0, 0])}, CONFIG), "cannot be read"),
        (lambda: make(ITEMS[:, :5]), r"Items of shape \(8, 5\) do not fit a network that reads 6"),
        (lambda: make()(ROWS[:, :1]), r"Samples of shape \(23, 1\)"),
        (lambda: make()(ROWS[0]), r"Samples of shape \(6,\)"),
        (lambda: make().by_row(ROWS[:, :1], top_mean(1)), r"Samples of shape \(23, 1\)"),
        (lambda: make().by_item(ROWS[:, :1]), r"Samples of shape \(23, 1\)"),
        (lambda: make().mean_over_items(ROWS[:, :1]), r"Samples of shape \(23, 1\)"),
        (lambda: make().mean_over_rows(ROWS[:, :1]), r"Samples of shape \(23, 1\)"),
        (lambda: top_mean(0), "at least 1"),
    ],
)
def test_what_does_not_fit_is_refused(build, says):
    with pytest.raises(EngineError, match=says):
        build()
