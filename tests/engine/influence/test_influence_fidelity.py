"""Fidelity figures against scipy and by hand; what is undefined is None with a reason, never a number."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import spearmanr

from engine.errors import EngineError
from engine.influence.fidelity import determination, fidelity, spearman, top_overlap, within_groups

RNG = np.random.default_rng(0)
EXACT = RNG.normal(size=(80, 2))
ESTIMATED = EXACT + RNG.normal(size=(80, 2))


def report(exact=EXACT, estimated=ESTIMATED, **options):
    return fidelity(exact, estimated, names=["a", "b"], generator=np.random.default_rng(1), **options)


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=3, max_size=30))
def test_spearman_against_scipy_with_ties(pairs):
    a, b = np.array(pairs, dtype=float).T
    measure = spearman(a, b)
    if np.ptp(a) == 0 or np.ptp(b) == 0:
        assert measure.value is None and "constant" in measure.reason
    else:
        assert measure.value == pytest.approx(spearmanr(a, b).statistic, abs=1e-12)
        assert -1.0000001 <= measure.value <= 1.0000001


def test_overall_is_that_of_the_mean_over_sets():
    found = report()
    assert found.spearman.value == pytest.approx(
        spearmanr(EXACT.mean(axis=1).astype("f4"), ESTIMATED.mean(axis=1).astype("f4")).statistic
    )
    for j, name in enumerate(["a", "b"]):
        assert found.per_target[name].value == pytest.approx(spearmanr(EXACT[:, j], ESTIMATED[:, j]).statistic)


def test_the_interval_holds_the_value_and_is_seeded():
    found = report()
    assert found.spearman.low < found.spearman.value < found.spearman.high
    assert found == report()
    assert found.level == 0.9


def test_the_interval_covers_the_truth_about_nine_times_in_ten():
    generator = np.random.default_rng(0)
    rho = 6 / np.pi * np.arcsin(0.6 / 2)  # Spearman of a normal pair with correlation 0.6
    covered = 0
    for _ in range(200):
        x = generator.normal(size=100)
        y = 0.6 * x + 0.8 * generator.normal(size=100)
        measure = spearman(x, y, draws=generator.integers(0, 100, (300, 100)))
        covered += measure.low <= rho <= measure.high
    assert 0.82 <= covered / 200 <= 0.97


def test_r2_by_hand():
    truth, guess = np.array([1.0, 2.0, 3.0, 6.0]), np.array([1.0, 1.0, 4.0, 6.0])
    assert determination(truth, guess).value == pytest.approx(1 - 2 / 14)
    assert determination(truth, np.full(4, 3.0)).value == pytest.approx(0)
    assert determination(truth, truth).value == 1


def test_top_overlap_by_hand():
    truth = np.arange(20.0)
    guess = truth.copy()
    guess[[19, 3]] = guess[[3, 19]]
    assert top_overlap(truth, guess).value == 0.5  # best two: {19, 18} and {18, 3}
    assert top_overlap(truth, truth).value == 1
    assert top_overlap(truth, -truth).value == 0
    assert top_overlap(np.arange(11.0), np.arange(11.0), top=0.1).value == 1  # two rows of eleven, rounded up


def test_length_bias_is_named_for_both():
    lengths = np.argsort(np.argsort(ESTIMATED.mean(axis=1)))
    found = report(lengths=lengths)
    assert found.length_bias.value == pytest.approx(1)
    assert found.length_bias_exact.value == pytest.approx(found.spearman.value)
    assert report().length_bias.value is None and "no lengths" in report().length_bias.reason
    assert "lengths are constant" in report(lengths=np.ones(80)).length_bias.reason


def test_a_constant_column_is_undefined_and_the_other_is_not():
    estimated = ESTIMATED.copy()
    estimated[:, 0] = 0.5
    found = report(estimated=estimated)
    assert found.per_target["a"].value is None and found.per_target["a"].reason
    assert found.per_target["b"].value is not None


def test_everything_constant_is_none_everywhere():
    found = report(exact=np.ones((80, 2)), lengths=np.arange(80))
    for measure in (found.spearman, found.r2, found.top_overlap, found.length_bias_exact, *found.per_target.values()):
        assert measure.value is None and measure.reason and measure.low is None


@pytest.mark.parametrize("rows", [0, 1, 2])
def test_too_few_rows_are_undefined(rows):
    found = report(exact=EXACT[:rows], estimated=ESTIMATED[:rows], lengths=np.arange(rows))
    assert found.n == rows and found.spearman.value is None and "too few" in found.spearman.reason
    assert found.r2.value is None and found.top_overlap.value is None


def test_rows_without_a_score_are_counted_and_left_out():
    exact = EXACT.copy()
    exact[5] = np.nan
    found = report(exact=exact, lengths=np.arange(80))
    assert (found.n, found.left_out) == (79, 1)
    rest = np.delete(np.arange(80), 5)
    assert found.per_target["a"].value == pytest.approx(spearmanr(EXACT[rest, 0], ESTIMATED[rest, 0]).statistic)


def test_the_report_is_json():
    values = json.loads(json.dumps(report().to_dict()))
    assert values["spearman"]["value"] == report().spearman.value and set(values["per_target"]) == {"a", "b"}


def test_shapes_that_do_not_match_are_refused():
    with pytest.raises(EngineError, match="a column per name"):
        report(estimated=ESTIMATED[:, :1])


def test_within_groups():
    groups = np.array(["x"] * 30 + ["y"] * 30 + ["z"] * 3 + ["w"] * 17)
    truth = EXACT[:, 0].copy()
    guess = ESTIMATED[:, 0].copy()
    guess[63:] = 1.0
    truth[0] = np.nan
    found = within_groups(truth, guess, groups)
    x, y = spearmanr(truth[1:30], guess[1:30]).statistic, spearmanr(truth[30:60], guess[30:60]).statistic
    assert found.groups["x"].value == pytest.approx(x) and found.groups["x"].n == 29
    assert found.groups["z"].value is None and "3 samples" in found.groups["z"].reason
    assert found.groups["w"].value is None and "constant" in found.groups["w"].reason
    assert found.mean.value == pytest.approx((x + y) / 2)
    assert within_groups(truth[:3], guess[:3], ["a", "b", "c"]).mean.value is None
