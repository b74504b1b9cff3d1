"""The demo: make the demo files, bring them into the project, score them and map them, in one process.

The pool is small enough to be scored exactly, so that a landmark run made on it can be compared with the truth.

Each stage recognises what a former process completed, so a killed demo resumes where it was.
"""

import os
from pathlib import Path

import torch

from engine.data.demo import write_demo
from engine.progress import Reporter
from engine.runs.config import ScoreConfig
from engine.runs.intake import add_pool, add_target
from engine.runs.jobfolder import JobFolder
from engine.runs.map_config import MapConfig
from engine.runs.mapping_job import work_map
from engine.runs.reporter import FileReporter
from engine.runs.scoring_job import work_score
from engine.store.project import Project

FOLDER = "demo"
WARM_UP_RATE = 1e-4  # the built-in model knows these tasks already; more would teach it the faults


def work_demo(project: Project, folder: JobFolder, reporter: FileReporter) -> None:
    """Build the demo project; `folder.result` names its run and its map."""
    seed = int(folder.spec["config"].get("seed", 0))
    threads = max(1, (os.cpu_count() or 2) - 1)
    torch.set_num_threads(threads)
    reporter.log(f"{threads} threads: one core is left to the page that watches")
    add_demo_data(project, seed=seed, reporter=reporter)
    config = ScoreConfig(method="exact", warm_up_learning_rate=WARM_UP_RATE, seed=seed)
    score = _part(folder, "score", config.to_dict())
    work_score(project, score, reporter)
    # the sentence model would take more than the whole demo may
    plane = _part(folder, "map", MapConfig(features="hidden", seed=seed).to_dict())
    work_map(project, plane, reporter)
    folder.write_result(run=score.result["run"], map=plane.result["map"])


def add_demo_data(project: Project, *, seed: int, reporter: Reporter) -> None:
    """Write the demo files into the project and add pool and target sets; what is there already stays."""
    reporter.phase("making the demo data", 0)
    files = write_demo(project.path / FOLDER, seed=seed)
    add_pool(project, files.pool, reporter=reporter)
    for name, path in files.targets.items():
        add_target(project, name, path, reporter=reporter)
    reporter.log(f"demo data: {project.counts().pool} samples in the pool, targets {', '.join(files.targets)}")


def _part(folder: JobFolder, kind: str, config: dict[str, object]) -> JobFolder:
    path = Path(folder.path / kind)
    if (path / "spec.json").exists():
        return JobFolder.open(path)
    return JobFolder.create(path, {**folder.spec, "kind": kind, "config": config, "run": None})
