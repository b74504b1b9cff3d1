"""The pilot on synthetic features whose order of quality and cost is known."""

import json
from dataclasses import replace

import numpy as np
import pytest

from engine.errors import EngineError
from engine.influence.pilot import Candidate, Tried, _expected, choose_embedding
from engine.influence.scores import Combination

M = 120
RNG = np.random.default_rng(0)
HIDDEN = RNG.normal(size=(M, 3))
EXACT = np.stack([np.sin(HIDDEN[:, 0]) + HIDDEN[:, 1], np.tanh(HIDDEN[:, 2]) + HIDDEN[:, 1]], axis=1)


def noisy(level, seed):
    return (HIDDEN + level * np.random.default_rng(seed).normal(size=HIDDEN.shape)).astype(np.float32)


GOOD = Candidate("good", noisy(0.05, 1), 0.02)
TWIN = Candidate("twin", noisy(0.05, 2), 0.02)
POOR = Candidate("poor", noisy(1.5, 3), 0.02)
NOISE = Candidate("noise", np.random.default_rng(4).normal(size=(M, 5)).astype(np.float32), 0.001)
RUN = {"exact_seconds": 0.1, "pool_rows": 2000, "landmarks": 120}


def test_the_better_features_win_at_equal_cost():
    found = choose_embedding([POOR, GOOD, NOISE], EXACT, **RUN)
    assert found.pick == "good" and found.rows == M
    table = {each.name: each for each in found.candidates}
    assert [each.name for each in found.candidates] == ["poor", "good", "noise"]
    assert table["good"].fidelity > 0.9 > table["poor"].fidelity > table["noise"].fidelity
    assert abs(table["noise"].fidelity) < 0.3
    assert 0 < table["good"].within < table["good"].fidelity and table["good"].fitted == 96
    assert found.sentence.startswith("Embedding 'good' picked of 3 at equal cost") and "the highest" in found.sentence
    json.dumps(found.to_dict())


def test_of_equally_good_features_the_cheaper_are_picked():
    cheap = replace(TWIN, seconds=0.005)
    found = choose_embedding([GOOD, cheap], EXACT, **RUN)
    assert found.pick == "twin" and "twin" in found.sentence
    assert choose_embedding([cheap, GOOD], EXACT, **RUN).pick == "twin"


def test_without_a_budget_the_dearest_candidate_affords_the_landmarks_given():
    found = choose_embedding([GOOD, replace(TWIN, seconds=0.01), NOISE], EXACT, **RUN)
    assert found.budget == pytest.approx(120 * 0.1 + 2000 * 0.02)
    assert [each.landmarks for each in found.candidates] == [120, 120 + 200, 120 + 380]
    assert found.landmarks == next(each.landmarks for each in found.candidates if each.name == found.pick)


def test_cheaper_features_overtake_slightly_better_ones_where_landmarks_are_what_the_money_buys():
    """The better features leave 10 landmarks of the budget; the cheap ones nearly five hundred."""
    better, cheap = replace(GOOD, seconds=0.0245), Candidate("cheap", noisy(0.2, 7), 0.0005)
    same = choose_embedding([better, cheap], EXACT, **RUN, spend="same-landmarks")
    assert same.candidates[0].expected > same.candidates[1].expected
    assert [each.landmarks for each in same.candidates] == [120, 120]
    equal = choose_embedding([better, cheap], EXACT, **RUN, budget=50.0)
    assert [each.landmarks for each in equal.candidates] == [10, 490]
    assert equal.pick == "cheap" and equal.candidates[0].expected < equal.candidates[1].expected


def test_a_perfect_tie_goes_to_the_first():
    copies = [replace(GOOD, name=name) for name in ("b", "a", "c")]
    assert choose_embedding(copies, EXACT, **RUN).pick == "b"
    assert choose_embedding(copies[::-1], EXACT, **RUN).pick == "c"


def test_a_single_candidate_is_picked():
    found = choose_embedding([GOOD], EXACT[:, 0], **RUN)
    assert found.pick == "good" and found.landmarks == 120 and found.notes == ()


def test_failing_candidates_are_reported_and_do_not_disturb_the_others():
    hollow = replace(GOOD, name="hollow", features=np.full((M, 4), np.nan))
    constant = replace(GOOD, name="constant", features=np.ones((M, 4)), seconds=0.0)
    found = choose_embedding([hollow, constant, GOOD, POOR], EXACT, **RUN)
    assert found.pick == "good"
    assert found.candidates[2:] == choose_embedding([GOOD, POOR], EXACT, **RUN).candidates
    assert "features for only 0 of 120 samples" in found.candidates[0].reason
    assert found.candidates[0].fidelity is None and found.candidates[0].expected is None
    assert any("'hollow' was not judged" in note for note in found.notes)
    assert "the same for every sample" in found.candidates[1].reason


def test_rows_missing_in_one_candidate_are_left_out_for_all():
    holes = GOOD.features.copy()
    holes[:5] = np.nan
    exact = EXACT.copy()
    exact[10] = np.nan
    found = choose_embedding([replace(GOOD, features=holes), POOR], exact, **RUN)
    assert found.rows == M - 6 and found.pick == "good"
    assert all(np.isfinite(each.fidelity) for each in found.candidates)


def test_no_usable_candidate_is_an_error_that_names_the_reasons():
    hollow = replace(GOOD, features=np.full((M, 4), np.inf))
    with pytest.raises(EngineError, match="good: it has features for only 0"):
        choose_embedding([hollow], EXACT, **RUN)
    with pytest.raises(EngineError, match="constant"):
        choose_embedding([GOOD], np.ones(M), **RUN)


def test_a_budget_that_leaves_no_landmarks():
    dear = replace(GOOD, name="dear", seconds=0.03)
    found = choose_embedding([dear, NOISE], EXACT, **RUN, budget=60.0)
    assert found.pick == "noise" and found.candidates[0].landmarks == 0
    assert "the budget leaves it 0 landmarks" in found.candidates[0].reason and len(found.notes) == 1
    with pytest.raises(EngineError, match="leaves no embedding any landmarks"):
        choose_embedding([dear], EXACT, **RUN, budget=60.0)


def test_the_same_seed_gives_the_same_answer_and_the_input_is_left_alone():
    before = GOOD.features.copy(), EXACT.copy()
    one, two = (choose_embedding([GOOD, POOR, NOISE], EXACT, **RUN, seed=5) for _ in range(2))
    assert one == two
    assert np.array_equal(GOOD.features, before[0]) and np.array_equal(EXACT, before[1])
    assert choose_embedding([GOOD, POOR], EXACT, **RUN, seed=6).candidates[0].fidelity != one.candidates[0].fidelity


def test_the_combination_of_the_run_is_what_is_judged():
    """Against the second column alone, features that know nothing else are as good as complete ones."""
    partial = Candidate("partial", HIDDEN[:, 1:], 0.001)
    only = Combination(weights=(1e-9, 1.0))
    whole = choose_embedding([partial, GOOD], EXACT, **RUN).candidates[0].fidelity
    assert choose_embedding([partial, GOOD], EXACT, **RUN, combine=only).candidates[0].fidelity > whole + 0.05


def test_expected_fidelity_follows_the_power_law_and_its_bounds():
    tried = Tried("x", 1.0, fidelity=0.8, error=0.1, fitted=100, slope=0.5)
    assert _expected(tried, 0.5, 100).expected == pytest.approx(0.8)
    assert _expected(tried, 0.5, 400).expected == pytest.approx(0.9)
    assert _expected(tried, 0.5, 25).expected == pytest.approx(0.6)
    assert _expected(tried, 0.5, 10**6).expected == _expected(tried, 0.5, 800).expected
    assert _expected(replace(tried, slope=1.0), 0.0, 400).expected == pytest.approx(0.9)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"candidates": []}, "different names"),
        ({"candidates": [GOOD, GOOD]}, "different names"),
        ({"candidates": [replace(GOOD, features=GOOD.features[:-1])]}, "features of: good"),
        ({"candidates": [replace(GOOD, seconds=-1.0)]}, "Costs are seconds"),
        ({"exact_seconds": 0.0}, "never free"),
        ({"budget": np.nan}, "Costs are seconds"),
        ({"landmarks": 0}, "give 1 to 2000"),
        ({"landmarks": 2001}, "give 1 to 2000"),
        ({"spend": "all"}, "equal-cost, same-landmarks"),
        ({"exact": np.full((M, 2), np.nan)}, "at least 20"),
    ],
)
def test_bad_input_is_refused(changes, message):
    given = {"candidates": [GOOD], "exact": EXACT, **RUN} | changes
    with pytest.raises(EngineError, match=message):
        choose_embedding(given.pop("candidates"), given.pop("exact"), **given)
