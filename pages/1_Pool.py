"""Pool: bring in the samples to choose from, the targets to get better at, what is held out or owned; check it all."""

import streamlit as st

from pages.parts import intake_form, pool_tables, signals_block
from pages.parts.mistakes import errors_shown
from pages.parts.shell import link, open_page

signals_block.leave()
with open_page(
    "Pool", "Bring in the samples to choose from, and target sets: samples of the task to get better at."
) as project:
    pool_tables.figures(project)

    st.header("Add samples", anchor=False)
    with st.container(border=True):
        intake_form.form(project)

    tabs = st.tabs(["Files", "Target sets", "Held-out files", "Rows set aside"], key="pool_tabs", on_change="rerun")
    tables = (pool_tables.files, pool_tables.targets, pool_tables.heldout, pool_tables.set_aside)
    for tab, table in zip(tabs, tables):
        if tab.open:
            with tab, errors_shown():
                table(project)

    signals_block.block(project)

    if pool_tables.ready(project):
        link("Score", "Next: score the pool")
