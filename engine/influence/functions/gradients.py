"""Influence Distillation's exact rows as an influence function: cosines or inner products of per-sample gradients.

Notation. P[i, j] = <P(a ⊙ g_i), P(g_j)>, over the two true norms for a cosine (arXiv 2505.19051; METHODS section 1),
with g the gradient of the mean response loss in the parameter set, P(·) a factored projection and a the conditioning of
the pool side, if any: the item scores of the methods `exact` and `landmark`.
"""

from collections.abc import Callable, Sequence

import numpy as np
from torch import Tensor

from engine.gradients.persample import projected_gradients
from engine.gradients.projection import FactoredProjection
from engine.influence.functions.base import Passes, Scores
from engine.influence.scores import TargetSide, Unit
from engine.models.batches import Batch, map_batches
from engine.models.loading import LanguageModel
from engine.models.table import TokenTable
from engine.progress import Reporter

NO_GRADIENT = "its gradient is zero or it has no response token"
UNSAID = np.float32(-3.0e38)  # stands for NaN inside a batch, where a NaN would set the whole row aside
Scale = Sequence[Tensor | None] | None


class GradientSimilarity:
    """Similarities of gradients over the sites of `projection`. The items' gradients are kept from the first call on.

    `scale` conditions the pool side alone, `mask` (the random subset of the weights, if any) the items' side.
    """

    name = "exact"
    pointwise = False

    def __init__(
        self,
        lm: LanguageModel,
        pool: TokenTable,
        items: TokenTable,
        projection: FactoredProjection,
        *,
        unit: Unit = "cosine",
        scale: Scale = None,
        mask: Scale = None,
        batch_tokens: int = 1024,
    ) -> None:
        self.lm, self.pool, self.items, self.projection = lm, pool, items, projection
        self.unit, self.scale, self.mask, self.batch_tokens = unit, scale, mask, batch_tokens
        self.passes = Passes()
        self.notes: tuple[str, ...] = ("Similarities of projected gradients over true norms (Influence Distillation).",)
        self._kept: tuple[np.ndarray, np.ndarray, dict[int, str]] | None = None

    def __call__(
        self, rows: np.ndarray, items: np.ndarray | None = None, *, reporter: Reporter | None = None
    ) -> Scores:
        """P (m, u) of pool rows (m,) against items (u,)."""
        if self._kept is None:
            self._kept = self._gradients(self.items, np.arange(len(self.items)), self.mask, None)
        grads, norms, bad = self._kept
        chosen = np.arange(len(self.items)) if items is None else np.asarray(items, np.int64)
        item_problems = {int(j): bad.get(int(j), NO_GRADIENT) for j in chosen if not norms[int(j)] > 0}
        numbers = np.asarray(rows, np.int64)
        if not len(chosen) or all(int(j) in item_problems for j in chosen):
            if reporter is not None:
                reporter.advance(len(numbers))
            return Scores(np.full((len(numbers), len(chosen)), np.nan, np.float32), {}, item_problems)
        side = TargetSide(grads[chosen], unit=self.unit, norms=norms[chosen], device=self.lm.device)

        def measure(batch: Batch) -> np.ndarray:
            found, _, lengths = self._run(batch, self.scale)
            matrix = side(found, lengths).cpu().numpy()
            return np.where(np.isnan(matrix), UNSAID, matrix)

        values, problems = self._mapped(self.pool, numbers, measure, len(chosen), reporter)
        values[values == UNSAID] = np.nan
        usable = [at for at, j in enumerate(chosen) if int(j) not in item_problems]
        for row in numbers[~np.isfinite(values[:, usable]).all(axis=1)]:
            problems.setdefault(int(row), NO_GRADIENT)
        return Scores(values, problems, item_problems)

    def _run(self, batch: Batch, scale: Scale) -> tuple[Tensor, Tensor, Tensor]:
        return projected_gradients(self.lm, batch, self.projection, norm="ghost", scale=scale)

    def _gradients(
        self, table: TokenTable, rows: np.ndarray, scale: Scale, reporter: Reporter | None
    ) -> tuple[np.ndarray, np.ndarray, dict[int, str]]:
        """Projected gradients (m, k), true norms (m,) and why some rows have none."""

        def measure(batch: Batch) -> np.ndarray:
            found, _, norms = self._run(batch, scale)
            return np.concatenate([found.cpu().numpy(), norms.cpu().numpy()[:, None]], axis=1)

        values, problems = self._mapped(table, rows, measure, self.projection.dim + 1, reporter)
        return np.ascontiguousarray(values[:, :-1]), np.ascontiguousarray(values[:, -1]), problems

    def _mapped(
        self,
        table: TokenTable,
        rows: np.ndarray,
        measure: Callable[[Batch], np.ndarray],
        width: int,
        reporter: Reporter | None,
    ) -> tuple[np.ndarray, dict[int, str]]:
        found, problems = map_batches(self.lm, table, rows, measure, max_tokens=self.batch_tokens, reporter=reporter)
        values = np.asarray(found)
        if values.ndim == 1:  # no row could be run
            values = np.full((len(rows), width), np.nan, np.float32)
        ran = np.unique(rows[np.isfinite(values).any(axis=1)])
        self.passes += Passes(backward=len(ran), tokens=int(table.lengths[ran].sum()))
        return values, problems
