"""What a map is asked to be: frozen, validated at construction, saved with the map."""

from dataclasses import dataclass
from typing import Literal

from engine.runs.validation import Config, choice, number

Features = Literal["auto", "hidden", "sentence"]


@dataclass(frozen=True, kw_only=True)
class MapConfig(Config):
    """How the pool is laid out: which features describe a row and how neighbours become a plane."""

    features: Features = "auto"
    model: str = "builtin"
    neighbours: int = 15
    min_dist: float = 0.1
    seed: int = 0
    max_length: int = 512
    batch_tokens: int = 1024
    device: str = "auto"
    dtype: str = "auto"

    def __post_init__(self) -> None:
        """Refuse values outside their range."""
        choice("features", self.features, Features)
        number("neighbours", self.neighbours, int, 2, 200)
        number("min_dist", self.min_dist, (int, float), 0.0, 1.0)
        number("seed", self.seed, int, 0, 2**32 - 1)
        number("max_length", self.max_length, int, 16, 1 << 20)
        number("batch_tokens", self.batch_tokens, int, 16, 1 << 24)
