"""What scoring measures with the language model: target gradients, exact score rows, embeddings and losses.

Notation. P (n, t) is the score matrix; the *measured* row of a sample is its row of P with its response loss behind.
Every measurement runs over shards that survive a kill; a row that cannot be measured is NaN, it alone, with a reason.
Decides nothing about which rows are measured (`scoring`) and knows no catalogue.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from engine.errors import EngineError
from engine.gradients.embeddings import EMBEDDINGS, with_loss
from engine.gradients.parameters import block_linears
from engine.gradients.persample import projected_gradients
from engine.gradients.projection import FactoredProjection
from engine.influence.scores import TargetSide
from engine.models.batches import Batch, map_batches
from engine.models.loading import LanguageModel, load
from engine.models.table import TokenTable
from engine.models.warmup import WarmUp, WarmUpConfig, load_warm_up, save_warm_up, warm_up
from engine.progress import Reporter
from engine.runs.config import ScoreConfig
from engine.runs.jobfolder import JobFolder
from engine.runs.shards import Table, compute_table

Measure = Callable[[Batch], np.ndarray]

NO_GRADIENT = "its gradient is zero or it has no response token"
EXACT_SHARD = 1024
EMBEDDING_SHARD = 8192


@dataclass(frozen=True)
class Targets:
    """Projected gradients (t, k) float32 of the usable target items.

    `sets` maps each target set to its items, rows of `grads`; `items` gives the place of each in its set, and
    `problems` says which items could not be used and why.
    """

    grads: np.ndarray
    sets: dict[str, list[int]]
    items: dict[str, list[int]]
    problems: dict[str, str]


def prepare_model(
    folder: JobFolder, config: ScoreConfig, pool: TokenTable, reporter: Reporter
) -> tuple[LanguageModel, WarmUp | None]:
    """The model of the job's spec, warmed up on a slice of the pool where the configuration says so.

    A warm-up finished before a kill is loaded again, bit for bit.
    """
    spec = folder.spec["model"]
    lm = load(Path(spec["path"]), device=config.device, dtype=config.dtype, attention=config.attention)
    for note in lm.notes:
        reporter.log(note)
    if not config.warms_up(spec["kind"]):
        return lm, None
    place = folder.work / "warm-up"
    if (place / "done").exists():
        return lm, load_warm_up(place, lm)
    settings = WarmUpConfig(
        fraction=config.warm_up_fraction,
        epochs=config.warm_up_epochs,
        learning_rate=config.warm_up_learning_rate,
        batch_tokens=config.batch_tokens,
        seed=config.seed,
        max_rows=WarmUpConfig.max_rows if spec["kind"] == "builtin" else None,
    )
    warmed = warm_up(lm, pool, settings, reporter=reporter)
    save_warm_up(place, lm, warmed)
    (place / "done").touch()
    return lm, warmed


class Measurer:
    """One model, one projection, one job folder; each method is one resumable phase."""

    def __init__(self, folder: JobFolder, lm: LanguageModel, config: ScoreConfig, reporter: Reporter) -> None:
        self.folder, self.lm, self.config, self.reporter = folder, lm, config, reporter
        self.projection = FactoredProjection(block_linears(lm.model), width=config.projection, seed=config.seed)

    def targets(self, tables: Sequence[tuple[str, TokenTable]]) -> Targets:
        """Projected gradients of every usable item of the target sets, in order.

        Raises `EngineError` where a set has no usable item.
        """
        self.reporter.phase("target gradients", sum(len(table) for _, table in tables))
        grads: list[np.ndarray] = []
        sets: dict[str, list[int]] = {}
        items: dict[str, list[int]] = {}
        problems: dict[str, str] = {}
        for index, (name, table) in enumerate(tables):
            found = self._table(f"target-{index}", table, np.arange(len(table)), self._gradients, self.projection.dim)
            values = np.asarray(found.arrays["values"])
            good = np.flatnonzero(np.isfinite(values).all(axis=1) & (values != 0).any(axis=1))
            aside = {int(i): found.problems.get(int(i), NO_GRADIENT) for i in np.setdiff1d(np.arange(len(table)), good)}
            problems |= {f"{name}, item {row + 1}": reason for row, reason in aside.items()}
            if not len(good):
                reasons = "; ".join(sorted(set(aside.values()))[:3])
                raise EngineError(f"The target set {name!r} has no usable item ({reasons}). Nothing was scored.")
            start = sum(map(len, grads))
            sets[name], items[name] = list(range(start, start + len(good))), good.tolist()
            grads.append(values[good])
        return Targets(np.concatenate(grads), sets, items, problems)

    def exact(self, name: str, pool: TokenTable, rows: np.ndarray, targets: Targets) -> Table:
        """`values` (m, t + 1) float32 of `rows`: their exact rows of P, and the response loss in the last column."""
        self.reporter.phase(name, len(rows))
        side = TargetSide(targets.grads, unit=self.config.unit, device=self.lm.device)

        def measure(batch: Batch) -> np.ndarray:
            grads, loss, _ = projected_gradients(self.lm, batch, self.projection)
            return torch.cat([side(grads), loss[:, None]], dim=1).cpu().numpy()

        return self._table(name, pool, rows, measure, len(targets.grads) + 1)

    def embeddings(self, pool: TokenTable, rows: np.ndarray) -> tuple[Table, tuple[str, ...]]:
        """`values` (m, e + 1) float32 of `rows`: the embedding, and the response loss in the last column; and notes."""
        self.reporter.phase("embeddings", len(rows))
        embedding = EMBEDDINGS[self.config.embedding](self.lm, **self.config.embedding_settings())
        both = with_loss(self.lm, embedding)

        def measure(batch: Batch) -> np.ndarray:
            vectors, losses = both(batch)
            return torch.cat([vectors, losses[:, None]], dim=1).cpu().numpy()

        table = self._table("embeddings", pool, rows, measure, embedding.dim + 1, shard=EMBEDDING_SHARD)
        return table, embedding.notes

    def _gradients(self, batch: Batch) -> np.ndarray:
        return projected_gradients(self.lm, batch, self.projection)[0].cpu().numpy()

    def _table(
        self, name: str, table: TokenTable, rows: np.ndarray, measure: Measure, width: int, *, shard: int = EXACT_SHARD
    ) -> Table:
        """`measure` of every row as one memory-mapped array `values` (m, width) float32, shard by shard."""

        def compute(part: np.ndarray) -> Table:
            found, problems = map_batches(
                self.lm, table, part, measure, max_tokens=self.config.batch_tokens, reporter=self.reporter
            )
            values = np.asarray(found, dtype=np.float32)
            if values.ndim == 1:  # no row of the shard could be measured
                values = np.full((len(part), width), np.nan, dtype=np.float32)
            return Table({"values": values}, problems)

        return compute_table(self.folder.work, name.replace(" ", "-"), rows, shard, compute, self.reporter)
