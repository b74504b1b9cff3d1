"""Pool: bring in the samples to choose from, the targets to get better at, and the data already owned."""

import streamlit as st

from pages.parts import intake_form, pool_tables
from pages.parts.mistakes import errors_shown
from pages.parts.shell import link, open_page

with open_page(
    "Pool", "Bring in the samples to choose from, and target sets: samples of the task to get better at."
) as project:
    pool_tables.figures(project)

    st.subheader("Add samples", anchor=False)
    with st.container(border=True):
        intake_form.form(project)

    tabs = st.tabs(["Files", "Target sets", "Rows set aside"], key="pool_tabs", on_change="rerun")
    for tab, table in zip(tabs, (pool_tables.files, pool_tables.targets, pool_tables.set_aside)):
        if tab.open:
            with tab, errors_shown():
                table(project)

    if pool_tables.ready(project):
        link("Score", "Next: score the pool")
