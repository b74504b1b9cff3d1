"""Which responses of a pool look cut: how each ends, judged beside how the pool's responses end.

`signal_endings` gives the verdict on one response by itself; some endings tell only beside the pool's own habits.
"""

import numpy as np
from numpy.typing import NDArray

from engine.data.signal_endings import CUT, LONG, MARKED, OPEN, SHORTEST_PROSE, WHOLE, last_word, verdict
from engine.data.signal_words import Words, words_of

MOSTLY = 0.8
"""Prose without a final mark counts as cut if at least this share of the pool's prose has one."""
ENOUGH_PROSE = 20

_BUCKETS = 1 << 20


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
    return int(words_of([word]).ids[-1]) % _BUCKETS if word else -1


def _is_marked_prose(response: str) -> bool:
    text = response.rstrip()
    return text.endswith(MARKED) and (len(text.split()) >= SHORTEST_PROSE or len(text) >= LONG)
