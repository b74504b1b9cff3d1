"""Compare: one run is not enough; overlap against brute force; a disagreement leads to its sample."""

from collections.abc import Callable
from typing import Any

import numpy as np

from engine.store.project import Project
from pages.parts import comparison


def test_one_run_is_nothing_to_compare(pages: Any, make_project: Callable[..., Project]) -> None:
    test = pages.open("5_Compare.py", make_project())
    assert not test.exception
    assert "only one run" in test.main.markdown[0].value
    assert not test.metric


def test_two_runs_are_compared_on_the_rows_both_score(
    pages: Any, make_project: Callable[..., Project], add_run: Callable[..., Any]
) -> None:
    project = make_project()
    add_run(project, "second", seed=5)
    test = pages.open("5_Compare.py", project)
    assert not test.exception
    assert test.metric[0].value == "59"  # the row without a score is not compared as if it had one
    assert test.dataframe[0].value.shape[0] == 59


def test_overlap_equals_the_intersection_of_the_sets() -> None:
    generator = np.random.default_rng(2)
    one, two = generator.normal(size=200), generator.normal(size=200)
    one[::17] = np.nan
    found = comparison.compare(one, two)
    assert np.isfinite(one[found.rows]).all()
    for k in (1, 7, 50, len(found.rows)):
        tops = [set(np.argsort(-values, kind="stable")[:k].tolist()) for values in (found.first, found.second)]
        assert comparison.overlap(found.ranks, np.array([k]))[0] == len(tops[0] & tops[1]) / k


def test_a_run_agrees_with_itself_and_opposes_its_negative() -> None:
    values = np.random.default_rng(3).normal(size=50)
    assert np.isclose(comparison.compare(values, values).spearman, 1.0)
    assert np.isclose(comparison.compare(values, -values).spearman, -1.0)
