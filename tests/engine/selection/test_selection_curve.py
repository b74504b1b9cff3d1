"""The curve of what was gained, and the sentence it makes."""

import numpy as np
import pytest

from engine.selection.curve import curve_of
from engine.selection.submodular import knee


def test_shares_are_the_running_sums_of_the_gains():
    gains = np.array([4.0, 3, 1, 0.5, 0.5, 0.5, 0.5])
    curve = curve_of(gains)
    np.testing.assert_allclose(curve.shares, [sum(gains[: i + 1]) / 10 for i in range(7)], rtol=1e-6)
    assert curve.shares.dtype == np.float32
    assert curve.knee == knee(gains) == 2
    assert curve.at_knee == pytest.approx(0.7)


@pytest.mark.parametrize(
    ("gains", "sentence"),
    [
        ([4, 4, *[0.1] * 20], "The first 2 samples gain 80 %; further ones add little."),
        ([90, *[0.5] * 20], "The first sample gains 90 %; further ones add little."),
        ([5, 5, *[1] * 10], "The first 2 samples gain 50 %; further ones add less each."),
        ([5, 5, *[3] * 2], "The first 2 samples gain 62 %; further ones add less each."),
        ([1] * 6, "Each of the 6 samples adds about as much as the others; more samples would add as much again."),
    ],
)
def test_the_sentence_says_what_further_samples_add(gains, sentence):
    assert curve_of(np.array(gains, float)).sentence == sentence


def test_nothing_is_said_of_nothing():
    assert curve_of(None) is None
    assert curve_of(np.zeros(4)) is None
