"""Select and Export: a proposal that honours decisions, draft and approval, and a file that is exactly the rows."""

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from engine.data.samples import Message, Row, SourceInfo
from engine.runs import jobs, token_counts_job
from engine.runs.reporter import reporting
from engine.runs.sides import STAGE, side_key, side_of
from engine.selection.menu import STRATEGIES
from engine.selection.quotas import Quota
from engine.selection.submodular import SUBMODULAR_NAMES
from engine.store import artifacts
from engine.store.project import Project
from pages.parts import proposing


def _save(test: Any, name: str = "subset") -> Any:
    test.text_input(key="select_name").input(name)
    next(b for b in test.button if b.label.startswith("Save ")).click().run()
    return test


def test_without_a_run_it_leads_to_score(pages: Any, make_project: Callable[..., Project]) -> None:
    test = pages.open("6_Select.py", make_project(run=False, plane=False))
    assert not test.exception
    assert "Nothing has been scored yet" in test.main.markdown[0].value
    assert not test.main.button


def test_decisions_beat_scores_and_the_draft_is_what_was_shown(
    pages: Any, make_project: Callable[..., Project]
) -> None:
    project = make_project()
    score = np.load(project.artifacts / project.run("landmark").artifact / "score.npy")
    order = [int(r) for r in np.argsort(-score, kind="stable") if np.isfinite(score[r])]
    project.decide([order[-1]], "approve", by="test")
    project.decide([order[0]], "reject", by="test")
    test = pages.open("6_Select.py", project)
    assert not test.exception
    assert test.metric[0].value == "6"
    _save(test)
    assert not test.exception
    (kept,) = project.selections()
    assert kept.rows.tolist() == sorted([order[-1], *order[1:6]])
    assert (kept.state, kept.spec["strategy"], kept.run) == ("draft", "top", "landmark")
    _save(test)
    assert "nothing was saved again" in test.info[0].value
    assert len(project.selections()) == 1


@pytest.mark.parametrize("size", ["0", "61", "many", "-3"])
def test_a_wrong_size_is_one_error_and_saves_nothing(
    pages: Any, make_project: Callable[..., Project], size: str
) -> None:
    project = make_project()
    test = pages.open("6_Select.py", project)
    test.text_input(key="select_size").input(size).run()
    assert not test.exception
    assert len(test.error) == 1
    assert not any(b.label.startswith("Save ") for b in test.button)
    assert project.selections() == []


def test_guards_and_round_robin(pages: Any, make_project: Callable[..., Project]) -> None:
    project = make_project()
    test = pages.open("6_Select.py", project)
    test.text_input(key="select_size").input("50").run()
    test.selectbox(key="select_strategy").set_value("round-robin").run()
    test.multiselect(key="select_guards").set_value(["leak", "near-duplicate"]).run()
    assert not test.exception
    _save(test)
    rows = project.selections()[0].rows.tolist()
    assert len(rows) == 50
    assert 4 not in rows
    assert 3 not in rows


def test_approval_freezes_and_export_writes_exactly_the_rows(pages: Any, make_project: Callable[..., Project]) -> None:
    project = make_project()
    test = _save(pages.open("6_Select.py", project))
    next(b for b in test.button if b.label.startswith("Approve as")).click().run()
    assert project.selections()[0].state == "approved"
    test = pages.open("8_Export.py", project)
    assert not test.exception
    assert not test.warning
    test.button(key="export_go").click().run()
    assert not test.exception
    assert not test.error
    out = project.exports / "subset-v1.jsonl"
    chosen = project.selections()[0].rows.tolist()
    assert out.read_text() == "".join(f'{{"id":"row-{row}"}}\n' for row in chosen)
    assert json.loads((project.exports / "subset-v1.jsonl.manifest.json").read_text())["approved"] is True


def test_a_draft_says_so_and_nothing_is_overwritten_or_written_elsewhere(
    pages: Any, make_project: Callable[..., Project]
) -> None:
    project = make_project()
    project.save_selection("mine", spec={"run": "landmark"}, rows=[0, 1], by="test")
    test = pages.open("8_Export.py", project)
    assert "draft" in test.warning[0].value
    (name,) = [t for t in test.text_input if (t.key or "").startswith("export_name")]
    name.input("../escape.jsonl").run()
    test.button(key="export_go").click().run()
    assert len(test.error) == 1
    assert not (project.path / "escape.jsonl").exists()
    (name,) = [t for t in test.text_input if (t.key or "").startswith("export_name")]
    name.input("kept.jsonl").run()
    (project.exports / "kept.jsonl").write_text("precious")
    test.button(key="export_go").click().run()
    assert len(test.error) == 1
    assert (project.exports / "kept.jsonl").read_text() == "precious"
    project.save_selection("theirs", spec={"run": "landmark"}, rows=[2], by="other")
    project.approve_selection("theirs", by="other", details={})  # approved ones go first, but never under the pointer
    (name,) = [t for t in test.text_input if (t.key or "").startswith("export_name")]
    name.input("free.jsonl").run()
    test.button(key="export_go").click().run()
    assert not test.error
    assert (project.exports / "free.jsonl").read_text().count("\n") == 2


def test_without_a_selection_export_leads_to_select(pages: Any, make_project: Callable[..., Project]) -> None:
    test = pages.open("8_Export.py", make_project(run=False, plane=False))
    assert not test.exception
    assert "no selection" in test.main.markdown[0].value
    assert not test.main.button


def test_weights_are_shown_and_kept_with_the_selection(pages: Any, make_project: Callable[..., Project]) -> None:
    project = make_project()
    project.decide([30], "approve", by="test")
    test = pages.open("6_Select.py", project)
    assert not any("Weights to" in c.value for c in test.caption)
    test.selectbox(key="select_strategy").set_value("weights").run()
    assert not test.exception
    assert any("Weights to first order" in c.value and "samples of equal weight" in c.value for c in test.caption)
    _save(test)
    (kept,) = project.selections()
    assert (len(kept.rows), kept.spec["strategy"]) == (6, "weights")
    assert kept.weights is not None
    assert float(kept.weights.mean()) == pytest.approx(1, abs=1e-6)
    assert float(kept.weights[kept.rows.tolist().index(30)]) == pytest.approx(1)


def test_other_strategies_keep_no_weights(pages: Any, make_project: Callable[..., Project]) -> None:
    project = make_project()
    _save(pages.open("6_Select.py", project))
    assert project.selections()[0].weights is None


def test_weights_to_second_order_where_the_run_kept_curvature(pages: Any, make_project: Callable[..., Project]) -> None:
    project = make_project(full=True)
    folder = project.artifacts / project.run("landmark").artifact
    coefficients = np.random.default_rng(0).normal(size=(60, 2))
    np.save(folder / "coefficients.npy", coefficients.astype(np.float32))
    np.save(folder / "curvature.npy", 0.05 * np.eye(2))
    summary = json.loads((folder / "summary.json").read_text())
    summary["curvature"] = {"landmarks": 2, "form": "hessian", "eta": 1.0}
    (folder / "summary.json").write_text(json.dumps(summary))
    test = pages.open("6_Select.py", project)
    test.selectbox(key="select_strategy").set_value("weights").run()
    assert not test.exception
    assert not test.error
    assert any("second order" in c.value and "curvature of 2 landmarks" in c.value for c in test.caption)
    test = pages.open("6_Select.py", project, column="maths")  # the curvature is that of the overall score
    test.selectbox(key="select_strategy").set_value("weights").run()
    assert any("first order" in c.value for c in test.caption)


RECIPE = {"features": "hidden", "model": "m"}


def _featured(project: Project, *, owned: bool = False) -> Project:
    """The project with a map that kept its features, and those of its sides; row 7 has none."""
    generator = np.random.default_rng(3)
    n = project.counts().pool
    features = generator.normal(size=(n, 5)).astype(np.float32)
    features[7] = np.nan
    folder = project.artifacts / project.latest_map().artifact
    np.save(folder / "features.npy", features)
    artifacts.write_json(folder / "recipe.json", RECIPE)
    if owned:
        info = SourceInfo("/data/own.jsonl", "9" * 64, 9, "jsonl", {"schema": "chat", "fields": {}})
        messages = (Message("user", "mine"), Message("assistant", "yes"))
        project.add_rows("owned", "", info, [Row(1, "{}", None, messages, {})])
    sides = [("target", "maths"), ("target", "code"), *([("owned", "")] if owned else [])]
    for role, name in sides:
        with artifacts.create(project.artifacts, STAGE, side_key(RECIPE, side_of(project, role, name)), {}) as place:
            np.save(place / "features.npy", generator.normal(size=(3, 5)).astype(np.float32))
    return project


def _choose(test: Any, strategy: str) -> Any:
    return test.selectbox(key="select_strategy").set_value(strategy).run()


@pytest.mark.parametrize("strategy", SUBMODULAR_NAMES)
def test_every_covering_strategy_proposes_and_keeps_its_curve(
    pages: Any, make_project: Callable[..., Project], strategy: str
) -> None:
    project = _featured(make_project(), owned=True)
    project.decide([30], "approve", by="test")
    project.decide([31], "reject", by="test")
    test = _choose(pages.open("6_Select.py", project), strategy)
    assert not test.exception
    assert not test.error
    assert test.metric[0].value == "6"
    assert any(STRATEGIES[strategy].does in c.value.replace("\\", "").replace("\u2060", "") for c in test.caption)
    assert any("have no features on the map" in c.value for c in test.caption)
    assert any("samples" in m.value or "sample gains" in m.value for m in test.main.markdown)
    _save(test)
    (kept,) = project.selections()
    assert kept.order is not None
    assert 30 in kept.rows
    assert not {7, 31, 59} & set(kept.rows.tolist())
    assert (kept.spec["strategy"], kept.spec["map"]) == (strategy, project.latest_map().artifact)
    test = pages.open("6_Select.py", project)
    test.session_state["approval_tabs"] = "Gain curve"
    test.run()
    assert not test.exception
    assert test.get("plotly_chart")


def test_settings_show_where_they_matter_and_change_the_choice(
    pages: Any, make_project: Callable[..., Project]
) -> None:
    project = _featured(make_project())
    test = pages.open("6_Select.py", project)
    assert not [w for w in test.number_input if w.key in ("select_among", "select_seed")]
    _choose(test, "diverse")
    test.number_input(key="select_among").set_value(30).run()
    test.slider(key="select_tradeoff").set_value(0.25).run()
    assert not [w for w in test.number_input if w.key == "select_seed"]
    test.selectbox(key="select_greedy").set_value("stochastic").run()
    test.number_input(key="select_seed").set_value(4).run()
    assert not test.exception
    assert not test.error
    _save(test)
    spec = project.selections()[0].spec
    assert (spec["among"], spec["tradeoff"], spec["greedy"], spec["seed"]) == ("30%", 0.25, "stochastic", 4)
    _choose(test, "mutual-information")
    assert test.multiselect(key="select_targets").value == ["maths", "code"]
    assert not [w for w in test.selectbox if w.key == "select_kernel"]


@pytest.mark.parametrize(
    ("lacking", "strategy", "told"),
    [
        ({"plane": False}, "facility-location", "No map yet"),
        ({}, "conditional-gain", "No owned data yet"),
        ({"targets": False}, "mutual-information", "No target yet"),
    ],
)
def test_what_a_strategy_lacks_is_an_empty_state_with_the_way_out(
    pages: Any, make_project: Callable[..., Project], lacking: dict[str, bool], strategy: str, told: str
) -> None:
    test = _choose(pages.open("6_Select.py", make_project(**lacking)), strategy)
    assert not test.exception
    assert not test.error
    assert any(told in m.value for m in test.main.markdown)
    assert not [b for b in test.button if b.label.startswith("Save ")]


def test_a_map_of_before_features_is_one_error(pages: Any, make_project: Callable[..., Project]) -> None:
    test = _choose(pages.open("6_Select.py", make_project()), "facility-location")
    assert not test.exception
    assert len(test.error) == 1
    assert "Run map again" in test.error[0].value.replace("\\", "")


def test_quotas_say_what_lacks_and_a_sample_why_it_is_out(pages: Any, make_project: Callable[..., Project]) -> None:
    project = make_project()
    test = pages.open("6_Select.py", project)
    asked = (Quota("file", project.files()[0].name, "at-least", "61"),)
    test.session_state["ts_quotas"] = (str(project.path), asked)
    test.run()
    assert not test.exception
    assert "too few" in test.error[0].value
    assert test.dataframe[0].value["State"].tolist()[0].startswith("lacks")
    assert not [b for b in test.button if b.label.startswith("Save ")]
    test.button(key="select_quota_0").click().run()  # its chip takes it out of force
    assert not test.error
    test.session_state["ts_quotas"] = (str(project.path), (Quota("status/landmark", "exact", "at-most", "50%"),))
    test.run()
    test.session_state["select_tabs"] = "Why in or out"
    test.session_state["select_why"] = "row-59"
    test.run()
    assert not test.exception
    assert any("no score" in m.value for m in test.main.markdown)
    _save(test)
    spec = project.selections()[0].spec
    assert spec["quotas"] == [{"column": "status/landmark", "value": "exact", "kind": "at-most", "amount": "50%"}]
    test.text_input(key="select_size").input("40 words").run()
    assert any("of 40 words" in c.value.replace("\\", "") for c in test.caption)


def test_tokens_are_estimated_until_a_job_has_counted_them_and_thresholds_are_kept(
    pages: Any, make_project: Callable[..., Project], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "_spawn", lambda place, folder: None)
    project = make_project()
    test = pages.open("6_Select.py", project)
    test.text_input(key="select_size").input("100 tokens").run()
    assert test.metric[1].label == "Tokens, estimated"
    test.button(key="select_count").click().run()
    assert not test.exception
    assert not test.error
    assert test.metric[1].label == "Tokens, estimated"
    assert not [b for b in test.button if b.key == "select_count"], "the job at work is not started twice"
    (job,) = jobs.jobs(project)
    assert [b.key for b in test.button if b.label == "Cancel"] == [f"cancel_{job.id}"]
    with reporting(job.folder) as reporter:
        token_counts_job.work_token_counts(project, job.folder, reporter)
    test.run()
    assert (test.metric[1].label, int(test.metric[1].value) <= 100) == ("Tokens", True)
    assert not [b for b in test.button if b.key == "select_count"]
    test.multiselect(key="select_guards").set_value(["leak"]).run()
    test.number_input(key="select_limit_leak").set_value(0.9).run()
    _save(test)
    spec = project.selections()[0].spec
    assert (spec["left_out"], spec["thresholds"], spec["tokens"]["by"]) == (["leak=0.9"], {"leak": 0.9}, "tokenizer")


def test_in_a_large_pool_rows_are_compared_only_when_asked(
    pages: Any, make_project: Callable[..., Project], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(proposing, "LARGE", 10)
    project = _featured(make_project())
    test = pages.open("6_Select.py", project)
    assert test.metric[0].value == "6"  # by score at once
    _choose(test, "facility-location")
    assert not test.metric
    assert not [b for b in test.button if b.label.startswith("Save ")]
    test.button(key="select_propose").click().run()
    assert not test.exception
    assert test.metric[0].value == "6"
    _save(test)
    assert test.metric[0].value == "6"  # saving changes nothing that it depends on
    assert len(project.selections()) == 1
    project.decide([int(project.selections()[0].rows[0])], "reject", by="test")
    test.run()
    assert not [b for b in test.button if b.label.startswith("Save ")]
    assert test.button(key="select_propose")
