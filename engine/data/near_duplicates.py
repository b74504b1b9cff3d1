"""Rows that repeat an earlier row, word for word or nearly: MinHash signatures, banded, then the exact Jaccard.

Notation: a row's shingles are its different runs of three words (all its words as one run if it has fewer). Two rows
are near duplicates if the Jaccard similarity of their shingles is at least `threshold`. The rule (METHODS, section 3):
going through the pool in order, a row belongs to the group of the earliest row that it is similar enough to.

Signatures of BANDS x WIDTH minima find candidate pairs: a pair of similarity s shares a band with probability
1 - (1 - s^WIDTH)^BANDS, which is 0.9999 at 0.8. Every candidate is then verified exactly, so what is reported is
always true; a pair below that probability's reach may be missed. Memory: the shingles go to a temporary file (4 bytes
each, about 0.4 GB for a million rows of 100 words), the signatures stay in memory (256 bytes a row).
"""

import tempfile
from collections.abc import Iterator
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from engine.data.signal_words import Grams, Words, grams_of, mixed, sorted_unique

SHINGLE = 3
BANDS, WIDTH = 16, 4
THRESHOLD = 0.8
NEIGHBOURS = 16
"""Of a bucket, each row is compared with this many first members: all pairs, unless a template fills the bucket."""

SLACK = 0.16
"""Pairs are verified if their signatures agree within this of the threshold: three standard deviations of 64 minima."""

_PAIRS_AT_ONCE = 1 << 14


class NearDuplicates:
    """Collects chunks of rows, then says which repeat an earlier one. Use as a context: it holds a temporary file."""

    def __init__(self, *, threshold: float = THRESHOLD, seed: int = 0) -> None:
        generator = np.random.default_rng(seed)
        count = BANDS * WIDTH
        self._factors = generator.integers(0, 1 << 63, count, dtype=np.uint64) * np.uint64(2) + np.uint64(1)
        self._shifts = generator.integers(0, 1 << 63, count, dtype=np.uint64)
        self._threshold = threshold
        self._signatures: list[NDArray[np.uint32]] = []
        self._counts: list[NDArray[np.int64]] = []
        self._file = tempfile.TemporaryFile(prefix="touchstone-shingles-")  # noqa: SIM115 (closed on exit)

    def __enter__(self) -> Self:
        """Itself."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Drop the temporary file."""
        self._file.close()

    def add(self, words: Words, *, groups: NDArray[np.int64] | None = None) -> None:
        """Take the next rows of the pool; rows of different `groups` (n,) share nothing, whatever they say."""
        shingles = shingles_of(words)
        if groups is not None:
            shingles = Grams(mixed(shingles.hashes + groups[shingles.rows].astype(np.uint64)), shingles.rows)
        self._counts.append(shingles.counts(len(words)))
        self._signatures.append(self._signed(shingles, len(words)))
        self._file.write((shingles.hashes >> np.uint64(32)).astype(np.uint32).tobytes())

    def finish(self) -> NDArray[np.int64]:
        """(n,) the first row of the group each row belongs to, -1 for rows that repeat nothing before them; once."""
        counts = np.concatenate([np.zeros(0, np.int64), *self._counts])
        earliest = np.full(len(counts), len(counts), dtype=np.int64)
        if not counts.any():
            return np.full(len(counts), -1, dtype=np.int64)
        signatures = _drained(self._signatures, len(counts))
        self._file.flush()
        offsets = np.concatenate([[0], np.cumsum(counts)])
        stored = np.memmap(self._file, dtype=np.uint32, mode="r", shape=(int(offsets[-1]),))
        for left, right in _candidates(signatures, counts, earliest, least=self._threshold - SLACK):
            close = jaccard(stored, offsets, left, right) >= self._threshold
            np.minimum.at(earliest, right[close], left[close])
        del stored
        return _rooted(np.where(earliest < len(counts), earliest, -1))

    def _signed(self, shingles: Grams, rows: int) -> NDArray[np.uint32]:
        """(rows, BANDS*WIDTH) minima of the hashed shingles; rows without words keep the largest value."""
        signature = np.full((rows, len(self._factors)), np.iinfo(np.uint32).max, dtype=np.uint32)
        filled, starts = np.unique(shingles.rows, return_index=True)
        if len(filled):
            for at, (factor, shift) in enumerate(zip(self._factors, self._shifts)):
                hashed = ((shingles.hashes * factor + shift) >> np.uint64(32)).astype(np.uint32)
                signature[filled, at] = np.minimum.reduceat(hashed, starts)
        return signature


def _drained(parts: list[NDArray[np.uint32]], rows: int) -> NDArray[np.uint32]:
    """The signatures (rows, BANDS * WIDTH) of all parts in order, each let go once it is copied: none is held twice.

    Empties `parts`: they are the largest of what is held.
    """
    whole = np.empty((rows, BANDS * WIDTH), np.uint32)
    start = 0
    parts.reverse()
    while parts:
        part = parts.pop()
        whole[start : start + len(part)] = part
        start += len(part)
    return whole


def shingles_of(words: Words) -> Grams:
    """The shingles of each row; a row with one or two words has the run of all of them."""
    whole = grams_of(words, SHINGLE)
    parts = [whole]
    for n in range(1, SHINGLE):
        short = grams_of(words, n)
        keep = words.lengths[short.rows] == n
        parts.append(Grams(short.hashes[keep], short.rows[keep]))
    hashes = np.concatenate([part.hashes for part in parts])
    rows = np.concatenate([part.rows for part in parts])
    order = np.argsort(rows, kind="stable")
    return Grams(hashes[order], rows[order])


def jaccard(
    stored: NDArray[np.uint32], offsets: NDArray[np.int64], left: NDArray[np.int64], right: NDArray[np.int64]
) -> NDArray[np.float64]:
    """The exact similarities (m,) of pairs of rows; row i has the shingles stored[offsets[i]:offsets[i+1]]."""
    counts = np.diff(offsets)
    sizes = np.stack([counts[left], counts[right]], axis=1).ravel()  # left and right of each pair in turn
    starts = np.stack([offsets[left], offsets[right]], axis=1).ravel()
    at = np.repeat(starts - (np.cumsum(sizes) - sizes), sizes) + np.arange(int(sizes.sum()))
    side = np.repeat(np.arange(2 * len(left)), sizes).astype(np.uint64)
    different = sorted_unique(
        (side >> np.uint64(1) << np.uint64(33)) | (stored[at].astype(np.uint64) << np.uint64(1)) | (side & np.uint64(1))
    )
    shingle = different >> np.uint64(1)  # of both rows where it now stands twice
    both = shingle[1:][shingle[1:] == shingle[:-1]] >> np.uint64(32)
    shared = np.bincount(both.astype(np.int64), minlength=len(left))
    either = np.bincount((different >> np.uint64(33)).astype(np.int64), minlength=len(left)) - shared
    return shared / either


def _candidates(
    signatures: NDArray[np.uint32], counts: NDArray[np.int64], earliest: NDArray[np.int64], *, least: float
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Pairs (earlier, later) that share a band and whose signatures agree in a share of at least `least`.

    A pair is left out where the later row is known by then to repeat that row or an earlier one (`earliest`).
    """
    done = np.zeros((len(counts), BANDS), dtype=bool)  # rows all of whose pairs in a band's bucket are looked at
    for band in range(BANDS):
        keys = _bucket_keys(signatures[:, band * WIDTH : (band + 1) * WIDTH])
        order = np.argsort(keys, kind="stable")
        order = order[counts[order] > 0]
        keys = keys[order]
        starts = np.flatnonzero(np.r_[True, keys[1:] != keys[:-1]])
        sizes = np.diff(np.r_[starts, len(order)])
        done[order, band] = np.repeat(sizes <= NEIGHBOURS + 1, sizes)
        for first in range(NEIGHBOURS):
            starts, sizes = starts[sizes > first + 1], sizes[sizes > first + 1]
            for left, right in _pairs(order, starts, sizes, first):
                new = left < earliest[right]
                left, right = left[new], right[new]
                equal = signatures[left] == signatures[right]  # (pairs, BANDS * WIDTH)
                shared = equal.reshape(-1, BANDS, WIDTH).all(axis=2) & done[left]
                wanted = (equal.mean(axis=1) >= least) & ~shared[:, :band].any(axis=1)
                if wanted.any():
                    yield left[wanted], right[wanted]


def _bucket_keys(minima: NDArray[np.uint32]) -> NDArray[np.uint64]:
    """One number (n,) for the minima (n, WIDTH) of a band: sorted seven times as fast as the rows themselves.

    Two bands that get the same number by chance share a bucket, which costs a comparison; every pair is verified.
    """
    halves = np.ascontiguousarray(minima).view(np.uint64)  # (n, WIDTH // 2)
    keys = np.zeros(len(halves), np.uint64)
    for half in halves.T:
        keys = mixed(keys + half)
    return keys


def _pairs(
    order: NDArray[np.int64], starts: NDArray[np.int64], sizes: NDArray[np.int64], first: int
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Member number `first` of every bucket with all later members, in batches; a bucket is one stretch of `order`."""
    later = sizes - first - 1
    ends = np.cumsum(later)
    done = 0
    while done < len(later):
        base = ends[done - 1] if done else 0
        upto = max(int(np.searchsorted(ends, base + _PAIRS_AT_ONCE, side="right")), done + 1)
        block, count = slice(done, upto), later[done:upto]
        heads = np.repeat(starts[block] + first, count)
        steps = np.arange(len(heads)) - np.repeat(np.cumsum(count) - count, count) + 1
        yield order[heads], order[heads + steps]
        done = upto


def _rooted(earliest: NDArray[np.int64]) -> NDArray[np.int64]:
    """Follow each row's earliest similar row to the first row of the group; rows point backwards only."""
    for row in np.flatnonzero(earliest >= 0).tolist():
        before = earliest[earliest[row]]
        if before >= 0:
            earliest[row] = before
    return earliest
