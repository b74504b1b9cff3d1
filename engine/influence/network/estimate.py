"""A fitted network said of all pairs, block by block, and the sums over them that a run needs.

Notation. n rows with embeddings X (n, d), which may be memory-mapped, u items Y (u, e); f (n, u) is never held where a
reduction of it will do. Rows or items without a finite embedding are NaN, they alone. Blocks change nothing: f of a
pair depends on the pair alone, up to rounding.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from engine.errors import EngineError
from engine.influence.network.config import NetworkConfig
from engine.influence.network.inputs import Scaling
from engine.influence.network.network import InfluenceNetwork
from engine.influence.network.training import Fitted
from engine.progress import Reporter, Silent

ROW_BLOCK = 4096
ITEM_BLOCK = 1024
FORMAT = 1
Reduction = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Estimator:
    """A network with its scales and the items it is asked about: calling it with embeddings gives their influence."""

    network: InfluenceNetwork
    scaling: Scaling
    items: np.ndarray
    _ready: torch.Tensor = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Bring the items to the network's scale, zeros where one has no embedding."""
        good = np.isfinite(self.items).all(axis=1)
        object.__setattr__(self, "_ready", self.scaling.items(np.where(good[:, None], self.items, 0)))
        object.__setattr__(self, "_absent", ~good)

    @classmethod
    def of(cls, fitted: Fitted, items: np.ndarray | None) -> "Estimator":
        """The fitted network over items (u, e); None for a point-wise one."""
        return cls(fitted.network, fitted.scaling, np.ones((1, 1), np.float32) if items is None else np.asarray(items))

    def __call__(self, rows: np.ndarray, columns: slice | np.ndarray = slice(None)) -> np.ndarray:
        """f (m, u) float32 of rows (m, d) against all items, or those of `columns`."""
        return np.concatenate([self._block(part, columns) for part in _blocks(rows)] or [self._empty(columns)])

    def _block(self, rows: np.ndarray, columns: slice | np.ndarray) -> np.ndarray:
        good = np.isfinite(rows).all(axis=1)
        left = self.scaling.rows(np.where(good[:, None], rows, 0))
        right, absent = self._ready[columns], self._absent[columns]  # type: ignore[attr-defined]
        parts = [self.network.mean(left, right[at : at + ITEM_BLOCK]) for at in range(0, len(right), ITEM_BLOCK)]
        found = self.scaling.influence(torch.cat(parts, dim=1)) if parts else np.zeros((len(rows), 0), np.float32)
        found[~good] = np.nan
        found[:, absent] = np.nan
        return found

    def _empty(self, columns: slice | np.ndarray) -> np.ndarray:
        return np.zeros((0, len(self._ready[columns])), np.float32)

    def by_row(self, rows: np.ndarray, reduction: Reduction, *, reporter: Reporter | None = None) -> np.ndarray:
        """`reduction` of f (b, u) to (b, …), for all rows in order; at most `ROW_BLOCK` rows of f are held."""
        listener, found = reporter or Silent(), []
        for part in _blocks(rows):
            listener.check()
            found.append(reduction(self._block(part, slice(None))))
            listener.advance(len(part))
        return np.concatenate(found) if found else reduction(self._empty(slice(None)))

    def by_item(self, rows: np.ndarray, *, top: int = 0, reporter: Reporter | None = None) -> "ItemSummary":
        """What the rows are to each item: mean, best, and the `top` best rows of each, streamed over the rows."""
        listener, count = reporter or Silent(), len(self.items)
        total, seen = np.zeros(count), np.zeros(count, np.int64)
        best = np.full((0, count), -np.inf, np.float32)
        places = np.zeros((0, count), np.int64)
        kept, start = max(1, top), 0
        for part in _blocks(rows):
            listener.check()
            values = self._block(part, slice(None))
            known = np.isfinite(values)
            total, seen = total + np.where(known, values, 0).sum(axis=0, dtype=np.float64), seen + known.sum(axis=0)
            numbers = np.broadcast_to(np.arange(start, start + len(part))[:, None], values.shape)
            best, places = _best(
                np.concatenate([best, np.where(known, values, -np.inf)]), np.concatenate([places, numbers]), kept
            )
            start += len(part)
            listener.advance(len(part))
        with np.errstate(invalid="ignore"):
            mean = np.where(seen > 0, total / np.maximum(seen, 1), np.nan)
        absent = best == -np.inf
        return ItemSummary(
            mean.astype(np.float32), np.where(absent, np.nan, best), np.where(absent, -1, places).astype(np.int64)
        )

    def save(self) -> dict[str, np.ndarray]:
        """Everything but the configuration, as arrays by name."""
        weights = {f"weight:{name}": value.cpu().numpy() for name, value in self.network.state_dict().items()}
        scales = {"shift": self.scaling.shift, "factor": self.scaling.factor}
        numbers = np.array([FORMAT, self.scaling.mean, self.scaling.spread, self.scaling.items_alike], np.float64)
        return {**weights, **scales, "numbers": numbers, "items": self.items, "parts": np.array(self.network.parts)}

    @classmethod
    def load(cls, arrays: Any, config: NetworkConfig) -> "Estimator":
        """The estimator of `save`. Raises `EngineError` for another format or weights of another shape."""
        try:
            version, mean, spread, alike = arrays["numbers"].tolist()
            items, shift = arrays["items"], arrays["shift"]
            parts = arrays["parts"].tolist() if alike else ()
            network = InfluenceNetwork(len(shift), items.shape[1], config, parts=parts)
            state = {name: torch.from_numpy(np.array(arrays[f"weight:{name}"])) for name in network.state_dict()}
            network.load_state_dict(state)
        except (KeyError, ValueError, RuntimeError) as error:
            raise EngineError(f"The saved network cannot be read: {error}. Score again to make it anew.") from error
        if version != FORMAT:
            raise EngineError(f"The saved network has format {version:g}, expected {FORMAT}. Score again.")
        scaling = Scaling(shift, arrays["factor"], bool(alike), mean, spread)
        return cls(network.eval().requires_grad_(False), scaling, items)


@dataclass(frozen=True)
class ItemSummary:
    """Per item: `mean` (u,) over the rows, and its best rows' values (k, u) and numbers (k, u), -1 where too few."""

    mean: np.ndarray
    best: np.ndarray
    rows: np.ndarray


def top_mean(count: int) -> Reduction:
    """A reduction: the mean of the `count` largest values of each row (b, u) → (b,)."""

    def reduce(values: np.ndarray) -> np.ndarray:
        kept = min(count, values.shape[1])
        return np.partition(values, values.shape[1] - kept, axis=1)[:, values.shape[1] - kept :].mean(axis=1)

    return reduce


def _best(values: np.ndarray, places: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """The `count` largest of every column, best first, the earlier row first among equals."""
    order = np.argsort(-values, axis=0, kind="stable")[:count]
    return np.take_along_axis(values, order, axis=0), np.take_along_axis(places, order, axis=0)


def _blocks(rows: np.ndarray) -> Iterator[np.ndarray]:
    for start in range(0, len(rows), ROW_BLOCK):
        yield np.asarray(rows[start : start + ROW_BLOCK], dtype=np.float32)
