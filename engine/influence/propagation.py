"""The fitted rule that turns an embedding into scores: one regression for everything, then comparable columns.

Notation. l fitted rows with embeddings E_L (l, e), exact columns (l, s), one per named target set, and exact item
scores (l, u), u of them possibly 0. Columns and items are carried by one kernel ridge regression, each directly: a
column that is a maximum over items is not the maximum of shrunken item predictions. Each column is then made comparable
with exact scores (see `comparable`). Knows nothing of audits, status codes or the rest of the pool.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from engine.influence.comparable import AffineMap, comparable_map
from engine.influence.regression import KernelRidge, RidgeConfig


@dataclass(frozen=True)
class Propagation:
    """A fitted propagation. Build it with `Propagation.fit`.

    `maps` hold the coefficients per target set, `item_maps` per item. `left_out` (l, s) are the plain leave-one-out
    columns of the fitted rows, what the regression says of each from all the others.
    """

    ridge: KernelRidge
    maps: tuple[AffineMap, ...]
    item_maps: tuple[AffineMap, ...]
    left_out: np.ndarray

    @classmethod
    def fit(
        cls,
        embeddings: np.ndarray,
        columns: np.ndarray,
        items: np.ndarray,
        *,
        names: Sequence[str],
        config: RidgeConfig,
    ) -> "Propagation":
        """Fit embeddings (l, e) to finite columns (l, s) of the sets `names` and item scores (l, u)."""
        ridge = KernelRidge.from_config(embeddings, np.hstack([columns, items]), config)
        left_out = ridge.leave_one_out()  # (l, s + u)
        s = len(names)
        maps = _maps(names, columns, left_out[:, :s])
        item_maps = _maps([str(item) for item in range(items.shape[1])], items, left_out[:, s:])
        return cls(ridge, maps, item_maps, left_out[:, :s])

    def __call__(self, embeddings: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Plain predictions of the columns (m, s) and comparable item scores (m, u), both float32."""
        predicted = self.ridge.predict(embeddings)
        s = len(self.maps)
        return predicted[:, :s], mapped(predicted[:, s:], self.item_maps)

    @property
    def notes(self) -> tuple[str, ...]:
        """How the regression was set, and which columns are degenerate or weak."""
        return (*self.ridge.notes, *(f"Target set {m.name}: {m.reason}." for m in self.maps if m.reason))


def _maps(names: Sequence[str], exact: np.ndarray, left_out: np.ndarray) -> tuple[AffineMap, ...]:
    return tuple(comparable_map(name, exact[:, j], left_out[:, j]) for j, name in enumerate(names))


def mapped(columns: np.ndarray, maps: Sequence[AffineMap]) -> np.ndarray:
    """Every column (m, s) sent through its own map, float32."""
    result = np.empty((len(columns), len(maps)), dtype=np.float32)
    for j, each in enumerate(maps):
        result[:, j] = each(columns[:, j])
    return result
