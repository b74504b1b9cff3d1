"""The heavy part of a map job: features of every row, the map itself, and the quality signals.

    input/pool/           token table, where the features are hidden states; input/sides/<i>/ that of set i beside it
    input/pool.jsonl      texts of the rows; input/sides/<i>.jsonl those of set i, where the features read texts
    input/beside/, known/   what the signals read beside the pool (`signal_making`)
    output/sides/<i>/     features of set i: a target set or the owned data (`spec["sides"]`)
    output/map/           the map (`engine.maps.build`) and the features it was made of, `summary.json` last
    output/signals/       the signals (`signal_making`), `summary.json` last
    output/summary.json   written when all parts that were asked for are there

All features come first, from one loading of the model, which is given back before the map is laid out.
Knows no catalogue. UMAP and scikit-learn are imported only when the map is laid out.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from engine.progress import Reporter
from engine.runs.features import FEATURES, FEATURES_FILE, RECIPE_FILE, write_features
from engine.runs.jobfolder import JobFolder
from engine.runs.map_config import MapConfig
from engine.runs.signal_making import make_signals
from engine.runs.texts import TextPairs
from engine.store.artifacts import load_array, write_json

PARTS = ("sides", "map", "signals")


def run_map(folder: JobFolder, reporter: Reporter) -> None:
    """Fill `output/` with the parts named in `spec["parts"]`; parts that are complete are kept."""
    makers = {"sides": _make_sides, "map": _make_map, "signals": make_signals}
    missing = [part for part in folder.spec["parts"] if not _complete(folder, part, reporter)]
    _embed(folder, missing, reporter)
    for part in missing:
        place = folder.output / part
        place.mkdir(exist_ok=True)
        write_json(place / "summary.json", makers[part](folder, place, reporter))
    write_json(folder.output / "summary.json", {"parts": folder.spec["parts"]})


def _complete(folder: JobFolder, part: str, reporter: Reporter) -> bool:
    there = (folder.output / part / "summary.json").exists()
    if there:
        reporter.log(f"{part}: complete already")
    return there


@dataclass(frozen=True)
class _Set:
    """A set of rows to embed: where its tokens or texts are, where its features go, and its names."""

    source: Path
    place: Path
    name: str
    phase: str


def _embed(folder: JobFolder, parts: list[str], reporter: Reporter) -> None:
    """Write the features of the sets that `parts` need, each with its recipe last; sets that have it are kept."""
    wanted = [s for s in _sets(folder, parts) if not (s.place / RECIPE_FILE).exists()]
    if not wanted:
        return
    features = FEATURES[folder.spec["features"]](folder.spec, reporter)
    for each in wanted:
        values = features.of(each.source, work=folder.work, name=each.name, phase=each.phase)
        each.place.mkdir(parents=True, exist_ok=True)
        kept = write_features(values, each.place / FEATURES_FILE)
        write_json(each.place / RECIPE_FILE, features.recipe)
        reporter.log(f"{each.phase}: {len(values)} samples of {values.shape[1]}, kept as {kept}")


def _sets(folder: JobFolder, parts: list[str]) -> list[_Set]:
    titles = {"hidden": "hidden states", "sentence": "sentence embeddings"}
    found = []
    if "map" in parts:
        phase = f"features: {titles[folder.spec['features']]}"
        found.append(_Set(folder.input / "pool", folder.output / "map", "features", phase))
    for at, side in enumerate(folder.spec["sides"] if "sides" in parts else ()):
        phase = f"features of {side['name'] or 'the owned data'}"
        found.append(_Set(folder.input / "sides" / str(at), folder.output / "sides" / str(at), f"side-{at}", phase))
    return found


def _make_sides(folder: JobFolder, place: Path, reporter: Reporter) -> dict[str, Any]:
    sides = folder.spec["sides"]
    for at, side in enumerate(sides):
        write_json(place / str(at) / "summary.json", side)
    return {"sides": len(sides)}


def _make_map(folder: JobFolder, place: Path, reporter: Reporter) -> dict[str, Any]:
    from engine.maps import build
    from engine.maps.numba_cache import keep_compiled_code

    keep_compiled_code()
    config, texts = MapConfig.from_dict(folder.spec["config"]), TextPairs(folder.input / "pool.jsonl")
    features = load_array(place, Path(FEATURES_FILE).stem)
    options = build.MapConfig(neighbours=config.neighbours, min_dist=config.min_dist)
    result = build.build_map(features, texts.prompts, seed=config.seed, config=options, reporter=reporter)
    for note in result.notes:
        reporter.log(note)
    build.save(result, place)
    trust = None if np.isnan(result.trust) else result.trust
    return {
        "features": folder.spec["features"],
        "kept": f"{features.dtype.name} {features.shape}",
        "rows": len(result.xy),
        "clusters": len(result.labels),
        "trust": trust,
        "notes": list(result.notes),
    }
