"""The embedding of a run: the one configured, or with "auto" the one that a pilot on the tuning slice prefers.

The pilot embeds the tuning rows, which have exact scores, with every embedding that this machine and model allow, times
each, and leaves the choice to `influence.pilot`. The decision is kept in the job folder, because times are never quite
the same twice and a resumed run must go on with what it began with.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, get_args

import numpy as np

from engine.errors import EngineError
from engine.influence.distillation import Measured
from engine.influence.pilot import LEAST_ROWS, Candidate, Pilot, choose_embedding
from engine.influence.regression import RidgeConfig
from engine.influence.scores import Combination
from engine.models.batches import collate, plan_batches
from engine.models.table import TokenTable
from engine.runs.config import Embedding
from engine.runs.embedding import RowEmbedding, row_embedding
from engine.runs.measuring import Measurer
from engine.runs.texts import TextPairs
from engine.store.artifacts import read_json, write_json

DEFAULT = "gradient"


@dataclass(frozen=True)
class Picked:
    """The embedding, why it was picked, and what each candidate of the pilot did."""

    embedding: RowEmbedding
    sentence: str = ""
    candidates: tuple[dict[str, Any], ...] = field(default=())

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences for the run."""
        return (*((self.sentence,) if self.sentence else ()), *self.embedding.notes)

    def to_dict(self) -> dict[str, Any]:
        """The pick as JSON values."""
        named = {"name": self.embedding.name, "dim": self.embedding.dim}
        return {**named, "sentence": self.sentence, "candidates": list(self.candidates)}


def pick_embedding(measurer: Measurer, pool: TokenTable, tuning: Measured, combine: Combination) -> Picked:
    """The embedding of the run's configuration, by a pilot on the `tuning` rows where that is "auto"."""
    config = measurer.config
    if config.embedding != "auto":
        return Picked(row_embedding(config.embedding, measurer.lm, config))
    kept = measurer.folder.work / "pilot.json"
    if not kept.exists():
        with measurer.ledger.part("pilot"):
            write_json(kept, _pilot(measurer, pool, tuning, combine))
    found = read_json(kept)
    measurer.reporter.log(found["sentence"])
    embedding = row_embedding(found["name"], measurer.lm, config)
    return Picked(embedding, found["sentence"], tuple(found["candidates"]))


def _pilot(measurer: Measurer, pool: TokenTable, tuning: Measured, combine: Combination) -> dict[str, Any]:
    if len(tuning.rows) < LEAST_ROWS:
        said = (
            f"The tuning slice has {len(tuning.rows)} samples, too few for a pilot ({LEAST_ROWS}): "
            f"'{DEFAULT}' was taken."
        )
        return {"name": DEFAULT, "sentence": said, "candidates": []}
    config, usable = measurer.config, int((pool.response_lengths > 0).sum())
    candidates, refused = _candidates(measurer, pool, tuning.rows)
    speed = measurer.ledger.speed
    exact_seconds = (speed.gradients if speed is not None else 1.0) * float(pool.lengths[tuning.rows].mean())
    found = choose_embedding(
        candidates,
        combine(tuning.columns),
        exact_seconds=exact_seconds,
        pool_rows=usable,
        landmarks=config.landmark_count(usable),
        config=RidgeConfig(kernel=config.kernel, ridge=config.ridge, standardise=config.standardise, seed=config.seed),
        seed=config.seed,
    )
    return {"name": found.pick, "sentence": found.sentence, "candidates": [*_table(found), *refused]}


def _table(found: Pilot) -> list[dict[str, Any]]:
    return [
        {
            "name": each.name,
            "spearman": each.fidelity,
            "expected": each.expected,
            "landmarks": each.landmarks,
            "seconds_per_row": each.seconds,
            "note": each.reason,
        }
        for each in found.candidates
    ]


def _candidates(measurer: Measurer, pool: TokenTable, rows: np.ndarray) -> tuple[list[Candidate], list[dict[str, Any]]]:
    """Every embedding that can be had here on the pilot rows, and why the others cannot."""
    found: list[Candidate] = []
    refused: list[dict[str, Any]] = []
    for name in (name for name in get_args(Embedding) if name != "auto"):
        try:
            embed = _timed(measurer, name, pool, rows)
        except EngineError as error:
            refused.append({"name": name, "spearman": None, "seconds_per_row": None, "note": str(error)})
            continue
        found.append(embed)
    return found, refused


def _timed(measurer: Measurer, name: str, pool: TokenTable, rows: np.ndarray) -> Candidate:
    embed = _embedder(measurer, row_embedding(name, measurer.lm, measurer.config), pool)
    embed(rows[:1])  # what a first call allocates or compiles is not the embedding's price
    began = time.perf_counter()
    vectors = embed(rows)
    return Candidate(name, vectors, (time.perf_counter() - began) / len(rows))


def _embedder(measurer: Measurer, embedding: RowEmbedding, pool: TokenTable) -> Callable[[np.ndarray], np.ndarray]:
    lm, config = measurer.lm, measurer.config
    if embedding.encode is not None:
        encode, texts = embedding.encode, TextPairs(measurer.folder.input / "pool.jsonl")
        return lambda rows: encode([f"{prompt} {response}" for prompt, response in texts.pairs(rows)])

    def embed(rows: np.ndarray) -> np.ndarray:
        found = np.full((len(rows), embedding.dim), np.nan, dtype=np.float32)
        for part in plan_batches(pool.lengths[rows], max_tokens=config.batch_tokens):
            batch = collate(pool, rows[part], pad_id=lm.pad_id, device=lm.device)
            found[part] = embedding.measure(batch)[0].float().cpu().numpy()
        return found

    return embed
