"""What the app has read or computed, kept for all sessions within a bound of bytes.

    memory.get(("words", path), version, lambda before: lengths)

One value per key: under another `version` it is made anew, from the value before it if that helps, and replaces it. Of
all values together the longest unused go first once they exceed the bound, whatever their number: a pool of a million
rows has arrays of megabytes, and a session leaves hundreds of them behind. Two threads that want the same value make it
once, unless the second must not wait. Knows nothing of projects and nothing of Streamlit.
"""

import dataclasses
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable, Mapping
from itertools import islice
from typing import Any, TypeVar

import numpy as np

T = TypeVar("T")
WAIT_S = 60.0
_SMALL, _LOOKED_AT, _DEPTH = 64, 200, 6


class Memory:
    """Values by key, at most `limit` bytes of them as `size` estimates; safe for threads."""

    def __init__(self, limit: int) -> None:
        """Begin empty."""
        self.limit = limit
        self._kept: OrderedDict[Hashable, tuple[Hashable, Any, int]] = OrderedDict()
        self._making: dict[Hashable, threading.Lock] = {}
        self._guard = threading.Lock()
        self._bytes = 0

    @property
    def bytes(self) -> int:
        """The estimated bytes of everything kept."""
        return self._bytes

    def __len__(self) -> int:
        """How many values are kept."""
        return len(self._kept)

    def get(self, key: Hashable, version: Hashable, make: Callable[[Any], T], *, patient: bool = True) -> T:
        """The value of `key` at `version`; `make` gets the value before, or None, and is called where there is none.

        What `make` raises is not kept. `patient`: whether to wait while another thread makes the same value; a thread
        that holds what the other needs must not.
        """
        found, value, lock = self._find(key, version)
        if found:
            return value
        mine = lock.acquire(timeout=WAIT_S) if patient else lock.acquire(blocking=False)
        try:
            found, value, _ = self._find(key, version)
            if not found:
                value = make(value)
                self._keep(key, version, value)
            return value
        finally:
            if mine:
                lock.release()

    def _find(self, key: Hashable, version: Hashable) -> tuple[bool, Any, threading.Lock]:
        """Whether the value is there; the value or the one before it; the lock of its making."""
        with self._guard:
            entry = self._kept.get(key)
            if entry is not None and entry[0] == version:
                self._kept.move_to_end(key)
                return True, entry[1], self._making.setdefault(key, threading.Lock())
            return False, None if entry is None else entry[1], self._making.setdefault(key, threading.Lock())

    def _keep(self, key: Hashable, version: Hashable, value: Any) -> None:
        volume = size(value) + _SMALL
        with self._guard:
            _, _, before = self._kept.pop(key, (None, None, 0))
            self._kept[key] = (version, value, volume)
            self._bytes += volume - before
            while self._bytes > self.limit and len(self._kept) > 1:
                gone, (_, _, freed) = self._kept.popitem(last=False)
                self._making.pop(gone, None)
                self._bytes -= freed


def size(value: Any, depth: int = _DEPTH) -> int:
    """About how many bytes a value occupies: its arrays and texts; memory-mapped files count nothing.

    Of long sequences of objects a part is looked at and taken for the whole.
    """
    if isinstance(value, np.ndarray):
        return 0 if _mapped(value) else value.nbytes
    if isinstance(value, str | bytes):
        return _SMALL + len(value)
    if depth == 0:
        return _SMALL
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return sum(size(getattr(value, field.name), depth - 1) for field in dataclasses.fields(value))
    if isinstance(value, Mapping):
        return _sum(value.keys(), len(value), depth) + _sum(value.values(), len(value), depth)
    if isinstance(value, list | tuple | set | frozenset):
        return _sum(value, len(value), depth)
    return int(getattr(value, "nbytes", _SMALL))


def _sum(values: Iterable[Any], length: int, depth: int) -> int:
    seen = [size(value, depth - 1) for value in islice(values, _LOOKED_AT)]
    return int(sum(seen) * length / len(seen)) if seen else 0


def _mapped(array: np.ndarray) -> bool:
    """Whether the array's data is a mapped file, by way of any views."""
    base: Any = array
    while isinstance(base, np.ndarray):
        if isinstance(base, np.memmap):
            return True
        base = base.base
    return False
