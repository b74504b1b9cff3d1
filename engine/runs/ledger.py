"""What a run cost, phase by phase, beside what it was predicted to cost.

An entry: name, rows, tokens, FLOPs, seconds, and the predicted seconds where the speed of this device was measured.
Seconds are wall time of this process; a resumed run counts only what it did itself, and rows found complete on disk
are counted in `rows` and `tokens` all the same.
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass

import numpy as np

from engine.models.table import TokenTable
from engine.runs.config import ScoreConfig
from engine.runs.costs import Speed, embedding_flops, gradient_flops


@dataclass(frozen=True)
class Entry:
    """One phase of a run; `predicted` None where it was not."""

    name: str
    rows: int
    tokens: int
    flops: float
    seconds: float
    predicted: float | None


class Ledger:
    """Collects the entries of a run."""

    def __init__(self, config: ScoreConfig) -> None:
        self.config = config
        self.speed: Speed | None = None
        self.entries: list[Entry] = []

    @contextmanager
    def part(
        self, name: str, *, rows: int = 0, tokens: int = 0, flops: float = 0.0, predicted: float | None = None
    ) -> Iterator[None]:
        """Time a block that is no plain measurement of rows; the caller says what it amounts to."""
        began = time.perf_counter()
        yield
        self.entries.append(Entry(name, rows, tokens, flops, _since(began), predicted))

    @contextmanager
    def phase(
        self,
        name: str,
        *,
        tables: Sequence[TokenTable],
        rows: np.ndarray | None = None,
        embedding: bool = False,
        passes: int = 1,
    ) -> Iterator[None]:
        """Time the measurement of `rows` (of the one table) or of all rows of the tables, each `passes` times."""
        lengths = np.concatenate([t.lengths for t in tables]) if rows is None else tables[0].lengths[rows]
        tokens = passes * int(lengths.sum())
        began = time.perf_counter()
        yield
        flops, predicted = 0.0, None
        if self.speed is not None:
            flops = (
                embedding_flops(self.speed, self.config, tokens) if embedding else gradient_flops(self.speed, tokens)
            )
            predicted = round(tokens * (self.speed.embedding if embedding else self.speed.gradients), 3)
        self.entries.append(Entry(name, len(lengths), tokens, flops, _since(began), predicted))

    @property
    def seconds(self) -> dict[str, float]:
        """Seconds by phase."""
        found: dict[str, float] = {}
        for entry in self.entries:
            found[entry.name] = round(found.get(entry.name, 0.0) + entry.seconds, 3)
        return found

    def to_list(self) -> list[dict[str, object]]:
        """The entries as JSON values, in order."""
        return [asdict(entry) for entry in self.entries]


def _since(began: float) -> float:
    return round(time.perf_counter() - began, 3)
