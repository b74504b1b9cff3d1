"""The difference between two texts, word by word: what both share, what only the first has, what only the second.

Notation: a *token* is a word, a run of spaces, or a single other character (in scripts that write no spaces between
words, every sign is a word: `word_forms.SIGNS`); a *piece* is a run of tokens of one kind, "same", "removed" (in the
first text only) or "added" (in the second only). The pieces that are not "added" spell the first text, those that are
not "removed" the second, to the letter.

Time stays near the length of the texts, however they are made: what both begin and end with is set aside; then the
tokens that occur once in each text anchor the comparison (the longest run of them in common order, "patience"); what is
left between anchors is compared exactly where its table is small, and otherwise given as removed and added as a whole.
Beyond `MOST` tokens a text is not compared; the caller is told. Does not draw.
"""

import re
from bisect import bisect_left
from collections import Counter
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Literal

from engine.data.word_forms import MARKS, SIGNS

Kind = Literal["same", "removed", "added"]
MOST = 40_000  # tokens of either text that are compared
TABLE = 250_000  # cells of an exact comparison between two anchors
_A_WORD = rf"[{SIGNS}]|[^\W{SIGNS}]+(?:[{MARKS}]+[^\W{SIGNS}]*){{0,99}}"
_WORD, _TOKEN = re.compile(_A_WORD), re.compile(rf"{_A_WORD}|\s+|[^\w\s]")


@dataclass(frozen=True)
class Piece:
    """A run of tokens of one kind."""

    kind: Kind
    text: str


@dataclass(frozen=True)
class Difference:
    """`pieces` in reading order; `beyond`: how many characters of the longer text were not compared."""

    pieces: tuple[Piece, ...]
    beyond: int = 0

    @property
    def words(self) -> tuple[int, int]:
        """(removed, added): how many words only the first and only the second text has."""
        found = {"removed": 0, "added": 0, "same": 0}
        for piece in self.pieces:
            found[piece.kind] += len(_WORD.findall(piece.text))
        return found["removed"], found["added"]


def difference(first: str, second: str, *, most: int = MOST) -> Difference:
    """What changes from the first text to the second."""
    before, beyond = _tokens(first, most)
    after, beyond_after = _tokens(second, most)
    changes: list[tuple[Kind, str]] = []
    _compare(before, after, changes)
    pieces: list[Piece] = []
    run: list[str] = []
    for at, (kind, token) in enumerate(changes):
        run.append(token)
        if at + 1 == len(changes) or changes[at + 1][0] != kind:
            pieces.append(Piece(kind, "".join(run)))
            run = []
    return Difference(tuple(pieces), max(beyond, beyond_after))


def _tokens(text: str, most: int) -> tuple[list[str], int]:
    """The first `most` tokens, and how many characters lie behind them."""
    tokens: list[str] = []
    end = 0
    for match in _TOKEN.finditer(text):
        if len(tokens) == most:
            break
        tokens.append(match[0])
        end = match.end()
    return tokens, len(text) - end


def _compare(before: list[str], after: list[str], changes: list[tuple[Kind, str]]) -> None:
    """Append what changes; anchors split the texts, and what lies between two anchors is compared by itself."""
    stack: list[tuple[int, int, int, int] | tuple[int, int]] = [(0, len(before), 0, len(after))]
    while stack:
        part = stack.pop()
        if len(part) == 2:  # a run both share
            changes.extend(("same", token) for token in before[part[0] : part[1]])
            continue
        a, b, c, d = part
        start, stop = _shared(before, after, a, b, c, d)
        inner = (a + start, b - stop, c + start, d - stop)
        anchors = _anchors(before, after, *inner)
        if not anchors:
            changes.extend(("same", token) for token in before[a : a + start])
            _between(before[inner[0] : inner[1]], after[inner[2] : inner[3]], changes)
            changes.extend(("same", token) for token in before[b - stop : b])
            continue
        stack.append((b - stop, b))
        right, below = inner[1], inner[3]
        for at, to in reversed(anchors):
            stack.append((at + 1, right, to + 1, below))
            stack.append((at, at + 1))
            right, below = at, to
        stack.append((inner[0], right, inner[2], below))
        stack.append((a, a + start))


def _shared(before: list[str], after: list[str], a: int, b: int, c: int, d: int) -> tuple[int, int]:
    """How many tokens both parts begin with, and how many of the rest both end with."""
    most = min(b - a, d - c)
    start = 0
    while start < most and before[a + start] == after[c + start]:
        start += 1
    stop = 0
    while stop < most - start and before[b - 1 - stop] == after[d - 1 - stop]:
        stop += 1
    return start, stop


def _anchors(before: list[str], after: list[str], a: int, b: int, c: int, d: int) -> list[tuple[int, int]]:
    """Places (in before, in after) of the tokens that occur once in each part, the longest run in common order."""
    if a >= b or c >= d or (b - a) * (d - c) <= TABLE:  # small enough to be compared exactly
        return []
    mine, theirs = Counter(before[a:b]), Counter(after[c:d])
    places = {token: c + at for at, token in enumerate(after[c:d]) if theirs[token] == 1}
    pairs = [(at, places[before[at]]) for at in range(a, b) if mine[before[at]] == 1 and before[at] in places]
    return _ascending(pairs)


def _ascending(pairs: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """The longest subsequence whose second places ascend; the first ones do already (patience sorting, n log n)."""
    tops: list[int] = []  # the least last place of a run of each length
    holders: list[int] = []  # which pair that is
    behind = [-1] * len(pairs)
    for number, (_, place) in enumerate(pairs):
        length = bisect_left(tops, place)
        if length == len(tops):
            tops.append(place)
            holders.append(number)
        else:
            tops[length], holders[length] = place, number
        behind[number] = holders[length - 1] if length else -1
    run, at = [], holders[-1] if holders else -1
    while at >= 0:
        run.append(pairs[at])
        at = behind[at]
    return run[::-1]


def _between(before: list[str], after: list[str], changes: list[tuple[Kind, str]]) -> None:
    """Compare exactly where the table is small, else give all of it as removed and added."""
    if before and after and len(before) * len(after) <= TABLE:
        for kind, a, b, c, d in SequenceMatcher(None, before, after, autojunk=False).get_opcodes():
            if kind == "equal":
                changes.extend(("same", token) for token in before[a:b])
                continue
            changes.extend(("removed", token) for token in before[a:b])
            changes.extend(("added", token) for token in after[c:d])
        return
    changes.extend(("removed", token) for token in before)
    changes.extend(("added", token) for token in after)
