"""One scale for what goes in and comes out: parts of one length, the same move for items, and back again."""

import numpy as np
import pytest
import torch

from engine.influence.network.inputs import INPUT_LENGTH, Scaling

RNG = np.random.default_rng(0)
ROWS = np.hstack([RNG.normal(3, 0.01, (20, 4)), RNG.normal(0, 500, (20, 2))]).astype(np.float32)
LABELS = RNG.normal(-7, 3, (20, 5)).astype(np.float32)
LABELS[2, 1] = np.nan


def scaling(rows: np.ndarray = ROWS, labels: np.ndarray = LABELS, **options) -> Scaling:
    return Scaling.of(rows, labels, **{"parts": (4, 2), "items_alike": True, "on": True, **options})


def test_every_part_is_centred_and_has_the_same_length():
    found = scaling().rows(ROWS).double()
    assert float(found.mean(0).abs().max()) < 1e-3
    for part in (found[:, :4], found[:, 4:]):
        assert float((part**2).sum(1).mean()) == pytest.approx(INPUT_LENGTH**2 / 2, rel=1e-3)


def test_items_move_with_the_rows_where_they_have_the_same_form():
    assert torch.equal(scaling().items(ROWS), scaling().rows(ROWS))
    one = np.ones((1, 1), np.float32)
    assert scaling(items_alike=False).items(one).tolist() == [[1.0]]


def test_labels_have_mean_0_and_spread_1_and_come_back():
    scale = scaling()
    inside = scale.labels(LABELS)
    assert float(np.nanmean(inside)) == pytest.approx(0, abs=1e-6)
    assert float(np.nanstd(inside)) == pytest.approx(1, abs=1e-6)
    assert np.isnan(inside[2, 1])
    assert np.isnan(inside).sum() == 1
    back = scale.influence(torch.from_numpy(inside))
    np.testing.assert_allclose(back, LABELS, rtol=1e-5, atol=1e-5)
    assert back.dtype == inside.dtype == np.float32


def test_off_changes_nothing():
    scale = scaling(on=False)
    np.testing.assert_array_equal(scale.rows(ROWS).numpy(), ROWS)
    np.testing.assert_array_equal(scale.labels(LABELS), LABELS)
    np.testing.assert_array_equal(scale.influence(torch.from_numpy(LABELS)), LABELS)


@pytest.mark.parametrize("value", [0.0, 1.0, 0.1, 1e6, -3.3e8])
def test_a_part_that_never_varies_is_zero_for_every_row(value):
    rows = ROWS.copy()
    rows[:, :4] = value
    found = scaling(rows).rows(np.vstack([rows, rows[:1] + 1])).numpy()
    assert np.isfinite(found).all()
    assert not found[:, :4].any()
    assert found[:, 4:].any(axis=1).all()


def test_one_row_has_no_scale_and_is_zero():
    scale = scaling(ROWS[:1], LABELS[:1])
    assert not scale.rows(ROWS).any()
    assert scale.spread > 0


@pytest.mark.parametrize("value", [0.0, 0.1, -4e7])
def test_constant_labels_keep_their_spread(value):
    scale = scaling(labels=np.full((20, 5), value, np.float32))
    assert scale.spread == 1.0
    assert scale.mean == pytest.approx(value)
    assert not scale.labels(np.full((2, 2), np.float32(value))).any()


def test_nothing_handed_in_is_changed():
    rows, labels = ROWS.copy(), LABELS.copy()
    scale = scaling(rows, labels)
    scale.rows(rows)
    scale.labels(labels)
    np.testing.assert_array_equal(rows, ROWS)
    np.testing.assert_array_equal(labels, LABELS)
