"""Agreement of two runs against brute force: overlap, rank-biased overlap, leads, groups, cells and their regions."""

import numpy as np
import pytest
from scipy.stats import kendalltau, spearmanr

from engine.curation import agreement, crossing


@pytest.fixture
def columns() -> tuple[np.ndarray, np.ndarray]:
    """Two columns of scores with ties and gaps, of different length."""
    generator = np.random.default_rng(2)
    one = generator.normal(size=300).astype(np.float32).round(1)
    two = (one[:280] + generator.normal(size=280)).astype(np.float32)
    one[::17], two[5] = np.nan, np.nan
    return one, two


def test_figures_equal_sets_and_scipy_on_the_rows_both_score(columns: tuple[np.ndarray, np.ndarray]) -> None:
    one, two = columns
    found = agreement.agreement(one, two)
    rows = [row for row in range(280) if np.isfinite(one[row]) and np.isfinite(two[row])]
    assert agreement.pair(one, two).rows.tolist() == rows
    assert found.rows == len(rows)
    assert found.spearman == pytest.approx(spearmanr(one[rows], two[rows]).statistic)
    assert found.kendall == pytest.approx(kendalltau(one[rows], two[rows]).statistic)
    orders = [np.argsort(-values[rows], kind="stable").tolist() for values in (one, two)]
    shares = [len(set(orders[0][:k]) & set(orders[1][:k])) / k for k in range(1, len(rows) + 1)]
    assert found.overlap.tolist() == [shares[k - 1] for k in found.k]
    assert found.top(0.1) == (len(rows) // 10, shares[len(rows) // 10 - 1])
    p = 1 - 1 / found.depth
    endless = [*shares, *[1.0] * 3000]
    assert found.biased == pytest.approx(sum((1 - p) * p**k * share for k, share in enumerate(endless)))


def test_equal_and_opposed_runs_are_at_the_ends() -> None:
    values = np.random.default_rng(3).normal(size=500)
    same, opposed = agreement.agreement(values, values), agreement.agreement(values, -values)
    assert (same.spearman, same.kendall, same.biased) == pytest.approx((1, 1, 1))
    assert (opposed.spearman, opposed.kendall) == pytest.approx((-1, -1))
    assert opposed.biased is not None and same.biased_by_chance is not None
    assert opposed.biased < same.biased_by_chance < 0.05


@pytest.mark.parametrize(
    ("one", "two", "reason"),
    [([1.0] * 9, list(range(9)), "same score"), ([1, 2], [2, 1], "fewer than three"), ([np.nan] * 4, [1] * 4, "fewer")],
)
def test_what_has_no_correlation_says_why_and_is_no_number(one: list[float], two: list[float], reason: str) -> None:
    found = agreement.agreement(np.array(one, np.float32), np.array(two, np.float32))
    assert (found.spearman, found.kendall) == (None, None)
    assert reason in found.reason


def test_the_largest_leads_come_first_and_ties_by_row(columns: tuple[np.ndarray, np.ndarray]) -> None:
    found = agreement.pair(*columns)
    apart = (found.ranks[:, 1] - found.ranks[:, 0]) / len(found.rows)
    assert found.lead == pytest.approx(apart, abs=1e-6)
    for most in (1, 30, 10_000):
        assert (
            agreement.largest(found.lead, most).tolist()
            == np.argsort(-np.abs(found.lead), kind="stable")[:most].tolist()
        )


def test_groups_and_cells_equal_a_loop_over_the_rows(columns: tuple[np.ndarray, np.ndarray]) -> None:
    found = agreement.pair(*columns)
    generator = np.random.default_rng(4)
    codes = generator.integers(-1, 4, 270)  # a map that covers fewer rows than the runs
    groups = agreement.by_group(found, codes, 5, 20)
    for group in range(5):
        own = [at for at, row in enumerate(found.rows) if row < 270 and codes[row] == group]
        assert groups.sizes[group] == len(own)
        for side, share in enumerate((groups.first, groups.second)):
            assert share[group] == pytest.approx(sum(found.ranks[at, side] <= 20 for at in own) / 20)
        if own:
            assert groups.lead[group] == pytest.approx(found.lead[own].mean(), abs=1e-6)
    assert np.isnan(groups.lead[4])
    xy = generator.uniform(-3, 5, (270, 2)).astype(np.float32)
    xy[9] = np.nan
    mean, number, edges = agreement.on_plane(found, xy, bins=4, least=2)
    placed = [at for at, row in enumerate(found.rows) if row < 270 and row != 9]
    assert number.sum() == len(placed)
    for row in range(4):
        for column in range(4):
            own = [
                at for at in placed
                if agreement.cell_of(xy[found.rows[at], 0], edges[0]) == column
                and agreement.cell_of(xy[found.rows[at], 1], edges[1]) == row
            ]  # fmt: skip
            assert number[row, column] == len(own)
            expected = found.lead[own].mean() if len(own) >= 2 else np.nan
            assert mean[row, column] == pytest.approx(expected, abs=1e-6, nan_ok=True)


@pytest.mark.parametrize("kind", ["scores", "ranks", "few", "constant", "by rounding"])
def test_every_cell_counts_what_its_region_holds(columns: tuple[np.ndarray, np.ndarray], kind: str) -> None:
    found = agreement.pair(*columns)
    x, y = (np.asarray(column)[found.rows] for column in columns)
    if kind == "ranks":
        x, y = found.ranks.T
    elif kind == "few":
        x, y = found.ranks[:7].T
    elif kind == "constant":
        y = np.full_like(x, 0.25)
    elif kind == "by rounding":
        y = np.where(x > 0, np.float32(1), np.nextafter(np.float32(1), np.float32(2)))
    shown = crossing.density(x, y, bins=9)
    assert shown.counts.sum() == len(x)
    for row in range(len(shown.counts)):
        for column in range(len(shown.counts)):
            region = shown.region(column, row)
            assert shown.counts[row, column] == len(crossing.inside(x, y, region))
