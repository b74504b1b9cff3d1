"""Where a text has what was searched for: pieces of plain text, found ones marked, and excerpts around the first.

A *piece* is (text, found). The pieces of `marked` joined are the text as it is, character for character. Words and
phrases are looked for folded (`search_words`), so each folded character remembers the one it came from. Knows one text
at a time; `search_text` searches the pool.
"""

import re
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from engine.curation.search_words import Term, TextQuery, bordered, folded_character, word_end

Piece = tuple[str, bool]
Span = tuple[int, int]
MOST = 500  # marks in one text
LONGEST = 200_000  # characters of a text that are looked through
_OPEN, _CLOSE = "\ue0f0\ue0f1", "\ue0f1\ue0f0"  # private characters, doubled: no text has them side by side by chance
_SPACES = re.compile(r"\s+")


def marked(text: str, query: TextQuery) -> list[Piece]:
    """`text` as pieces, the parts that match `query` marked; only its first `LONGEST` characters are looked through."""
    return marked_by(text, [query])


def marked_by(text: str, queries: Iterable[TextQuery]) -> list[Piece]:
    """As `marked`, by several queries; where their matches overlap they are one."""
    pieces: list[Piece] = []
    done = 0
    for start, end in _joined(sorted(span for query in queries for span in spans(text[:LONGEST], query))):
        pieces += [(text[done:start], False), (text[start:end], True)]
        done = end
    pieces.append((text[done:], False))
    return [piece for piece in pieces if piece[0]]


def excerpt(text: str, query: TextQuery, *, width: int = 160) -> list[Piece]:
    """About `width` characters around the first match as one line of pieces; the beginning where nothing matches."""
    found = spans(text[:LONGEST], query)
    first = found[0] if found else (0, 0)
    start = max(0, first[0] - width // 3)
    start = (
        text.find(" ", start, first[0]) + 1 or start if start else 0
    )  # at the beginning of a word where there is one
    end = min(len(text), max(start + width, min(first[1], start + 2 * width)))
    pieces: list[Piece] = [("… ", False)] if start else []
    done = start
    for a, b in ((max(a, start), min(b, end)) for a, b in found if a < end):
        pieces += [(text[done:a], False), (text[a:b], True)]
        done = b
    pieces += [(text[done:end], False), (" …" if end < len(text) else "", False)]
    return [(_one_line(piece), is_found) for piece, is_found in pieces if piece]


def _one_line(text: str) -> str:
    """Line breaks and runs of spaces as one space, at the ends too."""
    return _SPACES.sub(" ", text)


def first_excerpt(
    sides: Mapping[str, Sequence[str]], query: TextQuery | None, *, width: int = 160
) -> tuple[str, list[Piece]]:
    """The side and excerpt of the first turn that matches; of the first turn with text where none does.

    sides: turns by side, as `texts.sides` gives them, in the order to look through.
    """
    turns = [(side, turn) for side, each in sides.items() for turn in each if turn.strip()]
    for side, turn in turns:
        if query is not None and spans(turn[:LONGEST], query):
            return side, excerpt(turn, query, width=width)
    side, turn = turns[0] if turns else ("", "")
    return side, [(_one_line(turn[:width]) + (" …" if len(turn) > width else ""), False)]


def bracketed(pieces: Iterable[Piece], *, left: str = "[", right: str = "]") -> str:
    """Pieces as one text with the found ones in brackets."""
    return "".join(f"{left}{piece}{right}" if found else piece for piece, found in pieces)


def spans(text: str, query: TextQuery) -> list[Span]:
    """Where `query` matches in `text`: [start, end) in order, apart from each other, at most `MOST`."""
    if not query.terms:
        return _of_expression(text, query.text)
    wanted = [term for term in query.terms if not term.unwanted]
    folded, origin = _folded(text)
    found = sorted(span for term in wanted for span in _occurrences(folded, term))
    return _joined((int(origin[start]), int(origin[end - 1]) + 1) for start, end in found)[:MOST]


def _folded(text: str) -> tuple[str, np.ndarray]:
    """The folded text, and for each of its characters the place of the character of `text` it came from."""
    if text.isascii():
        loose, places = text.lower(), np.arange(len(text))
    else:
        parts = [folded_character(character) for character in text]
        loose, places = "".join(parts), np.repeat(np.arange(len(text)), [len(part) for part in parts])
    blank = np.fromiter((character.isspace() for character in loose), bool, len(loose))
    kept = ~blank | np.concatenate([[True], ~blank[:-1]])[: len(blank)]  # the first of several spaces stays
    characters = np.array(list(loose), dtype=object)
    characters[blank] = " "
    return "".join(characters[kept].tolist()), places[kept]


def _occurrences(folded: str, term: Term) -> list[Span]:
    found: list[Span] = []
    at = folded.find(term.text)
    while at >= 0 and len(found) < MOST:
        end = at + len(term.text)
        if bordered(folded, at, end, term):
            end = word_end(folded, end) if term.prefix else end
            found.append((at, end))
            at = folded.find(term.text, end)
        else:
            at = folded.find(term.text, at + 1)
    return found


def _joined(found: Iterable[Span]) -> list[Span]:
    """Spans in order, those that overlap made one."""
    joined: list[Span] = []
    for start, end in found:
        if joined and start < joined[-1][1]:
            joined[-1] = (joined[-1][0], max(joined[-1][1], end))
        else:
            joined.append((start, end))
    return joined


def _of_expression(text: str, pattern: str) -> list[Span]:
    """RE2 itself says where: it puts every match between two marks."""
    if _OPEN in text or _CLOSE in text:
        return []
    replaced = pc.replace_substring_regex(
        pa.array([text]), f"(?:{pattern})", f"{_OPEN}\\0{_CLOSE}", max_replacements=MOST
    )[0].as_py()
    found: list[Span] = []
    at = 0
    for number, piece in enumerate(replaced.split(_OPEN)):
        inside, _, behind = piece.partition(_CLOSE) if number else ("", "", piece)
        if inside:
            found.append((at, at + len(inside)))
        at += len(inside) + len(behind)
    return found
