"""The filters that a search makes: `text`, `similar` and `contains`; what they must look like, say and let pass.

    text      subject "MODE/WHERE" (`search_words`, `search_text`), values (query,)
    similar   subject "query", "query/prompt" or "query/response": likeness to a question, of whole samples or of one
              side; subject "sample": likeness to a row. Values (question or id, k) or (question or id, k, least): the
              k nearest rows, those with a likeness of at least `least`, or both; the other is None
    contains  subject is an original field, values (text,): the text occurs in the field's value, whatever its case

Rows that are not on the map pass no filter by likeness. Which filters are in force is `filters`' matter.
"""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from engine.curation import search_meaning
from engine.curation.facts import POOL, Array, Facts
from engine.curation.search_meaning import likeness, nearest
from engine.curation.search_text import search, sides_of
from engine.curation.search_words import TextQuery
from engine.errors import EngineError

Values = tuple[Any, ...]
LIMIT_S = 60.0
LONGEST_VALUE = 1000
_LIKE = ("query", "query/prompt", "query/response", "sample")
_MODES = {"words": "Words", "phrase": "Phrase", "regex": "Expression"}
_WHERE = {"both": "", "prompt": " in the prompt", "response": " in the response"}


@dataclass(frozen=True)
class Ranked:
    """`rows` int64 (k,) by falling likeness, and `likeness` float32 (k,)."""

    rows: Array
    likeness: Array


def check(kind: str, subject: str, values: Values) -> None:
    """Raise `EngineError` on what no search would make."""
    {"text": _check_text, "similar": _check_similar, "contains": _check_contains}[kind](subject, values)


def describe(kind: str, subject: str, values: Values) -> str:
    """The filter in plain words; not escaped."""
    quoted = f"“{_cut(str(values[0]))}”"
    if kind == "text":
        mode, _, where = subject.partition("/")
        return f"{_MODES[mode]} {quoted}{_WHERE[where]}"
    if kind == "contains":
        return f"{subject} contains {quoted}"
    k, least = _k_and_least(values)
    amount = f"nearest {k:,}" if k is not None else f"likeness ≥ {least:g}"
    amount += f", likeness ≥ {least:g}" if k is not None and least is not None else ""
    if subject == "sample":
        return f"Similar to {_cut(str(values[0]))}: {amount}"
    side = subject.partition("/")[2]
    return f"Meaning {quoted}{f' of the {side}' if side else ''}: {amount}"


def mask(facts: Facts, kind: str, subject: str, values: Values) -> Array:
    """bool over the rows there is something to say of: those that pass."""
    return _MASKS[kind](facts, subject, values)


def version(facts: Facts, kind: str) -> str:
    """What besides the pool the answer depends on."""
    return (facts.latest_map() or "") if kind == "similar" else ""


def ranked(facts: Facts, subject: str, values: Values) -> Ranked:
    """The rows of a `similar` filter, most alike first, ties by row. Raises `EngineError` where nothing compares them.

    The sample itself comes first among those similar to it.
    """
    k, least = _k_and_least(values)

    def compute() -> Ranked:
        side = subject.partition("/")[2] or "sample"
        where = search_meaning.space(facts, side)
        asked = str(values[0])
        if subject == "sample":
            vector = search_meaning.sample_vector(facts, facts.project.row_of(asked))
        else:
            vector = search_meaning.query_vector(facts, asked, side)
        alike = likeness(where.values(), vector)
        rows = nearest(alike, k=k, least=least)
        return Ranked(rows, alike[rows])

    return facts.remember(facts.latest_map() or POOL, "ranked by likeness", compute, subject, *values)


def _check_text(subject: str, values: Values) -> None:
    mode, _, where = subject.partition("/")
    sides_of(where)
    if len(values) != 1 or not isinstance(values[0], str):
        raise EngineError("a text filter takes one query; nothing was filtered")
    TextQuery.of(values[0], mode)


def _check_similar(subject: str, values: Values) -> None:
    if subject not in _LIKE:
        raise EngineError(f"samples are similar to {', '.join(_LIKE)}, not to {subject!r}; nothing was filtered")
    if len(values) not in (2, 3) or not isinstance(values[0], str) or not values[0].strip():
        raise EngineError("a filter by likeness takes a question or an id, and how many samples; nothing was filtered")
    k, least = _k_and_least(values)
    if (k is None and least is None) or len(values[0]) > LONGEST_VALUE:
        raise EngineError("a filter by likeness without a limit, or with a very long text; nothing was filtered")
    if k is not None and (type(k) is not int or k < 1):
        raise EngineError(f"the nearest {k!r} samples are no number of samples; nothing was filtered")
    if least is not None and not (isinstance(least, int | float) and math.isfinite(least) and -1 <= least <= 1):
        raise EngineError(f"a likeness lies between -1 and 1, not at {least!r}; nothing was filtered")


def _check_contains(subject: str, values: Values) -> None:
    if not subject or len(values) != 1 or not isinstance(values[0], str) or not 0 < len(values[0]) <= LONGEST_VALUE:
        raise EngineError("a filter by a part of a field takes the field and one text; nothing was filtered")


def _k_and_least(values: Values) -> tuple[Any, Any]:
    return values[1], values[2] if len(values) > 2 else None


def _text(facts: Facts, subject: str, values: Values) -> Array:
    mode, _, where = subject.partition("/")
    return search(facts.project, TextQuery.of(values[0], mode), where=where, limit_s=LIMIT_S)


def _similar(facts: Facts, subject: str, values: Values) -> Array:
    passing = np.zeros(facts.n, bool)
    passing[ranked(facts, subject, values).rows] = True
    return passing


def _contains(facts: Facts, subject: str, values: Values) -> Array:
    codes, distinct = pd.factorize(pd.Series(facts.column(subject)), use_na_sentinel=True)
    texts = pa.array([str(value) for value in distinct], pa.large_string())
    found = pc.match_substring_regex(texts, re.escape(values[0]), ignore_case=True).to_numpy(zero_copy_only=False)
    return np.append(found, False)[codes]  # -1, no value, finds the False behind


def _cut(text: str, limit: int = 40) -> str:
    line = " ".join(text.split())
    return line if len(line) <= limit else line[: limit - 1].rstrip() + "…"


_MASKS: dict[str, Callable[[Facts, str, Values], Array]] = {
    "text": _text,
    "similar": _similar,
    "contains": _contains,
}
KINDS = tuple(_MASKS)
