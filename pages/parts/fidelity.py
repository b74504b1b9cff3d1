"""How far a run's scores can be trusted, in plain words beside the figures.

The figures come from the run's audit slice: rows drawn before anything else, scored exactly, never used for fitting.
An undefined figure is shown with its reason, not as a number.
"""

from typing import Any

import streamlit as st

from engine.runs.within import sentence, within
from engine.store.project import Project
from pages.parts import reads, trust
from pages.parts.run_choice import View
from pages.parts.tables import table
from pages.parts.trust import measure
from pages.parts.words import count, percent, plain

STRONG_LENGTH = 0.3
LEAST_TENTH = 15


def report(view: View) -> None:
    """The fidelity of an audited run: the figures with their intervals, per target, the intervals, and length."""
    summary = view.scores.summary
    found = summary["fidelity"]
    spearman = trust.figure(found)
    audited = count(int(found.get("n") or 0), "audit sample")
    left_out = int(found.get("left_out") or 0)
    gone = f" {left_out:,} more could not be scored and were left out." if left_out else ""
    st.caption(plain(f"Measured on {audited}, scored exactly and kept out of the fit.{gone} {interval(spearman)}"))
    top = measure(found.get("top_overlap"))
    places = st.columns(3)
    places[0].metric("Spearman", shown(spearman), help=plain(interval(spearman)), border=True)
    share = percent(top["value"], 0) if top["value"] is not None else "–"
    places[1].metric("Top 10 %", share, border=True,
                     help="The share of the truly best 10 % among the estimated best; by chance 10 %.")  # fmt: skip
    places[2].metric("R²", shown(measure(found.get("r2"))), border=True,
                     help="1 is perfect, 0 as good as the mean, below 0 worse than the mean.")  # fmt: skip
    _uncertainty(summary.get("uncertainty"), summary.get("counts", {}))
    _per_target(found)
    st.caption(plain(length_sentence(found)))


def within_sources(project: Project, view: View) -> None:
    """Whether the scores order samples beyond telling the sources apart, where the pool has sources."""
    found = reads.by_state(project, "columns")
    if "source" not in found or not view.scores.summary.get("fidelity"):
        return
    record = view.record
    told = reads.by_pool(project, "within", lambda: sentence(within(project, record)), record.artifact)
    if told:
        st.caption(plain(told))


def shown(figure: dict[str, Any]) -> str:
    """A figure with two decimals, a dash where undefined."""
    return "–" if figure["value"] is None else f"{figure['value']:.2f}"


def interval(figure: dict[str, Any]) -> str:
    """A rank correlation with its interval, or why there is none."""
    if figure["value"] is None:
        return f"Undefined: {figure['reason'] or 'too few audit samples'}."
    if figure["low"] is None:
        return f"Spearman {figure['value']:.2f}, without an interval."
    return f"Spearman {figure['value']:.2f}, with 90 % confidence between {figure['low']:.2f} and {figure['high']:.2f}."


def _uncertainty(found: dict[str, Any] | None, counts: dict[str, Any]) -> None:
    """The intervals of single scores: how wide, and how often they held the exact score."""
    if not found:
        return
    level, held, relative = percent(found.get("level", 0.9), 0), found.get("coverage"), found.get("relative_width")
    places = st.columns(3)
    places[0].metric(
        "Interval width", "–" if relative is None else f"{relative:.2f} ×", border=True,
        help="The mean width of a sample's interval, as a multiple of the standard deviation of the exact scores. "
        "Well below 1, single scores mean something; above 3, they say next to nothing.",
    )  # fmt: skip
    places[1].metric("Intervals that hold", "–" if held is None else percent(held, 0), border=True,
                     help=plain(f"Audit samples whose exact score lies in their interval; meant: {level}"))  # fmt: skip
    scored = counts.get("exact", 0) + counts.get("propagated", 0)
    places[2].metric("Measured exactly", percent(counts.get("exact", 0) / scored, 0) if scored else "–", border=True,
                     help="The share of scored samples whose own gradient was measured.")  # fmt: skip
    st.caption(plain(uncertainty_sentence(found)))


def uncertainty_sentence(found: dict[str, Any]) -> str:
    """The intervals in words: width, coverage overall and by tenths of uncertainty, and what they were fitted on."""
    level, width, held = percent(found.get("level", 0.9), 0), found.get("width"), found.get("coverage")
    relative = found.get("relative_width")
    against = "" if relative is None else f", {relative:.2f} times the spread of the exact scores"
    said = [f"A sample's {level} interval is {width:.3g} wide on average{against}." if width is not None else ""]
    if held is None:
        said.append("How often it holds the exact score is not known: no audit sample to judge by.")
    else:
        said.append(f"It held the exact score of {percent(held, 0)} of {count(int(found.get('n') or 0), 'sample')}")
        tenths = [share for share in found.get("by_decile") or [] if share is not None]
        if min(found.get("rows_by_decile") or [LEAST_TENTH]) < LEAST_TENTH:
            tenths = []  # a handful of samples each says nothing
        said[-1] += (
            f", from {percent(min(tenths), 0)} to {percent(max(tenths), 0)} by tenths of uncertainty."
            if len(tenths) > 1
            else "."
        )
    if found.get("calibrated_on"):
        said.append(f"Calibrated on {count(int(found['calibrated_on']), 'other sample')}.")
    return " ".join(part for part in said if part)


def _per_target(found: dict[str, Any]) -> None:
    rows = []
    for name, entry in found.get("per_set", {}).items():
        figure = measure(entry.get("spearman"), entry.get("interval"), entry.get("reason", ""))
        between = "–" if figure["low"] is None else f"{figure['low']:.2f} to {figure['high']:.2f}"
        rows.append({"Target": name, "Spearman with exact": shown(figure), "90 % interval": between,
                     "Remark": figure["reason"]})  # fmt: skip
    if len(rows) > 1:
        table(rows)


def length_sentence(found: dict[str, Any]) -> str:
    """How the scores go with length, and whether that is worth a warning."""
    figure = measure(found.get("length_correlation"))
    if figure["value"] is None:
        return "Whether scores follow length is not known."
    strength = "follow length noticeably: " + ("longer" if figure["value"] > 0 else "shorter") + " samples score higher"
    judged = strength if abs(figure["value"]) >= STRONG_LENGTH else "hardly follow length"
    return f"The scores {judged} (Spearman with length {figure['value']:+.2f})."
