"""Proposing, approving and returning a selection in the shell, and the list of what happened."""

import json
from pathlib import Path

import pytest

from engine.__main__ import main
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
