"""A fitted network said of all pairs, block by block, and the sums over them that a run needs.

Notation. n rows with embeddings X (n, d), which may be memory-mapped, u items Y (u, e); f (n, u) is never held where a
reduction of it will do. Rows or items without a finite embedding are NaN, they alone. Blocks change nothing: f of a
pair depends on the pair alone, up to rounding.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import torch

from engine.errors import EngineError
from engine.influence.network.config import NetworkConfig
from engine.influence.network.inputs import Scaling
from engine.influence.network.means import mean_over_items, mean_over_rows
from engine.influence.network.network import InfluenceNetwork
from engine.influence.network.training import Fitted
from engine.progress import Reporter, Silent

ROW_BLOCK = 4096
ITEM_BLOCK = 1024
HELD = 1 << 25  # numbers of f at a time in a reduction
FORMAT = 1
Reduction = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Estimator:
    """A network with its scales and the items it is asked about: calling it with embeddings gives their influence."""

    network: InfluenceNetwork
    scaling: Scaling
    items: np.ndarray
    _ready: torch.Tensor = field(init=False, repr=False)
    _absent: np.ndarray = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Bring the items to the network's scale, zeros where one has no embedding."""
        _check_width("Items", self.items, self.network.item_dim)
        good, filled = _readable(self.items)
        object.__setattr__(self, "_ready", self.scaling.items(filled))
        object.__setattr__(self, "_absent", ~good)

    @classmethod
    def of(cls, fitted: Fitted, items: np.ndarray | None) -> "Estimator":
        """The fitted network over items (u, e); None for a point-wise one. Raises `EngineError` for another width."""
        return cls(fitted.network, fitted.scaling, np.ones((1, 1), np.float32) if items is None else np.asarray(items))

    def __call__(self, rows: np.ndarray, columns: slice | np.ndarray = slice(None)) -> np.ndarray:
        """f (m, u) float32 of rows (m, d) against all items, or those of `columns`."""
        _check_width("Samples", rows, self.network.row_dim)
        return np.concatenate([self._block(part, columns) for part in _blocks(rows)] or [self._empty(columns)])

    def _block(self, rows: np.ndarray, columns: slice | np.ndarray) -> np.ndarray:
        good, filled = _readable(rows)
        left, right, absent = self.scaling.rows(filled), self._ready[columns], self._absent[columns]
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
        for part in self._reduced(rows):
            listener.check()
            found.append(reduction(self._block(part, slice(None))))
            listener.advance(len(part))
        return np.concatenate(found) if found else reduction(self._empty(slice(None)))

    def by_item(self, rows: np.ndarray, *, top: int = 0, reporter: Reporter | None = None) -> "ItemSummary":
        """What the rows are to each item: mean, best, and the `top` best rows of each, streamed over the rows."""
        listener, count = reporter or Silent(), len(self.items)
        total, seen = np.zeros(count), np.zeros(count, np.int64)
        kept, start = max(1, top), 0
        best, places = np.full((kept, count), -np.inf, np.float32), np.full((kept, count), -1, np.int64)
        for part in self._reduced(rows):
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
        mean = np.where(seen > 0, total / np.maximum(seen, 1), np.nan).astype(np.float32)
        absent = best == -np.inf
        return ItemSummary(mean, np.where(absent, np.nan, best), np.where(absent, -1, places))

    def mean_over_items(self, rows: np.ndarray, *, reporter: Reporter | None = None) -> np.ndarray:
        """The mean of f over the items that can be read, (n,) float32, without visiting the pairs (see `means`).

        NaN for a row that cannot be read, and where no item can. Checks for cancellation.
        """
        found = np.full(len(rows), np.nan, np.float32)
        good, items = self._good(rows), self._ready[~self._absent]
        if good.any() and len(items):
            blocks = partial(self._readable_blocks, rows, reporter or Silent())
            found[good] = self.scaling.influence(mean_over_items(self.network, blocks, lambda: [items]))
        return found

    def mean_over_rows(self, rows: np.ndarray, *, reporter: Reporter | None = None) -> np.ndarray:
        """The mean of f over the rows that can be read, (u,) float32: `by_item`'s mean without visiting the pairs.

        NaN for an item that cannot be read, and where no row can. Checks for cancellation.
        """
        found = np.full(len(self.items), np.nan, np.float32)
        items = self._ready[~self._absent]
        if self._good(rows).any() and len(items):
            blocks = partial(self._readable_blocks, rows, reporter or Silent())
            found[~self._absent] = self.scaling.influence(mean_over_rows(self.network, blocks, lambda: [items]))
        return found

    def _good(self, rows: np.ndarray) -> np.ndarray:
        """Which rows can be read, bool (n,)."""
        _check_width("Samples", rows, self.network.row_dim)
        return np.concatenate([_readable(part)[0] for part in _blocks(rows)] or [np.zeros(0, bool)])

    def _readable_blocks(self, rows: np.ndarray, listener: Reporter) -> Iterator[torch.Tensor]:
        """The rows that can be read, as the network reads them."""
        for part in _blocks(rows):
            listener.check()
            yield self.scaling.rows(part[_readable(part)[0]])

    def _reduced(self, rows: np.ndarray) -> Iterator[np.ndarray]:
        """Rows in blocks whose f may be held."""
        _check_width("Samples", rows, self.network.row_dim)
        return _blocks(rows, min(ROW_BLOCK, max(1, HELD // max(1, len(self.items)))))

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
            version, *rest = arrays["numbers"].tolist()
            if version != FORMAT:
                raise EngineError(f"The saved network has format {version:g}, expected {FORMAT}. Score again.")
            mean, spread, alike = rest
            items, scaling = arrays["items"], Scaling(arrays["shift"], arrays["factor"], bool(alike), mean, spread)
            parts = arrays["parts"].tolist() if alike else ()
            network = InfluenceNetwork(len(scaling.shift), items.shape[1], config, parts=parts)
            network.load_state_dict({name: _weight(arrays, name, own) for name, own in network.state_dict().items()})
        except (KeyError, ValueError) as error:
            raise EngineError(f"The saved network cannot be read: {error}. Score again to make it anew.") from error
        return cls(network.eval().requires_grad_(False), scaling, items)


@dataclass(frozen=True)
class ItemSummary:
    """Per item: `mean` (u,) over the rows, and its best rows' values (k, u), NaN, and numbers (k, u), -1 if too few."""

    mean: np.ndarray
    best: np.ndarray
    rows: np.ndarray


def top_mean(count: int) -> Reduction:
    """A reduction: the mean of the `count` largest values of each row, (b, u) → (b,); NaN items are left out."""
    if count < 1:
        raise EngineError(f"The mean of the {count} largest values was asked for; it must be of at least 1.")

    def reduce(values: np.ndarray) -> np.ndarray:
        first = max(0, values.shape[1] - count)
        known = np.where(np.isnan(values), -np.inf, values)
        best = np.partition(known, first, axis=1)[:, first:] if first else known
        there = np.isfinite(best)
        totals, counts = np.where(there, best, 0).sum(axis=1, dtype=np.float64), there.sum(axis=1)
        return np.where(counts, totals / np.maximum(counts, 1), np.nan).astype(np.float32)

    return reduce


def _best(values: np.ndarray, places: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """The `count` largest of every column, best first, the earlier row first among equals."""
    order = np.argsort(-values, axis=0, kind="stable")[:count]
    return np.take_along_axis(values, order, axis=0), np.take_along_axis(places, order, axis=0)


def _blocks(rows: np.ndarray, size: int | None = None) -> Iterator[np.ndarray]:
    step = size or ROW_BLOCK
    for start in range(0, len(rows), step):
        yield np.asarray(rows[start : start + step], dtype=np.float32)


def _weight(arrays: Any, name: str, own: torch.Tensor) -> torch.Tensor:
    """A saved weight that fits."""
    found = np.array(arrays[f"weight:{name}"])
    if found.shape != tuple(own.shape):
        raise ValueError(f"{name} has shape {found.shape}, expected {tuple(own.shape)}")
    return torch.from_numpy(found)


def _readable(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Which rows are finite, bool (m,), and the rows with zeros in place of the others."""
    good = np.isfinite(values).all(axis=1)
    return good, values if good.all() else np.where(good[:, None], values, 0)


def _check_width(what: str, values: np.ndarray, width: int) -> None:
    if values.ndim != 2 or values.shape[1] != width:
        raise EngineError(
            f"{what} of shape {values.shape} do not fit a network that reads {width} numbers of each. "
            "Embed them as for the fit. Nothing was estimated."
        )
