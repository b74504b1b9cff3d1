"""The form that makes one more filter: by score, rank, decision, signal, cluster, length, or any field of the rows.

What it offers are the columns of `engine.curation.columns`, those of the run in view first. It returns the filter that
its widgets say, or None while they say nothing. Names of fields, runs and files are shown as plain text.
"""

from collections.abc import Callable

import numpy as np
import streamlit as st

from engine.curation import columns
from engine.curation.columns import Column
from engine.store.project import Project
from pages.parts import filters, reads, run_choice
from pages.parts.filters import Filter
from pages.parts.words import count, plain

MOST_OFFERED = 200
FEW_VALUES = 12  # a field of no more different numbers is offered by its values
Made = Filter | None


def form(project: Project, view: run_choice.View | None, *, key: str) -> Made:
    """Draw the choice of a column and its widgets; the filter they say."""
    kinds = offered(project, view)
    chosen = st.selectbox("Filter by", list(kinds), key=f"{key}_kind")
    return kinds[chosen]()


def offered(project: Project, view: run_choice.View | None) -> dict[str, Callable[[], Made]]:
    """The filters that make sense for this project, by the name shown; the run in view comes first."""
    found: dict[str, Callable[[], Made]] = {}
    if view is not None:
        found[f"Score – {view.title}"] = lambda: _score(view)
        found[f"Rank – {view.title}"] = lambda: _rank(view)
        found["Status of the score"] = lambda: _codes("status", view.record.name, reads.STATUS)
    found["Decision"] = lambda: _codes("decision", "", {c: filters.decision_name(c) for c in filters.DECISION_OF})
    found["Signal"] = lambda: _names(Filter, "mark", "", list(filters.marks_of(project)))
    if (layout := reads.layout(project)) is not None:
        found["Cluster"] = lambda: _codes("cluster", "", dict(enumerate(layout.labels)))
    found["Length in words"] = lambda: _words(project)
    fields: list[Column] = []
    others: list[Column] = []
    for column in columns.listed(reads.facts(project)):
        (fields if column.group == "Field" else others).append(column)
    for column in fields:
        found[f"Field {column.title}"] = lambda column=column: _field(project, column)  # type: ignore[misc]
    for column in others:
        if not _said_above(column, view):
            found[column.title] = lambda column=column: _any(project, column)  # type: ignore[misc]
    return found


def _said_above(column: Column, view: run_choice.View | None) -> bool:
    if column.group == "Signal" and column.kind == "flag":
        return True
    if view is not None and column.name in {f"score/{view.record.name}/{view.column}",
                                            f"rank/{view.record.name}/{view.column}",
                                            f"status/{view.record.name}"}:  # fmt: skip
        return True
    return column.name in {"words", "decision", "cluster"}


def _score(view: run_choice.View) -> Made:
    finite = np.asarray(view.values)[np.isfinite(view.values)]
    if len(finite) == 0:
        st.caption("This column has no score.")
        return None
    bounds = _bounds("score", float(finite.min()), float(finite.max()), "%.4f")
    return None if bounds == (None, None) else Filter("score", f"{view.record.name}/{view.column}", bounds)


def _rank(view: run_choice.View) -> Made:
    last = int(np.isfinite(view.values).sum())
    if last == 0:
        st.caption("This column has no score.")
        return None
    left, right = st.columns(2)
    first = left.number_input("From rank", 1, last, 1, key="chip_rank_first", help="Rank 1 has the highest score.")
    until = right.number_input("To rank", 1, last, min(100, last), key="chip_rank_last")
    return Filter("rank", f"{view.record.name}/{view.column}", (int(first), int(until))) if first <= until else None


def _words(project: Project) -> Made:
    lengths = reads.column(project, "words")
    left, right = st.columns(2)
    least = left.number_input("At least", 0, None, None, key="chip_words_low", placeholder=f"{int(lengths.min()):,}")
    most = right.number_input("At most", 0, None, None, key="chip_words_high", placeholder=f"{int(lengths.max()):,}")
    return None if least is None and most is None else Filter("words", "", (least, most))


def _any(project: Project, column: Column) -> Made:
    """A range of a column of numbers, some of the names of a column of categories."""
    if column.kind == "number":
        return _number(project, column)
    found = columns.categories(reads.facts(project), column.name)
    return _names(Filter, "value", column.name, _most_frequent(found))


def _field(project: Project, column: Column) -> Made:
    """Values of an original field; a range where it holds many different numbers."""
    values = reads.column(project, column.title)
    found = reads.categories(project, column.title)
    if values.dtype.kind in "iuf" and len(found.names) > FEW_VALUES:
        return _number(project, column)
    if len(found.names) > MOST_OFFERED:
        return _many(column, found)
    return _names(Filter, "field", column.title, found.names)


def _many(column: Column, found: reads.Categories) -> Made:
    """Some of the most frequent values of a field that has many, or a part that its values hold."""
    part = st.text_input("Contains", key=f"chip_contains_{column.title}", max_chars=200,
                         help="The field's value holds this text, whatever its case.")  # fmt: skip
    chosen = _names(Filter, "field", column.title, _most_frequent(found))
    return Filter("contains", column.title, (part,)) if part else chosen


def _number(project: Project, column: Column) -> Made:
    values = columns.numbers(reads.facts(project), column.name)
    known = np.isfinite(values)
    if not known.any():
        st.caption("No sample has a value here.")
        return None
    if column.unit:
        st.caption(plain(f"In {column.unit}."))
    low, high = float(values[known].min()), float(values[known].max())
    bounds = _bounds(column.name, low, high, "%g")
    if not known.all():
        without = int((~known).sum())
        do = "does" if without == 1 else "do"
        st.caption(f"{count(without, 'sample')} without a value {do} not pass such a filter.")
    return None if bounds == (None, None) else Filter("number", column.name, bounds)


def _bounds(name: str, low: float, high: float, form_: str) -> tuple[float | None, float | None]:
    left, right = st.columns(2)
    least = left.number_input("At least", value=None, placeholder=f"{low:.6g}", format=form_, key=f"chip_{name}_low")
    most = right.number_input("At most", value=None, placeholder=f"{high:.6g}", format=form_, key=f"chip_{name}_high")
    return least, most


def _codes(kind: filters.Kind, subject: str, names: dict[int, str]) -> Made:
    chosen = st.multiselect("Any of these", list(names), format_func=lambda code: names[code], key=f"chip_{kind}")
    return Filter(kind, subject, tuple(chosen)) if chosen else None


def _names(make: type[Filter], kind: filters.Kind, subject: str, names: list[str]) -> Made:
    chosen = st.multiselect("Any of these", names, key=f"chip_{kind}_{subject}")
    return make(kind, subject, tuple(chosen)) if chosen else None


def _most_frequent(found: reads.Categories) -> list[str]:
    if len(found.names) > MOST_OFFERED:
        st.caption(f"{len(found.names):,} different values; the {MOST_OFFERED} most frequent are offered.")
    return found.names[:MOST_OFFERED]
