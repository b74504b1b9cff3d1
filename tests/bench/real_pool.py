"""The full pass over the real mixture through the command line, as a practitioner would run it.

Labels (`source`) are read only here, after scoring, to judge the result. Spearman is given over every row, over the
propagated rows alone (landmark and audit rows have their exact value, which flatters the whole), and inside each
source, because a method that only tells styles apart passes the first and fails the last.
"""

import json
import os
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from scipy.stats import spearmanr
from shell import SHARED_DATA, NotRun, engine

EVERY = int(os.environ.get("TOUCHSTONE_EVERY", "1"))  # 4: every fourth row, with the default number of landmarks
LANDMARKS = ("--landmarks", "512") if EVERY == 1 else ()
TARGETS = ("gsm8k", "codegen")  # each is also the label of its source in the pool
METHODS: dict[str, tuple[str, ...]] = {
    "gradient": ("--method", "landmark", *LANDMARKS),
    "hidden": ("--method", "landmark", *LANDMARKS, "--set", "embedding=hidden"),
    "jvp": ("--method", "landmark", *LANDMARKS, "--set", "embedding=jvp"),
    "random": ("--method", "random"),
    "exact": ("--method", "exact"),
}


def run(folder: Path) -> dict[str, object]:
    """Seconds per phase, the on-target share of the selected 10 %, and Spearman of each method against `exact`."""
    if not SHARED_DATA.exists():
        raise NotRun("the real data is absent: shared/data/ beside the checkout")
    project = folder / "project"
    pool = folder / "pool.jsonl"
    pool.write_bytes(b"".join(_lines()))
    seconds = {"add the pool": engine("add-pool", project, pool).seconds}
    for name in TARGETS:
        engine("add-target", project, name, SHARED_DATA / f"target_{name}.jsonl")
    shares = {name: _full_pass(folder, project, name, seconds) for name in TARGETS}
    seconds["map"] = engine("map", project).seconds
    for name, options in METHODS.items():
        seconds[f"score both targets, {name}"] = engine("score", project, *options, "--run", name).seconds
    sources = _labels()
    found = {name: _read(folder, project, name) for name in METHODS}
    agreement = {
        target: {
            name: _agreement(found["exact"][target], scores[target], scores["status"], sources)
            for name, scores in found.items()
            if name != "exact"
        }
        for target in TARGETS
    }
    return {
        "rows": len(sources),
        "seconds": {k: round(v, 1) for k, v in seconds.items()},
        "share_on_target": shares,
        "spearman_against_exact": agreement,
    }


def _full_pass(folder: Path, project: Path, name: str, seconds: dict[str, float]) -> float:
    """Score for one target, select 10 %, export, and give the share of exported rows that are of its source."""
    options = ("--targets", name, "--run", f"{name} alone")
    seconds[f"score {name}"] = engine("score", project, *METHODS["gradient"], *options).seconds
    chosen = ("--size", "10%", "--strategy", "top", "--name", name)
    seconds[f"select {name}"] = engine("select", project, "--run", f"{name} alone", *chosen).seconds
    out = folder / f"{name}.jsonl"
    seconds[f"export {name}"] = engine("export", project, name, out).seconds
    with out.open(encoding="utf-8") as lines:
        labels = [json.loads(line)["source"] for line in lines]
    return round(labels.count(name) / len(labels), 4)


def _lines() -> list[bytes]:
    return (SHARED_DATA / "pool_mixture.jsonl").read_bytes().splitlines(keepends=True)[::EVERY]


def _labels() -> np.ndarray:
    """(n,) the `source` of each pool row, in file order."""
    return np.array([json.loads(line)["source"] for line in _lines()])


def _read(folder: Path, project: Path, run: str) -> dict[str, np.ndarray]:
    """Status and one score column (n,) per target of a run; `random` has one score for all targets."""
    out = folder / f"{run}.parquet"
    engine("scores", project, "--run", run, "--out", out)
    table = pq.read_table(out)
    columns = {name: f"target:{name}" if f"target:{name}" in table.column_names else "score" for name in TARGETS}
    values = {name: table[column].to_numpy().astype(float) for name, column in columns.items()}
    return values | {"status": np.array(table["status"].to_pylist())}


def _agreement(exact: np.ndarray, score: np.ndarray, status: np.ndarray, sources: np.ndarray) -> dict[str, object]:
    both = np.isfinite(exact) & np.isfinite(score)
    unseen = both & (status == "propagated") if (status == "propagated").any() else both
    within = {s: _spearman(exact, score, unseen & (sources == s)) for s in sorted(set(sources))}
    top = round(0.1 * both.sum())
    best = [set(np.argsort(-np.where(both, x, -np.inf), kind="stable")[:top]) for x in (exact, score)]
    return {
        "all": _spearman(exact, score, both),
        "propagated": _spearman(exact, score, unseen),
        "within_source": within,
        "within_mean": round(float(np.mean(list(within.values()))), 3),
        "top_10_percent_overlap": round(len(best[0] & best[1]) / top, 3),
    }


def _spearman(exact: np.ndarray, score: np.ndarray, rows: np.ndarray) -> float:
    return round(float(spearmanr(exact[rows], score[rows]).statistic), 3)
