"""Review: order, decisions with advance and undo, links, the end of a list; a project without any run."""

import sys
from collections.abc import Callable
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from engine.curation import audit
from engine.errors import EngineError, ProjectLocked
from engine.store.project import Project
from pages.parts import filters, review_keys
from pages.parts.filters import Filter


class Desk:
    """The desk in the browser: what it was sent, and presses it sends; like the real one it sends all not acknowledged.

    With `late`, what it was sent is not acted upon: presses name the sample that was in view before.
    """

    def __init__(self, test: Any = None) -> None:
        self.test, self.data, self.events = test, {}, []

    def sample(self) -> dict[str, Any]:
        return next(sample for sample in self.data["samples"] if sample["at"] == self.data["at"])

    def press(self, act: str, *, run: bool = True, **more: Any) -> None:
        shown = self.sample() if self.data["at"] < self.data["n"] else {"row": -1, "code": "none"}
        event = {"seq": len(self.events) + 1, "act": act, "list": self.data["list"], "at": self.data["at"],
                 "row": shown["row"], "seen": shown["code"], **more}  # fmt: skip
        self.events.append(event)
        if run:
            self.test.run()


@pytest.fixture
def desk(monkeypatch: pytest.MonkeyPatch) -> Desk:
    """The desk of the page under test, in the place of the browser's."""
    made = Desk()
    monkeypatch.setattr(review_keys, "mount", lambda **drawn: made.data.update(drawn["data"]))
    monkeypatch.setattr(review_keys, "told", lambda: review_keys.parsed({"client": "c", "events": made.events}))
    return made


def _best_first(project: Project) -> list[int]:
    score = np.load(project.artifacts / project.run("landmark").artifact / "score.npy")
    return [int(row) for row in np.argsort(-score, kind="stable") if np.isfinite(score[row])]


def _shown(test: Any) -> str:
    return str(test.session_state["ts_sample"])


def _open(pages: Any, desk: Desk, project: Project, **address: str) -> Any:
    desk.test = pages.open("4_Review.py", project, **address)
    assert not desk.test.exception
    return desk.test


def test_without_a_run_the_pool_can_still_be_read(pages: Any, make_project: Callable[..., Project], desk: Desk) -> None:
    test = _open(pages, desk, make_project(run=False, plane=False, targets=False))
    assert desk.sample()["turns"][0] == ["User", "question " + _shown(test).removeprefix("row-")]


def test_keys_decide_advance_and_undo(pages: Any, make_project: Callable[..., Project], desk: Desk) -> None:
    project = make_project()
    order = _best_first(project)
    test = _open(pages, desk, project)
    assert _shown(test) == f"row-{order[0]}"
    desk.press("approve", note="clear answer")
    desk.press("reject")
    assert _shown(test) == f"row-{order[2]}"
    codes = project.decisions()
    assert (codes[order[0]], codes[order[1]], int((codes > 0).sum())) == (1, 2, 2)
    notes = {entry.row: entry.note for entry in project.decision_log()}
    assert notes == {order[0]: "clear answer", order[1]: ""}
    assert desk.data["lines"] == ["2 of 59 reviewed, 50 % approved"]
    desk.press("undo")
    assert _shown(test) == f"row-{order[1]}"
    assert project.decisions()[order[1]] == 0
    assert project.decisions()[order[0]] == 1


def test_presses_that_come_together_go_each_to_its_sample_once(
    pages: Any, make_project: Callable[..., Project], desk: Desk
) -> None:
    """Five presses in one message, as when they are quicker than the server, and the message a second time."""
    project = make_project()
    order = _best_first(project)
    test = _open(pages, desk, project)
    acts = ["approve", "reject", "skip", "undo", "reject"]
    for act, at in zip(acts, (0, 1, 2, 2, 2)):
        desk.press(act, run=False, at=at, row=int(order[at]), seen="none")
    test.run()
    test.run()
    codes = project.decisions()
    assert [int(codes[row]) for row in order[:4]] == [1, 2, 2, 0]
    assert desk.data["at"] == 3
    assert desk.data["ack"] == {"c": 5}
    assert len(project.decision_log(limit=100)) == 5  # nothing was recorded twice
    ahead = [sample["row"] for sample in desk.data["samples"]]
    assert ahead == [int(row) for row in order[1:44]]  # two behind, forty ahead


def test_a_decision_made_meanwhile_is_told_before_it_is_overwritten(
    pages: Any, make_project: Callable[..., Project], desk: Desk
) -> None:
    project, other = make_project(), make_project("other")
    first, second = (int(row) for row in _best_first(project)[:2])
    test = _open(pages, desk, project)
    project.decide([first], "reject", by="Bo <b>", note="wrong sum")
    desk.press("approve")  # of a sample that was undecided when it was drawn
    assert not test.exception
    assert project.decisions()[first] == 2
    told = test.warning[0].value.replace("\\", "")
    assert "Bo <b> made it rejected" in told and "wrong sum" in told
    assert _shown(test) == f"row-{second}"
    desk.press("approve")
    assert project.decisions()[second] == 1  # the others are not held up
    test.sidebar.selectbox(key="shell_project").set_value("other").run()
    assert not test.exception
    assert not test.warning  # what waits for a word waits in its own project
    test.sidebar.selectbox(key="shell_project").set_value("demo").run()
    test.button(key=f"review_overwrite_{first}").click().run()
    assert not other.decisions().any()
    assert project.decisions()[first] == 1
    assert not test.warning
    assert [e.decision for e in project.decision_log(rows=[first])] == ["approve", "reject"]


def test_while_another_process_holds_the_project_presses_wait_and_none_is_lost(
    pages: Any, make_project: Callable[..., Project], desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = make_project()
    test = _open(pages, desk, project)
    decide = Project.decide
    with monkeypatch.context() as held:

        def locked(*_: object, **__: object) -> int:
            raise ProjectLocked("The project is in use by process 7. Nothing was changed.")

        held.setattr(Project, "decide", locked)
        desk.press("approve")
        assert desk.data["ack"] == {}
        assert "process 7" in desk.data["trouble"]
    assert Project.decide is decide
    test.run()  # the desk sends it again
    assert (desk.data["ack"], desk.data["trouble"], int((project.decisions() == 1).sum())) == ({"c": 1}, "", 1)
    away = project.path.rename(project.path.with_name("away"))
    desk.press("approve")
    assert not test.exception
    assert "no longer there" in test.error[0].value
    assert int((Project.open(away).decisions() == 1).sum()) == 1


def test_presses_of_another_project_or_of_a_session_before_a_restart_do_no_harm(
    pages: Any, make_project: Callable[..., Project], desk: Desk
) -> None:
    project = make_project()
    first, second, third = (int(row) for row in _best_first(project)[:3])
    _open(pages, desk, project)
    project.decide([first], "approve", by="Ada")
    number, _, name = desk.data["list"].split(".")
    before = f"{number}.0123456789abcdef.{name}"  # its answers were lost with the server
    for act, row in (("approve", first), ("reject", second), ("undo", second), ("go", third)):
        desk.press(act, run=False, row=row, list=before, seen="none", at=0)
    desk.press("reject", row=third, list=f"{number}.0123456789abcdef.other")
    codes = project.decisions()
    assert [int(codes[row]) for row in (first, second, third)] == [1, 2, 0]
    assert len(project.decision_log()) == 2  # what stood already was not recorded again, and nothing was undone
    assert "another project" in desk.data["said"]
    assert desk.data["ack"] == {"c": 5}


def test_tags_are_put_and_taken_off(pages: Any, make_project: Callable[..., Project], desk: Desk, hostile: str) -> None:
    project = make_project()
    _open(pages, desk, project, sample="row-17")
    name = hostile[:40].strip()
    desk.press("tag", tag=name)
    desk.press("tag", tag="odd\u202esum")
    desk.press("tag", tag="a\x00b")  # refused and told
    assert "control characters" in desk.data["said"]
    assert desk.sample()["tags"] == [[name, name], ["odd\u202esum", "odd⟨U+202E⟩sum"]]
    assert set(desk.data["suggestions"]) == {name, "odd\u202esum"}
    desk.press("untag", tag=name)
    assert {tag: rows.tolist() for tag, rows in project.tags().items()} == {"odd\u202esum": [17]}


def test_an_audit_is_begun_answered_in_its_order_and_estimates(
    pages: Any, make_project: Callable[..., Project], desk: Desk
) -> None:
    project = make_project()
    project.decide(range(10), "approve", by="Ada")
    test = _open(pages, desk, project)
    test.selectbox(key="review_order").set_value("audit").run()
    assert desk.data["lines"] == ["10 of 59 reviewed, 100 % approved"]  # the list before: no audit is begun yet
    test.button(key="review_audit_begin").click().run()
    assert not test.exception
    drawn = audit.latest(project)[0].rows
    assert desk.data["n"] == 50
    desk.press("approve")
    desk.press("go", at=5, row=int(drawn[5]))
    desk.press("reject")  # out of its order: it does not count until the ones before are answered
    assert desk.data["lines"][0] == "2 of 50 reviewed, 50 % approved"
    assert "from 1 audit samples" in desk.data["lines"][1]
    found = audit.estimate(project)
    assert (found.population, found.sample, found.approved, found.left) == (50, 1, 1, 48)
    assert _shown(test) == f"row-{drawn[6]}"
    project.decide([0], "clear", by="Ada")  # undecided now, but not when the audit was drawn
    captions = [caption.value for caption in test.run().caption]
    assert any("1 undecided sample that joined since is not in it" in text for text in captions)
    assert "It says nothing of 1 more undecided sample that joined" in desk.data["lines"][1]


def test_lowest_disputed_uncertain_first_and_filters_make_the_list(
    pages: Any, make_project: Callable[..., Project], add_run: Any
) -> None:
    project = make_project(full=True)
    add_run(project, "other", seed=5)
    only = Filter("field", "source", ("source 2",))
    test = pages.open("4_Review.py", project, filters=filters.encode([only]), run="landmark")
    test.selectbox(key="review_order").set_value("lowest").run()
    assert not test.exception
    expected = [row for row in reversed(_best_first(project)) if row % 3 == 2]
    assert _shown(test) == f"row-{expected[0]}"
    test.selectbox(key="review_order").set_value("uncertain").run()
    assert int(_shown(test).removeprefix("row-")) % 4 == 2  # the cluster whose sigma is wide
    test.selectbox(key="review_order").set_value("disputed").run()
    places = []
    for name in ("landmark", "other"):
        score = np.load(project.artifacts / project.run(name).artifact / "score.npy")
        places.append(np.argsort(np.argsort(score)))
    apart = np.abs(places[0] - places[1]).astype(float)
    apart[[59, *(row for row in range(60) if row % 3 != 2)]] = -1
    assert _shown(test) == f"row-{int(np.argmax(apart))}"


def test_a_link_opens_its_sample(pages: Any, make_project: Callable[..., Project], desk: Desk) -> None:
    test = _open(pages, desk, make_project(), sample="row-17")
    assert _shown(test) == "row-17"
    assert "row-17" in test.query_params["sample"]
    assert desk.sample()["turns"][1] == ["Assistant", "answer 17"]


def test_deciding_does_not_reshuffle_what_comes_next(
    pages: Any, make_project: Callable[..., Project], desk: Desk
) -> None:
    project = make_project()
    order = _best_first(project)
    test = _open(pages, desk, project)
    test.toggle(key="review_undecided").set_value(True).run()
    for step in range(3):
        assert _shown(test) == f"row-{order[step]}"
        desk.press("skip")
    assert _shown(test) == f"row-{order[3]}"


def test_the_end_of_a_list_says_so_and_can_be_left(
    pages: Any, make_project: Callable[..., Project], desk: Desk
) -> None:
    project = make_project()
    one = Filter("rank", "landmark/score", (1, 1))
    test = _open(pages, desk, project, filters=filters.encode([one]))
    desk.press("approve")
    assert not test.exception
    assert (desk.data["at"], desk.data["n"]) == (1, 1)
    assert any("So far in this project" in c.value for c in test.caption)
    desk.press("undo")
    assert not project.decisions().any()
    assert _shown(test) == f"row-{_best_first(project)[0]}"


def test_a_refused_decision_moves_nothing(
    pages: Any, make_project: Callable[..., Project], desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = make_project()
    test = _open(pages, desk, project)
    before = _shown(test)

    def refused(*_: object, **__: object) -> int:
        raise EngineError("The disk refused. Nothing was recorded.")

    monkeypatch.setattr(Project, "decide", refused)
    desk.press("approve")
    assert not test.exception
    assert desk.data["said"] == "The disk refused. Nothing was recorded."
    assert _shown(test) == before
    assert not project.decisions().any()


def test_many_are_decided_from_the_list_in_one_batch_and_others_decisions_are_told_first(
    pages: Any, make_project: Callable[..., Project], monkeypatch: pytest.MonkeyPatch
) -> None:
    project = make_project()
    order = _best_first(project)
    test = pages.open("4_Review.py", project)
    test.session_state["ts_review_as_list"] = True
    test.run()
    lines = test.dataframe[0].value
    assert len(lines) == 25
    assert lines["Sample"][0] == f"question {order[0]} → answer {order[0]}"
    test.button(key="review_page_on").click().run()
    assert test.dataframe[0].value["Place"][0] == 26
    test.button(key="review_anew").click().run()  # a list made anew is read from its beginning
    assert test.dataframe[0].value["Place"][0] == 1
    project.decide([order[3]], "reject", by="Bo")
    test.button(key="review_whole_approve").click().run()
    assert not test.exception
    assert int((project.decisions() == 1).sum()) == 0
    assert "Nothing is recorded yet" in test.warning[0].value
    test.button(key="review_many_others").click().run()
    codes = project.decisions()
    assert (int((codes == 1).sum()), int(codes[order[3]])) == (58, 2)
    test.button(key="review_table_undo").click().run()
    assert int((project.decisions() > 0).sum()) == 1


def test_marks_and_duplicates_are_named(pages: Any, make_project: Callable[..., Project]) -> None:
    project = make_project()
    held = next(project.artifacts.glob("signals-*")) / "near_duplicate_of.npy"
    repeats = np.load(held)
    repeats[2] = -1  # as a check writes it: the first of a group repeats nothing itself
    np.save(held, repeats)
    test = pages.open("4_Review.py", project, sample="row-3")
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
    pages: Any, make_project: Callable[..., Project], desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    carrier = SimpleNamespace(row=3, coefficient=0.5, score=0.2, contribution=0.1)

    def explain(rows: list[int]) -> list[Any]:
        best, worst = (("maths, item 2", 0.4),), (("code, item 1", -0.3),)
        return [SimpleNamespace(row=rows[0], carriers=(carrier,), share=0.8, best=best, worst=worst, note="")]

    made = _explained(monkeypatch, explain)
    test = _open(pages, desk, make_project(full=True), sample="row-30")
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
    desk.press("go", at=desk.data["at"] + 1)
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
