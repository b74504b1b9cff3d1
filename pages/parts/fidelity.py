"""How far a run's scores can be trusted, in plain words beside the figures.

The figures come from the run's audit slice: rows drawn before anything else, scored exactly, never used for fitting.
An undefined figure is shown with its reason, not as a number.
"""

from typing import Any

import streamlit as st

from pages.parts.run_choice import View
from pages.parts.tables import table
from pages.parts.words import count, percent, plain

_VERDICTS = (
    (0.95, "success", "The scores put samples in almost the exact order."),
    (0.85, "success", "The scores are close to the exact order. Trust the top and the bottom, not single ranks."),
    (0.6, "warning", "The broad order is right, single ranks are not. Use more landmarks for a finer cut."),
    (0.3, "warning", "The scores are a weak guide: only the extremes mean something. Use more landmarks."),
    (-1.0, "error", "The scores hardly follow the exact ones. Do not select by them; use more landmarks or exact."),
)
STRONG_LENGTH = 0.3


def report(view: View) -> None:
    """The fidelity of a run: the verdict, the figures with their intervals, per target, and the bias by length."""
    found = view.scores.summary.get("fidelity")
    if not found:
        st.caption(plain(_without(view)))
        return
    reasons = found.get("reasons", {})
    spearman = measure(found.get("spearman"), found.get("interval"), reasons.get("spearman", ""))
    kind, words = verdict(spearman)
    {"success": st.success, "warning": st.warning, "error": st.error}[kind](words)
    audited = count(int(found.get("n") or 0), "audit sample")
    st.caption(plain(f"Measured on {audited}, scored exactly and kept out of the fit. {_interval(spearman)}"))
    top = measure(found.get("top_overlap"))
    places = st.columns(3)
    places[0].metric("Spearman", shown(spearman), help=plain(_interval(spearman)), border=True)
    share = percent(top["value"], 0) if top["value"] is not None else "–"
    places[1].metric("Top 10 %", share, border=True,
                     help="The share of the truly best 10 % among the estimated best; by chance 10 %.")  # fmt: skip
    places[2].metric("R²", shown(measure(found.get("r2"))), border=True,
                     help="1 is perfect, 0 as good as the mean, below 0 worse than the mean.")  # fmt: skip
    _per_target(found)
    st.caption(plain(length_sentence(found)))


def verdict(spearman: dict[str, Any]) -> tuple[str, str]:
    """(kind of message, sentence) for a rank correlation; judged by the lower end of its interval where known."""
    value = spearman["value"]
    if value is None:
        return "warning", plain(
            f"How far to trust the scores is not known: {spearman['reason'] or 'too few audit samples'}."
        )
    judged = spearman["low"] if spearman["low"] is not None else value
    return next((kind, words) for least, kind, words in _VERDICTS if judged >= least)


def measure(value: float | None, interval: Any = None, reason: str = "") -> dict[str, Any]:
    """A figure with its interval, and why it is undefined where it is."""
    low, high = interval if interval else (None, None)
    return {"value": value, "low": low, "high": high, "reason": reason}


def shown(figure: dict[str, Any]) -> str:
    """A figure with two decimals, a dash where undefined."""
    return "–" if figure["value"] is None else f"{figure['value']:.2f}"


def _interval(figure: dict[str, Any]) -> str:
    if figure["value"] is None:
        return f"Undefined: {figure['reason'] or 'too few audit samples'}."
    if figure["low"] is None:
        return f"Spearman {figure['value']:.2f}, without an interval."
    return f"Spearman {figure['value']:.2f}, with 90 % confidence between {figure['low']:.2f} and {figure['high']:.2f}."


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


def _without(view: View) -> str:
    return {
        "exact": "Every sample was scored exactly, so nothing was propagated and there is nothing to audit.",
        "random": "Random scores: a baseline to compare with, not a guide.",
    }.get(view.record.method, "This run has no audit slice, so how far to trust it was not measured.")
