"""The list under review as a table, a page of 25 at a time: look over, tick, decide or tag many at once, open one.

Acts on many carry their count and are one batch, which one undo takes back. What was decided by others since the table
was drawn is told before it is overwritten. Only the rows of the page are read.
"""

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import streamlit as st

from engine.data.samples import prompt_text, response_text
from engine.errors import EngineError
from engine.store.project import Project
from pages.parts import filters, find_marks, reads, review_acts, review_audit, review_desk, review_list, state
from pages.parts.mistakes import errors_shown
from pages.parts.review_acts import PAST
from pages.parts.run_choice import View
from pages.parts.shell import empty
from pages.parts.words import count, plain, score, shorten, visible

PAGE = 25
_WIDTHS = {"Place": 65, "Score": 75, "Rank": 75, "Decision": 90, "Sample": 560, "Marks": 160, "Tags": 130}  # pixels
_SAMPLE_BESIDE_TAGS = 420  # so that the tags are in sight where the table has 1,070
_MODE, _AS_LIST = "review_mode", "ts_review_as_list"
_PAGE, _SEEN, _ASKED = "ts_review_page", "ts_review_seen", "ts_review_asked"
_ACTS = {"approve": ":material/check:", "reject": ":material/close:", "skip": ":material/arrow_forward:"}


@dataclass(frozen=True)
class Asked:
    """An act on many that waits for a word, because `changed` of its rows were decided by others meanwhile."""

    rows: np.ndarray
    act: str
    note: str
    changed: np.ndarray
    by: str


def choose() -> bool:
    """Draw the choice between one sample at a time and a list; whether it is a list."""
    st.session_state[_MODE] = "List" if st.session_state.get(_AS_LIST) else "One by one"
    st.segmented_control("Show", ["One by one", "List"], key=_MODE, on_change=_keep_mode)
    return bool(st.session_state.get(_AS_LIST))


def _keep_mode() -> None:
    st.session_state[_AS_LIST] = st.session_state.get(_MODE) == "List"
    st.session_state[_PAGE] = None  # the table opens where the sample in view stands


@st.fragment
def table(project: Project, view: View | None) -> None:
    """The list, with what can be done to it."""
    if not st.session_state.get(_AS_LIST):  # one was opened: the page shows it by itself
        st.rerun()
    with errors_shown(), project.session():
        rows = review_list.kept().rows
        if not len(rows):
            empty("No sample passes the filters", "Remove a filter, or choose another order.")
            return
        _said(project)
        for text in (review_desk.progress(project, rows), review_audit.line(project)):
            if text:
                st.caption(plain(text))
        pages = -(-len(rows) // PAGE)
        page = min(_page(), pages - 1)
        first = page * PAGE
        here = rows[first : first + PAGE]
        st.session_state[_SEEN] = reads.decisions(project)
        ticked = _draw(project, view, here, first)
        _pager(page, pages, len(rows))
        _acts(project, rows, here[ticked], first + ticked[0] if len(ticked) else 0)


def _draw(project: Project, view: View | None, rows: np.ndarray, first: int) -> list[int]:
    """One line per sample; the places of those ticked."""
    lines = _lines(project, view, rows, first)
    widths = {**_WIDTHS, "Sample": _SAMPLE_BESIDE_TAGS} if "Tags" in lines[0] else _WIDTHS
    event = st.dataframe(
        lines,
        hide_index=True,
        key=f"review_table_{review_list.kept().token}_{first}",
        on_select="rerun",
        selection_mode="multi-row",
        height="content",
        column_config={name: st.column_config.Column(width=width) for name, width in widths.items()},
    )
    return [int(at) for at in event.selection.rows if at < len(rows)]


def _lines(project: Project, view: View | None, rows: np.ndarray, first: int) -> list[dict[str, Any]]:
    codes = reads.decisions(project)
    names = filters.marks_of(project)
    marks = {name: filters.mask(project, filters.Filter("mark", "", (name,)))[rows] for name in names}
    tags = {name: np.isin(rows, carriers) for name, carriers in review_desk.tags_of(project).items()}
    ranks = reads.ranks(project, view.record.artifact, view.column) if view is not None else None
    lines = []
    for place, (row, stored) in enumerate(zip(rows.tolist(), reads.samples(project, rows.tolist()))):
        line: dict[str, Any] = {"Place": first + place + 1}
        if view is not None and ranks is not None:
            covered = row < view.scores.covered
            line["Score"] = score(float(view.values[row])) if covered else "–"
            line["Rank"] = (int(ranks[row]) or None) if covered else None
        line["Decision"] = filters.decision_name(int(codes[row]))
        excerpt = f"{shorten(prompt_text(stored.messages), 110)} → {shorten(response_text(stored.messages), 90)}"
        line["Sample"] = visible(find_marks.excerpt(stored.messages) or excerpt)
        line["Marks"] = ", ".join(name for name, marked in marks.items() if marked[place])
        if tags:
            line["Tags"] = visible(", ".join(name for name, tagged in tags.items() if tagged[place]))
        lines.append(line)
    return lines


def _pager(page: int, pages: int, n: int) -> None:
    with st.container(horizontal=True, vertical_alignment="center"):
        st.button("Previous page", key="review_page_back", disabled=page == 0, on_click=_turn, args=(page - 1,),
                  icon=":material/chevron_left:")  # fmt: skip
        st.button("Next page", key="review_page_on", disabled=page >= pages - 1, on_click=_turn, args=(page + 1,),
                  icon=":material/chevron_right:")  # fmt: skip
        st.caption(f"{page * PAGE + 1:,}–{min(n, (page + 1) * PAGE):,} of {count(n, 'sample')}")


def _page() -> int:
    """The page turned to in this list; of a list made anew, or just shown as a table, that of the sample in view."""
    token, page = st.session_state.get(_PAGE) or ("", 0)
    return page if token == review_list.kept().token else review_list.at() // PAGE


def _turn(page: int) -> None:
    st.session_state[_PAGE] = (review_list.kept().token, page)


def _acts(project: Project, rows: np.ndarray, ticked: np.ndarray, at: int) -> None:
    """What can be done to those ticked, and to the whole list."""
    open_ones = rows[reads.decisions(project)[rows] == 0]
    with st.container(horizontal=True, vertical_alignment="bottom"):
        note = st.text_input(
            "Note", key="review_bulk_note", max_chars=500, placeholder="kept with the decision", width=220
        )
        for act, icon in _ACTS.items():
            label = f"{act.capitalize()} {len(ticked):,} ticked" if len(ticked) else f"{act.capitalize()} ticked"
            st.button(label, key=f"review_ticked_{act}", icon=icon, disabled=not len(ticked),
                      on_click=decide_many, args=(project, ticked, act, note))  # fmt: skip
        with st.popover("Whole list", icon=":material/checklist:"):
            _whole(project, rows, open_ones, note)
        with st.popover("Tag", icon=":material/label:"):
            _tags(project, rows, ticked)
        st.button("Open", key="review_open", icon=":material/open_in_full:", disabled=len(ticked) != 1,
                  on_click=_open, args=(at,), help="Tick one sample to read it as a whole.")  # fmt: skip
        st.button("Undo", key="review_table_undo", icon=":material/undo:", on_click=review_acts.undo, args=(project,))


def _whole(project: Project, rows: np.ndarray, open_ones: np.ndarray, note: str) -> None:
    decided = len(rows) - len(open_ones)
    known = f"{decided:,} of them decided already" if decided else "none of them decided yet"
    st.caption(f"All pages: {count(len(rows), 'sample')}, {known}.")
    over = decided and st.toggle(f"Also those {decided:,} decided already", key="review_whole_over")
    chosen = rows if over else open_ones
    for act, icon in _ACTS.items():
        st.button(f"{act.capitalize()} {count(len(chosen), 'sample')}", key=f"review_whole_{act}", icon=icon,
                  disabled=not len(chosen), on_click=decide_many, args=(project, chosen, act, note))  # fmt: skip


def _tags(project: Project, rows: np.ndarray, ticked: np.ndarray) -> None:
    known = list(review_desk.tags_of(project))
    name = st.selectbox("Tag", known, index=None, key="review_bulk_tag", accept_new_options=True, format_func=visible,
                        placeholder="Choose or type a tag")  # fmt: skip
    chosen = ticked if len(ticked) else rows
    of = f"{len(chosen):,} ticked" if len(ticked) else f"all {len(chosen):,} in the list"
    for put, label in ((True, f"Put on {of}"), (False, f"Take off {of}")):
        st.button(label, key=f"review_tag_{put}", disabled=not name, on_click=_tag_many,
                  args=(project, chosen, name, put))  # fmt: skip


def _open(at: int) -> None:
    review_list.go(at)
    st.session_state[_AS_LIST] = False


def decide_many(project: Project, rows: np.ndarray, act: str, note: str, *, sure: bool = False) -> None:
    """Decide on many rows in one batch; where others decided some of them since they were drawn, ask first.

    `sure`: the question was answered.
    """
    try:
        with project.session():
            changed = _changed(project, rows, act)
            if len(changed) and not sure:
                last = next(iter(project.decision_log(rows=changed[:1].tolist(), limit=1)), None)
                st.session_state[_ASKED] = Asked(rows, act, note, changed, last.by if last else "somebody")
                return
            batch = project.decide(rows, act, by=state.author(), note=note.strip())
        review_list.remember(review_list.at(), -1, batch)
        review_acts.say(f"{count(len(rows), 'sample')} {PAST[act]}, in one batch; Undo takes all of it back.")
    except EngineError as error:
        review_acts.say(str(error))


def _changed(project: Project, rows: np.ndarray, act: str) -> np.ndarray:
    """The rows whose decision is not the one that was drawn, unless it is the one wanted."""
    seen, now = st.session_state.get(_SEEN), project.decisions()
    if seen is None or len(seen) != len(now):
        return np.zeros(0, np.int64)
    wanted = next(code for code, name in filters.DECISION_OF.items() if name == act)
    return rows[(seen[rows] != now[rows]) & (now[rows] != wanted)]


def _tag_many(project: Project, rows: np.ndarray, name: str, put: bool) -> None:
    try:
        (project.tag if put else project.untag)(rows, name, by=state.author())
        review_acts.say(f"Tag {name} {'put on' if put else 'taken off'} {count(len(rows), 'sample')}.")
    except EngineError as error:
        review_acts.say(str(error))


def _said(project: Project) -> None:
    """What the latest act came to, once; and the question an act on many waits with."""
    number, text = review_acts.said()
    if text and st.session_state.get("ts_review_told") != number:
        st.info(plain(text))
    st.session_state["ts_review_told"] = number
    asked = st.session_state.pop(_ASKED, None)
    if asked is not None:
        _ask(project, asked)


def _ask(project: Project, asked: Asked) -> None:
    others = np.setdiff1d(asked.rows, asked.changed)
    were = "was" if len(asked.changed) == 1 else "were"
    with st.container(border=True):
        st.warning(
            plain(f"{count(len(asked.changed), 'sample')} of these {len(asked.rows):,} {were} decided otherwise since "
                  f"this list was drawn, the first by {asked.by}. Nothing is recorded yet."),
            icon=":material/group:",
        )  # fmt: skip
        with st.container(horizontal=True):
            for key, rows, label in (("all", asked.rows, "Make all"), ("others", others, "Only the other")):
                st.button(f"{label} {len(rows):,} {PAST[asked.act]}", key=f"review_many_{key}", disabled=not len(rows),
                          on_click=partial(decide_many, project, rows, asked.act, asked.note, sure=True))  # fmt: skip
            st.button("Neither", key="review_many_none", type="tertiary")
