"""Encoding what is searched for by meaning: questions, and the prompts or responses of a map's rows by themselves.

Notation: *recipe* as in `features`; a text by itself becomes a vector d in the space of a map, by the map's own model.
The sentence model reads the text as it is. The language model reads chats, so a text by itself is read as a chat whose
prompt and whose response it is; what is compared is made the same way, or is a whole sample.

A vector, once made, is an artifact of the project (`engine.curation.search_meaning` reads it), so that filters and
links need no model. Does not compare anything.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import engine
from engine.curation import texts
from engine.curation.facts import Facts
from engine.curation.filters import Filter
from engine.curation.search_meaning import QUERY, SIDE, VECTOR, query_key, side_key, space
from engine.data.samples import Message
from engine.errors import EngineError
from engine.models.sources import ModelSource, resolve
from engine.progress import Reporter, Silent
from engine.runs.features import FEATURES_FILE, sentence_device, write_features
from engine.runs.map_config import MapConfig
from engine.runs.shards import compute_shards
from engine.store.artifacts import create, find, read_manifest, save_array
from engine.store.project import Project
from engine.store.records import now

SHARD_ROWS = 2048
LARGEST_IN_PAGE = 600 * 10**6  # bytes of a model's weights that a page loads for a question, and keeps
Encode = Callable[[Sequence[str], Reporter], NDArray[np.float32]]


def prepare_filters(project: Project, parts: Sequence[Filter], *, largest: int | None = None) -> None:
    """Make the vectors of the questions among `parts` that are missing, as `prepare_question`."""
    for part in parts:
        if part.kind == "similar" and part.subject.startswith("query"):
            side = part.subject.partition("/")[2] or "sample"
            prepare_question(project, str(part.values[0]), side=side, largest=largest)


def prepare_question(project: Project, text: str, *, side: str = "sample", largest: int | None = None) -> Path:
    """The artifact of a question's vector in the space of the latest map, made where it is missing.

    Raises `EngineError` where there is no map, the map's model is gone or has changed, or its files are larger than
    `largest` bytes.
    """
    facts = Facts(project)
    recipe = space(facts, side).recipe
    key = query_key(recipe, text)
    found = find(project.artifacts, QUERY, key)
    if found is not None:
        return found
    vector = _encoder(facts, recipe, largest)([text], Silent())[0]
    if not np.isfinite(vector).all():
        raise EngineError("The map's model finds nothing to read in this question. Put it in words; nothing was found.")
    manifest = {"recipe": recipe, "text": text, "version": engine.__version__, "created": now()}
    with create(project.artifacts, QUERY, key, manifest) as folder:
        save_array(folder, VECTOR, vector)
    return project.artifacts / f"{QUERY}-{key}"


def side_encoded(project: Project, side: str) -> bool:
    """Whether that side of the latest map's rows was encoded by itself; whole samples always are."""
    facts = Facts(project)
    plane = facts.latest_map()
    if side == "sample" or plane is None:
        return plane is not None
    return find(project.artifacts, SIDE, side_key(plane, space(facts).recipe, side)) is not None


def encode_side(project: Project, side: str, *, work: Path, reporter: Reporter) -> Path:
    """The artifact of the features of one side (prompt or response) of the latest map's rows, made where missing.

    Shards are kept in `work`, so that a call that was killed goes on where it was. Empty texts have no features.
    """
    facts = Facts(project)
    recipe, plane = space(facts).recipe, facts.latest_map() or ""
    key = side_key(plane, recipe, side)
    found = find(project.artifacts, SIDE, key)
    if found is not None:
        return found
    rows = len(space(facts).values())
    encode = _encoder(facts, recipe, None)

    def shard(numbers: NDArray[np.int64]) -> NDArray[np.float32]:
        stored = [[(m.role, m.content) for m in row.messages] for row in project.rows(numbers)]
        written = [texts.as_they_are(texts.sides(messages)[side]) for messages in stored]
        vectors = encode([text.strip() or " " for text in written], reporter)
        vectors[[not text.strip() for text in written]] = np.nan
        return vectors

    reporter.phase(f"reading the meaning of {side}s", rows)
    values = compute_shards(work, f"{side}-{key}", np.arange(rows), SHARD_ROWS, shard, reporter)
    manifest = {"recipe": recipe, "map": plane, "side": side, "version": engine.__version__, "created": now()}
    with create(project.artifacts, SIDE, key, manifest) as folder:
        reporter.log(f"features kept as {write_features(values, folder / FEATURES_FILE)}")
    return project.artifacts / f"{SIDE}-{key}"


def _encoder(facts: Facts, recipe: dict[str, Any], largest: int | None) -> Encode:
    """What turns texts into vectors of a recipe, with the model of the latest map."""
    plane = facts.artifact(facts.latest_map() or "")
    config = MapConfig.from_dict(read_manifest(plane).get("config", {}))  # whose model is checked against the recipe
    if recipe["features"] == "sentence":
        return _sentences(config.batch_tokens)
    source = _same_model(config.model, recipe)
    size = sum(file.stat().st_size for file in source.path.glob("*.safetensors"))
    if largest is not None and size > largest:
        raise EngineError(
            f"The map was made with {source.name}, whose {size / 1e9:.1f} GB are too much to load for a question here. "
            f"Ask once in the shell, `python -m engine find {facts.project.name} … --mode meaning`, after which the "
            "question works here too; or build the map with the sentence model. Nothing was searched."
        )
    return _chats(source.path, str(recipe["precision"]), int(recipe["max_length"]), config.batch_tokens)


def _same_model(name: str, recipe: dict[str, Any]) -> ModelSource:
    source = resolve(name)
    if source.sha256 != recipe["model"]:
        raise EngineError(
            f"The model {name} has changed since the map was made, so a question would not be understood as the "
            "samples were. Build the map again. Nothing was searched."
        )
    return source


@lru_cache(maxsize=1)
def _sentences(batch_tokens: int) -> Encode:
    from engine.maps.sentence import load_encoder
    from engine.runs.features import WithinPhase

    encoder = load_encoder(device=sentence_device("auto"))

    def encode(asked: Sequence[str], reporter: Reporter) -> NDArray[np.float32]:
        return encoder.encode(list(asked), batch_tokens=batch_tokens, reporter=WithinPhase(reporter))

    return encode


@lru_cache(maxsize=1)
def _chats(path: Path, precision: str, max_length: int, batch_tokens: int) -> Encode:
    from engine.gradients.embeddings import HiddenStates
    from engine.models.batches import Batch, map_batches
    from engine.models.loading import load
    from engine.models.tokens import tokenize

    lm = load(path, device="auto", dtype=precision, max_length=max_length)
    embed = HiddenStates(lm)

    def hidden(batch: Batch) -> NDArray[np.float32]:
        return embed(batch).cpu().numpy()

    def encode(asked: Sequence[str], reporter: Reporter) -> NDArray[np.float32]:
        chats = [(Message("user", text), Message("assistant", text)) for text in asked]
        table = tokenize([chats], lm.tokenizer, max_length=lm.max_length)
        values, _ = map_batches(lm, table, None, hidden, max_tokens=batch_tokens, reporter=reporter)
        whole = np.asarray(values, np.float32)
        return whole if whole.ndim == 2 else np.full((len(asked), embed.dim), np.nan, np.float32)

    return encode
