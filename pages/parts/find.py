"""The search field of the Map and Review pages: words, a phrase, an expression or a meaning become a filter.

    find.bar(project, key="map")            the field, what was found, and what went wrong
    find.similar_button(project, row, …)    the samples nearest to one

What was typed is kept across pages. A search that needs something prepared first (texts as columns, the meaning of one
side of the rows) waits for that job and is applied when it is done; small pools are prepared at once. Where the words
stand in a sample is `find_marks`' matter.
"""

from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial

import streamlit as st

from engine.curation import texts
from engine.errors import EngineError
from engine.runs import finding, search_jobs
from engine.store.project import Project
from pages.parts import filters, find_told, job_panel, reads, review_orders, state
from pages.parts.filters import Filter
from pages.parts.words import count, plain

MODES = {"words": "All words", "phrase": "Phrase", "regex": "Regular expression", "meaning": "Meaning"}
WHERES = {"both": "Prompt and response", "prompt": "Prompt", "response": "Response"}
HINTS = {
    "words": 'solve "step by step" summar* -proof',
    "phrase": "words in this order",
    "regex": r"\b\d+ (apples|pears)\b",
    "meaning": "a question or a description, in your own words",
}
HELP = {
    "words": 'Every word must occur, in any order and whichever case. "Quotes" hold words together, an asterisk stands '
    "for the end of a word, a minus leaves out the samples that have what follows.",
    "phrase": "These words one after the other, whichever case and spacing.",
    "regex": "An expression of RE2, with regard to case unless it begins with (?i). It has no look-around.",
    "meaning": "The samples whose features on the map are nearest to those of your text. Prompt and response are "
    "compared as one, the whole sample.",
}
NEAREST, SIMILAR = 200, 100
WIDTH = 190
AT_ONCE_TEXTS, AT_ONCE_MEANING = 50_000, 20_000  # rows: more texts are prepared by a job, more meanings only if wished
_ASKED, _WAITING, _TROUBLE, _SURE = "ts_find", "ts_find_waiting", "ts_find_trouble", "ts_find_sure"


@dataclass(frozen=True)
class Asked:
    """What the field holds: the text, how to search and where, and how many samples nearest in meaning."""

    text: str = ""
    mode: str = "words"
    where: str = "both"
    nearest: int = NEAREST

    def filter(self) -> Filter:
        """The filter it says. Raises `EngineError` where it says none."""
        text = self.text.strip() if self.mode != "regex" else self.text
        if not text:
            raise EngineError("Type what to look for first. Nothing was filtered.")
        if self.mode == "meaning":
            return Filter("similar", "query" if self.where == "both" else f"query/{self.where}", (text, self.nearest))
        return Filter("text", f"{self.mode}/{self.where}", (text,))


def bar(project: Project, *, key: str) -> None:
    """Draw the field; put its filter in force where it was just asked for."""
    asked = st.session_state.setdefault(_ASKED, Asked())
    with st.container(horizontal=True, vertical_alignment="bottom", gap="small"):
        mode = _choice("Find by", MODES, asked.mode, f"{key}_find_mode", key)
        _choice("In", WHERES, asked.where, f"{key}_find_where", key)
        if mode == "meaning":
            _keyed(f"{key}_find_nearest", asked.nearest)
            st.number_input("Nearest", 1, max(1, reads.pool_size(project)), key=f"{key}_find_nearest", width=120,
                            on_change=_take, args=(key,), help="How many samples, the nearest ones.")  # fmt: skip
        with (
            st.form(f"{key}_find", border=False, width="stretch"),
            st.container(horizontal=True, vertical_alignment="bottom", gap="small"),
        ):
            _keyed(f"{key}_find_text", asked.text)
            st.text_input("Find", key=f"{key}_find_text", type="search", icon=":material/search:", help=HELP[mode],
                          placeholder=HINTS[mode])  # fmt: skip
            st.form_submit_button("Find", key=f"{key}_find_go", on_click=_ask, args=(project, key))
    _linked(project)
    _settle(project, key)
    if trouble := st.session_state.get(_TROUBLE):
        st.error(plain(trouble), icon=":material/search_off:")
    find_told.counts(project)


def similar_button(project: Project, row: int, *, key: str) -> None:
    """A button that filters to the samples nearest to a pool row; disabled, with the reason, where that cannot be."""
    why_not = find_told.not_comparable(project, row)
    told = plain(why_not) if why_not else f"Filters to the {SIMILAR} samples nearest to this one."
    pressed = st.button("Find similar", key=f"{key}_similar", type="tertiary", icon=":material/hub:", help=told,
                        disabled=bool(why_not))  # fmt: skip
    if pressed:
        _apply(Filter("similar", "sample", (reads.sample(project, row).id, SIMILAR)))


def _choice(label: str, names: dict[str, str], chosen: str, widget: str, key: str) -> str:
    _keyed(widget, chosen)
    return st.selectbox(label, list(names), format_func=names.__getitem__, key=widget, width=WIDTH,
                        on_change=_take, args=(key,))  # fmt: skip


def _keyed(widget: str, value: object) -> None:
    """Give a widget that is not there yet the value that is kept."""
    if widget not in st.session_state:
        st.session_state[widget] = value


def _take(key: str) -> None:
    """Keep what the widgets hold."""
    asked: Asked = st.session_state.get(_ASKED, Asked())
    held = {name: st.session_state.get(f"{key}_find_{name}") for name in ("text", "mode", "where", "nearest")}
    st.session_state[_ASKED] = replace(asked, **{name: value for name, value in held.items() if value is not None})


def _ask(project: Project, key: str) -> None:
    """What was typed was entered: check it, and let the page search."""
    _take(key)
    st.session_state[_TROUBLE] = st.session_state[_WAITING] = None
    try:
        _wait_for(project, st.session_state[_ASKED].filter())
    except EngineError as error:
        st.session_state[_TROUBLE] = str(error)


def _wait_for(project: Project, part: Filter) -> None:
    st.session_state[_WAITING] = (str(project.path), part)
    what, rows = _lacking(project, part)
    st.session_state[_SURE] = what == "texts" or rows <= AT_ONCE_MEANING
    if what and st.session_state[_SURE] and not (what == "texts" and rows <= AT_ONCE_TEXTS):
        search_jobs.begin(project, what)


def _lacking(project: Project, part: Filter) -> tuple[str, int]:
    """What a search needs and is not prepared ("" where nothing), and of how many rows."""
    if part.kind == "text":
        rows = sum(each.count for each in texts.missing(project))
        return ("texts", rows) if rows else ("", 0)
    layout = reads.layout(project)
    side = part.subject.partition("/")[2]
    if layout is None or not side or finding.side_encoded(project, side):
        return "", 0
    return side, len(layout.xy)


def _settle(project: Project, key: str) -> None:
    """Apply the filter that waits, once all it needs is there; one of another project waits until that is open."""
    waiting: tuple[str, Filter] | None = st.session_state.get(_WAITING)
    if waiting is None or waiting[0] != str(project.path):
        return
    part = waiting[1]
    what, rows = _lacking(project, part)
    if what and not st.session_state.get(_SURE):
        _confirm(project, part, what, rows, key)
    elif what and not (what == "texts" and rows <= AT_ONCE_TEXTS):
        if not job_panel.panels(project, ("search",)):
            st.session_state[_WAITING] = None
            st.session_state[_TROUBLE] = "The search could not be prepared, so nothing was filtered. Try it again."
    else:
        st.session_state[_WAITING] = None
        try:
            _search(project, part)
        except EngineError as error:
            st.session_state[_TROUBLE] = str(error)
            return
        _apply(part)


def _apply(part: Filter) -> None:
    """Put a filter in force; what is near is reviewed nearest first, until another order is chosen."""
    state.add_filter(part)
    if part.kind == "similar":
        review_orders.prefer(review_orders.ALIKE)
    st.rerun()


def _search(project: Project, part: Filter) -> None:
    """Do what takes time under a word on it; the filters find the result ready."""
    with st.spinner(f"Searching {count(reads.pool_size(project), 'sample')} …"):
        finding.prepare_filters(project, [part], largest=finding.LARGEST_IN_PAGE)
        filters.mask(project, part)


def _confirm(project: Project, part: Filter, what: str, rows: int, key: str) -> None:
    """Reading the meaning of many texts takes long: ask first, and offer what takes none."""
    st.info(
        f"To search the {what}s alone, the map's model has to read each of {rows:,} {what}s once. On a CPU this can "
        "take hours. Whole samples can be searched right away.",
        icon=":material/hourglass:",
    )
    with st.container(horizontal=True):
        st.button("Search whole samples", key=f"{key}_find_whole", type="primary",
                  on_click=partial(_wait_for, project, replace(part, subject="query")))  # fmt: skip
        st.button(f"Read {rows:,} {what}s", key=f"{key}_find_read", on_click=_begin, args=(project, what))
        st.button("Never mind", key=f"{key}_find_leave", type="tertiary",
                  on_click=lambda: st.session_state.update({_WAITING: None}))  # fmt: skip


def _begin(project: Project, what: str) -> None:
    st.session_state[_SURE] = True
    search_jobs.begin(project, what)


def _linked(project: Project) -> None:
    """A link can bring a question whose meaning is not known in this project yet."""
    for part in state.active_filters():
        if part.kind == "similar" and part.subject.startswith("query"):
            prepare = partial(finding.prepare_filters, project, [part], largest=finding.LARGEST_IN_PAGE)
            with st.spinner("Reading the question …"), suppress(EngineError):  # the chips say what the filter lacks
                reads.by_pool(project, "question", prepare, part, reads.facts(project).latest_map())
