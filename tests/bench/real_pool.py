"""The full pass over the real mixture through the command line, as a practitioner would run it.

Labels (`source`) are read only here, after scoring, to judge the result. Spearman is given over every row, over the
propagated rows alone (landmark and audit rows have their exact value, which flatters the whole), and inside each
source, because a method that only tells styles apart passes the first and fails the last.
"""

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from scipy.stats import spearmanr
from shell import SHARED_DATA, NotRun, Ran, engine

LANDMARKS = "512"
SOURCE_OF = {"gsm8k": "gsm8k", "codegen": "codegen"}


def run(folder: Path) -> dict[str, object]:
    """Seconds per phase, the on-target share of the selected 10 %, and Spearman of each method against `exact`."""
    if not SHARED_DATA.exists():
        raise NotRun(f"the real data is absent: {SHARED_DATA.name}/ beside the checkout's parent")
    project = folder / "project"
    seconds = {"add": engine("add-pool", project, SHARED_DATA / "pool_mixture.jsonl").seconds}
    for name in SOURCE_OF:
        seconds["add"] += engine("add-target", project, name, SHARED_DATA / f"target_{name}.jsonl").seconds
    sources = _labels()
    shares = {}
    for name, label in SOURCE_OF.items():
        seconds[f"score {name}"] = _score(project, f"{name}-hidden", name, "landmark").seconds
        seconds[f"select {name}"] = engine(
            "select", project, "--run", f"{name}-hidden", "--size", "10%", "--strategy", "top", "--name", name
        ).seconds
        out = folder / f"{name}.jsonl"
        seconds[f"export {name}"] = engine("export", project, name, out).seconds
        shares[name] = _share(out, label)
    seconds["map"] = engine("map", project).seconds
    agreement = {name: _against_exact(folder, project, name, sources, seconds) for name in SOURCE_OF}
    return {
        "landmarks": int(LANDMARKS),
        "rows": len(sources),
        "seconds": {k: round(v, 1) for k, v in seconds.items()},
        "share_on_target": shares,
        "spearman_against_exact": agreement,
    }


def _score(project: Path, run: str, target: str, method: str, *settings: str) -> Ran:
    options = ["--landmarks", LANDMARKS] if method == "landmark" else []
    return engine("score", project, "--method", method, "--targets", target, "--run", run, *options, *settings)


def _labels() -> np.ndarray:
    """(n,) the `source` of each pool row, in file order."""
    with (SHARED_DATA / "pool_mixture.jsonl").open(encoding="utf-8") as lines:
        return np.array([json.loads(line)["source"] for line in lines])


def _share(exported: Path, label: str) -> float:
    rows = [json.loads(line) for line in exported.open(encoding="utf-8")]
    return round(sum(label in row["source"].lower() for row in rows) / len(rows), 4)


def _against_exact(
    folder: Path, project: Path, name: str, sources: np.ndarray, seconds: dict[str, float]
) -> dict[str, object]:
    seconds[f"exact {name}"] = _score(project, f"{name}-exact", name, "exact").seconds
    seconds[f"jvp {name}"] = _score(project, f"{name}-jvp", name, "landmark", "--set", "embedding=jvp").seconds
    seconds[f"gradient {name}"] = _score(
        project, f"{name}-gradient", name, "landmark", "--set", "embedding=gradient"
    ).seconds
    seconds[f"random {name}"] = _score(project, f"{name}-random", name, "random").seconds
    exact, _ = _read(folder, project, f"{name}-exact")
    return {
        method: _agreement(exact, *_read(folder, project, f"{name}-{method}"), sources)
        for method in ("hidden", "jvp", "gradient", "random")
    }


def _read(folder: Path, project: Path, run: str) -> tuple[np.ndarray, np.ndarray]:
    out = folder / f"{run}.parquet"
    engine("scores", project, "--run", run, "--out", out)
    table = pq.read_table(out)
    status = np.array(table["status"].to_pylist())
    return table["score"].to_numpy(zero_copy_only=False).astype(float), status


def _agreement(exact: np.ndarray, score: np.ndarray, status: np.ndarray, sources: np.ndarray) -> dict[str, object]:
    both = np.isfinite(exact) & np.isfinite(score)
    unseen = both & (status != "exact")
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
