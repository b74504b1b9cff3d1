"""What happened to a version of a selection: proposed, approved, returned. Its state is the replay of these events.

Events are only ever added; the rows of a version never change. What may happen next:

    draft     proposed or approved    approved at once: for one person working alone, and for scripts
    proposed  approved or returned
    returned  proposed                as it is, with a note that answers the return; other rows are a new version
    approved  nothing                 frozen: a change is a new version

Who proposed may also approve; it is kept and said (`remark`). Does not know rows or decisions (`selections` does).
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import duckdb

from engine.errors import EngineError
from engine.store.artifacts import finite
from engine.store.records import now

Kind = Literal["proposed", "approved", "returned"]
State = Literal["draft", "proposed", "approved", "returned"]
STATES: tuple[str, ...] = get_args(State)
NEXT: dict[str, tuple[Kind, ...]] = {
    "draft": ("proposed", "approved"),
    "proposed": ("approved", "returned"),
    "returned": ("proposed",),
    "approved": (),
}
LONGEST_NOTE = 2000


@dataclass(frozen=True)
class Event:
    """One event: who, when (ISO 8601, UTC), with which note; `details` are the figures that were on the sheet."""

    kind: Kind
    by: str
    at: str
    note: str
    details: dict[str, Any] | None = None


def state_of(events: Sequence[Event]) -> State:
    """The state after these events, oldest first."""
    return events[-1].kind if events else "draft"


def remark(events: Sequence[Event], author: str) -> str:
    """What a reader of an approval should know of who gave it; "" where another person proposed, or none approved."""
    if state_of(events) != "approved":
        return ""
    given = events[-1].by
    proposer = next((event.by for event in reversed(events) if event.kind == "proposed"), None)
    if proposer is None:
        same = " by the person who saved it" if given == author else ""
        return f"approved without a proposal{same}"
    return "approved by the person who proposed it" if given == proposer else ""


def add(
    con: duckdb.DuckDBPyConnection,
    number: int,
    kind: Kind,
    *,
    title: str,
    by: str,
    note: str,
    details: Mapping[str, Any] | None = None,
) -> None:
    """Add an event to the version with this catalogue number, inside the caller's transaction.

    Raises `EngineError` where the state does not allow it, a return or the answer to one says nothing, or the note is
    over `LONGEST_NOTE` characters; then nothing was recorded. `title` names the version in messages.
    """
    known = of(con, [number]).get(number, ())
    _check(known, kind, title, note)
    told = None if details is None else json.dumps(finite(dict(details)), ensure_ascii=False)
    con.execute("INSERT INTO selection_events VALUES (?, ?, ?, ?, ?, ?)", [number, kind, by, now(), note, told])


def of(con: duckdb.DuckDBPyConnection, numbers: Sequence[int]) -> dict[int, tuple[Event, ...]]:
    """The events of these versions, oldest first; a version without any is left out."""
    query = """SELECT selection, kind, author, made, note, details FROM selection_events
        WHERE selection IN (SELECT unnest(?::INTEGER[])) ORDER BY rowid"""
    found: dict[int, list[Event]] = {}
    for number, kind, by, at, note, details in con.execute(query, [list(numbers)]).fetchall():
        event = Event(kind, by, at, note or "", json.loads(details) if details else None)
        found.setdefault(number, []).append(event)
    return {number: tuple(events) for number, events in found.items()}


def _check(known: Sequence[Event], kind: Kind, title: str, note: str) -> None:
    state = state_of(known)
    if kind not in NEXT[state]:
        raise EngineError(_refusal(known, kind, title))
    if len(note) > LONGEST_NOTE:
        raise EngineError(
            f"A note has at most {LONGEST_NOTE:,} characters, got {len(note):,}. Nothing was recorded about {title}."
        )
    if kind == "returned" and not note.strip():
        raise EngineError(f"Say in a note why {title} is returned, so that it can be mended. It was left as it is.")
    if kind == "proposed" and state == "returned" and not note.strip():
        raise EngineError(
            f"Selection {title} was returned by {known[-1].by}: “{known[-1].note}”. Answer that in a note to propose "
            "the same samples again, or save a new version. It was left as it is."
        )


def _refusal(known: Sequence[Event], kind: Kind, title: str) -> str:
    """Why the event is not possible now, and what is."""
    if not known:  # a draft
        return f"Selection {title} is a draft: nobody proposed it, so it cannot be returned. It was left as it is."
    last = known[-1]
    said = f"Selection {title} was {last.kind} by {last.by} at {last.at}"
    if last.kind == "approved":
        return f"{said}, which froze it. Save a new version to change it; it was left as it is."
    if last.kind == "proposed":
        return f"{said} already and waits to be approved or returned. It was left as it is."
    done = {"approved": "approve", "returned": "return"}[kind]
    return (
        f"{said}: “{last.note}”. To {done} it, propose it again with a note that answers this, or save a new version. "
        "It was left as it is."
    )
