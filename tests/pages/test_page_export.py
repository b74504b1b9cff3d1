"""The Export page: every form and option reaches the file, mistakes are one message, decisions travel in and out."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from engine.curation import audit
from engine.curation.facts import Facts
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


def test_decisions_are_tried_first_and_conflicts_are_settled_one_by_one_and_many_at_once(
    pages: Any, make_project: Callable[..., Project], tmp_path: Path, hostile: str
) -> None:
    project = make_project(run=False, plane=False)
    shutil.copytree(project.path, tmp_path / "other")
    other = Project.open(tmp_path / "other")
    other.decide(range(1, 16), "approve", by="Bo", note=hostile)
    project.decide(range(2, 15), "reject", by="Ada")  # 13 conflicts on two pages
    project.decide([15], "skip", by="Ada")
    audit.begin(other, Facts(other), by="Bo")
    export_decisions(other, tmp_path / "log.jsonl")
    test = pages.open("8_Export.py", project)
    test.session_state["merging_box"] = True
    test.run()
    upload = test.get("file_uploader")[0]
    upload.upload("log.jsonl", (tmp_path / "log.jsonl").read_bytes(), "application/jsonl").run()
    assert not test.exception
    go = test.button(key="merging_go")
    assert (go.disabled, go.label) == (True, "Take in: 14 conflicts not settled yet")
    assert not any(hostile in shown.value for shown in (*test.markdown, *test.caption))
    assert "row-11" in [t.value for t in test.text] and "row-12" not in [t.value for t in test.text]
    test.button_group(key="merging_side_2").set_value(2).run()
    test.button(key="merging_after").click().run()
    test.button_group(key="merging_side_12").set_value(1).run()
    project.decide([3], "skip", by="Ada")  # meanwhile: only what was chosen for that sample would be lost
    test.button(key="merging_before").click().run()
    assert test.button_group(key="merging_side_2").value == 2
    skipped = next(option for option in test.selectbox(key="merging_show").options if option.startswith("Here skipped"))
    assert skipped == "Here skipped, theirs approved: 2"
    test.selectbox(key="merging_show").set_value("13").run()
    test.button(key="merging_all_theirs").click().run()
    test.button(key="merging_all_mine").click().run()
    test.button(key="merging_undo").click().run()
    test.radio(key="merging_rest").set_value("mine").run()
    assert test.button(key="merging_go").label == "Take in: 4 samples changed, 11 in conflict kept as here, 1 audit"
    assert project.decisions()[1] == 0  # nothing before the button
    test.button(key="merging_go").click().run()
    assert not test.exception
    assert project.decisions()[1:16].tolist() == [1, 1, 1, *[2] * 11, 1]
    assert audit.latest(project)[0].by == "Bo"
    assert any("1 new batch taken in" in s.value for s in test.success)
    assert test.get("file_uploader")
