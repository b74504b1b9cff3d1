"""Score: measure how much every sample of the pool helps the targets, and how far to trust the measure."""

import streamlit as st

from pages.parts import cost_plan, job_panel, runs_list, score_form
from pages.parts.mistakes import errors_shown
from pages.parts.shell import open_page
from pages.parts.words import plain

with open_page(
    "Score",
    "Measure how much each sample of the pool helps the targets. Higher scores are better.",
    needs=("project", "pool"),
) as project:
    running = job_panel.panels(project, ("score", "demo"))

    st.header("New run", anchor=False)
    with st.container(border=True), errors_shown():
        config, name = score_form.form(project)
        if config is not None and not score_form.missing_target(project, config):
            with errors_shown():
                st.caption(plain(cost_plan.sizes(project, config)))
                with st.container(horizontal=True):
                    start = st.button("Start scoring", type="primary", key="score_start")
                    measure = config.method != "random" and st.button("Estimate time and cost", key="score_plan")
                if start:
                    runs_list.start(project, config, name)
                cost_plan.show(project, config, measure=measure)
        if running:
            st.caption("A job is running; a further one waits for its turn.")

    runs_list.finished(project)
