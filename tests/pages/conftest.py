"""Projects for the page tests, built through the real store with small synthetic results, and a way to open a page."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import streamlit as st
from streamlit.components.v2 import manifest_scanner
from streamlit.testing.v1 import AppTest

from engine.data.samples import BadRow, Message, Row, SourceInfo
from engine.runs.config import ScoreConfig
from engine.store import artifacts
from engine.store.project import Project
from engine.store.records import MapRecord, RunRecord
from tests.copies import built_once

ROOT = Path(__file__).resolve().parents[2]
N = 60
HOSTILE = (
    "![x](https://evil.example/p.png) <img src=x onerror=alert(1)> **bold** :red[red] :material/home: $x^2$ "
    "`code` [link](javascript:alert(1)) www.evil.example mail@evil.example :smile: ~~gone~~ # head"
)
SETS = ["maths", "code"]


@dataclass
class Pages:
    """Opens pages of the app on projects under a temporary home."""

    home: Path

    def open(self, page: str, project: Project | None = None, **address: str) -> AppTest:
        """The page, run once with the project (and more) in its address."""
        test = AppTest.from_file(str(ROOT / "app.py"), default_timeout=180)
        if project is not None:
            test.query_params["project"] = project.name
        for name, value in address.items():
            test.query_params[name] = value
        if page != "app.py":
            test.switch_page(str(ROOT / "pages" / page))
        return test.run()


@pytest.fixture(scope="session", autouse=True)
def components_are_looked_for_once() -> Iterator[None]:
    """Every opening of a page looks through all installed packages for components, which takes half a second."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(manifest_scanner, "scan_component_manifests", cache(manifest_scanner.scan_component_manifests))
        yield


@pytest.fixture
def hostile() -> str:
    """Text that a careless page would render as Markdown, HTML or an address."""
    return HOSTILE


@pytest.fixture
def pages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Pages:
    """A fresh home for projects, and empty caches."""
    home = tmp_path / "projects"
    home.mkdir()
    monkeypatch.setenv("TOUCHSTONE_HOME", str(home))
    monkeypatch.delenv("TOUCHSTONE_ROOTS", raising=False)
    st.cache_resource.clear()
    return Pages(home)


@pytest.fixture
def make_project(pages: Pages) -> Callable[..., Project]:
    """A function that makes a project; switch off what it should lack. `full`: its run has all that a run can have."""

    def make(
        name: str = "demo", *, pool: bool = True, targets: bool = True, run: bool = True, plane: bool = True,
        text: str = "", rows: int = N, full: bool = False,
    ) -> Project:  # fmt: skip
        return build(
            pages.home / name, pool=pool, targets=targets, run=run, plane=plane, text=text, rows=rows, full=full
        )

    return make


@pytest.fixture
def add_run() -> Callable[..., RunRecord]:
    """A function that adds one more run to a project."""
    return _add_run


def build(
    path: Path, *, pool: bool = True, targets: bool = True, run: bool = True, plane: bool = True, text: str = "",
    rows: int = N, full: bool = False,
) -> Project:  # fmt: skip
    """A project at `path`, as `make_project` makes it."""
    _build(path, pool=pool, targets=targets, run=run, plane=plane, text=text, rows=rows, full=full)
    return Project(path)


@built_once
def _build(path: Path, *, pool: bool, targets: bool, run: bool, plane: bool, text: str, rows: int, full: bool) -> None:
    project = Project.create(path)
    if pool:
        project.add_rows("pool", "", _source("pool.jsonl", "a"), _pool(rows, text))
    if targets:
        for number, target in enumerate(SETS):
            project.add_rows("target", target, _source(f"{target}.jsonl", str(number)), _target(target))
    if pool and run:
        _add_run(project, "landmark", seed=0, full=full)
    if pool and plane:
        add_map(project)


def _source(name: str, digit: str) -> SourceInfo:
    mapping = {"schema": "chat", "fields": {"messages": "messages"}}
    return SourceInfo(f"/data/{name}", digit * 64, 1234, "jsonl", mapping)


def _pool(rows: int, text: str) -> list[Row | BadRow]:
    made: list[Row | BadRow] = []
    for at in range(rows):
        messages = (
            Message("user", f"{text} question {at}".strip()),
            Message("assistant", f"{text} answer {at}".strip()),
        )
        fields = {"source": "hostile " + text if text and at == 0 else f"source {at % 3}", "task": f"t{at % 2}"}
        made.append(Row(at + 1, f'{{"id":"row-{at}"}}', f"row-{at}", messages, fields))
    made.append(BadRow(rows + 1, "broken JSON: Expecting value", text + "{not json"))
    return made


def _target(name: str) -> list[Row | BadRow]:
    return [
        Row(at + 1, f'{{"n":{at}}}', None, (Message("user", f"{name} {at}"), Message("assistant", "yes")), {})
        for at in range(4)
    ]


def _add_run(project: Project, name: str, *, seed: int, full: bool = False, **changed: Any) -> RunRecord:
    """A scoring artifact with two target columns, NaN in its last row, and its record.

    Without `full` it is as the first version wrote it; `changed` replaces entries of its summary.
    """
    n = project.counts().pool
    columns = np.random.default_rng(seed).normal(0, 0.1, (n, 2)).astype(np.float32)
    columns[-1] = np.nan
    score = columns.mean(axis=1)
    status = np.where(np.arange(n) < 10, 1, 2).astype(np.uint8)
    status[-1] = 0
    roles = np.zeros(n, np.uint8)
    roles[:10], roles[10:20], roles[20] = 1, 2, 4 | 8
    summary = {
        "method": "landmark",
        "unit": "cosine",
        "model": {"name": "builtin", "kind": "builtin"},
        "sets": [{"name": s, "rows": 4, "items": [0, 1, 2, 3]} for s in SETS],
        "counts": {"exact": 10, "propagated": n - 11, "unscorable": 1},
        "fidelity": {
            "spearman": 0.91, "interval": [0.86, 0.95], "level": 0.9, "n": 10, "left_out": 0, "top_overlap": 0.7,
            "r2": 0.8, "length_correlation": 0.41, "length_correlation_exact": 0.4, "reasons": {},
            "per_set": {s: {"spearman": 0.9, "interval": [0.8, 0.95], "n": 10, "reason": ""} for s in SETS},
        },
        "notes": ["Scored with the built-in model: its scores need not transfer to the model you will train."],
        "phases": {"embeddings": 1.5},
        "problems": {str(n - 1): "no response tokens"},
    }  # fmt: skip
    if full:
        summary |= full_summary()
    summary |= changed
    matrix = np.repeat(columns, 4, axis=1)
    loss = 2 + np.nan_to_num(score)
    loss[[5, 8]] = 50  # row 5 is cut off, row 8 has an answer nobody expects
    arrays = {"score": score, "columns": columns, "matrix": matrix, "status": status, "roles": roles, "loss": loss}
    if full:
        roles[10:15] |= 1 | 16
        roles[21:23] = 32
        arrays |= _intervals(score, status)
    key = artifacts.artifact_key(stage="scores", name=name, seed=seed, changed=sorted(changed))
    with artifacts.create(project.artifacts, "scores", key, {"test": True}) as place:
        for array_name, array in arrays.items():
            np.save(Path(place) / f"{array_name}.npy", array)
        artifacts.write_json(Path(place) / "summary.json", summary)
    config = ScoreConfig(seed=seed).to_dict()
    if full:
        config |= {"target_weights": ["maths=2"], "avoid": ["code"], "refine": "10%"}
    else:
        config = {name: config[name] for name in ("method", "model", "targets", "landmarks", "seed", "unit")}
    record = RunRecord(
        name=name, method="landmark", model="builtin", config=config, artifact=f"scores-{key}", rows=n,
        pool_hash=project.pool_hash(), targets=SETS, state="done", summary=summary,
    )  # fmt: skip
    return project.add_run(record)


def _intervals(score: np.ndarray, status: np.ndarray) -> dict[str, np.ndarray]:
    """sigma, low and high: nothing where measured, NaN without a score, wide in the second cluster of `add_map`."""
    sigma = np.where(np.arange(len(score)) % 4 == 2, 0.1, 0.03).astype(np.float32)
    sigma[status == 1], sigma[status == 0] = 0, np.nan
    return {"sigma": sigma, "low": score - 2 * sigma, "high": score + 2 * sigma, "variance": sigma**2}


def full_summary() -> dict[str, Any]:
    """The entries that a landmark run adds to the summary of the first version."""
    trial = {"kernel": "rbf", "bandwidth_factor": 1.0, "ridge": 0.01, "standardise": True, "spearman": 0.81}
    better = {"kernel": "linear", "bandwidth_factor": 1.0, "ridge": 0.1, "standardise": False, "spearman": 0.86}
    return {
        "preset": "",
        "sets": [{"name": s, "rows": 4, "items": [0, 1, 2, 3], "weight": w} for s, w in zip(SETS, (2.0, -1.0))],
        "norm": "true gradient",
        "conditioning": "plain",
        "parameter_set": "1,474,560 weights of 42 layers",
        "uncertainty": {
            "level": 0.9, "coverage": 0.91, "by_decile": [0.9, 0.88, 0.93, 0.9, 0.9, 0.9, 0.9, 0.9, 0.9, 0.91],
            "width": 0.12, "relative_width": 0.4, "n": 180, "calibrated_on": 540,
            "sentence": "90% intervals hold the exact score of 91% of 180 audit samples.",
        },
        "embedding": {
            "name": "gradient", "dim": 4096, "sentence": "Gradients were the most faithful for their cost.",
            "candidates": [
                {"name": "gradient", "spearman": 0.86, "seconds_per_row": 0.004, "note": ""},
                {"name": "hidden", "spearman": 0.71, "seconds_per_row": 0.001, "note": ""},
                {"name": "jvp", "spearman": None, "seconds_per_row": None, "note": "no math attention"},
            ],
        },
        "landmark_choice": {"strategy": "k-means++", "notes": ["2 identical rows were passed over."]},
        "tuning": {
            "sentence": "A linear kernel did clearly better than the usual settings.",
            "chosen": {name: value for name, value in better.items() if name != "spearman"},
            "default_spearman": 0.81, "best_spearman": 0.86, "rows": 5, "trials": [trial, better],
        },
        "adaptive": {
            "rounds": [{"landmarks": 10, "spearman": 0.7}, {"landmarks": 26, "spearman": None}],
            "note": "The tuning slice reached Spearman 0.86.",
        },
        "refinement": {
            "size": "10%", "k": 6, "rows": 2, "rounds": 1, "stable": True, "expected_errors": 0.1,
            "sentence": "2 rows near the cut at 6 were measured; the best 6 are stable.",
        },
        "cost": [
            {"name": "model and warm-up", "rows": 0, "tokens": 0, "flops": 0.0, "seconds": 2.5, "predicted": None},
            {"name": "embeddings", "rows": 60, "tokens": 6000, "flops": 1.2e12, "seconds": 30.0, "predicted": 24.0},
            {"name": "landmark gradients", "rows": 10, "tokens": 1000, "flops": 3e11, "seconds": 9, "predicted": 10.0},
        ],
        "notes": ["Gradients were the most faithful for their cost.", "A word of its own."],
    }  # fmt: skip


def add_map(project: Project) -> None:
    """A map and signals: row 3 repeats row 2, row 4 leaks a target item, row 5 looks cut off."""
    n = project.counts().pool
    generator = np.random.default_rng(1)
    neighbours = np.stack([(np.arange(n) + step) % n for step in (1, 2, 3)], axis=1).astype(np.int32)
    plane = {
        "xy": generator.uniform(-1, 1, (n, 2)).astype(np.float32),
        "neighbours": neighbours,
        "distances": np.full((n, 3), 0.1, np.float32),
        "cluster": (np.arange(n) % 4 - 1).astype(np.int32),
        "fitted": np.ones(n, bool),
        "centres": np.zeros((3, 2), np.float32),
    }
    group, leak, cut = np.full(n, -1, np.int64), np.zeros(n, np.float32), np.zeros(n, bool)
    group[3], leak[4], cut[5] = 2, 0.9, True  # the first of a group bears none
    signals = {
        "near_duplicate_of": group,
        "leak": leak,
        "leak_target": np.where(leak > 0, 0, -1).astype(np.int64),
        "looks_truncated": cut,
        "words": np.full(n, 4, np.int32),
    }
    described = {"labels": ["sums, add", "code, python", "words"], "notes": ["A test map."], "trust": 0.9}
    _keep(project, "map", plane, {"map.json": described})
    _keep(project, "signals", signals, {})
    record = MapRecord("map-test", "map-0123456789abcdef", n, project.pool_hash(), "hidden")
    project.add_map(record)
    project.add_signals("signals-0123456789abcdef", n, project.pool_hash())


def _keep(project: Project, stage: str, arrays: dict[str, np.ndarray], files: dict[str, object]) -> None:
    with artifacts.create(project.artifacts, stage, "0123456789abcdef", {"test": True}) as place:
        for name, array in arrays.items():
            np.save(Path(place) / f"{name}.npy", array)
        for name, value in {**files, "summary.json": {}}.items():
            artifacts.write_json(Path(place) / name, value)
