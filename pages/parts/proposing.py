"""When a proposal is computed: at once and cached, or in a large pool, where it takes a while, when it is asked for.

A proposal that was asked for stays until the choice, the run in view, the pool, the map, the signals, the sets beside
the pool or people's decisions change; then it is asked for again. Does not choose (`choosing`).
"""

import hashlib
from typing import Any

import streamlit as st

from engine.runs.choice import Choice
from engine.store.project import Project
from pages.parts import choosing, reads
from pages.parts.bar import BarReporter
from pages.parts.choosing import Proposal
from pages.parts.run_choice import View
from pages.parts.words import count

LARGE = 20_000  # pool rows; comparing more of them takes longer than a page may
_KEPT = "ts_proposal"


def proposed(project: Project, view: View, choice: Choice) -> Proposal | None:
    """The proposal, or None where it has still to be asked for. Raises `EngineError` as `choosing.propose` does."""
    if choice.described.covers and reads.pool_size(project) > LARGE:
        return _on_demand(project, view, choice)
    with st.spinner("Choosing"):
        return choosing.propose(project, view, choice)


def _on_demand(project: Project, view: View, choice: Choice) -> Proposal | None:
    known = _identity(project, view, choice)
    kept = st.session_state.get(_KEPT)
    if kept is not None and kept[0] == known:
        return kept[1]
    place = st.empty()
    with place.container(border=True):
        size = count(reads.pool_size(project), "sample")
        st.markdown(f"Comparing {size} takes a while, so it is done when you ask for it.")
        asked = st.button("Propose", type="primary", key="select_propose", icon=":material/play_arrow:")
    if not asked:
        return None
    place.empty()
    bar = BarReporter()
    try:
        found = choosing.propose_anew(project, view, choice, reporter=bar)
    finally:
        bar.close()
    st.session_state[_KEPT] = (known, found)
    return found


def _identity(project: Project, view: View, choice: Choice) -> tuple[Any, ...]:
    """All that a proposal depends on."""
    decided = hashlib.sha256(reads.decisions(project).tobytes()).hexdigest()
    names = ("pool_hash", "latest_map", "latest_signals", "counts", "tag_version")
    facts = tuple(str(reads.by_state(project, name)) for name in names)
    return (str(project.path), view.scores.artifact, choice, decided, *facts)
