"""Map: the whole pool as points; colour it, filter it, lasso a region, decide on many at once."""

import streamlit as st

from pages.parts import chips, find, histograms, job_panel, map_view, reads, run_choice
from pages.parts.shell import open_page
from pages.parts.words import opened, plain

with open_page(
    "Map",
    "See the pool as a whole: similar samples lie together. Lasso a region to select it.",
    needs=("project", "pool"),
) as project:
    running = job_panel.panels(project, ("map", "demo"))
    layout = reads.layout(project)
    if layout is None:
        map_view.build(project, running=running)
        st.stop()
    with st.container():  # one, so that the map stays mounted whatever is said above it
        map_view.rebuild(project, layout)
        with st.container(horizontal=True, vertical_alignment="bottom"):
            view = run_choice.choose(project) if reads.by_state(project, "runs") else None
            drawn = map_view.look(project, view)
        find.bar(project, key="map")
        chips.bar(project, view, key="map")
        if view is not None:
            run_choice.coverage(project, view)
    found = map_view.sets(project)

    left, right = st.columns([7, 4], gap="medium")
    with left:
        map_view.plane(project, layout, found, drawn)
        for note in layout.notes:
            st.caption(plain(opened(note)))
        map_view.doubtful(project, layout, view)
    with right:
        map_view.actions(project, found)
        map_view.panel(project, view)
    st.header("Distributions", anchor=False)
    histograms.panel(project, view, key="map")
