"""Compare: one run is not enough; what is listed is what the filter finds; a missing run or map is said."""

import shutil
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from engine.curation import agreement, crossing
from engine.curation.crossing import Region
from engine.store.project import Project
from pages.parts import comparison_samples, comparison_where, filters, reads
from pages.parts.comparison import Compared


def _views(project: Project, *names: str) -> list[Compared]:
    runs = {run.name: run for run in project.runs()}
    return [Compared(runs[name], reads.scores(project, runs[name].artifact), "maths") for name in names]


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
    assert [m.label for m in test.metric[1:3]] == ["Spearman", "Kendall"]
    assert len(test.dataframe[0].value) == 25
    first = test.dataframe[0].proto.id
    test.button(key="comparing_list_after").click().run()
    assert test.dataframe[0].proto.id != first  # other lines are another table, which has none of the ticks of before
    test.button(key="comparing_list_after").click().run()
    assert len(test.dataframe[0].value) == 9
    assert test.button(key="comparing_list_after").disabled
    test.selectbox(key="compare_part").set_value("both").run()
    runs = _views(project, "second", "landmark")
    ranks = [reads.ranks(project, view.scores.artifact, "score") for view in runs]
    both = (ranks[0] > 0) & (ranks[0] <= 5) & (ranks[1] > 0) & (ranks[1] <= 5)
    assert len(test.dataframe[0].value) == both.sum() if both.any() else not test.dataframe


def test_three_runs_show_all_pairs_and_one_whose_results_are_gone_is_left_out(
    pages: Any, make_project: Callable[..., Project], add_run: Callable[..., Any]
) -> None:
    project = make_project()
    add_run(project, "second", seed=5)
    add_run(project, "third", seed=6)
    test = pages.open("5_Compare.py", project)
    assert not test.exception
    assert len(test.get("plotly_chart")) == 3  # the matrix, the overlap of all pairs, the density of one
    assert test.selectbox(key="compare_first").options == ["third", "second", "landmark"]
    other = make_project("other")
    add_run(other, "second", seed=5)
    gone = add_run(other, "third", seed=6)
    shutil.rmtree(other.artifacts / gone.artifact)
    test = pages.open("5_Compare.py", other)
    assert not test.exception
    assert "third" in test.warning[0].value
    assert test.metric[0].value == "59"


@pytest.mark.parametrize("by_rank", [True, False])
def test_the_filter_of_a_region_finds_exactly_its_samples(
    pages: Any, make_project: Callable[..., Project], add_run: Callable[..., Any], by_rank: bool
) -> None:
    project = make_project()
    add_run(project, "second", seed=5)
    one, two = _views(project, "landmark", "second")
    found = agreement.pair(one.values, two.values)
    x, y = comparison_samples.values(project, found, one, two, by_rank=by_rank)
    shown = crossing.density(x, y, bins=3)
    regions = [shown.region(column, row) for column in range(3) for row in range(3)]
    regions += [comparison_samples.named_region(part, 12) for part in ("first", "second", "both")] if by_rank else []
    for region in regions:
        assert region is not None
        kept = filters.decode(filters.encode(comparison_samples.filters_of(one, two, region, by_rank=by_rank)))
        passing = np.flatnonzero(filters.combined(project, kept))
        scored = passing[np.isin(passing, found.rows)]  # an axis open to both sides needs no filter
        assert scored.tolist() == found.rows[crossing.inside(x, y, region)].tolist()


def test_a_box_goes_before_a_click_and_nothing_chosen_is_no_region() -> None:
    shown = crossing.density(np.arange(1, 31), np.arange(1, 31), bins=3)
    event: dict[str, Any] = {"selection": {"points": [], "point_indices": [2], "box": []}}
    assert comparison_samples.region_of(event, shown) == Region((21, None), (21, None))
    event["selection"]["box"] = [{"x": [20.4, 3.2], "y": [-5.0, 8.0]}]
    assert comparison_samples.region_of(event, shown) == Region((4, 20), (-5, 8))
    assert comparison_samples.region_of({"selection": {"point_indices": [99]}}, shown) is None


def test_where_runs_part_is_told_by_group_and_leads_to_it(
    pages: Any, make_project: Callable[..., Project], add_run: Callable[..., Any]
) -> None:
    project = make_project(plane=False)
    add_run(project, "second", seed=5)
    test = pages.open("5_Compare.py", project)
    test.session_state["comparing_tabs"] = "On the map"
    test.run()
    assert not test.exception
    assert any("There is no map yet" in m.value for m in test.main.markdown)
    test.session_state["comparing_tabs"] = "By source or field"
    test.run()
    assert not test.exception
    assert test.dataframe[0].value["Samples"].sum() == 59
    part = comparison_where.filter_of("field/source", 1, ["a", "source 1"])
    assert filters.combined(project, [part]).sum() == 20
    assert comparison_where.filter_of("cluster", 2, ["x", "y", "x", "(none)"]) == filters.Filter("cluster", "", (2,))
    assert comparison_where.filter_of("cluster", 3, ["x", "y", "x", "(none)"]).kind == "value"


def test_filters_hold_and_what_a_region_adds_is_within_them(
    pages: Any, make_project: Callable[..., Project], add_run: Callable[..., Any]
) -> None:
    project = make_project()
    add_run(project, "second", seed=5)
    kept = filters.encode([filters.Filter("field", "task", ("t0",)), filters.Filter("rank", "landmark/score", (1, 40))])
    test = pages.open("5_Compare.py", project, filters=kept)
    assert not test.exception
    passing = filters.combined(project, filters.decode(kept))
    assert test.metric[0].value == str(passing.sum())
    assert set(test.dataframe[0].value["Sample"]) <= {f"row-{row}" for row in np.flatnonzero(passing)}
    assert comparison_samples.narrowed((5, None), (1, 40)) == (5, 40)
    assert comparison_samples.narrowed((None, 9), (None, None)) == (None, 9)
    nothing = filters.encode([filters.Filter("field", "task", ("t9",))])
    test = pages.open("5_Compare.py", project, filters=nothing)
    assert not test.exception
    assert any("no sample in common here" in m.value for m in test.main.markdown)
