"""Scores against loops over pairs; a bad row or item is NaN alone; columns, aggregate and status."""

import numpy as np
import pytest
import torch

from engine.errors import EngineError
from engine.influence.scores import (
    TargetSide,
    columns_of,
    over_sets,
    round_robin_input,
    score_matrix,
    status_of,
    usable_items,
)

RNG = np.random.default_rng(0)
GRADS = RNG.normal(size=(7, 5)).astype(np.float32)
TARGETS = RNG.normal(size=(4, 5)).astype(np.float32)


def loop(unit, norms=None, target_norms=None):
    result = np.zeros((7, 4))
    for i in range(7):
        for j in range(4):
            result[i, j] = sum(float(x) * float(y) for x, y in zip(GRADS[i], TARGETS[j]))
            if unit == "cosine":
                result[i, j] /= np.sqrt((GRADS[i] ** 2).sum()) if norms is None else norms[i]
                result[i, j] /= np.sqrt((TARGETS[j] ** 2).sum()) if target_norms is None else target_norms[j]
    return result


@pytest.mark.parametrize("unit", ["cosine", "inner-product"])
def test_against_a_loop_over_pairs(unit):
    found = score_matrix(GRADS, TARGETS, unit=unit)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, loop(unit), rtol=1e-5, atol=1e-6)


def test_true_norms_divide_the_cosine():
    norms, target_norms = np.linspace(1, 2, 7), np.linspace(3, 4, 4)
    found = score_matrix(GRADS, TARGETS, norms=norms, target_norms=target_norms)
    np.testing.assert_allclose(found, loop("cosine", norms, target_norms), rtol=1e-5, atol=1e-6)


def test_the_sign_higher_lowers_the_target_loss():
    # loss of a target: 0.5‖θ − c‖²; its gradient at 0 is −c. A pool row whose own minimum is at c helps.
    target = np.array([[1.0, 0.0]])
    pool = np.array([[1.0, 0.0], [-1.0, 0.0]])
    helps, harms = score_matrix(-pool, -target)[:, 0]
    assert helps == 1 and harms == -1

    def loss_after(row):
        return 0.5 * np.sum((0.1 * pool[row] - target) ** 2)

    assert loss_after(0) < loss_after(1)


@pytest.mark.parametrize("unit", ["cosine", "inner-product"])
@pytest.mark.parametrize("bad", [0.0, np.nan, np.inf])
def test_a_bad_row_is_nan_alone(unit, bad):
    grads = GRADS.copy()
    grads[2] = bad
    found = score_matrix(grads, TARGETS, unit=unit)
    assert np.isnan(found[2]).all()
    others = [0, 1, 3, 4, 5, 6]
    np.testing.assert_allclose(found[others], score_matrix(GRADS, TARGETS, unit=unit)[others], rtol=1e-6)


@pytest.mark.parametrize("bad", [0.0, np.nan])
def test_a_bad_norm_is_nan_alone(bad):
    norms = np.ones(7)
    norms[4] = bad
    assert np.flatnonzero(np.isnan(score_matrix(GRADS, TARGETS, norms=norms)).all(axis=1)).tolist() == [4]


def test_a_bad_target_item_is_left_out():
    targets = TARGETS.copy()
    targets[1] = 0
    found = score_matrix(GRADS, targets)
    assert np.isnan(found[:, 1]).all() and usable_items(found).tolist() == [True, False, True, True]
    columns = columns_of(found, {"a": [0, 1], "b": [2, 3]})
    np.testing.assert_allclose(columns[:, 0], found[:, 0])
    assert np.isfinite(columns).all()


def test_read_only_gradients_are_scored(tmp_path):
    np.save(tmp_path / "grads.npy", GRADS)
    mapped = np.load(tmp_path / "grads.npy", mmap_mode="r")
    np.testing.assert_array_equal(score_matrix(mapped, TARGETS), score_matrix(GRADS, TARGETS))


def test_gradients_below_the_range_of_float32_are_defined():
    found = score_matrix(np.vstack([GRADS, np.full((1, 5), 1e-44, dtype=np.float32)]), TARGETS)
    assert not np.isinf(found).any() and np.isfinite(found[:7]).all()


def test_tiny_gradients_keep_their_direction():
    np.testing.assert_allclose(score_matrix(GRADS * 1e-18, TARGETS), loop("cosine"), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("unit", ["cosine", "inner-product"])
def test_a_prepared_target_side_scores_batches_alike_and_changes_nothing(unit):
    norms = np.linspace(1, 2, 7)
    side = TargetSide(TARGETS, unit=unit)
    grads = torch.from_numpy(GRADS.copy())
    found = torch.cat([side(grads[:3], norms[:3]), side(grads[3:], torch.from_numpy(norms[3:]))])
    np.testing.assert_allclose(found.numpy(), score_matrix(GRADS, TARGETS, unit=unit, norms=norms), rtol=1e-6)
    np.testing.assert_array_equal(grads.numpy(), GRADS)
    assert found.dtype == torch.float32


def test_refusals():
    with pytest.raises(EngineError, match="cosine, inner-product"):
        score_matrix(GRADS, TARGETS, unit="dot")
    with pytest.raises(EngineError, match="one projection"):
        score_matrix(GRADS, TARGETS[:, :3])
    with pytest.raises(EngineError, match="No target item"):
        score_matrix(GRADS, np.zeros((2, 5)))
    matrix = score_matrix(GRADS, TARGETS)
    with pytest.raises(EngineError, match="mean, max"):
        columns_of(matrix, {"a": [0]}, aggregate="median")
    with pytest.raises(EngineError, match="at least one target set"):
        columns_of(matrix, {})
    with pytest.raises(EngineError, match="'empty' has no item"):
        columns_of(matrix, {"empty": []})


def test_columns_and_aggregate():
    matrix = score_matrix(GRADS, TARGETS)
    sets = {"a": [0, 2, 3], "b": [1]}
    mean, best = columns_of(matrix, sets), columns_of(matrix, sets, aggregate="max")
    np.testing.assert_allclose(mean[:, 0], matrix[:, [0, 2, 3]].mean(axis=1), rtol=1e-6)
    np.testing.assert_allclose(best[:, 0], matrix[:, [0, 2, 3]].max(axis=1))
    np.testing.assert_allclose(mean[:, 1], matrix[:, 1])
    # the aggregate weighs sets, not items
    np.testing.assert_allclose(over_sets(mean), (mean[:, 0] + mean[:, 1]) / 2, rtol=1e-6)


def test_an_unscorable_row_is_nan_in_every_column_and_alone():
    matrix = score_matrix(np.vstack([GRADS, np.zeros((1, 5))]), TARGETS)
    columns = columns_of(matrix, {"a": [0, 1], "b": [2, 3]}, aggregate="max")
    assert np.flatnonzero(np.isnan(columns).any(axis=1)).tolist() == [7]
    assert status_of(over_sets(columns), [0, 7]).tolist() == [1, 2, 2, 2, 2, 2, 2, 0]


def test_round_robin_takes_every_usable_item_once():
    matrix = score_matrix(GRADS, TARGETS)
    matrix[:, 2] = np.nan
    found = round_robin_input(matrix, {"a": [3, 0], "b": [2, 3]})
    np.testing.assert_array_equal(found, matrix[:, [0, 3]])
