"""What the points of the map can show: a colour by any column, fading by uncertainty, size by weight.

A choice is a column of `engine.curation.columns`, or `SIGNALS`, the gravest mark of each row. Rows that a run, a map or
the signals do not cover are drawn as missing. Costly colours are kept, so that switching back is instant. A category
of the legend stands for the filter that `picked` gives.
"""

from dataclasses import dataclass

import numpy as np
import streamlit as st

from engine.curation import columns
from engine.curation.columns import Column
from engine.curation.facts import NOTHING
from engine.store.project import Project
from pages.parts import colours, filters, histograms, reads
from pages.parts.colours import Channel, Legend
from pages.parts.filters import Filter
from pages.parts.run_choice import View

SIGNALS = "signals"
GRAVEST_LAST = ("landmark", "warm-up", filters.SURPRISING, "looks truncated", "near-duplicate", "leak")
NO_SIZE = "Nothing"
_FEW = 12  # a field of no more different numbers is coloured as categories


@dataclass(frozen=True, eq=False)
class Painted:
    """Colours uint8 (n, 4) with their legend, and the column they show."""

    rgba: np.ndarray
    legend: Legend
    column: str


def choices(project: Project, view: View | None) -> dict[str, str]:
    """Title → column name; those of the run in view first. Titles are not escaped."""
    found: dict[str, str] = {}
    if view is not None:
        run = view.record.name
        found[f"Score – {view.title}"] = f"score/{run}/{view.column}"
        found["Status of the score"] = f"status/{run}"
        if view.scores.sigma is not None or view.scores.variance is not None:
            found["Uncertainty of the score"] = f"uncertainty/{run}"
    found |= {"Decision": "decision", "Signal": SIGNALS, "Cluster": "cluster", "Length in words": "words"}
    listed = columns.listed(reads.facts(project))
    said = set(found.values())
    fields = {f"Field {column.title}": column.name for column in listed if column.group == "Field"}
    others = {c.title: c.name for c in listed if c.group not in ("Field", "Rank") and c.name not in said}
    return {**found, **fields, **others}


def paint(project: Project, name: str, *, by_rank: bool) -> Painted:
    """The colours of all n rows by a choice; `by_rank` colours scores by their percentile."""
    dark = colours.is_dark()
    if name == "decision":  # changes with every decision, and is cheap
        return _by_decision(project)
    facts = reads.facts(project)
    version = f"{reads.by_state(project, 'pool_hash')} {columns.version(facts, _versioned(name))}"
    return _painted(project, str(project.path), version, name, by_rank, dark)


def _versioned(name: str) -> str:
    return f"signal/{filters.MARKS[0]}" if name == SIGNALS else name


@st.cache_resource(max_entries=24, show_spinner=False)
def _painted(_project: Project, path: str, version: str, name: str, by_rank: bool, dark: bool) -> Painted:
    if name == SIGNALS:
        return _by_signal(_project)
    facts = reads.facts(_project)
    column = columns.column_of(facts, name)
    if _as_categories(_project, column):
        found = columns.categories(facts, name)
        rgba, legend = colours.categorical(
            found.codes, found.names, title=column.title, fixed={NOTHING: colours.MISSING}
        )
        return Painted(rgba, legend, name)
    if column.group == "Score" and not name.startswith("uncertainty/"):
        return _by_score(_project, column, by_rank=by_rank, dark=dark)
    values = columns.numbers(facts, name)
    title = f"{column.title}; 0: measured exactly" if name.startswith("uncertainty/") else column.title
    rgba, legend = colours.sequential(values, title=title, unit=column.unit, dark=dark)
    return Painted(rgba, legend, name)


def _as_categories(project: Project, column: Column) -> bool:
    if column.group == "Field" and column.kind == "number":
        return len(reads.categories(project, column.title).names) <= _FEW
    return column.kind != "number"


def _by_score(project: Project, column: Column, *, by_rank: bool, dark: bool) -> Painted:
    facts = reads.facts(project)
    if not by_rank:
        values = columns.numbers(facts, column.name)
        rgba, legend = colours.diverging(values, title=column.title, unit=column.unit, dark=dark)
        return Painted(rgba, legend, column.name)
    place = columns.numbers(facts, column.name.replace("score/", "rank/", 1))
    scored = max(1.0, float(np.nanmax(place, initial=0.0)))
    share = (100 * (scored - place + 1) / scored).astype(np.float32)
    rgba, legend = colours.sequential(share, title=f"Percentile: {column.title}", unit="%", dark=dark)
    return Painted(rgba, legend, column.name)


def _by_decision(project: Project) -> Painted:
    names = [filters.decision_name(code) for code in sorted(filters.DECISION_OF)]
    fixed = {filters.decision_name(code): colours.DECISIONS[name] for code, name in filters.DECISION_OF.items()}
    return Painted(*colours.categorical(reads.decisions(project), names, title="Decision", fixed=fixed), "decision")


def _by_signal(project: Project) -> Painted:
    n = reads.pool_size(project)
    codes, names = np.zeros(n, np.int32), ["nothing marked"]
    for name in GRAVEST_LAST:
        covered = filters.marked(project, name)[:n]
        if covered.any():
            names.append(name)
            codes[: len(covered)][covered] = len(names) - 1
    fixed = {"nothing marked": colours.OTHER}
    return Painted(*colours.categorical(codes, names, title="Signal", fixed=fixed), SIGNALS)


def told(project: Project, painted: Painted, row: int) -> str:
    """What the colour of one point says, such as `Cluster: verbs`; "" for a decision or a signal, told elsewhere."""
    if painted.column in ("decision", SIGNALS):
        return ""
    facts = reads.facts(project)
    column = columns.column_of(facts, painted.column)
    if _as_categories(project, column):
        found = columns.categories(facts, column.name)
        return f"{column.title}: {found.names[found.codes[row]] if found.codes[row] >= 0 else 'none'}"
    value = float(columns.numbers(facts, column.name)[row])
    shown = f"{value:+.4f}" if column.group == "Score" else f"{value:,.6g}"
    return f"{column.title}: {'none' if np.isnan(value) else f'{shown} {column.unit}'.rstrip()}"


def picked(project: Project, painted: Painted, entry: int) -> Filter | None:
    """The filter that an entry of the legend stands for; None where it stands for several categories, or for none."""
    if not 0 <= entry < len(painted.legend.entries) or painted.legend.entries[entry].code is None:
        return None
    name = painted.legend.entries[entry].text
    if painted.column == SIGNALS:
        return Filter("mark", "", (name,)) if name in filters.marks_of(project) else None
    column = columns.column_of(reads.facts(project), painted.column)
    return histograms.by_names(project, column, [name])


def chosen_entries(project: Project, painted: Painted, active: tuple[Filter, ...]) -> list[int]:
    """The entries of the legend that a filter in force names."""
    named = {part.slot: set(part.values) for part in active}
    parts = enumerate(picked(project, painted, at) for at in range(len(painted.legend.entries)))
    return [at for at, part in parts if part is not None and set(part.values) <= named.get(part.slot, set())]


def uncertainty(project: Project, view: View | None) -> Channel | None:
    """How uncertain the scores in view are, where the run says."""
    if view is None or (view.scores.sigma is None and view.scores.variance is None):
        return None
    values = columns.numbers(reads.facts(project), f"uncertainty/{view.record.name}")
    return colours.channel(values, title="Uncertainty of the score", unit=view.unit)


def sizes(project: Project) -> dict[str, str]:
    """Title → column of what the points' size can show: weights of saved selections, else who is in them."""
    found = {NO_SIZE: ""}
    listed = [column for column in columns.listed(reads.facts(project)) if column.group == "Selection"]
    weighted = {column.name.partition("/")[2] for column in listed if column.name.startswith("weight/")}
    for column in listed:
        if column.name.startswith("weight/") or column.name.partition("/")[2] not in weighted:
            found[column.title] = column.name
    return found


def sized(project: Project, name: str) -> Channel | None:
    """The size of the points by a choice of `sizes`."""
    if not name:
        return None
    facts = reads.facts(project)
    values = np.asarray(columns.numbers(facts, name), np.float32)
    title = columns.column_of(facts, name).title
    if name.startswith("weight/"):
        return colours.channel(values, title=title)
    return Channel(np.where(values > 0, 1.0, 0.0).astype(np.float32), title, "no", "yes")
