"""Whether a run's scores can be trusted, in one sentence: what is said first wherever a run is looked at.

Judged by the run's summary alone. A verdict is (kind of message, sentence): success, info, warning or error; only an
error means that the scores should not be used. Sentences are not escaped.
"""

from typing import Any

import streamlit as st

from engine.runs.methods import FUNCTIONS
from pages.parts.words import percent, plain

Verdict = tuple[str, str]
_VERDICTS = (
    (0.95, "success", "The scores put samples in almost the exact order."),
    (0.85, "success", "The scores are close to the exact order. Trust the top and the bottom, not single ranks."),
    (0.6, "warning", "The broad order is right, single ranks are not. {more} for a finer cut."),
    (0.3, "warning", "The scores are a weak guide: only the extremes mean something. {more}."),
    (-2.0, "error", "Do not use these scores: they hardly follow the exact ones. {more}, or {instead}."),
)
_REMEDY = {"more": "Use more landmarks", "instead": "the exact method"}
_NETWORK = {"more": "Label more samples", "instead": "score every sample with the teacher itself"}
_WITHOUT = {
    "exact": "Every sample was scored exactly, so nothing was propagated and there is nothing to audit.",
    "directional": "Every sample was scored along the targets' gradients, so nothing was propagated and there is "
    "nothing to audit.",
    "random": "Random scores: a baseline to compare with, not a guide.",
    **dict.fromkeys(FUNCTIONS, "The method was asked of every sample, so nothing was propagated and there is nothing "
    "to audit."),
}  # fmt: skip
_ALL_LABELLED = "The teacher scored every sample itself, so nothing was estimated and there is nothing to audit."
NARROW = 0.8  # of the intervals' stated level: coverage below it makes them misleading


def of_run(method: str, summary: dict[str, Any]) -> Verdict:
    """The verdict on a run: nothing scored, nothing propagated, or how the audit went."""
    counts = summary.get("counts", {})
    if counts and not counts.get("exact", 0) + counts.get("propagated", 0):
        return "error", "No sample has a score. The reasons are listed below; nothing can be selected by this run."
    if method == "network" and counts and not counts.get("propagated", 0):
        return "info", _ALL_LABELLED
    found = summary.get("fidelity")
    if found:
        return of_figure(figure(found), network=method == "network")
    if method in _WITHOUT:
        return "info", _WITHOUT[method]
    return "warning", "This run has no audit slice, so how far to trust it was not measured."


def figure(found: dict[str, Any]) -> dict[str, Any]:
    """The overall rank correlation of a fidelity report, as `measure` makes it."""
    return measure(found.get("spearman"), found.get("interval"), found.get("reasons", {}).get("spearman", ""))


def of_figure(spearman: dict[str, Any], *, network: bool = False) -> Verdict:
    """The verdict on a rank correlation; judged by the lower end of its interval where known. `network`: the scores
    were learnt from labels, not propagated from landmarks.
    """
    value = spearman["value"]
    if value is None:
        return "warning", f"How far to trust the scores is not known: {spearman['reason'] or 'too few audit samples'}."
    judged = spearman["low"] if spearman["low"] is not None else value
    kind, words = next((kind, words) for least, kind, words in _VERDICTS if judged >= least)
    return kind, words.format(**(_NETWORK if network else _REMEDY))


def verdicts(method: str, summary: dict[str, Any]) -> list[Verdict]:
    """The verdict on a run, and a warning where its intervals held far fewer exact scores than they state."""
    said, found = [of_run(method, summary)], summary.get("uncertainty") or {}
    held, level = found.get("coverage"), found.get("level", 0.9)
    if held is not None and held < NARROW * level:
        words = f"held the exact score of {percent(held, 0)} of the audit samples, not {percent(level, 0)}"
        said.append(("warning", f"The intervals of single scores are too narrow: they {words}."))
    return said


def measure(value: float | None, interval: Any = None, reason: str = "") -> dict[str, Any]:
    """A figure with its interval, and why it is undefined where it is."""
    low, high = interval if interval else (None, None)
    return {"value": value, "low": low, "high": high, "reason": reason}


def say(verdict: Verdict) -> None:
    """Draw a verdict in the colour of its kind."""
    kind, words = verdict
    {"success": st.success, "info": st.info, "warning": st.warning, "error": st.error}[kind](plain(words))


def caution(name: str, method: str, summary: dict[str, Any]) -> None:
    """Where the scores of a run should not be used, say so; nothing otherwise."""
    kind, words = of_run(method, summary)
    if kind == "error":
        say((kind, f"Run {name} cannot be trusted. {words}"))
