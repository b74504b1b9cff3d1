"""What a run says of one sample: score, rank and percentile per target, and the sample's surroundings."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import plotly.graph_objects as go
import streamlit as st

from engine.data.samples import prompt_text, response_text
from engine.runs.methods import FUNCTIONS
from engine.store.project import Project
from pages.parts import filters, reads
from pages.parts.charts import CONFIG, GREY, LAYOUT, OCHRE, TEAL
from pages.parts.run_choice import View, column_name, describe
from pages.parts.score_methods import name_of
from pages.parts.tables import table
from pages.parts.words import count, near, percent, plain, score, shorten, visible

NEIGHBOURS = 5
FEW_SETS, MOST_STRIPS, MOST_RUNS = 4, 40, 6
LABELLED_OR_AUDIT = 64 | 2  # flags of `reads.ROLES`: what a network's teacher was asked about
ADDED = 128


def figures(project: Project, view: View, row: int) -> None:
    """The chosen column's score, rank and percentile, then one line per target set."""
    if row >= view.scores.covered:
        st.caption(plain(f"Run {view.record.name} does not cover this sample: it joined the pool later."))
        return
    place, scored = position(project, view, view.column, row)
    with st.container(horizontal=True, gap="medium"):
        st.metric("Score", score(float(view.values[row])), help=plain(describe(view)), width="content")
        highest = f"1 is the highest of {scored:,} scored samples."
        st.metric("Rank", f"{place:,}" if place else "–", help=highest, width="content")
        share = "The share of scored samples at or below this one."
        st.metric("Percentile", percentile(place, scored), help=share, width="content")
    st.caption(plain(f"{describe(view)} · {view.title}"))
    st.caption(plain(certainty(view, row)))
    problem = view.scores.summary.get("problems", {}).get(str(row))
    if problem:
        st.warning(plain(f"Not scored: {problem}"))
    if view.scores.sets:
        target_plot(view, row)
        _per_target(project, view, row)
    _other_runs(project, view, row)


def certainty(view: View, row: int) -> str:
    """How sure the score of a covered sample is: measured, propagated with its interval, or estimated; not escaped."""
    status = reads.STATUS[int(view.scores.status[row])]
    if status == "unscorable":
        return "It has no score."
    if view.record.method == "network":
        return _learnt(view, row, status)
    if status == "exact":
        by_function = view.record.method in FUNCTIONS
        return f"Scored by {name_of(view.record.method)} itself." if by_function else "Measured exactly."
    low, high = view.scores.low, view.scores.high
    if low is None or high is None or not (math.isfinite(low[row]) and math.isfinite(high[row])):
        return "Propagated from the landmarks; how sure it is was not computed."
    level = percent((view.scores.summary.get("uncertainty") or {}).get("level", 0.9), 0)
    whole = view.scores.column(reads.AGGREGATE)
    value, least, most = near(float(whole[row]), float(low[row]), float(high[row]))
    overall = "" if view.column == reads.AGGREGATE or view.values[row] == whole[row] else "the overall score is "
    return f"Propagated: {overall}{value}, likely {least} to {most} ({level})."


def _learnt(view: View, row: int, status: str) -> str:
    """Who scored a sample of a network's run."""
    teacher = name_of(str((view.scores.summary.get("network") or {}).get("teacher", "the teacher")))
    if status == "exact":
        return f"Labelled by the network's teacher, {teacher}."
    if int(view.scores.roles[row]) & LABELLED_OR_AUDIT:
        return f"Labelled by {teacher} for some target samples, estimated by the network for the others."
    if int(view.scores.roles[row]) & ADDED:
        return f"Added after the run and estimated by its network, taught by {teacher}; no audit sample stands for it."
    return f"Estimated by a network that learnt {teacher}; how sure it is was not computed."


def position(project: Project, view: View, column: str, row: int) -> tuple[int, int]:
    """(rank, number scored) of a sample in one column; rank 0 where it has no score."""
    place = reads.ranks(project, view.record.artifact, column)
    return int(place[row]), int(place.max(initial=0))


def percentile(place: int, scored: int) -> str:
    """The share of the scored samples that rank at or below this place."""
    return percent((scored - place + 1) / scored) if place else "–"


def target_plot(view: View, row: int) -> None:
    """The sample's score for each target set as a bar around zero, with the set's single items as marks on it."""
    found = strips(view.scores, row)
    if not found:
        return
    at = np.arange(len(found), dtype=np.float32)
    values = np.asarray([strip.score for strip in found], np.float32)
    colours = [TEAL if value >= 0 else OCHRE for value in values]
    bars = {"type": "bar", "x": values, "y": at, "orientation": "h", "marker": {"color": colours}, "width": 0.5,
            "hoverinfo": "skip"}  # fmt: skip
    marks = {
        "type": "scatter", "mode": "markers", "x": np.concatenate([strip.items for strip in found]).astype(np.float32),
        "y": np.repeat(at, [len(strip.items) for strip in found]),
        "marker": {"symbol": "line-ns-open", "size": 14, "color": GREY, "opacity": 0.7},
        "hovertemplate": "one item: %{x:+.4f}<extra></extra>",
    }  # fmt: skip
    names = [f"{_no_markup(shorten(strip.name, 24))}  {score(strip.score)}" for strip in found]
    zero = {"type": "line", "x0": 0, "x1": 0, "yref": "paper", "y0": 0, "y1": 1, "line": {"color": GREY, "width": 1}}
    layout = {
        **LAYOUT, "height": 50 + 26 * len(found), "shapes": [zero],
        "xaxis": {"nticks": 5, "zeroline": False},
        "yaxis": {"tickvals": at, "ticktext": names, "autorange": "reversed", "showgrid": False, "zeroline": False},
    }  # fmt: skip
    figure = go.Figure({"data": [bars, marks], "layout": layout})  # at once: one call a setting costs as much again
    st.plotly_chart(figure, config=CONFIG, key="score_targets")
    left_out = len(view.scores.sets) - len(found)
    more = f" {count(left_out, 'set')} nearer to zero left out." if left_out > 0 else ""
    st.caption(plain(f"Score per target set ({view.unit or 'no unit'}); each stroke is one target item.{more}"))


@dataclass(frozen=True)
class Strip:
    """One target set: its name, the sample's score for it, and for its items float32 (items,)."""

    name: str
    score: float
    items: np.ndarray


def strips(scores: reads.Scores, row: int, most: int = MOST_STRIPS) -> list[Strip]:
    """The target sets that the sample has a score for; of more than `most` those furthest from zero, in their order."""
    ends = np.cumsum([len(entry.get("items", ())) for entry in scores.summary.get("sets", ())])
    whole = len(ends) > 0 and int(ends[-1]) == scores.matrix.shape[1]
    found = []
    for number, name in enumerate(scores.sets):
        value = float(scores.columns[row, number])
        if math.isfinite(value):
            start = int(ends[number - 1]) if number else 0
            items = np.asarray(scores.matrix[row, start : int(ends[number])]) if whole else np.zeros(0, np.float32)
            found.append(Strip(name, value, items[np.isfinite(items)]))
    kept = sorted(sorted(range(len(found)), key=lambda at: -abs(found[at].score))[:most])
    return [found[at] for at in kept]


def _no_markup(text: str) -> str:
    """Plotly reads a little HTML in labels, so angle brackets are taken out."""
    return text.replace("<", "‹").replace(">", "›")


def _per_target(project: Project, view: View, row: int) -> None:
    """Score, rank and percentile per target set; of many sets only where it is asked for."""
    if len(view.scores.sets) > FEW_SETS:
        details = st.expander("Ranks per target set", key="score_ranks", on_change="rerun")
        if not details.open:
            return
        with details:
            table(_target_lines(project, view, row))
    else:
        table(_target_lines(project, view, row))


def _target_lines(project: Project, view: View, row: int) -> list[dict[str, Any]]:
    shown = []
    for name in [reads.AGGREGATE, *view.scores.sets]:
        place, scored = position(project, view, name, row)
        shown.append(
            {
                "Target": column_name(view.record, name),
                "Score": score(float(view.scores.column(name)[row])),
                "Rank": place or None,
                "Percentile": percentile(place, scored),
            }
        )
    return shown


def _other_runs(project: Project, view: View, row: int) -> None:
    """The sample's rank and percentile by each other run, so that disputes are seen."""
    others = [run for run in reversed(reads.by_state(project, "runs")) if run.name != view.record.name][:MOST_RUNS]
    lines = []
    for run in others:
        place = reads.ranks(project, run.artifact, reads.AGGREGATE)
        rank = int(place[row]) if row < len(place) else 0
        shown = percentile(rank, int(place.max(initial=0)))
        lines.append({"Other run": run.name, "Method": name_of(run.method), "Rank": rank or None, "Percentile": shown})
    if lines:
        table(lines)


def related(project: Project, row: int) -> list[tuple[str, int]]:
    """(relation, row) of the samples to see beside this one: exact and near duplicates, then nearest neighbours."""
    found: dict[int, str] = {}
    stored = reads.sample(project, row)
    if stored.duplicate_of >= 0:
        found[int(stored.duplicate_of)] = "same content"
    signals = reads.marks(project)
    if signals is not None and row < len(signals.near_duplicate_of):
        repeats = np.asarray(signals.near_duplicate_of)
        first = row if repeats[row] < 0 else int(repeats[row])  # which repeats nothing itself
        for other in [first, *np.flatnonzero(repeats == first)[:NEIGHBOURS].tolist()]:
            found.setdefault(other, "near-duplicate")
    layout = reads.layout(project)
    if layout is not None and row < len(layout.neighbours):
        for other in layout.neighbours[row][:NEIGHBOURS]:
            if other >= 0:
                found.setdefault(int(other), "neighbour")
    found.pop(row, None)
    return [(relation, other) for other, relation in found.items()]


def related_list(project: Project, view: View | None, row: int, *, on_open: Any) -> None:
    """Duplicates and neighbours with their decisions; a click opens one. `on_open(row)` is called for it."""
    found = related(project, row)
    if not found:
        st.caption("No duplicate is known; neighbours are known once there is a map.")
        return
    decisions = reads.decisions(project)
    for (relation, other), stored in zip(found, reads.samples(project, [other for _, other in found])):
        value = float(view.values[other]) if view is not None and other < view.scores.covered else float("nan")
        facts = [relation, f"score {score(value)}", filters.decision_name(int(decisions[other]))]
        left, right = st.columns([4, 1], vertical_alignment="center")
        excerpt = f"{shorten(prompt_text(stored.messages), 70)} → {shorten(response_text(stored.messages), 40)}"
        left.text(visible(excerpt))
        left.caption(plain(" · ".join(facts)))
        right.button("Open", key=f"open_{other}", on_click=on_open, args=(other,), type="tertiary")
