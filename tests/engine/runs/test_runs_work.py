"""A job's whole way in this process: catalogue → inputs → results → catalogue."""

import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.errors import Cancelled, EngineError
from engine.maps import build, layout
from engine.models.tokens import TokenTable
from engine.runs import intake, jobs, runjob
from engine.runs import work as work_module
from engine.runs.config import ScoreConfig
from engine.runs.jobfolder import JobFolder, held
from engine.runs.jobs import create_job, job
from engine.runs.map_config import MapConfig
from engine.runs.reporter import FileReporter
from engine.runs.scoring_job import prepare_score
from engine.runs.work import work
from engine.store.artifacts import load_array
from engine.store.project import Project


def config_of(toy: Path, **changes: Any) -> ScoreConfig:
    return ScoreConfig(**{"model": str(toy), "landmarks": 8, "audit": 6, "projection": 4, **changes})


def done(project: Project, config: Any, *, kind: Any = "score", run: str | None = None) -> JobFolder:
    folder = create_job(project, kind, config, run=run)
    work(project.path, folder.id)
    assert job(project, folder.id).state == "done"
    return folder


def test_a_score_job_ends_as_a_run(project: Project, toy_model: Path) -> None:
    folder = done(project, config_of(toy_model), run="first")
    record = project.run("first")
    assert folder.result["run"] == "first"
    assert (record.rows, record.targets, record.method) == (40, ["sums", "colours"], "landmark")
    artifact = project.artifacts / record.artifact
    assert load_array(artifact, "score").shape == (40,)
    assert load_array(artifact, "columns").shape == (40, 2)
    assert record.summary["counts"]["exact"] >= 8
    assert record.summary["model"]["sha256"]
    assert list(folder.input.iterdir()) == list(folder.work.iterdir()) == list(folder.output.iterdir()) == []
    names = [phase.name for phase in job(project, folder.id).progress.phases]
    assert names[0] == "starting"
    assert "landmark gradients" in names
    assert "embeddings" in names


def test_the_same_scores_are_never_computed_twice(
    project: Project, toy_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = done(project, config_of(toy_model))
    monkeypatch.setattr(runjob, "RUNNERS", {})  # computing would fail from here on
    second = done(project, config_of(toy_model))
    assert second.result == first.result
    assert any("nothing is computed again" in line for line in second.log_tail())
    named = done(project, config_of(toy_model), run="again")
    assert named.result["run"] == "again"
    assert [run.artifact for run in project.runs()] == [first.result["artifact"]] * 2


def test_what_changes_the_answer_makes_another_run(
    project: Project, toy_model: Path, tmp_path: Path, more_rows: Callable[[Project, int], None]
) -> None:
    made = [
        done(project, config_of(toy_model)),
        done(project, config_of(toy_model, seed=1)),
        done(project, config_of(toy_model, targets=("sums",))),
    ]
    other = Path(shutil.copytree(toy_model, tmp_path / "other"))
    made.append(done(project, config_of(other)))  # the same files elsewhere: the same answer
    more_rows(project, 5)
    made.append(done(project, config_of(toy_model)))
    names = [folder.result["run"] for folder in made]
    artifacts = [folder.result["artifact"] for folder in made]
    assert names == ["landmark", "landmark-2", "landmark-3", "landmark", "landmark-4"]
    assert len(set(artifacts)) == 4
    assert project.run("landmark-4").rows == 45


def test_a_taken_name_is_refused_before_anything_is_computed(
    project: Project, toy_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done(project, ScoreConfig(method="random"), run="mine")
    monkeypatch.setattr(runjob, "RUNNERS", {})
    folder = create_job(project, "score", ScoreConfig(method="random", seed=1), run="mine")
    with pytest.raises(EngineError, match="exists already with another"):
        work(project.path, folder.id)
    found = job(project, folder.id)
    assert (found.state, found.progress.exit_status) == ("failed", 1)
    assert "exists already" in found.progress.message


def test_random_needs_neither_model_nor_target(tmp_path: Path, project: Project) -> None:
    folder = done(project, ScoreConfig(method="random", model="/nowhere"))
    record = project.run("random")
    assert record.targets == []
    assert record.model == ""
    assert np.isfinite(load_array(project.artifacts / folder.result["artifact"], "score")).all()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"targets": ("sums", "nonsense")}, "no target set 'nonsense'; target sets: sums, colours"),
        ({"landmarks": 41}, "41 landmarks"),
        ({"model": "/nowhere/at/all"}, "no model folder"),
    ],
)
def test_mistakes_are_told_and_leave_no_run(
    project: Project, toy_model: Path, changes: dict[str, Any], message: str
) -> None:
    folder = create_job(project, "score", config_of(toy_model, **changes))
    with pytest.raises(EngineError, match=message):
        work(project.path, folder.id)
    assert message.split(";")[0] in job(project, folder.id).progress.message
    assert project.runs() == []
    assert list(project.artifacts.glob("scores-*")) == []


def test_an_empty_project_cannot_be_scored(tmp_path: Path) -> None:
    project = Project.create(tmp_path / "empty")
    folder = create_job(project, "score", ScoreConfig(method="random"))
    with pytest.raises(EngineError, match="Add samples with add-pool"):
        work(project.path, folder.id)


def test_the_view_is_frozen_while_rows_are_added(
    project: Project, toy_model: Path, more_rows: Callable[[Project, int], None]
) -> None:
    folder = create_job(project, "score", config_of(toy_model))
    reporter = FileReporter(folder)
    assert prepare_score(project, folder, reporter) is None
    more_rows(project, 7)
    assert prepare_score(project, folder, reporter) is None  # a resume
    assert len(TokenTable.load(folder.input / "pool")) == 40
    work(project.path, folder.id)
    assert project.run(folder.result["run"]).rows == 40


def test_inputs_interrupted_half_way_are_completed_not_repeated(
    project: Project, toy_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = create_job(project, "score", config_of(toy_model))
    reporter = FileReporter(folder)
    prepare_score(project, folder, reporter)
    (folder.input / "manifest.json").unlink()
    shutil.rmtree(folder.input / "targets" / "1")
    touched = (folder.input / "pool" / "ids.npy").stat().st_mtime_ns
    prepare_score(project, folder, reporter)
    assert (folder.input / "pool" / "ids.npy").stat().st_mtime_ns == touched
    assert len(TokenTable.load(folder.input / "targets" / "1")) == 3


def test_a_killed_score_resumes_to_the_very_same_numbers(
    project: Project, toy_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, cut = (create_job(project, "score", config_of(toy_model)) for _ in range(2))
    for folder in (whole, cut):
        prepare_score(project, folder, FileReporter(folder))
    runjob.compute(whole, FileReporter(whole))

    class Killed(Exception):
        """Stands for the end of the process."""

    class Dying(FileReporter):
        def phase(self, name: str, total: int, unit: str = "rows") -> None:
            if name == "embeddings":
                raise Killed
            super().phase(name, total, unit)

    with pytest.raises(Killed):
        runjob.compute(cut, Dying(cut))
    assert not cut.output_complete
    assert (cut.work / "audit-gradients.joined").exists()
    with monkeypatch.context() as patch:
        patch.setattr("engine.runs.measuring.projected_gradients", None)  # a gradient measured again would fail
        runjob.compute(cut, FileReporter(cut))
    assert {p.name for p in cut.output.glob("*.npy")} == {p.name for p in whole.output.glob("*.npy")}
    for path in whole.output.glob("*.npy"):
        np.testing.assert_array_equal(np.load(cut.output / path.name), np.load(path), err_msg=path.name)


def test_cancelled_before_its_turn_computes_nothing(project: Project) -> None:
    folder = create_job(project, "score", ScoreConfig(method="random"))
    folder.ask_cancel()
    with pytest.raises(Cancelled):
        work(project.path, folder.id)
    found = job(project, folder.id)
    assert (found.state, found.progress.exit_status) == ("cancelled", 130)
    assert project.runs() == []


def test_a_stage_that_heeds_no_cancel_is_ended_with_its_process(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended: list[int] = []
    monkeypatch.setattr(work_module, "CANCEL_GRACE_S", 0.1)
    monkeypatch.setattr(work_module.os, "_exit", ended.append)
    folder = create_job(project, "score", ScoreConfig(method="random"))

    def deaf(*_: object) -> None:
        folder.ask_cancel()
        for _ in range(100):
            time.sleep(0.05)
            if ended:
                return

    monkeypatch.setattr(work_module, "_worker", lambda kind: deaf)
    work(project.path, folder.id)
    assert ended[0] == 130


@pytest.fixture
def quick_layout(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first two features in place of UMAP, whose first fit compiles for half a minute."""

    def fit(features: np.ndarray, *_: object, **__: object) -> tuple[np.ndarray, str]:
        return features[:, :2].astype(np.float32), "UMAP"

    monkeypatch.setattr(layout, "fit", fit)


@pytest.mark.usefixtures("quick_layout")
def test_a_map_job_ends_as_map_and_signals(project: Project, toy_model: Path) -> None:
    config = MapConfig(features="hidden", model=str(toy_model))
    folder = done(project, config, kind="map")
    record, signals = project.latest_map(), project.latest_signals()
    assert record is not None
    assert signals is not None
    assert record.name == folder.result["map"]
    assert (record.rows, record.features) == (40, "hidden")
    assert load_array(project.artifacts / record.artifact, "xy").shape == (40, 2)
    assert load_array(signals, "near_duplicate_of").shape == (40,)
    assert load_array(signals, "leak").shape == (40,)


@pytest.mark.usefixtures("quick_layout")
def test_a_new_target_asks_for_new_signals_not_for_a_new_map(
    project: Project, toy_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = MapConfig(features="hidden", model=str(toy_model))
    first = done(project, config, kind="map")
    leaked = (tmp_path / "pool.jsonl").read_text().splitlines()[7] + "\n"
    (tmp_path / "leaked.jsonl").write_text(leaked)
    intake.add_target(project, "leaked", tmp_path / "leaked.jsonl")
    monkeypatch.setattr(build, "build_map", None)
    second = done(project, config, kind="map")
    assert second.result["map"] == first.result["map"]
    assert second.result["signals"] != first.result["signals"]
    signals = project.latest_signals()
    assert signals is not None
    assert signals.name == second.result["signals"]
    assert load_array(signals, "leak")[7] == pytest.approx(1.0)


def test_jobs_of_one_project_take_turns(project: Project) -> None:
    folder = create_job(project, "score", ScoreConfig(method="random"))
    with held(project.jobs / ".turn") as mine:
        assert mine
        job_id = jobs.submit(project, "score", ScoreConfig(method="random", seed=5))
        for _ in range(200):
            if "waits for another job" in job(project, job_id).progress.message:
                break
            time.sleep(0.05)
        assert job(project, job_id).state == "queued"
        jobs.cancel(project, job_id)
        for _ in range(200):
            if not job(project, job_id).active:
                break
            time.sleep(0.05)
    assert job(project, job_id).state == "cancelled"
    assert job(project, folder.id).state == "queued"
