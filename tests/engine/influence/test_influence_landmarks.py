"""Audit rows and landmarks: drawn without replacement, disjoint, seeded, within what is usable."""

from typing import get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import EngineError
from engine.influence.landmarks import (
    LandmarkStrategy,
    audit_rows,
    choose_landmarks,
    cover_landmarks,
    next_landmarks,
)
from engine.influence.regression import KernelRidge


@given(data=st.data(), n=st.integers(1, 60), seed=st.integers(0, 9))
def test_landmarks_and_audit_are_disjoint_draws_of_usable_rows(data, n, seed):
    usable = np.array(data.draw(st.lists(st.booleans(), min_size=n, max_size=n)))
    rows = np.flatnonzero(usable)
    m = data.draw(st.integers(0, len(rows)))
    count = data.draw(st.integers(0, len(rows) - m))
    audit = audit_rows(usable, m, seed=seed)
    landmarks = choose_landmarks(rows, count, seed=seed, exclude=audit)
    together = np.concatenate([audit, landmarks])
    assert len(audit) == m and len(landmarks) == count
    assert len(set(together)) == m + count and set(together) <= set(rows)
    assert audit.dtype == landmarks.dtype == np.int64
    assert (np.diff(audit) > 0).all() and (np.diff(landmarks) > 0).all()


def test_the_seed_decides_and_the_order_given_does_not():
    rows = np.arange(5, 105)
    first = audit_rows(rows, 20, seed=1)
    assert np.array_equal(first, audit_rows(rows[::-1], 20, seed=1))
    assert not np.array_equal(first, audit_rows(rows, 20, seed=2))
    assert not np.array_equal(first, choose_landmarks(rows, 20, seed=1))


def test_the_draw_is_uniform():
    counts = np.zeros(10)
    for seed in range(2000):
        counts[audit_rows(np.arange(10), 3, seed=seed)] += 1
    assert np.abs(counts - 600).max() < 90  # about four standard deviations


@pytest.mark.parametrize("count", [-1, 4])
def test_too_many_rows_are_refused(count):
    with pytest.raises(EngineError, match="3 samples can serve"):
        choose_landmarks(np.arange(5), count, seed=0, exclude=[0, 1])


STRATEGIES = get_args(LandmarkStrategy)
RNG = np.random.default_rng(0)
POOL = np.concatenate([RNG.normal(size=(300, 4)), 8 + 0.1 * RNG.normal(size=(5, 4))]).astype(np.float32)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_every_strategy_keeps_to_usable_rows(strategy):
    usable = np.ones(305, dtype=bool)
    usable[::7] = False
    audit = audit_rows(usable, 40, seed=0)
    pool = POOL.copy()
    pool[10] = np.nan
    options = {"strategy": strategy, "seed": 3, "exclude": audit}
    chosen = cover_landmarks(pool, usable, 50, **options)
    assert len(set(chosen.rows.tolist())) == 50 and chosen.rows.dtype == np.int64
    assert usable[chosen.rows].all() and not set(chosen.rows) & set(audit)
    assert np.array_equal(np.sort(chosen.order), chosen.rows) and chosen.notes
    if strategy != "uniform":
        assert 10 not in chosen.rows and any("finite" in note for note in chosen.notes)
    again = cover_landmarks(pool, usable, 50, **options)
    assert np.array_equal(chosen.order, again.order)
    assert not np.array_equal(chosen.rows, cover_landmarks(pool, usable, 50, **{**options, "seed": 4}).rows)
    assert len(cover_landmarks(pool, usable, 0, **options).rows) == 0
    assert len(cover_landmarks(pool, usable, 1, **options).rows) == 1


def test_uniform_is_the_plain_draw():
    found = cover_landmarks(POOL, np.arange(305), 20, strategy="uniform", seed=5, exclude=[1, 2])
    assert np.array_equal(found.rows, choose_landmarks(np.arange(305), 20, seed=5, exclude=[1, 2]))


@pytest.mark.parametrize("strategy", STRATEGIES[1:])
def test_identical_rows_wait_until_no_others_remain(strategy):
    pool = np.concatenate([np.repeat(POOL[:1], 200, axis=0), POOL[:30]])
    few = cover_landmarks(pool, np.arange(230), 30, strategy=strategy, seed=0)
    assert len(np.unique(pool[few.rows], axis=0)) == 30
    more = cover_landmarks(pool, np.arange(230), 40, strategy=strategy, seed=0)
    assert len(set(more.rows)) == 40 and len(np.unique(pool[more.rows], axis=0)) == 30
    assert any("Only 30 embeddings differ; 10 landmarks repeat" in note for note in more.notes)
    same = cover_landmarks(pool[:200], np.arange(200), 9, strategy=strategy, seed=0)
    assert len(set(same.rows)) == 9


@pytest.mark.parametrize("strategy", STRATEGIES[1:])
@pytest.mark.parametrize("options", [{}, {"standardise": True}, {"kernel": "linear"}, {"candidates": 60}])
def test_options_and_memory_maps(strategy, options, tmp_path):
    np.save(tmp_path / "pool.npy", POOL)
    mapped = np.load(tmp_path / "pool.npy", mmap_mode="r")
    found = cover_landmarks(mapped, np.arange(305), 20, strategy=strategy, seed=1, **options)
    plain = cover_landmarks(POOL, np.arange(305), 20, strategy=strategy, seed=1, **options)
    assert len(set(found.rows)) == 20 and np.array_equal(found.order, plain.order)
    assert ("candidates" in options) == any("among 60 of 305" in note for note in found.notes)


@pytest.mark.parametrize("strategy", ["k-means++", "farthest-point"])
def test_a_small_far_cluster_is_covered(strategy):
    for seed in range(5):
        found = cover_landmarks(POOL, np.arange(305), 6, strategy=strategy, seed=seed)
        assert (found.rows >= 300).any()


def test_rp_cholesky_leaves_less_variance_than_chance():
    sizes = [400, 100, 40, *[5] * 12]  # clusters of very unequal size
    rows = np.concatenate([8 * RNG.normal(size=6) + RNG.normal(size=(size, 6)) for size in sizes]).astype("f4")

    def left(strategy, seed):
        landmarks = cover_landmarks(rows, np.arange(600), 40, strategy=strategy, seed=seed).rows
        return KernelRidge.fit(rows[landmarks], np.zeros(40), bandwidth=15.0).variance(rows).mean()

    assert np.mean([left("rp-cholesky", s) for s in range(4)]) < 0.9 * np.mean([left("uniform", s) for s in range(4)])


def test_strategies_refuse_what_cannot_be():
    with pytest.raises(EngineError, match="one of: uniform"):
        cover_landmarks(POOL, np.arange(5), 2, strategy="best", seed=0)
    for strategy in STRATEGIES:
        with pytest.raises(EngineError, match="3 samples can serve"):
            cover_landmarks(POOL, np.arange(5), 4, strategy=strategy, seed=0, exclude=[0, 1])


def adaptive(pool, count, **options):
    landmarks = np.arange(10)
    model = KernelRidge.fit(pool[landmarks], np.zeros(10), bandwidth=1.0)
    settings = {"usable": np.arange(len(pool)), "exclude": landmarks, "seed": 0, "noise": model.noise, **options}
    return next_landmarks(
        model.variance(pool), count, covariance=lambda rows: model.covariance(pool[rows]), **settings
    ), model


def test_the_next_landmarks_are_uncertain_and_not_each_other():
    centres = 6 * RNG.normal(size=(8, 4))
    pool = np.concatenate([POOL[:10], *(c + 0.01 * RNG.normal(size=(50, 4)) for c in centres)]).astype(np.float32)
    found, _ = adaptive(pool, 8)
    assert sorted((found - 10) // 50) == list(range(8))  # the top variances alone would come from one cluster


def test_the_next_landmarks_are_the_greedy_choice():
    found, model = adaptive(POOL, 12, shortlist=1000)
    left = model.covariance(POOL)
    for pick in found:
        free = np.setdiff1d(np.arange(305), np.arange(10))
        assert left[pick, pick] >= np.diag(left)[free].max() - 1e-9
        left = left - np.outer(left[pick], left[pick]) / (left[pick, pick] + model.noise)


def test_the_next_landmarks_keep_away_from_excluded_and_unknown_rows():
    found, _ = adaptive(POOL, 6, usable=np.arange(0, 305, 2), exclude=np.arange(200), shortlist=20)
    assert len(set(found)) == 6 and (found >= 200).all() and (found % 2 == 0).all()
    pool = POOL.copy()
    pool[250] = np.nan
    model = KernelRidge.fit(pool[:10], np.zeros(10))
    options = {"covariance": lambda rows: model.covariance(pool[rows]), "noise": model.noise, "seed": 0}
    rest = next_landmarks(model.variance(pool), 500, usable=np.arange(305), exclude=np.arange(10), **options)
    assert len(rest) == 294 and 250 not in rest
    assert len(next_landmarks(model.variance(pool), 5, usable=[], exclude=[], **options)) == 0
