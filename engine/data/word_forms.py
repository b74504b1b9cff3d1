"""The words of a text in the form in which texts are compared, whatever way they were typed or encoded.

Notation: the *form* of a text is Unicode's NFKC of it in small letters (case folded), with typographic quotes and
dashes as the plain ones and without signs that show nothing: a space of no width, a soft hyphen. A *word* is a run of
letters, digits and their marks; every other mark and symbol is a word of its own, and so is every sign of the scripts
that are written without spaces (`SIGNS`: Chinese, Japanese, Thai, Lao, Khmer, Burmese). White space only parts words.

`words_in` is the fast cut that the pool's signals are made of, `words_at` the same words with their places in the text
as it stands; both give the same words for any text. Knows nothing of rows, and does not tell languages.
"""

import re
import unicodedata
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from functools import lru_cache

Word = tuple[str, int, int]
"""A word in its form, and where it begins and ends in the text."""


def _ranges(codes: Iterable[int]) -> str:
    """The characters of ascending codes, as the inside of a class of a regular expression."""
    found: list[list[int]] = []
    for code in codes:
        if found and code == found[-1][1] + 1:
            found[-1][1] = code
        else:
            found.append([code, code])
    return "".join(f"\\U{first:08x}-\\U{last:08x}" for first, last in found)


_SCANNED = (*range(0xA1, 0x3100), *range(0xA66F, 0xABFF), *range(0xFB1E, 0x10000), *range(0x1F000, 0x1FB00))
MARKS = _ranges(code for code in _SCANNED if unicodedata.category(chr(code))[0] == "M")
"""Accents and vowel signs, which belong to the letter before them: the inside of a class, as `SIGNS` is."""
SIGNS = (
    "\u0e01-\u0e3a\u0e40-\u0e4e\u0e81-\u0ece\u1000-\u103f\u1780-\u17d3\u3005-\u3007\u3040-\u309a\u309d-\u30fa\u30fc-\u30ff"
    "\u3100-\u312f\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
)
_SYMBOLS = _ranges(code for code in _SCANNED if unicodedata.category(chr(code))[0] in "PS")
NOTHING = "\u00ad\u034f\u061c\u180e\u200b-\u200f\u202a-\u202e\u2060-\u2064\u2066-\u2069\ufe00-\ufe0f\ufeff"
"""What shows nothing, as the inside of a class."""

_ALONE = re.compile(f"[{SIGNS}{_SYMBOLS}]")
_TYPED = re.compile(f"[\u00b4\u2018-\u201f\u2032\u2033\u02bc\u00ab\u00bb\u2010-\u2015\u2212\u2028\u2029\x85{NOTHING}]")
_PLAIN = (
    dict.fromkeys("´‘’‚‛′ʼ", "'")
    | dict.fromkeys("“”„‟″«»", '"')
    | dict.fromkeys("‐‑‒–—―−", "-")
    | dict.fromkeys("\u2028\u2029\x85", "\n")
)
_BYTES = re.compile(rb"[\w\x80-\xff]+|[^\w\s\x80-\xff]")
_WORD = re.compile(r"[A-Za-z0-9_\x80-\U0010ffff]+|[^A-Za-z0-9_\s\x80-\U0010ffff]", re.ASCII)
_JOINING = f"{MARKS}{NOTHING}\u1100-\u11ff"
"""What may become one character with the one before it, or nothing."""
_JOINED = re.compile(f"[{_JOINING}]")
_PIECE = re.compile(f"[^\\s{_JOINING}]+(?![{_JOINING}])|[^\\s{_JOINING}]?[{_JOINING}]+|.", re.DOTALL)


def words_in(text: str) -> list[bytes]:
    """The words of a text in their form, as UTF-8."""
    cut = text.lower() if text.isascii() else _cut(text)
    return _BYTES.findall(cut.encode("utf-8", "replace"))


def words_at(text: str) -> Iterator[Word]:
    """The words of `words_in` with their places; characters that one form is made of are never parted."""
    if text.isascii():
        yield from ((match.group().lower(), match.start(), match.end()) for match in _WORD.finditer(text))
        return
    pieces = list(_pieces(text))
    begins, at = [], 0
    for form, _, _ in pieces:
        begins.append(at)
        at += len(form)
    for match in _WORD.finditer("".join(form for form, _, _ in pieces)):
        first, last = bisect_right(begins, match.start()) - 1, bisect_right(begins, match.end() - 1) - 1
        yield match.group(), pieces[first][1], pieces[last][2]


def _cut(text: str) -> str:
    """The form of a text, with spaces around what is a word by itself."""
    typed = _TYPED.sub(lambda match: _PLAIN.get(match.group(), ""), text)
    return _ALONE.sub(r" \g<0> ", unicodedata.normalize("NFKC", typed).casefold())


@lru_cache(maxsize=1 << 14)
def _form(character: str) -> str:
    return _cut(character)


def _pieces(text: str) -> Iterator[Word]:
    """The smallest parts of the text that have a form of their own, with it and their places."""
    for match in _PIECE.finditer(text):
        part, start = match.group(), match.start()
        if _JOINED.search(part):
            yield _cut(part), start, match.end()
            continue
        yield from ((_form(character), start + at, start + at + 1) for at, character in enumerate(part))
