"""The same story through the command line, on a slice of the real mixture.

The first command and one mistake are processes of their own, as a shell starts them; the others, and the jobs they
start, run in this process, for each new one would import torch anew. (`test_cli_usage` starts real jobs as well.)
"""

import contextlib
import io
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pyarrow.parquet as pq
import pytest

from engine.__main__ import main
from engine.errors import EngineError
from engine.runs import jobs
from engine.runs.jobfolder import JobFolder
from engine.runs.work import work
from engine.store.project import Project

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT.parent / "shared" / "data"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not DATA.exists(), reason="the real data is absent"),
]


@pytest.fixture(scope="module", autouse=True)
def jobs_in_this_process() -> Iterator[None]:
    """A job runs to its end within `submit`."""

    def run(project: Project, folder: JobFolder) -> None:
        with contextlib.suppress(EngineError):  # it is in the job's progress, where the command finds it
            work(project.path, folder.id)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jobs, "_spawn", run)
        yield


def engine(*arguments: object, expect: int = 0) -> SimpleNamespace:
    """What `main(ARGUMENTS)` wrote; its exit status must be `expect`, and no exception may leave it."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = main([str(argument) for argument in arguments])
    assert status == expect, err.getvalue()
    assert "Traceback" not in err.getvalue()
    return SimpleNamespace(stdout=out.getvalue(), stderr=err.getvalue())


def shell(*arguments: object, expect: int = 0) -> subprocess.CompletedProcess[str]:
    """Run `python -m engine ARGUMENTS`; its exit status must be `expect`."""
    command = [sys.executable, "-m", "engine", *map(str, arguments)]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=900)
    assert ran.returncode == expect, ran.stderr
    assert "Traceback" not in ran.stderr
    return ran


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every 45th row of the mixture (200 rows), and one that is broken."""
    path = tmp_path_factory.mktemp("slice") / "pool.jsonl"
    lines = (DATA / "pool_mixture.jsonl").read_bytes().splitlines(keepends=True)[::45]
    path.write_bytes(b"".join(lines) + b'{"messages": [\n')
    return path


def test_from_a_file_to_an_exported_file(tmp_path: Path, pool: Path) -> None:
    project, out = tmp_path / "project", tmp_path / "subset.jsonl"
    shell("add-pool", project, pool)
    engine("add-target", project, "gsm8k", DATA / "target_gsm8k.jsonl")
    engine("add-target", project, "bbh", DATA / "target_bbh.jsonl")
    planned = engine("plan", project, "--method", "landmark", "--json")
    assert json.loads(planned.stdout)["plan"]["rows"] == 200
    scored = engine(
        "score", project, "--method", "landmark", "--targets", "gsm8k", "--landmarks", "64", "--run", "first"
    )
    assert scored.stdout.strip().splitlines()[-1] == "first"
    engine("map", project)
    engine("scores", project, "--run", "first", "--out", tmp_path / "scores.parquet")
    table = pq.read_table(tmp_path / "scores.parquet")
    assert table.num_rows == 200
    assert {"id", "row", "file", "line", "status", "score", "target:gsm8k"} <= set(table.column_names)
    assert "target:bbh" not in table.column_names

    told = engine("report", project, "--run", "first").stdout
    assert told.startswith("Spearman with exact scores") and "Within each source" in told and "predicted" in told

    best = table.sort_by([("score", "descending")])["id"].to_pylist()
    assert "helps most: gsm8k, item" in engine("explain", project, best[0], "--run", "first").stdout
    engine("decide", project, best[0], "reject", "--by", "tester")
    engine("decide", project, best[-1], "approve", "--by", "tester")
    engine("select", project, "--run", "first", "--size", "10%", "--strategy", "top", "--name", "subset")
    engine("approve", project, "subset", "--by", "tester", "--note", "looked")
    engine("export", project, "subset", out)

    exported = out.read_bytes().splitlines()
    assert len(exported) == 20
    assert set(exported) <= set(pool.read_bytes().splitlines())
    ids = {json.loads(line)["id"] for line in exported}
    assert best[-1] in ids and best[0] not in ids
    manifest = json.loads(out.with_name("subset.jsonl.manifest.json").read_text())
    assert manifest["approved"] is True


MISTAKES = {
    "a file that is not there": ("add-pool", "{project}", "nowhere.jsonl"),
    "an unknown method": ("score", "{project}", "--method", "magic"),
    "more landmarks than rows": ("score", "{project}", "--method", "landmark", "--landmarks", "999999"),
    "an unknown target": ("score", "{project}", "--method", "landmark", "--targets", "nobody"),
    "a run that is not there": ("scores", "{project}", "--run", "nobody", "--out", "{folder}/x.parquet"),
    "a selection that is not there": ("export", "{project}", "nobody", "{folder}/x.jsonl"),
    "a model folder without weights": ("score", "{project}", "--method", "landmark", "--model", "{folder}/empty"),
}


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory, pool: Path) -> Path:
    """A project with a pool and a target, and an empty folder beside it."""
    folder = tmp_path_factory.mktemp("mistakes")
    (folder / "empty").mkdir()
    engine("add-pool", folder / "project", pool)
    engine("add-target", folder / "project", "gsm8k", DATA / "target_gsm8k.jsonl")
    return folder


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_clear_message(small: Path, mistake: str) -> None:
    arguments = [part.format(project=small / "project", folder=small) for part in MISTAKES[mistake]]
    expected = 2 if mistake == "an unknown method" else 1
    run = shell if mistake == "a file that is not there" else engine
    ran = run(*arguments, expect=expected)
    assert ran.stderr.strip()
    assert not (small / "x.parquet").exists() and not (small / "x.jsonl").exists()
