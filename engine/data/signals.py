"""What can be said of a pool's rows without any model: copies, overlaps, answers, repetition, personal data, language.

`compute_signals` reads the pool once, in chunks of `CHUNK` rows; beside temporary files of the words (8 bytes a word)
it holds a few dozen bytes per row and signal and the signatures of near duplicates (256 bytes a row). Every signal is
a part (`signal_parts`, `signal_texts`); here the chunks are handed round. A part whose package is missing is left out
and `notes` say so. Says nothing about the worth of a row.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.data.near_duplicates import NearDuplicates
from engine.data.signal_columns import AUTO, SignalColumn
from engine.data.signal_parts import BesideSet, Chunk, Copies, Lengths, Overlaps, Pair, Part, Truncation
from engine.data.signal_texts import Answers, Language, PersonalData, Repeats
from engine.data.signal_words import WordFile, beside, words_of
from engine.errors import EngineError

CHUNK = 4000


@dataclass(frozen=True)
class Signals:
    """Columns over the n pool rows, in pool order, and the arrays they name.

    `seconds` of processor time that each part took; `notes` on what was left out and why. The arrays that every pool
    has are properties.
    """

    columns: tuple[SignalColumn, ...]
    arrays: dict[str, NDArray[Any]]
    seconds: dict[str, float]
    notes: tuple[str, ...]

    @property
    def near_duplicate_of(self) -> NDArray[np.int64]:
        """(n,) the first row of the group of near duplicates a row repeats, -1 for none."""
        return self.arrays["near_duplicate_of"]

    @property
    def leak(self) -> NDArray[np.float32]:
        """(n,) in 0..1: the largest weighted n-gram containment against any target item (`contamination`)."""
        return self.arrays["leak"]

    @property
    def leak_target(self) -> NDArray[np.int64]:
        """(n,) that item, numbered through the target sets in the order given, -1 for none."""
        return self.arrays["leak_target"]

    @property
    def looks_truncated(self) -> NDArray[np.bool_]:
        """(n,) the response stops in the middle."""
        return self.arrays["looks_truncated"]

    @property
    def words(self) -> NDArray[np.int32]:
        """(n,) words of prompt and response, marks of punctuation included."""
        return self.arrays["words"]


def compute_signals(
    pool: Iterable[Pair],
    targets: Mapping[str, Sequence[Pair]],
    *,
    heldout: Mapping[str, Sequence[Pair]] | None = None,
    owned: Sequence[Pair] = (),
    regions: tuple[str, ...] = (AUTO,),
    chunk: int = CHUNK,
) -> Signals:
    """The signals of a pool of (prompt, response) pairs beside named sets; `chunk` does not change them.

    `regions`: countries whose phone numbers are looked for as written there; (`AUTO`,): those of a text's language.
    """
    sets = [BesideSet("target", name, items) for name, items in targets.items()]
    sets += [BesideSet("heldout", name, items) for name, items in (heldout or {}).items()]
    sets += [BesideSet("owned", "", owned)] if owned else []
    with ExitStack() as stack:
        both, responses = stack.enter_context(WordFile()), stack.enter_context(WordFile())
        copies = stack.enter_context(NearDuplicates())
        notes: list[str] = []
        parts = _made(
            {
                "near-duplicates": lambda: Copies(copies, both, responses),
                "overlap": lambda: Overlaps(sets, both),
                "truncation": Truncation,
                "answers": Answers,
                "lengths": Lengths,
                "repetition": lambda: Repeats(responses),
                "personal data": lambda: PersonalData(regions),
                "language": Language,
            },
            notes,
        )
        timer = _Timer(["words", *parts])
        for pairs in _chunks(pool, chunk):
            with timer("words"):
                own = words_of([response for _, response in pairs])
                whole = beside(words_of([prompt for prompt, _ in pairs]), own)
                responses.add(own)
                both.add(whole)
            for name, part in parts.items():
                with timer(name):
                    part.add(Chunk(pairs, own, whole))
        columns: list[SignalColumn] = []
        arrays: dict[str, NDArray[Any]] = {}
        for name, part in parts.items():
            with timer(name):
                found = part.finish()
            columns += found.columns
            arrays |= found.arrays
    return Signals(tuple(columns), arrays, timer.seconds, tuple(notes))


def _made(makers: Mapping[str, Callable[[], Part]], notes: list[str]) -> dict[str, Part]:
    """The parts that can be made here; a note for each whose package is missing."""
    parts: dict[str, Part] = {}
    for name, make in makers.items():
        try:
            parts[name] = make()
        except (ImportError, EngineError) as error:
            notes.append(f"{name} was left out: {error}")
    return parts


class _Timer:
    """Adds up the seconds of processor time of named blocks, which other programs at work do not lengthen."""

    def __init__(self, names: Iterable[str]) -> None:
        self.seconds = dict.fromkeys(names, 0.0)
        self._name, self._since = "", 0.0

    def __call__(self, name: str) -> "_Timer":
        """The timer, about to run for `name`."""
        self._name = name
        return self

    def __enter__(self) -> None:
        """Start."""
        self._since = time.process_time()

    def __exit__(self, *_: object) -> None:
        """Stop and add."""
        self.seconds[self._name] += time.process_time() - self._since


def _chunks(pool: Iterable[Pair], size: int) -> Iterator[list[Pair]]:
    rows = iter(pool)
    while pairs := list(islice(rows, size)):
        yield pairs
