"""How fast this machine is with this model: a short measurement, kept per machine, model and settings.

Times the very operations of a scoring run (`costs`), and the sentence model, on sampled rows of the pool. `speeds.json`
of the project keeps what plans measured.
"""

import os
import platform
import time
from dataclasses import asdict, replace

import numpy as np
import torch

from engine.data.samples import prompt_text, response_text
from engine.models.loading import load
from engine.models.sources import ModelSource
from engine.models.table import TokenTable
from engine.runs.config import ScoreConfig
from engine.runs.costs import Speed, time_operations
from engine.runs.parameters import parameters_of
from engine.store.artifacts import artifact_key, read_json, write_json
from engine.store.project import Project

ENCODER_SAMPLE = 24  # texts that the sentence model's speed is measured on
MACHINE = (platform.node(), platform.machine(), os.cpu_count())
SETTINGS = (
    "method",
    "teacher",
    "network_features",
    "warm_up",
    "embedding",
    "embedding_width",
    "gradient_blocks",
    "gradient_side",
    "gradient_sites",
    "early_exit",
    "jvp_blocks",
    "jvp_tangents",
    "tangent",
    "projection",
    "blocks",
    "parameters",
    "keep",
    "with_embeddings",
    "with_norms",
    "batch_tokens",
    "max_length",
)
PLACE = ("device", "dtype", "attention")


def speed_key(model: str, config: ScoreConfig) -> str:
    """What a measured speed holds for: this machine, the model's files, and the settings that change the speed."""
    machine = [*MACHINE, torch.get_num_threads()]
    settings = {name: getattr(config, name) for name in (*SETTINGS, *PLACE)}
    return artifact_key(machine=machine, model=model, settings=settings)


def known_speed(project: Project, key: str) -> Speed | None:
    """The speed measured earlier under this key, or None."""
    path = project.path / "speeds.json"
    kept = read_json(path).get(key) if path.is_file() else None
    return None if kept is None else Speed(**{**kept, "notes": tuple(kept["notes"])})


def remember_speed(project: Project, key: str, speed: Speed) -> None:
    """Keep a measured speed in the project."""
    path = project.path / "speeds.json"
    write_json(path, {**(read_json(path) if path.is_file() else {}), key: asdict(speed)})


def measure_speed(table: TokenTable, config: ScoreConfig, source: ModelSource, *, sets: int = 1) -> Speed:
    """Load the model and time the operations on a few batches of the sampled rows; without conditioning."""
    began = time.perf_counter()
    lm = load(source, device=config.device, dtype=config.dtype, attention=config.attention)
    loading = time.perf_counter() - began
    parameters = parameters_of(lm, replace(config, conditioning="plain"), None)
    rows = np.flatnonzero(table.response_lengths > 0)
    found = time_operations(lm, table, rows, config, parameters, sets=sets, loading=loading)
    return replace(found, notes=(*found.notes, *lm.notes))


def measure_encoding(project: Project, *, rows: int, seed: int, device: str) -> float:
    """Seconds per text of the sentence model on this machine, over a seeded sample of the pool's first `rows` rows."""
    from engine.maps.sentence import load_encoder
    from engine.runs.features import sentence_device

    sample = np.sort(np.random.default_rng(seed).choice(rows, min(rows, ENCODER_SAMPLE), replace=False))
    texts = [f"{prompt_text(r.messages)} {response_text(r.messages)}" for r in project.rows(sample)]
    encoder = load_encoder(device=sentence_device(device))
    encoder.encode(texts[:2])  # the first call allocates
    began = time.perf_counter()
    encoder.encode(texts)
    return (time.perf_counter() - began) / max(1, len(texts))
