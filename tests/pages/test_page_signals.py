"""Signals on the Pool page and beside a sample: unchecked, checked, looked at, copies rejected, hostile text."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.curation.facts import Facts
from engine.curation.signals import signals_of
from engine.data.samples import Message, Row, SourceInfo
from engine.runs import jobs, signals_job
from engine.runs.jobs import create_job
from engine.runs.reporter import reporting
from engine.store.project import Project

MAPPING = {"schema": "chat", "fields": {"messages": "messages"}}


def check(project: Project) -> None:
    folder = create_job(project, "signals", {})
    with reporting(folder) as reporter:
        signals_job.work_signals(project, folder, reporter)


def add(project: Project, role: str, name: str, pairs: list[tuple[str, str]]) -> None:
    rows = [
        Row(at + 1, "{}", None, (Message("user", p), Message("assistant", r)), {}) for at, (p, r) in enumerate(pairs)
    ]
    project.add_rows(role, name, SourceInfo(f"/d/{role}{name}", f"{role}{name}"[:60], 9, "jsonl", MAPPING), rows)


def test_an_unchecked_pool_is_checked_by_one_press(
    pages: Any, make_project: Callable[..., Project], monkeypatch: pytest.MonkeyPatch
) -> None:
    project, started = make_project(plane=False, run=False), list[str]()
    monkeypatch.setattr(jobs, "submit", lambda _, kind, __: started.append(kind))
    test = pages.open("1_Pool.py", project)
    assert not test.exception
    assert any("not checked yet" in m.value for m in test.markdown)
    test.button(key="signals_check").click().run()
    assert started == ["signals"]


def test_what_was_found_is_counted_and_looked_at(pages: Any, make_project: Callable[..., Project]) -> None:
    project = make_project(plane=False, run=False)
    add(project, "pool", "", [("Help me.", "I'm sorry, but I cannot help with that request."), ("Write.", "N/A")])
    check(project)
    test = pages.open("1_Pool.py", project)
    assert not test.exception
    assert not test.warning
    assert {b.key for b in test.button if b.label == "Look at them"} >= {
        "signals_look_refusal", "signals_look_empty answer", "signals_look_language",
    }  # fmt: skip
    assert any("Nothing found" in c.value and "secret key" in c.value for c in test.caption)
    test.button(key="signals_look_refusal").click().run()
    assert not test.exception
    assert [f.values for f in test.session_state["ts_filters"]] == [("refusal",)]
    assert [i.value for i in test.info if "Filtered by" in i.value], "Review tells what it was opened with"
    add(project, "heldout", "exam", [("Some question?", "Some answer.")])
    test = pages.open("1_Pool.py", project)
    assert "held-out file exam was added" in test.warning[0].value.replace("\\", "")


def test_of_copies_one_is_kept_and_one_undo_takes_it_back(pages: Any, make_project: Callable[..., Project]) -> None:
    project = make_project(plane=False, run=False)
    rules = "Read the rules with care, then say in one word whether the sentence keeps to all of them. " * 3
    shared = [(rules, "Yes."), (rules, "Perhaps not.")]  # the same instruction, answered otherwise
    add(project, "pool", "", [("The same question, word for word?", "The same answer.")] * 4 + shared)
    check(project)
    found = signals_of(Facts(project))
    copied = {name: np.flatnonzero(found.flags(name)[60:]).tolist() for name in ("near-duplicate", "repeated sample")}
    assert copied == {"near-duplicate": [1, 2, 3, 5], "repeated sample": [1, 2, 3]}
    project.decide([62], "approve", by="somebody")
    test = pages.open("1_Pool.py", project)
    assert not any(b.key == "copies_reject" for b in test.button)  # nothing is read while the box is closed
    test.session_state["copies_box"] = True
    test.run()
    assert not test.exception
    test.button(key="copies_reject").click().run()
    codes = project.decisions()
    assert np.flatnonzero(codes == 2).tolist() == [61, 63]  # 60 is the first, 62 was approved
    test.button(key="copies_undo").click().run()
    assert np.flatnonzero(project.decisions()).tolist() == [62]


PAGE = """
from pathlib import Path
from engine.store.project import Project
from pages.parts import signals_view
import streamlit as st
st.session_state["passages_box"] = True
signals_view.passages(Project.open(Path({path!r})), {row})
"""


def test_hostile_passages_are_shown_as_text(
    pages: Any, make_project: Callable[..., Project], hostile: str, tmp_path: Path
) -> None:
    from streamlit.testing.v1 import AppTest

    project = make_project(plane=False, run=False)
    text = f"{hostile} one two three four five six seven eight nine ten eleven twelve"
    add(project, "pool", "", [(text, "An answer.")])
    add(project, "heldout", "exam", [(f"Say: {text}", "Another answer.")])
    check(project)
    test = AppTest.from_string(PAGE.format(path=str(project.path), row=60), default_timeout=60).run()
    assert not test.exception
    said = [m.value for m in test.markdown]
    marked = [text for text in said if ":orange-background[" in text]
    assert len(marked) >= 2
    for text in marked:
        live = re.sub(r"\\.", "", text.replace(":orange-background[", "").replace("**", ""))  # escaped signs do nothing
        assert not set(live.replace("]", "")) & set("![<`$*:~#"), live
        assert live.count("]") == text.count(":orange-background[")


def test_a_sample_tells_which_personal_data_it_holds(pages: Any, make_project: Callable[..., Project]) -> None:
    project = make_project(plane=False, run=False)
    add(project, "pool", "", [("Who is she?", "Write to marie.dupont@orange.fr, she will answer.")])
    check(project)
    from pages.parts import sample_view

    told = sample_view.sample_marks(project, 60)
    assert {"personal data", "e-mail address"} <= set(told)
    here = {name for name, explanation in told.items() if "Here: marie.dupont@orange.fr" in explanation}
    assert here == {"personal data", "e-mail address"}
