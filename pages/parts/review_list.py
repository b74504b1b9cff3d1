"""The list of samples under review: which rows, in which order, and where the reviewer stands.

The list is frozen when it is made, so that deciding never reshuffles what comes next; it is made anew when its
settings change or when the reviewer asks for it. Positions count from 0; a position equal to the length is the end.
"""

from collections.abc import Hashable
from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np
import streamlit as st

from engine.store.project import Project
from pages.parts import filters, reads, state
from pages.parts.run_choice import View

Order = Literal["highest", "lowest", "random", "pool"]
ORDERS: dict[str, str] = dict(
    zip(get_args(Order), ("Highest score first", "Lowest score first", "Random order", "Pool order"))
)
_LIST, _AT, _TRAIL, _SHOWN = "ts_review_list", "ts_review_at", "ts_review_trail", "ts_review_shown"


@dataclass(frozen=True)
class ReviewList:
    """`rows`: int64 pool rows in order; `unscored`: rows that pass the filters but have no score to order by."""

    settings: Hashable
    rows: np.ndarray
    unscored: int


def current(project: Project, view: View | None, order: Order, *, undecided: bool, anew: bool = False) -> ReviewList:
    """The list under review, made anew where the settings differ from those it was made with."""
    artifact = view.record.artifact if view else ""
    settings = (str(project.path), reads.by_state(project, "pool_hash"), artifact, view.column if view else "", order,
                undecided, state.active_filters())  # fmt: skip
    found = st.session_state.get(_LIST)
    if found is None or found.settings != settings or anew:
        found = _make(project, view, order, undecided, settings)
        st.session_state[_LIST], st.session_state[_TRAIL] = found, []
        go(0)
    wanted = state.get("sample")
    if wanted is not None and wanted != st.session_state.get(_SHOWN):  # a link or the map asked for this sample
        visit(reads.row_of(project, wanted))
        found = kept()
    return found


def _make(project: Project, view: View | None, order: Order, undecided: bool, settings: Hashable) -> ReviewList:
    passing = filters.combined(project, state.active_filters())
    if undecided:
        passing = passing & (reads.decisions(project) == 0)
    base = _ordered(project, view, order)
    rows = base[passing[base]]
    return ReviewList(settings, rows, int(passing.sum()) - len(rows))


def _ordered(project: Project, view: View | None, order: Order) -> np.ndarray:
    n = reads.pool_size(project)
    if order == "random":
        return reads.by_pool(project, "shuffled", lambda: np.random.default_rng(0).permutation(n))
    if order == "pool" or view is None:
        return reads.by_pool(project, "in order", lambda: np.arange(n))
    best_first = reads.order(project, view.record.artifact, view.column)
    return best_first if order == "highest" else best_first[::-1]


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
    st.session_state[_LIST] = replace(found, rows=np.insert(found.rows, behind, row))
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


def decide(project: Project, row: int, decision: str, *, note: str) -> None:
    """Write one decision, remember where it was made, and move on to the next sample."""
    project.decide([row], decision, by=state.author(), note=note)
    st.session_state.setdefault(_TRAIL, []).append(at())
    go(at() + 1)


def undo(project: Project) -> int:
    """Take back the author's latest batch of decisions, go back to where it was made; how many samples it touched."""
    touched = project.undo(by=state.author())
    trail = st.session_state.get(_TRAIL, [])
    if touched and trail:
        go(trail.pop())
    return touched
