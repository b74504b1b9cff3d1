"""Opening and sharing a project: one writer at a time, across threads and processes."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import duckdb
import pytest

from engine.errors import EngineError, ProjectLocked
from engine.store import catalogue
from engine.store.project import Project

ROOT = Path(__file__).parents[3]


def test_created_project_opens_and_is_recognised(project):
    assert Project.is_project(project.path)
    assert Project.open(project.path).name == "project"
    assert project.counts().pool == 0
    assert list(project.iterate()) == []
    assert len(project.decisions()) == 0
    assert all(folder.is_dir() for folder in (project.artifacts, project.jobs, project.exports))


def test_create_leaves_what_is_there_alone(project, tmp_path):
    with pytest.raises(EngineError, match="is a project already"):
        Project.create(project.path)
    full = tmp_path / "full"
    full.mkdir()
    (full / "mine.txt").write_text("keep")
    with pytest.raises(EngineError, match="not empty"):
        Project.create(full)
    assert [p.name for p in full.iterdir()] == ["mine.txt"]


def test_open_refuses_what_is_no_project(tmp_path):
    with pytest.raises(EngineError, match="not a project"):
        Project.open(tmp_path)
    (tmp_path / "project.duckdb").write_text("this is text, not a database" * 100)
    with pytest.raises(EngineError, match="not a DuckDB database"):
        Project.open(tmp_path)


def test_open_refuses_a_foreign_database(tmp_path):
    with duckdb.connect(str(tmp_path / "project.duckdb")) as con:
        con.execute("CREATE TABLE other (x INTEGER)")
    with pytest.raises(EngineError, match="not a Touchstone catalogue"):
        Project.open(tmp_path)
    with duckdb.connect(str(tmp_path / "project.duckdb")) as con:
        assert con.execute("SELECT table_name FROM duckdb_tables()").fetchall() == [("other",)]


def test_a_project_that_went_away_is_not_made_again(project):
    project.catalogue.unlink()
    with pytest.raises(EngineError, match="is missing"):
        project.counts()
    assert not project.catalogue.exists()


def test_stamp_changes_with_writes_and_not_with_reads(filled):
    before = filled.stamp()
    filled.counts(), filled.rows([1]), filled.column("id")
    assert filled.stamp() == before
    filled.decide([1], "approve", by="Ada")
    assert filled.stamp() != before


def test_a_session_inside_a_session_is_the_same_connection(filled):
    with filled.session() as outer, filled.session() as inner:
        assert inner is outer
        assert filled.counts().pool == 10
    with filled.session() as con:
        assert con.execute("SELECT 1").fetchall() == [(1,)]


def test_a_failed_change_leaves_nothing_and_frees_the_catalogue(filled):
    with pytest.raises(ZeroDivisionError), filled.changing() as con:
        con.execute("DELETE FROM samples")
        _ = 1 / 0
    assert len(filled.column("row")) == 10


def test_threads_of_one_process_take_turns(filled):
    errors: list[Exception] = []

    def work(number: int) -> None:
        try:
            for _ in range(2):
                filled.decide([number], "approve", by=f"person {number}")
                assert filled.rows([number])[0].row == number
        except (EngineError, duckdb.Error, AssertionError) as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    batches = [entry.batch for entry in filled.decision_log(limit=100)]
    assert sorted(batches) == list(range(1, 9))


HOLD = """
import sys, time, duckdb
con = duckdb.connect(sys.argv[1])
print("held", flush=True)
time.sleep(float(sys.argv[2]))
con.close()
"""


def _hold(path: Path, seconds: float) -> subprocess.Popen:
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(path), str(seconds)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_a_lock_held_for_long_names_its_holder(filled, monkeypatch):
    monkeypatch.setattr(catalogue, "LOCK_WAIT", 0.3)
    with _hold(filled.catalogue, 60) as holder:
        try:
            with pytest.raises(ProjectLocked, match=rf"process {holder.pid}") as caught:
                filled.counts()
            assert caught.value.exit_status == 3
        finally:
            holder.kill()
    assert filled.counts().pool == 10


def test_a_lock_held_briefly_is_waited_for(filled, monkeypatch):
    monkeypatch.setattr(catalogue, "LOCK_WAIT", 0.05)
    with _hold(filled.catalogue, 0.5), catalogue.patient(5.0):  # as a job waits
        assert filled.counts().pool == 10


def test_a_busy_thread_is_told_apart_from_another_process(filled, monkeypatch):
    monkeypatch.setattr(catalogue, "THREAD_WAIT", 0.05)
    caught: list[ProjectLocked] = []

    def ask() -> None:
        try:
            filled.counts()
        except ProjectLocked as error:
            caught.append(error)

    with filled.session():
        thread = threading.Thread(target=ask)
        thread.start()
        thread.join()
    assert "this same process" in str(caught[0])


INTAKE = """
import itertools, os, sys
sys.path.insert(0, sys.argv[1])
from engine.data.samples import Message, Row, SourceInfo
from engine.store import adding
from engine.store.project import Project

def rows():
    for i in itertools.count(1):
        if i == 20_000 and sys.argv[3] == "reading":
            print("now", flush=True)
        if i == 30_000 and sys.argv[3] != "reading":
            return
        yield Row(i, "x" * 200, str(i), (Message("user", f"q {i}"), Message("assistant", "a" * 100)), {"n": i})

if sys.argv[3] == "importing":
    genuine = adding._mark_clashes
    def slow(con, set_id):
        print("now", flush=True)
        genuine(con, set_id)
        import time; time.sleep(60)
    adding._mark_clashes = slow
Project.open(sys.argv[2]).add_rows("pool", "", SourceInfo("big.jsonl", "big", 1, "jsonl", {}), rows())
"""


@pytest.mark.parametrize("moment", ["reading", "importing"])
def test_a_kill_during_an_addition_keeps_all_that_was_there_and_nothing_of_the_new(filled, moment):
    filled.decide([3], "approve", by="Ada")
    arguments = [sys.executable, "-c", INTAKE, str(ROOT), str(filled.path), moment]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "now\n"
        time.sleep(0.2)
        os.kill(process.pid, signal.SIGKILL)
    project = Project.open(filled.path)
    assert project.counts().pool == 10
    assert [f.name for f in project.files()] == ["pool.jsonl"]
    assert project.decisions().tolist() == [0, 0, 0, 1, 0, 0, 0, 0, 0, 0]
    assert [r.own_id for r in project.rows(range(10))] == [f"s{i}" for i in range(10)]


FULL = """
import os, resource, sys
sys.path.insert(0, sys.argv[1])
from engine.errors import EngineError
from engine.store.project import Project
project = Project.open(sys.argv[2])
size = os.path.getsize(project.catalogue)
resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
kept = 0
try:
    for number in range(50):
        project.save_selection(f"s{number}", spec={"pad": os.urandom(100_000).hex()}, rows=[1], by="Ada")
        kept += 1
except EngineError as error:
    print(kept, "the disk refused" in str(error))
"""


def test_a_disk_that_fills_up_is_told_and_what_was_kept_stays(filled):
    arguments = [sys.executable, "-c", FULL, str(ROOT), str(filled.path)]
    found = subprocess.run(arguments, capture_output=True, text=True, check=False)
    kept, told = found.stdout.split()
    assert told == "True", found.stderr
    assert len(filled.selections()) == int(kept) < 50
    assert filled.counts().pool == 10


BARE = """
import sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"duckdb", "pyarrow", "pandas", "streamlit", "datasets", "torch"}:
            raise ImportError(name)
sys.meta_path.insert(0, Refuse())
sys.path.insert(0, sys.argv[1])
import engine.store.artifacts, engine.store.disk
import engine.selection.sizes, engine.selection.eligible, engine.selection.strategies
print("bare")
"""


def test_artifacts_and_selection_need_neither_catalogue_nor_torch():
    found = subprocess.run([sys.executable, "-c", BARE, str(ROOT)], capture_output=True, text=True, check=False)
    assert (found.stdout, found.stderr) == ("bare\n", "")
