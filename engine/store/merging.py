"""Taking in the decisions, tags and random audits that people made in another copy of the project.

The other log's batches that are not known here are appended as they are, signed and dated as they were. Then, for every
row, what holds is decided as for two lines of work that parted:

    nothing was decided here                      theirs
    all that speaks for theirs is known here      ours: it is the same, or newer
    all that speaks for ours is known there       theirs: they decided knowing ours
    both have news: the same, or one takes back   the decision that is one
    both have news and differ                     a *conflict*, settled only by an explicit choice (`conflicts`)

Clocks play no part in this but where "latest" is chosen. Acts are known row by row: of a batch that was taken in before
some of its rows were in the pool, those follow later. Where ours holds, and on every conflict that was settled, a batch
signed by whoever merges says so at the end of the log, with the note of the decision that holds, so that the log alone
still gives the state and both copies learn of the choice. Merging again changes nothing. Tags: `merged_tags`; audits:
`audit_files`. Notation: T touched rows, those that their log names; they are weighed in `weighing`.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import duckdb
import numpy as np

from engine.errors import EngineError
from engine.store import audit_files, conflicts, decisions, merged_tags, weighing
from engine.store.audit_files import TakenAudits
from engine.store.conflicts import OPEN, PREFER, THEIRS, Conflict, Conflicts, Side
from engine.store.decision_files import Batch, Log, TagBatch, found_rows, own_batches, own_numbers
from engine.store.decisions import Foreign
from engine.store.project import Project
from engine.store.records import now
from engine.store.weighing import Weighed

__all__ = ["PREFER", "Conflict", "Conflicts", "Merge", "Side", "merge"]
MOST_LISTED = 1000
_CLOCK = timedelta(minutes=2)  # by which two clocks may differ without a word
_SAID = re.compile(r"(?:^| · )(?:Kept|Theirs, taken) when the decisions of .* were merged$")


@dataclass(frozen=True)
class Merge:
    """What merging does, or would do. `applied`: whether it was done; not where conflicts wait for a choice.

    Batches: `new` and `known` ones of theirs, and of `tags`. Rows: `taken` change to their decision, `kept` stay ours
    against theirs, `agreed` have the same; `unknown` are not in this pool, with the first `MOST_LISTED` of their ids.
    Of the `conflicts` so many are `unsettled`. `ahead`: the latest moment in their log where that has not come yet
    here (one of the clocks is wrong), else "".
    """

    project: str
    new: int
    known: int
    taken: int
    kept: int
    agreed: int
    unknown: int
    unknown_ids: tuple[str, ...]
    conflicts: Conflicts
    unsettled: int
    tags: int
    audits: TakenAudits
    ahead: str
    applied: bool

    @property
    def conflicted(self) -> int:
        """The number of conflicts."""
        return len(self.conflicts)

    @property
    def brings(self) -> bool:
        """Whether there is anything in their log that is not known here and can be taken in."""
        return bool(self.new or self.tags or self.audits.new or self.audits.further)


def merge(
    project: Project,
    log: Log,
    *,
    by: str,
    prefer: str | None = None,
    settled: Mapping[int, str] | None = None,
    expected: str | None = None,
    dry_run: bool = False,
) -> Merge:
    """Take in `log`; all in one transaction, or nothing where it is a trial or conflicts lack a choice.

    `settled` says for single rows which side holds, mine or theirs (of rows in no conflict nothing); `prefer` settles
    the rest: mine, theirs or the latest. `by` signs what was chosen and what holds against theirs. `expected`: the
    `state` of the conflicts that the choices were made for. Raises `EngineError` for a choice that is none, no name, or
    other conflicts than expected; then nothing is changed.
    """
    conflicts.checked(settled, prefer)
    if not by.strip():
        raise EngineError("Merging needs the name of the person who merges. Nothing was changed.")
    with project.session() if dry_run else project.changing() as con:
        rows = found_rows(con, log.rows)
        theirs_here = [_here(batch, rows) for batch in log.batches]
        weighed = weighing.weighed(own_batches(con), theirs_here, len(decisions.current(con)))
        found = weighing.in_conflict(weighed)
        if expected is not None and found.state != expected:
            raise EngineError(
                "Somebody decided meanwhile and the conflicts are others. Look again; nothing was changed."
            )
        sides = conflicts.ruled(found, conflicts.named(found, settled), prefer)
        unsettled = int((sides == OPEN).sum())
        applied = not dry_run and not unsettled
        take = weighed.take.copy()
        take[weighed.conflict] = sides == THEIRS
        theirs = [_tags_here(batch, rows) for batch in log.tags]
        fresh = merged_tags.fresh(con, theirs)
        if applied:
            _append(con, weighed, take, by=by, name=log.project)
            merged_tags.take_in(con, theirs, fresh, by=by)
        numbers = _numbers(con) if log.audits and applied else {}
        audits = audit_files.take_in(con, log.audits, rows, numbers, dry_run=not applied)
    own, other = weighed.ours.code[weighed.touched], weighed.their.code[weighed.touched]
    lost = [name for name, row in zip(log.rows, rows.tolist(), strict=True) if row < 0]
    return Merge(
        project=log.project,
        new=len(weighed.new),
        known=len(log.batches) - len(weighed.new),
        taken=int((take & (own != other)).sum()),
        kept=int((~take & (own != other)).sum()),
        agreed=int(weighed.same.sum()),
        unknown=len(lost),
        unknown_ids=tuple(own or text[:16] for text, own, _ in lost[:MOST_LISTED]),
        conflicts=found,
        unsettled=unsettled,
        tags=len(fresh),
        audits=audits,
        ahead=_ahead([*(b.made for b in weighed.new), *(b.made for b in fresh)]),
        applied=applied,
    )


def _here(batch: Batch, rows: np.ndarray) -> Batch:
    """The batch with pool rows of this project; rows that are not here are left out."""
    places = rows[batch.rows]
    return Batch(**{**vars(batch), "rows": places[places >= 0], "codes": batch.codes[places >= 0]})


def _tags_here(batch: TagBatch, rows: np.ndarray) -> TagBatch:
    places = rows[batch.rows]
    return TagBatch(**{**vars(batch), "rows": places[places >= 0]})


def _append(con: duckdb.DuckDBPyConnection, weighed: Weighed, take: np.ndarray, *, by: str, name: str) -> None:
    """Append their new batches, and then what was chosen and what holds against them."""
    if not weighed.new:
        return
    start = decisions.last_batch(con) + 1
    numbers = {batch.key: start + at for at, batch in enumerate(weighed.new)}
    numbers |= _numbers(con, weighed.mine)
    foreign = [_foreign(batch, numbers, start + at) for at, batch in enumerate(weighed.new)]
    state = decisions.append_foreign(con, foreign)
    wanted = np.where(take, weighed.their.code[weighed.touched], weighed.ours.code[weighed.touched])
    said = weighed.conflict | (state[weighed.touched] != wanted)
    if said.any():
        decisions.append_foreign(con, _confirmed(weighed, take, wanted, said, by=by, name=name))


def _numbers(con: duckdb.DuckDBPyConnection, batches: Sequence[Batch] | None = None) -> dict[str, int]:
    """The numbers that the batches of this project, read already or not, have here, by key."""
    own = own_batches(con) if batches is None else batches
    return dict(zip((batch.key for batch in own), own_numbers(con), strict=True))


def _foreign(batch: Batch, numbers: Mapping[str, int], number: int) -> Foreign:
    """The batch as it is appended under `number`; what it takes back comes before it, whatever the file says."""
    undoes = numbers.get(batch.undoes) if batch.undoes else None
    undoes = None if undoes is None or undoes >= number else undoes
    kind = "undo" if undoes is not None else "decide"
    return Foreign(batch.made, batch.by, kind, undoes, batch.note, batch.rows, batch.codes, batch.key)


def _confirmed(
    weighed: Weighed, take: np.ndarray, wanted: np.ndarray, said: np.ndarray, *, by: str, name: str
) -> list[Foreign]:
    """One batch per note: the rows of `said` (T,) get the wanted code, with the note of the decision that holds."""
    rows = weighed.touched[said]
    log = np.where(take[said], len(weighed.mine) + weighed.their.last[rows], weighed.ours.last[rows])
    acts = [*weighed.mine, *weighed.theirs]
    places, which = np.unique(log, return_inverse=True)
    notes = [_note(acts[at].note, theirs=at >= len(weighed.mine), name=name) for at in places.tolist()]
    different = {note: at for at, note in enumerate(dict.fromkeys(notes))}
    group = np.array([different[note] for note in notes], np.int64)[which]
    order = np.argsort(group, kind="stable")
    parts = np.split(order, np.cumsum(np.bincount(group, minlength=len(different)))[:-1])
    made, codes = now(), wanted[said].astype(np.int8)
    return [
        Foreign(made, by, "decide", None, note, rows[part], codes[part], None) for note, part in zip(different, parts)
    ]


def _note(text: str, *, theirs: bool, name: str) -> str:
    """What the decision said, and that it holds since the merge; of earlier merges nothing."""
    own = _SAID.sub("", text)
    done = "Theirs, taken" if theirs else "Kept"
    said = f"{done} when the decisions of {' '.join(name.split())[:80]} were merged"
    return f"{own} · {said}" if own else said


def _ahead(made: Sequence[str]) -> str:
    latest = max(made, default="")
    soon = (datetime.now(UTC) + _CLOCK).isoformat(timespec="milliseconds")
    return latest if latest > soon else ""
