"""RDS+ (arXiv 2503.01807): the cosine of position-weighted mean-pooled last hidden states of a row and an item.

Notation. φ_i = Σ_t t·h_t / Σ_t t over the tokens of row i, t from 1, h the hidden states after the final norm;
P[i, j] = <φ_i, φ_j> / (‖φ_i‖ ‖φ_j‖), from one forward pass of each row and item; no gradient is taken. The paper then
lets the items take turns (the strategy `round-robin`).
"""

import numpy as np

from engine.gradients.embeddings import HiddenStates
from engine.influence.functions.base import Passes, Scores, unit_rows
from engine.models.batches import map_batches
from engine.models.loading import LanguageModel
from engine.models.table import TokenTable
from engine.progress import Reporter

NO_DIRECTION = "its pooled hidden states are zero"


class Rds:
    """Cosines of pooled hidden states. The items' states are worked out at the first call and kept."""

    name = "rds"
    pointwise = False

    def __init__(self, lm: LanguageModel, pool: TokenTable, items: TokenTable, *, batch_tokens: int = 1024) -> None:
        self.lm, self.pool, self.items, self.batch_tokens = lm, pool, items, batch_tokens
        self.passes = Passes()
        self.notes: tuple[str, ...] = ("Cosines of pooled last hidden states (RDS+): one forward pass a sample.",)
        self._embed = HiddenStates(lm)
        self._kept: tuple[np.ndarray, dict[int, str]] | None = None

    def __call__(
        self, rows: np.ndarray, items: np.ndarray | None = None, *, reporter: Reporter | None = None
    ) -> Scores:
        """P (m, u) of pool rows (m,) against items (u,)."""
        if self._kept is None:
            self._kept = self._states(self.items, np.arange(len(self.items)), None)
        chosen = np.arange(len(self.items)) if items is None else np.asarray(items, np.int64)
        right, bad = self._kept
        left, problems = self._states(self.pool, np.asarray(rows, np.int64), reporter)
        found = {int(j): bad[int(j)] for j in chosen if int(j) in bad}
        return Scores(left @ right[chosen].T, problems, found)

    def _states(
        self, table: TokenTable, rows: np.ndarray, reporter: Reporter | None
    ) -> tuple[np.ndarray, dict[int, str]]:
        """Unit vectors (m, H) of rows of a table, NaN where there is none, and why."""
        values, problems = map_batches(
            self.lm,
            table,
            rows,
            lambda batch: self._embed(batch).cpu().numpy(),
            max_tokens=self.batch_tokens,
            reporter=reporter,
        )
        vectors = np.asarray(values)
        if vectors.ndim == 1:  # no row could be embedded
            vectors = np.full((len(rows), self._embed.dim), np.nan, np.float32)
        ran = np.unique(rows[np.isfinite(vectors).all(axis=1)])
        self.passes += Passes(forward=len(ran), tokens=int(table.lengths[ran].sum()))
        found = unit_rows(vectors)
        for row in rows[~np.isfinite(found).all(axis=1)]:
            problems.setdefault(int(row), NO_DIRECTION)
        return found, problems
