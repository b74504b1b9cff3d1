"""Linked histograms: each shows a column over the whole pool and over what the other filters leave, and filters by it.

Brushing a histogram of numbers, or ticking categories, puts one filter in force, the same that the chips show; the
histogram's own filter does not narrow its bars, so that a brush can be widened again. Numbers fall into `BINS` equal
bins between the 0.1st and the 99.9th percentile; values beyond are counted at the ends. Bar heights of numbers grow
with the square root of the count, so that rare values are seen.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import streamlit as st

from engine.curation import columns
from engine.curation.columns import Column
from engine.store.project import Project
from pages.parts import filters, reads, state
from pages.parts.filters import Filter
from pages.parts.run_choice import View

BINS = 48
MOST_NAMES = 30
USUAL_FIELDS = ("source", "dataset", "task", "category", "origin")
_HERE = Path(__file__).parent
_CHOSEN = "ts_histograms"
_LABEL = "Histograms of the pool. Brush one to filter by it."

# Registered once per process, when this module is first imported.
mount = st.components.v2.component(
    "touchstone_histograms",
    css=(_HERE / "histograms.css").read_text(encoding="utf-8"),
    js=(_HERE / "histograms.js").read_text(encoding="utf-8"),
)


def panel(project: Project, view: View | None, *, key: str) -> None:
    """The histograms of the chosen columns, and the choice of columns."""
    known = {column.name: column for column in columns.listed(reads.facts(project))}
    names = [name for name in st.session_state.get(_CHOSEN) or usual(project, view) if name in known]
    charts = [chart(project, known[name]) for name in names]
    mount(
        key=f"{key}_histograms",
        data={"label": _LABEL, "charts": charts},
        on_brushed_change=lambda: take(st.session_state.get(f"{key}_histograms"), known),
    )
    popover = st.popover("Choose histograms", icon=":material/bar_chart:", key=f"{key}_histogram_choice",
                         on_change="rerun")  # fmt: skip
    if popover.open:
        with popover:
            st.multiselect(
                "Columns", list(known), default=names, key=f"{key}_histogram_columns", max_selections=8,
                format_func=lambda name: known[name].title, on_change=_choose, args=(f"{key}_histogram_columns",),
            )  # fmt: skip


def _choose(key: str) -> None:
    st.session_state[_CHOSEN] = list(st.session_state[key]) or None


def usual(project: Project, view: View | None) -> list[str]:
    """The columns shown at first: the score in view, length, a field that tells the source, cluster, decision."""
    fields = reads.by_state(project, "columns")
    source = next((name for name in USUAL_FIELDS if name in fields), None)
    found = [] if view is None else [f"score/{view.record.name}/{view.column}"]
    found += ["words", *([f"field/{source}"] if source else [])]
    found += ["cluster"] if reads.layout(project) is not None else []
    return [*found, "decision"]


def chart(project: Project, column: Column) -> dict[str, Any]:
    """One histogram as the component draws it."""
    settled = columns.column_of(reads.facts(project), column.name)
    active = state.active_filters()
    own = next((part for part in active if part.slot == _slot(settled)), None)
    passing = filters.combined(project, [part for part in active if part is not own])
    drawn = _of_numbers if settled.kind == "number" else _of_categories
    found = drawn(project, settled, passing, own)
    return {"id": column.name, "title": column.title, "filtered": own is not None, **found}


def _of_numbers(project: Project, column: Column, passing: np.ndarray, own: Filter | None) -> dict[str, Any]:
    low, high, bins = _binned(project, column.name)
    counts = np.bincount(bins, minlength=BINS + 1)[:BINS]
    kept = np.bincount(bins[passing], minlength=BINS + 1)[:BINS]
    limits = None if own is None else [None if value is None else float(value) for value in own.values[:2]]
    return {"low": low, "high": high, "all": counts.tolist(), "passing": kept.tolist(), "range": limits,
            "unit": column.unit}  # fmt: skip


def _binned(project: Project, name: str) -> tuple[float, float, np.ndarray]:
    """The two ends and the bin of every row, uint8 (n,); `BINS` for a row without a value."""
    facts = reads.facts(project)
    return facts.remember("pool", "bins", lambda: binned(columns.numbers(facts, name)), name,
                          columns.version(facts, name))  # fmt: skip


def binned(values: np.ndarray) -> tuple[float, float, np.ndarray]:
    """The ends of the range shown and the bin 0..BINS-1 of each value, uint8 (n,); `BINS` where it is not finite."""
    known = np.isfinite(values)
    if not known.any():
        return 0.0, 0.0, np.full(len(values), BINS, np.uint8)
    low, high = (float(end) for end in np.percentile(values[known], (0.1, 99.9)))
    if not high > low:
        low, high = float(values[known].min()), float(values[known].max())
    span = (high - low) or 1.0
    place = np.clip((np.where(known, values, low) - low) * (BINS / span), 0, BINS - 1).astype(np.uint8)
    return low, high, np.where(known, place, BINS).astype(np.uint8)


def _of_categories(project: Project, column: Column, passing: np.ndarray, own: Filter | None) -> dict[str, Any]:
    found = columns.categories(reads.facts(project), column.name)
    kept = np.bincount(found.codes[passing], minlength=len(found.names))
    there = [at for at in range(len(found.names)) if found.counts[at]][:MOST_NAMES]
    chosen = [] if own is None else [_name_of(own, value, found.names) for value in own.values]
    return {
        "names": [found.names[at] for at in there],
        "all": [int(found.counts[at]) for at in there],
        "passing": [int(kept[at]) for at in there],
        "chosen": chosen,
        "more": max(0, int((found.counts > 0).sum()) - MOST_NAMES),
    }


def _name_of(own: Filter, value: Any, names: list[str]) -> str:
    return names[-1] if (own.kind, value) == ("cluster", -1) else filters.value_name(own, value, names)


def _slot(column: Column) -> tuple[str, str]:
    """The slot of the filter that a brush of this column makes."""
    return made(column, (None, 0.0), ("",)).slot if column.name not in _CODED else (_CODED[column.name], "")


_CODED = {"decision": "decision", "cluster": "cluster"}


def made(column: Column, limits: Sequence[float | None], names: Sequence[str]) -> Filter:
    """The filter of a brush: of the kind the chips know the column by, else by the column's name."""
    family, _, rest = column.name.partition("/")
    if column.kind != "number":
        return Filter("field", rest, tuple(names)) if family == "field" else Filter("value", column.name, tuple(names))
    if family == "words":
        return Filter("words", "", tuple(None if value is None else round(value) for value in limits))
    rounded = tuple(None if value is None else float(f"{value:.6g}") for value in limits)  # short in a link
    return Filter("score", rest, rounded) if family == "score" else Filter("number", column.name, rounded)


def take(event: Any, known: dict[str, Column]) -> None:
    """Put what was brushed, ticked or cleared into the filters; anything malformed changes nothing."""
    told = (event or {}).get("brushed") if hasattr(event, "get") else None
    project = state.current()
    column = known.get(told.get("chart", "")) if isinstance(told, dict) else None
    if project is None or not isinstance(told, dict) or column is None:
        return
    settled = columns.column_of(reads.facts(project), column.name)
    if told.get("clear"):
        for part in state.active_filters():
            if part.slot == _slot(settled):
                state.drop_filter(part)
    elif settled.kind == "number" and (limits := _limits(told.get("range"))):
        state.add_filter(made(settled, limits, ()))
    elif settled.kind != "number" and (names := _texts(told.get("names"))):
        state.add_filter(by_names(project, settled, names))


def by_names(project: Project, column: Column, names: list[str]) -> Filter:
    """The filter to some categories of a column; decisions and clusters go by their codes, as the chips have them."""
    if column.name not in _CODED:
        return made(column, (), names)
    found = columns.categories(reads.facts(project), column.name)
    codes: dict[str, int] = {name: at for at, name in enumerate(found.names)}
    layout = reads.layout(project)
    if column.name == "cluster" and layout is not None and len(found.names) > len(layout.labels):
        codes[found.names[-1]] = -1
    wanted = tuple(codes[name] for name in names if name in codes)
    return Filter("decision" if column.name == "decision" else "cluster", "", wanted)


def _limits(value: Any) -> tuple[float | None, float | None] | None:
    if not isinstance(value, list) or len(value) != 2:
        return None
    numbers = [v for v in value if v is not None]
    good = all(isinstance(v, int | float) and not isinstance(v, bool) and np.isfinite(v) for v in numbers)
    return (value[0], value[1]) if numbers and good else None


def _texts(value: Any) -> list[str] | None:
    return value if isinstance(value, list) and value and all(isinstance(v, str) for v in value) else None
