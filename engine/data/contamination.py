"""How much of a target item stands in a pool row, or the other way round: weighted n-gram containment.

Notation: a *unit* is what is looked for: a target item (prompt and response), and its prompt alone. Its grams are
runs of n words, n = 13 for units of 39 words and more, else a third of its words on the ladder 3, 5, 8, 13. Gram g
stands in d_g of the N pool rows and weighs w_g = (ln(1 + N / max(d_g, 1)) / ln(1 + N))^3: one in a single row, little
where it is a template's boilerplate that many rows share, and nothing beyond `COMMON` rows.

containment of unit u in row i   c_iu = Σ_{g in both} w_g / Σ_{g in u} w_g
containment of row i in unit u   the same over the grams of i (those of no unit weigh one, each time they occur)
leak_i = max_u max(both) · min(1, Σ_{g in both} w_g / 2): less shared text than two unique grams is little evidence.

Rows and units shorter than 3 words are not judged. Paraphrases are not found here, only words.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engine.data.signal_words import Words, grams_of, sorted_unique, words_of

LADDER = (3, 5, 8, 13)
COMMON = 50_000
SHORTEST_ROW = 8
"""A row of fewer words inside a longer target item proves nothing, so only the other direction counts for it."""
SHORTEST_PROMPT = 8

_TINY = 1e-12


@dataclass(frozen=True, slots=True)
class Leaks:
    """`leak` float32 (n,) in 0..1, and `target` int64 (n,): the item with the largest, -1 where nothing is shared.

    Items are numbered through all target sets in the order given.
    """

    leak: NDArray[np.float32]
    target: NDArray[np.int64]


class Contamination:
    """Takes the items at once and the pool in chunks, then scores every row. Chunking does not matter.

    `sets` (one number per item, all 0 by default) says which set an item is of, for `by_set`.
    """

    def __init__(self, items: Sequence[tuple[str, str]], *, sets: Sequence[int] | None = None) -> None:
        prompts = [(at, prompt) for at, (prompt, _) in enumerate(items) if _is_long(prompt)]
        texts = [joined(*item) for item in items] + [prompt for _, prompt in prompts]
        self._item = np.array([*range(len(items)), *(at for at, _ in prompts)], dtype=np.int64)
        self._set = np.zeros(len(items), np.int64) if sets is None else np.asarray(sets, np.int64)
        self._sizes = gram_sizes(words_of(texts).lengths)
        self._ladders = [_Ladder(texts, self._sizes, n) for n in LADDER if (self._sizes == n).any()]
        self._rows = 0

    def add(self, words: Words) -> None:
        """Take the next rows of the pool."""
        for ladder in self._ladders:
            ladder.add(words, self._rows)
        self._rows += len(words)

    def finish(self) -> Leaks:
        """The leak of every row taken so far, against the items of all sets together."""
        return self._best(self._pairs(), np.ones(len(self._set), bool))

    def by_set(self) -> list[Leaks]:
        """The leak of every row against the items of each set: one entry per number from 0 to the largest in `sets`."""
        pairs = self._pairs()
        return [self._best(pairs, self._set == number) for number in range(int(self._set.max(initial=-1)) + 1)]

    def _pairs(self) -> list[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]]:
        """(rows, items, leaks) of each ladder, the largest leak of a row last; the first item on ties."""
        found = []
        for ladder in self._ladders:
            rows, units, values = ladder.contained(self._rows)
            items = self._item[units]
            order = np.lexsort((-items, values))
            found.append((rows[order], items[order], values[order]))
        return found

    def _best(
        self, pairs: list[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]], wanted: NDArray[np.bool_]
    ) -> Leaks:
        leak = np.zeros(self._rows, dtype=np.float32)
        target = np.full(self._rows, -1, dtype=np.int64)
        for rows, items, values in pairs:
            better = np.flatnonzero(wanted[items] & (values > leak[rows]))
            best = np.full(self._rows, -1, dtype=np.int64)
            best[rows[better]] = better
            found = np.flatnonzero(best >= 0)
            leak[found] = values[best[found]]
            target[found] = items[best[found]]
        return Leaks(leak, target)


def joined(prompt: str, response: str) -> str:
    """The text that is compared: prompt and response, a line apart."""
    return f"{prompt}\n{response}"


def gram_sizes(lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    """The gram length for units of so many words: the ladder's last step within a third; 0 for too short ones."""
    steps = np.array(LADDER)
    sizes = steps[np.maximum(np.searchsorted(steps, lengths // 3, side="right") - 1, 0)]
    return np.where(lengths < LADDER[0], 0, sizes)


def _is_long(prompt: str) -> bool:
    return len(words_of([prompt]).ids) >= SHORTEST_PROMPT


class _Ladder:
    """The units with grams of one length n, and where those grams were met in the pool."""

    def __init__(self, texts: Sequence[str], sizes: NDArray[np.int64], n: int) -> None:
        self.n = n
        self._units = np.flatnonzero(sizes == n)
        grams = grams_of(words_of([texts[at] for at in self._units.tolist()]), n)
        self._grams, gram = np.unique(grams.hashes, return_inverse=True)
        gram, self._owners = _different(gram, grams.rows)  # units of gram g: owners[starts[g]:starts[g+1]]
        self._starts = np.searchsorted(gram, np.arange(len(self._grams) + 1))
        self._seen = np.zeros(len(self._grams), dtype=np.int64)
        self._hit_rows: list[NDArray[np.int64]] = []
        self._hit_grams: list[NDArray[np.int64]] = []
        self._others: list[NDArray[np.int64]] = []

    def add(self, words: Words, start: int) -> None:
        """Note which grams the rows have; grams already known to be common are no longer noted."""
        grams = grams_of(words, self.n)
        counts = grams.counts(len(words))
        at = np.minimum(np.searchsorted(self._grams, grams.hashes), len(self._grams) - 1)
        known = self._grams[at] == grams.hashes
        self._others.append(
            np.where(words.lengths < SHORTEST_ROW, -1, counts - np.bincount(grams.rows[known], minlength=len(words)))
        )
        hit_rows, hit_grams = _different(grams.rows[known], at[known])
        rare = self._seen[hit_grams] <= COMMON
        self._hit_rows.append(hit_rows[rare] + start)
        self._hit_grams.append(hit_grams[rare])
        self._seen += np.bincount(hit_grams[rare], minlength=len(self._grams))

    def contained(self, rows: int) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
        """(row, unit, leak) of every pair that shares a gram that is not common."""
        weights = np.where(self._seen > COMMON, 0.0, rarity(self._seen, rows))
        nothing = np.zeros(0, np.int64)
        hit_rows, hit_grams = np.concatenate([nothing, *self._hit_rows]), np.concatenate([nothing, *self._hit_grams])
        kept = weights[hit_grams] > 0
        hit_rows, hit_grams = hit_rows[kept], hit_grams[kept]
        known = _sums(hit_rows, weights[hit_grams], rows)
        others = np.concatenate([nothing, *self._others])
        pairs, shared = self._shared(hit_rows, hit_grams, weights)
        row, unit = pairs // max(len(self._units), 1), pairs % max(len(self._units), 1)
        of_unit = shared / np.maximum(self._whole(weights)[unit], _TINY)
        of_row = np.where(others[row] >= 0, shared / np.maximum(known[row] + others[row], _TINY), 0.0)
        leak = np.maximum(of_unit, of_row) * np.minimum(1.0, shared / 2)
        return row, self._units[unit], leak.astype(np.float32)

    def _shared(
        self, hit_rows: NDArray[np.int64], hit_grams: NDArray[np.int64], weights: NDArray[np.float64]
    ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Pairs as row * units + unit, ascending, and the weight of the grams each pair shares."""
        owners = np.diff(self._starts)[hit_grams]
        first = np.repeat(self._starts[hit_grams] - (np.cumsum(owners) - owners), owners)
        units = self._owners[first + np.arange(len(first))]
        pairs, pair = np.unique(np.repeat(hit_rows, owners) * len(self._units) + units, return_inverse=True)
        return pairs, _sums(pair, np.repeat(weights[hit_grams], owners), len(pairs))

    def _whole(self, weights: NDArray[np.float64]) -> NDArray[np.float64]:
        """The weight of all grams of each unit."""
        gram = np.repeat(np.arange(len(self._grams)), np.diff(self._starts))
        return _sums(self._owners, weights[gram], len(self._units))


def _different(first: NDArray[np.int64], second: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The different pairs of two columns, in ascending order."""
    width = int(second.max(initial=0)) + 1
    keys = sorted_unique(first * width + second)
    return keys // width, keys % width


def rarity(seen: NDArray[np.int64], rows: int) -> NDArray[np.float64]:
    """The weight of grams that stand in `seen` of `rows` rows: 1 for at most one row, falling to little."""
    return (np.log1p(rows / np.maximum(seen, 1)) / np.log1p(max(rows, 1))) ** 3


def _sums(at: NDArray[np.int64], values: NDArray[np.float64], size: int) -> NDArray[np.float64]:
    """The sum of the values at each of `size` places."""
    return np.bincount(at, values, size).astype(np.float64)
