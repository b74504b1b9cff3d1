"""What is searched for in texts: words, phrases and regular expressions, and when a text has them.

Words and phrases are compared *folded* (`fold`): without regard to case, to the way a character is encoded, to
characters that have no width, to the shape of quotes and dashes, and to the kind and number of spaces. Accents count.
A word is found whole: `sum` finds neither "sums" nor "consume". In a query of words

    solve "step by step" summar* -proof

every part must occur, in any order: a word, a phrase in double quotes, the beginning of a word before an asterisk;
what follows a minus must not occur. Other signs are searched as they stand (`c++`, `x=2`). Scripts that are written
without spaces (Chinese, Japanese, Thai and such) have no borders of words, so there any occurrence counts.
A regular expression is one of RE2, applied to the text as it is, with regard to case unless it says `(?i)`: its time
grows with the text alone, so that none can hang. RE2 has no look-around and no back-references.

Does not read texts (`texts`, `search_text`) or show where they match (`search_marks`).
"""

import re
import unicodedata
from dataclasses import dataclass
from typing import Literal, get_args

import pyarrow as pa
import pyarrow.compute as pc

from engine.errors import EngineError

Mode = Literal["words", "phrase", "regex"]
MODES: tuple[str, ...] = get_args(Mode)
LONGEST_QUERY = 1000

WORD = r"[\pL\pN\pM_]"
UNSPACED = r"\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}"
_BORDER = r"[^\pL\pN\pM_]"
_SURE_BORDER = r"[^0-9A-Za-z_\x80-\x{10FFFF}]"  # a plain sign or space
_POSSIBLE_BORDER = r"[^0-9A-Za-z_]"  # that, or any character beyond ASCII
_ALIKE = {
    **dict.fromkeys("\u2018\u2019\u201b\u02bc\u2032", "'"),
    **dict.fromkeys("\u201c\u201d\u201f\u2033", '"'),
    **dict.fromkeys("\u2010\u2011\u2012\u2013\u2014\u2015\u2212", "-"),
}
_HIDDEN = "\u00ad\u061c\u180e\u200b-\u200f\u202a-\u202e\u2060-\u2064\u2066-\u206f\ufe00-\ufe0f\ufeff"
_ODD = re.compile(f"[{_HIDDEN}{''.join(_ALIKE)}]")
_PARTS = re.compile(r'(-?)"([^"]*)"?|(\S+)')


@dataclass(frozen=True)
class Term:
    """One thing to find in folded texts: `text` (folded), whether a word must begin or end there, if it is unwanted.

    A `prefix` stands for all words that begin with it. A border is asked for only where the term has a letter or figure
    at that end, of a script that spaces its words.
    """

    text: str
    begins: bool = True
    ends: bool = True
    unwanted: bool = False
    prefix: bool = False

    @property
    def literal(self) -> str:
        """The RE2 pattern of the text alone, which finds more and is fast."""
        return re.escape(self.text)

    @property
    def pattern(self) -> str:
        """The RE2 pattern with the borders of words."""
        return self._bordered(_BORDER)

    @property
    def sure(self) -> str:
        """An RE2 pattern that finds no more than `pattern`, and is compiled and run in a fraction of its time."""
        return self._bordered(_SURE_BORDER)

    @property
    def possible(self) -> str:
        """An RE2 pattern as fast as `sure` that finds no less than `pattern`."""
        return self._bordered(_POSSIBLE_BORDER)

    def _bordered(self, border: str) -> str:
        left, right = f"(?:^|{border})" if self.begins else "", f"(?:$|{border})" if self.ends else ""
        return f"{left}{self.literal}{right}"


@dataclass(frozen=True)
class TextQuery:
    """A query in one of `MODES`, checked: `terms` of words or a phrase, none for a regular expression."""

    mode: str
    text: str
    terms: tuple[Term, ...] = ()

    @classmethod
    def of(cls, text: str, mode: str = "words") -> "TextQuery":
        """Read a query. Raises `EngineError` where it is empty, too long, of an unknown mode or no valid expression."""
        if mode not in MODES:
            raise EngineError(f"{mode!r} is no way to search: expected {', '.join(MODES)}. Nothing was searched.")
        if len(text) > LONGEST_QUERY:
            raise EngineError(
                f"The query has {len(text):,} characters, at most {LONGEST_QUERY:,} are possible. Nothing was searched."
            )
        if any("\ud800" <= character <= "\udfff" for character in text):
            raise EngineError("The query has half a character, which no text has: type it anew. Nothing was searched.")
        if mode == "regex":
            check_expression(text)
            return cls(mode, text)
        terms = words_of(text) if mode == "words" else tuple(filter(None, [_term(text)]))
        if not terms:
            raise EngineError("The query is empty: type what to look for. Nothing was searched.")
        return cls(mode, text, terms)


def fold(text: str) -> str:
    """`text` as it is compared: compatibility decomposition, case folding, plain quotes and dashes, single spaces."""
    if text.isascii():
        return " ".join(text.lower().split())
    return " ".join(folded_character(text).split())


def folded_character(text: str) -> str:
    """Like `fold`, spaces left as they are: what one character (or several) becomes, possibly nothing."""
    bare = _ODD.sub(lambda found: _ALIKE.get(found.group(), ""), text)
    return unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", bare).casefold())


def words_of(text: str) -> tuple[Term, ...]:
    """The terms of a query of words; see the module."""
    terms = []
    for found in _PARTS.finditer(_plain_quotes(text)):
        minus, phrase, word = found.groups()
        if word is None:
            terms.append(_term(phrase, unwanted=bool(minus)))
            continue
        unwanted = len(word) > 1 and word.startswith("-")
        word = word[1:] if unwanted else word
        prefix = len(word) > 1 and word.endswith("*")
        terms.append(_term(word[:-1] if prefix else word, prefix=prefix, unwanted=unwanted))
    return tuple(dict.fromkeys(term for term in terms if term is not None))


def check_expression(pattern: str) -> None:
    """Raise `EngineError` where `pattern` is empty or RE2 cannot read it, saying what it stumbled over and where."""
    if not pattern:
        raise EngineError("The regular expression is empty: type what to look for. Nothing was searched.")
    try:
        pc.match_substring_regex(pa.array([""]), pattern)
    except (pa.ArrowInvalid, UnicodeEncodeError) as error:
        raise EngineError(
            f"This is no regular expression: {_stumbled(pattern, str(error))} Nothing was searched."
        ) from None


def word_end(text: str, at: int) -> int:
    """Where the word that reaches to `at` in folded `text` ends."""
    while at < len(text) and _of_word(text[at]):
        at += 1
    return at


def bordered(text: str, start: int, end: int, term: Term) -> bool:
    """Whether folded `text` has the borders of words that `term`, found at [start, end), asks for."""
    before = start > 0 and _of_word(text[start - 1])
    behind = end < len(text) and _of_word(text[end])
    return not (term.begins and before) and not (term.ends and behind)


def _term(text: str, *, prefix: bool = False, unwanted: bool = False) -> Term | None:
    folded = fold(text)
    if not folded:
        return None
    return Term(folded, _bounds(folded[0]), not prefix and _bounds(folded[-1]), unwanted, prefix)


def _bounds(character: str) -> bool:
    """Whether a word of this script has a border here."""
    wanted = pc.match_substring_regex(pa.array([character]), f"{WORD}")[0].as_py()
    return wanted and not pc.match_substring_regex(pa.array([character]), f"[{UNSPACED}]")[0].as_py()


def _of_word(character: str) -> bool:
    return character == "_" or unicodedata.category(character)[0] in "LNM"


def _plain_quotes(text: str) -> str:
    return text.translate({ord(c): '"' for c in "\u201c\u201d\u201f"})


def _stumbled(pattern: str, message: str) -> str:
    """RE2's reason in plain words: `missing ): (ab` becomes a sentence with the place in the pattern."""
    reason = message.partition("Invalid regular expression:")[2].strip() or "it is not valid text"
    what, _, where = reason.partition(": ")
    at = pattern.find(where) if where else -1
    place = f", at character {at + 1}: {where}" if at >= 0 else ""
    hint = (
        " Look-around and back-references are not possible."
        if what.endswith(("perl operator", "escape sequence"))
        else ""
    )
    return f"{what}{place}.{hint}"
