"""Features of the sets beside the pool, target sets, held-out files and owned data, on the scale of a map's features.

A *side* is such a set as it was when it was looked at. Its features are an artifact of their own,
`side-features-<key>`, found by the map's recipe (`features.py`) and the hash of the set's content: a new target
changes no map, and maps made by one recipe share the features of their sides. This is the catalogue's part of it; the
heavy part is that of a map job (`mapping.py`), within one or by itself on demand.
"""

import shutil
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import engine
from engine.errors import EngineError
from engine.models.sources import ModelSource, resolve
from engine.progress import Reporter
from engine.runs.features import RECIPE_FILE
from engine.runs.jobfolder import JobFolder, held
from engine.runs.map_config import MapConfig
from engine.runs.results import keep
from engine.runs.runjob import compute
from engine.store.artifacts import artifact_key, find, read_json, read_manifest, write_json
from engine.store.project import Project
from engine.store.records import now

STAGE = "side-features"
FORMAT = 1
ROLES = ("target", "heldout", "owned")
WAIT_S = 30.0


@dataclass(frozen=True)
class Side:
    """A target set, a held-out file, or the owned data (which has no name): rows and content hash, taken together."""

    role: str
    name: str
    rows: int
    hash: str


def all_sides(project: Project) -> tuple[Side, ...]:
    """Every target set in order of addition, every held-out file, then the owned data where there is any."""
    named = [("target", target.name) for target in project.targets()]
    named += [("heldout", each.name) for each in project.heldout()]
    found = [Side(role, name, *project.extent(role, name)) for role, name in (*named, ("owned", ""))]
    return tuple(side for side in found if side.rows)


def side_of(project: Project, role: str, name: str = "") -> Side:
    """One set as it is now; `EngineError` for another role and a set that does not exist."""
    if role not in ROLES:
        raise EngineError(f"{role!r} is no set beside the pool: expected {', '.join(ROLES)}. Nothing was computed.")
    side = Side(role, name, *project.extent(role, name))
    if side.rows:
        return side
    if role == "owned":
        raise EngineError("There is no owned data. Add some with add-owned first. Nothing was computed.")
    there = project.targets() if role == "target" else project.heldout()
    names = ", ".join(each.name for each in there) or "none"
    what = "target set" if role == "target" else "held-out file"
    raise EngineError(f"There is no {what} {name!r}; {what}s: {names}. Add it with add-{role}. Nothing was computed.")


def side_key(recipe: dict[str, Any], side: Side) -> str:
    """The key of a side's features: what they are of and all that changes them."""
    return artifact_key(stage=STAGE, side_format=FORMAT, recipe=recipe, set=side.hash)


def recipe_of(plane: Path) -> dict[str, Any]:
    """How the features of the map in `plane` were made; `EngineError` for a map that did not keep them."""
    read_manifest(plane)
    if not (plane / RECIPE_FILE).is_file():
        raise EngineError(
            f"The map {plane.name} was made before maps kept their features. Run map again: it is computed anew, with "
            "the same settings too. The old map was left as it is."
        )
    return dict(read_json(plane / RECIPE_FILE))


def lacking(project: Project, sides: Iterable[Side], recipe: dict[str, Any] | None) -> tuple[Side, ...]:
    """The sides whose features are not kept yet; all of them while the map, and so its recipe, is still to be made."""
    if recipe is None:
        return tuple(sides)
    return tuple(side for side in sides if find(project.artifacts, STAGE, side_key(recipe, side)) is None)


def write_sides(project: Project, folder: JobFolder, source: ModelSource | None, *, reporter: Reporter) -> None:
    """Write what the features of `spec["sides"]` read: tokens of the model `source`, or texts where there is none."""
    from engine.runs.inputs import write_pairs, write_table  # transformers and torch, which features kept do not need
    from engine.runs.tokenizers import load_tokenizer

    sides = [Side(**entry) for entry in folder.spec["sides"]]
    (folder.input / "sides").mkdir(exist_ok=True)
    max_length = MapConfig.from_dict(folder.spec["config"]).max_length
    tokenizer = load_tokenizer(source, max_length=max_length) if source is not None and sides else None
    for at, side in enumerate(sides):
        place = folder.input / "sides" / str(at)
        if tokenizer is not None:
            write_table(project, side.role, side.name, side.rows, place, tokenizer, reporter=reporter)
        else:
            write_pairs(project, side.role, side.name, side.rows, place.with_suffix(".jsonl"), reporter=reporter)


def keep_sides(project: Project, folder: JobFolder, recipe: dict[str, Any]) -> None:
    """Keep the features of `spec["sides"]`, each as an artifact; `EngineError` where they are not of the recipe."""
    for at, entry in enumerate(folder.spec["sides"]):
        part, made = f"sides/{at}", folder.output / "sides" / str(at) / RECIPE_FILE
        if made.is_file() and read_json(made) != recipe:
            raise EngineError(
                f"The features of {entry['name'] or 'the owned data'} were made by {read_json(made)}, those of the map "
                f"by {recipe}: they cannot be compared. Run map again. Nothing was recorded."
            )
        manifest = {"recipe": recipe, "side": entry, "version": engine.__version__, "created": now()}
        keep(project, folder, STAGE, side_key(recipe, Side(**entry)), manifest, part=part)


def embed_side(project: Project, plane: Path, side: Side, *, reporter: Reporter) -> Path:
    """The artifact of a side's features on the scale of the map in `plane`, computed in this process where missing.

    A call that was killed is continued by the next from the shards that are complete. One process of a project computes
    at a time, the others wait `WAIT_S` seconds. The device is chosen anew, the precision is the map's. Raises
    `EngineError` where the map kept no features, its model has changed, or the other process is not done in time.
    """
    recipe = recipe_of(plane)
    artifact = project.artifacts / f"{STAGE}-{side_key(recipe, side)}"
    if not lacking(project, [side], recipe):
        return artifact
    project.temp.mkdir(exist_ok=True)
    with held(project.temp / f".{STAGE}.lock", wait_s=WAIT_S) as got:
        if not got:
            raise EngineError(
                "Another process computes features of target or owned data right now. Try again when it is done; "
                "nothing was computed."
            )
        if lacking(project, [side], recipe):
            _embed_alone(project, plane, side, recipe, reporter)
    return artifact


def _embed_alone(project: Project, plane: Path, side: Side, recipe: dict[str, Any], reporter: Reporter) -> None:
    """The part of a map job that one side needs, in a job folder of its own, which goes when its result is kept."""
    config = MapConfig.from_dict(read_manifest(plane)["config"])
    source = _same_model(config.model, recipe) if recipe["features"] == "hidden" else None
    folder = _folder(project.temp / f"{STAGE}-{side_key(recipe, side)}", config, source, side, recipe)
    if not folder.input_complete:
        write_sides(project, folder, source, reporter=reporter)
        write_json(folder.input / "manifest.json", {"sides": folder.spec["sides"]})
    compute(folder, reporter)
    keep_sides(project, folder, recipe)
    shutil.rmtree(folder.path)


def _same_model(name: str, recipe: dict[str, Any]) -> ModelSource:
    source = resolve(name)
    if source.sha256 != recipe["model"]:
        raise EngineError(
            f"The model {name} has changed since the map was made (its files have the hash {source.sha256[:12]}, then "
            f"{recipe['model'][:12]}), so new features would not fit the map's. Run map again. Nothing was computed."
        )
    return source


def _folder(path: Path, config: MapConfig, source: ModelSource | None, side: Side, recipe: dict[str, Any]) -> JobFolder:
    """The folder of this computation: the one that a killed call left, else a new one."""
    from engine.runs.inputs import describe_model

    if (path / "spec.json").is_file():
        return JobFolder.open(path)
    shutil.rmtree(path, ignore_errors=True)
    spec = {
        "kind": "map",
        "config": replace(config, device="auto").to_dict(),
        "model": describe_model(source),
        "features": recipe["features"],
        "precision": recipe.get("precision"),
        "parts": ["sides"],
        "sides": [asdict(side)],
    }
    return JobFolder.create(path, spec)
