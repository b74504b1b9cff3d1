"""The embedding of a run: the one configured, or with "auto" the one a pilot prefers."""

from dataclasses import dataclass, field
from typing import Any

from engine.influence.distillation import Measured
from engine.influence.scores import Combination
from engine.models.table import TokenTable
from engine.runs.embedding import RowEmbedding, row_embedding
from engine.runs.measuring import Measurer


@dataclass(frozen=True)
class Picked:
    """The embedding, why it was picked, and what each candidate of the pilot did."""

    embedding: RowEmbedding
    sentence: str = ""
    candidates: tuple[dict[str, Any], ...] = field(default=())

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences for the run."""
        return (*((self.sentence,) if self.sentence else ()), *self.embedding.notes)

    def to_dict(self) -> dict[str, Any]:
        """The pick as JSON values."""
        named = {"name": self.embedding.name, "dim": self.embedding.dim}
        return {**named, "sentence": self.sentence, "candidates": list(self.candidates)}


def pick_embedding(measurer: Measurer, pool: TokenTable, tuning: Measured, combine: Combination) -> Picked:
    """The embedding of the run's configuration."""
    return Picked(row_embedding(measurer.config.embedding, measurer.lm, measurer.config))
