"""How fast this machine is with this model: a short measurement, kept per machine, model and settings.

Measures the very operations of a scoring run on sampled rows of the pool. Kept in `speeds.json` of the project.
"""

import os
import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import torch

from engine.models.batches import Batch, collate, plan_batches
from engine.models.loading import load
from engine.models.sources import ModelSource
from engine.models.table import TokenTable
from engine.runs.config import ScoreConfig
from engine.store.artifacts import artifact_key, read_json, write_json
from engine.store.project import Project

MEASURED_TOKENS = 4096
MACHINE = (platform.node(), platform.machine(), os.cpu_count())
SETTINGS = (
    "embedding",
    "embedding_width",
    "gradient_blocks",
    "jvp_blocks",
    "jvp_tangents",
    "projection",
    "batch_tokens",
    "max_length",
)
PLACE = ("device", "dtype", "attention")


@dataclass(frozen=True)
class Speed:
    """Measured seconds per token: embedding (with the loss) and projected gradients; and seconds to load the model."""

    parameters: int
    device: str
    embedding: float
    gradients: float
    loading: float
    notes: tuple[str, ...] = ()


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


def measure_speed(table: TokenTable, config: ScoreConfig, source: ModelSource) -> Speed:
    """Load the model and time both operations on a few batches of the sampled rows."""
    from engine.gradients.embeddings import EMBEDDINGS, with_loss
    from engine.gradients.parameters import block_linears
    from engine.gradients.persample import projected_gradients
    from engine.gradients.projection import FactoredProjection

    began = time.perf_counter()
    lm = load(source, device=config.device, dtype=config.dtype, attention=config.attention)
    loading = time.perf_counter() - began
    parameters = sum(p.numel() for p in lm.model.parameters())
    batches = plan_batches(table.lengths, max_tokens=min(config.batch_tokens, MEASURED_TOKENS))
    if not batches:
        return Speed(parameters, str(lm.device), 0.0, 0.0, loading, ("no sampled row has tokens: no speed measured",))
    few = [batches[int(i)] for i in np.unique(np.linspace(0, len(batches) - 1, 3).round())]
    made = [collate(table, rows, pad_id=lm.pad_id, device=lm.device) for rows in few]
    embedding = EMBEDDINGS[config.embedding](lm, **config.embedding_settings())
    projection = FactoredProjection(block_linears(lm.model), width=config.projection, seed=config.seed)

    both = with_loss(lm, embedding)

    def embed(batch: Batch) -> None:
        for values in both(batch):
            values.cpu()

    gradients = _per_token(lambda batch: projected_gradients(lm, batch, projection)[0].cpu(), made)
    return Speed(parameters, str(lm.device), _per_token(embed, made), gradients, loading, lm.notes)


def _per_token(operation: Callable[[Batch], object], batches: Sequence[Batch]) -> float:
    """Seconds per real token: the median over the batches, after one call that allocates."""
    operation(batches[-1])
    found = []
    for batch in batches:
        began = time.perf_counter()
        operation(batch)
        found.append((time.perf_counter() - began) / int(batch.attention.sum()))
    return float(np.median(found))
