"""Words of a text as numbers, and runs of words hashed into one number each: what the pool's signals compare.

Notation: a chunk of rows is held as `Words`: the 32-bit hashes of all its words end to end, and offsets of the rows.
A *gram* is a run of n consecutive words of one row, as a 64-bit hash. `word_forms` says what a word is: case, white
space and encoding do not matter. Two grams are taken for equal if their hashes are: once by chance in 10^19 pairs.
"""

import tempfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from engine.data.word_forms import words_in

_MIX = (np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB))


@dataclass(frozen=True, slots=True)
class Words:
    """`ids` uint32 (N,) of all rows end to end; row i has ids[offsets[i]:offsets[i+1]], offsets int64 (n+1,)."""

    ids: NDArray[np.uint32]
    offsets: NDArray[np.int64]

    def __len__(self) -> int:
        """The number of rows."""
        return len(self.offsets) - 1

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Words of each row, (n,)."""
        return np.diff(self.offsets)


@dataclass(frozen=True, slots=True)
class Grams:
    """`hashes` uint64 (M,) of the grams of all rows in order, repeated ones too; `rows` int64 (M,) ascending."""

    hashes: NDArray[np.uint64]
    rows: NDArray[np.int64]

    def counts(self, rows: int) -> NDArray[np.int64]:
        """How many grams each of `rows` rows has."""
        return np.bincount(self.rows, minlength=rows)


def words_of(texts: Sequence[str]) -> Words:
    """The words of each text, in order."""
    rows = [list(map(zlib.crc32, words_in(text))) for text in texts]
    offsets = np.zeros(len(rows) + 1, dtype=np.int64)
    np.cumsum([len(row) for row in rows], out=offsets[1:])
    ids = np.fromiter((word for row in rows for word in row), dtype=np.uint32, count=int(offsets[-1]))
    return Words(ids, offsets)


def beside(left: Words, right: Words) -> Words:
    """The words of each left row with those of the right row after them."""
    lengths = np.stack([left.lengths, right.lengths], axis=1)
    offsets = np.concatenate([[0], np.cumsum(lengths.sum(axis=1))])
    ids = np.empty(int(offsets[-1]), dtype=np.uint32)
    for words, starts in ((left, offsets[:-1]), (right, offsets[:-1] + left.lengths)):
        ids[np.repeat(starts - words.offsets[:-1], words.lengths) + np.arange(len(words.ids))] = words.ids
    return Words(ids, offsets)


def starts_of(words: Words, n: int) -> NDArray[np.int64]:
    """Where in `words.ids` the runs of `grams_of` begin, in the same order."""
    rows = np.repeat(np.arange(len(words)), words.lengths)
    return np.flatnonzero(rows[: max(0, len(rows) - n + 1)] == rows[n - 1 :])


def grams_of(words: Words, n: int) -> Grams:
    """The runs of `n` words of each row; a row with fewer than `n` words has none."""
    count = len(words.ids) - n + 1
    if count < 1:
        return Grams(np.zeros(0, np.uint64), np.zeros(0, np.int64))
    rows = np.repeat(np.arange(len(words)), words.lengths)
    inside = rows[:count] == rows[n - 1 :]  # the run does not cross into the next row
    hashes = np.zeros(count, dtype=np.uint64)
    for at in range(n):
        hashes = mixed(hashes + words.ids[at : at + count] + _MIX[0])
    return Grams(hashes[inside], rows[:count][inside])


def mixed(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The finaliser of splitmix64: every bit of the input moves about half of the output's (overflow is meant)."""
    values = (values ^ (values >> np.uint64(30))) * _MIX[1]
    values = (values ^ (values >> np.uint64(27))) * _MIX[2]
    return values ^ (values >> np.uint64(31))


def sorted_unique(values: NDArray[Any]) -> NDArray[Any]:
    """The different values (m,), ascending; by sorting, which on integers is many times faster than `np.unique`."""
    values = np.sort(values)
    new = np.ones(len(values), dtype=bool)
    new[1:] = values[1:] != values[:-1]
    return values[new]


class WordFile:
    """Words of any number of rows in a temporary file, 4 bytes a word: written once, then read again in chunks.

    Use as a context; the file goes with it.
    """

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile(prefix="touchstone-words-")  # noqa: SIM115 (closed on exit)
        self._offsets: list[NDArray[np.int64]] = []

    def __enter__(self) -> Self:
        """Itself."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Drop the temporary file."""
        self._file.close()

    def add(self, words: Words) -> None:
        """Append the next rows."""
        self._file.seek(0, 2)
        self._file.write(words.ids.tobytes())
        self._offsets.append(words.offsets)

    def __iter__(self) -> Iterator[Words]:
        """The rows in the chunks they came in."""
        self._file.seek(0)
        for offsets in self._offsets:
            yield Words(np.frombuffer(self._file.read(4 * int(offsets[-1])), dtype=np.uint32), offsets)
