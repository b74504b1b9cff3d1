"""Review: order, decisions with advance and undo, links, the end of a list; a project without any run."""

import sys
from collections.abc import Callable
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from engine.errors import EngineError
from engine.store.project import Project
from pages.parts import filters
from pages.parts.filters import Filter


def _best_first(project: Project) -> list[int]:
    score = np.load(project.artifacts / project.run("landmark").artifact / "score.npy")
    return [int(row) for row in np.argsort(-score, kind="stable") if np.isfinite(score[row])]


def _shown(test: Any) -> str:
    return str(test.session_state["ts_sample"])


def test_without_a_run_the_pool_can_still_be_read(pages: Any, make_project: Callable[..., Project]) -> None:
    test = pages.open("4_Review.py", make_project(run=False, plane=False, targets=False))
    assert not test.exception
    assert test.text[0].value == "question " + _shown(test).removeprefix("row-")


def test_keys_decide_advance_and_undo(pages: Any, make_project: Callable[..., Project]) -> None:
    project = make_project()
    order = _best_first(project)
    test = pages.open("4_Review.py", project)
    assert not test.exception
    assert _shown(test) == f"row-{order[0]}"
    test.text_input(key="review_note").input("clear answer")
    test.button(key="review_approve").click().run()
    test.button(key="review_reject").click().run()
    assert _shown(test) == f"row-{order[2]}"
    codes = project.decisions()
    assert (codes[order[0]], codes[order[1]], int((codes > 0).sum())) == (1, 2, 2)
    notes = {entry.row: entry.note for entry in project.decision_log()}
    assert notes == {order[0]: "clear answer", order[1]: ""}  # a note is kept once, with its own decision
    test.button(key="review_undo").click().run()
    assert _shown(test) == f"row-{order[1]}"
    assert project.decisions()[order[1]] == 0
    assert project.decisions()[order[0]] == 1


def test_lowest_first_and_filters_make_the_list(pages: Any, make_project: Callable[..., Project]) -> None:
    project = make_project()
    only = Filter("field", "source", ("source 2",))
    test = pages.open("4_Review.py", project, filters=filters.encode([only]))
    test.selectbox(key="review_order").set_value("lowest").run()
    assert not test.exception
    expected = [row for row in reversed(_best_first(project)) if row % 3 == 2]
    assert _shown(test) == f"row-{expected[0]}"


def test_a_link_opens_its_sample(pages: Any, make_project: Callable[..., Project]) -> None:
    test = pages.open("4_Review.py", make_project(), sample="row-17")
    assert not test.exception
    assert _shown(test) == "row-17"
    assert "row-17" in test.query_params["sample"]
    assert any("answer 17" in t.value for t in test.text)


def test_deciding_does_not_reshuffle_what_comes_next(pages: Any, make_project: Callable[..., Project]) -> None:
    project = make_project()
    order = _best_first(project)
    test = pages.open("4_Review.py", project)
    test.toggle(key="review_undecided").set_value(True).run()
    for step in range(3):
        assert _shown(test) == f"row-{order[step]}"
        test.button(key="review_skip").click().run()
    assert _shown(test) == f"row-{order[3]}"


def test_the_end_of_a_list_says_so_and_can_be_left(pages: Any, make_project: Callable[..., Project]) -> None:
    project = make_project()
    one = Filter("rank", "landmark/score", (1, 1))
    test = pages.open("4_Review.py", project, filters=filters.encode([one]))
    test.button(key="review_approve").click().run()
    assert not test.exception
    assert any("last of 1 sample" in m.value for m in test.markdown)
    test.button(key="review_undo").click().run()
    assert not project.decisions().any()
    assert _shown(test) == f"row-{_best_first(project)[0]}"


def test_a_refused_decision_moves_nothing(
    pages: Any, make_project: Callable[..., Project], monkeypatch: pytest.MonkeyPatch
) -> None:
    project = make_project()
    test = pages.open("4_Review.py", project)
    before = _shown(test)

    def locked(*_: object, **__: object) -> int:
        raise EngineError("The project is in use by process 7. Nothing was recorded.")

    monkeypatch.setattr(Project, "decide", locked)
    test.button(key="review_approve").click().run()
    assert not test.exception
    assert len(test.error) == 1
    assert _shown(test) == before
    assert not project.decisions().any()


def test_marks_and_duplicates_are_named(pages: Any, make_project: Callable[..., Project]) -> None:
    test = pages.open("4_Review.py", make_project(), sample="row-3")
    badges = " ".join(m.value for m in test.markdown)
    assert "near-duplicate" in badges
    assert any("near" in c.value and "duplicate" in c.value for c in test.caption)


def _told(test: Any) -> str:
    return " ".join(c.value.replace("\\", "").replace("\u2060", "") for c in test.caption)


def test_a_score_says_how_sure_it_is(pages: Any, make_project: Callable[..., Project]) -> None:
    project = make_project(full=True)
    score = np.load(project.artifacts / project.run("landmark").artifact / "score.npy")
    told = _told(pages.open("4_Review.py", project, sample="row-30"))  # sigma 0.1
    assert f"Propagated: {score[30]:.2f}, likely {score[30] - 0.2:.2f} to {score[30] + 0.2:.2f} (90 %)" in told
    assert "Measured exactly." in _told(pages.open("4_Review.py", project, sample="row-3"))
    assert "It has no score." in _told(pages.open("4_Review.py", project, sample="row-59"))
    of_one_set = _told(pages.open("4_Review.py", project, sample="row-30", column="maths"))
    assert f"the overall score is {score[30]:.2f}" in of_one_set  # the interval is not that of the column in view


def test_a_run_without_intervals_says_so(pages: Any, make_project: Callable[..., Project]) -> None:
    assert "was not computed" in _told(pages.open("4_Review.py", make_project(), sample="row-30"))


def _explained(monkeypatch: pytest.MonkeyPatch, explain: Any) -> list[Any]:
    """Put `explain` in the place of the engine's, and count how often a run is made ready."""
    made: list[Any] = []
    module = ModuleType("engine.runs.explaining")
    module.explainer = lambda project, run: made.append(run) or explain  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "engine.runs.explaining", module)
    return made


def test_an_explanation_is_made_when_asked_for_and_stays_open(
    pages: Any, make_project: Callable[..., Project], monkeypatch: pytest.MonkeyPatch
) -> None:
    carrier = SimpleNamespace(row=3, coefficient=0.5, score=0.2, contribution=0.1)

    def explain(rows: list[int]) -> list[Any]:
        best, worst = (("maths, item 2", 0.4),), (("code, item 1", -0.3),)
        return [SimpleNamespace(row=rows[0], carriers=(carrier,), share=0.8, best=best, worst=worst, note="")]

    made = _explained(monkeypatch, explain)
    test = pages.open("4_Review.py", make_project(full=True), sample="row-30")
    assert made == []
    test.session_state["score_why"] = True
    test.run()
    assert not test.exception
    frames = [frame.value for frame in test.dataframe]
    landmarks = next(f for f in frames if "Landmark" in f)
    assert landmarks["Landmark"].tolist() == ["question 3"]
    assert landmarks["Contribution"].tolist() == ["+0.1000"]
    targets = next(f for f in frames if "Target sample" in f)["Target sample"].tolist()
    assert targets == ["maths, item 2: maths 1", "code, item 1: code 0"]
    assert "80 % of all" in _told(test)
    test.button(key="review_next").click().run()
    assert any("Landmark" in frame.value for frame in test.dataframe)
    assert len(made) == 1  # the fit behind it is made once for a run


def test_an_explanation_that_cannot_be_is_one_caption(
    pages: Any, make_project: Callable[..., Project], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(rows: list[int]) -> list[Any]:
        raise EngineError("Its features are missing.")

    _explained(monkeypatch, refuse)
    test = pages.open("4_Review.py", make_project(full=True), sample="row-30")
    test.session_state["score_why"] = True
    test.run()
    assert not test.exception
    assert not test.error
    assert "Its features are missing." in _told(test)
