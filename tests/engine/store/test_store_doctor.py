"""The doctor: tells what is left over or missing, removes only what nobody can use."""

import os
import subprocess
import sys
import time

import pytest

from engine.store import artifacts
from engine.store.disk import in_use, is_temporary, temporary_name
from engine.store.doctor import doctor
from engine.store.records import MapRecord, RunRecord


@pytest.fixture
def gone() -> int:
    """The id of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def _of(gone: int, purpose: str) -> str:
    return temporary_name(purpose).replace(f"-{os.getpid()}-", f"-{gone}-")


def test_a_healthy_project_has_no_findings(filled):
    filled.decide([1], "approve", by="Ada")
    assert doctor(filled) == []


def test_leftovers_of_the_dead_are_swept_and_work_of_the_living_is_spared(filled, gone):
    dead = [filled.artifacts / _of(gone, "scores-x"), filled.temp / _of(gone, "intake"), filled.path / _of(gone, "db")]
    for folder in dead:
        folder.mkdir()
        (folder / "half.npy").write_bytes(b"half")
    living = filled.artifacts / temporary_name("scores-y")
    living.mkdir()
    assert is_temporary(living)
    assert in_use(living)
    assert {f.kind for f in doctor(filled)} == {"leftover", "note"}
    assert all(folder.exists() for folder in (*dead, living))
    assert sum(f.fixed for f in doctor(filled, fix=True)) == 3
    assert not any(folder.exists() for folder in dead)
    assert living.exists()
    assert [(f.kind, f.where) for f in doctor(filled)] == [("note", f"artifacts/{living.name}")]


def test_incomplete_artifacts_are_removed_and_complete_ones_stay(filled):
    (filled.artifacts / "scores-half").mkdir()
    with artifacts.create(filled.artifacts, "scores", "whole", {}):
        pass
    (finding,) = doctor(filled, fix=True)
    assert (finding.kind, finding.where, finding.fixed) == ("incomplete", "artifacts/scores-half", True)
    assert artifacts.find(filled.artifacts, "scores", "whole") is not None


def test_missing_artifacts_are_told_and_never_mended(filled):
    filled.add_run(RunRecord("r", "random", "", {}, "scores-gone", 10, "h", []))
    filled.add_map(MapRecord("m", "map-gone", 10, "h", "hidden"))
    filled.add_signals("signals-gone", 10, "h")
    found = doctor(filled, fix=True)
    assert [(f.kind, f.fixed) for f in found] == [("missing", False)] * 3
    assert "run r" in found[0].message
    assert len(filled.runs()) == 1


def test_texts_cut_short_are_damage_and_unnamed_texts_wait_before_they_go(filled):
    (texts,) = filled.artifacts.iterdir()
    with artifacts.create(filled.artifacts, "rows", "unnamed", {}):
        pass
    unnamed = filled.artifacts / "rows-unnamed"
    assert [f.kind for f in doctor(filled, fix=True)] == ["note"]
    yesterday = time.time() - 86_400
    os.utime(unnamed, (yesterday, yesterday))
    assert [(f.kind, f.fixed) for f in doctor(filled, fix=True)] == [("leftover", True)]
    assert not unnamed.exists()
    with (texts / "raw.bin").open("ab") as stream:
        stream.truncate(5)
    assert [f.kind for f in doctor(filled, fix=True)] == ["damage"]
    assert texts.exists()


def test_lost_rows_and_a_wrong_snapshot_are_damage(filled):
    with filled.changing() as con:
        con.execute("DELETE FROM samples WHERE row = 4")
        con.execute("INSERT INTO decision_snapshot VALUES (0, ?)", [b"\x01" * 10])
    assert [f.kind for f in doctor(filled)] == ["damage", "damage"]
