"""How much of a response is not its own: boilerplate that many responses share, and loops within one response.

Notation: a response's grams are its runs of n words. A gram is *common* if at least m = `many(rows)` responses of the
pool hold it. boilerplate_i is the share of response i's words that lie inside a common gram (n = `SHARED`), and loops_i
the share inside a gram that the response itself holds `AGAIN` times or more (n = `LOOPED`). Responses shorter than a
gram have 0 of either. Sentences, openings and whole lines that return are found alike, wherever they stand; copies of
one row count for each other, so look at duplicates first.

Common grams are counted in a table of fixed size (64 MB) by the hash's low bits: two grams that share a place there
are counted together, which for a million rows adds about four to a count that must reach two hundred.
"""

import numpy as np
from numpy.typing import NDArray

from engine.data.signal_words import Words, grams_of, sorted_unique, starts_of

SHARED, LOOPED, AGAIN = 8, 6, 3
_PLACES = 1 << 24


def many(rows: int) -> int:
    """Responses that must hold a gram before it is common: one in two thousand, at least 10 and at most 200."""
    return min(max(-(-rows // 2000), 10), 200)


class Repetition:
    """Counts grams while the responses come by once; `boilerplate` needs their words a second time."""

    def __init__(self) -> None:
        self._counts = np.zeros(_PLACES, dtype=np.uint32)
        self._rows = 0
        self._loops: list[NDArray[np.float32]] = []

    def add(self, words: Words) -> None:
        """Take the words of the next responses."""
        grams = grams_of(words, SHARED)
        place = grams.hashes % np.uint64(_PLACES)
        once = sorted_unique(grams.rows.astype(np.uint64) * np.uint64(_PLACES) + place)  # a gram counts once per row
        np.add.at(self._counts, (once % np.uint64(_PLACES)).astype(np.int64), np.uint32(1))
        self._loops.append(_loops(words))
        self._rows += len(words)

    def boilerplate(self, words: Words) -> NDArray[np.float32]:
        """Share (rows,) of each of these responses that is common, once all were added."""
        hashes = grams_of(words, SHARED).hashes
        common = self._counts[(hashes % np.uint64(_PLACES)).astype(np.int64)] >= many(self._rows)
        return _covered(words, starts_of(words, SHARED)[common], SHARED)

    def loops(self) -> NDArray[np.float32]:
        """Share (n,) of every response that loops."""
        return np.concatenate([np.zeros(0, np.float32), *self._loops])


def _loops(words: Words) -> NDArray[np.float32]:
    grams = grams_of(words, LOOPED)
    if not len(grams.hashes):
        return np.zeros(len(words), dtype=np.float32)
    order = np.lexsort((grams.hashes, grams.rows))
    rows, hashes = grams.rows[order], grams.hashes[order]
    first = np.r_[True, (rows[1:] != rows[:-1]) | (hashes[1:] != hashes[:-1])]
    group = np.cumsum(first) - 1
    again = np.empty(len(order), dtype=bool)
    again[order] = np.bincount(group)[group] >= AGAIN
    return _covered(words, starts_of(words, LOOPED)[again], LOOPED)


def _covered(words: Words, starts: NDArray[np.int64], n: int) -> NDArray[np.float32]:
    """Share (rows,) of each row's words that lie in a run of n words from one of `starts` on."""
    steps = np.zeros(len(words.ids) + 1, dtype=np.int32)
    np.add.at(steps, starts, 1)
    np.add.at(steps, starts + n, -1)
    inside = np.concatenate([[0], np.cumsum(np.cumsum(steps[:-1]) > 0)])
    covered = inside[words.offsets[1:]] - inside[words.offsets[:-1]]
    return (covered / np.maximum(words.lengths, 1)).astype(np.float32)
