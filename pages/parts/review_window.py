"""The samples around the reviewer's place, read ahead, as the desk in the browser wants them.

Only what is shown is kept, so that a sample of ten megabytes costs ten kilobytes; a sample is read once per session.
Notation: a *place* counts the list from 0. Does not draw and does not decide.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import streamlit as st

from engine.store.project import Project
from pages.parts import filters, find_marks, reads, sample_view
from pages.parts.words import count, shorten, visible

BEHIND, AHEAD = 2, 40  # a server under load answers after seconds; a reviewer should not notice
SENT_AHEAD, NEAR = 3000, 10  # characters of a sample that is not in view yet; far ones less, the rest follows
MOST_KEPT, MOST_FIELDS = 400, 30
_KEPT = "ts_review_texts"


@dataclass(frozen=True)
class Shown:
    """One sample as it is shown: its id, where it comes from, and its turns as (label, text)."""

    row: int
    id: str
    source: str
    turns: tuple[tuple[str, str], ...]
    fields: tuple[tuple[str, str], ...] = ()


def around(project: Project, rows: np.ndarray, at: int, tags: Mapping[str, np.ndarray]) -> list[dict[str, Any]]:
    """The samples from `BEHIND` places before to `AHEAD` after `at`, for the desk; the one in view as a whole.

    `tags`: the rows that carry each tag, ascending.
    """
    first = max(0, at - BEHIND)
    wanted = np.asarray(rows[first : at + AHEAD + 1])
    codes = reads.decisions(project)
    carried: dict[int, list[str]] = {int(row): [] for row in wanted}
    for name, carriers in tags.items():
        for row in np.intersect1d(carriers, wanted).tolist():
            carried[row].append(name)
    return [
        _sent(place, shown, filters.DECISION_OF[int(codes[shown.row])], carried[shown.row], _room(place - at))
        for place, shown in enumerate(shown_rows(project, wanted.tolist()), start=first)
    ]


def _room(ahead: int) -> int | None:
    """Characters of a sample that are sent, by how many places ahead it is; None for all of it."""
    return None if ahead == 0 else SENT_AHEAD if ahead <= NEAR else SENT_AHEAD // 3


def _sent(place: int, shown: Shown, code: str, tags: Sequence[str], room: int | None) -> dict[str, Any]:
    turns, left = [], sum(len(text) for _, text in shown.turns) if room is None else room
    for label, text in shown.turns:
        if left <= 0 and text:
            break
        sent = text[:left]
        found = find_marks.parts(sent, "assistant" if label == sample_view.label("assistant") else "user")
        turns.append([label, sent, found] if found else [label, sent])
        left -= len(text)
    whole = left >= 0 and len(turns) == len(shown.turns)
    return {"at": place, "row": shown.row, "id": shown.id, "source": shown.source, "code": code, "turns": turns,
            "fields": shown.fields, "tags": [[tag, visible(tag)] for tag in tags], "whole": whole}  # fmt: skip


def shown_rows(project: Project, rows: Sequence[int]) -> list[Shown]:
    """These pool rows as they are shown; those not seen before are read in one go."""
    kept: dict[tuple[str, int], Shown] = st.session_state.setdefault(_KEPT, {})
    pool = f"{project.path} {reads.by_state(project, 'pool_hash')}"
    missing = [row for row in dict.fromkeys(rows) if (pool, row) not in kept]
    if missing:
        if len(kept) > MOST_KEPT:
            kept.clear()
            missing = list(dict.fromkeys(rows))
        kept.update({(pool, stored.row): _shown(stored) for stored in project.rows(missing)})
    return [kept[pool, row] for row in rows]


def _shown(stored: Any) -> Shown:
    turns, left = [], sample_view.LONGEST
    for message in stored.messages:
        text = sample_view.cut(message.content, max(left, sample_view.LEAST)) if message.content.strip() else ""
        turns.append((sample_view.label(message.role), visible(text)))
        left -= len(text)
    place = f"{shorten(stored.file, 60)}, line {stored.line:,}"
    source = f"id {shorten(stored.id, 60)} · {place} · {count(stored.words, 'word')}"
    fields = tuple((visible(shorten(name, 60)), visible(shorten(str(v), 300))) for name, v in stored.fields.items())
    return Shown(int(stored.row), visible(shorten(stored.id, 60)), visible(source), tuple(turns), fields[:MOST_FIELDS])
