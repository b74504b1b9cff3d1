"""The desk of saved selections: its sheet, proposing, returning, approving, what changed; a run that is gone."""

import json
import shutil
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import streamlit as st

from engine.curation import changes
from engine.curation.facts import Facts
from engine.curation.risks import riskiest
from engine.curation.sheet import sheet
from engine.store.project import Project


def _press(test: Any, label: str, note: str = "") -> Any:
    test.text_area[0].input(note)
    next(b for b in test.button if b.label.startswith(label)).click().run()
    assert not test.exception
    return test


def _filled(make_project: Callable[..., Project], **how: Any) -> Project:
    project = make_project(**how)
    artifact = project.run("landmark").artifact
    spec = {"run": "landmark", "artifact": artifact, "size": "12", "strategy": "top", "left_out": ["leak"]}
    project.save_selection("best", spec=spec, rows=np.arange(12), by="Ada", reasons=[f"rank {i}" for i in range(12)])
    return project


def test_a_proposal_is_returned_answered_and_approved_with_its_figures(
    pages: Any, make_project: Callable[..., Project]
) -> None:
    project = _filled(make_project, full=True)
    test = _press(pages.open("6_Select.py", project), "Propose for approval", "please look")
    assert project.selection("best").state == "proposed"
    assert any("Waiting for approval: best, version 1" in i.value.replace("\\", "") for i in test.info)
    test = _press(test, "Return with the note")
    assert "Say in a note why" in test.error[0].value
    test = _press(test, "Return with the note", "row 4 leaks")
    test = _press(test, "Propose again", "it is only quoted")
    test = _press(test, "Approve as", "seen")
    kept = project.selection("best")
    assert [event.kind for event in kept.events] == ["proposed", "returned", "proposed", "approved"]
    assert (kept.state, kept.remark) == ("approved", "approved by the person who proposed it")
    details = kept.events[-1].details
    assert details is not None
    assert details["size"]["rows"] == 12
    assert any("approved by the person who proposed it" in c.value.replace("\\", "") for c in test.caption)
    assert not [b for b in test.button if b.label.startswith(("Approve", "Propose", "Return"))]
    project.decide([3], "reject", by="Cy")  # the sheet stays as it was approved; what happened since is said
    test.run()
    assert not test.exception
    assert any("As it stood when it was approved" in c.value.replace("\\", "") for c in test.caption)
    assert any("1 sample of it rejected since" in w.value for w in test.warning)


def test_what_somebody_else_did_is_told_and_a_button_of_before_does_nothing(
    pages: Any, make_project: Callable[..., Project]
) -> None:
    project = _filled(make_project)
    test = pages.open("6_Select.py", project)
    project.propose_selection("best", by="Bo", version=1, note="from another tab", details={})
    test = _press(test, "Propose for approval", "mine")
    assert any("Proposed" in w.value and "by Bo" in w.value and "no effect" in w.value for w in test.warning)
    assert [(event.kind, event.by) for event in project.selection("best").events] == [("proposed", "Bo")]
    test = _press(test, "Approve as")
    assert not any("no effect" in w.value for w in test.warning)
    project.save_selection("later", spec={"run": "landmark"}, rows=[0, 1], by="Bo")
    project.approve_selection("later", by="Bo", details={})
    test.button(key="approval_export").click().run()  # what is in view stays there, and is what the next page shows
    assert test.session_state["ts_export_selection"]["is"] == ("best", 1)


def test_the_sheet_counts_what_the_rows_carry(make_project: Callable[..., Project]) -> None:
    project = _filled(make_project, full=True)
    project.decide([1, 2], "approve", by="Ada")
    project.decide([40], "reject", by="Ada")
    roles = project.artifacts / project.run("landmark").artifact / "roles.npy"
    added = np.load(roles)
    added[[3, 5, 40]] |= 128  # joined after the run, the last of them not chosen
    np.save(roles, added)
    told = json.loads(json.dumps(sheet(Facts(project), project.selection("best"))))
    assert told["run"]["added"] == 2
    assert (told["size"]["rows"], told["size"]["pool_rows"], told["size"]["words"]) == (12, 60, 48)
    assert told["people"] == {"undecided": 10, "approved": 2, "rejected": 0, "skipped": 0}
    guards = {entry["name"]: (entry["rows"], entry["pool_rows"]) for entry in told["guards"]}
    assert guards["leak"] == (1, 1)
    assert guards["looks truncated"] == (1, 1)
    assert guards["surprising answer"] == (1, 1)
    assert told["copies"] == [{"name": "near-duplicate", "rows": 1}]
    assert told["reasons"] == [{"reason": "rank #", "rows": 12}]
    (source,) = [part for part in told["composition"] if part["column"] == "field/source"]
    assert [(v["rows"], v["pool_rows"]) for v in source["values"]] == [(4, 20)] * 3
    score = np.load(project.artifacts / project.run("landmark").artifact / "score.npy")
    assert told["run"]["lowest"] == pytest.approx(score[:12].min())
    columns = np.load(project.artifacts / project.run("landmark").artifact / "columns.npy")
    for at, target in enumerate(told["targets"]):
        gains = np.maximum(np.nan_to_num(columns[:, at]), 0)
        assert target["share"] == pytest.approx(gains[:12].sum() / np.sort(gains)[-12:].sum(), rel=1e-5)
    assert told["audit"] is None
    assert {entry["row"] for entry in told["riskiest"]} == set(range(12))
    assert {"leak", "surprising answer"} <= {why for entry in told["riskiest"][:3] for why in entry["why"]}
    assert [entry["row"] for entry in told["riskiest"]][-1] in (1, 2)  # approved one by one: nothing to fear


def test_the_riskiest_rows_are_those_of_most_points_then_of_lowest_score() -> None:
    score = np.array([5.0, 1.0, 3.0, np.nan, 2.0])
    marks = {"leak": np.array([1, 0, 0, 0, 1], bool), "cut": np.array([1, 0, 0, 0, 0], bool)}
    found = riskiest(marks, score, None, np.array([0, 0, 0, 0, 1], bool), most=4)
    assert [(risk.place, risk.points) for risk in found] == [(0, 4), (3, 1), (1, 0), (4, 0)]
    assert [risk.why for risk in found] == [("leak", "cut"), ("no score",), (), ("leak",)]
    wide = riskiest({}, np.arange(40.0), 1 + np.arange(40.0), np.zeros(40, bool), most=4)
    assert [risk.place for risk in wide] == [0, 1, 38, 39]  # two lowest, two least certain


def test_what_changed_is_told_row_by_row_with_why(pages: Any, make_project: Callable[..., Project]) -> None:
    project = _filled(make_project)
    project.decide([0], "reject", by="Bo")
    run = project.run("landmark")
    spec = {"run": "landmark", "artifact": run.artifact, "size": "9", "strategy": "top", "left_out": ["leak"]}
    spec |= {"filters": [["field", "task", "t0", "t1"]], "column": "score"}
    rows = [1, 2, 3, 6, 7, 8, 9, 20, 22]  # rows 0, 4, 5, 10 and 11 went out
    project.save_selection("best", spec=spec, rows=rows, weights=[1, 1, 2, 1, 1, 1, 1, 1, 1], by="Ada",
                           reasons=[f"rank {i}" for i in range(9)])  # fmt: skip
    before, after = project.selections()
    made = changes.changes(before, after)
    assert (made.added.tolist(), made.removed.tolist()) == ([20, 22], [0, 4, 5, 10, 11])
    assert (made.kept, made.reweighted) == (7, 1)
    assert [(name, old) for name, old, _ in made.settings] == [("column", None), ("filters", None), ("size", "12")]
    facts = Facts(project)
    assert changes.why_added(facts, after, made.added) == ["rank 7", "rank 8"]
    assert changes.why_removed(facts, after, made.removed) == [
        changes.REJECTED, "guard: leak", changes.PASSED, changes.PASSED, changes.PASSED
    ]  # fmt: skip
    test = pages.open("6_Select.py", project)
    test.session_state["approval_tabs"] = "What changed"
    test.run()
    assert not test.exception
    assert not test.error
    assert [m.value for m in test.metric[-4:]] == ["2", "5", "7", "1"]
    test.session_state["approval_tabs"] = "Samples"
    test.run()
    assert not test.exception
    assert "rank 8" in test.dataframe[-1].value["Why"].tolist()


def test_a_selection_whose_results_are_gone_is_told_without_a_traceback(
    pages: Any, make_project: Callable[..., Project]
) -> None:
    project = _filled(make_project)
    with project.changing() as con:
        con.execute("DELETE FROM runs")
    shutil.rmtree(project.artifacts / project.selection("best").spec["artifact"])
    st.cache_resource.clear()
    told = sheet(Facts(project), project.selection("best"))
    assert told["run"] is None
    assert any("are gone" in sentence for sentence in told["missing"])
    test = pages.open("6_Select.py", project)
    assert not test.exception
    assert any("are gone" in w.value for w in test.warning)
    _press(test, "Approve as")
    test = pages.open("8_Export.py", project)
    assert not test.exception
    test.button(key="export_go").click().run()
    assert not test.exception
    assert not test.error
    assert (project.exports / "best-v1.jsonl").read_text().count("\n") == 12
