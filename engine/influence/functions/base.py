"""The one shape of all influence functions: pool rows against items in, a matrix out, and what it cost.

Notation. P (m, u) float32, indexed [pool row, item]; higher means that the row is more useful for the item. A
*pair-wise* function scores rows against items (target samples, or other pool rows); a *point-wise* one scores each row
by itself, and its matrix has one column. A function is made once for a pool and its items, and then called for any rows
and items in any order: what it returns for a pair depends on nothing but the pair. Whatever it needs of an item, or of
all rows alike, it works out at most once and keeps.

Does not choose rows, join items into scores, or store anything.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from engine.progress import Reporter

BACKWARD_COST = 3  # a forward and backward pass in forward passes


@dataclass(frozen=True)
class Passes:
    """Sequences that went through a language model: `forward` alone, `backward` forward and back; `tokens` in all."""

    forward: int = 0
    backward: int = 0
    tokens: int = 0

    def __add__(self, other: "Passes") -> "Passes":
        """Both together."""
        return Passes(self.forward + other.forward, self.backward + other.backward, self.tokens + other.tokens)

    @property
    def equivalents(self) -> int:
        """Their worth in forward passes: a forward and backward pass counts three."""
        return self.forward + BACKWARD_COST * self.backward


@dataclass(frozen=True)
class Scores:
    """P (m, u) float32, NaN where a pair has no score; why pool rows and items have none, by row and item number."""

    matrix: np.ndarray
    problems: Mapping[int, str] = field(default_factory=dict)
    item_problems: Mapping[int, str] = field(default_factory=dict)


def unit_rows(vectors: np.ndarray) -> np.ndarray:
    """Rows (m, d) at length 1; NaN where one is zero or not finite."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.where(lengths > 0, lengths, np.nan)


class InfluenceFunction(Protocol):
    """Scores pool rows against items. `passes` counts what was run so far; `notes` are sentences for the reader."""

    name: str
    pointwise: bool

    @property
    def passes(self) -> Passes:
        """What this function has run through a language model until now."""

    @property
    def notes(self) -> tuple[str, ...]:
        """How it was computed, and what a reader of the scores must know."""

    def __call__(
        self, rows: np.ndarray, items: np.ndarray | None = None, *, reporter: Reporter | None = None
    ) -> Scores:
        """P (m, u) of pool rows (m,) against items (u,), all items for None; a point-wise function ignores the items.

        Advances `reporter` by rows, within the phase that the caller began.
        """
