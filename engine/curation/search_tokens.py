"""The words of folded texts as a search index keeps them, found for a whole batch at once.

Notation: a *run* is a maximal stretch of letters, marks, figures and `_`, the same characters that the borders of
words are told by (`search_words`, RE2's tables). A run is *plain* where every script in it spaces its words, and
*unspaced* where it has a character of one that does not (Chinese, Thai). A *token* is

    a plain run, cut to its first `LONGEST` bytes of UTF-8: a token shorter than that is a whole word
    MARK and one character, for each character of an unspaced run, as any part of such a run can be looked for

so no text has more tokens than characters. Texts are handled as the bytes they are in Arrow; nothing loops over them.
Does not know where tokens are kept (`search_index`).
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from engine.curation.search_words import UNSPACED, WORD

LONGEST = 64
MARK = b"\x01"  # no character of a word, so no word begins with it
PLAIN_KIND, UNSPACED_KIND = 1, 2
_ASCII, _ALL = 0x80, 0x110000
_SURROGATES = range(0xD800, 0xE000)


@dataclass(frozen=True)
class Tokens:
    """The tokens of m texts: distinct `words` as binary, and for every occurrence its place there and its text.

    `codes` int64 (t,), `rows` int64 (t,) in 0..m-1; a token that occurs twice in a text may be there twice.
    """

    words: pa.Array
    codes: np.ndarray
    rows: np.ndarray


def tokens(texts: pa.Array) -> Tokens:
    """The tokens of an Arrow array of folded texts without nulls."""
    data, starts = _bytes(texts)
    codes, kinds = _kinds(data)
    begins, ends = _runs(kinds > 0, starts)
    rows = np.searchsorted(starts, begins, side="right") - 1
    if codes is None or not (unspaced := kinds == UNSPACED_KIND).any():
        return _words(data, begins, ends, rows)
    before = np.concatenate([[0], np.cumsum(unspaced)])
    mixed = before[ends] > before[begins]
    words = _words(data, begins[~mixed], ends[~mixed], rows[~mixed])
    return _joined(words, _characters(data, codes, _within(begins[mixed], ends[mixed], len(data)), starts))


def kinds(text: str) -> np.ndarray:
    """uint8 per character: 0 outside of words, 1 of a script that spaces its words, 2 of one that does not."""
    return _classified(pa.array(list(text), pa.large_string()))


def of_word(one: str) -> bool:
    """Whether a character can stand in a word, of any script."""
    return bool(_table(_ALL)[ord(one)])


def character(one: str) -> bytes:
    """The token of a character of an unspaced run."""
    return MARK + one.encode()


def _bytes(texts: pa.Array) -> tuple[np.ndarray, np.ndarray]:
    """The texts on end as uint8 (b,), and where each begins and the last ends: int64 (m + 1,)."""
    _, offsets, values = texts.cast(pa.large_string()).buffers()
    starts = np.frombuffer(offsets, np.int64)[texts.offset : texts.offset + len(texts) + 1] if len(texts) else [0]
    starts = np.asarray(starts)
    data = np.frombuffer(values, np.uint8) if values else np.zeros(0, np.uint8)
    return data[starts[0] : starts[-1]], starts - starts[0]


def _kinds(data: np.ndarray) -> tuple[np.ndarray | None, np.ndarray]:
    """The characters' code points (None where all are ASCII), and for each byte the kind of its character."""
    if not len(data) or data.max() < _ASCII:
        return None, _table(_ASCII)[data]
    codes = np.frombuffer(data.tobytes().decode().encode("utf-32-le"), np.uint32)
    width = 1 + (codes >= 0x80).astype(np.uint8) + (codes >= 0x800) + (codes >= 0x10000)
    return codes, np.repeat(_table(_ALL)[codes], width)


@lru_cache(maxsize=2)
def _table(size: int) -> np.ndarray:
    """uint8 (size,): the kind of every code point below `size`, as RE2 sees them."""
    codes = np.arange(size, dtype=np.uint32)
    codes = codes[(codes < _SURROGATES.start) | (codes >= _SURROGATES.stop)]
    values = codes.tobytes().decode("utf-32-le").encode()
    places = np.flatnonzero((np.frombuffer(values, np.uint8) & 0xC0) != 0x80).astype(np.int64)
    offsets = pa.py_buffer(np.append(places, len(values)))
    characters = pa.LargeStringArray.from_buffers(len(codes), offsets, pa.py_buffer(values))
    table = np.zeros(size, np.uint8)
    table[codes] = _classified(characters)
    return table


def _classified(characters: pa.Array) -> np.ndarray:
    of_word, unspaced = (
        pc.match_substring_regex(characters, pattern).to_numpy(zero_copy_only=False)
        for pattern in (WORD, f"[{UNSPACED}]")
    )
    return np.where(of_word, np.where(unspaced, UNSPACED_KIND, PLAIN_KIND), 0).astype(np.uint8)


def _runs(inside: np.ndarray, starts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where runs begin and end, in bytes; none goes on from one text into the next."""
    first = np.zeros(len(inside) + 1, bool)
    first[starts] = True
    before, behind = np.concatenate([[False], inside[:-1]]), np.concatenate([inside[1:], [False]])
    begins = np.flatnonzero(inside & (first[:-1] | ~before[: len(inside)]))
    ends = np.flatnonzero(inside & (first[1:] | ~behind[: len(inside)])) + 1
    return begins, ends


def _words(data: np.ndarray, begins: np.ndarray, ends: np.ndarray, rows: np.ndarray) -> Tokens:
    ends = np.minimum(ends, begins + LONGEST)
    offsets = np.concatenate([[0], np.cumsum(ends - begins)]).astype(np.int64)
    kept = data[_within(begins, ends, len(data))]
    packed = pa.LargeBinaryArray.from_buffers(
        pa.large_binary(), len(begins), [None, pa.py_buffer(offsets), pa.py_buffer(kept)]
    )
    coded = packed.dictionary_encode()
    return Tokens(coded.dictionary, coded.indices.to_numpy().astype(np.int64), rows)


def _within(begins: np.ndarray, ends: np.ndarray, size: int) -> np.ndarray:
    """bool (size,): what lies in [begin, end) of any of the runs, which are apart or touch."""
    steps = np.zeros(size + 1, np.int8)
    steps[begins] += 1
    steps[ends] -= 1
    return np.cumsum(steps[:-1], dtype=np.int8).astype(bool)


def _characters(data: np.ndarray, codes: np.ndarray, wanted: np.ndarray, starts: np.ndarray) -> Tokens:
    """The tokens of single characters, of those that begin at the bytes that are `wanted`."""
    places = np.flatnonzero((data & 0xC0) != 0x80)  # where each character begins
    chosen = wanted[places]
    distinct, at = np.unique(codes[chosen], return_inverse=True)
    rows = np.searchsorted(starts, places[chosen], side="right") - 1
    return Tokens(pa.array([character(chr(code)) for code in distinct.tolist()], pa.large_binary()), at, rows)


def _joined(a: Tokens, b: Tokens) -> Tokens:
    return Tokens(
        pa.concat_arrays([a.words, b.words]),
        np.concatenate([a.codes, b.codes + len(a.words)]),
        np.concatenate([a.rows, b.rows]),
    )
