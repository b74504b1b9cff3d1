"""Searching the texts of the pool: which rows have what a query asks for.

    search(project, TextQuery.of("solve summar* -proof"), where="prompt") -> bool (n,)

Notation: n usable pool rows. *Where* is the prompt, the response or both (`texts` says what they are); with both, each
part of a query of words may stand in either. A literal is looked for first, which is fast; the borders of words are
looked at only where it occurs. Says nothing about where in a text it matched (`search_marks`).
"""

import time
from collections.abc import Callable
from typing import Literal, get_args

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from engine.curation import texts
from engine.curation.search_words import Term, TextQuery
from engine.errors import EngineError
from engine.progress import Reporter, Silent
from engine.store.project import Project

Where = Literal["both", "prompt", "response"]
WHERES: tuple[str, ...] = get_args(Where)
_SIDES: dict[str, tuple[str, ...]] = {"both": texts.SIDES, "prompt": ("prompt",), "response": ("response",)}


def search(
    project: Project,
    query: TextQuery,
    *,
    where: str = "both",
    limit_s: float | None = None,
    reporter: Reporter | None = None,
) -> np.ndarray:
    """bool (n,): the pool rows that match `query` in `where` (one of `WHERES`).

    Raises `EngineError` for another `where`, and where it takes longer than `limit_s` seconds.
    """
    columns = [f"{side}-folded" if query.terms else side for side in sides_of(where)]
    listener = _Limited(reporter or Silent(), limit_s) if limit_s is not None else reporter
    return texts.scan(project, columns, _test(query), reporter=listener)


def sides_of(where: str) -> tuple[str, ...]:
    """The sides that `where` means. Raises `EngineError` for an unknown one."""
    if where not in _SIDES:
        raise EngineError(f"{where!r} is no place to search in: expected {', '.join(WHERES)}. Nothing was searched.")
    return _SIDES[where]


def _test(query: TextQuery) -> Callable[[dict[str, pa.Array]], np.ndarray]:
    """What decides on the rows of a batch."""
    if not query.terms:
        return lambda batch: _any(_matches(text, query.text) for text in batch.values())
    terms = sorted(query.terms, key=lambda term: -len(term.text))  # long ones are rare: they leave less to do

    def test(batch: dict[str, pa.Array]) -> np.ndarray:
        passing = np.ones(len(next(iter(batch.values()))), bool)
        for term in terms:
            if passing.any():
                passing &= _any(_has(text, term, passing) for text in batch.values()) ^ term.unwanted
        return passing

    return test


def _has(texts_: pa.Array, term: Term, asked: np.ndarray) -> np.ndarray:
    """bool (m,): the rows among `asked` whose text has the term; the others may say anything."""
    found = asked & _matches(texts_, term.literal)
    if not found.any() or not (term.begins or term.ends):
        return found
    rows = np.flatnonzero(found)
    found[rows] = _matches(texts_.take(pa.array(rows)), term.pattern)
    return found


def _matches(texts_: pa.Array, pattern: str) -> np.ndarray:
    return pc.match_substring_regex(texts_, pattern).to_numpy(zero_copy_only=False)


def _any(masks: "object") -> np.ndarray:
    return np.logical_or.reduce(list(masks))  # type: ignore[call-overload]


class _Limited:
    """Passes progress on and ends a scan, not its preparation, that takes too long."""

    def __init__(self, inner: Reporter, limit_s: float) -> None:
        self._inner, self._limit, self._end = inner, limit_s, float("inf")
        self.advance, self.log = inner.advance, inner.log

    def phase(self, name: str, total: int, unit: str = "rows") -> None:
        """Begin a phase; the clock runs while searching."""
        self._end = time.monotonic() + self._limit if name == "searching" else float("inf")
        self._inner.phase(name, total, unit)

    def check(self) -> None:
        """Raise once the time is over."""
        self._inner.check()
        if time.monotonic() > self._end:
            raise EngineError(
                f"The search took longer than {self._limit:.0f} s and was ended. Make the query simpler, or search "
                "from the shell with find, which has no limit. Nothing was filtered."
            )
