"""What a selection is asked to be: frozen, validated at construction, saved with the selection."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal, Self

from engine.curation.facts import AGGREGATE
from engine.curation.filters import Filter, as_lists, from_lists
from engine.curation.signals import Keep
from engine.errors import EngineError
from engine.runs.validation import Config, choice, number
from engine.selection.budget import Unit, unit_of
from engine.selection.menu import SETTINGS, STRATEGIES, STRATEGY_NAMES, Greedy, Likeness, Need, Strategy, users_of
from engine.selection.quotas import Quota, quotas_from

_SHARE = re.compile(r"[0-9]+(\.[0-9]+)?\s*%")
Counted = Literal["tokenizer", "words"]
# as they are called where a selection keeps them, in the order they are told
_KEPT = {"column": "column", "guards": "left_out", "keep": "keep", "within": "filters", "quotas": "quotas"}


@dataclass(frozen=True, kw_only=True)
class Choice(Config):
    """How a subset is chosen. Settings that the strategy has no use for are refused, but for the seed.

    `size` as `selection.budget` reads it. `among` limits those that may be chosen to the best share by score, "30%";
    empty: all. `tradeoff` is the weight of coverage against score. `targets` name target sets, empty: those of the run.
    `greedy` is the search, `kernel` where similarities come from, `seed` that of turns and of random candidates.

    `column` is the run's score that decides, "score" or a target set. Rows that a guard (`curation.guards`) leaves out
    or that fail a filter of `within` stay out unless they are approved; of copies one stays, by `keep`. `quotas` bound
    groups of rows. `tokens_by`: how a budget of tokens is counted, with the tokenizer of the run or by words.
    """

    size: str
    strategy: str = "top"
    among: str = ""
    tradeoff: float = 0.5
    targets: tuple[str, ...] = ()
    greedy: Greedy = "auto"
    seed: int = 0
    kernel: Likeness = "map"
    column: str = AGGREGATE
    guards: tuple[str, ...] = ()
    keep: Keep = "first"
    within: tuple[Filter, ...] = ()
    quotas: tuple[Quota, ...] = ()
    tokens_by: Counted = "tokenizer"

    def __post_init__(self) -> None:
        """Refuse unknown names, values out of range, and what the strategy does not use."""
        if self.strategy not in STRATEGIES:
            known = ", ".join(STRATEGY_NAMES)
            raise EngineError(f"There is no strategy {self.strategy!r}; strategies: {known}. Nothing was selected.")
        unit_of(self.size)
        choice("greedy", self.greedy, Greedy)
        choice("kernel", self.kernel, Likeness)
        choice("keep", self.keep, Keep)
        choice("tokens_by", self.tokens_by, Counted)
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
    def unit(self) -> Unit:
        """What the budget counts."""
        return unit_of(self.size)

    @property
    def needs(self) -> tuple[Need, ...]:
        """What the project must have; no map where likeness comes from the run's network."""
        return tuple(need for need in self.described.needs if (need, self.kernel) != ("map", "network"))

    def to_dict(self) -> dict[str, Any]:
        """All fields as JSON values."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        values |= {"within": as_lists(self.within), "quotas": [quota.to_json() for quota in self.quotas]}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """The choice of what `to_dict` gave."""
        read = dict(values)
        if "within" in read:
            read["within"] = from_lists(read["within"])
        if "quotas" in read:
            read["quotas"] = quotas_from(read["quotas"])
        return super().from_dict(read)

    @classmethod
    def from_spec(cls, spec: Mapping[str, Any]) -> Self:
        """The choice that a saved selection's `spec` tells of, also one that was saved before there were quotas."""
        names = {f.name: _KEPT.get(f.name, f.name) for f in fields(cls)}
        return cls.from_dict({name: spec[kept] for name, kept in names.items() if kept in spec})

    def said(self) -> dict[str, Any]:
        """Strategy, size, seed, and the settings that the strategy uses, as JSON values; what is unset is left out."""
        values = self.to_dict()
        names = ("strategy", "size", "seed", *(name for name in SETTINGS if name in self.described.settings))
        told = {name: values[name] for name in names if values[name] not in ("", [])}
        told |= {kept: values[name] for name, kept in _KEPT.items() if getattr(self, name) != getattr(Choice, name)}
        return {**told, "tokens_by": self.tokens_by} if self.unit == "tokens" else told

    def options(self) -> list[tuple[str, str]]:
        """The options of the shell's `select` that ask for the same, beside those of the strategy's settings."""
        found = [("--score", self.column)] if self.column != AGGREGATE else []
        found += [("--guard", guard) for guard in self.guards]
        found += [("--keep", self.keep)] if self.keep != "first" else []
        found += [("--where", _json(as_lists(self.within)))] if self.within else []
        found += [(f"--{q.kind}", f"{q.column}:{q.value}={q.amount}") for q in self.quotas]
        return found + ([("--tokens-by", self.tokens_by)] if self.tokens_by != "tokenizer" else [])


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _check_among(text: str) -> None:
    share = float(text.strip().rstrip("%")) if _SHARE.fullmatch(text.strip()) else None
    if text and not (share and share <= 100):
        raise EngineError(f"among is {text!r}; write the best share by score, such as 30%. Nothing was selected.")
