"""What can be said of a pool's rows without any model: near duplicates, leaks, cut responses, words.

`compute_signals` reads the pool once, in chunks of `CHUNK` rows, with numpy and the standard library alone. The
definitions are in `near_duplicates`, `contamination` and `signal_endings`; here the chunks are handed round.
Says nothing about the worth of a row.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from engine.data.contamination import Contamination, joined
from engine.data.near_duplicates import NearDuplicates
from engine.data.signal_endings import CUT, OPEN, WHOLE, last_word, verdict
from engine.data.signal_words import Words, words_of

CHUNK = 4000
MOSTLY = 0.8
"""Prose without a final mark counts as cut if at least this share of the pool's prose has one."""
ENOUGH_PROSE = 20

_BUCKETS = 1 << 20

Pair = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Signals:
    """Columns over the n pool rows, in pool order.

    `near_duplicate_of` int64: the first row of the group of near duplicates a row repeats, -1 for none.
    `leak` float32 in 0..1: the largest weighted n-gram containment against any target item (`contamination`).
    `leak_target` int64: that item, numbered through the target sets in the order given, -1 for none.
    `looks_truncated` bool: the response stops in the middle. `words` int32: words of prompt and response, marks
    of punctuation included.
    """

    near_duplicate_of: NDArray[np.int64]
    leak: NDArray[np.float32]
    leak_target: NDArray[np.int64]
    looks_truncated: NDArray[np.bool_]
    words: NDArray[np.int32]


def compute_signals(pool: Iterable[Pair], targets: dict[str, list[Pair]], *, chunk: int = CHUNK) -> Signals:
    """The signals of a pool of (prompt, response) pairs against named target sets; `chunk` does not change them."""
    contamination = Contamination([item for items in targets.values() for item in items])
    endings = Endings()
    lengths: list[NDArray[np.int64]] = []
    with NearDuplicates() as duplicates:
        for pairs in _chunks(pool, chunk):
            words = words_of([joined(*pair) for pair in pairs])
            lengths.append(words.lengths)
            duplicates.add(words)
            contamination.add(words)
            endings.add([response for _, response in pairs], words)
        repeats = duplicates.finish()
    leaks = contamination.finish()
    counts = np.concatenate([np.zeros(0, np.int64), *lengths]).astype(np.int32)
    return Signals(repeats, leaks.leak, leaks.target, endings.finish(), counts)


class Endings:
    """Collects how responses end, then says which look cut: some endings tell only beside the pool's own habits."""

    def __init__(self) -> None:
        self._verdicts: list[int] = []
        self._marked = 0
        self._last: list[int] = []
        self._seen = np.zeros(_BUCKETS, dtype=np.uint32)

    def add(self, responses: list[str], words: Words) -> None:
        """Take the next rows: their responses, and the words of prompt and response together."""
        self._seen += np.bincount(words.ids % _BUCKETS, minlength=_BUCKETS).astype(np.uint32)
        for response in responses:
            found = verdict(response)
            self._verdicts.append(found)
            self._marked += found == WHOLE and _is_marked_prose(response)
            self._last.append(_bucket(response) if found == OPEN else -1)

    def finish(self) -> NDArray[np.bool_]:
        """(n,) True where the response looks cut: by itself, by the pool's habit, or in the middle of a word.

        A last word that stands nowhere else in the pool was probably cut, unless the pool's prose is unmarked anyway.
        """
        verdicts = np.array(self._verdicts, dtype=np.int8)
        last = np.array(self._last, dtype=np.int64)
        unmarked = verdicts == OPEN
        prose = self._marked + int(unmarked.sum())
        if prose < ENOUGH_PROSE or self._marked < MOSTLY * prose:
            unmarked &= (self._seen[last] == 1) & (self._marked >= prose / 2)
        return (verdicts == CUT) | unmarked


def _bucket(response: str) -> int:
    word = last_word(response)
    return int(words_of([word]).ids[0]) % _BUCKETS if word else -1


def _is_marked_prose(response: str) -> bool:
    text = response.rstrip()
    return text.endswith((".", "!", "?", "…")) and len(text.split()) >= 3


def _chunks(pool: Iterable[Pair], size: int) -> Iterator[list[Pair]]:
    rows = iter(pool)
    while pairs := list(islice(rows, size)):
        yield pairs
