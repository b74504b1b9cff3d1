"""How an InfluenceNetwork is shaped and trained: checked when made, saved with the run.

`PAPER` is the published recipe (arXiv 2502.09969): one network of 100 hidden units on raw labels, Adam at 1e-4, batches
of 64 pairs, at most 20 epochs. The defaults are what held-out error preferred on real data (`tests/bench`, benchmark
`network_fidelity`): labels and inputs on one scale, the embeddings' own similarity as a further input, a low-rank
bilinear term, several members averaged, and early stopping on labelled rows kept out of the fit.
"""

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from engine.errors import EngineError

BatchOf = Literal["pairs", "rows"]


@dataclass(frozen=True, kw_only=True)
class NetworkConfig:
    """How a network is shaped and trained.

    Shape: `hidden` units, `rank` of the bilinear term (0: none), `cosine` whether the similarities of the embeddings'
    parts enter, `members` networks whose mean is the answer.

    Training: `standardise` brings labels to mean 0 and spread 1 and inputs to one length before, and back after;
    a batch holds `batch` pairs drawn at random, or `batch` rows with all their items; `validation` is the share of
    labelled rows that decide when to stop, `patience` epochs without a better error end it, and `refit` then trains
    anew on all labelled rows for as many epochs; `dropout` is that of the inputs, `weight_decay` AdamW's.
    """

    hidden: int = 100
    members: int = 4
    rank: int = 16
    cosine: bool = True
    standardise: bool = True
    learning_rate: float = 2e-3
    weight_decay: float = 1.0
    dropout: float = 0.3
    batch_of: BatchOf = "rows"
    batch: int = 16
    epochs: int = 100
    patience: int = 15
    validation: float = 0.15
    refit: bool = True
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse values outside their range."""
        leasts = {"hidden": 1, "members": 1, "rank": 0, "batch": 1, "epochs": 1, "patience": 1, "seed": 0}
        for name, least in leasts.items():
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < least:
                raise EngineError(f"{name} is {value!r}; it must be a whole number of at least {least}.")
        if not (np.isfinite(self.learning_rate) and self.learning_rate > 0):
            raise EngineError(f"learning_rate is {self.learning_rate!r}; it must be a number above 0.")
        if not (np.isfinite(self.weight_decay) and self.weight_decay >= 0):
            raise EngineError(f"weight_decay is {self.weight_decay!r}; it must be a number of at least 0.")
        for name, most in (("dropout", 0.9), ("validation", 0.5)):
            if not 0 <= getattr(self, name) <= most:
                raise EngineError(f"{name} is {getattr(self, name)!r}; it must be between 0 and {most}.")
        if self.batch_of not in get_args(BatchOf):
            raise EngineError(f"batch_of is {self.batch_of!r}; it must be one of: {', '.join(get_args(BatchOf))}.")


PAPER = NetworkConfig(
    members=1,
    rank=0,
    cosine=False,
    standardise=False,
    learning_rate=1e-4,
    weight_decay=0.0,
    dropout=0.0,
    batch_of="pairs",
    batch=64,
    epochs=20,
    patience=20,
    refit=False,
)
