"""Sizes: rows or a share, never more than there are."""

from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.errors import EngineError
from engine.selection.sizes import size_of


@pytest.mark.parametrize(
    ("text", "usable", "size"),
    [("500", 900, 500), ("10%", 90, 9), ("10%", 99, 9), ("1%", 50, 1), ("100%", 7, 7), ("12.5%", 16, 2),
     (" 3 ", 3, 3), ("1,000", 2000, 1000), ("1_000", 2000, 1000), ("33.3 %", 1000, 333), ("29%", 100, 29)],
)  # fmt: skip
def test_sizes(text, usable, size):
    assert size_of(text, usable) == size


@settings(deadline=None)
@given(percent=st.decimals("0.001", "100", places=3), usable=st.integers(1, 10**7))
def test_a_share_is_the_exact_floor_and_at_least_one(percent, usable):
    assert size_of(f"{percent}%", usable) == max(1, int(Fraction(percent) * usable / 100))


@pytest.mark.parametrize("text", ["0", "0%", "0.0%", "-1", "ten", "", "5.5", "1e3", "%", "101%", "11", "NaN", "٣%%"])
def test_nonsense_zero_and_too_much_are_refused(text):
    with pytest.raises(EngineError, match=r"size|at least one sample|more than"):
        size_of(text, 10)


def test_an_empty_pool_has_no_size():
    with pytest.raises(EngineError, match="no usable sample"):
        size_of("10%", 0)
