"""What a run is asked that goes by an influence function, or by the network that learns one.

A part of `ScoreConfig` (`config`), with its own checks. Nothing here matters to a run through gradients alone.
"""

from dataclasses import dataclass
from typing import Any, Literal

from engine.errors import EngineError
from engine.influence.network.config import PAPER, BatchOf, NetworkConfig
from engine.runs.methods import PAIR_PRICED, POINTWISE, Teacher
from engine.runs.validation import Config, choice, number

NetworkFeatures = Literal["auto", "lexical", "sentence", "sentence+lexical", "hidden", "hidden+lexical"]
RatingPreset = Literal["paper", "release"]

LABELLED_SHARE = 0.05
LABELLED_FLOOR = 64  # of the default only
LEAST_LABELLED = 2
HELD_ITEMS = 0.2  # share of the items that the network is judged by where every item is labelled
PAIR_ITEMS = 16  # labelled items of a teacher that is paid for by the pair
BEST = NetworkConfig()
NETWORK_FIELDS = (
    *("hidden", "members", "rank", "cosine", "standardise", "learning_rate", "weight_decay", "dropout"),
    *("batch_of", "batch", "epochs", "patience", "refit"),
)
PAPER_NETWORK: dict[str, Any] = {
    **{f"network_{name}": getattr(PAPER, name) for name in NETWORK_FIELDS},
    "network_features": "sentence",
    "labelled": LABELLED_SHARE,
}


@dataclass(frozen=True, kw_only=True)
class FunctionConfig(Config):
    """Settings of influence functions and of the network.

    `teacher` is what the network learns; `labelled` the share of the usable rows that the teacher labels (None: 5 %, at
    least 64) and `labelled_items` the number of target items (None: four of five of each set, or 16 in all for a
    teacher that is paid for by the pair; the network is judged by the others). `network_features` is what the network
    reads of a text; "auto" lets the labelled rows decide between words alone and sentence embeddings with words. The
    `network_…` fields are those of `NetworkConfig`. `pool_network` learns a second network, of pool rows on pool rows,
    for selections that go by it.

    `groups` names a field of the target rows, such as task: an item score is then averaged within each group, and the
    best group counts (LESS's maximum over sub-tasks). `lora_rank`, `lora_alpha` and `less_width` are LESS's; its
    warm-up is set by the `warm_up_…` fields. `models` are further models that SelectIT joins by their sizes,
    `rating_levels` its K, `rating_alpha` its α, `rating_preset` "release" repeats the authors' second softmax.
    """

    teacher: Teacher = "less"
    labelled: float | None = None
    labelled_items: int | None = None
    network_features: NetworkFeatures = "auto"
    network_hidden: int = BEST.hidden
    network_members: int = BEST.members
    network_rank: int = BEST.rank
    network_cosine: bool = BEST.cosine
    network_standardise: bool = BEST.standardise
    network_learning_rate: float = BEST.learning_rate
    network_weight_decay: float = BEST.weight_decay
    network_dropout: float = BEST.dropout
    network_batch_of: BatchOf = BEST.batch_of
    network_batch: int = BEST.batch
    network_epochs: int = BEST.epochs
    network_patience: int = BEST.patience
    network_refit: bool = BEST.refit
    pool_network: bool = False
    groups: str = ""
    lora_rank: int = 8
    lora_alpha: float = 16.0
    less_width: int = 8192
    models: tuple[str, ...] = ()
    rating_levels: int = 5
    rating_alpha: float = 0.2
    rating_preset: RatingPreset = "paper"
    seed: int = 0

    def check_functions(self) -> None:
        """Refuse values outside their range."""
        for name, allowed in (
            ("teacher", Teacher),
            ("network_features", NetworkFeatures),
            ("rating_preset", RatingPreset),
        ):
            choice(name, getattr(self, name), allowed)
        if self.labelled is not None:
            number("labelled", self.labelled, (int, float), 0.0, 1.0)
            if not self.labelled:
                raise EngineError("labelled is 0: the network needs labelled samples to learn from.")
        if self.labelled_items is not None:
            number("labelled_items", self.labelled_items, int, 1)
        for name, least, most in (
            ("lora_rank", 1, 4096),
            ("less_width", 1, 1 << 20),
            ("rating_levels", 2, 9),
        ):
            number(name, getattr(self, name), int, least, most)
        number("lora_alpha", self.lora_alpha, (int, float), 1e-6)
        number("rating_alpha", self.rating_alpha, (int, float), 0.0)
        for name in ("network_cosine", "network_standardise", "network_refit", "pool_network"):
            if not isinstance(getattr(self, name), bool):
                raise EngineError(f"{name} is {getattr(self, name)!r}; it must be true or false.")
        try:
            self.network()
        except EngineError as error:
            raise EngineError(f"network_{error}") from error
        if self.pool_network and self.teacher in POINTWISE:
            raise EngineError(
                f"pool_network learns what samples are to samples, and {self.teacher} rates each alone; leave it off."
            )

    def network(self) -> NetworkConfig:
        """The network's own configuration."""
        return NetworkConfig(seed=self.seed, **{name: getattr(self, f"network_{name}") for name in NETWORK_FIELDS})

    def labelled_count(self, usable: int) -> int:
        """Rows that the teacher labels for the fit, of `usable` ones."""
        if self.labelled is None:
            return min(usable, max(LABELLED_FLOOR, round(LABELLED_SHARE * usable)))
        return min(usable, max(LEAST_LABELLED, round(self.labelled * usable)))

    def item_counts(self, items: int) -> tuple[int, int]:
        """How many of the target items are fitted to, and how many only judge: (labelled, held)."""
        priced = self.teacher in PAIR_PRICED
        if self.labelled_items is not None:
            labelled = min(self.labelled_items, items)
        elif priced:
            labelled = min(PAIR_ITEMS, items)
        else:
            labelled = items - round(HELD_ITEMS * items)
        left = items - labelled
        return labelled, min(left, max(2, labelled // 4)) if priced else left
