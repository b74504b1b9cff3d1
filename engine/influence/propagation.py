"""The fitted rule that turns an embedding into scores: one regression for all targets, then comparable columns.

Notation. l landmarks with embeddings E_L (l, e) and exact scores P_L (l, u) over u usable target items; s named target
sets. Item scores are predicted and reduced to one column per set (mean or maximum); for the mean alone, which is
linear, the columns are predicted directly: the same numbers for a fraction of the work. Each column is then made
comparable with exact scores (see `comparable`). Knows nothing of audits, status codes or the rest of the pool.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from engine.influence.comparable import AffineMap, comparable_map
from engine.influence.regression import KernelRidge, RidgeConfig
from engine.influence.scores import Aggregate, columns_of

Sets = Mapping[str, Sequence[int]]


@dataclass(frozen=True)
class Propagation:
    """A fitted propagation. Build it with `Propagation.fit`.

    `maps` hold the coefficients per target set, `item_maps` per item (empty unless items are kept).
    `estimated` (l, s) are the comparable leave-one-out columns of the landmarks.
    """

    ridge: KernelRidge
    sets: Sets
    aggregate: Aggregate
    maps: tuple[AffineMap, ...]
    item_maps: tuple[AffineMap, ...]
    estimated: np.ndarray

    @classmethod
    def fit(
        cls,
        embeddings: np.ndarray,
        scores: np.ndarray,
        sets: Sets,
        *,
        config: RidgeConfig,
        aggregate: Aggregate = "mean",
        keep_items: bool = False,
    ) -> "Propagation":
        """Fit landmark embeddings (l, e) to finite item scores (l, u); `sets` maps names to columns of the scores."""
        columns = columns_of(scores, sets, aggregate=aggregate)  # (l, s)
        direct = aggregate == "mean" and not keep_items
        ridge = KernelRidge.from_config(embeddings, columns if direct else scores, config)
        left_out = ridge.leave_one_out()  # (l, s) or (l, u)
        raw = left_out if direct else columns_of(left_out, sets, aggregate=aggregate)  # (l, s)
        maps = _maps(tuple(sets), columns, raw)
        item_maps = _maps([str(item) for item in range(scores.shape[1])], scores, left_out) if keep_items else ()
        return cls(ridge, sets, aggregate, maps, item_maps, mapped(raw, maps))

    def __call__(self, embeddings: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        """Comparable columns (m, s) and, where items are kept, comparable item scores (m, u), both float32."""
        predicted = self.ridge.predict(embeddings)
        direct = self.aggregate == "mean" and not self.item_maps
        columns = predicted if direct else self._reduced(predicted)
        return mapped(columns, self.maps), mapped(predicted, self.item_maps) if self.item_maps else None

    def _reduced(self, predicted: np.ndarray) -> np.ndarray:
        columns = np.full((len(predicted), len(self.sets)), np.nan, dtype=np.float32)
        good = np.isfinite(predicted).all(axis=1)
        if good.any():
            columns[good] = columns_of(predicted[good], self.sets, aggregate=self.aggregate)
        return columns

    @property
    def notes(self) -> tuple[str, ...]:
        """How the regression was set, and which columns are degenerate or weak."""
        return (*self.ridge.notes, *(f"Target set {m.name}: {m.reason}." for m in self.maps if m.reason))


def _maps(names: Sequence[str], exact: np.ndarray, left_out: np.ndarray) -> tuple[AffineMap, ...]:
    return tuple(comparable_map(name, exact[:, j], left_out[:, j]) for j, name in enumerate(names))


def mapped(columns: np.ndarray, maps: Sequence[AffineMap]) -> np.ndarray:
    """Every column (m, s) sent through its own map, float32."""
    return np.stack([each(columns[:, j]) for j, each in enumerate(maps)], axis=1)
