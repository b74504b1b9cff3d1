"""What a search index says of a term: the rows that have it, and the rows that may have it.

Notation: a *term* is one thing to find in folded texts (`search_words`), a *segment* the words of some rows in one
column (`search_index`). Every run of word characters in a term asks something of the tokens of a text:

    closed     neither side can go on in the text: a token that is this run
    beginning  the right side can: a token that begins with the run, or all its characters in unspaced runs
    part       the left side can: a token that has the run in it, or all its characters in unspaced runs; asked of
               `SHORTEST_PART` plain letters or more, as words are not kept by their ends: all of them are looked at
    unspaced   it has a character of a script without spaces: all its characters in unspaced runs

What a term asks is necessary. It is enough where the term is one closed run, one beginning found as a token, or one
unspaced character; else the texts have to be read, and signs and the order of words are told only there. A run that a
token was cut from (`LONGEST`) may be another one.

The literals of a regular expression (`search_literals`) ask the same, open at both sides: folding keeps plain
characters side by side, so that a text has the literal only where its folded form has the folded literal. Does not
read texts (`search_text`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from engine.curation.search_index import Segment
from engine.curation.search_literals import Group
from engine.curation.search_tokens import LONGEST, UNSPACED_KIND, character, kinds
from engine.curation.search_words import Term, fold

SHORTEST_PART = 3


@dataclass(frozen=True)
class Need:
    """What one run of a term asks for: a whole `word`, the `beginning` or a `part` of one, or unspaced `characters`.

    With `beginning` or `part` and `characters` either is enough; b"" and () ask for nothing.
    """

    word: bytes = b""
    beginning: bytes = b""
    part: bytes = b""
    characters: tuple[bytes, ...] = ()


@dataclass(frozen=True)
class Plan:
    """All that a term asks for; `enough` where a row that has the word, beginning or character it asks has the term."""

    needs: tuple[Need, ...]
    enough: bool


def sift(terms: Sequence[Term], columns: Sequence[Segment]) -> tuple[np.ndarray, np.ndarray, set[Term]]:
    """Which rows of a segment pass by all terms, as far as the index can tell, and where it cannot.

    columns: the segment in each column that a term may stand in. Returns bool (m,) the rows that pass or may pass,
    bool (m,) those among them that have to be read, and the terms that these have to be tested for.
    """
    rows = columns[0].rows
    passing, doubtful, undecided = np.ones(rows, bool), np.zeros(rows, bool), set[Term]()
    for term in terms:
        if not passing.any():
            break
        has, may = map(np.logical_or.reduce, zip(*(_told(plan(term), column) for column in columns), strict=True))
        may &= ~has
        passing &= ~has if term.unwanted else has | may
        if may.any():
            doubtful |= may
            undecided.add(term)
    return passing, doubtful & passing, undecided


def admitted(groups: Sequence[Group], columns: Sequence[Segment]) -> np.ndarray:
    """bool (m,): the rows of a segment that may have a literal of every group in one of the columns."""
    rows = np.ones(columns[0].rows, bool)
    for group in groups:
        if rows.any():
            terms = [Term(fold(literal), begins=False, ends=False) for literal in group]
            rows &= np.logical_or.reduce([_told(plan(term), column)[1] for term in terms for column in columns])
    return rows


@lru_cache(maxsize=256)
def plan(term: Term) -> Plan:
    """What `term` asks of the tokens of a text."""
    of = kinds(term.text)
    runs = [(term.text[start:end], start == 0, end == len(term.text)) for start, end in _stretches(of > 0)]
    needs = tuple(
        _need(run, open_left=first and not term.begins, open_right=last and not term.ends) for run, first, last in runs
    )
    single = len(runs) == 1 and len(runs[0][0]) == len(term.text)
    return Plan(needs, single and _enough(term, needs[0]))


def _need(run: str, *, open_left: bool, open_right: bool) -> Need:
    token = run.encode()[:LONGEST]
    characters = tuple(character(one) for one in sorted(set(run)))
    if (kinds(run) == UNSPACED_KIND).any():
        return Need(characters=characters)
    if open_left:
        fit = run.isascii() and len(run) >= SHORTEST_PART
        return Need(part=run.encode(), characters=characters) if fit else Need()
    return Need(beginning=token, characters=characters) if open_right else Need(word=token)


def _enough(term: Term, need: Need) -> bool:
    """Whether what the only run of a term asks for is the term itself: it was not cut, and has no order."""
    if need.word or need.beginning:
        return len(need.word or need.beginning) < LONGEST
    return len(term.text) == 1 and not (term.begins or term.ends)


def _stretches(inside: np.ndarray) -> list[tuple[int, int]]:
    """[start, end) of the stretches that are True."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], inside, [False]]).astype(np.int8)))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))


def _told(asked: Plan, column: Segment) -> tuple[np.ndarray, np.ndarray]:
    """bool (m,): the rows that have the term for sure; and those that have all it asks for, the former among them."""
    has, may = np.zeros(column.rows, bool), np.ones(column.rows, bool)
    for need in asked.needs:
        by_token, by_characters = _met(need, column)
        if asked.enough:
            has = by_token if need.beginning else by_token | by_characters
        may &= by_token | by_characters
    return has, may


def _met(need: Need, column: Segment) -> tuple[np.ndarray, np.ndarray]:
    """bool (m,): the rows that have the word or beginning; and those that have all the characters."""
    if need == Need():
        return np.ones(column.rows, bool), np.ones(column.rows, bool)
    none = np.zeros(column.rows, bool)
    by_token = none
    if need.word:
        by_token = column.word(need.word)
    elif need.beginning:
        by_token = column.beginning(need.beginning)
    elif need.part:
        by_token = column.containing(need.part)
    if not need.characters:
        return by_token, none
    by_characters = np.ones(column.rows, bool)
    for one in need.characters:
        by_characters &= column.word(one)
        if not by_characters.any():
            break
    return by_token, by_characters
