"""Proposing, approving and returning a selection in the shell, and the list of what happened."""

import json
from pathlib import Path

import pytest

from engine.__main__ import main
from engine.runs import jobs
from engine.runs.work import work
from engine.store.project import Project


@pytest.fixture
def project(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """A project of six rows with one draft."""
    rows = [json.dumps({"id": f"r{i}", "prompt": f"Say {i}.", "completion": f"It is {i}."}) for i in range(6)]
    (tmp_path / "pool.jsonl").write_text("\n".join(rows))
    assert main(["add-pool", str(tmp_path / "p"), str(tmp_path / "pool.jsonl")]) == 0
    Project.open(tmp_path / "p").save_selection("best", spec={}, rows=[1, 2], by="Ada")
    capsys.readouterr()
    return str(tmp_path / "p")


def test_a_returned_selection_is_answered_then_approved(project: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["propose", project, "best", "--by", "Ada"]) == 0
    assert main(["return", project, "best", "--by", "Bo", "--note", "why row 2?"]) == 0
    assert main(["approve", project, "best", "--by", "Bo"]) == 1
    assert main(["propose", project, "best", "--by", "Ada", "--note", "it teaches sums"]) == 0
    assert main(["approve", project, "best", "--by", "Bo", "--note", "ok"]) == 0
    shown = capsys.readouterr()
    assert "propose it again with a note that answers this" in shown.err
    assert shown.err.rstrip().endswith("best version 1: approved by Bo")
    assert main(["selections", project, "--json"]) == 0
    (told,) = json.loads(capsys.readouterr().out)["selections"]
    assert [(e["kind"], e["note"]) for e in told["events"]] == [
        ("proposed", ""), ("returned", "why row 2?"), ("proposed", "it teaches sums"), ("approved", "ok")
    ]  # fmt: skip
    assert (told["state"], told["rows"], told["remark"]) == ("approved", 2, "")


def test_a_script_approves_a_draft_at_once_and_it_is_said(project: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["return", project, "best", "--by", "Bo"]) == 2  # a return says why
    assert main(["approve", project, "best", "--by", "Ada"]) == 0
    assert "(approved without a proposal by the person who saved it)" in capsys.readouterr().err
    assert main(["selections", project]) == 0
    assert "approved by Ada" in capsys.readouterr().out


def test_the_sheet_and_what_changed_are_told_to_scripts(project: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["propose", project, "best", "--by", "Ada"]) == 0
    place = Project.open(project)
    kept = place.selection("best").events[-1].details
    assert kept is not None
    assert (kept["size"]["rows"], kept["run"]) == (2, None)
    assert main(["changes", project, "best"]) == 2  # nothing before version 1
    place.save_selection("best", spec={"size": "2"}, rows=[2, 4], by="Ada", reasons=["rank 1", "rank 2"])
    capsys.readouterr()
    assert main(["changes", project, "best", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["added"] == [{"id": "r4", "why": "rank 2"}]
    assert told["removed"] == [{"id": "r1", "why": "not chosen any more"}]
    assert told["settings"] == [{"name": "size", "before": None, "after": "2"}]
    assert main(["sheet", project, "best", "--version", "1"]) == 0
    shown = capsys.readouterr().out
    assert "2 of 6 samples" in shown
    assert "names no run" in shown


def test_runs_are_compared_pair_by_pair(
    project: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "_spawn", lambda place, folder: work(place.path, folder.id))
    for seed in ("1", "2"):
        assert main(["score", project, "--method", "random", "--seed", seed, "--run", f"r{seed}"]) == 0
    capsys.readouterr()
    assert main(["compare", project, "r1", "r2", "--json"]) == 0
    (pair,) = json.loads(capsys.readouterr().out)["pairs"]
    assert (pair["runs"], pair["rows"]) == (["r1", "r2"], 6)
    assert -1 <= pair["spearman"] <= 1
    assert main(["compare", project, "r1", "r1"]) == 2
    assert main(["compare", project, "r1", "gone"]) == 1
