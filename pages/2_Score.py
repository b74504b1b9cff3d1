"""Score: measure how much every sample of the pool helps the targets, and how far to trust the measure."""

import streamlit as st

from engine.errors import EngineError
from engine.runs import jobs
from pages.parts import cost_plan, job_panel, runs_list, score_form, state
from pages.parts.shell import errors_shown, link, open_page, show_error

with open_page(
    "Score",
    "Measure how much each sample of the pool helps the targets. Higher scores are better.",
    needs=("project", "pool"),
) as project:
    running = job_panel.panels(project, ("score", "demo"))

    st.subheader("New run", anchor=False)
    with st.container(border=True):
        config, name = None, None
        try:
            config, name = score_form.form(project)
        except EngineError as error:
            show_error(error)
        missing = score_form.missing_target(project, config)
        if missing:
            st.caption("This method needs a target set, and the project has none.")
            link("Pool", "Add a target set")
        elif config is not None:
            with errors_shown():
                cost_plan.show(project, config)
        if st.button("Start scoring", type="primary", disabled=config is None or missing, key="score_start"):
            with errors_shown():
                runs_list.check_name(project, name, config)
                started = jobs.submit(project, "score", config, run=name)
                state.notify(f"Scoring has started as job {started}. You may close this page; the job goes on.", "info")
                st.rerun()
        if running:
            st.caption("A job is running; a further one waits for its turn.")

    runs_list.finished(project)
