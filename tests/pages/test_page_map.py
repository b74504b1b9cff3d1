"""Map: no map, the counts of what is selected, bulk decisions with their number, and undo."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from engine.runs import jobs
from engine.store.project import Project
from pages.parts import filters
from pages.parts.filters import Filter


def _address(*parts: Filter) -> str:
    return filters.encode(parts)


def test_without_a_map_one_click_builds_it(
    pages: Any, make_project: Callable[..., Project], monkeypatch: pytest.MonkeyPatch
) -> None:
    project, asked = make_project(plane=False), []
    monkeypatch.setattr(jobs, "submit", lambda p, kind, config: asked.append(kind) or "map-1")
    test = pages.open("3_Map.py", project)
    assert not test.exception
    test.button(key="map_build").click().run()
    assert asked == ["map"]


def test_counts_and_bulk_actions_carry_their_number(pages: Any, make_project: Callable[..., Project]) -> None:
    project = make_project()
    source = Filter("field", "source", ("source 1",))
    test = pages.open("3_Map.py", project, filters=_address(source))
    assert not test.exception
    assert any(m.value == "**0** selected of **20** filtered of **60** samples" for m in test.markdown)
    test.button(key="bulk_reject").click().run()
    assert not test.exception
    codes = project.decisions()
    assert codes.tolist() == [2 if i % 3 == 1 else 0 for i in range(60)]
    assert "20 samples rejected" in test.success[0].value
    test.button(key="bulk_undo").click().run()
    assert not project.decisions().any()


def test_an_area_narrows_the_bulk_actions_to_what_is_inside(pages: Any, make_project: Callable[..., Project]) -> None:
    project = make_project()
    layout = np.load(project.artifacts / "map-0123456789abcdef" / "xy.npy")
    box = Filter("box", "map-0123456789abcdef", (-1.0, -1.0, 0.0, 0.0))
    inside = int(((layout <= 0) & (layout >= -1)).all(axis=1).sum())
    test = pages.open("3_Map.py", project, filters=_address(box))
    assert any(m.value.startswith(f"**{inside}** selected of **60**") for m in test.markdown)
    assert test.button(key="bulk_approve").label == f"Approve {inside}"
    test = pages.open("3_Map.py", project, filters=_address(Filter("box", box.subject, (90.0, 90.0, 91.0, 91.0))))
    assert not test.exception
    assert test.button(key="bulk_approve").disabled
    assert any("No sample passes all" in c.value for c in test.caption)


def test_the_whole_pool_is_never_decided_by_one_click(pages: Any, make_project: Callable[..., Project]) -> None:
    test = pages.open("3_Map.py", make_project())
    assert test.button(key="bulk_approve").disabled
    assert test.button(key="bulk_reject").disabled


def test_a_sample_that_was_clicked_in_one_project_is_not_shown_in_another(
    pages: Any, make_project: Callable[..., Project]
) -> None:
    project, other = make_project(), make_project("other")
    test = pages.open("3_Map.py", project)
    test.session_state["ts_map_row"] = (str(project.path), 3)
    assert "row\\-3" in _captions(test.run())
    test.sidebar.selectbox(key="shell_project").set_value("other").run()
    assert not test.exception
    assert "row\\-3" not in _captions(test)
    assert not other.decisions().any()


def _captions(test: Any) -> str:
    return " ".join(caption.value for caption in test.caption)


def test_every_colouring_draws(pages: Any, make_project: Callable[..., Project]) -> None:
    test = pages.open("3_Map.py", make_project())
    choices = test.selectbox(key="map_colour").options
    assert {"Decision", "Cluster", "Signal", "Field source", "Status of the score"} <= set(choices)
    for choice in choices:
        test.selectbox(key="map_colour").set_value(choice).run()
        assert not test.exception, choice


def test_a_broken_link_filters_nothing_and_says_so(pages: Any, make_project: Callable[..., Project]) -> None:
    test = pages.open("3_Map.py", make_project(), filters="[[[")
    assert not test.exception
    assert len(test.error) == 1
    assert any("of **60** filtered of **60**" in m.value for m in test.markdown)


def test_doubtful_regions_are_named_and_a_click_filters_to_one(
    pages: Any, make_project: Callable[..., Project]
) -> None:
    project = make_project(full=True, rows=120)
    test = pages.open("3_Map.py", project)
    assert not test.exception
    named = [b for b in test.button if (b.key or "").startswith("doubtful_")]
    assert [b.label.replace("\\", "") for b in named] == ["code, python"]  # the cluster that is wide in the fixture
    named[0].click().run()
    assert not test.exception
    assert test.session_state["ts_filters"] == (Filter("cluster", "", (1,)),)
    assert any("filtered of **120**" in m.value and "**30** filtered" in m.value for m in test.markdown)


def test_uncertainty_is_a_colour_only_where_a_run_has_it(pages: Any, make_project: Callable[..., Project]) -> None:
    name = "Uncertainty of the score"
    assert name not in pages.open("3_Map.py", make_project("old")).selectbox(key="map_colour").options
    test = pages.open("3_Map.py", make_project("new", full=True))
    test.selectbox(key="map_colour").set_value(name).run()
    assert not test.exception
    assert not [b for b in pages.open("3_Map.py", make_project("third")).button if "doubtful" in (b.key or "")]
