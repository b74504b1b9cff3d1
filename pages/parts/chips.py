"""The filters in force as removable chips, and the form that adds one; the same on every page."""

from collections.abc import Callable

import numpy as np
import streamlit as st

from engine.store.project import Project
from pages.parts import filters, reads, run_choice, state
from pages.parts.filters import Filter
from pages.parts.words import plain

MOST_VALUES = 200


def bar(project: Project, view: run_choice.View | None, *, key: str) -> np.ndarray:
    """Draw the chips and return the mask of the rows that pass, bool (n,)."""
    active = state.active_filters()
    found = reads.layout(project) if any(part.kind == "cluster" for part in active) else None
    clusters = found.labels if found is not None else ()
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        for number, part in enumerate(active):
            st.button(
                plain(filters.describe(part, clusters)),
                key=f"{key}_chip_{number}",
                icon=":material/close:",
                icon_position="right",
                help="Remove this filter",
                on_click=state.drop_filter,
                args=(part,),
            )
        if len(active) > 1:
            st.button("Clear all", key=f"{key}_clear", type="tertiary", on_click=state.drop_filter, args=(None,))
        _adder(project, view, key)
    return filters.combined(project, active)


def _adder(project: Project, view: run_choice.View | None, key: str) -> None:
    popover = st.popover("Add a filter", icon=":material/filter_alt:", key=f"{key}_popover", on_change="rerun")
    if not popover.open:
        return
    with popover:
        kinds = _kinds(project, view)
        chosen = st.selectbox("Filter by", list(kinds), key=f"{key}_kind")
        made = kinds[chosen]()
        st.button(
            "Apply",
            key=f"{key}_apply",
            type="primary",
            disabled=made is None,
            on_click=lambda: state.add_filter(made) if made else None,
        )


def _kinds(project: Project, view: run_choice.View | None) -> dict[str, Callable[[], Filter | None]]:
    """The filters that make sense for this project, by the name shown; field names are shown as plain text."""
    kinds: dict[str, Callable[[], Filter | None]] = {}
    if view is not None:
        kinds[f"Score – {view.title}"] = lambda: _score(view)
        kinds[f"Rank – {view.title}"] = lambda: _rank(view)
        kinds["Status of the score"] = lambda: _codes("status", view.record.name, reads.STATUS)
    kinds["Decision"] = lambda: _codes("decision", "", {c: filters.decision_name(c) for c in filters.DECISION_OF})
    kinds["Signal"] = lambda: _names(Filter, "mark", "", list(filters.MARKS), "Any of these")
    if (found := reads.layout(project)) is not None:
        kinds["Cluster"] = lambda: _codes("cluster", "", dict(enumerate(found.labels)))
    kinds["Length in words"] = lambda: _words(project)
    for name in reads.by_state(project, "columns"):
        kinds[f"Field {name}"] = lambda name=name: _field(project, name)  # type: ignore[misc]
    return kinds


def _score(view: run_choice.View) -> Filter | None:
    finite = np.asarray(view.values)[np.isfinite(view.values)]
    if len(finite) == 0:
        st.caption("This column has no score.")
        return None
    low, high = float(finite.min()), float(finite.max())
    left, right = st.columns(2)
    least = left.number_input("At least", value=None, placeholder=f"{low:.4f}", format="%.4f", key="chip_score_low")
    most = right.number_input("At most", value=None, placeholder=f"{high:.4f}", format="%.4f", key="chip_score_high")
    subject = f"{view.record.name}/{view.column}"
    return None if least is None and most is None else Filter("score", subject, (least, most))


def _rank(view: run_choice.View) -> Filter | None:
    last = int(np.isfinite(view.values).sum())
    if last == 0:
        st.caption("This column has no score.")
        return None
    left, right = st.columns(2)
    first = left.number_input("From rank", 1, last, 1, key="chip_rank_first", help="Rank 1 has the highest score.")
    until = right.number_input("To rank", 1, last, min(100, last), key="chip_rank_last")
    return Filter("rank", f"{view.record.name}/{view.column}", (int(first), int(until))) if first <= until else None


def _words(project: Project) -> Filter | None:
    lengths = reads.column(project, "words")
    left, right = st.columns(2)
    least = left.number_input("At least", 0, None, None, key="chip_words_low", placeholder=f"{int(lengths.min()):,}")
    most = right.number_input("At most", 0, None, None, key="chip_words_high", placeholder=f"{int(lengths.max()):,}")
    return None if least is None and most is None else Filter("words", "", (least, most))


def _codes(kind: filters.Kind, subject: str, names: dict[int, str]) -> Filter | None:
    chosen = st.multiselect("Any of these", list(names), format_func=lambda code: names[code], key=f"chip_{kind}")
    return Filter(kind, subject, tuple(chosen)) if chosen else None


def _names(make: type[Filter], kind: filters.Kind, subject: str, names: list[str], label: str) -> Filter | None:
    chosen = st.multiselect(label, names, key=f"chip_{kind}_{subject}")
    return make(kind, subject, tuple(chosen)) if chosen else None


def _field(project: Project, name: str) -> Filter | None:
    found = reads.categories(project, name)
    if len(found.names) > MOST_VALUES:
        st.caption(plain(f"{len(found.names):,} different values; the {MOST_VALUES} most frequent are offered."))
    return _names(Filter, "field", name, found.names[:MOST_VALUES], "Any of these")
