"""The command line's manners: help, exit statuses, one readable message, stable output."""

import contextlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from engine.__main__ import main
from engine.cli.app import WrongUsage
from engine.cli.settings import configured
from engine.errors import EngineError
from engine.runs import jobs
from engine.runs.config import ScoreConfig, preset_of
from engine.runs.jobfolder import JobFolder, held
from engine.runs.map_config import MapConfig
from engine.runs.methods import METHODS
from engine.runs.work import work
from engine.store.project import Project

ROOT = Path(__file__).resolve().parents[2]
COMMANDS = (
    *("demo", "add-pool", "add-target", "add-owned", "plan", "score", "map", "scores", "select", "export", "jobs"),
    *("cancel", "resume", "approve", "decide", "runs", "doctor", "run-job", "report", "explain", "extend"),
    *("tag", "tags", "audit"),
    *("propose", "return", "selections", "sheet", "changes", "compare"),
    *("find", "signals", "count-tokens", "add-heldout", "reproduce", "export-decisions", "import-decisions"),
)


def test_the_commands_are_those_that_scripts_depend_on(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    shown = capsys.readouterr().out
    listed = [line.split()[0] for line in shown.partition("Commands:")[2].splitlines() if line.strip()]
    assert sorted(listed) == sorted(COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_says_what_it_does(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([command, "--help"]) == 0
    text = capsys.readouterr().out
    assert text.startswith("Usage: python -m engine " + command)
    assert "." in text.partition("\n\n")[2][:200], "no sentence of help"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["score", "P", "--method", "magic"], f"Available methods: {', '.join(METHODS)}."),
        (
            ["score", "P", "--method", "random", "--set", "speed=9"],
            "There is no setting 'speed'. Valid settings: method,",
        ),
        (["score", "P", "--method", "random", "--set", "seed"], "--set needs key=value"),
        (["score", "P", "--method", "random", "--set", "seed=ten"], "must be a whole number"),
        (["score", "P", "--method", "random", "--set", "ridge=no"], "must be a number"),
        (["score", "P", "--method", "random", "--set", "standardise=perhaps"], "must be true or false"),
        (["score", "P", "--method", "random", "--set", "kernel=cubic"], "must be one of: rbf, linear"),
        (["score", "P", "--method", "random", "--seed", "1", "--set", "seed=2"], "given twice"),
        (["score", "P"], "--method"),
        (["map", "P", "--features", "guess"], "must be one of: auto, hidden, sentence"),
        (["select", "P", "--run", "r", "--size", "5", "--name", "s", "--strategy", "best"], "top, round-robin"),
        (["export", "P", "s", "o", "--format", "csv"], "original, chat, sharegpt, alpaca, prompt-completion"),
        (["decide", "P", "maybe"], "at least one ID"),
        (["decide", "P", "row-1", "maybe"], "approve, reject, skip"),
        (["bake"], "No such command 'bake'"),
        ([], "Commands:"),
    ],
)
def test_wrong_usage_is_status_2(words: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    shown = capsys.readouterr()
    assert told in shown.err
    assert shown.out == ""
    assert "Traceback" not in shown.err


@pytest.mark.parametrize("command", [("jobs",), ("runs",), ("doctor",), ("cancel",), ("resume",), ("map",)])
def test_no_project_is_status_1(command: tuple[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*command, str(tmp_path / "none")]) == 1
    shown = capsys.readouterr()
    assert "is not a project" in shown.err
    assert len(shown.err.strip().splitlines()) == 1
    assert not (tmp_path / "none").exists()


def test_a_held_catalogue_is_status_3(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pool = tmp_path / "pool.jsonl"
    pool.write_text('{"prompt": "a", "completion": "b"}\n')
    assert main(["add-pool", str(tmp_path / "p"), str(pool)]) == 0
    script = "import duckdb, sys, time; c = duckdb.connect(sys.argv[1]); print('held', flush=True); time.sleep(60)"
    holder = subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path / "p" / "project.duckdb")], stdout=subprocess.PIPE, text=True
    )
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        capsys.readouterr()
        assert main(["runs", str(tmp_path / "p")]) == 3
        assert str(holder.pid) in capsys.readouterr().err
    finally:
        holder.kill()
        holder.communicate()


@pytest.fixture
def in_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Jobs run to their end within `submit`, in this process: starting a process and torch anew takes seconds."""

    def run(project: Project, folder: JobFolder) -> None:
        with contextlib.suppress(EngineError):  # it is in the job's progress
            work(project.path, folder.id)

    monkeypatch.setattr(jobs, "_spawn", run)


@pytest.fixture
def project(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    """A project of 20 rows and a target, made by the command line."""
    rows = [json.dumps({"id": f"r{i}", "prompt": f"Say {i}.", "completion": f"It is {i}."}) for i in range(20)]
    (tmp_path / "pool.jsonl").write_text("\n".join([*rows, "{broken"]) + "\n")
    (tmp_path / "target.jsonl").write_text('{"prompt": "Say 99.", "completion": "It is 99."}\n')
    assert main(["add-pool", str(tmp_path / "p"), str(tmp_path / "pool.jsonl")]) == 0
    assert main(["add-target", str(tmp_path / "p"), "sums", str(tmp_path / "target.jsonl")]) == 0
    return tmp_path / "p"


def test_intake_tells_what_was_set_aside(project: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = capsys.readouterr().err
    assert "20 rows added" in told
    assert "1 bad rows set aside (broken JSON" in told
    assert main(["add-pool", str(project), str(tmp_path / "pool.jsonl")]) == 0
    assert "already added, nothing changed" in capsys.readouterr().err
    assert main(["add-target", str(project), "a,b", str(tmp_path / "target.jsonl")]) == 1
    assert "without commas" in capsys.readouterr().err
    assert main(["add-target", str(project), "sums", str(tmp_path / "pool.jsonl")]) == 1


def test_owned_data_is_one_set_of_several_files(
    project: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine.jsonl").write_text('{"prompt": "Say 1.", "completion": "1."}\n{broken\n')
    files = [str(tmp_path / "mine.jsonl"), str(tmp_path / "target.jsonl")]
    capsys.readouterr()
    assert main(["add-owned", str(project), *files]) == 0
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.count("1 rows added") == 2
    assert "mine.jsonl: 1 bad rows set aside (broken JSON" in told.err
    assert main(["add-owned", str(project), files[1]]) == 0
    assert "already added, nothing changed" in capsys.readouterr().err
    found = Project.open(project)
    counts = found.counts()
    assert (counts.owned, counts.pool, counts.bad, counts.targets) == (2, 20, 1, {"sums": 1})
    assert [(row.file, row.line) for row in found.bad_rows()] == [("pool.jsonl", 21), ("mine.jsonl", 2)]
    assert main(["add-owned", str(project), str(tmp_path / "none.jsonl")]) == 1
    assert main(["add-owned", str(project)]) == 2
    assert found.counts() == counts


@pytest.mark.usefixtures("in_process")
def test_from_scores_to_an_export(project: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = str(project)
    assert main(["score", place, "--method", "random", "--run", "base"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "base"
    assert main(["runs", place, "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert (listed["format_version"], [run["name"] for run in listed["runs"]]) == (1, ["base"])
    assert main(["jobs", place, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["jobs"]
    assert [(j["id"], j["state"], j["result"]["run"]) for j in found] == [("score-1", "done", "base")]

    scores = tmp_path / "scores.parquet"
    assert main(["scores", place, "--run", "base", "--out", str(scores)]) == 0
    table = pq.read_table(scores)
    assert table.column_names == ["row", "id", "file", "line", "status", "score"]
    assert table.column("id").to_pylist() == [f"r{i}" for i in range(20)]
    assert set(table.column("status").to_pylist()) == {"exact"}
    assert main(["scores", place, "--run", "base", "--out", str(scores)]) == 1
    assert main(["scores", place, "--run", "base", "--out", str(scores), "--force"]) == 0

    assert main(["decide", place, "r3", "approve", "--by", "Ada", "--note", "good"]) == 0
    assert main(["decide", place, "r4", "r5", "reject", "--by", "Ada"]) == 0
    capsys.readouterr()
    assert main(["select", place, "--run", "base", "--size", "50%", "--name", "best"]) == 0
    assert capsys.readouterr().out == "best\n"
    assert main(["approve", place, "best", "--by", "Ada"]) == 0
    out = tmp_path / "best.jsonl"
    assert main(["export", place, "best", str(out)]) == 0
    chosen = {json.loads(line)["id"] for line in out.read_text().splitlines()}
    assert len(chosen) == 10
    assert "r3" in chosen
    assert not chosen & {"r4", "r5"}
    manifest = json.loads((tmp_path / "best.jsonl.manifest.json").read_text())
    assert manifest["approved"] is True
    before = out.read_bytes()
    assert main(["export", place, "best", str(out)]) == 1
    assert out.read_bytes() == before
    assert main(["doctor", place]) == 0


@pytest.mark.usefixtures("in_process")
def test_rows_added_later_are_not_passed_off_as_scored(
    project: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["score", str(project), "--method", "random", "--run", "base"]) == 0
    (tmp_path / "more.jsonl").write_text('{"id": "late", "prompt": "Say 5.", "completion": "It is 5."}\n')
    assert main(["add-pool", str(project), str(tmp_path / "more.jsonl")]) == 0
    assert main(["scores", str(project), "--run", "base", "--out", str(tmp_path / "s.parquet")]) == 0
    last = pq.read_table(tmp_path / "s.parquet").to_pylist()[-1]
    assert (last["id"], last["status"], last["score"]) == ("late", "not covered", None)
    assert main(["select", str(project), "--run", "base", "--size", "20", "--name", "all"]) == 0
    assert main(["export", str(project), "all", str(tmp_path / "all.jsonl")]) == 0
    assert "late" not in (tmp_path / "all.jsonl").read_text()


@pytest.mark.usefixtures("in_process")
def test_failures_of_the_job_become_those_of_the_command(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["score", str(project), "--method", "exact", "--model", "/nowhere/here"]) == 1
    told = capsys.readouterr()
    assert "no model folder" in told.err
    assert told.out == ""
    assert main(["cancel", str(project)]) == 1
    assert main(["resume", str(project), "score-9"]) == 1
    assert "jobs: score-1" in capsys.readouterr().err


def test_plan_of_a_baseline_costs_nothing(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", str(project), "--method", "random", "--json"]) == 0
    made = json.loads(capsys.readouterr().out)["plan"]
    assert (made["rows"], made["flops"], made["seconds"]) == (20, 0.0, 0.0)


def test_ctrl_c_cancels_cleanly_with_130(project: Path) -> None:
    with held(project / "jobs" / ".turn"):  # so that the job waits for its turn for as long as it takes
        command = [sys.executable, "-m", "engine", "score", str(project), "--method", "random"]
        shell = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        progress = project / "jobs" / "score-1" / "progress.json"
        for _ in range(2400):
            if progress.exists() and "waits for another" in progress.read_text():
                break
            time.sleep(0.05)
        shell.send_signal(2)
        out, err = shell.communicate(timeout=600)
    assert shell.returncode == 130, err
    assert out == ""
    assert "Traceback" not in err
    assert "was cancelled" in err
    assert json.loads(progress.read_text())["state"] == "cancelled"
    assert main(["resume", str(project)]) == 0
    assert json.loads(progress.read_text())["state"] == "done"


def test_detach_returns_at_once(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert main(["score", str(project), "--method", "random", "--detach"]) == 0
    assert capsys.readouterr().out == "score-1\n"
    for _ in range(2400):
        if json.loads((project / "jobs" / "score-1" / "progress.json").read_text())["state"] == "done":
            break
        time.sleep(0.05)
    assert main(["runs", str(project)]) == 0
    assert "random" in capsys.readouterr().out


def test_running_as_a_module_needs_no_other_folder(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    found = subprocess.run(
        [sys.executable, "-m", "engine", "--help"], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert found.returncode == 0
    assert found.stdout.startswith("Usage: python -m engine")


def test_a_preset_sets_its_values_and_every_other_setting_overrides_it() -> None:
    paper = configured(ScoreConfig, ["preset=paper"])
    assert preset_of(paper) == "paper"
    assert (paper.embedding, paper.jvp_blocks, paper.tune, paper.standardise) == ("jvp", 4, False, False)
    other = configured(ScoreConfig, ["jvp_blocks=2", "preset=paper"], landmarks=9)
    assert (other.jvp_blocks, other.landmarks, preset_of(other)) == (2, 9, "")
    with pytest.raises(WrongUsage, match="'best'; give one of: paper"):
        configured(ScoreConfig, ["preset=best"])
    with pytest.raises(WrongUsage, match="no setting 'preset'"):
        configured(MapConfig, ["preset=paper"])


@pytest.mark.parametrize(
    ("pair", "says"),
    [
        ("target_weights=code", "write name=weight"),
        ("target_weights=code=0", "above 0"),
        ("refine=many", "is no size"),
        ("confidence=2", "between 0.5 and 0.9999"),
        ("keep=0", "between"),
        ("landmark_choice=best", "uniform, k-means\\+\\+"),
    ],
)
def test_settings_without_a_meaning_are_refused(pair: str, says: str) -> None:
    with pytest.raises(WrongUsage, match=says):
        configured(ScoreConfig, [pair])
