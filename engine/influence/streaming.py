"""Reading pool arrays in pieces: how many rows at a time, and giving mapped pages back afterwards.

A memory-mapped pool that is read once from end to end would otherwise stay in the process as resident pages until the
machine runs short; what was read is handed back piece by piece, so that a run's memory is its working set. The pages
stay in the system's file cache. Private (copy-on-write) maps are left alone: giving those back would lose changes.
"""

import mmap
from collections.abc import Iterator

import numpy as np

CHUNK_BYTES = 32 << 20  # of the widest block of a piece: large enough for the matrix product, small enough for caches
LEAST_ROWS = 256
MOST_ROWS = 65_536


def rows_per_chunk(row_bytes: int, *, limit: int = CHUNK_BYTES) -> int:
    """Rows whose blocks of `row_bytes` each stay below `limit` bytes, within 256 … 65,536."""
    return int(np.clip(limit // max(row_bytes, 1), LEAST_ROWS, MOST_ROWS))


def pieces(array: np.ndarray, rows: int) -> Iterator[tuple[slice, np.ndarray]]:
    """(slice, array[slice]) for consecutive runs of `rows` rows; mapped pages are given back after each."""
    for start in range(0, len(array), rows):
        here = slice(start, min(start + rows, len(array)))
        part = np.asarray(array[here])
        yield here, part
        release(part)


def release(part: np.ndarray) -> bool:
    """Give back the resident pages under a contiguous view of a shared memory map; whether there were any."""
    source, shared = _mapping(part)
    if source is None or not shared or not part.flags.c_contiguous or not hasattr(source, "madvise"):
        return False
    start = part.ctypes.data - np.frombuffer(source, dtype=np.uint8).ctypes.data
    start -= start % mmap.PAGESIZE
    length = min(part.nbytes + mmap.PAGESIZE, len(source) - start)
    if length <= 0:
        return False
    source.madvise(mmap.MADV_DONTNEED, start, length)
    return True


def _mapping(part: np.ndarray) -> tuple[mmap.mmap | None, bool]:
    """The map under an array and whether it is shared with the file (known for `numpy.memmap` only)."""
    shared = False
    base: object = part
    while base is not None and not isinstance(base, mmap.mmap):
        if isinstance(base, np.memmap):
            shared = base.mode in ("r", "r+", "w+")
        base = getattr(base, "base", None)
    return base, shared
