"""Home: the projects of this machine, how far each has come, and what to do next."""

import streamlit as st

from pages.parts import home, job_panel, paths, state
from pages.parts.mistakes import errors_shown
from pages.parts.shell import open_frame

project = open_frame(
    "Projects", "Find the samples of a pool that help your task, look at them, decide, export the subset."
)

with errors_shown():
    if project is not None and not job_panel.panels(project, ("demo",)):
        home.current(project)

with errors_shown():
    others = [path for path in paths.listed_projects() if str(path) != state.get("project")]
    if others:
        st.header("Other projects" if project else "Your projects", anchor=False)
        home.cards(others)

with errors_shown():
    if project is None and not others:
        home.story()
    st.header("Start something new", anchor=False)
    demo, new, existing = st.columns(3)
    home.demo(demo, first=project is None and not others)
    home.create(new)
    home.open_existing(existing)
