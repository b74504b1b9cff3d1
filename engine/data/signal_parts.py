"""The signals one by one: each takes the pool in chunks and gives columns and arrays at the end.

A part is made for one pool, gets every chunk once through `add`, and is asked once for what it `finish`es with. What
the signals mean is defined where they are computed (`near_duplicates`, `contamination`, `signal_endings`, `lengths`,
`answers`, `repetition`, `personal`, `languages`); here they are named, explained and brought into one form.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from engine.data import copy_kinds
from engine.data.contamination import Contamination, Leaks
from engine.data.lengths import OUTLYING, robust_length
from engine.data.near_duplicates import NearDuplicates
from engine.data.signal_columns import LEAK, NEAR_DUPLICATE, REPEATED_SAMPLE, TRUNCATED, SignalColumn
from engine.data.signal_words import WordFile, Words
from engine.data.truncation import Endings

Pair = tuple[str, str]
LEAKED = 0.5
BOILERPLATE, LOOPS = 0.8, 0.75
"""Shares of a response from which on it counts as boilerplate, and as repeating itself."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """The next rows of a pool: texts, and the words of prompts, of responses, and of both one after the other."""

    pairs: Sequence[Pair]
    responses: Words
    words: Words


@dataclass(frozen=True, slots=True)
class Finding:
    """What a part found: its columns, and the arrays they name, each with one value per row."""

    columns: tuple[SignalColumn, ...]
    arrays: dict[str, NDArray[Any]]


@dataclass(frozen=True, slots=True)
class BesideSet:
    """A set that the pool is compared with: "target", "heldout" or "owned", its name and its (prompt, response)s."""

    role: str
    name: str
    items: Sequence[Pair]

    @property
    def title(self) -> str:
        """How the set is spoken of."""
        spoken = {"target": f"target {self.name}", "heldout": f"held-out {self.name}"}
        return spoken.get(self.role, "owned data")


class Part(Protocol):
    """One signal, or several that are computed together."""

    def add(self, chunk: Chunk) -> None:
        """Take the next rows."""

    def finish(self) -> Finding:
        """The columns over all rows taken."""


class Copies:
    """Near duplicates within the pool, and what they repeat: found in the words that whoever made this keeps."""

    def __init__(self, duplicates: NearDuplicates, both: WordFile, responses: WordFile) -> None:
        self._duplicates, self._both, self._responses = duplicates, both, responses

    def add(self, chunk: Chunk) -> None:
        """Take the next rows."""
        self._duplicates.add(chunk.words)

    def finish(self) -> Finding:
        """The first row of the group each row repeats, the sample it repeats, and what of it."""
        groups = self._duplicates.finish()
        kinds, samples = copy_kinds.kinds_of(groups, self._both, self._responses)
        arrays: dict[str, NDArray[Any]] = {
            NEAR_DUPLICATE.array: groups,
            REPEATS.array: kinds,
            REPEATED_SAMPLE.array: samples,
        }
        return Finding((NEAR_DUPLICATE, REPEATED_SAMPLE, REPEATS), arrays)


REPEATS = SignalColumn(
    name="what is repeated",
    title="What is repeated",
    kind="category",
    array="near_duplicate_kind",
    categories=copy_kinds.KINDS,
    nothing=copy_kinds.KINDS[0],
    group="Copies",
    explanation="What a near-duplicate has nearly in common with an earlier sample of its group: prompt and response, "
    "the prompt only (the same instruction, another answer), the response only, or parts of both; else nothing.",
)


class Overlaps:
    """Words shared with target sets, held-out files and owned data: a share per set, and flags over sets of one role.

    Items are compared in blocks of `BLOCK`, so that large owned data is read piece by piece: the first block while the
    pool comes by, the others against the words that were kept.
    """

    BLOCK = 20_000

    def __init__(self, sets: Sequence[BesideSet], kept: WordFile) -> None:
        self._sets, self._kept = list(sets), kept
        self._items = [item for each in self._sets for item in each.items]
        self._of = np.repeat(np.arange(len(self._sets)), [len(each.items) for each in self._sets])
        self._first = np.concatenate([[0], np.cumsum([len(each.items) for each in self._sets])]).astype(np.int64)
        self._blocks = range(0, len(self._items), self.BLOCK)
        self._now = self._compared(0)
        self._rows = 0

    def add(self, chunk: Chunk) -> None:
        """Take the next rows."""
        self._now.add(chunk.words)
        self._rows += len(chunk.words)

    def finish(self) -> Finding:
        """One share and the nearest item per set; `leak` and `leak_target` over all target sets."""
        found = self._by_set(self._now, 0)
        for start in self._blocks[1:]:
            later = self._compared(start)
            for words in self._kept:
                later.add(words)
            found = [_larger(a, b) for a, b in zip(found, self._by_set(later, start))]
        arrays: dict[str, NDArray[Any]] = {}
        columns = [column for number in range(len(found)) for column in self._described(number, found, arrays)]
        overall = {role: self._joined(found, role) for role in ("target", "heldout", "owned")}
        arrays |= {"leak": overall["target"].leak, "leak_target": overall["target"].target}
        if self._has("heldout"):
            arrays["heldout_leak"] = overall["heldout"].leak
            columns.insert(0, HELD_OUT)
        if self._has("owned"):
            arrays["owned_overlap"] = overall["owned"].leak
            columns.insert(0, OWNED)
        return Finding((LEAK, *columns), arrays)

    def _has(self, role: str) -> bool:
        return any(each.role == role for each in self._sets)

    def _compared(self, start: int) -> Contamination:
        block = slice(start, start + self.BLOCK)
        return Contamination(self._items[block], sets=self._of[block].tolist())

    def _by_set(self, compared: Contamination, start: int) -> list[Leaks]:
        """One entry per set, its items numbered through all sets; nothing for sets that the block does not hold."""
        found = compared.by_set()
        nothing = Leaks(np.zeros(self._rows, np.float32), np.full(self._rows, -1, np.int64))
        numbered = [Leaks(each.leak, np.where(each.target < 0, -1, each.target + start)) for each in found]
        return [numbered[at] if at < len(numbered) else nothing for at in range(len(self._sets))]

    def _joined(self, found: Sequence[Leaks], role: str) -> Leaks:
        joined = Leaks(np.zeros(self._rows, np.float32), np.full(self._rows, -1, np.int64))
        for each, leaks in zip(self._sets, found):
            joined = _larger(joined, leaks) if each.role == role else joined
        return joined

    def _described(
        self, number: int, found: Sequence[Leaks], arrays: dict[str, NDArray[Any]]
    ) -> Iterable[SignalColumn]:
        each, leaks = self._sets[number], found[number]
        array = f"overlap_{number}"
        arrays[array] = leaks.leak
        arrays[f"{array}_item"] = np.where(leaks.target < 0, -1, leaks.target - self._first[number]).astype(np.int32)
        yield SignalColumn(
            name=f"overlap with {each.title}",
            title=f"Overlap with {each.title}",
            kind="number",
            array=array,
            threshold=LEAKED,
            guard=True,
            unit="share of word sequences",
            group="Overlap",
            role=each.role,
            set=each.name,
            explanation=f"Largest share of word sequences in common with any item of {each.title}, either way round; "
            "sequences that many samples share count little.",
        )


def _larger(first: Leaks, second: Leaks) -> Leaks:
    """Row by row the larger leak and its item; the first on ties."""
    better = second.leak > first.leak
    return Leaks(np.where(better, second.leak, first.leak), np.where(better, second.target, first.target))


HELD_OUT = SignalColumn(
    name="held-out leak",
    title="Leak of a held-out item",
    kind="flag",
    array="heldout_leak",
    threshold=LEAKED,
    guard=True,
    group="Overlap",
    explanation="At least half of the word sequences of an item of a held-out file stand in the sample, or of the "
    "sample's in the item. Training on such a sample spoils the evaluation.",
)
OWNED = SignalColumn(
    name="owned already",
    title="Owned already",
    kind="flag",
    array="owned_overlap",
    threshold=LEAKED,
    guard=True,
    group="Overlap",
    explanation="At least half of the word sequences of an owned sample stand in this one, or of this one's in the "
    "owned: it adds little to what is trained on anyway.",
)


class Truncation:
    """Responses that stop in the middle."""

    def __init__(self) -> None:
        self._endings = Endings()

    def add(self, chunk: Chunk) -> None:
        """Take the next rows."""
        self._endings.add([response for _, response in chunk.pairs], chunk.words)

    def finish(self) -> Finding:
        """One flag."""
        return Finding((TRUNCATED,), {TRUNCATED.array: self._endings.finish()})


class Lengths:
    """Responses that are unusually short or long in their pool; `words` counts prompt and response."""

    def __init__(self) -> None:
        self._responses: list[NDArray[np.int64]] = []
        self._both: list[NDArray[np.int64]] = []

    def add(self, chunk: Chunk) -> None:
        """Take the next rows."""
        self._responses.append(chunk.responses.lengths)
        self._both.append(chunk.words.lengths)

    def finish(self) -> Finding:
        """The robust z, and a flag at either end."""
        nothing = np.zeros(0, np.int64)
        z = robust_length(np.concatenate([nothing, *self._responses]))
        words = np.concatenate([nothing, *self._both]).astype(np.int32)
        return Finding((VERY_SHORT, VERY_LONG, UNUSUAL_LENGTH), {"length_z": z, "words": words})


_Z = "typical deviations of the logarithm of the response's words from the pool's median (robust z)"
UNUSUAL_LENGTH = SignalColumn(
    name="unusual length",
    title="Unusual length",
    kind="number",
    array="length_z",
    unit="robust z",
    group="Answers",
    explanation=f"How long the response is for this pool, in {_Z}; negative is short.",
)
VERY_SHORT = SignalColumn(
    name="very short",
    title="Very short",
    kind="flag",
    array="length_z",
    threshold=-OUTLYING,
    sense="at most",
    guard=True,
    group="Answers",
    explanation=f"At least {OUTLYING} {_Z}, below. In a pool of mixed kinds hardly anything is unusual.",
)
VERY_LONG = SignalColumn(
    name="very long",
    title="Very long",
    kind="flag",
    array="length_z",
    threshold=OUTLYING,
    guard=True,
    group="Answers",
    explanation=f"At least {OUTLYING} {_Z}, above. In a pool of mixed kinds hardly anything is unusual.",
)
