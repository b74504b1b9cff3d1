"""Covering strategies against their one-by-one definitions: distributions, greedy, dense algebra."""

from itertools import permutations

import numpy as np
import pytest

from engine.influence.coverage import _Residual, distinct, farthest_point, k_means_pp, rp_cholesky
from engine.influence.kernels import KERNELS

RNG = np.random.default_rng(0)
SMALL = RNG.normal(size=(5, 2)).astype(np.float32) * np.array([3, 1], np.float32)
DRAWS = 6000


def squares(rows):
    rows = np.asarray(rows, np.float64)
    return ((rows[:, None] - rows[None]) ** 2).sum(axis=-1)


def frequencies(draw):
    counts = {}
    for seed in range(DRAWS):
        picks = tuple(draw(np.random.default_rng(seed)).picks.tolist())
        counts[picks] = counts.get(picks, 0) + 1
    return {key: value / DRAWS for key, value in counts.items()}


def assert_close(found, wanted):
    assert abs(sum(wanted.values()) - 1) < 1e-6
    for key, share in wanted.items():
        error = np.sqrt(share * (1 - share) / DRAWS)
        assert abs(found.get(key, 0) - share) < 4.5 * error + 1e-4, key


@pytest.mark.parametrize("block", [1, 4])
def test_k_means_pp_draws_by_squared_distance(block):
    d = squares(SMALL)
    wanted = {}
    for a, b, c in permutations(range(5), 3):
        near = np.minimum(d[a], d[b])
        wanted[(a, b, c)] = 1 / 5 * d[a, b] / d[a].sum() * near[c] / near.sum()
    assert_close(frequencies(lambda g: k_means_pp(SMALL, 3, g, block=block)), wanted)


@pytest.mark.parametrize("kernel", ["rbf", "linear"])
@pytest.mark.parametrize("block", [1, 4])
def test_rp_cholesky_draws_by_the_residual_diagonal(kernel, block):
    dense = KERNELS[kernel](SMALL.astype(np.float64), SMALL.astype(np.float64), 2.0)
    wanted = {}
    for order in permutations(range(5), 2):
        left, share = dense.copy(), 1.0
        for i in order:
            share *= left[i, i] / np.trace(left)
            left = left - np.outer(left[:, i], left[i]) / left[i, i]
        wanted[order] = share
    found = frequencies(lambda g: rp_cholesky(SMALL, 2, g, kernel=kernel, parameter=2.0, block=block))
    assert_close(found, wanted)


@pytest.mark.parametrize("kernel", ["rbf", "linear"])
def test_the_factor_is_the_dense_pivoted_cholesky_of_the_same_picks(kernel):
    rows = RNG.normal(size=(120, 40)).astype(np.float32)
    picks = rp_cholesky(rows, 30, np.random.default_rng(1), kernel=kernel, parameter=5.0, block=8).picks
    assert len(set(picks.tolist())) == 30
    space = _Residual(rows, kernel, 5.0, 30)
    for start in range(0, 30, 8):
        space.take(picks[start : start + 8])
    centred = rows - rows.mean(axis=0) if kernel == "rbf" else rows
    left = KERNELS[kernel](centred.astype(np.float64), centred.astype(np.float64), 5.0)
    full = left.copy()
    for i in picks:
        left = left - np.outer(left[:, i], left[i]) / left[i, i]
    scale = np.diag(full).max()
    np.testing.assert_allclose(space.factor @ space.factor.T, full - left, atol=2e-4 * scale)
    np.testing.assert_allclose(space.left, np.diag(left), atol=2e-4 * scale)


@pytest.mark.parametrize("block", [1, 3, 64, 500])
def test_farthest_point_is_the_greedy_choice(block):
    rows = RNG.normal(size=(200, 5)).astype(np.float32)
    picks = farthest_point(rows, 40, np.random.default_rng(3), block=block).picks.tolist()
    d = squares(rows)
    near = d[picks[0]]
    for pick in picks[1:]:
        assert near[pick] >= near.max() * (1 - 1e-5)
        near = np.minimum(near, d[pick])


@pytest.mark.parametrize("method", ["k-means++", "farthest-point", "rp-cholesky"])
def test_all_rows_can_be_picked_once(method):
    rows = RNG.normal(size=(30, 3)).astype(np.float32)
    generator = np.random.default_rng(0)
    if method == "rp-cholesky":
        picks = rp_cholesky(rows, 30, generator, kernel="rbf", parameter=1.0).picks
    else:
        picks = {"k-means++": k_means_pp, "farthest-point": farthest_point}[method](rows, 30, generator).picks
    assert sorted(picks.tolist()) == list(range(30))


def test_what_rounding_cannot_tell_apart_is_drawn_uniformly_and_said():
    rows = np.concatenate([np.zeros((1, 2)), np.ones((1, 2)), 1 + 1e-6 * RNG.random((20, 2))]).astype(np.float32)
    cover = k_means_pp(rows, 10, np.random.default_rng(0))
    assert len(set(cover.picks.tolist())) == 10 and "covered to rounding" in cover.notes[0]


def test_distinct_rows():
    rows = np.array([[1.0, 0.0], [1.0, -0.0], [2.0, 0.0], [1.0, 0.0]], dtype=np.float32)
    first, rest = distinct(rows)
    assert first.tolist() == [0, 2] and rest.tolist() == [1, 3]
