"""Colours and legends: symmetry about zero, clipping, missing values, category limits, colour-blind distance."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from pages.parts import colours
from pages.parts.colours import CATEGORIES, DECISIONS, MISSING, OTHER, categorical, diverging, sequential

# Machado, Oliveira & Fernandes (2009): full protanopia, deuteranopia, tritanopia, on linear RGB.
DEFICIENCIES = {
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}


def seen_lab(colour: str, matrix: list[list[float]]) -> np.ndarray:
    """The colour as someone with the deficiency sees it, in CIE L*a*b*."""
    rgb = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    linear = np.clip(np.array(matrix) @ linear, 0, 1)
    to_xyz = [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    x, y, z = np.cbrt(np.maximum(np.array(to_xyz) @ linear / [0.9505, 1.0, 1.089], 1e-4))
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@pytest.mark.parametrize("matrix", DEFICIENCIES.values(), ids=DEFICIENCIES.keys())
def test_ends_of_the_ramps_and_decisions_differ_for_everyone(matrix: list[list[float]]) -> None:
    for dark in (False, True):
        for ramp in ("diverging", "sequential"):
            stops = colours._RAMPS[ramp, dark]
            assert np.linalg.norm(seen_lab(stops[0], matrix) - seen_lab(stops[-1], matrix)) > 40
    for shown in (list(DECISIONS.values()), list(CATEGORIES)):
        seen = [seen_lab(colour, matrix) for colour in shown]
        assert min(np.linalg.norm(a - b) for i, a in enumerate(seen) for b in seen[:i]) > 10


def test_zero_is_quiet_and_signs_have_their_own_hue() -> None:
    rgba, legend = diverging(np.array([-1.0, 0.0, 1.0]))
    blue, middle, orange = rgba.astype(int)
    assert blue[2] > blue[0] + 80 and orange[0] > orange[2] + 80
    assert np.ptp(middle[:3]) < 20
    assert legend.kind == "diverging" and legend.ticks[2] == (0.5, "0")
    assert legend.ticks[0][1].startswith("−") and legend.ticks[-1][1].startswith("+")


def test_zero_stays_the_middle_of_lopsided_values() -> None:
    rgba, legend = diverging(np.concatenate([np.linspace(0, 10, 200), [0.0]]))
    np.testing.assert_array_equal(rgba[-1], diverging(np.array([-1.0, 0.0, 1.0]))[0][1])
    assert float(legend.ticks[-1][1]) == pytest.approx(9.9, rel=0.02)


def test_one_outlier_does_not_flatten_the_rest() -> None:
    values = np.concatenate([np.linspace(-1, 1, 999), [1e6]])
    rgba, legend = diverging(values)
    assert len(np.unique(rgba[:999], axis=0)) > 200
    np.testing.assert_array_equal(rgba[-1], rgba[998])
    assert "have the end colours" in legend.note


@pytest.mark.parametrize("colour", [diverging, lambda v: sequential(v, title="Length")])
def test_missing_values_are_faint_and_counted(colour) -> None:
    rgba, legend = colour(np.array([0.1, np.nan, -0.4, np.inf]))
    assert rgba[1, 3] == rgba[3, 3] < 255 and rgba[0, 3] == 255
    assert "2 without a value" in legend.note


def test_a_channel_is_scaled_and_says_what_its_ends_mean() -> None:
    values = np.array([0.0, 1.0, 2.0, 4.0, np.nan, np.inf])
    made = colours.channel(values, title="Spread", unit="nats", upper=100)
    np.testing.assert_allclose(made.values, [0, 0.25, 0.5, 1, np.nan, np.nan])
    assert (made.low, made.high) == ("0 nats", "4 nats")
    assert colours.channel(values, title="x", upper=50, from_zero=False).high == "≥ 1.5"
    for flat in ([3.0, 3.0], [0.0], [np.nan], []):
        assert not np.nan_to_num(colours.channel(np.array(flat), title="x", from_zero=False).values).any()


@settings(max_examples=60, deadline=None)
@given(hnp.arrays(np.float32, st.integers(0, 40), elements=st.floats(width=32)), st.booleans())
def test_any_values_have_colours(values: np.ndarray, dark: bool) -> None:
    for rgba, legend in (diverging(values, dark=dark), sequential(values, title="x", dark=dark)):
        assert rgba.shape == (len(values), 4) and rgba.dtype == np.uint8
        assert len(np.unique(rgba, axis=0)) <= 256
        assert [place for place, _ in legend.ticks] == sorted(place for place, _ in legend.ticks)


def test_amounts_are_ordered_by_lightness_on_both_grounds() -> None:
    for dark, direction in ((False, -1), (True, 1)):
        rgba, _ = sequential(np.linspace(0, 1, 50), title="Length", dark=dark)
        lightness = rgba[:, :3] @ np.array([0.2126, 0.7152, 0.0722])
        assert (direction * np.diff(lightness) >= -1e-9).all()


def test_the_commonest_categories_have_colours_and_the_rest_share_one() -> None:
    codes = np.repeat(np.arange(400), np.arange(400, 0, -1))  # more than a byte counts
    rgba, legend = categorical(codes, [f"source {i}" for i in range(400)], title="Source")
    assert [entry.colour for entry in legend.entries[:11]] == list(CATEGORIES[:11])
    assert (legend.entries[11].text, legend.entries[11].colour) == ("other (389)", OTHER)
    assert [entry.code for entry in legend.entries] == [*range(11), None]
    assert sum(entry.count for entry in legend.entries) == len(codes)
    assert len(np.unique(rgba[codes >= 11], axis=0)) == 1
    twelve, of_twelve = categorical(np.arange(12), [str(i) for i in range(12)], title="x")
    assert len(np.unique(twelve, axis=0)) == 12 and len(of_twelve.entries) == 12


def test_decisions_keep_their_colours_however_many_there_are() -> None:
    names = ["none", "approve", "reject", "skip"]
    for codes in ([0, 1, 2, 3], [3, 3, 0], [2]):
        _, legend = categorical(np.array(codes), names, title="Decision", fixed=DECISIONS)
        assert {entry.text: entry.colour for entry in legend.entries} == {names[c]: DECISIONS[names[c]] for c in codes}


def test_rows_of_no_category_are_faint_and_named_none() -> None:
    rgba, legend = categorical(np.array([0, -1]), ["a"], title="Cluster")
    assert rgba[1, 3] < 255 and legend.entries[-1] == colours.Entry(MISSING, "none", 1, -1)


def test_a_code_without_a_name_is_refused() -> None:
    with pytest.raises(ValueError, match="Codes reach 2"):
        categorical(np.array([2]), ["a", "b"], title="x")
