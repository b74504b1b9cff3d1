"""Scores against loops over pairs; a bad row or item is NaN alone; columns, aggregate and status."""

import numpy as np
import pytest
import torch

from engine.errors import EngineError
from engine.influence.scores import Combination, TargetSide, column_of, over_sets, status_of

RNG = np.random.default_rng(0)
GRADS = RNG.normal(size=(7, 5)).astype(np.float32)
TARGETS = RNG.normal(size=(4, 5)).astype(np.float32)


def score_matrix(grads, target_grads, *, unit="cosine", norms=None, target_norms=None):
    """P (n, t) in one call."""
    pool = torch.from_numpy(np.array(grads, dtype=np.float32))
    return TargetSide(target_grads, unit=unit, norms=target_norms)(pool, norms).numpy()


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
    assert np.isnan(found[:, 1]).all() and np.isfinite(np.delete(found, 1, axis=1)).all()
    np.testing.assert_array_equal(np.delete(found, 1, axis=1), np.delete(score_matrix(GRADS, TARGETS), 1, axis=1))


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


COLUMNS = RNG.normal(size=(6, 3)).astype(np.float32)


def test_the_plain_combination_is_the_mean_over_sets():
    np.testing.assert_allclose(over_sets(COLUMNS), COLUMNS.mean(axis=1), rtol=1e-6)
    assert over_sets(COLUMNS).dtype == np.float32


def test_weights_scale_and_sets_to_avoid_count_against():
    found = Combination((2.0, 1.0, -1.0))(COLUMNS)
    np.testing.assert_allclose(found, (2 * COLUMNS[:, 0] + COLUMNS[:, 1] - COLUMNS[:, 2]) / 4, rtol=1e-5)
    np.testing.assert_allclose(Combination((-3.0,))(COLUMNS[:, :1]), -COLUMNS[:, 0], rtol=1e-6)


def test_the_maximum_is_over_sets_that_help_less_the_worst_that_harms():
    found = Combination((1.0, 2.0, -0.5), "max")(COLUMNS)
    helps = np.maximum(COLUMNS[:, 0], 2 * COLUMNS[:, 1])
    np.testing.assert_allclose(found, helps - 0.5 * COLUMNS[:, 2], rtol=1e-5)
    two = Combination((-1.0, -1.0), "max")(COLUMNS[:, :2])
    np.testing.assert_allclose(two, -COLUMNS[:, :2].max(axis=1), rtol=1e-6)


def test_a_row_without_a_score_is_nan_alone_and_unscorable():
    columns = COLUMNS.copy()
    columns[4, 1] = np.nan
    for combine in (Combination(), Combination((1.0, 1.0, -1.0), "max")):
        assert np.flatnonzero(np.isnan(combine(columns))).tolist() == [4]
    assert status_of(over_sets(columns), [0, 4]).tolist() == [1, 2, 2, 2, 0, 2]
    assert np.isnan(Combination()(np.zeros((2, 0)))).all()


@pytest.mark.parametrize(
    ("build", "says"),
    [
        (lambda: Combination(across="median"), "mean, max"),
        (lambda: Combination((1.0, 0.0)), "other than 0"),
        (lambda: Combination((1.0, float("nan"))), "other than 0"),
        (lambda: Combination((1.0,))(COLUMNS), "1 weights were given for 3"),
    ],
)
def test_combinations_without_a_meaning_are_refused(build, says):
    with pytest.raises(EngineError, match=says):
        build()


MATRIX = RNG.normal(size=(6, 5)).astype(np.float32)


@pytest.mark.parametrize("aggregate", ["mean", "max"])
@pytest.mark.parametrize("items", [[0, 1, 2, 3, 4], [3, 1], [2]])
def test_a_column_is_the_mean_or_maximum_over_its_items_alone(aggregate, items):
    found = column_of(MATRIX, items, aggregate=aggregate)
    assert found.dtype == np.float32
    join = np.mean if aggregate == "mean" else np.max
    np.testing.assert_allclose(found, [join([float(row[j]) for j in items]) for row in MATRIX], rtol=1e-6)


@pytest.mark.parametrize("aggregate", ["mean", "max"])
def test_groups_are_joined_first_and_the_best_group_counts(aggregate):
    items, groups = [4, 0, 3, 1], ["b", "a", "b", "a"]
    join = np.mean if aggregate == "mean" else np.max
    expected = [max(join([row[4], row[3]]), join([row[0], row[1]])) for row in MATRIX.astype(np.float64)]
    np.testing.assert_allclose(column_of(MATRIX, items, aggregate=aggregate, groups=groups), expected, rtol=1e-6)
    shuffled = column_of(MATRIX, items[::-1], aggregate=aggregate, groups=groups[::-1])
    np.testing.assert_allclose(shuffled, expected, rtol=1e-6)
    one = column_of(MATRIX, items, aggregate=aggregate, groups=["a"] * 4)
    np.testing.assert_array_equal(one, column_of(MATRIX, items, aggregate=aggregate))


@pytest.mark.parametrize("groups", [(), ("x", "y", "x")])
def test_a_column_is_nan_where_one_of_its_items_is(groups):
    matrix = MATRIX.copy()
    matrix[2, 1], matrix[4, 3] = np.nan, np.nan
    for aggregate in ("mean", "max"):
        found = column_of(matrix, [0, 1, 2], aggregate=aggregate, groups=groups)
        assert np.flatnonzero(np.isnan(found)).tolist() == [2]
    assert not np.isnan(MATRIX).any()
