"""Taking in the decisions and tags that people made in another copy of the project.

The other log's batches that are not known here are appended as they are, signed and dated as they were. Then, for every
row, what holds is decided as for two lines of work that parted:

    nothing was decided here                      theirs
    their latest act is known here                ours: it is the same, or newer
    our latest act is known there, theirs is new  theirs: they decided knowing ours
    both are new: the same, or one takes back     the decision that is one
    both are new and differ                       a *conflict*, settled only by an explicit choice

Where ours holds, a batch signed by whoever merges says so at the end of the log, so that the log alone still gives the
state. Merging again changes nothing. Tags never conflict: the later act counts. Notation: n pool rows, T touched rows.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import duckdb
import numpy as np

from engine.errors import EngineError
from engine.store import chosen, decisions, tags
from engine.store.decision_files import Batch, Log, TagBatch, found_rows, own_batches, own_tags
from engine.store.decisions import NONE, Foreign
from engine.store.project import Project

Prefer = Literal["mine", "theirs", "latest"]
PREFER: tuple[str, ...] = get_args(Prefer)
MOST_LISTED = 1000
_NAMES = tuple(decisions.DECISIONS)


@dataclass(frozen=True)
class Side:
    """One side of a conflict: the decision, by whom, when (UTC) and with which note."""

    decision: str
    by: str
    at: str
    note: str


@dataclass(frozen=True)
class Conflict:
    """A row on which both sides decided differently, neither knowing of the other."""

    row: int
    id: str
    mine: Side
    theirs: Side


@dataclass(frozen=True)
class Merge:
    """What merging does, or would do. `applied`: whether it was done; not where conflicts wait for a choice.

    Batches: `new` and `known` ones of theirs. Rows: `taken` change to their decision, `kept` stay ours against theirs,
    `agreed` have the same; `unknown` are not in this pool, with the first of their ids. The first `MOST_LISTED`
    conflicts are listed, `conflicted` counts all.
    """

    project: str
    new: int
    known: int
    taken: int
    kept: int
    agreed: int
    unknown: int
    unknown_ids: tuple[str, ...]
    conflicted: int
    conflicts: tuple[Conflict, ...]
    tags: int
    applied: bool


@dataclass(frozen=True)
class _Replay:
    """A log played to its end over n rows: the last batch (its place in the log, -1 for none) and the code."""

    last: np.ndarray
    code: np.ndarray


def merge(project: Project, log: Log, *, by: str, prefer: str | None = None, dry_run: bool = False) -> Merge:
    """Take in `log`; all in one transaction, or nothing where it is a trial or conflicts lack a choice.

    `prefer` settles conflicts: mine, theirs or the latest. `by` signs what holds against theirs. Raises `EngineError`
    for an unknown preference or no name.
    """
    if prefer is not None and prefer not in PREFER:
        raise EngineError(f"{prefer!r} settles nothing; use one of {', '.join(PREFER)}. Nothing was changed.")
    if not by.strip():
        raise EngineError("Merging needs the name of the person who merges. Nothing was changed.")
    with project.changing() as con:
        rows = found_rows(con, log.rows)
        theirs = [_here(batch, rows) for batch in log.batches]
        mine = own_batches(con)
        n = len(decisions.current(con))
        ours, their = _played(mine, n), _played(theirs, n)
        touched = np.flatnonzero(their.last >= 0)
        take, conflict, same = _judged(mine, theirs, ours, their, touched)
        listed = _conflicts(con, mine, theirs, ours, their, touched[conflict][:MOST_LISTED])
        new = [batch for batch in theirs if batch.key not in {own.key for own in mine}]
        waits = bool(conflict.any()) and prefer is None
        take = take | (conflict & _preferred(mine, theirs, ours, their, touched, prefer))
        wanted = np.where(take, their.code[touched], ours.code[touched])
        fresh_tags = _fresh_tags(con, log.tags, rows)
        if not dry_run and not waits:
            _append(con, new, touched, wanted, mine, by=by, name=log.project)
            _append_tags(con, fresh_tags, by=by)
    changed = wanted != ours.code[touched]
    lost = [name for name, row in zip(log.rows, rows.tolist(), strict=True) if row < 0]
    return Merge(
        project=log.project,
        new=len(new),
        known=len(theirs) - len(new),
        taken=int((take & changed).sum()),
        kept=int((~take & (wanted != their.code[touched])).sum()),
        agreed=int(same.sum()),
        unknown=len(lost),
        unknown_ids=tuple(own or text[:16] for text, own, _ in lost[:MOST_LISTED]),
        conflicted=int(conflict.sum()),
        conflicts=tuple(listed),
        tags=len(fresh_tags),
        applied=not dry_run and not waits,
    )


def _here(batch: Batch, rows: np.ndarray) -> Batch:
    """The batch with pool rows of this project; rows that are not here are left out."""
    places = rows[batch.rows]
    return Batch(**{**vars(batch), "rows": places[places >= 0], "codes": batch.codes[places >= 0]})


def _played(batches: Sequence[Batch], n: int) -> _Replay:
    last, code = np.full(n, -1, np.int64), np.zeros(n, np.int8)
    for place, batch in enumerate(batches):
        last[batch.rows], code[batch.rows] = place, batch.codes
    return _Replay(last, code)


def _judged(
    mine: Sequence[Batch], theirs: Sequence[Batch], ours: _Replay, their: _Replay, touched: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of the touched rows, bool (T,): theirs holds, conflict, both sides say the same (see the table above)."""
    my_keys, their_keys = {b.key for b in mine}, {b.key for b in theirs}
    known_here = np.array([b.key in my_keys for b in theirs], bool)[their.last[touched]]
    last, undecided = ours.last[touched], ours.last[touched] < 0
    known_there = np.append(np.array([b.key in their_keys for b in mine], bool), False)[last]
    own, other = ours.code[touched], their.code[touched]
    parted = ~known_here & ~undecided & ~known_there
    same = own == other
    take = ~known_here & (undecided | known_there) | (parted & (own == NONE))
    return take, parted & ~same & (own != NONE) & (other != NONE), same & (own != NONE)


def _preferred(
    mine: Sequence[Batch],
    theirs: Sequence[Batch],
    ours: _Replay,
    their: _Replay,
    touched: np.ndarray,
    prefer: str | None,
) -> np.ndarray:
    """bool (T,): rows whose conflict would be settled for theirs."""
    if prefer != "latest":
        return np.full(len(touched), prefer == "theirs")
    at_mine = np.array([*(b.made for b in mine), ""], str)[ours.last[touched]]
    at_theirs = np.array([b.made for b in theirs], str)[their.last[touched]] if len(touched) else at_mine
    return at_theirs > at_mine


def _conflicts(
    con: duckdb.DuckDBPyConnection,
    mine: Sequence[Batch],
    theirs: Sequence[Batch],
    ours: _Replay,
    their: _Replay,
    rows: np.ndarray,
) -> list[Conflict]:
    ids = chosen.identities(con, rows)[0] if len(rows) else []
    return [
        Conflict(
            row, name, _side(mine[ours.last[row]], ours.code[row]), _side(theirs[their.last[row]], their.code[row])
        )
        for row, name in zip(rows.tolist(), ids, strict=True)
    ]


def _side(batch: Batch, code: int) -> Side:
    return Side(_NAMES[code], batch.by, batch.made, batch.note)


def _append(
    con: duckdb.DuckDBPyConnection,
    new: Sequence[Batch],
    touched: np.ndarray,
    wanted: np.ndarray,
    mine: Sequence[Batch],
    *,
    by: str,
    name: str,
) -> None:
    """Append their new batches, and one that restores what holds against them."""
    if not new:
        return
    start = decisions.last_batch(con) + 1
    numbers = dict(zip((b.key for b in mine), _numbers(con), strict=True))
    numbers |= {batch.key: start + at for at, batch in enumerate(new)}
    foreign = [_foreign(batch, numbers) for batch in new]
    state = decisions.append_foreign(con, foreign)
    against = state[touched] != wanted
    if against.any():
        note = f"Kept when the decisions of {name} were merged"
        rows, codes = touched[against], wanted[against].astype(np.int8)
        decisions.restore(con, rows, codes, by=by, note=note)


def _numbers(con: duckdb.DuckDBPyConnection) -> list[int]:
    return [number for (number,) in con.execute("SELECT batch FROM decision_batches ORDER BY batch").fetchall()]


def _foreign(batch: Batch, numbers: dict[str, int]) -> Foreign:
    undoes = numbers.get(batch.undoes) if batch.undoes else None
    kind = "undo" if undoes is not None else "decide"
    return Foreign(batch.made, batch.by, kind, undoes, batch.note, batch.rows, batch.codes, batch.key)


def _fresh_tags(con: duckdb.DuckDBPyConnection, batches: Sequence[TagBatch], rows: np.ndarray) -> list[TagBatch]:
    """Their batches of tags that are not known here, with pool rows of this project."""
    known = {batch.key for batch in own_tags(con)}
    fresh = [TagBatch(**{**vars(b), "rows": rows[b.rows]}) for b in batches if b.key not in known]
    return [TagBatch(**{**vars(b), "rows": b.rows[b.rows >= 0]}) for b in fresh]


def _append_tags(con: duckdb.DuckDBPyConnection, fresh: Sequence[TagBatch], *, by: str) -> None:
    """Append them, then set right what an older act of theirs changed against a later one of ours."""
    if not fresh:
        return
    wanted = _standing(sorted([*own_tags(con), *fresh], key=lambda b: b.made))
    tags.append_foreign(con, [(b.made, b.by, b.tag, b.kind, b.rows) for b in fresh])
    for name in {batch.tag for batch in fresh}:
        held, should = set(tags.current(con).get(name, np.zeros(0, np.int64)).tolist()), wanted.get(name, set())
        for rows, kind in ((should - held, tags.ADD), (held - should, tags.REMOVE)):
            if rows:
                tags.tag(con, sorted(rows), name, by=by, kind=kind)


def _standing(batches: Sequence[TagBatch]) -> dict[str, set[int]]:
    state: dict[str, set[int]] = {}
    for batch in batches:
        held = state.setdefault(batch.tag, set())
        if batch.kind == tags.ADD:
            held.update(batch.rows.tolist())
        else:
            held.difference_update(batch.rows.tolist())
    return state
