"""Two logs of decisions beside each other: on which rows theirs holds, which are in conflict, what of theirs is new.

The rules are those of `merging`. An act is known to a log row by row: by the key of its batch, the row and the code, so
that neither a batch whose rows were not all in the pool once nor two batches of one key hide anything. Notation: n pool
rows, T touched rows (those that their log names), E entries (one row of one batch). Changes nothing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from engine.store.conflicts import Act, Conflicts
from engine.store.decision_files import Batch
from engine.store.decisions import NONE


@dataclass(frozen=True)
class Replay:
    """A log played to its end over n rows: the code, the last batch that speaks for it, and whether such a one is news.

    Batches are places in the log, -1 for none; where some are `news` to the other log, the last of these is named.
    """

    last: np.ndarray
    code: np.ndarray
    news: np.ndarray


@dataclass(frozen=True)
class Weighed:
    """Both logs over the touched rows (T,): bool `take` for theirs, `conflict`, `same`; `new` batches to append."""

    mine: list[Batch]
    theirs: list[Batch]
    ours: Replay
    their: Replay
    touched: np.ndarray
    take: np.ndarray
    conflict: np.ndarray
    same: np.ndarray
    new: list[Batch]


def weighed(mine: list[Batch], theirs: list[Batch], n: int) -> Weighed:
    """Our log and theirs, both with pool rows of this project, over its n rows."""
    keys = {key: at for at, key in enumerate(dict.fromkeys(batch.key for batch in (*mine, *theirs)))}
    my_acts, their_acts = _acts(mine, keys, n), _acts(theirs, keys, n)
    here, there = _among(my_acts, np.sort(their_acts)), _among(their_acts, np.sort(my_acts))
    ours, their = _played(mine, here, n), _played(theirs, there, n)
    touched = np.flatnonzero(their.last >= 0)
    take, conflict, same = _judged(
        ours.code[touched],
        their.code[touched],
        undecided=ours.last[touched] < 0,
        known_here=~their.news[touched],
        known_there=~ours.news[touched],
    )
    new = _new({batch.key for batch in mine}, theirs, there)
    return Weighed(mine, theirs, ours, their, touched, take, conflict, same, new)


def _played(batches: Sequence[Batch], known: np.ndarray, n: int) -> Replay:
    """The log over n rows; `known` bool (E,): the other log holds the entry too."""
    last, code, news = np.full(n, -1, np.int64), np.zeros(n, np.int8), np.zeros(n, bool)
    if not batches:
        return Replay(last, code, news)
    rows, codes = (np.concatenate([getattr(batch, name) for batch in batches]) for name in ("rows", "codes"))
    place = np.repeat(np.arange(len(batches)), [len(batch.rows) for batch in batches])
    last[rows], code[rows] = place, codes  # of a row named several times the last entry stays
    speaks = ~known & (codes == code[rows])
    news[rows[speaks]] = True
    last[rows[speaks]] = place[speaks]
    return Replay(last, code, news)


def _acts(batches: Sequence[Batch], keys: Mapping[str, int], n: int) -> np.ndarray:
    """int64 (E,): one number per entry in order, the same for the same act on the same row in both logs."""
    parts = [(keys[batch.key] * n + batch.rows.astype(np.int64)) * 4 + batch.codes for batch in batches]
    return np.concatenate(parts) if parts else np.zeros(0, np.int64)


def _among(values: np.ndarray, known: np.ndarray) -> np.ndarray:
    """bool: which of the values are among the known ones, which ascend; much faster than `np.isin` for millions."""
    if not len(known):
        return np.zeros(len(values), bool)
    return known[np.minimum(np.searchsorted(known, values), len(known) - 1)] == values


def _judged(
    own: np.ndarray, other: np.ndarray, *, undecided: np.ndarray, known_here: np.ndarray, known_there: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of the touched rows, bool (T,): theirs holds, conflict, both sides say the same (see the table above)."""
    parted = ~known_here & ~undecided & ~known_there
    same = own == other
    take = ~known_here & (undecided | known_there) | (parted & (own == NONE))
    return take, parted & ~same & (own != NONE) & (other != NONE), same & (own != NONE)


def _new(known: set[str], theirs: Sequence[Batch], there: np.ndarray) -> list[Batch]:
    """Their batches that are not known here, and of known ones the rows that are not; `there` bool (E,)."""
    found, at = [], 0
    for batch in theirs:
        missing = ~there[at : at + len(batch.rows)]
        at += len(batch.rows)
        if batch.key not in known:
            found.append(batch)
        elif missing.any():
            found.append(Batch(**{**vars(batch), "rows": batch.rows[missing], "codes": batch.codes[missing]}))
    return found


def in_conflict(found: Weighed) -> Conflicts:
    """The rows in conflict, with the latest act of both sides that the other does not know."""
    rows = found.touched[found.conflict]
    my_acts, my_act = _said(found.mine, found.ours.last[rows])
    their_acts, their_act = _said(found.theirs, found.their.last[rows])
    return Conflicts(rows, found.ours.code[rows], found.their.code[rows], my_acts, their_acts, my_act, their_act)


def _said(batches: Sequence[Batch], last: np.ndarray) -> tuple[tuple[Act, ...], np.ndarray]:
    """The acts among `last`, and which of them each is."""
    places, which = np.unique(last, return_inverse=True)
    acts = (batches[at] for at in places.tolist())
    return tuple(Act(batch.key, batch.by, batch.made, batch.note) for batch in acts), which
