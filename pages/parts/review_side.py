"""What stands beside and below the sample under review: scores, reasons, marks, duplicates, differences, history.

Two fragments of their own, drawn once the reviewer rests on a sample (`review_keys.side`): quick keys do not wait for
them. What they open (`visit`) moves the whole desk.
"""

import streamlit as st

from engine.store.project import Project
from pages.parts import (
    explanation,
    find,
    reads,
    review_acts,
    review_difference,
    review_keys,
    review_list,
    sample_view,
    score_view,
    signals_view,
    state,
)
from pages.parts.mistakes import errors_shown
from pages.parts.review_acts import PAST
from pages.parts.run_choice import View
from pages.parts.shell import link
from pages.parts.words import moment, plain, shorten

_MOVED = "ts_review_moved"


@st.fragment
def side(project: Project, view: View | None) -> None:
    """Scores and surroundings of the sample the reviewer rests on."""
    if st.session_state.pop(_MOVED, False):  # the sample's own fragment has to follow
        st.rerun()
    with errors_shown(), project.session():
        row = _row(project, "side")
        if row is None:
            _the_end(project)
        else:
            _about(project, view, row)


@st.fragment
def below(project: Project) -> None:
    """What differs from a duplicate, and what the sample shares with target items; closed until asked for."""
    with errors_shown(), project.session():
        row = _row(project, "below")
        if row is not None:
            review_difference.show(project, row)
            signals_view.passages(project, row)


def _row(project: Project, name: str) -> int | None:
    """The row the reviewer rests on, None at the end of the list; it is also what the address says."""
    review_acts.take(project)
    found, at = review_list.kept(), review_list.at()
    review_keys.side(name, list_token=found.token, at=at)
    if at >= len(found.rows):
        return None
    row = int(found.rows[at])
    review_list.showing(reads.sample(project, row).id)
    state.write_address()
    return row


def visit(row: int) -> None:
    """Go to a sample from beside another."""
    review_list.visit(row)
    st.session_state[_MOVED] = True


def _restart() -> None:
    review_list.go(0)
    st.session_state[_MOVED] = True


def _about(project: Project, view: View | None, row: int) -> None:
    if view is not None:
        score_view.figures(project, view, row)
        if row < view.scores.covered:
            explanation.show(project, view, row, on_open=visit)
    else:
        st.caption("No run yet, so there is no score.")
    sample_view.marks(project, row)
    st.markdown("**Duplicates and neighbours**")
    score_view.related_list(project, view, row, on_open=visit)
    find.similar_button(project, row, key="review")
    _history(project, row)


def _the_end(project: Project) -> None:
    counts = reads.by_state(project, "counts").decisions
    facts = [f"{number:,} {PAST[name]}" for name, number in counts.items() if number and name != "none"]
    st.caption(plain("So far in this project: " + (", ".join(facts) or "nothing decided") + "."))
    with st.container(horizontal=True):
        st.button("From the beginning", key="review_restart", on_click=_restart)
        link("Select", "Choose the subset")


def _history(project: Project, row: int) -> None:
    log = project.decision_log(rows=[row], limit=20) if reads.decisions(project)[row] else []
    if log:
        st.markdown("**Decisions on this sample**")
        for entry in log:
            note = f" – {shorten(entry.note, 120)}" if entry.note else ""
            st.caption(plain(f"{PAST.get(entry.decision, entry.decision)} by {entry.by}, {moment(entry.at)} UTC{note}"))
    else:
        st.caption("Nobody has decided on this sample yet.")
