"""The catalogue side of mapping: freeze the pool, choose the features, write the inputs, record map and signals.

A map, the signals (`signals_job`) and the features of each set beside the pool (`sides.py`) are artifacts of their
own, each named by what changes it: a new target set asks for new signals and for its own features, not for a new map.
Once all are there, the nearness of the pool to those sets is measured (`closeness`).
"""

from dataclasses import asdict
from typing import Any

import engine
from engine.errors import EngineError
from engine.models.sources import resolve
from engine.progress import Reporter
from engine.runs.features import RECIPE_FILE, sentence_device
from engine.runs.inputs import View, complete_inputs, describe_model, frozen_view, write_pairs, write_table
from engine.runs.jobfolder import JobFolder
from engine.runs.map_config import MapConfig
from engine.runs.mapping import PARTS
from engine.runs.reporter import FileReporter
from engine.runs.results import clear, keep
from engine.runs.runjob import compute
from engine.runs.sides import Side, all_sides, keep_sides, lacking, recipe_of, write_sides
from engine.runs.signals_job import keep_signals, signals_key, write_signal_inputs
from engine.runs.speeds import measure_encoding
from engine.runs.tokenizers import load_tokenizer
from engine.store.artifacts import artifact_key, find, read_json
from engine.store.project import Project
from engine.store.records import MapRecord, now

MAP_FORMAT = 2  # part of a map's key; from 2 on the features are kept with the map
SENTENCE_BUDGET_S = 60.0
CERTAINLY_FEW, CERTAINLY_MANY = 200, 20_000


def work_map(project: Project, folder: JobFolder, reporter: FileReporter) -> None:
    """Map as `folder.spec` says and record map and signals; the map's name lands in `folder.result["map"]`."""
    if prepare_map(project, folder, reporter):
        compute(folder, reporter)
    bring_map(project, folder, reporter)
    clear(folder)


def prepare_map(project: Project, folder: JobFolder, reporter: Reporter) -> tuple[str, ...]:
    """Write the inputs of the parts that are missing, and return these parts ((): there is nothing to compute)."""
    config = MapConfig.from_dict(folder.spec["config"])
    reporter.phase("preparing", 0)
    view = frozen_view(project, folder)
    if "features" not in folder.spec:
        features, why = choose_features(project, config, view.rows)
        reporter.log(f"features: {features}, {why}")
        folder.update_spec(features=features)
    features = folder.spec["features"]
    source = resolve(config.model) if features == "hidden" else None
    keys = {
        "map": _map_key(view, config, features, source.sha256 if source else None),
        "signals": signals_key(project, folder, view),
    }
    parts = _missing(project, folder, keys, reporter)
    folder.update_spec(keys=keys, parts=list(parts), model=describe_model(source))
    if parts and not folder.input_complete:
        if "signals" in parts:
            write_signal_inputs(project, folder, view, reporter=reporter)
        if "map" in parts:
            write_pairs(project, "pool", "", view.rows, folder.input / "pool.jsonl", reporter=reporter)
        if source is not None and "map" in parts:
            tokenizer = load_tokenizer(source, max_length=config.max_length)
            write_table(project, "pool", "", view.rows, folder.input / "pool", tokenizer, reporter=reporter)
        if "sides" in parts:
            write_sides(project, folder, source, reporter=reporter)
        complete_inputs(folder, view)
    return parts


def _missing(project: Project, folder: JobFolder, keys: dict[str, str], reporter: Reporter) -> tuple[str, ...]:
    """The parts to compute. The sides are frozen when the job begins: those then without features of this map's recipe.

    Where the map is there already, new features are computed in its precision.
    """
    there = {part: find(project.artifacts, part, key) for part, key in keys.items()}
    for part, artifact in there.items():
        if artifact is not None:
            reporter.log(f"{part}: exists already ({artifact.name}), nothing is computed again")
    plane = there["map"]
    recipe = None if plane is None else recipe_of(plane)
    if "sides" not in folder.spec:
        sides = lacking(project, all_sides(project), recipe)
        folder.update_spec(sides=[asdict(side) for side in sides], precision=(recipe or {}).get("precision"))
    to_do = {part: artifact is None for part, artifact in there.items()}
    to_do["sides"] = bool(lacking(project, [Side(**entry) for entry in folder.spec["sides"]], recipe))
    return tuple(part for part in PARTS if to_do[part])


def choose_features(project: Project, config: MapConfig, rows: int) -> tuple[str, str]:
    """The features of the map and why: as asked, or `sentence` where it takes at most about a minute here."""
    if config.features != "auto":
        return config.features, "as asked for"
    if rows > CERTAINLY_MANY and sentence_device(config.device) == "cpu":
        return "hidden", f"because the sentence model needs more than a minute for {rows} samples on a CPU"
    if rows <= CERTAINLY_FEW or sentence_device(config.device) != "cpu":
        return "sentence", "the sentence model, which is fast enough for this pool here"
    per_sample = measure_encoding(project, rows=rows, seed=config.seed, device=config.device)
    seconds = rows * per_sample
    name = "sentence" if seconds <= SENTENCE_BUDGET_S else "hidden"
    return (
        name,
        f"the sentence model does {1 / max(1e-6, per_sample):.0f} samples/s here: {seconds:.0f} s for {rows} samples, "
        "at most 60 s wanted",
    )


def _map_key(view: View, config: MapConfig, features: str, model: str | None) -> str:
    settings = {name: value for name, value in config.to_dict().items() if name not in ("model", "features")}
    made = {"map_format": MAP_FORMAT, "features": features, "model": model, "config": settings}
    return artifact_key(stage="map", pool=view.pool_hash, rows=view.rows, **made)


def bring_map(project: Project, folder: JobFolder, reporter: Reporter) -> str:
    """Keep map, signals and the features of the sides as artifacts, record the first two; return the map's name."""
    reporter.phase("recording the map", 0)
    spec = folder.spec
    view, keys = View.from_dict(spec["view"]), spec["keys"]
    if find(project.artifacts, "map", keys["map"]) is None and not (folder.output / "map" / RECIPE_FILE).is_file():
        raise EngineError(
            f"The results of job {folder.id} lack the map's features: an earlier version computed them. "
            "Start the map anew instead of resuming it. Nothing was recorded."
        )
    plane = keep(project, folder, "map", keys["map"], _manifest(spec), part="map")
    keep_sides(project, folder, recipe_of(plane))
    name = f"map-{keys['map']}"
    if name not in {record.name for record in project.maps()}:
        record = MapRecord(
            name=name,
            artifact=plane.name,
            rows=view.rows,
            pool_hash=view.pool_hash,
            features=spec["features"],
            created=now(),
            summary=read_json(plane / "summary.json"),
        )
        project.add_map(record)
    signals = keep_signals(project, folder, keys["signals"], view, plane=plane, reporter=reporter)
    folder.write_result(map=name, artifact=plane.name, signals=signals.name)
    return name


def _manifest(spec: dict[str, Any]) -> dict[str, Any]:
    kept = {name: spec.get(name) for name in ("kind", "config", "view", "model", "features")}
    return {**kept, "version": engine.__version__, "created": now()}
