"""The desk of the Review page: the sample in view, what holds a decision back, its scores and its surroundings.

It is one fragment: what the reviewer does reruns only this. The component shows the next sample by itself
(`review_keys`); the decision is written before the fragment draws, and everything beside the text follows.
"""

from collections.abc import Mapping, Sequence
from functools import partial

import numpy as np
import streamlit as st

from engine.store.decisions import APPROVE
from engine.store.project import Project
from pages.parts import (
    explanation,
    find,
    reads,
    review_acts,
    review_audit,
    review_difference,
    review_keys,
    review_list,
    review_window,
    sample_view,
    score_view,
    signals_view,
    state,
)
from pages.parts.mistakes import errors_shown
from pages.parts.review_acts import PAST, Held
from pages.parts.review_list import ReviewList
from pages.parts.run_choice import View
from pages.parts.shell import empty, link
from pages.parts.words import moment, percent, plain, shorten

SUGGESTED = 100  # tags offered while typing, the most used


@st.fragment
def desk(project: Project, view: View | None) -> None:
    """Everything about the sample in view."""
    with errors_shown(), project.session():  # one opening of the catalogue for everything that is read
        review_acts.take(project)
        for number, one in enumerate(review_acts.held()):
            _held(project, one, number)
        found, at = review_list.kept(), review_list.at()
        row = int(found.rows[at]) if at < len(found.rows) else None
        if len(found.rows) == 0:
            empty("No sample passes the filters", "Remove a filter, or choose another order.")
            return
        left, right = st.columns([3, 2], gap="medium")
        with left:
            _keys(project, found, at)
            if row is not None:
                stored = reads.sample(project, row)
                review_list.showing(stored.id)
                state.write_address()
                sample_view.fields(stored)
                review_difference.show(project, row)
                signals_view.passages(project, row)
        with right:
            if row is None:
                _the_end(project)
            else:
                _side(project, view, row)


def _keys(project: Project, found: ReviewList, at: int) -> None:
    tags = tags_of(project)
    said_at, said = review_acts.said()
    review_keys.desk(
        list_token=found.token,
        at=at,
        n=len(found.rows),
        samples=review_window.around(project, found.rows, at, _by_row(tags, found.rows[max(0, at - 2) : at + 11])),
        on_keys=partial(review_acts.take, project),
        acknowledged=review_acts.acknowledged(),
        suggestions=sorted(tags, key=lambda name: -len(tags[name]))[:SUGGESTED],
        lines=[line for line in (progress(project, found.rows), review_audit.line(project)) if line],
        said=said,
        said_at=said_at,
        trouble=review_acts.trouble(),
    )


def tags_of(project: Project) -> Mapping[str, np.ndarray]:
    """The rows that carry each tag, ascending; read anew when a tag has been put or taken off."""
    version = project.tag_version()
    return reads.by_pool(project, "tags", project.tags, version)


def _by_row(tags: Mapping[str, np.ndarray], rows: Sequence[int] | np.ndarray) -> dict[int, list[str]]:
    found: dict[int, list[str]] = {int(row): [] for row in rows}
    for name, carriers in tags.items():
        for row in np.intersect1d(carriers, rows).tolist():
            found[int(row)].append(name)
    return found


def progress(project: Project, rows: np.ndarray) -> str:
    """How much of a list is reviewed, and how much of that approved."""
    codes = reads.decisions(project)[rows]
    reviewed, approved = int((codes != 0).sum()), int((codes == APPROVE).sum())
    share = f", {percent(approved / reviewed, 0)} approved" if reviewed else ""
    return f"{reviewed:,} of {len(rows):,} reviewed{share}"


def _held(project: Project, one: Held, number: int) -> None:
    """A decision held back because somebody else had decided otherwise meanwhile."""
    with st.container(border=True):
        shown = review_window.shown_rows(project, [one.row])[0]
        note = f" – {shorten(one.their_note, 120)}" if one.their_note else ""
        st.warning(
            plain(f"While you read {shown.id}, {one.by} made it {PAST[one.now]} ({moment(one.when)} UTC{note}). "
                  f"Your decision, {PAST[one.act]}, is not recorded yet."),
            icon=":material/group:",
        )  # fmt: skip
        with st.container(horizontal=True):
            settle = partial(review_acts.settle, project, one)
            st.button(f"Make it {PAST[one.act]} all the same", key=f"review_overwrite_{number}",
                      on_click=partial(settle, overwrite=True))  # fmt: skip
            st.button(f"Leave it {PAST[one.now]}", key=f"review_leave_{number}",
                      on_click=partial(settle, overwrite=False))  # fmt: skip
            st.button("Look at it again", key=f"review_look_{number}", type="tertiary",
                      on_click=review_list.visit, args=(one.row,))  # fmt: skip


def _side(project: Project, view: View | None, row: int) -> None:
    if view is not None:
        score_view.figures(project, view, row)
        if row < view.scores.covered:
            explanation.show(project, view, row, on_open=review_list.visit)
    else:
        st.caption("No run yet, so there is no score.")
    sample_view.marks(project, row)
    st.markdown("**Duplicates and neighbours**")
    score_view.related_list(project, view, row, on_open=review_list.visit)
    find.similar_button(project, row, key="review")
    _history(project, row)


def _the_end(project: Project) -> None:
    counts = reads.by_state(project, "counts").decisions
    facts = [f"{number:,} {PAST[name]}" for name, number in counts.items() if number and name != "none"]
    st.caption(plain("So far in this project: " + (", ".join(facts) or "nothing decided") + "."))
    with st.container(horizontal=True):
        st.button("From the beginning", key="review_restart", on_click=review_list.go, args=(0,))
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
