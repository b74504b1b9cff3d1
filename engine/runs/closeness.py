"""How near the pool's rows lie to the sets beside it in the features of a map: paraphrases that share few words.

Notation: f_i features of pool row i, g_u of item u of a set, μ the mean of the pool's features, or zero for sentence
embeddings, which need none. closeness_i = max_u cos(f_i - μ, g_u - μ), with the item that attains it; NaN for rows
without features. Kept per map and set as the artifact `closeness-<key>`, so a new set asks for its own only.
Of a set with more than `MOST_ITEMS` items a seeded sample of so many is compared; `summary.json` and the column say so.
"""

from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import engine
from engine.curation.signals import CLOSENESS, closeness_key
from engine.data.signal_columns import SignalColumn, write_columns
from engine.data.signal_parts import BesideSet
from engine.progress import Reporter
from engine.runs.features import FEATURES_FILE
from engine.runs.sides import Side, embed_side, recipe_of
from engine.store.artifacts import create, find, load_array, save_array, write_json
from engine.store.project import Project
from engine.store.records import now

MOST_ITEMS = 20_000
CLOSE = {"sentence": 0.9, "hidden": 0.97}
"""Cosine from which on a row counts as too close to an item, by the kind of the map's features."""
_BLOCK = 4096
_TINY = 1e-12


def measure(project: Project, plane: Path, sides: Iterable[Side], *, reporter: Reporter) -> None:
    """Measure and keep the closeness to each side that lacks it; raises as `embed_side` does."""
    recipe = recipe_of(plane)
    for side in sides:
        key = closeness_key(plane.name, side.role, side.name, side.hash)
        if find(project.artifacts, CLOSENESS, key) is None:
            features = load_array(embed_side(project, plane, side, reporter=reporter), Path(FEATURES_FILE).stem)
            _keep(project, plane, side, np.asarray(features), recipe, key, reporter)


def nearest(
    pool: NDArray[np.floating[Any]], items: NDArray[np.floating[Any]], *, centred: bool, reporter: Reporter
) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    """closeness (n,) and the item (n,) that attains it, the first on ties; NaN and -1 where there are no features."""
    middle = _mean(pool) if centred else np.zeros(pool.shape[1], np.float32)
    others, known = _unit(items, middle)
    closeness, item = np.full(len(pool), np.nan, np.float32), np.full(len(pool), -1, np.int32)
    if not known.any():
        return closeness, item
    others[~known] = 0
    for start in range(0, len(pool), _BLOCK):
        reporter.check()
        rows, there = _unit(pool[start : start + _BLOCK], middle)
        cosines = rows @ others.T  # (block, items)
        cosines[:, ~known] = -np.inf
        best = cosines.argmax(axis=1)
        part = slice(start, start + len(rows))
        closeness[part] = np.where(there, cosines[np.arange(len(rows)), best], np.nan)
        item[part] = np.where(there, best, -1)
        reporter.advance(len(rows))
    return closeness, item


def _keep(
    project: Project, plane: Path, side: Side, items: np.ndarray, recipe: dict[str, Any], key: str, reporter: Reporter
) -> None:
    pool = load_array(plane, Path(FEATURES_FILE).stem)
    chosen = np.arange(len(items))
    if len(items) > MOST_ITEMS:
        chosen = np.sort(np.random.default_rng(0).choice(len(items), MOST_ITEMS, replace=False))
    called = BesideSet(side.role, side.name, ()).title
    reporter.phase(f"nearness to {called}", len(pool))
    kind = recipe["features"]
    closeness, item = nearest(pool, items[chosen], centred=kind == "hidden", reporter=reporter)
    item = np.where(item >= 0, chosen[item], -1).astype(np.int32)
    manifest = {"map": plane.name, "side": asdict(side), "created": now()}
    with create(project.artifacts, CLOSENESS, key, {**manifest, "version": engine.__version__}) as place:
        save_array(place, "closeness", closeness)
        save_array(place, "closeness_item", item)
        write_columns(place, [_column(side, called, kind, len(items))])
        write_json(place / "summary.json", {"rows": len(pool), "items": len(chosen), "of": len(items)})


def _column(side: Side, called: str, kind: str, items: int) -> SignalColumn:
    cut = f" A seeded sample of {MOST_ITEMS:,} of its {items:,} items was compared." if items > MOST_ITEMS else ""
    return SignalColumn(
        name=f"closeness to {called}",
        title=f"Closeness to {called}",
        kind="number",
        array="closeness",
        threshold=CLOSE[kind],
        guard=True,
        unit="cosine",
        group="Overlap",
        role=side.role,
        set=side.name,
        explanation=f"Largest cosine between the sample and any item of {called} in the map's features: the same "
        f"matter in other words.{cut}",
    )


def _mean(pool: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
    total, count = np.zeros(pool.shape[1]), 0
    for start in range(0, len(pool), 50_000):
        block = np.asarray(pool[start : start + 50_000], np.float32)
        finite = np.isfinite(block).all(axis=1)
        total += block[finite].sum(axis=0, dtype=np.float64)
        count += int(finite.sum())
    return (total / max(count, 1)).astype(np.float32)


def _unit(values: NDArray[np.floating[Any]], middle: NDArray[np.float32]) -> tuple[np.ndarray, NDArray[np.bool_]]:
    """The rows about `middle` at unit length, float32, and which have features at all (the others are zero)."""
    block = np.asarray(values, np.float32) - middle
    there = np.isfinite(block).all(axis=1)
    block[~there] = 0
    return block / np.maximum(np.linalg.norm(block, axis=1, keepdims=True), _TINY), there
