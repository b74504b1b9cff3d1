"""Select: choose the subset, see who is in and why, save it, approve it as a whole."""

import streamlit as st

from engine.errors import EngineError
from pages.parts import approval, chips, reads, run_choice, select_form, select_view
from pages.parts.mistakes import errors_shown, show_error
from pages.parts.proposing import proposed
from pages.parts.shell import empty, open_page

with open_page(
    "Select",
    "Choose the subset by size and strategy. Approved samples are always in, rejected ones never.",
    needs=("project", "pool"),
) as project:
    approval.waiting(project)
    scored = bool(reads.by_state(project, "runs"))
    if not scored:
        empty("Nothing has been scored yet", "Score the pool first: one click with the built-in model.", "Score")
        if not reads.by_state(project, "selections"):
            st.stop()
    with errors_shown():
        if scored:
            with st.container(horizontal=True, vertical_alignment="bottom"):
                view = run_choice.choose(project)
            run_choice.coverage(project, view)
            chips.bar(project, view, key="select")
            choice = select_form.asked(project, view)
            proposal = None
            if select_form.possible(project, choice):
                try:
                    proposal = proposed(project, view, choice)
                except EngineError as error:
                    show_error(error)
                if proposal is None:
                    select_view.lacking(project, view, choice)
            if proposal is not None:
                select_view.figures(project, view, proposal)
                blocks = select_view.blocks(proposal)
                for tab, block in zip(st.tabs(list(blocks), key="select_tabs", on_change="rerun"), blocks.values()):
                    if tab.open:
                        with tab:
                            block(project, view, proposal)
                select_view.save(project, view, proposal)

    st.header("Saved selections", anchor=approval.ANCHOR)
    with errors_shown():
        approval.desk(project)
