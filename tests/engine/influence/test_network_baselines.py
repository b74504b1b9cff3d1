"""The baselines against dense solves over explicit pairs; what chooses the ridge; missing labels."""

import numpy as np
import pytest

from engine.influence.kernels import median_distance
from engine.influence.network import baselines
from engine.influence.network.baselines import RIDGES, PairKernels, fit_baselines, linear

RNG = np.random.default_rng(0)
M, U, D, E = 13, 6, 4, 3
ROWS = RNG.normal(2, 1, (M, D)).astype(np.float32)
ITEMS = RNG.normal(-1, 2, (U, E)).astype(np.float32)
SIDES = ROWS @ RNG.normal(size=D), ITEMS @ RNG.normal(size=E)
LABELS = (SIDES[0][:, None] + SIDES[1] + RNG.normal(0, 1, (M, U)) + 5).astype(np.float32)
LABELS[0, 1] = LABELS[4, 4] = LABELS[12, 0] = np.nan
FRESH = RNG.normal(2, 1, (5, D)).astype(np.float32)
NONE = np.zeros(0, np.int64)


def dense_linear(rows: np.ndarray, items: np.ndarray, labels: np.ndarray, ridge: float) -> np.ndarray:
    """[w ; z ; c] by least squares over explicit pairs, the penalty as further equations."""
    places = [(i, j) for i in range(len(rows)) for j in range(len(items)) if np.isfinite(labels[i, j])]
    pairs = np.array([np.concatenate([rows[i], items[j]]) for i, j in places], np.float64)
    target = np.array([labels[p] for p in places], np.float64)
    centred = pairs - pairs.mean(0)
    penalty = ridge * (centred**2).sum() / pairs.shape[1]
    whole = np.vstack([centred, np.sqrt(penalty) * np.eye(pairs.shape[1])])
    found = np.linalg.lstsq(whole, np.concatenate([target - target.mean(), np.zeros(pairs.shape[1])]), rcond=None)[0]
    return np.append(found, target.mean() - pairs.mean(0) @ found)


@pytest.mark.parametrize("ridge", [0.0, 1e-2, 3.0])
@pytest.mark.parametrize("missing", [False, True])
def test_the_linear_model_is_least_squares_over_pairs(ridge, missing):
    labels = LABELS if missing else np.nan_to_num(LABELS)
    found, expected = linear(ROWS, ITEMS, labels, ridge=ridge), dense_linear(ROWS, ITEMS, labels, ridge)
    np.testing.assert_allclose(found.row_weights, expected[:D], rtol=1e-7, atol=1e-9)
    np.testing.assert_allclose(found.item_weights, expected[D:-1], rtol=1e-7, atol=1e-9)
    assert found.offset == pytest.approx(expected[-1])
    said = found(FRESH, ITEMS)
    assert said.dtype == np.float32
    for i, j in ((0, 0), (4, 5), (2, 1)):
        assert said[i, j] == pytest.approx(FRESH[i] @ expected[:D] + ITEMS[j] @ expected[D:-1] + expected[-1], rel=1e-5)


def gaussian(left: np.ndarray, right: np.ndarray, width: float) -> np.ndarray:
    differences = left.astype(np.float64)[:, None] - right.astype(np.float64)[None]
    return np.exp(-(differences**2).sum(2) / (2 * width**2))


def dense_kernel(rows: np.ndarray, items: np.ndarray, block: np.ndarray, ridge: float, fresh: np.ndarray) -> np.ndarray:
    """Kernel ridge over explicit pairs: one kernel of all pairs with all pairs, one solve."""
    widths = median_distance(rows, seed=0)[0], median_distance(items, seed=0)[0]
    k, l = gaussian(rows, rows, widths[0]), gaussian(items, items, widths[1])  # noqa: E741
    places = [(i, j) for i in range(len(rows)) for j in range(len(items))]
    whole = np.array([[k[i, a] * l[j, b] for a, b in places] for i, j in places])
    target = np.array([block[p] for p in places], np.float64)
    solved = np.linalg.solve(whole + ridge * np.eye(len(places)), target - target.mean())
    near = gaussian(fresh, rows, widths[0])
    said = [
        [sum(near[f, a] * l[j, b] * s for (a, b), s in zip(places, solved)) for j in range(len(items))]
        for f in range(len(fresh))
    ]
    return np.array(said) + target.mean()


@pytest.mark.parametrize("ridge", [1e-2, 1.0])
@pytest.mark.parametrize("missing", [False, True])
def test_kernel_ridge_is_a_dense_solve_over_pairs(ridge, missing):
    labels = LABELS if missing else np.nan_to_num(LABELS)
    filled = linear(ROWS, ITEMS, labels, ridge=0.1)
    block = np.where(np.isfinite(labels), labels, filled(ROWS, ITEMS))
    found = PairKernels(ROWS, ITEMS, labels, filled).fit(ridge)(FRESH, ITEMS)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, dense_kernel(ROWS, ITEMS, block, ridge, FRESH), rtol=1e-5, atol=1e-5)


def test_rows_in_blocks_are_estimated_alike(monkeypatch):
    kernel = PairKernels(ROWS, ITEMS, LABELS, linear(ROWS, ITEMS, LABELS, ridge=0.1)).fit(0.1)
    whole = kernel(FRESH, ITEMS)
    monkeypatch.setattr(baselines, "BLOCK", 2)
    np.testing.assert_allclose(kernel(FRESH, ITEMS), whole, rtol=1e-6)


def test_large_blocks_are_fitted_to_a_draw(monkeypatch):
    monkeypatch.setattr(baselines, "KERNEL_SIDE", 5)
    kernels = PairKernels(ROWS, ITEMS, LABELS, linear(ROWS, ITEMS, LABELS, ridge=0.1))
    assert kernels.rows.shape == (5, D)
    assert kernels.items.shape == (5, E)
    at = [int(np.flatnonzero((row == ROWS).all(axis=1))[0]) for row in kernels.rows]
    assert at == sorted(set(at))
    found = kernels.fit(1e-6)(ROWS[at], ITEMS)
    there = [int(np.flatnonzero((item == ITEMS).all(axis=1))[0]) for item in kernels.items]
    drawn = LABELS[np.ix_(at, there)]
    known = np.isfinite(drawn)
    np.testing.assert_allclose(found[:, there][known], drawn[known], rtol=1e-2, atol=1e-2)


VALIDATION = np.array([1, 6, 9])


def chosen_by_hand(labels: np.ndarray) -> tuple[float, float]:
    fitted = np.setdiff1d(np.arange(M), VALIDATION)
    truth = labels[VALIDATION]

    def error(said: np.ndarray) -> float:
        return float(np.nanmean((said - truth) ** 2))

    first = min(
        RIDGES, key=lambda r: error(linear(ROWS[fitted], ITEMS, labels[fitted], ridge=r)(ROWS[VALIDATION], ITEMS))
    )
    filled = linear(ROWS[fitted], ITEMS, labels[fitted], ridge=first)
    kernels = PairKernels(ROWS[fitted], ITEMS, labels[fitted], filled)
    return first, min(RIDGES, key=lambda r: error(kernels.fit(r)(ROWS[VALIDATION], ITEMS)))


@pytest.mark.parametrize("seed", range(4))
def test_validation_rows_choose_the_ridges(seed):
    noise = np.random.default_rng(seed).normal(0, 10.0**seed / 10, (M, U)).astype(np.float32)
    labels = LABELS + noise
    found = fit_baselines(ROWS, ITEMS, labels, validation=VALIDATION)
    assert found.ridges == chosen_by_hand(labels)
    expected = linear(ROWS, ITEMS, labels, ridge=found.ridges[0])  # and are fitted to after
    np.testing.assert_array_equal(found.linear(FRESH, ITEMS), expected(FRESH, ITEMS))
    kernel = PairKernels(ROWS, ITEMS, labels, expected).fit(found.ridges[1])
    np.testing.assert_array_equal(found.kernel(FRESH, ITEMS), kernel(FRESH, ITEMS))
    assert found.mean == pytest.approx(np.nanmean(labels))


def test_the_rows_fitted_to_do_not_judge_the_ridge(monkeypatch):
    judged: list[np.ndarray] = []
    real = baselines._error
    monkeypatch.setattr(baselines, "_error", lambda said, truth: judged.append(truth) or real(said, truth))
    fit_baselines(ROWS, ITEMS, LABELS, validation=VALIDATION)
    assert len(judged) == 2 * len(RIDGES)
    assert all(np.array_equal(truth, LABELS[VALIDATION], equal_nan=True) for truth in judged)


def test_without_validation_rows_the_ridges_are_fixed():
    assert fit_baselines(ROWS, ITEMS, LABELS, validation=NONE).ridges == (1e-2, 1e-2)
    assert fit_baselines(ROWS, ITEMS, LABELS, validation=np.arange(M)).ridges == (1e-2, 1e-2)


def test_rows_and_items_without_labels_or_inputs_are_left_out():
    rows, items, labels = ROWS.copy(), ITEMS.copy(), LABELS.copy()
    labels[3], labels[:, 2] = np.nan, np.nan
    rows[7, 0], items[5, 1] = np.nan, np.nan
    kept, there = np.delete(np.arange(M), [3, 7]), np.delete(np.arange(U), [2, 5])
    at = np.flatnonzero(np.isin(kept, VALIDATION))
    found = fit_baselines(rows, items, labels, validation=np.append(VALIDATION, [3, 7]))
    expected = fit_baselines(ROWS[kept], ITEMS[there], LABELS[np.ix_(kept, there)], validation=at)
    assert found.ridges == expected.ridges
    assert found.mean == expected.mean
    said = found.estimates(rows, items)
    for name, values in expected.estimates(ROWS[kept], ITEMS).items():
        np.testing.assert_array_equal(said[name][np.ix_(kept, there)], values[:, there])
    for name in ("linear", "kernel"):
        assert np.isnan(said[name][7]).all()
        assert np.isnan(said[name][:, 5]).all()
        assert np.isfinite(np.delete(np.delete(said[name], 7, 0), 5, 1)).all()


@pytest.mark.parametrize(("m", "u"), [(1, 1), (1, U), (M, 1)])
def test_blocks_of_one_row_or_item(m, u):
    found = fit_baselines(ROWS[:m], ITEMS[:u], np.nan_to_num(LABELS[:m, :u]), validation=NONE)
    assert all(np.isfinite(values).all() for values in found.estimates(ROWS, ITEMS).values())


def test_constant_labels_and_inputs_have_defined_estimates():
    rows, items = np.ones((M, D), np.float32), np.ones((U, 1), np.float32)
    found = fit_baselines(rows, items, np.full((M, U), 4, np.float32), validation=VALIDATION)
    for values in found.estimates(rows, items).values():
        np.testing.assert_allclose(values, 4, rtol=1e-6)
