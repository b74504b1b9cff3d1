"""The signals on the Pool page: one line each with its count, share and meaning, and the way to the rows themselves.

Lines without a row are named together at the end of their group, so that what was found stands out. Whoever looks at a
signal goes to Review with one filter more. Copies have a block of their own (`signals_copies`).
"""

from collections.abc import Sequence

import streamlit as st

from engine.curation.signals import COPIES, categories, outdated, signals_of, summary
from engine.data.signal_columns import SignalColumn
from engine.errors import EngineError
from engine.runs import jobs
from engine.store.project import Project
from pages.parts import job_panel, reads, signals_copies, state
from pages.parts.filters import Filter
from pages.parts.mistakes import errors_shown
from pages.parts.shell import PAGES, empty
from pages.parts.words import count, opened, percent, plain

WIDTHS = [2.3, 1.4, 4.4, 1.9]
MOST_VALUES = 200
Line = tuple[SignalColumn, int, int]


def block(project: Project) -> None:
    """Everything about signals: progress, what was found, and the check itself."""
    st.header("Signals", anchor=False)
    if reads.pool_size(project) == 0:
        st.caption("Once the pool has samples, they are checked here for copies, leaks, empty answers and more.")
        return
    running = job_panel.panels(project, ("signals",))
    facts = reads.facts(project)
    if facts.latest_signals() is None:
        if not running:
            empty(
                "The pool was not checked yet",
                "Looks for copies, leaked target and held-out items, empty or cut answers, refusals, boilerplate, "
                "personal data, languages and licences. It needs no model: a million samples take about ten minutes.",
            )
            _check("Check the pool", running)
        return
    _freshness(project, running)
    lines = summary(facts)
    for group in dict.fromkeys(column.group for column, _, _ in lines):
        _group(project, group, [line for line in lines if line[0].group == group])
    if facts.latest_map() is None:
        st.caption("Once there is a map, nearness in meaning to target, held-out and owned data is measured too.")


def _freshness(project: Project, running: bool) -> None:
    """What has changed since the check, and the button that repeats it."""
    changes = outdated(reads.facts(project))
    if changes and not running:
        st.warning(plain(f"Since the pool was checked, {', '.join(changes)}."))
        _check("Check again", running)


def _check(label: str, running: bool) -> None:
    st.button(label, type="primary", key="signals_check", disabled=running, on_click=_submit)


def _submit() -> None:
    project = state.current()
    if project is None:
        return
    try:
        jobs.submit(project, "signals", {})
    except EngineError as error:
        state.notify(str(error), "error")


def _group(project: Project, name: str, lines: Sequence[Line]) -> None:
    shown = [line for line in lines if line[0].kind != "number" or line[0].threshold is not None]
    found = [line for line in shown if line[1] and line[0].kind != "category"]
    nothing = [column.title for column, number, _ in shown if not number]
    with st.container(border=True, key=f"signals_{name.lower().replace(' ', '_')}"):
        st.markdown(f"**{plain(name)}**")
        for line in found:
            _line(*line)
        for column, _, covered in (line for line in shown if line[0].kind == "category"):
            _values(project, column, covered)
        if nothing:
            st.caption(plain(f"Nothing found: {', '.join(map(_small, nothing))}."))
        if any(column.name in COPIES for column, _, _ in found):
            with errors_shown():
                signals_copies.browser(project)


def _small(title: str) -> str:
    """A title within a sentence; an abbreviation keeps its capitals."""
    return title if title[1:2].isupper() else title[:1].lower() + title[1:]


def _line(column: SignalColumn, number: int, covered: int) -> None:
    name, rows, meaning, act = st.columns(WIDTHS, vertical_alignment="center")
    name.markdown(plain(column.title))
    rows.markdown(f"**{number:,}** · {percent(number / max(covered, 1))}")
    limit = f" From {column.threshold:g} on ({column.unit})." if column.kind == "number" else ""
    meaning.caption(plain(column.explanation + limit))
    act.button(
        "Look at them",
        key=f"signals_look_{column.name}",
        icon=":material/rate_review:",
        type="tertiary",
        help=plain(f"Opens Review with {count(number, 'sample')} of: {column.title}"),
        on_click=look,
        args=(filter_of(column), column.title),
    )


def filter_of(column: SignalColumn, value: str = "") -> Filter:
    """The filter that shows the rows of a signal: those that carry it, are beyond its threshold, or have a value."""
    if column.kind == "flag":
        return Filter("mark", "", (column.name,))
    if column.kind == "category":
        return Filter("value", f"signal/{column.name}", (value,))
    bounds = (column.threshold, None) if column.sense == "at least" else (None, column.threshold)
    return Filter("number", f"signal/{column.name}", bounds)


def look(part: Filter, title: str) -> None:
    """Put this filter alone in force, so that what is seen is what was counted, and go to Review."""
    others = len(state.active_filters())
    state.drop_filter(None)
    state.add_filter(part)
    instead = f" in place of {count(others, 'filter')}" if others else ""
    state.notify(f"Filtered by: {title}{instead}. Remove the filter by its chip.", "info")
    st.session_state["ts_signals_look"] = True


def leave() -> None:
    """Go to Review if a signal was chosen to be looked at; called before the page opens, which would tell it here."""
    if st.session_state.pop("ts_signals_look", False):
        st.switch_page(next(path for path, name, _ in PAGES if name == "Review"))


def _values(project: Project, column: SignalColumn, covered: int) -> None:
    """A category: its most frequent values, and a choice of one to look at."""
    counts = categories(signals_of(reads.facts(project)), column.name)
    counts = counts[counts > 0].head(MOST_VALUES)
    name, rows, choice, act = st.columns([2.3, 3.0, 2.8, 1.9], vertical_alignment="center")
    name.markdown(plain(column.title), help=plain(column.explanation))
    rows.caption(plain(", ".join(f"{value} {number:,}" for value, number in counts.head(4).items()) or "no value"))
    chosen = choice.selectbox(
        opened(column.title),
        list(counts.index),
        format_func=lambda value: f"{value} – {counts[value]:,} ({percent(counts[value] / max(covered, 1))})",
        key=f"signals_value_{column.name}",
        label_visibility="collapsed",
    )
    act.button(
        "Look at them",
        key=f"signals_look_{column.name}",
        icon=":material/rate_review:",
        type="tertiary",
        disabled=chosen is None,
        on_click=look,
        args=(filter_of(column, str(chosen)), f"{column.title} {chosen}"),
    )
