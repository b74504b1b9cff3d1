"""One sample as a curator reads it: the turns as plain text, where it comes from, and what is marked on it.

Sample text is data: it is only ever drawn with `st.text`, which interprets nothing.
"""

from typing import Any

import streamlit as st

from engine.curation.signals import signals_of
from engine.store.project import Project
from pages.parts import filters, find_marks, reads, signals_view
from pages.parts.words import count, percent, plain, shorten

LONGEST = 20_000
LEAST = 500  # characters of every turn that are shown, however long the turns before it were
_LABEL = {"system": "System", "user": "User", "assistant": "Assistant", "tool": "Tool"}
_MARK_COLOURS = {"leak": "red", "near-duplicate": "orange", "looks truncated": "orange", filters.SURPRISING: "orange"}


def turns(row: Any) -> None:
    """The whole sample, one box per turn."""
    for number, message in enumerate(row.messages):
        with st.container(border=True, key=f"turn_{number}_{message.role}"):
            st.caption(f"**{label(message.role)}**")
            text = cut(message.content) if message.content.strip() else "(empty)"
            find_marks.draw(text, message.role, key=f"marked_{row.row}_{number}")


def label(role: str) -> str:
    """Who speaks, in a word."""
    return _LABEL.get(role, "Other")


def cut(text: str, longest: int = LONGEST) -> str:
    """`text`, or its beginning with a word on how much more there is."""
    if len(text) <= longest:
        return text
    return f"{text[:longest]}\n\n… {len(text) - longest:,} more characters are not shown; the export has all of them."


def source_line(row: Any) -> None:
    """Id, file, line and size of a sample."""
    parts = [f"id {shorten(row.id, 60)}", f"{shorten(row.file, 60)}, line {row.line:,}", count(row.words, "word")]
    st.caption(plain(" · ".join(parts)))


def marks(project: Project, row: int) -> None:
    """What is marked on the sample, as badges with an explanation each."""
    found = sample_marks(project, row)
    if not found:
        st.caption("Nothing is marked on this sample.")
        return
    with st.container(horizontal=True, gap="small"):
        for name, explanation in found.items():
            st.badge(name, color=_MARK_COLOURS.get(name, "gray"), help=plain(explanation))  # type: ignore[arg-type]


def sample_marks(project: Project, row: int) -> dict[str, str]:
    """Every mark the sample carries, with what it means here; not escaped."""
    found: dict[str, str] = {}
    for name in filters.marks_of(project):
        if filters.mask(project, filters.Filter("mark", "", (name,)))[row]:
            found[name] = _explanation(project, row, name)
    return found


def _explanation(project: Project, row: int, name: str) -> str:
    signals, described = reads.marks(project), signals_of(reads.facts(project)).columns
    if name == "near-duplicate" and signals is not None:
        first = int(signals.near_duplicate_of[row])
        return (
            "The first of a group of near-duplicates."
            if first == row
            else f"Nearly the same as sample {first:,} of the pool."
        )
    if name == "repeated sample":
        first = int(signals_of(reads.facts(project)).array(name)[row])
        return f"Nearly the same as sample {first:,} of the pool, response and all."
    if name == "leak" and signals is not None:
        return f"{percent(float(signals.leak[row]), 0)} of a target item's word sequences occur in it."
    if name in described and described[name].group == "Personal data":
        return f"{described[name].explanation} Here: {signals_view.personal_passages(project, row)}"
    return {
        filters.SURPRISING: "The model finds this response far less likely than those of similar samples: it may be "
        "wrong, belong to another prompt, or be right and unusual.",
        "looks truncated": "The response seems to stop in the middle.",
        "landmark": "Scored exactly; the scores of other samples are propagated from the landmarks.",
        "audit": "Scored exactly and kept out of the fit, to measure how far the scores can be trusted.",
        "tuning": "Scored exactly to choose the run's settings by, then used as a landmark.",
        "measured near the cut": "Scored exactly because its estimate was too close to the cut to decide by.",
        "warm-up": "The model saw this sample in its warm-up, so its score is less comparable.",
        "truncated for the model": "Longer than the model reads: its prompt was cut from the left for scoring.",
        **{name: column.explanation for name, column in described.items()},
    }.get(name, "")
