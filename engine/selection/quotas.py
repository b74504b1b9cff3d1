"""Quotas: at least or at most so many rows of one kind, as a person writes them and as bounds over a pool.

A quota names a column of categories, one of its values (or "*", each of them), and an amount: rows ("50"), or a share
of the budget ("30%": of rows, or of tokens where the budget is in tokens). Shares are rounded so that they hold: at
most goes down, at least goes up. In the shell `COLUMN:VALUE=AMOUNT`, as in `field/source:web=30%` or `cluster:3=50`;
the first colon and the last equals sign part it.

Notation: n rows; a *group* is the rows of one value of one column; a row is in at most one group of each column. Knows
neither projects nor scores, and chooses nothing (`account` does).
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np

from engine.errors import EngineError
from engine.selection.budget import Budget

Kind = Literal["at-least", "at-most"]
EACH = "*"
NONE = np.iinfo(np.int64).max  # no upper bound
_ROWS = re.compile(r"[0-9][0-9_,]{0,17}")
_SHARE = re.compile(r"([0-9]{1,18})(?:\.([0-9]{1,18}))?\s*%")


@dataclass(frozen=True)
class Quota:
    """At least or at most `amount` of the rows whose `column` has `value`."""

    column: str
    value: str
    kind: Kind
    amount: str

    def __post_init__(self) -> None:
        """Refuse what says nothing."""
        if self.kind not in get_args(Kind):
            raise EngineError(f"A quota is at-least or at-most, got {self.kind!r}. Nothing was selected.")
        if not self.column or not isinstance(self.column, str) or not isinstance(self.value, str):
            raise EngineError(f"A quota names a column and a value, got {self.column!r} and {self.value!r}.")
        share = _SHARE.fullmatch(self.amount.strip())
        if not share and not _ROWS.fullmatch(self.amount.strip()):
            raise EngineError(
                f"The quota {self.said} is not readable: write samples such as 50, or a share such as 30%. "
                "Nothing was selected."
            )
        if share and _parts(share)[0] > _parts(share)[1]:
            raise EngineError(f"The quota {self.said} asks for more than all of the budget. Nothing was selected.")

    @property
    def said(self) -> str:
        """The quota in words: "field/source: web at most 30%"."""
        return f"{self.column}: {self.value} {self.kind.replace('-', ' ')} {self.amount}"

    def bound(self, budget: Budget) -> tuple[int, bool]:
        """The amount as a number, and whether it is of what the budget counts (tokens, words) rather than of rows."""
        share = _SHARE.fullmatch(self.amount.strip())
        if share is None:
            return int(re.sub("[_,]", "", self.amount.strip())), False
        part, whole = _parts(share)
        up = whole - 1 if self.kind == "at-least" else 0
        return (budget.amount * part + up) // whole, budget.unit != "rows"

    def to_json(self) -> dict[str, str]:
        """As it is kept with a selection."""
        return {"column": self.column, "value": self.value, "kind": self.kind, "amount": self.amount}


def quota_of(text: str, kind: Kind) -> Quota:
    """The quota of `COLUMN:VALUE=AMOUNT`. Raises `EngineError` on anything else."""
    named, equals, amount = text.rpartition("=")
    column, colon, value = named.partition(":")
    if not (equals and colon and column.strip() and value.strip()):
        raise EngineError(
            f"{kind} is {text!r}; write COLUMN:VALUE=AMOUNT, such as field/source:web=30% or cluster:3=50. "
            "Nothing was selected."
        )
    return Quota(column.strip(), value.strip(), kind, amount.strip())


def quotas_from(entries: Iterable[Mapping[str, Any]]) -> tuple[Quota, ...]:
    """The quotas of what `to_json` gave. Raises `EngineError` on anything else."""
    found = []
    for entry in entries:
        if isinstance(entry, Quota):
            found.append(entry)
            continue
        if not isinstance(entry, Mapping) or set(entry) != {"column", "value", "kind", "amount"}:
            raise EngineError(f"A quota has column, value, kind and amount, got {entry!r}. Nothing was selected.")
        found.append(Quota(**{name: str(text) for name, text in entry.items()}))  # type: ignore[arg-type]
    return tuple(found)


@dataclass(frozen=True)
class Group:
    """One group's bounds, in rows and in what the budget counts; `name` says it to people."""

    name: str
    column: int
    least: int = 0
    most: int = NONE
    least_cost: int = 0
    most_cost: int = NONE


@dataclass(frozen=True)
class Limits:
    """`member` int32 (columns, n): the group each row is in, in `groups`, or -1 for none."""

    groups: tuple[Group, ...]
    member: np.ndarray

    @classmethod
    def none(cls, n: int) -> "Limits":
        """No quota at all."""
        return cls((), np.full((0, n), -1, np.int32))

    def of(self, rows: np.ndarray) -> "Limits":
        """The same bounds over some of the rows, renumbered."""
        return Limits(self.groups, self.member[:, rows])

    @property
    def lower(self) -> bool:
        """Whether any group has a minimum."""
        return any(group.least or group.least_cost for group in self.groups)

    def counts(self, rows: np.ndarray, costs: np.ndarray | None = None) -> np.ndarray:
        """How many of `rows` (mask or numbers) each group holds, or their costs; int64 (groups,)."""
        total = np.zeros(len(self.groups), np.int64)
        for member in self.member:
            here = member[rows]
            known = here >= 0
            weights = None if costs is None else costs[rows][known]
            total += np.bincount(here[known], weights=weights, minlength=len(total)).astype(np.int64)
        return total


Categories = tuple[list[str], np.ndarray]  # names, and codes int (n,) of rows


def limits_of(quotas: Iterable[Quota], columns: Mapping[str, Categories], budget: Budget, n: int) -> Limits:
    """The bounds that `quotas` put on n rows. `columns` give for each column named its values and the rows' codes.

    Of several quotas on one group the narrowest hold. Raises `EngineError` for a value that no row has, and for a least
    above the most.
    """
    bounds: dict[str, dict[str, dict[str, int]]] = {}
    for quota in quotas:
        amount, costed = quota.bound(budget)
        key = ("least" if quota.kind == "at-least" else "most") + ("_cost" if costed else "")
        for value in _values(quota, columns[quota.column][0]):
            held = bounds.setdefault(quota.column, {}).setdefault(value, {})
            held[key] = max(held.get(key, 0), amount) if quota.kind == "at-least" else min(held.get(key, NONE), amount)
    groups: list[Group] = []
    member = np.full((len(bounds), n), -1, np.int32)
    for at, (column, per_value) in enumerate(bounds.items()):
        names, codes = columns[column]
        first = len(groups)
        groups += [_checked(Group(f"{column}: {value}", at, **held)) for value, held in per_value.items()]
        place = {value: first + number for number, value in enumerate(per_value)}
        member[at] = np.array([place.get(name, -1) for name in names] + [-1], np.int32)[np.asarray(codes)]
    return Limits(tuple(groups), member)


def _values(quota: Quota, names: list[str]) -> list[str]:
    """The names that a quota is about; a cluster may be named by its number."""
    if quota.value == EACH:
        return list(dict.fromkeys(names))
    if quota.value in names:
        return [quota.value]
    if quota.column == "cluster" and quota.value.isdigit() and int(quota.value) < len(names):
        return [names[int(quota.value)]]
    some = ", ".join(names[:8]) + (f" and {len(names) - 8:,} more" if len(names) > 8 else "")
    raise EngineError(
        f"The quota {quota.said} names a value that no sample has; {quota.column} has: {some or 'no value'}. "
        "Nothing was selected."
    )


def _checked(group: Group) -> Group:
    for least, most in ((group.least, group.most), (group.least_cost, group.most_cost)):
        if least > most:
            raise EngineError(
                f"The quotas on {group.name} ask for at least {least:,} and at most {most:,}. Widen one of them; "
                "nothing was selected."
            )
    return group


def _parts(share: re.Match[str]) -> tuple[int, int]:
    """A percentage as a fraction of whole numbers."""
    fraction = share[2] or ""
    return int(share[1] + fraction), 100 * 10 ** len(fraction)
