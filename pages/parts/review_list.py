"""The list of samples under review: which rows, in which order, and where the reviewer stands.

The list is frozen when it is made, so that deciding never reshuffles what comes next; it is made anew when its
settings change or when the reviewer asks for it. Positions count from 0; a position equal to the length is the end.
The orders themselves are in `review_orders`; deciding is `review_acts`.
"""

import secrets
from collections.abc import Hashable
from dataclasses import dataclass, replace
from hashlib import blake2b
from itertools import count

import numpy as np
import streamlit as st

from engine.errors import EngineError
from engine.store.project import Project
from pages.parts import filters, reads, review_audit, review_orders, state
from pages.parts.mistakes import show_error
from pages.parts.run_choice import View

_LIST, _AT, _TRAIL, _SHOWN = "ts_review_list", "ts_review_at", "ts_review_trail", "ts_review_shown"
_SESSION = "ts_review_session"
_NUMBERS = count(1)
MOST_STEPS = 2000


@dataclass(frozen=True)
class ReviewList:
    """`rows`: int64 pool rows in order; `unscored`: rows that pass the filters but have no place in the order;
    `token` changes whenever the rows do; it tells the session and the project they belong to.
    """

    settings: Hashable
    rows: np.ndarray
    unscored: int
    token: str = ""


@dataclass(frozen=True)
class Step:
    """A decision of this session: where in the list, on which row, in which batch (None: held back)."""

    at: int
    row: int
    batch: int | None


def current(project: Project, view: View | None, order: str, *, undecided: bool, anew: bool = False) -> ReviewList:
    """The list under review, made anew where the settings differ from those it was made with."""
    settings = (str(project.path), reads.by_state(project, "pool_hash"), order, undecided, state.active_filters(),
                review_orders.depends_on(project, view, order))  # fmt: skip
    st.session_state[review_audit.IN_AUDIT] = settings[-1] if order == review_orders.AUDIT else 0
    found = st.session_state.get(_LIST)
    if found is None or found.settings != settings or anew:
        found = _make(project, view, order, undecided, settings)
        st.session_state[_LIST], st.session_state[_TRAIL] = found, []
        go(review_orders.begins_at(project, order, found.rows))
    wanted = state.get("sample")
    if wanted is not None and wanted != st.session_state.get(_SHOWN):  # a link or the map asked for this sample
        _follow(project, wanted)
        found = kept()
    return found


def _follow(project: Project, wanted: str) -> None:
    """Go to the sample that was asked for; where there is none of that id, say so once and stay."""
    try:
        row = reads.row_of(project, wanted)
    except EngineError as error:
        show_error(error)
        state.put("sample", None)
    else:
        visit(row)


def _make(project: Project, view: View | None, order: str, undecided: bool, settings: Hashable) -> ReviewList:
    base = review_orders.ordered(project, view, order)
    if order == review_orders.AUDIT:  # its rows were drawn once and for all
        return ReviewList(settings, base, 0, _token(project))
    passing = filters.combined(project, state.active_filters())
    if undecided:
        passing = passing & (reads.decisions(project) == 0)
    rows = base[passing[base]]
    return ReviewList(settings, rows, int(passing.sum()) - len(rows), _token(project))


def _token(project: Project) -> str:
    session = st.session_state.setdefault(_SESSION, secrets.token_hex(8))
    return f"{next(_NUMBERS)}.{session}.{_called(project)}"


def _token_like(token: str) -> str:
    return f"{next(_NUMBERS)}.{token.partition('.')[2]}"


def _called(project: Project) -> str:
    return blake2b(str(project.path).encode(), digest_size=8).hexdigest()


def is_of_project(project: Project, token: str) -> bool:
    """Whether a list was one of this project."""
    return token.rpartition(".")[2] == _called(project)


def is_of_session(token: str) -> bool:
    """Whether a list was made in this session; of one before a restart of the server it was not."""
    return token.count(".") == 2 and token.split(".")[1] == st.session_state.get(_SESSION)


def kept() -> ReviewList:
    """The list under review as it stands."""
    return st.session_state[_LIST]


def visit(row: int) -> None:
    """Go to a sample; one that is not in the list is put in behind the present one."""
    found = kept()
    places = np.flatnonzero(found.rows == row)
    if len(places):
        go(int(places[0]))
        return
    behind = min(at() + 1, len(found.rows))
    rows = np.insert(found.rows, behind, row)
    st.session_state[_LIST] = replace(found, rows=rows, token=_token_like(found.token))
    go(behind)


def showing(sample_id: str) -> None:
    """Remember which sample is on the desk, for the address."""
    state.put("sample", sample_id)
    st.session_state[_SHOWN] = sample_id


def at() -> int:
    """The reviewer's position."""
    return int(st.session_state.get(_AT, 0))


def go(position: int) -> None:
    """Move to a position, kept within the list and its end."""
    st.session_state[_AT] = max(0, min(position, len(kept().rows)))


def move(token: str, position: int) -> None:
    """Move to a position of the list of this token; one of a list that has been replaced means nothing any more."""
    if token == kept().token:
        go(position)


def remember(position: int, row: int, batch: int | None) -> None:
    """Remember a decision of this session, so that it can be taken back."""
    trail = st.session_state.setdefault(_TRAIL, [])
    trail.append(Step(position, row, batch))
    del trail[:-MOST_STEPS]


def last_step() -> Step | None:
    """The latest decision of this session that was not taken back; it is forgotten with this call."""
    trail = st.session_state.get(_TRAIL, [])
    return trail.pop() if trail else None
