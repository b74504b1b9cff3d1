"""The desk of the Review page: the sample in view, what holds a decision back, its scores and its surroundings.

Three fragments: a press reruns only the sample's, which is light; the component shows the next sample by itself
(`review_keys`), and the decision is written before the fragment draws. What stands beside and below (`review_side`)
follows once the reviewer rests on a sample.
"""

from collections.abc import Mapping
from functools import partial

import numpy as np
import streamlit as st

from engine.store.decisions import APPROVE
from engine.store.project import Project
from pages.parts import reads, review_acts, review_audit, review_keys, review_list, review_side, review_window
from pages.parts.mistakes import errors_shown
from pages.parts.review_acts import PAST, Held
from pages.parts.review_list import ReviewList
from pages.parts.run_choice import View
from pages.parts.shell import empty
from pages.parts.words import count, moment, percent, plain, shorten

SUGGESTED = 100  # tags offered while typing, the most used


def desk(project: Project, view: View | None) -> None:
    """Everything about the sample in view."""
    if len(review_list.kept().rows) == 0:
        empty("No sample passes the filters", "Remove a filter, or choose another order.")
        return
    left, right = st.columns([3, 2], gap="medium")
    with left:
        _sample(project)
        review_side.below(project)
    with right:
        review_side.side(project, view)


@st.fragment
def _sample(project: Project) -> None:
    """The sample itself: all that a press reruns."""
    with errors_shown(), project.session():  # one opening of the catalogue for everything that is read
        review_acts.take(project)
        with st.container():  # there with and without any, so that the desk below stays mounted
            _waiting(project)
        _keys(project, review_list.kept(), review_list.at())


def _keys(project: Project, found: ReviewList, at: int) -> None:
    tags = tags_of(project)
    said_at, said = review_acts.said()
    review_keys.desk(
        list_token=found.token,
        at=at,
        n=len(found.rows),
        samples=review_window.around(project, found.rows, at, tags),
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


def progress(project: Project, rows: np.ndarray) -> str:
    """How much of a list is reviewed, and how much of that approved."""
    codes = reads.decisions(project)[rows]
    reviewed, approved = int((codes != 0).sum()), int((codes == APPROVE).sum())
    share = f", {percent(approved / reviewed, 0)} approved" if reviewed else ""
    return f"{reviewed:,} of {len(rows):,} reviewed{share}"


def _waiting(project: Project) -> None:
    """The decisions held back, one after the other, so that the sample stays in sight."""
    found = review_acts.held(project)
    if found:
        _held(project, found[0])
    if len(found) > 1:
        st.caption(f"{count(len(found) - 1, 'more decision waits', 'more decisions wait')} for your word.")


def _held(project: Project, one: Held) -> None:
    """A decision held back because somebody else had decided otherwise meanwhile; its buttons are its own."""
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
            st.button(f"Make it {PAST[one.act]} all the same", key=f"review_overwrite_{one.row}",
                      on_click=partial(settle, overwrite=True))  # fmt: skip
            st.button(f"Leave it {PAST[one.now]}", key=f"review_leave_{one.row}",
                      on_click=partial(settle, overwrite=False))  # fmt: skip
            st.button("Look at it again", key=f"review_look_{one.row}", type="tertiary",
                      on_click=review_list.visit, args=(one.row,))  # fmt: skip
