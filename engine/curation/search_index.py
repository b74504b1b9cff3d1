"""Which rows of one file of the pool have which word: sorted words with their rows, on disk, mapped when asked.

Notation: the rows are cut into *segments* of whole batches (`texts`), at most `SEGMENT_ROWS` rows and about
`SEGMENT_BYTES` of text. A segment of m rows has, for each column, its distinct tokens (`search_tokens`) in order of
their bytes, v of them, and of each the rows it occurs in, counted within the segment: as a list, or as one bit per row
where that is shorter. So a word is found by bisection, all words with a beginning lie side by side, and a word costs
two bytes for each row that has it, at most m / 8. A folder of an index holds

    segments.npy        int64 (s + 1, 2): the first row and the first batch of each segment, and the ends
    batches.npy         int64 (b + 1,): the first row of each batch, and the end
    COLUMN.words.arrow  one batch per segment: word, and where its part of the lists and of the bits ends
    COLUMN.lists.bin    uint16, the lists of all segments; COLUMN.bits.bin their bits
    COLUMN.starts.npy   int64 (s + 1, 2): where a segment's lists begin (in entries), and its bits (in bytes)

Written in one pass that holds one segment. Does not know queries (`search_candidates`) or where texts come from.
"""

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from engine.curation.search_tokens import LONGEST, Tokens, tokens
from engine.progress import Reporter
from engine.store.artifacts import load_array, save_array

SEGMENT_ROWS = 1 << 16  # a row of a segment is a uint16
SEGMENT_BYTES = 32_000_000
_SCHEMA = pa.schema([("word", pa.large_binary()), ("list_end", pa.uint32()), ("bits_end", pa.uint32())])
MOST_PLACES = 20_000  # what stands in more places of a segment's words tells too little
_LIST_COST = 16  # an entry of a list takes as much as this many bits


def write(folder: Path, columns: Sequence[str], batches: Iterable[Mapping[str, pa.Array]], reporter: Reporter) -> None:
    """Fill an empty folder with the index of these columns of folded texts, which have the same rows batch by batch."""
    with ExitStack() as stack:
        writers = {name: stack.enter_context(_Column(folder, name)) for name in columns}
        segments, ends = [(0, 0)], [0]
        held = 0
        for batch in batches:
            reporter.check()
            rows = len(batch[columns[0]])
            size = max(batch[name].nbytes for name in columns)
            if ends[-1] > segments[-1][0] and (
                ends[-1] + rows - segments[-1][0] > SEGMENT_ROWS or held > SEGMENT_BYTES
            ):
                segments.append(_finish(writers, segments[-1], ends))
                held = 0
            for name, writer in writers.items():
                writer.add(tokens(batch[name]), ends[-1] - segments[-1][0])
            ends.append(ends[-1] + rows)
            held += size
            reporter.advance(rows)
        if ends[-1] > segments[-1][0]:
            segments.append(_finish(writers, segments[-1], ends))
    save_array(folder, "segments", np.array(segments, np.int64))
    save_array(folder, "batches", np.array(ends, np.int64))


def _finish(writers: Mapping[str, "_Column"], begun: tuple[int, int], ends: Sequence[int]) -> tuple[int, int]:
    for writer in writers.values():
        writer.finish_segment(ends[-1] - begun[0])
    return ends[-1], len(ends) - 1


class _Column:
    """Writes the files of one column; holds the tokens of one segment."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder, self._name = folder, name
        self._stack = ExitStack()
        self._parts: list[tuple[pa.Array, np.ndarray]] = []
        self._starts = [(0, 0)]

    def __enter__(self) -> "_Column":
        self._words = self._stack.enter_context(
            pa.ipc.new_file(
                self._stack.enter_context(pa.OSFile(str(self._folder / f"{self._name}.words.arrow"), "wb")), _SCHEMA
            )
        )
        self._lists: BinaryIO = self._stack.enter_context((self._folder / f"{self._name}.lists.bin").open("wb"))
        self._bits: BinaryIO = self._stack.enter_context((self._folder / f"{self._name}.bits.bin").open("wb"))
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()
        if error[0] is None:
            save_array(self._folder, f"{self._name}.starts", np.array(self._starts, np.int64))

    def add(self, found: Tokens, first: int) -> None:
        """Take the tokens of a batch whose first row is row `first` of the segment."""
        self._parts.append((found.words, found.codes << 16 | (found.rows + first)))

    def finish_segment(self, rows: int) -> None:
        """Write what was added as one segment of `rows` rows."""
        words, pairs = _sorted(self._parts)
        self._parts = []
        word, row = pairs >> 16, pairs & 0xFFFF
        counts = np.bincount(word, minlength=len(words))
        dense = counts * _LIST_COST > rows
        listed = ~dense[word]
        lists = row[listed].astype(np.uint16)
        bits = _packed((np.cumsum(dense) - 1)[word[~listed]], row[~listed], int(dense.sum()), rows)
        ends = [np.cumsum(part).astype(np.uint32) for part in (np.where(dense, 0, counts), dense)]
        self._words.write_batch(pa.record_batch([words, *map(pa.array, ends)], schema=_SCHEMA))
        self._lists.write(lists.tobytes())
        self._bits.write(bits.tobytes())
        self._starts.append((self._starts[-1][0] + len(lists), self._starts[-1][1] + bits.size))


def _sorted(parts: Sequence[tuple[pa.Array, np.ndarray]]) -> tuple[pa.Array, np.ndarray]:
    """The distinct words of all parts in order, and the distinct pairs word << 16 | row in order."""
    coded = pa.concat_arrays([words for words, _ in parts]).dictionary_encode()
    order = pc.sort_indices(coded.dictionary).to_numpy()
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    places = rank[coded.indices.to_numpy()]
    pairs, done = [], 0
    for words, found in parts:
        pairs.append(places[done:][found >> 16] << 16 | found & 0xFFFF)
        done += len(words)
    joined = np.concatenate(pairs)
    joined.sort()
    return coded.dictionary.take(pa.array(order)), joined[np.diff(joined, prepend=-1) != 0]


def _packed(slots: np.ndarray, rows: np.ndarray, count: int, m: int) -> np.ndarray:
    """uint8 (count · ⌈m/8⌉,): bit `row` of slot `slot`, the lowest bit of a byte first; the pairs are in order."""
    width = -(-m // 8)
    out = np.zeros(count * width, np.uint8)
    if len(slots):
        place = slots * width + (rows >> 3)
        first = np.flatnonzero(np.diff(place, prepend=-1))
        out[place[first]] = np.add.reduceat(np.left_shift(1, rows & 7).astype(np.uint8), first, dtype=np.uint8)
    return out


class Index:
    """A written index: `segments` and `batches` as in the module; nothing else is read until it is asked for."""

    def __init__(self, folder: Path) -> None:
        """Open a complete folder."""
        self._folder = folder
        self.segments = load_array(folder, "segments", mmap=False)
        self.batches = load_array(folder, "batches", mmap=False)

    def column(self, name: str) -> "Column":
        """One of its columns."""
        return Column(self._folder, name, np.diff(self.segments[:, 0]))


class Column:
    """The words of one column; `sizes` are the rows of its segments."""

    def __init__(self, folder: Path, name: str, sizes: np.ndarray) -> None:
        """Map the files of a column."""
        self._sizes = sizes
        self._words = pa.ipc.open_file(pa.memory_map(str(folder / f"{name}.words.arrow")))
        self._lists = _mapped(folder / f"{name}.lists.bin", np.uint16)
        self._bits = _mapped(folder / f"{name}.bits.bin", np.uint8)
        self._starts = load_array(folder, f"{name}.starts", mmap=False)

    def segment(self, at: int) -> "Segment":
        """One segment of it."""
        (lists, bits), (lists_end, bits_end) = self._starts[at : at + 2].tolist()
        batch = self._words.get_batch(at)
        rows = int(self._sizes[at])
        width = -(-rows // 8)
        return Segment(
            rows, _Sorted.of(batch.column(0)), batch.column(1).to_numpy(), batch.column(2).to_numpy(),
            self._lists[lists:lists_end], self._bits[bits:bits_end].reshape(-1, width),
        )  # fmt: skip


@dataclass(frozen=True)
class Segment:
    """The words of `rows` rows, and the ends of each word's part of `lists` (uint16) and `bits` (uint8, (d, ⌈m/8⌉))."""

    rows: int
    words: "_Sorted"
    list_ends: np.ndarray
    bits_ends: np.ndarray
    lists: np.ndarray
    bits: np.ndarray

    def word(self, token: bytes) -> np.ndarray:
        """bool (rows,): the rows that have this token."""
        at = bisect_left(self.words, token)
        return self._of(at, at + (at < len(self.words) and self.words[at] == token))

    def beginning(self, start: bytes) -> np.ndarray:
        """bool (rows,): the rows that have a token that begins so."""
        return self._of(bisect_left(self.words, start), bisect_left(self.words, start + b"\xff"))

    def containing(self, part: bytes) -> np.ndarray:
        """bool (rows,): the rows that have a token with these bytes in it, or one that was cut; all where most may."""
        places = self.words.places(part, MOST_PLACES)
        if len(places) > MOST_PLACES:
            return np.ones(self.rows, bool)
        offsets = self.words.offsets
        token = np.searchsorted(offsets, places, side="right") - 1
        within = token[places + len(part) <= offsets[token + 1]]  # not across two of them
        chosen = np.union1d(within, np.flatnonzero(np.diff(offsets) >= LONGEST))
        return self._joined(*(part_[_ranges(ends, chosen)] for part_, ends in
                              ((self.lists, self.list_ends), (self.bits, self.bits_ends))))  # fmt: skip

    def _of(self, low: int, high: int) -> np.ndarray:
        """The rows that have any of the tokens low ≤ i < high."""
        lists, bits = (slice(_end(ends, low), _end(ends, high)) for ends in (self.list_ends, self.bits_ends))
        return self._joined(self.lists[lists], self.bits[bits])

    def _joined(self, lists: np.ndarray, bits: np.ndarray) -> np.ndarray:
        packed = np.bitwise_or.reduce(bits, axis=0, initial=0)
        mask = np.unpackbits(packed, count=self.rows, bitorder="little").astype(bool)
        mask[lists] = True
        return mask


@dataclass(frozen=True)
class _Sorted(Sequence[bytes]):
    """A binary Arrow column as a sequence of bytes, read where it is asked."""

    offsets: np.ndarray
    data: memoryview

    @classmethod
    def of(cls, column: pa.Array) -> "_Sorted":
        _, offsets, data = column.buffers()
        return cls(np.frombuffer(offsets, np.int64)[: len(column) + 1], memoryview(data or b""))

    def places(self, part: bytes, most: int) -> np.ndarray:
        """int64: where `part` stands in all the bytes on end, the first `most` + 1 places."""
        data, found = bytes(self.data[: self.offsets[-1]]), list[int]()
        at = data.find(part)
        while at >= 0 and len(found) <= most:
            found.append(at)
            at = data.find(part, at + 1)
        return np.array(found, np.int64)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, at: int) -> bytes:  # type: ignore[override]
        return bytes(self.data[self.offsets[at] : self.offsets[at + 1]])


def _end(ends: np.ndarray, at: int) -> int:
    return int(ends[at - 1]) if at else 0


def _ranges(ends: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """int64: the places of all that belongs to the `chosen` tokens, whose parts end at `ends`."""
    begins = np.append(np.zeros(1, np.int64), ends)[chosen]
    counts = ends[chosen] - begins
    return np.repeat(begins - (np.cumsum(counts) - counts), counts) + np.arange(counts.sum())


def _mapped(path: Path, dtype: type) -> np.ndarray:
    return np.memmap(path, dtype, "r") if path.stat().st_size else np.zeros(0, dtype)
