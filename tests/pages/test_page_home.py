"""Home: nothing yet, projects in several states, and mistakes that must leave everything as it was."""

from collections.abc import Callable
from typing import Any

import pytest

from engine.data.samples import Message, Row, SourceInfo
from engine.runs import jobs
from engine.store.project import Project


def test_empty_home_offers_the_demo_first(pages: Any) -> None:
    test = pages.open("app.py")
    assert not test.exception
    assert [b.label for b in test.button] == ["Build the demo", "Create", "Open"]
    assert not test.sidebar.selectbox


def test_the_demo_is_one_click_and_runs_as_a_job(pages: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[tuple[str, str]] = []

    def submit(project: Project, kind: str, config: object, **_: object) -> str:
        folder = jobs.create_job(project, kind, config)  # type: ignore[arg-type]
        started.append((project.name, kind))
        return folder.id

    monkeypatch.setattr(jobs, "submit", submit)
    test = pages.open("app.py").button(key="home_demo").click().run()
    assert not test.exception
    assert started == [("demo", "demo")]
    assert "demo" in test.query_params["project"]
    assert test.button(key="cancel_demo-1").label == "Cancel"


def test_a_scored_project_says_what_to_do_next(pages: Any, make_project: Callable[..., Project]) -> None:
    project = make_project()
    make_project("empty", pool=False, targets=False)
    test = pages.open("app.py", project)
    assert not test.exception
    captions = [c.value for c in test.caption]
    assert any("60 samples" in c and "2 target sets" in c and "1 run" in c for c in captions)
    assert test.button(key="home_go_demo").label == "Go to Review"
    assert test.button(key="home_go_empty").label == "Add data"
    jobs.create_job(project, "search", {})  # in the background: nothing waits for it
    assert test.run().button(key="home_go_demo").label == "Go to Review"
    jobs.create_job(project, "map", {})
    assert test.run().button(key="home_go_demo").label == "Go to Map"  # the page that shows how far it is


def test_owned_data_is_among_the_facts_where_there_is_any(pages: Any, make_project: Callable[..., Project]) -> None:
    info = SourceInfo("/data/owned.jsonl", "c" * 64, 9, "jsonl", {"schema": "chat", "fields": {}})
    rows = [Row(1, "{}", None, (Message("user", "a"), Message("assistant", "b")), {})]
    make_project("mine").add_rows("owned", "", info, rows)
    make_project("none")
    captions = [c.value for c in pages.open("app.py").caption if "target sets" in c.value]
    assert sorted("1 owned sample" in c for c in captions) == [False, True]


def test_a_bad_name_creates_nothing_and_says_so(pages: Any) -> None:
    test = pages.open("app.py")
    test.text_input[0].input("../escape")
    test.button[1].click().run()
    assert len(test.error) == 1
    assert "Nothing was created" in test.error[0].value.replace("\\", "")
    assert list(pages.home.iterdir()) == []
    assert not (pages.home.parent / "escape").exists()


def test_a_link_to_a_missing_project_is_told_once_and_opens_nothing(pages: Any) -> None:
    test = pages.open("app.py")
    test.query_params["project"] = "gone"
    test.run()
    assert len(test.error) == 1
    assert "project" not in test.query_params
    assert not test.run().error


def test_projects_may_be_called_as_the_blocks_of_the_page_are(pages: Any, make_project: Callable[..., Project]) -> None:
    for name in ("demo", "create", "open", "current"):
        make_project(name, pool=False, targets=False)
    test = pages.open("app.py")
    assert not test.exception
    assert {f"home_go_{name}" for name in ("demo", "create", "open", "current")} < {b.key for b in test.button}
