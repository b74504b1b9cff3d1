"""The filters that cut across every page: one predicate made of removable parts.

A `Filter` is plain data (so that it fits a link), `mask` turns it into one boolean per pool row, and `combined` joins
those in force. Rows a run, a map or the signals do not cover fail a filter on them. Filters of the same slot replace
each other. Nothing here draws; `pages.parts.chips` does.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np

from engine.curation.areas import polygon_mask
from engine.data.surprise import THRESHOLD
from engine.errors import EngineError
from engine.store.decisions import DECISIONS
from engine.store.project import Project
from pages.parts import reads, words

Kind = Literal["lasso", "box", "score", "rank", "field", "cluster", "decision", "status", "mark", "words"]
LEAK = 0.5
SURPRISING = "surprising answer"
MARKS = (
    "near-duplicate",
    "leak",
    "looks truncated",
    SURPRISING,
    "landmark",
    "audit",
    "warm-up",
    "truncated for the model",
    "tuning",
    "measured near the cut",
    "labelled for the network",
)
LONGEST_LINK = 6000


@dataclass(frozen=True)
class Filter:
    """One part of the predicate: what it looks at (`kind`, `subject`) and what passes (`values`).

    lasso and box: subject is the map's artifact, values x0, y0, x1, y1, … in map units; score: subject "run/column",
    values (low, high) with None for open; rank: (first, last); words: (low, high); field: subject is the field's
    name, values its texts; cluster, decision and status: codes, status with the run as subject; mark: names of `MARKS`.
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
        numbers = self.kind in {"lasso", "box", "score", "rank", "words", "cluster", "decision", "status"}
        if numbers and any(isinstance(value, str) for value in self.values):
            raise EngineError(f"a {self.kind} filter takes numbers; nothing was filtered")
        least = {"lasso": 6, "box": 4, "score": 2, "rank": 2, "words": 2}.get(self.kind, 1)
        if len(self.values) < least or (self.kind == "lasso" and len(self.values) % 2):
            raise EngineError(f"a {self.kind} filter with {len(self.values)} values says nothing; nothing was filtered")

    @property
    def slot(self) -> tuple[str, str]:
        """What the filter is about; one filter per slot is in force. Lasso and box share theirs."""
        return ("area", "") if self.kind in {"lasso", "box"} else (self.kind, self.subject)


def describe(part: Filter, clusters: Sequence[str] = ()) -> str:
    """One filter in plain words; not escaped. `clusters` are the labels of the map's clusters."""
    if part.kind in {"lasso", "box"}:
        return f"{'Lasso' if part.kind == 'lasso' else 'Box'} on the map"
    if part.kind in {"score", "words", "rank"}:
        low, high = part.values[:2]
        name = {"score": part.subject.partition("/")[2] or "score", "words": "Words"}.get(part.kind, "Rank")
        form = "{:+.4g}".format if part.kind == "score" else "{:,}".format
        if low is None or high is None:
            return (
                f"{name} any" if low is high else f"{name} ≥ {form(low)}" if high is None else f"{name} ≤ {form(high)}"
            )
        return f"{name} {form(low)} to {form(high)}"
    names = [value_name(part, value, clusters) for value in part.values]
    title = part.subject if part.kind == "field" else {"mark": "Signal"}.get(part.kind, part.kind.capitalize())
    shown = ", ".join(words.shorten(name, 24) for name in names[:3])
    return f"{title}: {shown}" + (f" and {len(names) - 3} more" if len(names) > 3 else "")


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
        return reads.STATUS.get(int(value), str(value))
    if part.kind == "cluster" and 0 <= value < len(clusters):
        return clusters[int(value)]
    return str(value)


def decision_name(code: int) -> str:
    """The past participle shown for a decision code."""
    return {"none": "undecided", "approve": "approved", "reject": "rejected", "skip": "skipped"}[DECISION_OF[code]]


DECISION_OF: dict[int, str] = {int(code): name for name, code in DECISIONS.items()}


def mask(project: Project, part: Filter) -> np.ndarray:
    """bool (n,): the pool rows that pass one filter."""
    n = reads.pool_size(project)
    if part.kind == "decision":
        return np.isin(reads.decisions(project), np.asarray(part.values, np.int64))
    version = _version(project, part)
    return reads.by_pool(project, "mask", lambda: _whole(_MASKS[part.kind](project, part), n), part, version)


def combined(project: Project, parts: Sequence[Filter]) -> np.ndarray:
    """bool (n,): the pool rows that pass all filters; all rows where there is none."""
    passing = np.ones(reads.pool_size(project), bool)
    for part in parts:
        passing &= mask(project, part)
    return passing


def encode(parts: Sequence[Filter]) -> str:
    """The filters as one short text for a link."""
    return json.dumps([[p.kind, p.subject, *p.values] for p in parts], separators=(",", ":"), ensure_ascii=False)


def decode(text: str) -> tuple[Filter, ...]:
    """The filters of a link. Raises `EngineError` on anything `encode` would not write."""
    try:
        entries = json.loads(text) if len(text) <= LONGEST_LINK else None
    except ValueError:
        entries = None
    if not isinstance(entries, list) or not all(isinstance(e, list) and len(e) >= 2 for e in entries):
        raise EngineError("Its filters are not readable, so none is in force.")
    return tuple(Filter(kind, subject, tuple(values)) for kind, subject, *values in entries)


def _version(project: Project, part: Filter) -> str:
    """What besides the pool the filter's answer depends on."""
    if part.kind in {"score", "rank", "status"}:
        return _run(project, part).artifact
    if part.kind == "cluster":
        found = reads.layout(project)
        return found.artifact if found else ""
    return f"{reads.by_state(project, 'latest_signals')} {_latest_run(project)}" if part.kind == "mark" else ""


def _whole(covered: np.ndarray, n: int) -> np.ndarray:
    """The mask with False for the rows that are not covered."""
    return np.concatenate([covered[:n], np.zeros(max(0, n - len(covered)), bool)])


def _run(project: Project, part: Filter) -> reads.Scores:
    return reads.scores(project, reads.by_state(project, "run", part.subject.partition("/")[0]).artifact)


def _latest_run(project: Project) -> str:
    guide = reads.guide(project)
    return guide.artifact if guide is not None else ""


def _within(values: np.ndarray, low: float | None, high: float | None) -> np.ndarray:
    passing = np.isfinite(values) if values.dtype.kind == "f" else np.ones(len(values), bool)
    if low is not None:
        passing = passing & (values >= low)
    return passing & (values <= high) if high is not None else passing


def _area(project: Project, part: Filter) -> np.ndarray:
    found = reads.layout(project)
    if found is None or found.artifact != part.subject:
        raise EngineError(
            "The area was drawn on a map that is no longer the latest. Remove that filter and draw again."
        )
    return polygon_mask(found.xy, outline(part))


def _score(project: Project, part: Filter) -> np.ndarray:
    return _within(_run(project, part).column(part.subject.partition("/")[2]), *part.values[:2])


def _rank(project: Project, part: Filter) -> np.ndarray:
    place = reads.ranks(project, _run(project, part).artifact, part.subject.partition("/")[2])
    return (place > 0) & _within(place, *part.values[:2])


def _field(project: Project, part: Filter) -> np.ndarray:
    found = reads.categories(project, part.subject)
    wanted = [found.names.index(str(value)) for value in part.values if str(value) in found.names]
    return np.isin(found.codes, np.asarray(wanted, np.int64))


def _cluster(project: Project, part: Filter) -> np.ndarray:
    found = reads.layout(project)
    return np.isin(found.cluster, np.asarray(part.values, np.int64)) if found else np.zeros(0, bool)


def _status(project: Project, part: Filter) -> np.ndarray:
    return np.isin(_run(project, part).status, np.asarray(part.values, np.int64))


def _words(project: Project, part: Filter) -> np.ndarray:
    return _within(reads.column(project, "words"), *part.values[:2])


def _mark(project: Project, part: Filter) -> np.ndarray:
    n = reads.pool_size(project)
    return np.logical_or.reduce([_whole(marked(project, str(name)), n) for name in part.values])


def marked(project: Project, name: str) -> np.ndarray:
    """bool over the covered rows: those that carry the mark `name` (one of `MARKS`), all False where unknown."""
    found, run = reads.marks(project), _latest_run(project)
    if found is not None and name == "near-duplicate":
        return np.asarray(found.near_duplicate_of) >= 0
    if found is not None and name == "leak":
        return np.asarray(found.leak) >= LEAK
    if found is not None and name == "looks truncated":
        return np.asarray(found.looks_truncated, bool)
    if name == SURPRISING:
        return _surprising(project, run, found)
    flag = {text: bit for bit, text in reads.ROLES.items()}.get(name, 0)
    return (np.asarray(reads.scores(project, run).roles) & flag) > 0 if run else np.zeros(0, bool)


def _surprising(project: Project, run: str, found: reads.Marks | None) -> np.ndarray:
    """Rows whose response is far less likely than those of their neighbours on the map, and is not merely cut off."""
    values = reads.surprises(project, run) if run else None
    if values is None:
        return np.zeros(0, bool)
    far = np.asarray(values) > THRESHOLD
    if found is not None:
        cut = np.asarray(found.looks_truncated, bool)[: len(far)]
        far = far & ~np.pad(cut, (0, len(far) - len(cut)))
    return far


_MASKS: dict[str, Callable[[Project, Filter], np.ndarray]] = {
    "lasso": _area,
    "box": _area,
    "score": _score,
    "rank": _rank,
    "field": _field,
    "cluster": _cluster,
    "status": _status,
    "mark": _mark,
    "words": _words,
}
