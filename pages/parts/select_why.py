"""Why is a sample in or out? A field for its id, preset with the sample in view in Review, and the precise answer."""

import streamlit as st

from engine.data.samples import prompt_text
from engine.errors import EngineError
from engine.runs.why import Why
from engine.store.project import Project
from pages.parts import choosing, reads, state
from pages.parts.choosing import Proposal
from pages.parts.mistakes import show_error
from pages.parts.run_choice import View
from pages.parts.words import plain, score, shorten


def ask(project: Project, view: View, proposal: Proposal) -> None:
    """Draw the field and the answer."""
    if "select_why" not in st.session_state:
        st.session_state["select_why"] = str(state.get("sample") or "")
    name = st.text_input("Id of a sample", key="select_why", width=420,
                         placeholder="as in the tables and in Review").strip()  # fmt: skip
    if not name:
        st.caption("Give the id of a sample to read why it is in the subset, or what keeps it out.")
        return
    try:
        row = reads.row_of(project, name)
    except EngineError as error:
        show_error(error)
        return
    _answer(choosing.why_of(project, view, proposal, row))
    st.text(shorten(prompt_text(reads.sample(project, row).messages), 400))


def _answer(found: Why) -> None:
    if found.inside:
        st.success("It is in.", icon=":material/check_circle:")
    else:
        st.info("It is out.", icon=":material/block:")
    for text in found.causes:
        st.markdown(f"- {plain(text)}")
    placed = f"Score {score(found.score)}"
    if found.rank:
        placed += f", rank {found.rank:,} of {found.scored:,} with a score"
    if found.place:
        placed += f", {found.place:,} of {found.able:,} that could be chosen"
    st.caption(plain(f"{placed}."))
    if found.remedies:
        st.markdown("What would bring it in:")
        for text in found.remedies:
            st.markdown(f"- {plain(text)}")
