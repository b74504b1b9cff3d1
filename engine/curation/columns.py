"""Every column one can filter, colour, draw a histogram or set quotas by, under one name.

Names: `words`, `chars`, `file`, `decision`, `tag`, `cluster`, `signal/MARK`, `score/RUN/COLUMN`, `rank/RUN/COLUMN`,
`uncertainty/RUN`, `status/RUN`, `selection/VERSION/NAME` (whether a row is in that version of a selection),
`weight/VERSION/NAME` (its weight there), `field/NAME` (an original field of the rows). A column is of numbers
(float32 (n,), NaN where a row has none), of categories, or a flag, which is both: 1 and 0, or yes and no. The kind of
a field is not known before it is read (None). Notation as in `facts`. Does not filter (`filters`) and does not draw.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from engine.curation import marks, signals, tagged
from engine.curation.facts import AGGREGATE, NOTHING, POOL, STATUS, Array, Categories, Facts, Scores, coded
from engine.errors import EngineError
from engine.store.decisions import DECISIONS
from engine.store.selections import Selection

Kind = Literal["number", "category", "flag"]
DECISION_NAMES = {"none": "undecided", "approve": "approved", "reject": "rejected", "skip": "skipped"}
DECISION_OF: dict[int, str] = {int(code): name for name, code in DECISIONS.items()}
UNSCORED = "not covered"


@dataclass(frozen=True)
class Column:
    """`name` as above; `title` and `group` in words, not escaped; `unit` of its numbers."""

    name: str
    title: str
    group: str
    kind: Kind | None
    unit: str = ""


def decision_name(code: int) -> str:
    """The past participle shown for a decision code."""
    return DECISION_NAMES[DECISION_OF[code]]


def listed(facts: Facts) -> list[Column]:
    """All columns the project has now; reads none of them."""
    found = [
        Column("words", "Length in words", "Sample", "number", "words"),
        Column("chars", "Length in characters", "Sample", "number", "characters"),
        Column("file", "File", "Sample", "category"),
        Column("decision", "Decision", "Decision", "category"),
    ]
    if tagged.tags(facts):
        found.append(Column("tag", "Tag", "Decision", "category"))
    for run in reversed(facts.runs()):
        found += _of_run(facts, run.name)
    if facts.latest_map() is not None:
        found.append(Column("cluster", "Cluster", "Map", "category"))
    found += [Column(f"signal/{name}", name, "Signal", "flag") for name in marks.names(facts)]
    others = [column for column in signals.signals_of(facts).columns.values() if column.kind != "flag"]
    found += [Column(f"signal/{c.name}", c.title, "Signal", c.kind, c.unit) for c in others]
    for selection in reversed(facts.selections()):
        place, title = f"{selection.version}/{selection.name}", f"{selection.name}, version {selection.version}"
        found.append(Column(f"selection/{place}", f"In {title}", "Selection", "flag"))
        if selection.weights is not None:
            found.append(Column(f"weight/{place}", f"Weight in {title}", "Selection", "number"))
    return found + [Column(f"field/{name}", name, "Field", None) for name in facts.fields()]


def _of_run(facts: Facts, name: str) -> list[Column]:
    scores = facts.scores(facts.run(name).artifact)
    unit = str(scores.summary.get("unit", ""))
    names = [AGGREGATE, *scores.sets]
    titles = ["overall" if column == AGGREGATE else column for column in names]
    found = [
        Column(f"score/{name}/{c}", f"Score in {name}, {t}", "Score", "number", unit) for c, t in zip(names, titles)
    ]
    found += [Column(f"rank/{name}/{c}", f"Rank in {name}, {t}", "Rank", "number") for c, t in zip(names, titles)]
    if _uncertainty(scores) is not None:
        found.append(Column(f"uncertainty/{name}", f"Uncertainty in {name}", "Score", "number", unit))
    return [*found, Column(f"status/{name}", f"Status in {name}", "Score", "category")]


def column_of(facts: Facts, name: str) -> Column:
    """The column of this name with its kind known. Raises `EngineError` naming what there is."""
    found = next((column for column in listed(facts) if column.name == name), None)
    if found is None:
        known = ", ".join(column.name for column in listed(facts)[:40])
        raise EngineError(f"There is no column {name!r}. There are: {known}. Nothing was changed.")
    if found.kind is not None:
        return found
    sort = facts.column(name.partition("/")[2]).dtype.kind
    return replace(found, kind="flag" if sort == "b" else "number" if sort in "iuf" else "category")


def numbers(facts: Facts, name: str) -> Array:
    """float32 (n,): the values of a column of numbers or flags, NaN where a row has none.

    Raises `EngineError` for a column of categories, and for one that does not exist.
    """
    family, _, rest = name.partition("/")
    if family in _NUMBERS:
        return _padded(_NUMBERS[family](facts, rest), facts.n)
    if family == "field":
        values = facts.column(rest)
        if values.dtype.kind in "biuf":
            return facts.remember(POOL, "numbers", lambda: values.astype(np.float32), name)
    column_of(facts, name)
    raise EngineError(f"The column {name!r} holds categories, not numbers. Choose another; nothing was changed.")


def categories(facts: Facts, name: str) -> Categories:
    """The values of a column of categories or flags as codes.

    Raises `EngineError` for a column of numbers that is no original field, and for one that does not exist.
    """
    family, _, rest = name.partition("/")
    if family in _CATEGORIES:
        return _CATEGORIES[family](facts, rest)
    column_of(facts, name)
    raise EngineError(f"The column {name!r} holds numbers, not categories. Choose another; nothing was changed.")


def version(facts: Facts, name: str) -> str:
    """What besides the pool a column depends on; "" where nothing. Decisions have none: they always change."""
    family, _, rest = name.partition("/")
    if family in ("score", "rank", "uncertainty", "status"):
        return facts.run(rest.partition("/")[0]).artifact
    if family == "cluster":
        return facts.latest_map() or ""
    if family == "tag":
        return tagged.version(facts)
    if family in ("selection", "weight"):
        return _selection(facts, rest).created
    return marks.version(facts) if family == "signal" else ""


def _scores(facts: Facts, rest: str) -> tuple[Scores, str]:
    name, _, column = rest.partition("/")
    found = facts.scores(facts.run(name).artifact)
    if column not in ("", AGGREGATE, *found.sets):
        known = ", ".join((AGGREGATE, *found.sets))
        raise EngineError(f"The run {name!r} has no score {column!r}. It has: {known}. Nothing was changed.")
    return found, column or AGGREGATE


def _score(facts: Facts, rest: str) -> Array:
    found, column = _scores(facts, rest)
    return found.column(column)


def _rank(facts: Facts, rest: str) -> Array:
    found, column = _scores(facts, rest)
    place = facts.ranks(found.artifact, column)
    return np.where(place > 0, place, np.nan).astype(np.float32)


def _uncertainty(scores: Scores) -> Array | None:
    """The standard deviation of the aggregate in its unit; of runs without one, that of the kernel."""
    if scores.sigma is not None:
        return scores.sigma
    return None if scores.variance is None else np.sqrt(np.maximum(np.asarray(scores.variance), 0))


def _uncertain(facts: Facts, rest: str) -> Array:
    values = _uncertainty(facts.scores(facts.run(rest).artifact))
    if values is None:
        raise EngineError(f"The run {rest!r} does not say how uncertain its scores are. Nothing was changed.")
    return values


def _selection(facts: Facts, rest: str) -> Selection:
    version, _, name = rest.partition("/")
    found = next((s for s in facts.selections() if s.name == name and str(s.version) == version), None)
    if found is None:
        raise EngineError(f"There is no version {version} of a selection {name!r} (any more). Nothing was changed.")
    return found


def _chosen(facts: Facts, rest: str) -> Array:
    inside = np.zeros(facts.n, bool)
    inside[_selection(facts, rest).rows] = True
    return inside


def _weights(facts: Facts, rest: str) -> Array:
    found, values = _selection(facts, rest), np.full(facts.n, np.nan, np.float32)
    if found.weights is None:
        raise EngineError(f"The selection {found.name!r} has no weights. Nothing was changed.")
    values[found.rows] = found.weights
    return values


def _flag(facts: Facts, name: str) -> Array:
    known = marks.names(facts)
    if name not in known:
        raise EngineError(f"There is no signal {name!r}. There are: {', '.join(known)}. Nothing was changed.")
    return marks.whole(marks.marked(facts, name), facts.n)


def _signal_numbers(facts: Facts, name: str) -> Array:
    found = signals.signals_of(facts)
    if name not in found.columns or found.columns[name].kind == "flag":
        return _flag(facts, name)
    if found.columns[name].kind == "category":
        raise EngineError(f"The signal {name!r} holds categories, not numbers. Choose another; nothing was changed.")
    return found.values(name)


def _signal_categories(facts: Facts, name: str) -> Categories:
    found = signals.signals_of(facts)
    if name not in found.columns or found.columns[name].kind == "flag":
        return _yes_or_no(_flag(facts, name))
    if found.columns[name].kind == "number":
        raise EngineError(f"The signal {name!r} holds numbers, not categories. Choose another; nothing was changed.")

    def compute() -> Categories:
        column = found.columns[name]
        counts = np.bincount(np.maximum(found.array(name), 0), minlength=len(column.categories))
        falling = np.argsort(-counts, kind="stable")
        place = np.argsort(falling, kind="stable").astype(np.int32)
        return _named(place[found.array(name)], [column.categories[at] for at in falling], facts.n, missing=UNSCORED)

    return facts.remember(POOL, "signal categories", compute, name, found.folders[name].name)


def _padded(values: Array, n: int) -> Array:
    """float32 (n,): the covered rows' values, NaN behind."""
    if len(values) == n:
        return np.asarray(values, np.float32)
    return np.concatenate([np.asarray(values[:n], np.float32), np.full(max(0, n - len(values)), np.nan, np.float32)])


def _named(codes: Array, names: list[str], n: int, *, missing: str) -> Categories:
    """Categories with fixed names in their order; codes beyond the covered rows, or below 0, are `missing`."""
    whole = np.full(n, -1, np.int32)
    whole[: min(n, len(codes))] = codes[:n]
    if (whole < 0).any():
        names = [*names, missing]
        whole[whole < 0] = len(names) - 1
    return Categories(names, whole, np.bincount(whole, minlength=len(names)))


def _decisions(facts: Facts, _: str) -> Categories:
    codes = facts.decisions()
    return _named(codes, [decision_name(code) for code in sorted(DECISION_OF)], len(codes), missing="")


def _status(facts: Facts, rest: str) -> Categories:
    codes = np.asarray(facts.scores(facts.run(rest).artifact).status)
    return _named(codes, [STATUS[code] for code in sorted(STATUS)], facts.n, missing=UNSCORED)


def _clusters(facts: Facts, _: str) -> Categories:
    found = facts.layout()
    if found is None:
        raise EngineError("There is no map, so there are no clusters. Build the map first; nothing was changed.")
    return _named(np.asarray(found.cluster), list(found.labels), facts.n, missing=NOTHING)


def _yes_or_no(flags: Array) -> Categories:
    return _named(flags.astype(np.int32), ["no", "yes"], len(flags), missing="")


_NUMBERS: dict[str, Callable[[Facts, str], Array]] = {
    "words": lambda facts, _: facts.column("words"),
    "chars": lambda facts, _: facts.column("chars"),
    "score": _score,
    "rank": _rank,
    "uncertainty": _uncertain,
    "signal": _signal_numbers,
    "selection": _chosen,
    "weight": _weights,
}
_CATEGORIES: dict[str, Callable[[Facts, str], Categories]] = {
    "file": lambda facts, _: facts.remember(POOL, "file categories", lambda: coded(facts.column("file"))),
    "decision": _decisions,
    "tag": lambda facts, _: tagged.categories(facts),
    "status": _status,
    "cluster": _clusters,
    "signal": _signal_categories,
    "selection": lambda facts, rest: _yes_or_no(_chosen(facts, rest)),
    "field": lambda facts, name: facts.categories(name),
}
