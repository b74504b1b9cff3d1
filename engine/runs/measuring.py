"""What scoring measures with the language model: target directions, exact score rows, embeddings and losses.

Notation. u_s is the direction of target set s: the mean of its items' gradients, of unit length each where the unit is
a cosine, so that <g_i, u_s> / ‖g_i‖ is the mean cosine. *Columns* are those numbers, from the rows' unprojected
gradients and true norms; *item scores* are those of single target items, by projected gradients over the same norms.
Every measurement runs over shards that survive a kill; a row that cannot be measured is NaN, it alone, with a reason.
Decides nothing about which rows are measured and knows no catalogue.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from engine.errors import EngineError
from engine.gradients.directional import Directional
from engine.gradients.exact import Direction, conditioned, stack_directions, weighted_gradient
from engine.gradients.measured import measured_rows
from engine.gradients.persample import projected_gradients
from engine.gradients.projection import FactoredProjection
from engine.influence.curvature import corrected
from engine.influence.distillation import Measured
from engine.influence.scores import Combination, TargetSide
from engine.models.batches import Batch, collate, map_batches, plan_batches
from engine.models.loading import LanguageModel
from engine.models.table import TokenTable
from engine.progress import Reporter
from engine.runs.config import ScoreConfig
from engine.runs.costs import TARGET_PASSES
from engine.runs.embedding import RowEmbedding
from engine.runs.jobfolder import JobFolder
from engine.runs.ledger import Ledger
from engine.runs.parameters import Parameters
from engine.runs.second_order import target_loss
from engine.runs.shards import Table, compute_table
from engine.runs.texts import TextPairs

Measure = Callable[[Batch], tuple[Tensor, ...]]
Encode = Callable[[np.ndarray], np.ndarray]

NO_GRADIENT = "its gradient is zero or it has no response token"
EXACT_SHARD = 1024
EMBEDDING_SHARD = 8192
CHECKED_ROWS = 8  # that directional products are compared on with the true derivative


@dataclass(frozen=True)
class Targets:
    """The target side of a run: a direction per set, and the projected gradients (t, k) of the usable items.

    `norms` (t,) are the items' true ones; `sets` maps each target set to its items, rows of `grads`; `items` gives the
    place of each in its set, and `problems` says which items could not be used and why.
    """

    directions: tuple[Direction, ...]
    grads: np.ndarray
    norms: np.ndarray
    sets: dict[str, list[int]]
    items: dict[str, list[int]]
    problems: dict[str, str]

    @property
    def names(self) -> tuple[str, ...]:
        """The target sets, in order."""
        return tuple(self.sets)


@dataclass(frozen=True)
class ExactRows:
    """What was measured of some rows: `measured` for the propagation, `loss` (m,), and the rows set aside."""

    measured: Measured
    loss: np.ndarray
    problems: dict[int, str]


class Measurer:
    """One model, one parameter set, one job folder; each method is one resumable phase."""

    def __init__(
        self,
        folder: JobFolder,
        lm: LanguageModel,
        config: ScoreConfig,
        parameters: Parameters,
        ledger: Ledger,
        reporter: Reporter,
    ) -> None:
        self.folder, self.lm, self.config, self.reporter = folder, lm, config, reporter
        self.parameters, self.ledger = parameters, ledger
        self.tables: list[TokenTable] = []
        self.projection = FactoredProjection(parameters.sites, width=config.projection, seed=config.seed)

    def combination(self, targets: Targets) -> Combination:
        """How the columns of the target sets join into the score."""
        weights = self.config.set_weights(targets.names)
        return Combination(tuple(weights.values()), self.config.across)

    def targets(self, tables: Sequence[tuple[str, TokenTable]]) -> Targets:
        """The directions and projected gradients of every usable item of the target sets, in order.

        Target gradients are never conditioned. Raises `EngineError` where a set has no usable item.
        """
        self.tables = [table for _, table in tables]
        with self.ledger.phase("target gradients", tables=self.tables, passes=TARGET_PASSES):
            self.reporter.phase("target gradients", sum(len(table) for _, table in tables))
            parts = [self._target_set(index, name, table) for index, (name, table) in enumerate(tables)]
        sets: dict[str, list[int]] = {}
        start = 0
        for (name, _), part in zip(tables, parts):
            sets[name] = list(range(start, start + len(part.good)))
            start += len(part.good)
        return Targets(
            directions=tuple(part.direction for part in parts),
            grads=np.concatenate([part.grads for part in parts]),
            norms=np.concatenate([part.norms for part in parts]),
            sets=sets,
            items={name: part.good.tolist() for (name, _), part in zip(tables, parts)},
            problems={key: reason for part in parts for key, reason in part.problems.items()},
        )

    def _target_set(self, index: int, name: str, table: TokenTable) -> "_TargetSet":
        def measure(batch: Batch) -> tuple[Tensor, ...]:
            grads, _, norms = projected_gradients(
                self.lm, batch, self.projection, norm="ghost", scale=self.parameters.mask
            )
            return grads, norms

        found = self._table(f"target-{index}", table, np.arange(len(table)), measure, (self.projection.dim, 0))
        grads, norms = found.arrays["0"], found.arrays["1"]
        good = np.flatnonzero(np.isfinite(grads).all(axis=1) & np.isfinite(norms) & (norms > 0))
        aside = {int(i): found.problems.get(int(i), NO_GRADIENT) for i in np.setdiff1d(np.arange(len(table)), good)}
        if not len(good):
            reasons = "; ".join(sorted(set(aside.values()))[:3])
            raise EngineError(f"The target set {name!r} has no usable item ({reasons}). Nothing was scored.")
        share = 1 / norms[good] if self.config.unit == "cosine" else np.ones(len(good))
        direction = self._direction(table, good, np.asarray(share / len(good), dtype=np.float32))
        if self.config.curvature:
            direction = self._corrected(direction, table, good)
        problems = {f"{name}, item {row + 1}": reason for row, reason in aside.items()}
        return _TargetSet(direction, np.asarray(grads[good]), np.asarray(norms[good]), good, problems)

    def _corrected(self, direction: Direction, table: TokenTable, rows: np.ndarray) -> Direction:
        """g_T − η H_T b, the direction of an optimiser's step that has gathered momentum (METHODS section 1)."""
        step = self.parameters.step
        if step is None:
            return direction
        target = target_loss(self.lm, self.config, self.parameters, [table], [rows], [1.0])
        return corrected(direction, target, step)

    def _direction(self, table: TokenTable, rows: np.ndarray, weights: np.ndarray) -> Direction:
        """Σ_j w_j ∇ℓ_j over rows of a table."""
        parts = plan_batches(table.lengths[rows], max_tokens=self.config.batch_tokens)
        batches = (collate(table, rows[part], pad_id=self.lm.pad_id, device=self.lm.device) for part in parts)
        shares = [torch.from_numpy(weights[part]).to(self.lm.device) for part in parts]
        return weighted_gradient(self.lm, batches, shares, self.parameters.sites)

    def exact(self, name: str, pool: TokenTable, rows: np.ndarray, targets: Targets) -> ExactRows:
        """Columns, item scores and losses of `rows`, from their own gradients; NaN where a row has none.

        With the aggregate "max" the columns are those of the item scores.
        """
        cosine, best = self.config.unit == "cosine", self.config.aggregate == "max"
        side = TargetSide(targets.grads, unit=self.config.unit, norms=targets.norms, device=self.lm.device)
        directions = stack_directions(targets.directions, self.parameters.sites)

        def measure(batch: Batch) -> tuple[Tensor, ...]:
            found = measured_rows(self.lm, batch, directions, self.projection, scale=self.parameters.scale)
            matrix = side(found.projected, found.norms)
            length = found.norms if cosine else torch.ones_like(found.norms)
            columns = (found.products / length[:, None]).masked_fill(found.norms[:, None] <= 0, torch.nan)
            return _best_items(matrix, targets) if best else columns, matrix, found.losses

        with self.ledger.phase(name, tables=[pool], rows=rows):
            self.reporter.phase(name, len(rows))
            widths = (len(targets.names), len(targets.grads), 0)
            table = self._table(name, pool, rows, measure, widths)
        columns, matrix, loss = (np.asarray(table.arrays[key]) for key in ("0", "1", "2"))
        return ExactRows(Measured(rows, columns, matrix), loss, dict(table.problems))

    def embeddings(
        self, embedding: RowEmbedding, pool: TokenTable, rows: np.ndarray, name: str = "embeddings"
    ) -> Table:
        """`0` (m, e) float32 the embeddings of `rows`, and `1` (m,) their response losses, memory-mapped."""
        with self.ledger.phase(name, tables=[pool], rows=rows, embedding=True):
            self.reporter.phase(name, len(rows))
            widths = (embedding.dim, 0)
            return self._table(name, pool, rows, embedding.measure, widths, EMBEDDING_SHARD, self._encoder(embedding))

    def _encoder(self, embedding: RowEmbedding) -> Encode | None:
        """Rows to vectors by their texts, where the embedding reads texts."""
        if embedding.encode is None:
            return None
        encode, texts = embedding.encode, TextPairs(self.folder.input / "pool.jsonl")
        return lambda rows: encode([f"{prompt} {response}" for prompt, response in texts.pairs(rows)])

    def directional(self, pool: TokenTable, rows: np.ndarray, targets: Targets) -> tuple[Table, tuple[str, ...]]:
        """`0` (m, s) float32 inner products with the target directions, `1` (m,) losses; forward passes alone."""
        scale = self.parameters.scale
        directions = list(targets.directions)
        if scale is not None:
            directions = [conditioned(u, scale, self.parameters.sites) for u in directions]
        instrument = Directional(self.lm, self.parameters.sites, directions)
        check = instrument.check(self._few(pool, rows))
        with self.ledger.phase("directional scores", tables=[pool], rows=rows):
            self.reporter.phase("directional scores", len(rows))
            table = self._table("directional", pool, rows, instrument, (len(targets.names), 0))
        said = (
            f"Checked on {check.rows} samples against the true derivative: relative error {check.relative_error:.1g}."
        )
        return table, (*instrument.notes, said)

    def _few(self, pool: TokenTable, rows: np.ndarray) -> Batch:
        """A few rows, drawn by the seed, as one batch."""
        drawn = np.sort(np.random.default_rng((self.config.seed, 7)).permutation(rows)[:CHECKED_ROWS])
        return collate(pool, drawn, pad_id=self.lm.pad_id, device=self.lm.device)

    def _table(
        self,
        name: str,
        table: TokenTable,
        rows: np.ndarray,
        measure: Measure,
        widths: Sequence[int],
        shard: int = EXACT_SHARD,
        encode: Encode | None = None,
    ) -> Table:
        """`measure` of every row as memory-mapped arrays `0`, `1`, … (m, width) float32; the last is plain, (m,).

        With `encode` the first array is what it makes of the rows.
        """

        def compute(part: np.ndarray) -> Table:
            found, problems = map_batches(
                self.lm,
                table,
                part,
                lambda batch: tuple(values.float().cpu().numpy() for values in measure(batch)),
                max_tokens=self.config.batch_tokens,
                reporter=self.reporter,
            )
            arrays = list(found) if isinstance(found, tuple) else _nothing(len(part), widths)
            if encode is not None:
                arrays[0] = np.asarray(encode(part), dtype=np.float32)
            return Table({str(key): values for key, values in enumerate(arrays)}, problems)

        return compute_table(self.folder.work, name.replace(" ", "-"), rows, shard, compute, self.reporter)


@dataclass(frozen=True)
class _TargetSet:
    direction: Direction
    grads: np.ndarray
    norms: np.ndarray
    good: np.ndarray
    problems: dict[str, str]


def _best_items(matrix: Tensor, targets: Targets) -> Tensor:
    """The largest item score of every set (B, s)."""
    return torch.stack([matrix[:, items].amax(dim=1) for items in targets.sets.values()], dim=1)


def _nothing(count: int, widths: Sequence[int]) -> list[np.ndarray]:
    """All-NaN arrays for a shard of which no row could be measured."""
    shapes: list[tuple[int, ...]] = [(count, width) for width in widths[:-1]] + [(count,)]
    return [np.full(shape, np.nan, dtype=np.float32) for shape in shapes]
