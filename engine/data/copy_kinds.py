"""What near duplicates repeat: prompt and response, or one of them alone; and which are the same sample once more.

Notation: groups of near duplicates are those of `near_duplicates`, over prompt and response together. Within a group
the prompts alone, and the responses alone, are grouped again by the same rule and threshold; two empty texts are alike.
A row repeats its prompt if an earlier row of its group is in the same group of prompts, its response likewise, and both
if one earlier row is in both. A *repeated sample* is a near duplicate that repeats its response: beside the 80 % that
agree anyway, what would be trained on is the same, even if the prompt is worded a little differently. A long
instruction that rows share with answers of their own makes them near duplicates, yet no repeated samples.

Reads the words again, of rows in groups alone; a pool without copies costs nothing here. Finds no groups.
"""

from collections.abc import Iterable, Iterator
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from engine.data.near_duplicates import THRESHOLD, NearDuplicates
from engine.data.signal_words import Words

Kind = Literal["nothing", "prompt and response", "prompt only", "response only", "parts of both"]
KINDS: tuple[Kind, ...] = get_args(Kind)
"""What is repeated of the near duplicates before a row; parts of both: neither alone reaches the threshold."""


def kinds_of(
    groups: NDArray[np.int64], both: Iterable[Words], responses: Iterable[Words], *, threshold: float = THRESHOLD
) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Which of `KINDS` each row repeats (n,), by number; and the sample it repeats (n,), -1 for none.

    `groups` (n,): the first row of the group a row repeats, -1 for none, as `NearDuplicates.finish` gives. `both` and
    `responses`: the rows' words in chunks of equal sizes, of prompt and response one after the other and of responses
    alone; `responses` is read twice. The sample is a row's earliest of the group whose response is nearly its own.
    """
    copies = groups >= 0
    inside = copies.copy()
    inside[groups[copies]] = True
    rows = np.flatnonzero(inside)
    first = np.where(copies, groups, np.arange(len(groups)))[rows]  # (m,) of rows in groups
    kinds, sample = np.zeros(len(groups), np.int32), np.full(len(groups), -1, np.int64)
    if len(rows):
        answers = _alike(responses, inside, first, threshold)
        asked = _alike(_prompts(both, responses), inside, first, threshold)
        said = [_again(first, asked, answers), _again(first, asked), _again(first, answers)]
        kind = np.select(said, [1, 2, 3], default=4)
        again = _again(first, answers)
        kinds[rows[copies[rows]]] = kind[copies[rows]]
        sample[rows[again]] = rows[answers[again]]
    return kinds, sample


def _alike(
    texts: Iterable[Words], inside: NDArray[np.bool_], first: NDArray[np.int64], threshold: float
) -> NDArray[np.int64]:
    """For the m rows `inside`, the number (m,) among them of the earliest of their group that their text repeats."""
    empty = np.zeros(len(first), bool)
    at = done = 0
    with NearDuplicates(threshold=threshold) as near:
        for words in texts:
            part = picked(words, inside[at : at + len(words)])
            near.add(part, groups=first[done : done + len(part)])
            empty[done : done + len(part)] = part.lengths == 0
            at, done = at + len(words), done + len(part)
        found = near.finish()
    found = np.where(found >= 0, found, np.arange(len(found)))
    _, which, back = np.unique(first[empty], return_index=True, return_inverse=True)
    found[empty] = np.flatnonzero(empty)[which][back]
    return found


def _again(*labels: NDArray[np.int64]) -> NDArray[np.bool_]:
    """bool (m,): an earlier row has all the same labels."""
    _, which = np.unique(np.stack(labels, axis=1), axis=0, return_index=True)
    again = np.ones(len(labels[0]), bool)
    again[which] = False
    return again


def _prompts(both: Iterable[Words], responses: Iterable[Words]) -> Iterator[Words]:
    """The words of the prompts: what stands before the response's."""
    for whole, own in zip(both, responses, strict=True):
        lengths = whole.lengths - own.lengths
        yield Words(*_pieces(whole, whole.offsets[:-1], lengths))


def picked(words: Words, rows: NDArray[np.bool_]) -> Words:
    """The words of some rows."""
    return Words(*_pieces(words, words.offsets[:-1][rows], words.lengths[rows]))


def _pieces(
    words: Words, starts: NDArray[np.int64], lengths: NDArray[np.int64]
) -> tuple[NDArray[np.uint32], NDArray[np.int64]]:
    offsets = np.zeros(len(lengths) + 1, np.int64)
    np.cumsum(lengths, out=offsets[1:])
    return words.ids[np.repeat(starts - offsets[:-1], lengths) + np.arange(int(offsets[-1]))], offsets
