"""Rows added after a run of `network`: estimated by the frozen run, everything it covered left as it was."""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from engine.__main__ import main
from engine.data.samples import Message
from engine.errors import EngineError
from engine.gradients.lexical_features import LexicalFeatures
from engine.models import loading
from engine.models.sources import resolve
from engine.runs import extending, functions, intake, later_rows
from engine.runs.config import ScoreConfig
from engine.runs.extending import extend
from engine.runs.jobs import create_job
from engine.runs.network_settling import NOT_READ
from engine.runs.scored import ADDED, AUDIT, LABELLED, TRUNCATED
from engine.runs.work import work
from engine.store.artifacts import read_json
from engine.store.doctor import doctor
from engine.store.project import Project
from engine.store.records import RunRecord, StoredRow
from tests.engine.runs.conftest import POOL_ROWS, chat

QUICK = {"network_epochs": 3, "network_members": 1, "network_rank": 2, "network_hidden": 8}


@pytest.fixture(autouse=True)
def _narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lexical features of few coordinates: the baselines' solves take as long as their cube."""
    monkeypatch.setattr(LexicalFeatures, "fit", partial(LexicalFeatures.fit, width=12))


@pytest.fixture
def config(toy_model: Path) -> ScoreConfig:
    """A network that reads words and learns RDS+ from 16 of 40 rows, judged by 5."""
    model = {"model": str(toy_model), "method": "network", "teacher": "rds"}
    return ScoreConfig(**model, network_features="lexical", labelled=0.4, audit=5, **QUICK)  # type: ignore[arg-type]


def scored(project: Project, config: ScoreConfig, name: str = "base") -> RunRecord:
    """A finished run."""
    folder = create_job(project, "score", config, run=name)
    work(project.path, folder.id)
    return project.run(name)


def add(project: Project, path: Path, rows: list[tuple[str, str]]) -> None:
    """Add rows to the pool."""
    lines = [chat(900 + at, prompt, answer) for at, (prompt, answer) in enumerate(rows)]
    path.write_text("".join(lines), encoding="utf-8")
    intake.add_pool(project, path)


def texts(project: Project, rows: list[int]) -> list[tuple[str, str]]:
    """(prompt, response) of pool rows."""
    return [(row.messages[0].content, row.messages[1].content) for row in project.rows(rows)]


def arrays(project: Project, run: RunRecord) -> dict[str, np.ndarray]:
    """Every array of a run."""
    return {path.stem: np.load(path) for path in (project.artifacts / run.artifact).glob("*.npy")}


def contents(folder: Path) -> dict[str, bytes]:
    """Every file of a folder."""
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture
def no_model(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """`no_model()`: from now on a language model cannot be loaded."""

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("a language model was loaded")

    def forbid() -> None:
        for module in (loading, functions):
            monkeypatch.setattr(module, "load", refuse)

    return forbid


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"aggregate": "max", "across": "max"},
        {"avoid": ("colours",), "target_weights": ("sums=3",)},
        {"groups": "source"},
        {"pool_network": True},
        {"network_features": "hidden+lexical", "max_length": 32},
    ],
)
def test_new_rows_are_what_equal_old_rows_are(
    project: Project, config: ScoreConfig, tmp_path: Path, no_model: Callable[[], None], change: dict[str, Any]
) -> None:
    run = scored(project, replace(config, **change))
    before, old = arrays(project, run), contents(project.artifacts / run.artifact)
    estimated = np.flatnonzero(before["status"] == 2)
    add(project, tmp_path / "again.jsonl", [*texts(project, estimated.tolist()), ("What is blue?", "A colour.")])
    if "network_features" not in change:
        no_model()
    found = extend(project, "base")
    assert found.added == len(estimated) + 1
    assert (found.run.rows, found.run.artifact != run.artifact) == (POOL_ROWS + len(estimated) + 1, True)
    after = arrays(project, found.run)
    for name in ("score", "columns", "matrix", "status", "roles", "loss"):
        np.testing.assert_array_equal(after[name][:POOL_ROWS], before[name], err_msg=name)
    for name in ("score", "columns", "matrix", "loss"):
        np.testing.assert_allclose(after[name][POOL_ROWS:-1], before[name][estimated], rtol=1e-4, atol=1e-6)
    assert np.isfinite(after["loss"]).all() == ("network_features" in change)
    assert (after["status"][POOL_ROWS:] == 2).all()
    np.testing.assert_array_equal(after["roles"][POOL_ROWS:-1], before["roles"][estimated] | ADDED)
    assert ((before["roles"][estimated] & TRUNCATED) > 0).any() == ("max_length" in change)
    assert ((after["roles"] & (LABELLED | AUDIT)) > 0).sum() == 21
    for name in before.keys() - {"score", "columns", "matrix", "status", "roles", "loss", "features"}:
        np.testing.assert_array_equal(after[name], before[name], err_msg=name)
    if change.get("pool_network"):
        assert after["features"].shape[0] == found.run.rows
    assert contents(project.artifacts / run.artifact) == old, "the older results were written to"
    assert doctor(project) == []


def test_the_run_says_what_was_added_and_that_the_audit_does_not_cover_it(
    project: Project, config: ScoreConfig, tmp_path: Path
) -> None:
    run = scored(project, config)
    add(project, tmp_path / "first.jsonl", [("Say one.", "One."), ("Say two.", "Two.")])
    first = extend(project, "base").run
    add(project, tmp_path / "second.jsonl", [("Say three.", "Three.")])
    second = extend(project, "base").run
    said = [note for note in second.summary["notes"] if "added to the pool after the run" in note]
    assert said == [
        "3 samples were added to the pool after the run and estimated by its network; the audit does not cover them."
    ]
    assert second.summary["extended"]["rows"] == 3
    assert [step["rows"] for step in second.summary["extended"]["steps"]] == [POOL_ROWS + 2, POOL_ROWS + 3]
    assert second.summary["counts"]["propagated"] == run.summary["counts"]["propagated"] + 3
    assert second.summary["fidelity"] == run.summary["fidelity"]
    assert second.pool_hash == project.pool_hash()
    assert len({run.artifact, first.artifact, second.artifact}) == 3
    assert read_json(project.artifacts / second.artifact / "summary.json") == second.summary


def test_extending_twice_changes_nothing(project: Project, config: ScoreConfig, tmp_path: Path) -> None:
    scored(project, config)
    assert extend(project, "base").added == 0
    add(project, tmp_path / "more.jsonl", [("Say one.", "One.")])
    first = extend(project, "base")
    folders = sorted(path.name for path in project.artifacts.iterdir())
    second = extend(project, "base")
    assert (first.added, second.added) == (1, 0)
    assert second.run == first.run
    assert sorted(path.name for path in project.artifacts.iterdir()) == folders


@pytest.mark.parametrize("at", ["create", "replace_run"])
def test_a_kill_loses_nothing(
    project: Project, config: ScoreConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: str
) -> None:
    """Before the artifact is complete, and between it and the record."""
    run = scored(project, config)
    add(project, tmp_path / "more.jsonl", [("Say one.", "One.")])

    def die(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(extending, "write_json" if at == "create" else at, die)
        with pytest.raises(KeyboardInterrupt):
            extend(project, "base")
    assert project.run("base") == run
    made = extend(project, "base").run
    assert (made.rows, len(arrays(project, made)["score"])) == (POOL_ROWS + 1, POOL_ROWS + 1)
    assert doctor(project) == []


def test_a_run_changed_meanwhile_is_not_overwritten(
    project: Project, config: ScoreConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scored(project, config)
    add(project, tmp_path / "more.jsonl", [("Say one.", "One.")])
    compute = extending._compute

    def overtaken(*words: Any) -> Path:
        monkeypatch.setattr(extending, "_compute", compute)
        add(project, tmp_path / "most.jsonl", [("Say two.", "Two.")])
        assert extend(project, "base").added == 2
        return compute(*words)

    monkeypatch.setattr(extending, "_compute", overtaken)
    with pytest.raises(EngineError, match="changed by another process meanwhile"):
        extend(project, "base")
    assert project.run("base").rows == POOL_ROWS + 2


def test_selections_and_decisions_survive(project: Project, config: ScoreConfig, tmp_path: Path) -> None:
    scored(project, config)
    project.decide([3], "approve", by="Ada")
    chosen = project.save_selection("best", spec={"run": "base", "size": "3"}, rows=[3, 5, 8], by="Ada")
    project.approve_selection("best", by="Ada")
    add(project, tmp_path / "more.jsonl", [("Say one.", "One.")])
    extend(project, "base")
    kept = project.selection("best")
    np.testing.assert_array_equal(kept.rows, chosen.rows)
    assert (kept.spec, kept.state) == (chosen.spec, "approved")
    assert project.decisions()[3] == 1
    assert len(project.decisions()) == POOL_ROWS + 1


def test_a_row_that_cannot_be_read_has_no_score_and_its_reason(
    project: Project, config: ScoreConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that the tokenizer finds no response in, as the first run would, and one that the network finds no word in.

    Where the model's files are gone, the network's words still do; that tokens were not seen is told, once.
    """
    scored(project, config)
    answers = [("Say one.", "One."), ("Say two.", "Two."), ("Say three.", "Three.")]
    add(project, tmp_path / "more.jsonl", answers)
    read = later_rows._rows
    blank = (Message("user", " "), Message("assistant", "\n"))

    def blanked(*words: Any) -> Iterator[list[StoredRow]]:
        yield [
            replace(row, messages=blank) if at % 3 == 1 else row
            for chunk in read(*words)
            for at, row in enumerate(chunk)
        ]

    monkeypatch.setattr(later_rows, "_rows", blanked)
    run = extend(project, "base").run
    assert arrays(project, run)["status"][POOL_ROWS:].tolist() == [2, 0, 2]
    assert run.summary["counts"]["unscorable"] == 1
    assert run.summary["problems"] == {str(POOL_ROWS + 1): "no response: no assistant turn has any text"}

    def gone(*_: Any, **__: Any) -> None:
        raise EngineError("The model's files are gone.")

    monkeypatch.setattr(later_rows, "resolve", gone)
    for at in range(2):
        add(project, tmp_path / f"most{at}.jsonl", [(f"{prompt} {at}", answer) for prompt, answer in answers])
        run = extend(project, "base").run
    assert arrays(project, run)["status"][POOL_ROWS:].tolist() == [2, 0, 2] * 3
    assert run.summary["problems"][str(POOL_ROWS + 7)] == NOT_READ
    assert run.summary["notes"][-1].endswith("longer than the model reads is not known: The model's files are gone.")
    assert len([note for note in run.summary["notes"] if "added to the pool after" in note]) == 1


def test_runs_that_cannot_be_extended_say_which_can(
    project: Project, config: ScoreConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scored(project, ScoreConfig(method="random"), "plain")
    hidden = scored(project, replace(config, network_features="hidden", warm_up="on"), "hidden")
    cold = scored(project, replace(config, network_features="hidden"), "cold")
    older = scored(project, config, "older")
    (project.artifacts / older.artifact / "network_reading.npz").unlink()
    add(project, tmp_path / "more.jsonl", [("Say one.", "One.")])
    for name, why in (
        ("plain", "scored by random, which learns nothing"),
        ("hidden", "reads hidden states of a warmed-up model, which is not kept"),
        ("older", "did not keep how its network reads texts"),
    ):
        with pytest.raises(EngineError, match=why) as told:
            extend(project, name)
        assert "network_features lexical, sentence or sentence+lexical" in str(told.value)
        assert "was left as it is" in str(told.value)
    assert project.run("hidden") == hidden
    monkeypatch.setattr(later_rows, "resolve", lambda name: replace(resolve(name), sha256="00" * 32))
    with pytest.raises(EngineError, match="has changed since the run was made"):
        extend(project, "cold")
    assert project.run("cold") == cold
    with pytest.raises(EngineError, match="no run 'none'"):
        extend(project, "none")


class Letters:
    """Counts letters instead of running a sentence model."""

    dim, name, device = 4, "letters", "cpu"

    def __init__(self, sha256: str) -> None:
        self.sha256, self.asked = sha256, 0

    def encode(self, given: list[str], **_: Any) -> np.ndarray:
        """Shares of four letters, unit length."""
        self.asked += len(given)
        found = np.array([[text.count(letter) + 1 for letter in "aeio"] for text in given], np.float32)
        return found / np.linalg.norm(found, axis=1, keepdims=True)


@pytest.mark.parametrize("features", ["sentence", "sentence+lexical"])
def test_sentence_embeddings_are_made_of_the_new_rows_alone(
    project: Project,
    config: ScoreConfig,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    no_model: Callable[[], None],
    features: Any,
) -> None:
    from engine.maps import sentence

    encoder = Letters("ab" * 32)
    monkeypatch.setattr(sentence, "load_encoder", lambda **_: encoder)
    before = arrays(project, scored(project, replace(config, network_features=features)))
    estimated = np.flatnonzero(before["status"] == 2)
    add(project, tmp_path / "again.jsonl", texts(project, estimated.tolist()))
    no_model()
    other = Letters("cd" * 32)
    monkeypatch.setattr(sentence, "load_encoder", lambda **_: other)
    with pytest.raises(EngineError, match="The sentence model has changed"):
        extend(project, "base")
    monkeypatch.setattr(sentence, "load_encoder", lambda **_: encoder)
    encoder.asked = 0
    after = arrays(project, extend(project, "base").run)
    assert encoder.asked == len(estimated)
    np.testing.assert_allclose(after["score"][POOL_ROWS:], before["score"][estimated], rtol=1e-4, atol=1e-6)


def test_a_pointwise_run_is_extended_too(
    project: Project, config: ScoreConfig, roomy_model: Path, tmp_path: Path
) -> None:
    short = Project.create(tmp_path / "short")
    add(short, tmp_path / "pool.jsonl", texts(project, list(range(12))))
    before = arrays(short, scored(short, replace(config, teacher="selectit", model=str(roomy_model), audit=1)))
    estimated = np.flatnonzero(before["status"] == 2)
    add(short, tmp_path / "again.jsonl", [("Something else?", "Yes."), *texts(short, estimated.tolist())])
    after = arrays(short, extend(short, "base").run)
    np.testing.assert_allclose(after["score"][13:], before["score"][estimated], rtol=1e-4, atol=1e-6)
    assert after["columns"].shape == (13 + len(estimated), 0)


def test_the_command_prints_the_run_and_the_scores_file_covers_the_new_rows(
    project: Project, config: ScoreConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scored(project, config)
    add(project, tmp_path / "more.jsonl", [("Say one.", "One.")])
    place = str(project.path)
    capsys.readouterr()
    assert main(["extend", place, "--run", "base"]) == 0
    told = capsys.readouterr()
    assert told.out == "base\n"
    assert "1 samples estimated; the run covers 41" in told.err
    assert main(["extend", place, "--run", "base"]) == 0
    assert "nothing changed" in capsys.readouterr().err
    assert main(["scores", place, "--run", "base", "--out", str(tmp_path / "s.parquet")]) == 0
    last = pq.read_table(tmp_path / "s.parquet").to_pylist()[-1]
    assert (last["status"], np.isfinite(last["score"])) == ("propagated", True)
    assert main(["extend", place, "--run", "other"]) == 1
    told = capsys.readouterr()
    assert "no run 'other'" in told.err
    assert "Traceback" not in told.err
    listed = json.loads(_json(place, capsys))["runs"]
    assert listed[0]["rows"] == 41


def _json(place: str, capsys: pytest.CaptureFixture[str]) -> str:
    assert main(["runs", place, "--json"]) == 0
    return capsys.readouterr().out
