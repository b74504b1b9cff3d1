"""A page of samples in a table, one of which can be read in place and opened in Review."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import streamlit as st

from engine.data.samples import prompt_text
from engine.store.project import Project
from pages.parts import filters, reads, sample_view, state
from pages.parts.shell import PAGES
from pages.parts.words import plain, shorten


def draw(
    project: Project,
    rows: np.ndarray,
    further: Mapping[str, Sequence[Any]],
    *,
    key: str,
    columns: Mapping[str, Any] | None = None,
    readable: bool = True,
) -> None:
    """Show these pool rows, in order, with `further` values in columns of their own.

    Ticking a line offers to open the sample in Review and, where `readable`, shows it below. `columns` says how single
    columns are shown; whole numbers have their thousands separated.
    """
    decisions = reads.decisions(project)
    lines = [
        {
            "Sample": shorten(stored.id, 40),
            **{name: values[at] for name, values in further.items()},
            "Decision": filters.decision_name(int(decisions[row])),
            "Prompt": shorten(prompt_text(stored.messages), 120),
        }
        for at, (row, stored) in enumerate(zip(rows.tolist(), reads.samples(project, rows.tolist())))
    ]
    whole = {name: st.column_config.NumberColumn(format="localized") for name in _whole(further)}
    event = st.dataframe(lines, hide_index=True, on_select="rerun", selection_mode="single-row", key=keyed(key, rows),
                         column_config={**whole, **(columns or {})})  # fmt: skip
    chosen = [line for line in event["selection"]["rows"] if line < len(rows)]
    if not chosen:
        what = "read that sample" if readable else "open that sample in Review"
        st.caption(f"Tick the box before a line to {what}.")
        return
    _chosen(project, int(rows[chosen[0]]), key, readable=readable)


def keyed(key: str, lines: np.ndarray) -> str:
    """The key of a table of these lines, int64: a tick belongs to its line, so other lines begin without one."""
    return f"{key}_{hashlib.blake2b(np.ascontiguousarray(lines).tobytes(), digest_size=8).hexdigest()}"


def _chosen(project: Project, row: int, key: str, *, readable: bool) -> None:
    sample = reads.sample(project, row)
    label = plain(f"Open {shorten(sample.id, 40)} in Review")
    if st.button(label, key=f"{key}_open", icon=":material/rate_review:"):
        state.put("sample", sample.id)
        st.switch_page(next(path for path, name, _ in PAGES if name == "Review"))
    if readable:
        sample_view.source_line(sample)
        sample_view.marks(project, row)
        sample_view.turns(sample)


def _whole(further: Mapping[str, Sequence[Any]]) -> list[str]:
    """The columns of whole numbers only."""
    return [
        name for name, values in further.items()
        if all(value is None or (isinstance(value, int) and not isinstance(value, bool)) for value in values)
    ]  # fmt: skip
