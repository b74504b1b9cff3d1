"""Searching the texts of the pool: which rows have what a query asks for.

    search(project, TextQuery.of("solve summar* -proof"), where="prompt") -> bool (n,)

Notation: n usable pool rows. *Where* is the prompt, the response or both (`texts` says what they are); with both, each
part of a query of words may stand in either. Words and their beginnings are found by an index (`search_candidates`);
for what it cannot tell (phrases, signs), the texts of the rows that have the words are read. There a literal is looked
for first, which is fast; the borders of words are looked at only where it occurs. A regular expression reads the texts
that may have the literals it cannot do without (`search_literals`), and all texts where it has none.
Says nothing about where in a text it matched (`search_marks`).
"""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Literal, get_args

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from engine.curation import texts
from engine.curation.search_candidates import admitted, sift
from engine.curation.search_index import Index, Segment
from engine.curation.search_literals import required
from engine.curation.search_tokens import of_word
from engine.curation.search_words import Term, TextQuery
from engine.errors import EngineError
from engine.progress import Reporter, Silent
from engine.store.project import Project

Where = Literal["both", "prompt", "response"]
WHERES: tuple[str, ...] = get_args(Where)
FEW_BYTES = 100_000
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
    listener = _Limited(reporter or Silent(), limit_s) if limit_s is not None else reporter or Silent()
    sides = sides_of(where)
    if not query.terms:
        return _by_expression(project, query.text, sides, listener)
    columns = [f"{side}-folded" for side in sides]
    there = texts.prepare(project, reporter=listener)
    passing, doubtful, undecided = _sifted([texts.index_of(project, part) for part in there], columns, query.terms)
    if doubtful.any():
        test = _test(undecided)
        read = texts.scan(project, columns, test, among=doubtful, prepared=there, reporter=listener)
        passing[doubtful] = read[doubtful]
    return passing


def sides_of(where: str) -> tuple[str, ...]:
    """The sides that `where` means. Raises `EngineError` for an unknown one."""
    if where not in _SIDES:
        raise EngineError(f"{where!r} is no place to search in: expected {', '.join(WHERES)}. Nothing was searched.")
    return _SIDES[where]


def _by_expression(project: Project, pattern: str, sides: Sequence[str], listener: Reporter) -> np.ndarray:
    there = texts.prepare(project, reporter=listener)
    among = None
    if groups := required(pattern):
        segments = _segments([texts.index_of(project, part) for part in there], [f"{side}-folded" for side in sides])
        among = np.concatenate([np.zeros(0, bool), *(admitted(groups, columns) for columns in segments)])
    test = partial(_any_matches, pattern=pattern)
    return texts.scan(project, sides, test, among=among, prepared=there, reporter=listener)


def _sifted(
    indexes: Iterable[Index], columns: Sequence[str], terms: Sequence[Term]
) -> tuple[np.ndarray, np.ndarray, set[Term]]:
    """What `search_candidates.sift` says of the whole pool."""
    passing, doubtful, undecided = [np.zeros(0, bool)], [np.zeros(0, bool)], set[Term]()
    for segments in _segments(indexes, columns):
        passes, open_, terms_ = sift(terms, segments)
        passing.append(passes)
        doubtful.append(open_)
        undecided |= terms_
    return np.concatenate(passing), np.concatenate(doubtful), undecided


def _segments(indexes: Iterable[Index], columns: Sequence[str]) -> Iterator[list[Segment]]:
    """The segments of the whole pool, each in these columns."""
    for index in indexes:
        opened = [index.column(name) for name in columns]
        for at in range(len(index.segments) - 1):
            yield [column.segment(at) for column in opened]


def _test(terms: Iterable[Term]) -> Callable[[dict[str, pa.Array]], np.ndarray]:
    """What decides on the rows of a batch: all terms."""
    ordered = sorted(terms, key=lambda term: -len(term.text))  # long ones are rare: they leave less to do

    def test(batch: dict[str, pa.Array]) -> np.ndarray:
        passing = np.ones(len(next(iter(batch.values()))), bool)
        for term in ordered:
            if passing.any():
                passing &= _any(_has(text, term, passing) for text in batch.values()) ^ term.unwanted
        return passing

    return test


def _has(texts_: pa.Array, term: Term, asked: np.ndarray) -> np.ndarray:
    """bool (m,): the rows among `asked` whose text has the term; the others may say anything."""
    found = asked & _matches(texts_, term.literal)
    if not found.any() or not (term.begins or term.ends):
        return found
    found[found] = _bordered(texts_.filter(pa.array(found)), term)
    return found


def _bordered(texts_: pa.Array, term: Term) -> np.ndarray:
    """bool (m,): the texts that have the term with its borders; few are left to what knows letters of all scripts."""
    has = _matches(texts_, term.sure)
    if not has.all():
        open_ = np.flatnonzero(~has)
        open_ = open_[_matches(texts_.take(pa.array(open_)), term.possible)]
        if len(open_):
            has[open_] = _bordered_in_any_script(texts_.take(pa.array(open_)), term)
    return has


def _bordered_in_any_script(texts_: pa.Array, term: Term) -> np.ndarray:
    """The same for any texts; a few are read faster than the pattern with the letters of all scripts is compiled."""
    if texts_.nbytes > FEW_BYTES:
        return _matches(texts_, term.pattern)
    return np.array([_stands_in(text, term) for text in texts_.to_pylist()], bool)


def _stands_in(text: str, term: Term) -> bool:
    """Whether a folded text has the term with its borders."""
    at = text.find(term.text)
    while at >= 0:
        end = at + len(term.text)
        before = term.begins and at > 0 and of_word(text[at - 1])
        behind = term.ends and end < len(text) and of_word(text[end])
        if not (before or behind):
            return True
        at = text.find(term.text, at + 1)
    return False


def _matches(texts_: pa.Array, pattern: str) -> np.ndarray:
    return pc.match_substring_regex(texts_, pattern).to_numpy(zero_copy_only=False)


def _any_matches(batch: dict[str, pa.Array], pattern: str) -> np.ndarray:
    return _any(_matches(text, pattern) for text in batch.values())


def _any(masks: Iterable[np.ndarray]) -> np.ndarray:
    return np.logical_or.reduce(list(masks))


class _Limited:
    """Passes progress on and ends a scan, not its preparation, that takes too long."""

    def __init__(self, inner: Reporter, limit_s: float) -> None:
        self._inner, self._limit, self._end = inner, limit_s, float("inf")
        self.advance, self.log = inner.advance, inner.log

    def phase(self, name: str, total: int, unit: str = "samples") -> None:
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
