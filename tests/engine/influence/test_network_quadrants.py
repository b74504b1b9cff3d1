"""Which pairs fall into which quadrant, and every figure of one against a direct computation."""

import json

import numpy as np
import pytest
from scipy.stats import spearmanr

from engine.influence.network.quadrants import QUADRANTS, SHOWN_PAIRS, Quadrant, quadrants

RNG = np.random.default_rng(0)
N, U = 30, 12
EXACT = RNG.normal(size=(N, U)).astype(np.float32)
SAID = (EXACT + RNG.normal(0, 0.7, (N, U))).astype(np.float32)
OTHER = RNG.normal(size=(N, U)).astype(np.float32)
SEEN_ROWS, SEEN_ITEMS = np.arange(N) < 18, np.arange(U) % 3 > 0
FITTED = np.outer(SEEN_ROWS, SEEN_ITEMS)
HELD = np.zeros((N, U), bool)
HELD[[0, 3, 3, 7, 9, 12, 17, 5, 6, 8, 10], [1, 2, 4, 1, 5, 7, 8, 10, 1, 2, 11]] = True
FITTED &= ~HELD


def report(
    exact: np.ndarray = EXACT, said: np.ndarray = SAID, fitted: np.ndarray = FITTED, **more
) -> dict[str, Quadrant]:
    return {each.name: each for each in quadrants(exact, {"network": said, "linear": OTHER}, fitted, **more)}


def pairs_of(name: str) -> list[tuple[int, int]]:
    """The pairs of a quadrant, by the definitions in words."""
    wanted = {"both": (True, True), "rows": (True, False), "items": (False, True), "neither": (False, False)}[name]
    seen = [(bool(FITTED[i].any()), bool(FITTED[:, j].any())) for i in range(N) for j in range(U)]
    places = [(i, j) for i in range(N) for j in range(U)]
    return [(i, j) for (i, j), each in zip(places, seen) if each == wanted and not FITTED[i, j]]


def test_all_four_are_there_in_their_order_and_cover_what_was_not_fitted_to():
    found = report()
    assert list(found) == list(QUADRANTS)
    assert sum(each.pairs for each in found.values()) == (~FITTED).sum()
    assert found["both"].pairs == HELD.sum()
    assert (found["neither"].rows, found["neither"].items) == (12, 4)


@pytest.mark.parametrize("name", QUADRANTS)
def test_every_figure_is_the_direct_one(name):
    found, places = report()[name], pairs_of(name)
    truth = np.array([EXACT[p] for p in places], np.float64)
    labels = EXACT[FITTED].astype(np.float64)
    assert found.pairs == len(places)
    assert found.rows == len({i for i, _ in places})
    assert found.items == len({j for _, j in places})
    assert found.mse_of_mean == pytest.approx(((truth - labels.mean()) ** 2).mean())
    for key, matrix in (("network", SAID), ("linear", OTHER)):
        guess = np.array([matrix[p] for p in places], np.float64)
        figures = found.estimates[key]
        assert figures.mse == pytest.approx(((truth - guess) ** 2).mean())
        assert figures.pairs.value == pytest.approx(spearmanr(truth, guess)[0])
        rows = sorted({i for i, _ in places})
        means = [[np.mean([m[p] for p in places if p[0] == i]) for i in rows] for m in (EXACT, matrix)]
        assert figures.rows.value == pytest.approx(spearmanr(*means)[0])
        assert figures.rows.n == len(rows)
        assert figures.rows.low <= figures.rows.value <= figures.rows.high
        if len(rows) >= 10:
            k = -(-len(rows) // 10)
            best = [set(np.argsort(-np.array(each), kind="stable")[:k].tolist()) for each in means]
            assert figures.top.value == len(best[0] & best[1]) / k
    assert found.share_of_mean == pytest.approx(found.estimates["network"].mse / found.mse_of_mean)


def test_random_labels_come_from_the_fitted_ones():
    generator = np.random.default_rng(1)
    exact = generator.normal(size=(300, 60)).astype(np.float32)
    fitted = np.outer(np.arange(300) < 150, np.arange(60) < 30)
    exact[~fitted] += 5
    found = report_of(exact, fitted)["neither"]
    truth, labels = exact[150:, 30:].astype(np.float64), exact[fitted].astype(np.float64)
    expected = np.mean([((truth - value) ** 2).mean() for value in labels])
    assert found.mse_of_random == pytest.approx(expected, rel=0.03)
    assert found.mse_of_mean == pytest.approx(((truth - labels.mean()) ** 2).mean())
    assert found.mse_of_random > found.mse_of_mean


def report_of(exact: np.ndarray, fitted: np.ndarray, **more) -> dict[str, Quadrant]:
    return {each.name: each for each in quadrants(exact, {"network": exact}, fitted, **more)}


def test_pairs_without_an_influence_or_an_estimate_are_left_out_for_all():
    exact, said = EXACT.copy(), SAID.copy()
    exact[25, 0] = exact[2, 3] = np.nan
    said[26, 0], said[3, 4] = np.nan, np.inf
    found, whole = report(exact, said), report()
    assert found["neither"].pairs == whole["neither"].pairs - 2
    assert found["both"].pairs == whole["both"].pairs - (0 if (3, 4) not in pairs_of("both") else 1)
    assert np.isfinite(found["neither"].estimates["linear"].mse)
    # what such a pair would have been does not matter
    exact[26, 0] = 1e9
    assert report(exact, said)["neither"].to_dict() == found["neither"].to_dict()


def test_a_quadrant_without_pairs_is_not_told():
    assert list(report(fitted=np.outer(SEEN_ROWS, np.ones(U, bool)))) == ["items"]
    one = np.ones((N, 1), bool)
    one[20:] = False
    pointwise = quadrants(EXACT[:, :1], {"network": SAID[:, :1]}, one)
    assert [(each.name, each.pairs) for each in pointwise] == [("items", 10)]
    assert not report(fitted=np.ones((N, U), bool))
    assert not report(fitted=np.zeros((N, U), bool))
    assert not report(exact=np.full_like(EXACT, np.nan))


def test_undefined_figures_have_a_reason_and_no_number():
    constant = np.full_like(SAID, 2)
    found = report(said=constant)["neither"].estimates["network"]
    for measure in (found.pairs, found.rows, found.top):
        assert measure.value is None
        assert "constant" in measure.reason
    few = report_of(EXACT[:20], FITTED[:20])["neither"].estimates["network"]
    assert (few.rows.value, few.rows.n) == (None, 2)
    assert "too few" in few.rows.reason
    exact = EXACT.copy()
    exact[~SEEN_ROWS] = exact[FITTED].astype(np.float64).mean()
    assert report(exact)["neither"].estimates["network"].pairs.value is None


def test_the_share_of_the_mean_is_undefined_where_the_mean_is_right():
    exact = np.where(FITTED, np.float32(3), np.float32(3))
    found = report(exact)["neither"]
    assert (found.mse_of_mean, found.mse_of_random, found.share_of_mean) == (0, 0, None)


def test_a_sample_of_pairs_is_shown_exact_first():
    found = report()["neither"]
    assert found.shown.dtype == np.float32
    truth = np.array([[EXACT[p], SAID[p]] for p in pairs_of("neither")])
    np.testing.assert_array_equal(found.shown, truth)
    exact = RNG.normal(size=(100, 40)).astype(np.float32)
    fitted = np.zeros((100, 40), bool)
    fitted[0, 0] = True
    many, again = (report_of(exact, fitted, seed=3)["neither"] for _ in range(2))
    assert many.shown.shape == (SHOWN_PAIRS, 2)
    np.testing.assert_array_equal(many.shown, again.shown)
    assert not np.array_equal(report_of(exact, fitted, seed=4)["neither"].shown, many.shown)


def test_figures_are_json_values():
    for name, each in report().items():
        told = json.loads(json.dumps(each.to_dict(), allow_nan=False))
        assert told["name"] == name
        assert told["said"] == QUADRANTS[name]
        assert "shown" not in told
        assert told["estimates"]["network"]["rows"]["value"] == each.estimates["network"].rows.value
