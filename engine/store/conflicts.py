"""Rows on which two copies of a project decided differently, neither knowing of the other, and how they are settled.

Notation: c conflicts, rows ascending. A *side* is mine or theirs. The *mark* of a conflict is a number that changes
when anything of it does (the row, either act, either decision), so that a choice never counts for something else than
what was looked at. Does not merge and knows no log.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, get_args

import numpy as np

from engine.errors import EngineError
from engine.store import chosen
from engine.store.decisions import DECISIONS
from engine.store.project import Project

SideName = Literal["mine", "theirs"]
Prefer = Literal["mine", "theirs", "latest"]
SIDES: tuple[str, ...] = get_args(SideName)
PREFER: tuple[str, ...] = get_args(Prefer)
OPEN, MINE, THEIRS = range(3)
_NAMES = tuple(DECISIONS)


@dataclass(frozen=True)
class Act:
    """What a batch says of itself: its key in all copies, by whom, when (UTC) and with which note."""

    key: str
    by: str
    made: str
    note: str


@dataclass(frozen=True)
class Side:
    """One side of a conflict: the decision, by whom, when (UTC) and with which note."""

    decision: str
    by: str
    at: str
    note: str


@dataclass(frozen=True)
class Conflict:
    """A row on which both sides decided differently; `mark` as in `Conflicts.marks`."""

    row: int
    id: str
    mark: str
    mine: Side
    theirs: Side


@dataclass(frozen=True)
class Conflicts:
    """All conflicts of a merge: `rows` int64 (c,); of each side the codes int8 (c,), its acts, and which act it is."""

    rows: np.ndarray
    mine: np.ndarray
    theirs: np.ndarray
    my_acts: tuple[Act, ...]
    their_acts: tuple[Act, ...]
    my_act: np.ndarray
    their_act: np.ndarray

    def __len__(self) -> int:
        """The number of conflicts, c."""
        return len(self.rows)

    @cached_property
    def later(self) -> np.ndarray:
        """bool (c,): their decision is the later one, by the clocks of the two machines."""
        return _of(self.their_acts, "made")[self.their_act] > _of(self.my_acts, "made")[self.my_act]

    @cached_property
    def marks(self) -> np.ndarray:
        """uint64 (c,): one number per conflict, another one once anything of it is another."""
        mine, theirs = _numbers(self.my_acts)[self.my_act], _numbers(self.their_acts)[self.their_act]
        codes = (self.mine.astype(np.uint64) << np.uint64(8)) | self.theirs.astype(np.uint64)
        mixed = self.rows.astype(np.uint64)
        for part in (mine, theirs, codes):
            mixed = _mixed(mixed ^ part)
        return mixed

    @cached_property
    def state(self) -> str:
        """One text that changes when any conflict does, comes or goes."""
        return hashlib.sha256(self.marks.tobytes()).hexdigest()

    def listed(self, project: Project, part: slice | np.ndarray) -> list[Conflict]:
        """Some of the conflicts with their ids, in order; `part` holds places among them, ascending."""
        rows, marks = self.rows[part], self.marks[part]
        with project.session() as con:
            ids = chosen.identities(con, rows)[0] if len(rows) else []
        mine = _sides(self.my_acts, self.my_act[part], self.mine[part])
        theirs = _sides(self.their_acts, self.their_act[part], self.theirs[part])
        values = zip(rows.tolist(), ids, map(mark_text, marks.tolist()), mine, theirs, strict=True)
        return [Conflict(*value) for value in values]


def mark_text(mark: int) -> str:
    """A mark as a text that no spreadsheet takes for a number."""
    return f"m{mark:016x}"


def checked(settled: Mapping[int, str] | None, prefer: str | None) -> None:
    """Raise `EngineError` for what settles nothing."""
    if prefer is not None and prefer not in PREFER:
        raise EngineError(f"{prefer!r} settles nothing; use one of {', '.join(PREFER)}. Nothing was changed.")
    for row, side in (settled or {}).items():
        if side not in SIDES:
            raise EngineError(
                f"{side!r} settles nothing for sample {row}; use one of {', '.join(SIDES)}. Nothing was changed."
            )


def named(found: Conflicts, settled: Mapping[int, str] | None) -> np.ndarray:
    """int8 (c,): the side that is named for every conflict, `OPEN` where none is; other rows say nothing."""
    side = np.full(len(found), OPEN, np.int8)
    if settled:
        rows = np.fromiter(settled, np.int64, len(settled))
        names = np.fromiter((MINE + SIDES.index(name) for name in settled.values()), np.int8, len(settled))
        places, there = places_of(found, rows)
        side[places[there]] = names[there]
    return side


def ruled(found: Conflicts, side: np.ndarray, prefer: str | None) -> np.ndarray:
    """int8 (c,): `side`, and where that is `OPEN` what the rule for the rest says."""
    if prefer is None:
        return side
    rest = np.where(found.later, THEIRS, MINE) if prefer == "latest" else MINE + SIDES.index(prefer)
    return np.where(side == OPEN, rest, side).astype(np.int8)


def places_of(found: Conflicts, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The place of each row among the conflicts, int64, and whether it is one, bool."""
    if not len(found):
        return np.zeros(len(rows), np.int64), np.zeros(len(rows), bool)
    places = np.minimum(np.searchsorted(found.rows, rows), len(found) - 1)
    return places, found.rows[places] == rows


def _of(acts: tuple[Act, ...], name: str) -> np.ndarray:
    return np.array([getattr(act, name) for act in acts] or [""], str)


def _numbers(acts: tuple[Act, ...]) -> np.ndarray:
    """uint64: a number for every act, by its key."""
    digests = (hashlib.sha256(act.key.encode()).digest()[:8] for act in acts)
    return np.array([int.from_bytes(digest, "big") for digest in digests] or [0], np.uint64)


def _mixed(values: np.ndarray) -> np.ndarray:
    """The finaliser of SplitMix64 (Steele, Lea and Flood 2014): every bit depends on every bit."""
    mixed = values + np.uint64(0x9E3779B97F4A7C15)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(factor)
    return mixed ^ (mixed >> np.uint64(31))


def _sides(acts: tuple[Act, ...], which: np.ndarray, codes: np.ndarray) -> list[Side]:
    said = (acts[at] for at in which.tolist())
    return [Side(_NAMES[code], act.by, act.made, act.note) for code, act in zip(codes.tolist(), said, strict=True)]
