"""Explanations: the terms of the prediction, the extremes of its items, and the map's weak regions."""

import numpy as np
import pytest

from engine.errors import EngineError
from engine.influence.explanations import best_and_worst_targets, carriers, weak_regions
from engine.influence.regression import KernelRidge

RNG = np.random.default_rng(0)
EMBEDDINGS = RNG.normal(size=(60, 4)).astype(np.float32)
SCORES = RNG.normal(size=(40, 3))
PLACES = RNG.permutation(1000)[:40]


@pytest.mark.parametrize("kernel", ["rbf", "linear"])
def test_all_carriers_together_are_the_prediction(kernel):
    model = KernelRidge.fit(EMBEDDINGS[:40], SCORES, kernel=kernel, ridge=0.1)
    rows = EMBEDDINGS[40:]
    found = carriers(model.coefficients(rows), SCORES, PLACES, count=100)
    assert found.rows.shape == (20, 3, 40)
    np.testing.assert_allclose(found.contributions.sum(axis=2), model.predict(rows), atol=1e-4)
    np.testing.assert_allclose(found.shares.sum(axis=2), 1, atol=1e-9)
    np.testing.assert_allclose(found.covered, 1, atol=1e-9)


def test_carriers_against_a_loop():
    c = RNG.normal(size=(7, 40))
    found = carriers(c, SCORES, PLACES, count=4)
    for i in range(7):
        for j in range(3):
            terms = [(abs(c[i, m] * SCORES[m, j]), m) for m in range(40)]
            best = [m for _, m in sorted(terms, reverse=True)[:4]]
            assert found.rows[i, j].tolist() == PLACES[best].tolist()
            np.testing.assert_allclose(found.coefficients[i, j], c[i, best])
            np.testing.assert_allclose(found.contributions[i, j], c[i, best] * SCORES[best, j])
            share = np.abs(c[i, best] * SCORES[best, j]).sum() / sum(size for size, _ in terms)
            assert found.covered[i, j] == pytest.approx(share)


def test_a_row_on_a_landmark_is_carried_by_it():
    model = KernelRidge.fit(EMBEDDINGS[:40], SCORES, bandwidth=0.3)
    found = carriers(model.coefficients(EMBEDDINGS[:40]), SCORES, PLACES, count=1)
    assert (found.rows[:, 0, 0] == PLACES).mean() > 0.9


def test_carriers_of_undefined_and_zero_rows():
    c = RNG.normal(size=(3, 40))
    c[1] = np.nan
    c[2] = 0
    found = carriers(c, SCORES[:, 0], PLACES, count=2)
    assert (found.rows[1] == -1).all() and np.isnan(found.shares[1]).all() and np.isnan(found.covered[1]).all()
    assert (found.shares[2] == 0).all() and np.isfinite(found.shares[0]).all()
    assert carriers(c[:, :1], SCORES[:1], PLACES[:1], count=5).rows.shape == (3, 3, 1)
    assert carriers(c[:0], SCORES, PLACES).rows.shape == (0, 3, 5)


def test_best_and_worst_targets():
    scores = np.array([[0.1, np.nan, -3.0, 2.0], [np.nan, np.nan, np.nan, 1.0], [0, 0, 0, 0]])
    found = best_and_worst_targets(scores, count=2)
    assert found.best.tolist() == [[3, 0], [3, -1], [0, 1]]
    assert found.worst.tolist() == [[2, 0], [3, -1], [0, 1]]
    np.testing.assert_array_equal(found.best_scores[1], [1.0, np.nan])
    np.testing.assert_array_equal(found.worst_scores[0], [-3.0, 0.1])
    assert best_and_worst_targets(scores, count=9).best.shape == (3, 4)


def test_weak_regions_are_named_worst_first():
    sigma = RNG.uniform(0.8, 1.2, size=1000)
    clusters = np.repeat(np.arange(-1, 9), 100)
    sigma[clusters == 3] *= 1.5
    sigma[clusters == 7] *= 3
    sigma[clusters == -1] *= 5  # no cluster, no name
    found = weak_regions(sigma, clusters)
    assert [region.cluster for region in found] == [7, 3]
    assert found[0].rows == 100 and found[0].ratio > 2 and "Cluster 7 (100 samples)" in found[0].sentence
    assert found[0].pool_median == np.median(sigma)


def test_what_is_not_a_weak_region():
    sigma = RNG.uniform(0.5, 1.5, size=1000)
    clusters = RNG.integers(0, 8, size=1000)
    assert weak_regions(sigma, clusters) == ()
    few = clusters.copy()
    few[:19] = 99
    loud = sigma.copy()
    loud[:19] = 10
    assert weak_regions(loud, few) == () and weak_regions(loud, few, least=19)[0].cluster == 99
    assert weak_regions(sigma, np.zeros(1000, dtype=int)) == ()
    assert weak_regions(np.ones(100), np.repeat([0, 1], 50)) == ()
    assert weak_regions(np.zeros(100), np.repeat([0, 1], 50)) == ()
    assert weak_regions(np.full(100, np.nan), np.repeat([0, 1], 50)) == ()
    assert weak_regions(np.zeros(0), np.zeros(0, dtype=int)) == ()


def test_rows_without_an_uncertainty_do_not_matter():
    sigma = np.where(np.arange(400) < 50, 3.0, 1.0) * RNG.uniform(0.9, 1.1, size=400)
    clusters = (np.arange(400) >= 50).astype(int)
    holes = np.concatenate([sigma, np.full(30, np.nan)])
    assert weak_regions(holes, np.concatenate([clusters, np.zeros(30, dtype=int)])) == weak_regions(sigma, clusters)


def test_refusals():
    with pytest.raises(EngineError, match="one entry per landmark"):
        carriers(np.ones((2, 3)), SCORES, PLACES)
    with pytest.raises(EngineError, match="at least 1"):
        carriers(np.ones((2, 40)), SCORES, PLACES, count=0)
    with pytest.raises(EngineError, match="one row per sample"):
        best_and_worst_targets(np.ones(3))
    with pytest.raises(EngineError, match="One cluster per sample"):
        weak_regions(np.ones(3), np.zeros(4))
