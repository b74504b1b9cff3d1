"""The signals of the desk's project in the form the job writes them: every column the engine knows, with drawn values.

The columns and the kinds of their arrays are what the engine finds for a few texts beside the same target sets, so that
the desk has all of them, those that are added later too; their values are drawn for n rows, with shares of flagged rows
as in real pools. What the catalogue knows (copies, licences) and nearness on the map are computed as the job does.
"""

from dataclasses import asdict, replace
from typing import Any

import numpy as np

from engine.curation.facts import Facts
from engine.curation.signals import signals_of
from engine.data.samples import prompt_text, response_text
from engine.data.signal_columns import SignalColumn, write_columns
from engine.data.signals import Signals, compute_signals
from engine.progress import Silent
from engine.runs.closeness import measure
from engine.runs.sides import STAGE as SIDE
from engine.runs.sides import all_sides, recipe_of, side_key
from engine.runs.signals_job import known_columns
from engine.store import artifacts
from engine.store.project import Project

LANGUAGES = ("en", "de", "fr", "es", "zh", "unknown")
_TEXTS = 64
_MADE_BY = {"made_by": "tests/bench/desk_signals.py"}
_MARKED, _SHARED, _COPIES = 0.01, 0.02, 0.03


def renew(project: Project, *, seed: int) -> None:
    """Add signals and nearness where the project has not all that the engine knows: an older desk, or none."""
    found = _described(project)
    known = set(signals_of(Facts(project)).names)
    if not {column.name for column in found.columns} <= known:
        _add(project, found, seed=seed)
    _add_nearness(project, seed=seed + 1)


def _described(project: Project) -> Signals:
    """The signals of the first few rows, for their columns and arrays."""
    sets = {t.name: _pairs(project, "target", t.name, t.rows) for t in project.targets()}
    return compute_signals(_pairs(project, "pool", "", min(_TEXTS, project.counts().pool)), sets)


def _pairs(project: Project, role: str, name: str, rows: int) -> list[tuple[str, str]]:
    found = project.rows(range(rows), role=role, set_name=name)
    return [(prompt_text(row.messages), response_text(row.messages)) for row in found]


def _add(project: Project, found: Signals, *, seed: int) -> None:
    n, rng = project.counts().pool, np.random.default_rng(seed)
    columns = [replace(c, categories=LANGUAGES) if c.name == "language" else c for c in found.columns]
    arrays = _drawn(found, columns, n, rng) | {"words": np.asarray(project.column("words"), np.int32)}
    beside = [asdict(side) for side in all_sides(project)]
    key = artifacts.artifact_key(stage="signals", bench="desk", rows=n, seed=seed, columns=sorted(arrays))
    with artifacts.create(project.artifacts, "signals", key, _MADE_BY) as place:
        for name, array in arrays.items():
            artifacts.save_array(place, name, array)
        write_columns(place, (*known_columns(project, place, n), *columns))
        summary = {"rows": n, "targets": [side["name"] for side in beside], "beside": beside, "columns": sorted(arrays)}
        artifacts.write_json(place / "summary.json", summary)
    project.add_signals(f"signals-{key}", n, project.pool_hash())


def _drawn(found: Signals, columns: list[SignalColumn], n: int, rng: np.random.Generator) -> dict[str, Any]:
    """An array (n,) in the place of each that was found, of its kind; what goes with another follows it."""
    codes = {column.array: len(column.categories) for column in columns if column.kind == "category"}
    arrays: dict[str, Any] = {}
    for name, like in sorted(found.arrays.items()):  # so that what follows another comes after it
        if name in codes:
            arrays[name] = (codes[name] * rng.random(n) ** 4).astype(like.dtype)  # most have the first
        elif name.endswith("_of"):
            arrays[name] = _copies(n, rng)
        elif like.dtype == bool:
            arrays[name] = rng.random(n) < _MARKED
        elif np.issubdtype(like.dtype, np.floating):
            shared = np.where(rng.random(n) < _SHARED, rng.random(n), 0)
            arrays[name] = (rng.standard_normal(n) if name.endswith("_z") else shared).astype(like.dtype)
        else:
            of = arrays.get(name.rpartition("_")[0])
            item = rng.integers(0, 8, n)
            arrays[name] = (item if of is None else np.where(of > 0, item, -1)).astype(like.dtype)
    return arrays


def _copies(n: int, rng: np.random.Generator) -> np.ndarray:
    """int64 (n,): the first row of the group that a row repeats, -1 for none; groups of a few, and one large."""
    group = np.full(n, -1, np.int64)
    later = np.sort(rng.choice(np.arange(1, n), max(1, int(n * _COPIES)), replace=False))
    first = np.setdiff1d(np.arange(n), later)
    before = np.searchsorted(first, later)
    group[later] = first[(before * rng.random(len(later)) ** 2).astype(np.int64)]
    return group


def _add_nearness(project: Project, *, seed: int) -> None:
    """Nearness of the pool to items that lie anywhere among it on the map, measured as the job does."""
    record, rng = project.latest_map(), np.random.default_rng(seed)
    if record is None:
        return
    plane = project.artifacts / record.artifact
    features, recipe = artifacts.load_array(plane, "features"), recipe_of(plane)
    for side in all_sides(project):
        key = side_key(recipe, side)
        if artifacts.find(project.artifacts, SIDE, key) is None:
            items = np.asarray(features[np.sort(rng.choice(len(features), side.rows, replace=False))])
            with artifacts.create(project.artifacts, SIDE, key, _MADE_BY) as at:
                artifacts.save_array(at, "features", items)
                artifacts.write_json(at / "recipe.json", recipe)
    measure(project, plane, all_sides(project), reporter=Silent())
