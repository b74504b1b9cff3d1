"""Pool: nothing, a file added by path, a wrong file, bad rows with their reasons."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from engine.runs import jobs, search_jobs
from engine.store.project import Project


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "new.jsonl"
    rows = [{"question": f"What is {n} + 1?", "answer": str(n + 1)} for n in range(5)]
    path.write_text("\n".join([*map(json.dumps, rows), "{broken"]) + "\n")
    return path


def _type(test: Any, path: Path) -> Any:
    test.segmented_control(key="intake_from").set_value("Path or data set").run()
    return test.text_input(key="intake_path").input(str(path)).run()


def test_without_a_project_it_leads_home(pages: Any) -> None:
    test = pages.open("1_Pool.py")
    assert not test.exception
    assert "No project is open" in test.main.markdown[0].value.replace("\\", "")


def test_a_file_is_previewed_then_added(
    pages: Any, make_project: Callable[..., Project], file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[str] = []
    monkeypatch.setattr(jobs, "submit", lambda project, kind, config: started.append(kind) or kind)
    project = make_project(pool=False, targets=False)
    test = _type(pages.open("1_Pool.py", project), file)
    assert not test.exception
    assert not test.error
    assert any("question and answer" in c.value for c in test.caption)
    assert project.counts().pool == 0  # looking adds nothing
    test.button(key="intake_add").click().run()
    assert not test.exception
    assert project.counts().pool == 5
    assert "5 rows added to the pool" in test.success[0].value
    assert "1 row set aside" in test.success[0].value
    assert not started  # a small pool is prepared when it is first searched
    monkeypatch.setattr(search_jobs, "LARGE", 5)
    again = _type(test, file)
    again.button(key="intake_add").click().run()
    assert "already" in again.info[0].value and "in the background" in again.info[0].value and started == ["search"]
    assert project.counts().pool == 5


def test_a_target_set_needs_a_name(pages: Any, make_project: Callable[..., Project], file: Path) -> None:
    project = make_project(pool=False, targets=False)
    test = pages.open("1_Pool.py", project)
    test.segmented_control(key="intake_role").set_value("target").run()
    assert _type(test, file).button(key="intake_add").disabled
    test.text_input(key="intake_name").input("sums").run()
    test.button(key="intake_add").click().run()
    assert not test.exception
    assert {t.name: t.rows for t in project.targets()} == {"sums": 5}
    left = [test.text_input(key=key).value for key in ("intake_path", "intake_name")]
    assert left == ["", ""], "what was added stays in the fields and would be offered again"


def test_owned_data_needs_no_name_and_is_no_target(
    pages: Any, make_project: Callable[..., Project], file: Path
) -> None:
    project = make_project(run=False, plane=False)
    before = project.counts()
    test = pages.open("1_Pool.py", project)
    assert [m.value for m in test.metric][2] == "0"
    test.segmented_control(key="intake_role").set_value("owned").run()
    assert any("a selection can be made complementary to them" in c.value for c in test.caption)
    assert "intake_name" not in [field.key for field in test.text_input]
    _type(test, file).button(key="intake_add").click().run()
    assert not test.exception
    assert "5 rows added to the data you own" in test.success[0].value
    assert "1 row set aside" in test.success[0].value
    counts = project.counts()
    assert (counts.owned, counts.pool, counts.targets) == (5, before.pool, before.targets)
    figure = next(m for m in test.metric if m.label == "Samples you own")
    assert figure.value == "5"
    listed = test.dataframe[-1].value
    assert listed["Part of"].tolist() == ["pool", "target maths", "target code", "owned"]
    assert listed["Usable rows"].tolist()[-1] == 5
    test.session_state["pool_tabs"] = "Rows set aside"
    test.run()
    assert test.dataframe[-1].value["Line"].tolist() == [61, 6]


@pytest.mark.parametrize("typed", ["/etc/passwd", "/nowhere/at/all.jsonl"])
def test_a_wrong_path_is_one_error_and_adds_nothing(
    pages: Any, make_project: Callable[..., Project], typed: str
) -> None:
    project = make_project(pool=False, targets=False)
    test = _type(pages.open("1_Pool.py", project), Path(typed))
    assert not test.exception
    assert len(test.error) == 1
    assert project.counts().pool == 0


def test_rows_set_aside_are_shown_with_line_and_reason(pages: Any, make_project: Callable[..., Project]) -> None:
    test = pages.open("1_Pool.py", make_project(plane=False, run=False))
    assert not test.exception
    test.session_state["pool_tabs"] = "Rows set aside"
    test.run()
    table = test.dataframe[-1].value
    assert table["Line"].tolist() == [61]
    assert table["Reason"].tolist() == ["broken JSON: Expecting value"]
