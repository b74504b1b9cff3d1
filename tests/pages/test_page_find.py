"""The search field: what is entered becomes a filter, what cannot be searched is said, what is found is marked."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from engine.curation import texts
from engine.runs import jobs
from engine.store import artifacts
from engine.store.project import Project
from pages.parts import find, find_marks, review_keys
from pages.parts.filters import Filter, encode

MAP = "map-0123456789abcdef"


def ask(test: Any, text: str, *, page: str = "map", **choices: str) -> None:
    for name, value in choices.items():
        test.selectbox(key=f"{page}_find_{name}").set_value(value).run()
    test.text_input(key=f"{page}_find_text").set_value(text)
    test.button(key=f"{page}_find_go").click().run()
    assert not test.exception


def chips(test: Any, page: str = "map") -> list[str]:
    labels = [button.label for button in test.button if str(button.key).startswith(f"{page}_chip_")]
    return [label.replace("\u2060", "").replace("\\", "") for label in labels]


def said(test: Any) -> str:
    return " ".join(element.value for element in test.caption).replace("\u2060", "").replace("\\", "")


def errors(test: Any) -> str:
    return " ".join(element.value for element in test.error).replace("\u2060", "").replace("\\", "")


def test_a_search_becomes_a_filter_that_every_page_has(pages: Any, make_project: Callable[..., Project]) -> None:
    test = pages.open("3_Map.py", make_project())
    ask(test, "QUESTION 7 -answer*", where="prompt")
    assert chips(test) == ["Words “QUESTION 7 -answer*” in the prompt"] and "1 of 60 samples" in said(test)
    ask(test, "(7", mode="regex")
    assert "missing )" in errors(test) and len(chips(test)) == 1  # nothing was changed
    ask(test, "^question [78]$")
    assert len(chips(test)) == 2 and not test.error  # both are in force
    ask(test, "no such words", mode="words")
    assert "0 of 60 samples" in said(test) and "Try fewer words" in said(test)
    assert "filters" in test.query_params  # the address restores them
    test.switch_page("pages/4_Review.py").run()
    assert not test.exception and len(chips(test, "review")) == 2
    assert test.text_input(key="review_find_text").value == "no such words"


def test_what_a_large_pool_needs_is_prepared_by_a_job_and_then_applied(
    pages: Any, make_project: Callable[..., Project], monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[dict[str, str]] = []
    monkeypatch.setattr(find, "AT_ONCE_TEXTS", 10)
    monkeypatch.setattr(jobs, "submit", lambda project, kind, config: started.append(config))
    monkeypatch.setattr(find.job_panel, "panels", lambda *_: True)
    project, other = make_project(), make_project("other")
    test = pages.open("3_Map.py", project)
    ask(test, "question")
    assert started == [{"what": "texts"}] and not chips(test) and not test.error
    for each in (project, other):
        texts.prepare(each)  # the job
    for path, found in ((other.path, []), (project.path, ["Words “question”"])):
        test.session_state["ts_project"] = str(path)
        test.run()
        assert chips(test) == found  # a search waits in its own project
    assert len(started) == 1


def test_similar_samples_are_filtered_and_come_nearest_first(
    pages: Any, make_project: Callable[..., Project], monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: dict[str, Any] = {}
    monkeypatch.setattr(review_keys, "mount", lambda **each: drawn.update(each["data"]))
    monkeypatch.setattr(find, "SIMILAR", 4)
    project = make_project()
    test = pages.open("4_Review.py", project, sample="row-20")
    assert test.button(key="review_similar").disabled  # that map kept no features
    features = np.stack([np.cos(np.arange(60) / 40), np.sin(np.arange(60) / 40)], axis=1).astype(np.float32)
    np.save(project.artifacts / MAP / "features.npy", features)
    artifacts.write_json(project.artifacts / MAP / "recipe.json", {"features": "sentence", "model": "x"})
    test = pages.open("4_Review.py", project, sample="row-20")
    test.button(key="review_similar").click().run()
    assert not test.exception and chips(test, "review") == ["Similar to row-20: nearest 4"]
    assert test.selectbox(key="review_order").value == "alike" and drawn["n"] == 4
    assert {sample["row"] for sample in drawn["samples"]} <= {18, 19, 20, 21, 22}
    assert "sentence embeddings" in said(test)


def test_a_question_that_cannot_be_read_here_keeps_its_chip(pages: Any, make_project: Callable[..., Project]) -> None:
    link = encode([Filter("similar", "query", ("Why?", 5)), Filter("text", "words/both", ("7",))])
    test = pages.open("3_Map.py", make_project(), filters=link)
    assert not test.exception and "kept their features" in errors(test)
    assert chips(test) == ["Meaning “Why?”: nearest 5", "Words “7”"]
    test.button(key="map_chip_0").click().run()
    assert not test.exception and not test.error and chips(test) == ["Words “7”"]


def test_marks_are_parts_of_the_text_and_never_markup(hostile: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = [Filter("text", "words/both", ("alert*",)), Filter("text", "regex/response", (r"\*\*\w+",))]
    monkeypatch.setattr(find_marks.state, "active_filters", lambda: asked)
    text = f"{hostile}\n<mark>{hostile}"
    parts = find_marks.parts(text, "assistant")
    assert "".join(parts) == text and parts[1::2].count("alert") == 4 and parts[1::2].count("**bold") == 2
    assert "**bold" not in find_marks.parts(text, "user")[1::2] and find_marks.parts("nothing", "user") == []
    assert find_marks.parts("alert", "user") == ["", "alert"]
