"""The strategies one can choose a subset by: what each does, when to use it, what it needs, and what can be set.

A need is something a project must have beside a run: "scores" of the rows, "targets", a "map" (rows are compared by its
features), "owned" data. Options elsewhere are derived from here: shell, pages, manifest. The standard library only.
"""

from dataclasses import dataclass
from typing import Literal, get_args

Need = Literal["scores", "targets", "map", "owned"]
Setting = Literal["among", "tradeoff", "targets", "greedy", "seed", "kernel"]
Greedy = Literal["auto", "lazy", "stochastic"]
GREEDY_NAMES: tuple[str, ...] = get_args(Greedy)
Likeness = Literal["map", "network"]
LIKENESS_NAMES: tuple[str, ...] = get_args(Likeness)
SETTINGS: tuple[str, ...] = get_args(Setting)
_COVERING: tuple[Setting, ...] = ("among", "greedy", "seed")
_OF_POOL: tuple[Setting, ...] = (*_COVERING, "kernel")  # that compare pool rows with each other alone


@dataclass(frozen=True)
class Strategy:
    """`does` and `when` are sentences; `settings` are those that change what it chooses."""

    title: str
    does: str
    when: str
    needs: tuple[Need, ...]
    settings: tuple[Setting, ...] = ()

    @property
    def covers(self) -> bool:
        """Whether it compares rows with each other, and so chooses them one after the other by what each adds."""
        return "map" in self.needs


STRATEGIES: dict[str, Strategy] = {
    "top": Strategy(
        "Highest scores",
        "Takes the samples with the highest scores.",
        "When every sample stands for itself; much alike may come together.",
        ("scores",),
    ),
    "round-robin": Strategy(
        "Round robin over the target samples",
        "Every target sample in turn takes its best sample that is still free.",
        "When no target sample may be left out.",
        ("scores", "targets"),
        ("seed",),
    ),
    "weights": Strategy(
        "Highest scores, weighted",
        "Takes the best samples and weighs each by how much its score is above the best one left out.",
        "When the training can weigh its samples.",
        ("scores",),
    ),
    "facility-location": Strategy(
        "Represent the pool",
        "Chooses samples so that every sample that could be chosen has a similar one among them.",
        "For a small set that stands for the whole, or, among the best by score, for all kinds of good samples.",
        ("map",),
        _OF_POOL,
    ),
    "mutual-information": Strategy(
        "Cover the targets",
        "Chooses samples that represent the part of the pool that resembles the target samples, each kind once.",
        "When likeness to the target counts, and repetition should not.",
        ("map", "targets"),
        ("targets", *_COVERING),
    ),
    "conditional-gain": Strategy(
        "Add what the owned data lacks",
        "Chooses samples that represent what the owned data does not represent yet.",
        "When there is a training set already and it shall be completed.",
        ("map", "owned"),
        _COVERING,
    ),
    "graph-cut": Strategy(
        "Typical and unlike each other",
        "Chooses samples that are like many others, and takes off for likeness among the chosen.",
        "When the common kinds shall weigh more than in representing the pool.",
        ("map",),
        _OF_POOL,
    ),
    "diverse": Strategy(
        "High scores, diverse",
        "Weighs the score of a sample and what it adds to the coverage of the pool by a tradeoff.",
        "When high scores are wanted, and not many times the same.",
        ("map", "scores"),
        ("tradeoff", *_OF_POOL),
    ),
}
STRATEGY_NAMES: tuple[str, ...] = tuple(STRATEGIES)


def users_of(setting: str) -> tuple[str, ...]:
    """The strategies that a setting matters to."""
    return tuple(name for name, strategy in STRATEGIES.items() if setting in strategy.settings)
