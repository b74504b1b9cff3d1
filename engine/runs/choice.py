"""What a selection is asked to be: frozen, validated at construction, saved with the selection."""

import re
from dataclasses import dataclass
from typing import Any

from engine.errors import EngineError
from engine.runs.validation import Config, choice, number
from engine.selection.menu import SETTINGS, STRATEGIES, STRATEGY_NAMES, Greedy, Likeness, Need, Strategy, users_of

_SHARE = re.compile(r"[0-9]+(\.[0-9]+)?\s*%")


@dataclass(frozen=True, kw_only=True)
class Choice(Config):
    """How a subset is chosen. Settings that the strategy has no use for are refused, but for the seed.

    `size` as `selection.sizes` reads it. `among` limits those that may be chosen to the best share by score, "30%";
    empty: all. `tradeoff` is the weight of coverage against score. `targets` name target sets, empty: those of the run.
    `greedy` is the search, `kernel` where similarities come from, `seed` that of turns and of random candidates.
    """

    size: str
    strategy: str = "top"
    among: str = ""
    tradeoff: float = 0.5
    targets: tuple[str, ...] = ()
    greedy: Greedy = "auto"
    seed: int = 0
    kernel: Likeness = "map"

    def __post_init__(self) -> None:
        """Refuse unknown names, values out of range, and what the strategy does not use."""
        if self.strategy not in STRATEGIES:
            known = ", ".join(STRATEGY_NAMES)
            raise EngineError(f"There is no strategy {self.strategy!r}; strategies: {known}. Nothing was selected.")
        choice("greedy", self.greedy, Greedy)
        choice("kernel", self.kernel, Likeness)
        number("tradeoff", self.tradeoff, (int, float), 0.0, 1.0)
        number("seed", self.seed, int, 0, 2**32 - 1)
        _check_among(self.among)
        for name in set(SETTINGS) - {*self.described.settings, "seed"}:
            if getattr(self, name) != getattr(type(self), name):
                raise EngineError(
                    f"The strategy {self.strategy} has no use for {name}; it matters to {', '.join(users_of(name))}. "
                    "Nothing was selected."
                )

    @property
    def described(self) -> Strategy:
        """The strategy's entry in the menu."""
        return STRATEGIES[self.strategy]

    @property
    def needs(self) -> tuple[Need, ...]:
        """What the project must have; no map where likeness comes from the run's network."""
        return tuple(need for need in self.described.needs if (need, self.kernel) != ("map", "network"))

    def said(self) -> dict[str, Any]:
        """Strategy, size, seed, and the settings that the strategy uses, as JSON values; what is unset is left out."""
        values = self.to_dict()
        names = ("strategy", "size", "seed", *(name for name in SETTINGS if name in self.described.settings))
        return {name: values[name] for name in names if values[name] not in ("", [])}


def _check_among(text: str) -> None:
    share = float(text.strip().rstrip("%")) if _SHARE.fullmatch(text.strip()) else None
    if text and not (share and share <= 100):
        raise EngineError(f"among is {text!r}; write the best share by score, such as 30%. Nothing was selected.")
