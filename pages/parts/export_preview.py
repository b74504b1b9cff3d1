"""What an export will hold: counts, the fields and what they mean, the first records as they will be written."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import streamlit as st

from engine.errors import EngineError
from engine.export.content import Content
from engine.export.extras import WEIGHT, gather
from engine.export.forms import SHAPES, splits_of
from engine.export.plan import Plan
from engine.export.writers import json_line
from engine.runs.token_counts import kept_counts
from engine.store.project import Project
from engine.store.selections import Selection
from pages.parts import reads
from pages.parts.tables import table
from pages.parts.words import count, plain, shorten

PREVIEWED = 3
SHOWN = 700
_MEANING = {
    WEIGHT: "how often or how strongly to train on the sample",
    "score": "the run's aggregate score; higher is better",
    "decision": "none, approve, reject or skip",
    "reason": "why the sample is in the selection",
    "tags": "its tags",
    "note": "the note of the decision in force",
}


@dataclass(frozen=True)
class _First:
    """The first rows of a selection, as `gather` reads a selection."""

    rows: np.ndarray
    weights: np.ndarray | None
    run: str | None
    reasons: np.ndarray | None


def preview(project: Project, selection: Selection, plan: Plan) -> None:
    """How many samples, how long, and the first ones as they will be written."""
    lengths = reads.column(project, "words")[selection.rows]
    told = _tokens(project, selection)
    st.caption(plain(f"{count(len(selection.rows), 'sample')}, {int(lengths.sum()):,} words{told} in all."))
    lines, content, notes = _lines(project, selection, plan)
    for note in notes:
        st.caption(plain(note))
    table(_fields(plan, content))
    st.caption(f"The first {len(lines)} as they will be written:" if len(lines) > 1 else "As it will be written:")
    for line in lines:
        st.code(shorten(line, SHOWN), language=None, wrap_lines=True)


def _tokens(project: Project, selection: Selection) -> str:
    """The tokens of the subset by its run's model, where they were counted."""
    key = (selection.name, selection.version)
    total = reads.by_stamp(project, "tokens of a selection", lambda: _total(project, selection), *key)
    return "" if total is None else f", {total:,} tokens"


def _total(project: Project, selection: Selection) -> int | None:
    run = next((record for record in reads.by_state(project, "runs") if record.name == selection.run), None)
    counted = None if run is None else kept_counts(project, run)
    if counted is None or selection.rows[-1] >= len(counted.counts):
        return None
    return int(counted.counts[selection.rows].sum())


def _lines(project: Project, selection: Selection, plan: Plan) -> tuple[list[str], Content, Sequence[str]]:
    part = slice(0, PREVIEWED)
    first = _First(
        selection.rows[part],
        None if selection.weights is None else selection.weights[part],
        selection.run,
        None if selection.reasons is None else selection.reasons[part],
    )
    rows = reads.samples(project, first.rows.tolist())
    if plan.form == "original":
        return [str(row.raw) for row in rows], Content(project=project, rows=first.rows, plan=plan), ()
    extras, notes = gather(reads.facts(project), first, plan, taken=SHAPES[plan.form].names)
    content = Content(
        project=project, rows=first.rows, plan=plan, extras=extras, splits=splits_of(reads.by_state(project, "files"))
    )
    return [_line(content, row, at) for at, row in enumerate(rows)], content, notes


def _line(content: Content, row: Any, at: int) -> str:
    try:
        return json_line(content.records([row], np.array([at]))[0]).decode()
    except EngineError:
        return f"This sample has no such form: it holds {content.shape.needs} for this selection."


def _fields(plan: Plan, content: Content) -> list[dict[str, str]]:
    """Which field of the file holds what."""
    if plan.form == "original":
        return [{"Field": "every field", "Holds": "the row as it was read, nothing added or changed"}]
    found = [{"Field": name, "Holds": meaning} for name, _, meaning in content.shape.fields]
    optional = set(content.shape.optional)
    for entry in found:
        entry["Holds"] += ", where any sample has one" if entry["Field"] in optional else ""
    return found + [{"Field": extra.name, "Holds": _held(extra.name, extra.field)} for extra in content.extras]


def _held(name: str, field: str) -> str:
    if field:
        return "original field"
    kind, _, rest = name.partition(":")
    if kind == "target" and rest:
        return f"score for the target {rest}"
    return _MEANING.get(name, "quality signal")
