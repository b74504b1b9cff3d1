"""Refinement's guarantees: budget, no row twice, no NaN chosen, an end; and that it does find the top."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.errors import EngineError
from engine.influence.refinement import refine


class Meter:
    """Measures exact scores and remembers which rows were asked for."""

    def __init__(self, exact):
        self.exact, self.asked, self.calls = exact, [], []

    def __call__(self, rows):
        self.asked += rows.tolist()
        self.calls.append(len(rows))
        return self.exact[rows]


def pool(seed, *, n=2000, error=0.5, known=100, bias=0.0, slope=1.0):
    rng = np.random.default_rng(seed)
    exact = rng.normal(size=n)
    sigma = error * rng.uniform(0.5, 1.5, size=n)
    noisy = exact + sigma * rng.normal(size=n)
    shrink = 1 / (1 + sigma**2)  # the posterior of a unit normal
    estimate, spread = shrink * noisy, np.sqrt(shrink) * sigma
    have = np.full(n, np.nan)
    have[:known] = exact[:known]
    return exact, (estimate - bias) / slope, spread, have


def overlap(exact, chosen):
    return len(set(np.argsort(-exact)[: len(chosen)].tolist()) & set(chosen.tolist())) / len(chosen)


def plain(estimate, known, k):
    return np.argsort(-np.where(np.isfinite(known), known, estimate))[:k]


@given(
    data=st.data(),
    n=st.integers(1, 40),
    seed=st.integers(0, 10_000),
    budget=st.integers(0, 50),
    batch=st.integers(1, 9),
    scale=st.sampled_from([0.0, 1e-6, 0.3, 10.0]),
)
@settings(max_examples=80, deadline=None)
def test_guarantees(data, n, seed, budget, batch, scale):
    rng = np.random.default_rng(seed)
    k = data.draw(st.sampled_from([1, n, max(1, n // 3)]))
    exact = np.where(rng.random(n) < 0.1, np.nan, np.round(rng.normal(size=n), 1))
    estimate = np.where(rng.random(n) < 0.2, np.nan, np.nan_to_num(exact) + 0.3 * rng.normal(size=n))
    sigma = np.where(rng.random(n) < 0.1, np.nan, scale * rng.random(n))
    known = np.where(rng.random(n) < 0.3, exact, np.nan)
    meter = Meter(exact)
    found = refine(estimate, sigma, known, k, meter, budget=budget, batch=batch)
    assert len(meter.asked) <= budget and max(meter.calls, default=0) <= batch
    assert len(set(meter.asked)) == len(meter.asked) and meter.asked == found.measured.tolist()
    assert len(meter.calls) == found.rounds
    assert not np.isfinite(known[meter.asked]).any() and np.isfinite(estimate[meter.asked]).all()
    sure = np.isfinite(known)
    np.testing.assert_array_equal(found.score[sure], known[sure])
    np.testing.assert_array_equal(found.score[found.measured], exact[found.measured])
    assert not np.isfinite(found.score[~sure & ~np.isfinite(estimate)]).any()
    usable = np.isfinite(found.score)
    assert usable[found.chosen].all() and len(found.chosen) == min(k, usable.sum())
    assert len(set(found.chosen.tolist())) == len(found.chosen)
    rest = np.setdiff1d(np.flatnonzero(usable), found.chosen)
    if len(rest) and len(found.chosen):
        assert found.score[found.chosen].min() >= found.score[rest].max()
    assert np.isfinite(found.expected_errors) and 0 <= found.expected_errors <= k + 1e-9
    assert found.stable == (found.expected_errors <= 0.05 * k)
    again = refine(estimate, sigma, known, k, Meter(exact), budget=budget, batch=batch)
    assert np.array_equal(found.measured, again.measured) and np.array_equal(found.chosen, again.chosen)


@pytest.mark.parametrize("seed", range(4))
def test_the_top_is_found_with_few_rows(seed):
    exact, estimate, sigma, known = pool(seed)
    found = refine(estimate, sigma, known, 200, Meter(exact), budget=1900, batch=50)
    assert found.stable and len(found.measured) < 900
    assert overlap(exact, found.chosen) >= 0.93 > overlap(exact, plain(estimate, known, 200)) + 0.05


def test_more_budget_finds_more():
    shares = []
    for budget in (0, 100, 300, 1000):
        found = [
            overlap(exact, refine(estimate, sigma, known, 200, Meter(exact), budget=budget, batch=50).chosen)
            for exact, estimate, sigma, known in (pool(seed) for seed in range(4))
        ]
        shares.append(np.mean(found))
    assert shares == sorted(shares) and shares[-1] > 0.93 and shares[2] > shares[0] + 0.05


@pytest.mark.parametrize("budget", [0, 100, 400])
def test_the_expected_errors_are_those_made(budget):
    expected, made = [], []
    for seed in range(8):
        exact, estimate, sigma, known = pool(seed)
        found = refine(estimate, sigma, known, 200, Meter(exact), budget=budget, batch=50)
        expected.append(found.expected_errors)
        made.append(200 * (1 - overlap(exact, found.chosen)))
    assert np.mean(expected) == pytest.approx(np.mean(made), rel=0.25, abs=4)
    assert np.mean(made) < 1.15 * np.mean(expected)  # rather too careful than too sure


def test_measuring_near_the_cut_beats_measuring_at_random():
    gains = []
    for seed in range(4):
        exact, estimate, sigma, known = pool(seed)
        found = refine(estimate, sigma, known, 200, Meter(exact), budget=300, batch=50)
        chance = known.copy()
        rows = np.random.default_rng(seed).permutation(np.flatnonzero(np.isnan(known)))[:300]
        chance[rows] = exact[rows]
        gains.append(overlap(exact, found.chosen) - overlap(exact, plain(estimate, chance, 200)))
    assert min(gains) > 0


def test_bias_near_the_cut_is_seen_and_mended():
    exact, estimate, sigma, known = pool(1, bias=1.5, known=600)  # estimates far below the exact rows they rank with
    found = refine(estimate, sigma, known, 200, Meter(exact), budget=600, batch=50)
    assert found.shift == pytest.approx(1.5, abs=0.3)
    assert overlap(exact, found.chosen) > overlap(exact, plain(estimate, known, 200)) + 0.2


@pytest.mark.parametrize("factor", [0.0, 1e-3, 0.2])
def test_an_uncertainty_that_is_too_small_is_found_out_and_ends(factor):
    exact, estimate, sigma, known = pool(2)
    found = refine(estimate, factor * sigma, known, 200, Meter(exact), budget=700, batch=50)
    assert found.rounds > 1 and len(found.measured) <= 700
    assert found.sigma_factor > 1.5 and any("as large as stated" in note for note in found.notes)
    assert overlap(exact, found.chosen) > overlap(exact, plain(estimate, known, 200))


def test_an_uncertainty_that_is_too_large_still_ends_and_is_stable():
    exact, estimate, sigma, known = pool(2, error=0.05)
    found = refine(estimate, 10 * sigma, known, 200, Meter(exact), budget=1900, batch=50)
    assert found.stable and found.sigma_factor < 0.7 and len(found.measured) < 1200


def test_all_known_needs_no_measurement():
    exact, estimate, sigma, _ = pool(3)
    found = refine(estimate, sigma, exact, 50, Meter(exact), budget=100)
    assert found.rounds == 0 and found.stable and found.expected_errors == 0
    assert np.array_equal(found.chosen, np.argsort(-exact)[:50])


@pytest.mark.parametrize("known", [0, 100])
def test_everything_chosen_needs_no_measurement(known):
    exact, estimate, sigma, have = pool(3, n=300, known=known)
    found = refine(estimate, sigma, have, 300, Meter(exact), budget=100)
    assert found.rounds == 0 and found.stable and len(found.chosen) == 300


def test_one_row_to_choose():
    hits = 0
    for seed in range(10):
        exact, estimate, sigma, known = pool(seed, n=500)
        found = refine(estimate, sigma, known, 1, Meter(exact), budget=300, batch=10)
        hits += found.chosen[0] == np.argmax(exact)
    assert hits >= 9


def test_equal_scores_are_no_errors():
    same = np.zeros(50)
    found = refine(same, np.zeros(50), same, 10, Meter(same), budget=5)
    assert found.stable and found.rounds == 0 and found.chosen.tolist() == list(range(10))


def test_a_spent_budget_is_said():
    exact, estimate, sigma, known = pool(4)
    found = refine(estimate, sigma, known, 200, Meter(exact), budget=60, batch=50)
    assert not found.stable and len(found.measured) == 60 and found.rounds == 2
    assert "not stable after 60 exact samples in 2 rounds" in found.notes[-1]


def test_rows_that_cannot_be_measured_are_unscorable_alone():
    exact, estimate, sigma, known = pool(5)
    exact = exact.copy()
    exact[100::3] = np.nan
    found = refine(estimate, sigma, known, 100, Meter(exact), budget=400, batch=40)
    lost = found.measured[~np.isfinite(exact[found.measured])]
    assert len(lost) and np.isnan(found.score[lost]).all() and not set(lost) & set(found.chosen)
    assert np.isfinite(np.delete(found.score, lost)).all() and np.isfinite([found.shift, found.slope]).all()
    assert any(f"{len(lost)} samples turned out" in note for note in found.notes)
    nothing = refine(estimate, sigma, known, 100, Meter(np.full(2000, np.nan)), budget=400, batch=40)
    assert nothing.shift == 0 and len(nothing.chosen) == 100


def test_the_arrays_given_are_not_changed():
    exact, estimate, sigma, known = pool(6)
    copies = [array.copy() for array in (estimate, sigma, known)]
    refine(estimate, sigma, known, 20, Meter(exact), budget=50)
    for array, copy in zip((estimate, sigma, known), copies, strict=True):
        np.testing.assert_array_equal(array, copy)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"k": 0}, "k is 0"),
        ({"k": 2001}, "k is 2001"),
        ({"confidence": 1.0}, "between 0 and 1"),
        ({"budget": -1}, "at least 0"),
        ({"batch": 0}, "at least 1"),
        ({"measure": lambda rows: np.zeros(3)}, "came back"),
        ({"sigma": np.ones(3)}, "one estimate, uncertainty and known score"),
    ],
)
def test_refusals(change, says):
    exact, estimate, sigma, known = pool(7)
    options = {"k": 10, "measure": Meter(exact), "budget": 100, "sigma": sigma, **change}
    with pytest.raises(EngineError, match=says):
        refine(estimate, known=known, **options)
