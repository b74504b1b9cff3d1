"""Searching by likeness: the rows of the map whose features lie nearest to those of a question or of a sample.

Notation: m rows on the latest map with features (m, d); likeness is the cosine of the angle between two of them, as
the map's neighbours are found by. The features are of a whole sample, prompt and response together, unless a *side*
was encoded by itself. All m rows are compared, so the nearest are exact; they are read in blocks.

The vector of a question is an artifact `query-<key>`, made where models may be loaded (`engine.runs.finding`), found
here: a filter by meaning in a link, a selection or a manifest needs no model. Does not load models.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from engine.curation.facts import Array, Facts
from engine.errors import EngineError
from engine.store.artifacts import artifact_key, find, load_array, read_json

QUERY, SIDE = "query", "side-meaning"
FORMAT = 1
FEATURES, RECIPE, VECTOR = "features", "recipe.json", "vector"
BLOCK = 8192
TINY = 1e-30  # the length of a row that has no direction: it is like nothing

Side = Literal["sample", "prompt", "response"]
SIDES: tuple[str, ...] = get_args(Side)


@dataclass(frozen=True)
class Space:
    """The features that rows are compared in: a folder with `features.npy`, and the `recipe` they were made by."""

    folder: Path
    recipe: dict[str, Any]

    def values(self) -> Array:
        """The features (m, d), memory-mapped; NaN for rows without."""
        return load_array(self.folder, FEATURES)


def space(facts: Facts, side: str = "sample") -> Space:
    """The features of the latest map, or those of one side of its rows.

    Raises `EngineError` where there is no map, it kept no features, or that side was not encoded.
    """
    if side not in SIDES:
        raise EngineError(f"{side!r} is nothing to compare by: expected {', '.join(SIDES)}. Nothing was searched.")
    name = facts.latest_map()
    if name is None:
        raise EngineError("Samples are compared by the features of the map, and there is none. Build the map first.")
    folder = facts.artifact(name)
    if not (folder / RECIPE).is_file():
        raise EngineError("The map was made before maps kept their features. Build the map again.")
    recipe = dict(read_json(folder / RECIPE))
    if side == "sample":
        return Space(folder, recipe)
    encoded = find(facts.project.artifacts, SIDE, side_key(name, recipe, side))
    if encoded is None:
        raise EngineError(f"The {side}s were not encoded by themselves yet. Search for the meaning of the {side} anew.")
    return Space(encoded, recipe)


def side_key(plane: str, recipe: dict[str, Any], side: str) -> str:
    """The key of the features of one side of a map's rows."""
    return artifact_key(stage=SIDE, meaning_format=FORMAT, map=plane, recipe=recipe, side=side)


def query_key(recipe: dict[str, Any], text: str) -> str:
    """The key of a question's vector."""
    return artifact_key(stage=QUERY, meaning_format=FORMAT, recipe=recipe, text=text)


def query_vector(facts: Facts, text: str, side: str = "sample") -> Array:
    """float32 (d,): the vector of a question. Raises `EngineError` where it was not made yet."""
    found = find(facts.project.artifacts, QUERY, query_key(space(facts, side).recipe, text))
    if found is None:
        raise EngineError(
            "The meaning of this question was not computed in this project yet. Search for it once on the Map or "
            "Review page, or with find in the shell. Nothing was filtered."
        )
    return np.asarray(load_array(found, VECTOR), np.float32)


def sample_vector(facts: Facts, row: int) -> Array:
    """float32 (d,): the features of a row. Raises `EngineError` where it is not on the map or has none."""
    values = space(facts).values()
    vector = np.asarray(values[row], np.float32) if row < len(values) else np.full(1, np.nan, np.float32)
    if not np.isfinite(vector).all():
        raise EngineError("That sample is not on the map, so nothing can be compared with it. Build the map again.")
    return vector


def likeness(values: Array, vector: Array, *, block: int = BLOCK) -> Array:
    """float32 (m,): the cosine of every row of `values` (m, d) with `vector` (d,); NaN for rows without features."""
    asked = np.asarray(vector, np.float32)
    asked = asked / max(float(np.linalg.norm(asked)), TINY)
    out = np.empty(len(values), np.float32)
    for start in range(0, len(values), block):
        rows = np.asarray(values[start : start + block], np.float32)  # (block, d)
        length = np.sqrt(np.einsum("ij,ij->i", rows, rows))
        out[start : start + block] = (rows @ asked) / np.maximum(length, TINY)
    return out


def nearest(alike: Array, *, k: int | None = None, least: float | None = None) -> Array:
    """int64: the rows most alike, best first, ties by row; at most `k`, each at least `least`."""
    there = np.flatnonzero(np.isfinite(alike) if least is None else alike >= least)
    if k is not None and k < len(there):
        bar = np.partition(-alike[there], k - 1)[k - 1]
        there = there[-alike[there] <= bar]
    best = there[np.argsort(-alike[there], kind="stable")]
    return best if k is None else best[:k]
