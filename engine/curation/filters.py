"""The filters that cut across everything: one predicate made of removable parts, evaluated over the whole pool.

A `Filter` is plain data (so that it fits a link, a selection's record and a manifest), `mask` turns it into one boolean
per pool row, and `combined` joins several: a row passes if it passes all. Rows that a run, a map or the signals do not
cover fail a filter on them. Filters of the same slot replace each other. Does not draw.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np

from engine.curation import columns, marks, search_filters, tagged
from engine.curation.areas import polygon_mask
from engine.curation.columns import decision_name
from engine.curation.facts import POOL, STATUS, Facts, Scores
from engine.curation.marks import whole
from engine.errors import EngineError

Kind = Literal[
    "lasso", "box", "score", "rank", "field", "cluster", "decision", "status", "mark", "words", "number", "value",
    "text", "similar", "contains",
]  # fmt: skip
LONGEST_LINK = 6000
_OF_NUMBERS = {"lasso", "box", "score", "rank", "words", "cluster", "decision", "status", "number"}
_LEAST = {"lasso": 6, "box": 4, "score": 2, "rank": 2, "words": 2, "number": 2}
_RANGES = {"score", "words", "rank", "number"}
_OF_CODES = {"cluster", "decision", "status"}
_LARGEST, _LARGEST_CODE = 1e300, 2**31


@dataclass(frozen=True)
class Filter:
    """One part of the predicate: what it looks at (`kind`, `subject`) and what passes (`values`).

    lasso and box: subject is the map's artifact, values x0, y0, x1, y1, … in map units; score: subject "run/column",
    values (low, high) with None for open; rank: (first, last); words: (low, high); field: subject is the field's
    name, values its texts; cluster, decision and status: codes, status with the run as subject; mark: names of `MARKS`.
    number: subject is any column of numbers (`columns`), values (low, high); value: any column of categories, values
    the names of those that pass. text, similar and contains: what a search makes (`search_filters`).
    """

    kind: Kind
    subject: str = ""
    values: tuple[Any, ...] = ()

    def __post_init__(self) -> None:
        """Refuse what no page would make, since a filter can come from a link."""
        if self.kind not in get_args(Kind) or not isinstance(self.subject, str):
            raise EngineError(f"unknown filter {self.kind!r}; nothing was filtered")
        if not all(value is None or isinstance(value, int | float | str) for value in self.values):
            raise EngineError("a filter's values must be numbers or texts; nothing was filtered")
        if self.kind in _OF_NUMBERS and not all(_meant(self.kind, value) for value in self.values):
            raise EngineError(f"a {self.kind} filter takes numbers of its kind; nothing was filtered")
        least = _LEAST.get(self.kind, 1)
        if len(self.values) < least or (self.kind == "lasso" and len(self.values) % 2):
            raise EngineError(f"a {self.kind} filter with {len(self.values)} values says nothing; nothing was filtered")
        if self.kind in search_filters.KINDS:
            search_filters.check(self.kind, self.subject, self.values)

    @property
    def slot(self) -> tuple[str, str]:
        """What the filter is about; one filter per slot is in force. Lasso and box share theirs, likenesses too."""
        if self.kind == "similar":
            return ("similar", "")
        return ("area", "") if self.kind in {"lasso", "box"} else (self.kind, self.subject)


def _meant(kind: str, value: Any) -> bool:
    """Whether a filter of numbers can hold this value: finite, whole for a code, None only where a range is open."""
    if value is None:
        return kind in _RANGES
    if isinstance(value, str) or not -_LARGEST <= value <= _LARGEST:  # not a number is within no bounds
        return False
    if kind not in _OF_CODES:
        return True
    known = kind != "decision" or int(value) in columns.DECISION_OF
    return known and abs(value) < _LARGEST_CODE and value == int(value)


def describe(part: Filter, clusters: Sequence[str] = ()) -> str:
    """One filter in plain words; not escaped. `clusters` are the labels of the map's clusters."""
    if part.kind in {"lasso", "box"}:
        return f"{'Lasso' if part.kind == 'lasso' else 'Box'} on the map"
    if part.kind in _RANGES:
        return _range(part)
    if part.kind in search_filters.KINDS:
        return search_filters.describe(part.kind, part.subject, part.values)
    names = [value_name(part, value, clusters) for value in part.values]
    shown = ", ".join(_cut(name, 24) for name in names[:3])
    return f"{_title(part)}: {shown}" + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _title(part: Filter) -> str:
    if part.kind == "field":
        return part.subject
    if part.kind == "value":
        family, _, rest = part.subject.partition("/")
        return rest if family in ("field", "signal") else family.capitalize()
    return {"mark": "Signal"}.get(part.kind, part.kind.capitalize())


def _range(part: Filter) -> str:
    low, high = part.values[:2]
    family, _, rest = part.subject.partition("/")
    name = {"score": rest or "score", "words": "Words", "rank": "Rank"}.get(part.kind, "")
    if part.kind == "number":
        name = rest if family in ("field", "signal") else f"{family.capitalize()}{f' in {rest}' if rest else ''}"
    signed = part.kind == "score" or family == "score"
    form = "{:+.4g}".format if signed else "{:,.6g}".format if part.kind == "number" else "{:,}".format
    if low is None or high is None:
        return f"{name} any" if low is high else f"{name} ≥ {form(low)}" if high is None else f"{name} ≤ {form(high)}"
    return f"{name} {form(low)} to {form(high)}"


def _cut(text: str, limit: int) -> str:
    line = " ".join(text.split())
    return line if len(line) <= limit else line[: limit - 1].rstrip() + "…"


def outline(part: Filter) -> list[tuple[float, float]]:
    """The corners of a lasso or box in map units; empty for other filters."""
    if part.kind == "lasso":
        return list(zip(part.values[::2], part.values[1::2]))
    if part.kind != "box":
        return []
    x0, y0, x1, y1 = part.values[:4]
    return [(x0, y0), (x1, y0), (x1, y1), (x0, y1)]


def value_name(part: Filter, value: Any, clusters: Sequence[str] = ()) -> str:
    """The readable name of one value of a filter."""
    if part.kind == "decision":
        return decision_name(int(value))
    if part.kind == "status":
        return STATUS.get(int(value), str(value))
    if part.kind == "cluster" and 0 <= value < len(clusters):
        return clusters[int(value)]
    return str(value)


def mask(facts: Facts, part: Filter) -> np.ndarray:
    """bool (n,): the pool rows that pass one filter."""
    compute = _MASKS[part.kind]
    if part.kind == "decision" or (part.kind == "value" and part.subject == "decision"):
        return whole(compute(facts, part), facts.n)
    version = _version(facts, part)
    return facts.remember(POOL, "mask", lambda: whole(compute(facts, part), facts.n), part, version)


def combined(facts: Facts, parts: Sequence[Filter]) -> np.ndarray:
    """bool (n,): the pool rows that pass all filters; all rows where there is none."""
    passing = np.ones(facts.n, bool)
    for part in parts:
        passing &= mask(facts, part)
    return passing


def as_lists(parts: Sequence[Filter]) -> list[list[Any]]:
    """The filters as JSON values: one list of kind, subject and values each."""
    return [[p.kind, p.subject, *p.values] for p in parts]


def from_lists(entries: Any) -> tuple[Filter, ...]:
    """The filters of `as_lists`. Raises `EngineError` on anything else."""
    if not isinstance(entries, list | tuple) or not all(isinstance(e, list | tuple) and len(e) >= 2 for e in entries):
        raise EngineError("Its filters are not readable, so none is in force.")
    return tuple(Filter(kind, subject, tuple(values)) for kind, subject, *values in entries)


def encode(parts: Sequence[Filter]) -> str:
    """The filters as one short text for a link."""
    return json.dumps(as_lists(parts), separators=(",", ":"), ensure_ascii=False)


def decode(text: str) -> tuple[Filter, ...]:
    """The filters of a link. Raises `EngineError` on anything `encode` would not write."""
    try:
        entries = json.loads(text) if len(text) <= LONGEST_LINK else None
    except ValueError:
        entries = None
    return from_lists(entries)


def _version(facts: Facts, part: Filter) -> str:
    """What besides the pool the filter's answer depends on."""
    if part.kind in {"score", "rank", "status"}:
        return _run(facts, part).artifact
    if part.kind in {"cluster", "lasso", "box"}:
        return facts.latest_map() or ""
    if part.kind in {"number", "value"}:
        return columns.version(facts, part.subject)
    if part.kind in search_filters.KINDS:
        return search_filters.version(facts, part.kind)
    return marks.version(facts) if part.kind == "mark" else ""


def _run(facts: Facts, part: Filter) -> Scores:
    return facts.scores(facts.run(part.subject.partition("/")[0]).artifact)


def _within(values: np.ndarray, low: float | None, high: float | None) -> np.ndarray:
    passing = np.isfinite(values) if values.dtype.kind == "f" else np.ones(len(values), bool)
    if low is not None:
        passing = passing & (values >= low)
    return passing & (values <= high) if high is not None else passing


def _area(facts: Facts, part: Filter) -> np.ndarray:
    found = facts.layout()
    if found is None or found.artifact != part.subject:
        raise EngineError(
            "The area was drawn on a map that is no longer the latest. Remove that filter and draw again."
        )
    return polygon_mask(found.xy, outline(part))


def _score(facts: Facts, part: Filter) -> np.ndarray:
    return _within(_run(facts, part).column(part.subject.partition("/")[2]), *part.values[:2])


def _rank(facts: Facts, part: Filter) -> np.ndarray:
    place = facts.ranks(_run(facts, part).artifact, part.subject.partition("/")[2])
    return (place > 0) & _within(place, *part.values[:2])


def _number(facts: Facts, part: Filter) -> np.ndarray:
    return _within(columns.numbers(facts, part.subject), *part.values[:2])


def _value(facts: Facts, part: Filter) -> np.ndarray:
    if part.subject == "tag":
        return tagged.carrying(facts, part.values)
    found = columns.categories(facts, part.subject)
    return _among(found.names, found.codes, part.values)


def _field(facts: Facts, part: Filter) -> np.ndarray:
    found = facts.categories(part.subject)
    return _among(found.names, found.codes, part.values)


def _among(names: Sequence[str], codes: np.ndarray, wanted: Sequence[Any]) -> np.ndarray:
    texts = {str(value) for value in wanted}
    passing = np.fromiter((name in texts for name in names), bool, len(names))
    return passing[codes] if len(names) else np.zeros(len(codes), bool)


def _codes(codes: np.ndarray, part: Filter) -> np.ndarray:
    return np.isin(codes, np.asarray(part.values, np.int64))


def _searched(facts: Facts, part: Filter) -> np.ndarray:
    return search_filters.mask(facts, part.kind, part.subject, part.values)


def _cluster(facts: Facts, part: Filter) -> np.ndarray:
    found = facts.layout()
    return _codes(found.cluster, part) if found else np.zeros(0, bool)


def _mark(facts: Facts, part: Filter) -> np.ndarray:
    return np.logical_or.reduce([whole(marks.marked(facts, str(name)), facts.n) for name in part.values])


_MASKS: dict[str, Callable[[Facts, Filter], np.ndarray]] = {
    "lasso": _area,
    "box": _area,
    "score": _score,
    "rank": _rank,
    "field": _field,
    "cluster": _cluster,
    "decision": lambda facts, part: _codes(facts.decisions(), part),
    "status": lambda facts, part: _codes(_run(facts, part).status, part),
    "mark": _mark,
    "words": lambda facts, part: _within(facts.column("words"), *part.values[:2]),
    "number": _number,
    "value": _value,
    **dict.fromkeys(search_filters.KINDS, _searched),
}
