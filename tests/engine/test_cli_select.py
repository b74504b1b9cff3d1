"""`select` in the shell: its strategies, what it says of them, and what it refuses."""

import contextlib
import json
from pathlib import Path

import numpy as np
import pytest

from engine.__main__ import main
from engine.errors import EngineError
from engine.runs import jobs
from engine.runs.choice import Choice
from engine.runs.choosing import choose
from engine.runs.jobfolder import JobFolder
from engine.runs.work import work
from engine.selection.menu import GREEDY_NAMES, STRATEGIES
from engine.store import artifacts
from engine.store.project import Project
from engine.store.records import MapRecord

ROWS = 30


@pytest.fixture
def project(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project of 30 rows with random scores and a map of random features, made by the command line."""

    def run(place: Project, folder: JobFolder) -> None:
        with contextlib.suppress(EngineError):
            work(place.path, folder.id)

    monkeypatch.setattr(jobs, "_spawn", run)
    rows = [json.dumps({"id": f"r{i}", "prompt": f"Say {i}.", "completion": f"It is {i}."}) for i in range(ROWS)]
    (tmp_path / "pool.jsonl").write_text("\n".join(rows))
    assert main(["add-pool", str(tmp_path / "p"), str(tmp_path / "pool.jsonl")]) == 0
    assert main(["score", str(tmp_path / "p"), "--method", "random", "--run", "base"]) == 0
    place = Project.open(tmp_path / "p")
    features = np.random.default_rng(0).normal(size=(ROWS, 4)).astype(np.float32)
    with artifacts.create(place.artifacts, "map", "p", {}) as folder:
        artifacts.save_array(folder, "features", features)
        artifacts.save_array(folder, "neighbours", np.zeros((ROWS, 1), np.int32))
        artifacts.save_array(folder, "distances", np.zeros((ROWS, 1), np.float32))
        artifacts.write_json(folder / "recipe.json", {"features": "hidden"})
    place.add_map(MapRecord("map-1", "map-p", ROWS, place.pool_hash(), "hidden"))
    capsys.readouterr()
    return tmp_path / "p"


def select(project: Path, *words: str) -> int:
    return main(["select", str(project), "--run", "base", "--size", "10", "--name", "s", *words])


def test_the_help_tells_what_every_strategy_does_and_needs(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["select", "--help"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    for name, told in STRATEGIES.items():
        assert f"{name}: {told.does} {told.when}" in shown
    assert "completed. Needs a map and owned data." in shown
    assert all(name in shown for name in GREEDY_NAMES)


@pytest.mark.parametrize("strategy", ["facility-location", "graph-cut", "diverse"])
def test_a_covering_strategy_says_what_was_gained(
    project: Path, strategy: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert select(project, "--strategy", strategy, "--among", "80%") == 0
    shown = capsys.readouterr()
    assert shown.out == "s\n"
    assert len([line for line in shown.err.splitlines() if "further ones add" in line or "as the others" in line]) == 1
    assert "Represented are 24 of 30 samples: the best 80% by score." in shown.err
    kept = Project.open(project).selection("s")
    assert (len(kept.order), kept.spec["strategy"], kept.spec["among"]) == (10, strategy, "80%")


def test_strategies_by_score_say_nothing_of_gains(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert select(project) == 0
    assert capsys.readouterr().err == "s version 1: 10 samples\n"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--among", "30%"), "top has no use for among; it matters to facility-location"),
        (("--strategy", "diverse", "--tradeoff", "2"), "must be a number between 0.0 and 1.0"),
        (("--strategy", "diverse", "--greedy", "fast"), "must be one of: auto, lazy, stochastic"),
        (("--strategy", "diverse", "--kernel", "none"), "must be one of: map, network"),
        (("--strategy", "diverse", "--among", "best"), "such as 30%"),
        (("--strategy", "diverse", "--targets", "A"), "diverse has no use for targets"),
    ],
)
def test_settings_without_a_meaning_are_wrong_usage(
    project: Path, words: tuple[str, ...], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert select(project, *words) == 2
    assert told in capsys.readouterr().err
    assert Project.open(project).selections() == []


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--strategy", "conditional-gain"), "There is no owned data. Add some with add-owned first."),
        (("--strategy", "mutual-information"), "has no target to cover. Name target sets"),
        (("--strategy", "mutual-information", "--targets", "A"), "There is no target set 'A'"),
        (("--strategy", "diverse", "--kernel", "network"), "learned no network of pool samples on pool samples"),
    ],
)
def test_what_is_missing_is_one_line(
    project: Path, words: tuple[str, ...], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert select(project, *words) == 1
    shown = capsys.readouterr().err
    assert told in shown
    assert len(shown.strip().splitlines()) == 1
    assert Project.open(project).selections() == []


def test_budgets_guards_filters_and_quotas_are_kept_so_that_it_can_be_chosen_again(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    where = '[["number", "words", 0, 1000]]'
    assert select(project, "--at-most", "field/half:low=40%") == 1
    assert "There is no column 'field/half'" in capsys.readouterr().err
    quotas = ("--at-most", "file:pool.jsonl=90%", "--at-least", "decision:undecided=2")
    assert select(project, "--size", "60 words", "--guard", "warm-up", "--where", where, *quotas) == 0
    assert "They hold 50 of 60 words" in capsys.readouterr().err
    kept = Project.open(project).selection("s")
    assert kept.spec["budget"] == {"amount": 60, "unit": "words"}
    assert kept.spec["filters"] == json.loads(where)
    assert kept.reasons is not None
    again = Choice.from_spec(kept.spec)
    assert choose(Project.open(project), Project.open(project).run("base"), again).rows.tolist() == kept.rows.tolist()
    assert [option for option, _ in again.options()] == ["--guard", "--where", "--at-least", "--at-most"]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--size", "lots"), "size is 'lots'"),
        (("--at-most", "source=3"), "write COLUMN:VALUE=AMOUNT"),
        (("--where", "[1]"), "where is not readable"),
        (("--keep", "best"), "keep is 'best'"),
    ],
)
def test_what_cannot_be_read_is_wrong_usage(
    project: Path, words: tuple[str, ...], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert select(project, *words) == 2
    assert told in capsys.readouterr().err


def test_quotas_that_cannot_be_met_name_what_lacks_and_save_nothing(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert select(project, "--at-least", "file:pool.jsonl=40", "--size", "30") == 1
    assert "needs 40 and has 30 that can be chosen, 10 too few" in capsys.readouterr().err
    assert select(project, "--guard", "nothing") == 1
    assert "There is no guard 'nothing'" in capsys.readouterr().err
    assert Project.open(project).selections() == []
