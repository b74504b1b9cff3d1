"""The Export page: every form and option reaches the file, mistakes are one message, decisions travel in and out."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from engine.store.decision_files import export_decisions
from engine.store.project import Project


def _opened(pages: Any, project: Project) -> Any:
    project.save_selection("mine", spec={"run": "landmark"}, rows=list(range(20)), by="test")
    return pages.open("8_Export.py", project)


def test_form_container_fields_split_and_files_reach_what_is_written(
    pages: Any, make_project: Callable[..., Project]
) -> None:
    project = make_project()
    test = _opened(pages, project)
    test.selectbox(key="export_form").set_value("sharegpt").run()
    test.multiselect(key="export_columns").set_value(["task"]).run()
    (added,) = [m for m in test.multiselect if (m.key or "").startswith("export_added")]
    added.set_value(["scores", "decision"]).run()
    shown = "\n".join(code.value for code in test.code)
    assert '"conversations"' in shown and '"target:maths"' in shown and '"task": "t0"' in shown
    test.toggle(key="export_split").set_value(True).run()
    test.selectbox(key="export_group").set_value("field/source").run()
    test.number_input(key="export_share").set_value(40.0).run()
    test.toggle(key="export_several").set_value(True).run()
    test.number_input(key="export_shard_rows").set_value(4).run()
    test.button(key="export_go").click().run()
    assert not test.exception
    assert not test.error
    told = json.loads((project.exports / "mine-v1.manifest.json").read_text())
    assert told["approved"] is False
    assert told["output"]["columns"] == ["score", "target:maths", "target:code", "decision", "task"]
    texts = [path.read_text() for path in (project.exports / "mine-v1").glob("valid*")]
    held = [json.loads(line) for text in texts for line in text.splitlines()]
    assert len(held) == told["output"]["splits"]["validation"] > 0
    assert {int(record["id"][4:]) % 3 for record in held} == {int(held[0]["id"][4:]) % 3}
    assert any("reproduce mine-v1.manifest.json" in code.value for code in test.code)
    test.button(key="export_go").click().run()
    assert len(test.error) == 1  # it exists already


def test_a_form_that_does_not_fit_and_a_run_that_is_gone_are_one_message(
    pages: Any, make_project: Callable[..., Project]
) -> None:
    project = make_project()
    project.save_selection("mine", spec={"run": "gone"}, rows=[0, 1], by="test")
    test = pages.open("8_Export.py", project)
    test.selectbox(key="export_form").set_value("alpaca").run()
    (added,) = [m for m in test.multiselect if (m.key or "").startswith("export_added")]
    added.set_value(["scores"]).run()
    assert not test.exception
    assert len(test.error) == 1
    test.button(key="export_go").click().run()
    assert not test.exception
    assert not list(project.exports.glob("mine*"))


def test_decisions_are_tried_first_and_conflicts_wait_for_a_choice(
    pages: Any, make_project: Callable[..., Project], tmp_path: Path, hostile: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = make_project(run=False, plane=False)
    shutil.copytree(project.path, tmp_path / "other")
    other = Project.open(tmp_path / "other")
    other.decide([1, 2], "approve", by="Bo", note=hostile)
    project.decide([2], "reject", by="Ada")
    export_decisions(other, tmp_path / "log.jsonl")
    test = pages.open("8_Export.py", project)
    test.session_state["merging_box"] = True
    test.run()
    upload = test.get("file_uploader")[0]
    upload.upload("log.jsonl", (tmp_path / "log.jsonl").read_bytes(), "application/jsonl").run()
    assert not test.exception
    assert any("decided differently" in w.value for w in test.warning)
    assert test.button(key="merging_go").disabled
    assert not any(hostile in shown.value for shown in (*test.markdown, *test.caption))
    assert project.decisions()[1] == 0
    test.radio(key="merging_prefer").set_value("theirs").run()
    test.button(key="merging_go").click().run()
    assert not test.exception
    assert project.decisions()[[1, 2]].tolist() == [1, 1]
    assert any("1 new batch taken in" in s.value for s in test.success)
