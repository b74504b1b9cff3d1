"""Progress: what a reader of progress.json may believe."""

import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from engine.errors import Cancelled, EngineError
from engine.runs import reporter as module
from engine.runs.jobfolder import JobFolder, held
from engine.runs.reporter import (
    FileReporter,
    Progress,
    observed,
    process_lives,
    process_start,
    read_progress,
    reporting,
    write_progress,
)
from engine.store.artifacts import write_json


@pytest.fixture
def folder(tmp_path: Path) -> JobFolder:
    return JobFolder.create(tmp_path / "score-1", {"kind": "score", "config": {}})


def test_a_folder_is_found_again_and_refused_when_foreign(folder: JobFolder, tmp_path: Path) -> None:
    assert JobFolder.open(folder.path).spec["kind"] == "score"
    with pytest.raises(EngineError, match="exists already"):
        JobFolder.create(folder.path, {})
    with pytest.raises(EngineError, match="no job folder"):
        JobFolder.open(tmp_path)
    write_json(folder.path / "spec.json", {"spec_version": 99})
    with pytest.raises(EngineError, match="format version 99"):
        JobFolder.open(folder.path)


def test_progress_round_trip_with_phases(folder: JobFolder) -> None:
    with reporting(folder) as reporter:
        reporter.phase("reading", 10)
        reporter.advance(10)
        reporter.phase("scoring", 4, "batches")
        reporter.advance(1)
        reporter.log("device: cpu, 2 threads")
    progress = read_progress(folder)
    assert (progress.state, progress.phase, progress.done, progress.total) == ("done", "scoring", 1, 4)
    assert progress.device == "cpu"
    assert [(p.name, p.done, p.unit) for p in progress.phases] == [
        ("reading", 10, "samples"),
        ("scoring", 1, "batches"),
    ]
    assert progress.fraction == 0.25
    assert progress.pid == os.getpid()
    assert "device: cpu, 2 threads" in folder.log_tail()[-1]


def test_rate_and_eta_count_only_what_was_computed_now(folder: JobFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: clock[0])
    reporter = FileReporter(folder)
    reporter.phase("scoring", 1000)
    reporter.skip(500)
    for _ in range(10):
        clock[0] += 1.0
        reporter.advance(20)
    assert reporter.progress.done == 700
    assert reporter.progress.rate == pytest.approx(20.0)
    assert reporter.progress.eta_s == pytest.approx(15.0)


def test_the_rate_follows_the_last_half_minute(folder: JobFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: clock[0])
    reporter = FileReporter(folder)
    reporter.phase("scoring", 10**6)
    for speed in (100, 5):
        for _ in range(60):
            clock[0] += 1.0
            reporter.advance(speed)
    assert reporter.progress.rate == pytest.approx(5.0)


def test_progress_is_written_sparsely_and_always_whole(folder: JobFolder) -> None:
    writes = []
    original = module.write_progress
    reporter = FileReporter(folder)
    reporter.phase("scoring", 10**5)
    module.write_progress = lambda *a: writes.append(original(*a))  # type: ignore[assignment]
    try:
        began = time.monotonic()
        for _ in range(20_000):
            reporter.advance(1)
        spent = time.monotonic() - began
    finally:
        module.write_progress = original
    assert len(writes) <= spent / module.WRITE_EVERY_S + 1
    json.loads(folder.progress_path.read_text())
    assert not list(folder.path.glob(".*.tmp"))


@pytest.mark.parametrize(
    ("error", "state"),
    [(Cancelled("stop"), "cancelled"), (EngineError("no pool"), "failed"), (ZeroDivisionError("x"), "failed")],
)
def test_the_end_state_follows_the_end(folder: JobFolder, error: Exception, state: str) -> None:
    with pytest.raises(type(error)), reporting(folder):
        raise error
    progress = read_progress(folder)
    assert progress.state == state
    assert str(error) in progress.message
    if isinstance(error, ZeroDivisionError):
        assert "a defect" in progress.message
        assert any("Traceback" in line for line in folder.log_tail())


def test_cancel_is_noticed_at_the_next_check(folder: JobFolder) -> None:
    reporter = FileReporter(folder)
    reporter.check()
    folder.ask_cancel()
    with pytest.raises(Cancelled, match="resume continues"):
        reporter.check()
    folder.withdraw_cancel()
    reporter.check()


def test_a_dead_process_is_told_from_a_living_one(folder: JobFolder) -> None:
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    started = process_start(process.pid)
    here = replace(Progress("running", phase="scoring"), pid=process.pid, pid_started=started, host=os.uname().nodename)
    write_progress(folder, here)
    try:
        assert observed(read_progress(folder)).state == "running"
    finally:
        process.kill()
    for _ in range(100):
        if not process_lives(process.pid, started):  # a zombie counts as dead: nobody has waited for it yet
            break
        time.sleep(0.05)
    seen = observed(read_progress(folder))
    assert (seen.state, seen.rate) == ("failed", None)
    assert seen.message.startswith("died during “scoring”")
    process.wait()


def test_a_reused_process_id_is_not_the_job(folder: JobFolder) -> None:
    mine = Progress("running", pid=os.getpid(), pid_started=-1.0, host=os.uname().nodename)
    write_progress(folder, mine)
    assert observed(read_progress(folder)).state == "failed"


def test_on_another_machine_the_heartbeat_decides() -> None:
    far = Progress("running", pid=1, host="elsewhere", updated=time.time())
    assert observed(far).state == "running"
    assert observed(replace(far, updated=time.time() - 2 * module.SILENT_AFTER_S)).state == "failed"
    assert observed(Progress("done", pid=1, host="elsewhere", updated=0.0)).state == "done"


def test_the_heartbeat_keeps_a_silent_job_fresh(folder: JobFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "HEARTBEAT_S", 0.05)
    with reporting(folder) as reporter:
        first = read_progress(folder).updated
        for _ in range(100):
            time.sleep(0.05)
            if read_progress(folder).updated > first:
                break
        assert read_progress(folder).updated > first
        assert reporter.progress.state == "running"
    last = read_progress(folder)
    time.sleep(0.2)
    assert read_progress(folder) == last, "the heartbeat wrote after the end"


def test_the_last_word_before_a_silence_is_written(folder: JobFolder) -> None:
    with reporting(folder) as reporter:
        reporter.phase("scoring", 3)
        for _ in range(3):  # within one interval: the second and third are not written at once
            reporter.advance(1)
        for _ in range(100):
            time.sleep(0.02)
            if read_progress(folder).done == 3:
                break
        assert read_progress(folder).done == 3


def test_one_holder_at_a_time(tmp_path: Path) -> None:
    with held(tmp_path / "lock") as first, held(tmp_path / "lock") as second:
        assert first
        assert not second
    with held(tmp_path / "lock") as third:
        assert third


def test_waiting_for_a_lock_can_be_cancelled(folder: JobFolder) -> None:
    folder.ask_cancel()
    with (
        held(folder.path / "lock"),
        pytest.raises(Cancelled, match="while it waited"),
        held(folder.path / "lock", wait_s=5, stop=folder),
    ):
        pass
