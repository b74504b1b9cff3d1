"""What changed between two saved selections: rows with why, settings, composition; every sample can be opened."""

import json
from typing import Any

import numpy as np
import streamlit as st

from engine.curation import changes, columns
from engine.curation.changes import Changes
from engine.store.project import Project
from engine.store.selections import Selection
from pages.parts import paged, reads, row_list
from pages.parts.tables import table
from pages.parts.words import shorten

SHOWN = 100


def compare(project: Project, chosen: Selection, found: list[Selection]) -> None:
    """Draw the choice of an earlier selection and what changed from it to the chosen one; `found` newest first."""
    others = {(s.name, s.version): s for s in found if s is not chosen}
    if not others:
        st.caption("There is nothing to compare with yet: it is the only selection saved.")
        return
    key = f"versions_with_{chosen.name}_{chosen.version}"
    if st.session_state.get(key) not in others:
        st.session_state[key] = _before(chosen, others)
    name = st.selectbox(
        "Against", list(others), key=key, width=420,
        format_func=lambda at: f"{shorten(at[0], 50)}, version {at[1]} ({others[at].state})",
    )  # fmt: skip
    before = others[name]
    made = changes.changes(before, chosen)
    _figures(made, before, chosen)
    _settings(made)
    _shift(project, before, chosen)
    _rows(project, made, before, chosen)


def _before(chosen: Selection, others: dict[tuple[str, int], Selection]) -> tuple[str, int]:
    """The version before of the same name, else what was saved last."""
    same = [key for key in others if key[0] == chosen.name and key[1] < chosen.version]
    return same[0] if same else next(iter(others))


def _figures(made: Changes, before: Selection, chosen: Selection) -> None:
    with st.container(horizontal=True):
        st.metric("Came in", f"{len(made.added):,}", border=True)
        st.metric("Went out", f"{len(made.removed):,}", border=True)
        st.metric("In both", f"{made.kept:,}", border=True,
                  help=f"Of {len(before.rows):,} before and {len(chosen.rows):,} now.")  # fmt: skip
        st.metric("Other weight", f"{made.reweighted:,}", border=True, help="Of those in both.")


def _settings(made: Changes) -> None:
    if not made.settings:
        st.caption("The settings are the same.")
        return
    st.markdown("**Settings that differ**")
    table([{"Setting": name, "Before": _told(old), "Now": _told(new)} for name, old, new in made.settings])


def _told(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, list) and value and all(isinstance(part, str) for part in value):
        return shorten(", ".join(value), 300)
    return shorten(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False), 300)


def _shift(project: Project, before: Selection, chosen: Selection) -> None:
    st.markdown("**Composition**")
    facts = reads.facts(project)
    named = {c.name: c for c in columns.listed(facts) if c.kind != "number"}
    usual = next((name for name in ("field/source", "cluster", "file") if name in named), next(iter(named)))
    if st.session_state.get("versions_column") not in named:
        st.session_state["versions_column"] = usual
    name = str(st.selectbox("By", list(named), key="versions_column", width=300,
                            format_func=lambda n: shorten(named[n].title, 50)))  # fmt: skip
    found = changes.shift(facts, before, chosen, name)
    table([_line(entry) for entry in found[:SHOWN]], columns={
        "Share before": st.column_config.NumberColumn(format="%.1f %%"),
        "Share now": st.column_config.NumberColumn(format="%.1f %%"),
        "Shift": st.column_config.NumberColumn("Shift, points", format="%+.1f", help="In percent points."),
    })  # fmt: skip
    if len(found) > SHOWN:
        st.caption(f"The {SHOWN} values that shift most, of {len(found):,}.")


def _line(entry: dict[str, Any]) -> dict[str, Any]:
    return {
        "Value": shorten(entry["name"], 60),
        "Shift": 100 * (entry["share_after"] - entry["share_before"]),
        "Share before": 100 * entry["share_before"],
        "Share now": 100 * entry["share_after"],
        "Samples before": entry["before"],
        "Samples now": entry["after"],
    }


def _rows(project: Project, made: Changes, before: Selection, chosen: Selection) -> None:
    names = {"in": f"Came in ({len(made.added):,})", "out": f"Went out ({len(made.removed):,})"}
    st.session_state.setdefault("versions_side", "in")
    side = st.segmented_control(
        "Samples", list(names), key="versions_side", required=True, format_func=names.__getitem__
    )
    rows = made.added if side == "in" else made.removed
    if not len(rows):
        st.caption("None.")
        return
    owner = (str(project.path), before.name, before.version, chosen.name, chosen.version, side)
    part = rows[paged.part("versions_rows", len(rows), owner=owner)]
    row_list.draw(project, part, {"Why": _why(project, chosen, part, came=side == "in")}, key="versions_table")


def _why(project: Project, chosen: Selection, rows: np.ndarray, *, came: bool) -> list[str]:
    told = (changes.why_added if came else changes.why_removed)(reads.facts(project), chosen, rows)
    return [shorten(text, 80) for text in told]
