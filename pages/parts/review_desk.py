"""The desk of the Review page: the action bar, the sample, its scores and its surroundings.

It is one fragment: a key press reruns only this. Callbacks write the decision before the fragment draws the next
sample, so nothing is drawn twice.
"""

import streamlit as st

from engine.errors import EngineError
from engine.store.project import Project
from pages.parts import explanation, filters, reads, review_list, sample_view, score_view, state
from pages.parts.mistakes import errors_shown
from pages.parts.review_list import ReviewList
from pages.parts.run_choice import View
from pages.parts.shell import empty, link
from pages.parts.words import count, moment, plain, shorten

_ACTIONS = (
    ("approve", "Approve", "A", ":material/check:"),
    ("reject", "Reject", "X", ":material/close:"),
    ("skip", "Skip", "S", ":material/arrow_forward:"),
)
_COLOURS = {"approved": "green", "rejected": "red", "skipped": "gray", "undecided": "gray"}
NOTE = "review_note"
MESSAGE = "ts_review_message"


@st.fragment
def desk(project: Project, view: View | None) -> None:
    """Everything about the sample in view."""
    with errors_shown(), project.session():  # one opening of the catalogue for everything that is read
        message = st.session_state.pop(MESSAGE, None)
        if message:
            kind, text = message
            (st.error if kind == "error" else st.info)(plain(text))
        found = review_list.kept()
        if review_list.at() >= len(found.rows):
            _the_end(project, found)
            return
        row = int(found.rows[review_list.at()])
        stored = reads.sample(project, row)
        review_list.showing(stored.id)
        state.write_address()
        _bar(project, row)
        left, right = st.columns([3, 2], gap="medium")
        with left:
            _heading(project, found, row)
            sample_view.source_line(stored)
            sample_view.turns(stored)
            sample_view.fields(stored)
        with right:
            _side(project, view, row)


def _side(project: Project, view: View | None, row: int) -> None:
    if view is not None:
        score_view.figures(project, view, row)
        if row < view.scores.covered:
            explanation.show(project, view, row)
    else:
        st.caption("No run yet, so there is no score.")
    sample_view.marks(project, row)
    st.markdown("**Duplicates and neighbours**")
    score_view.related_list(project, view, row, on_open=review_list.visit)
    _history(project, row)


def _bar(project: Project, row: int) -> None:
    with st.container(horizontal=True, vertical_alignment="bottom", key="review_bar"):
        for decision, label, key, icon in _ACTIONS:
            st.button(
                label, key=f"review_{decision}", shortcut=key, icon=icon, on_click=_decide,
                args=(project, row, decision), type="primary" if decision == "approve" else "secondary",
            )  # fmt: skip
        st.button("Undo", key="review_undo", shortcut="U", icon=":material/undo:", on_click=_undo, args=(project,))
        here = review_list.at()
        st.button("Previous", key="review_prev", shortcut="Left", on_click=review_list.go, args=(here - 1,),
                  disabled=here == 0)  # fmt: skip
        st.button("Next", key="review_next", shortcut="Right", on_click=review_list.go, args=(here + 1,))
        st.text_input("Note", key=NOTE, max_chars=500, placeholder="kept with the decision", width=260)


def _heading(project: Project, found: ReviewList, row: int) -> None:
    decision = filters.decision_name(int(reads.decisions(project)[row]))
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.markdown(f"**{review_list.at() + 1:,} of {count(len(found.rows), 'sample')}**")
        st.badge(decision, color=_COLOURS[decision])  # type: ignore[arg-type]


def _the_end(project: Project, found: ReviewList) -> None:
    if len(found.rows) == 0:
        empty("No sample passes the filters", "Remove a filter, or choose another order.")
        return
    with st.container(border=True):
        st.markdown(f"**That was the last of {count(len(found.rows), 'sample')} in this list.**")
        counts = reads.by_state(project, "counts").decisions
        facts = [f"{number:,} {_past(name)}" for name, number in counts.items() if number and name != "none"]
        st.caption(plain("So far in this project: " + (", ".join(facts) or "nothing decided") + "."))
        with st.container(horizontal=True):
            st.button("Back to the last", key="review_back", shortcut="Left", on_click=review_list.go,
                      args=(len(found.rows) - 1,))  # fmt: skip
            st.button("From the beginning", key="review_restart", on_click=review_list.go, args=(0,))
            st.button("Undo", key="review_undo", shortcut="U", on_click=_undo, args=(project,))
        link("Select", "Choose the subset")


def _past(name: str) -> str:
    return {"approve": "approved", "reject": "rejected", "skip": "skipped"}.get(name, name)


def _history(project: Project, row: int) -> None:
    log = project.decision_log(rows=[row], limit=20) if reads.decisions(project)[row] else []
    if log:
        st.markdown("**Decisions on this sample**")
        for entry in log:
            note = f" – {shorten(entry.note, 120)}" if entry.note else ""
            st.caption(plain(f"{entry.decision} by {entry.by}, {moment(entry.at)} UTC{note}"))


def _decide(project: Project, row: int, decision: str) -> None:
    note = str(st.session_state.get(NOTE, "")).strip()
    try:
        review_list.decide(project, row, decision, note=note)
        st.session_state[NOTE] = ""
    except EngineError as error:
        st.session_state[MESSAGE] = ("error", str(error))


def _undo(project: Project) -> None:
    try:
        touched = review_list.undo(project)
    except EngineError as error:
        st.session_state[MESSAGE] = ("error", str(error))
        return
    said = (
        f"Undone: your latest decision, on {count(touched, 'sample')}."
        if touched
        else "There is nothing of yours to undo."
    )
    st.session_state[MESSAGE] = ("info", said)
