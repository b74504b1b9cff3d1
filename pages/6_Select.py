"""Select: choose the subset, see who is in and why, save it, approve it as a whole."""

import streamlit as st

from pages.parts import chips, run_choice, select_form, select_view
from pages.parts.mistakes import errors_shown
from pages.parts.proposing import proposed
from pages.parts.shell import open_page

with open_page(
    "Select",
    "Choose the subset by size and strategy. Approved samples are always in, rejected ones never.",
    needs=("project", "pool", "run"),
) as project:
    with st.container(horizontal=True, vertical_alignment="bottom"):
        view = run_choice.choose(project)
    run_choice.coverage(project, view)
    chips.bar(project, view, key="select")
    with errors_shown():
        wish = select_form.wish(project, view)
        proposal = proposed(project, view, wish) if select_form.possible(project, wish) else None
        if proposal is not None:
            select_view.figures(project, view, proposal)
            blocks = select_view.blocks(proposal)
            tabs = st.tabs(list(blocks), key="select_tabs", on_change="rerun")
            for tab, block in zip(tabs, blocks.values()):
                if tab.open:
                    with tab:
                        block(project, view, proposal)
            select_view.save(project, view, proposal)

    st.subheader("Saved selections", anchor=False)
    with errors_shown():
        select_view.saved(project)
