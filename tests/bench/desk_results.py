"""The artifacts of the desk's project: three scoring runs, a map and signals, in the form the jobs write them.

Notation: n pool rows, t target sets of m items each, l landmarks. Arrays are drawn at once, with a structure that makes
pages behave as on real data: scores go with topics, clusters are topics, neighbours lie close on the map.
"""

from pathlib import Path
from typing import Any

import desk_signals
import numpy as np
from desk_rows import TARGET_ROWS, TARGETS, TOPICS, Drawn

from engine.models.sources import resolve
from engine.runs.config import ScoreConfig
from engine.runs.map_config import MapConfig
from engine.store import artifacts
from engine.store.project import Project
from engine.store.records import MapRecord, RunRecord

LANDMARKS, WARM_UP, AUDIT = 1024, 512, 300
NEIGHBOURS, WIDTH, EMBEDDED = 15, 128, 64
RUNS = {"landmark": "landmark", "likeness": "rds", "random": "random"}
_BLOCK = 50_000


def add_all(project: Project, drawn: Drawn, *, seed: int) -> None:
    """Everything a project gets from jobs, recorded in its catalogue."""
    for number, (name, method) in enumerate(RUNS.items()):
        _add_run(project, drawn, name, method, seed=seed + 10 + number)
    xy = positions(drawn.topics, seed=seed + 20)
    _add_map(project, drawn, xy, seed=seed + 21)
    desk_signals.renew(project, seed=seed + 22)


def positions(topics: np.ndarray, *, seed: int) -> np.ndarray:
    """float32 (n, 2) within the unit square's double: a few blobs per topic, with strands between them."""
    rng = np.random.default_rng(seed)
    n, blobs = len(topics), 5
    at = rng.uniform(-0.85, 0.85, (TOPICS, 1, 2)) + rng.normal(0, 0.09, (TOPICS, blobs, 2))
    which, spread = rng.integers(0, blobs, n), rng.gamma(2.0, 0.012, (n, 1))
    xy = at[topics, which] + rng.normal(0, 1, (n, 2)) * spread
    along = rng.random(n) < 0.05
    xy[along] += rng.random((int(along.sum()), 1)) * (at[(topics + 1) % TOPICS, which] - xy)[along]
    return np.clip(xy, -1, 1).astype(np.float32)


def _add_run(project: Project, drawn: Drawn, name: str, method: str, *, seed: int) -> None:
    rng, n = np.random.default_rng(seed), len(drawn.topics)
    liked = rng.normal(0, 0.05, (TOPICS, len(TARGETS)))
    shared = rng.normal(0, 0.08, n)[:, None]
    columns = (liked[drawn.topics] + shared + rng.normal(0, 0.05, (n, len(TARGETS)))).astype(np.float32)
    if method == "random":
        columns = rng.random((n, len(TARGETS))).astype(np.float32)
    gone = rng.choice(n, n // 500, replace=False)
    columns[gone] = np.nan
    status, roles = _status(n, gone, method, rng)
    score = columns.mean(axis=1)
    arrays = {
        "score": score, "columns": columns, "status": status, "roles": roles,
        "matrix": _matrix(columns, rng), "loss": (2 + rng.gamma(2.0, 0.3, n)).astype(np.float32),
    }  # fmt: skip
    if method == "landmark":
        arrays |= _intervals(score, status, rng) | {"features": _features(drawn, EMBEDDED, seed=seed + 1)}
    if method == "random":
        arrays |= {"columns": np.zeros((n, 0), np.float32), "matrix": np.zeros((n, 0), np.float32)}
    summary = _summary(method, score, status)
    config = ScoreConfig(method=method, seed=seed).to_dict()  # type: ignore[arg-type]
    artifact = _keep(project, "scores", {"run": name, "seed": seed, "rows": n}, arrays, {"summary.json": summary})
    targets = [] if method == "random" else list(TARGETS)
    record = RunRecord(name, method, "builtin", config, artifact, n, project.pool_hash(), targets, summary=summary)
    project.add_run(record)


def _status(n: int, gone: np.ndarray, method: str, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """1 exact, 2 propagated, 0 without a score; and the roles of rows, of a run by landmarks alone."""
    roles = np.zeros(n, np.uint8)
    status = np.full(n, 2 if method == "landmark" else 1, np.uint8)
    if method == "landmark":
        usable = np.setdiff1d(rng.permutation(n)[: 4 * (LANDMARKS + WARM_UP + AUDIT)], gone, assume_unique=True)
        marked = rng.permutation(usable)
        landmarks, audit = marked[: min(LANDMARKS, n // 20)], marked[LANDMARKS : LANDMARKS + min(AUDIT, n // 50)]
        roles[landmarks], roles[audit] = 1, 2
        roles[marked[-min(WARM_UP, n // 20) :]] |= 4
        status[landmarks] = status[audit] = 1
    status[gone] = 0
    return status, roles


def _matrix(columns: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """float32 (n, t m): each target's column with the items' own noise, block by block."""
    out = np.repeat(columns, TARGET_ROWS, axis=1)
    for start in range(0, len(out), _BLOCK):
        block = out[start : start + _BLOCK]
        block += rng.normal(0, 0.02, block.shape).astype(np.float32)
    return out


def _intervals(score: np.ndarray, status: np.ndarray, rng: np.random.Generator) -> dict[str, np.ndarray]:
    sigma = rng.gamma(4.0, 0.008, len(score)).astype(np.float32)
    sigma[status == 1], sigma[status == 0] = 0, np.nan
    half = np.float32(1.645) * sigma
    return {"sigma": sigma, "low": score - half, "high": score + half, "variance": (sigma * 10) ** 2}


def _features(drawn: Drawn, width: int, *, seed: int) -> np.ndarray:
    """float16 (n, width): the topic's direction and noise."""
    rng, n = np.random.default_rng(seed), len(drawn.topics)
    middles = rng.normal(0, 1, (TOPICS, width)).astype(np.float32)
    out = np.empty((n, width), np.float16)
    for start in range(0, n, _BLOCK):
        topics = drawn.topics[start : start + _BLOCK]
        out[start : start + _BLOCK] = middles[topics] + rng.normal(0, 0.6, (len(topics), width))
    return out


def _summary(method: str, score: np.ndarray, status: np.ndarray) -> dict[str, Any]:
    exact, propagated, none = (int((status == code).sum()) for code in (1, 2, 0))
    sets = [{"name": s, "rows": TARGET_ROWS, "items": list(range(TARGET_ROWS)), "weight": 1.0} for s in TARGETS]
    summary: dict[str, Any] = {
        "method": method, "unit": "cosine", "model": {"name": "builtin", "kind": "builtin"},
        "sets": [] if method == "random" else sets,
        "counts": {"exact": exact, "propagated": propagated, "unscorable": none},
        "notes": ["Made up by tests/bench/desk_results.py: the scores mean nothing."], "phases": {"embeddings": 1.5},
    }  # fmt: skip
    if method == "landmark":
        per_set = {s: {"spearman": 0.88, "interval": [0.84, 0.92], "n": AUDIT, "reason": ""} for s in TARGETS}
        summary |= {
            "fidelity": {
                "spearman": 0.9, "interval": [0.87, 0.93], "level": 0.9, "n": AUDIT, "left_out": 0,
                "top_overlap": 0.7, "r2": 0.8, "length_correlation": 0.1, "length_correlation_exact": 0.1,
                "reasons": {}, "per_set": per_set,
            },
            "ridge": {"kernel": "rbf", "bandwidth": None, "ridge": 0.01, "bandwidth_factor": 1.0},
        }  # fmt: skip
    return summary


def _add_map(project: Project, drawn: Drawn, xy: np.ndarray, *, seed: int) -> None:
    near = _neighbours(drawn.topics, xy)
    gap = np.empty(near.shape, np.float32)
    for column in range(near.shape[1]):
        gap[:, column] = np.hypot(*(xy - xy[near[:, column]]).T)
    best_first = np.argsort(gap, axis=1, kind="stable")
    order = np.argsort(-np.bincount(drawn.topics, minlength=TOPICS), kind="stable")
    place = np.argsort(order, kind="stable")
    cluster = place[drawn.topics].astype(np.int32)
    cluster[np.random.default_rng(seed).random(len(xy)) < 0.03] = -1
    centres = np.stack([np.median(xy[cluster == code], axis=0) for code in range(TOPICS)]).astype(np.float32)
    arrays = {
        "xy": xy, "neighbours": np.take_along_axis(near, best_first, 1),
        "distances": np.clip(np.take_along_axis(gap, best_first, 1), 0, 2), "cluster": cluster,
        "fitted": np.ones(len(xy), bool), "centres": centres,
        "features": _features(drawn, WIDTH, seed=seed + 1),
    }  # fmt: skip
    recipe = {"features": "hidden", "model": resolve("builtin").sha256, "max_length": 512, "precision": "float32"}
    described = {"labels": [f"topic {int(t)}, made up" for t in order], "notes": [], "trust": 0.9}
    files = {"map.json": described, "recipe.json": recipe, "summary.json": {"rows": len(xy)}}
    artifact = _keep(project, "map", {"rows": len(xy), "seed": seed}, arrays, files)
    project.add_map(MapRecord("map-1", artifact, len(xy), project.pool_hash(), "hidden"))


def _neighbours(topics: np.ndarray, xy: np.ndarray) -> np.ndarray:
    """int32 (n, k): the rows beside each other along a curve through its topic's cells, which is near enough."""
    cell = np.clip((xy + 1) * 128, 0, 255).astype(np.int64)
    along = np.where(cell[:, 1] % 2, 255 - cell[:, 0], cell[:, 0])
    order = np.lexsort((along, cell[:, 1], topics))
    steps = [step for step in range(-(NEIGHBOURS // 2) - 1, NEIGHBOURS // 2 + 2) if step][:NEIGHBOURS]
    out = np.empty((len(xy), NEIGHBOURS), np.int32)
    for column, step in enumerate(steps):
        out[order, column] = np.roll(order, step)
    return out


def _keep(
    project: Project, stage: str, parts: dict[str, Any], arrays: dict[str, np.ndarray], files: dict[str, Any]
) -> str:
    """Write an artifact and return its folder's name."""
    key = artifacts.artifact_key(stage=stage, bench="desk", **parts)
    manifest: dict[str, Any] = {"made_by": "tests/bench/desk_results.py"}
    if stage == "map":
        manifest["config"] = MapConfig(features="hidden").to_dict()
    with artifacts.create(project.artifacts, stage, key, manifest) as place:
        for name, array in arrays.items():
            artifacts.save_array(Path(place), name, array)
        for name, value in files.items():
            artifacts.write_json(Path(place) / name, value)
    return f"{stage}-{key}"
