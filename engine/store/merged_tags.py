"""Taking in the tags that people put on rows in another copy of the project.

For every row and tag, what holds is decided as for decisions (`merging`): an act that knew the other one beats it,
whatever the clocks say; where neither knew the other the later one counts, and of two made at the same moment the one
that puts the tag on. So tags never conflict, and two copies that take each other's acts in hold the same. Notation: an
*entry* is one row of one batch, a *pair* a tag and a row; E entries of a log, P pairs that the other log names.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import duckdb
import numpy as np

from engine.store import tags
from engine.store.decision_files import TagBatch, own_tags

_ROWS = 2**32  # more than a pool has


@dataclass(frozen=True)
class _Entries:
    """A log as flat arrays (E,), in order: act on a row and pair (numbered for both logs), moment, tag put on."""

    act: np.ndarray
    pair: np.ndarray
    moment: np.ndarray
    on: np.ndarray


def fresh(con: duckdb.DuckDBPyConnection, theirs: Sequence[TagBatch]) -> list[TagBatch]:
    """Of their batches (with pool rows) those that are not known here, and of known ones the rows that are not."""
    mine = own_tags(con)
    known = {batch.key for batch in mine}
    ours, their, _ = _flat(mine, theirs)
    there = np.isin(their.act, ours.act)
    found, at = [], 0
    for batch in theirs:
        missing = ~there[at : at + len(batch.rows)]
        at += len(batch.rows)
        if batch.key not in known or missing.any():
            found.append(TagBatch(**{**vars(batch), "rows": batch.rows[missing]}))
    return found


def take_in(con: duckdb.DuckDBPyConnection, theirs: Sequence[TagBatch], new: Sequence[TagBatch], *, by: str) -> None:
    """Append the new batches (inside the caller's transaction), then set right what they changed against what holds."""
    if not new:
        return
    wanted = _holding(own_tags(con), theirs)
    tags.append_foreign(con, [(b.made, b.by, b.tag, b.kind, b.rows) for b in new])
    now = tags.current(con)
    for name, (on, off) in wanted.items():
        held = now.get(name, np.zeros(0, np.int32))
        for rows, kind in ((np.setdiff1d(on, held), tags.ADD), (np.intersect1d(off, held), tags.REMOVE)):
            if len(rows):
                tags.tag(con, rows, name, by=by, kind=kind)


def _holding(mine: Sequence[TagBatch], theirs: Sequence[TagBatch]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """For every tag of theirs: of the rows that their log names, those that carry it in the end, and those that not."""
    ours, their, names = _flat(mine, theirs)
    pairs, last = _latest(their)  # (P,)
    holds = their.on[last]
    my_pairs, my_last = _latest(ours)
    shared, here, there = np.intersect1d(my_pairs, pairs, assume_unique=True, return_indices=True)
    if len(shared):
        own, other = my_last[here], last[there]
        known_here, known_there = np.isin(their.act[other], ours.act), np.isin(ours.act[own], their.act)
        later = their.moment[other] > ours.moment[own]
        later |= (their.moment[other] == ours.moment[own]) & their.on[other]
        take = ~known_here & (known_there | later)
        holds[there] = np.where(take, their.on[other], ours.on[own])
    tag, row = pairs // _ROWS, pairs % _ROWS
    return {name: (row[(tag == at) & holds], row[(tag == at) & ~holds]) for at, name in enumerate(names)}


def _flat(mine: Sequence[TagBatch], theirs: Sequence[TagBatch]) -> tuple[_Entries, _Entries, list[str]]:
    """Both logs as arrays, and the tags in the order that numbers them."""
    both = [*mine, *theirs]
    keys = {key: at for at, key in enumerate(dict.fromkeys(batch.key for batch in both))}
    names = list(dict.fromkeys(batch.tag for batch in both))
    tag = {name: at for at, name in enumerate(names)}
    moment = {made: at for at, made in enumerate(sorted({batch.made for batch in both}))}

    def entries(batches: Sequence[TagBatch]) -> _Entries:
        lengths = [len(batch.rows) for batch in batches]
        rows = np.concatenate([batch.rows.astype(np.int64) for batch in batches] or [np.zeros(0, np.int64)])
        act = np.repeat(np.array([keys[b.key] for b in batches], np.int64), lengths) * _ROWS + rows
        pair = np.repeat(np.array([tag[b.tag] for b in batches], np.int64), lengths) * _ROWS + rows
        when = np.repeat(np.array([moment[b.made] for b in batches], np.int64), lengths)
        return _Entries(act, pair, when, np.repeat(np.array([b.kind == tags.ADD for b in batches], bool), lengths))

    return entries(mine), entries(theirs), names


def _latest(log: _Entries) -> tuple[np.ndarray, np.ndarray]:
    """The pairs that a log names, ascending, and the place of the last entry of each."""
    pairs, back = np.unique(log.pair[::-1], return_index=True)
    return pairs, len(log.pair) - 1 - back
