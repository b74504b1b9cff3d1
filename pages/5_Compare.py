"""Compare: two or more runs side by side, where they part, and the samples behind any part."""

import streamlit as st

from pages.parts import chips, comparison, comparison_samples, comparison_where, kept, reads
from pages.parts.mistakes import errors_shown
from pages.parts.shell import empty, open_page

with open_page(
    "Compare",
    "See how far runs agree, where they part, and look at the samples behind it.",
    needs=("project", "pool", "run"),
) as project:
    if len(reads.by_state(project, "runs")) < 2:
        empty("There is only one run", "Score again with another method, seed or target to have two.", "Score")
        st.stop()
    kept.restore("compare_", str(project.path))
    views = comparison.choose(project)
    if len(views) < 2:
        empty("Choose at least two runs", "They are then compared pair by pair.")
        st.stop()
    views = comparison.within(views, chips.bar(project, views[0], key="comparing"))
    with st.spinner("Comparing…"):
        found = comparison.every(project, views)
    if len(views) > 2:
        comparison.overview(views, found)
    one, two = comparison.choose_pair(views)
    with st.spinner("Comparing…"):
        figures, pair = comparison.figures_of(project, one, two), comparison.pair_of(project, one, two)
    if figures.rows == 0:
        empty("The two runs have no sample in common here", "Choose another pair, or remove a filter.")
        kept.keep("compare_", str(project.path))
        st.stop()
    st.header(comparison.title(one, two), anchor=False)
    comparison.figures(figures)
    blocks = {
        "Samples": lambda: comparison_samples.explore(project, pair, one, two),
        "On the map": lambda: comparison_where.on_map(project, pair, one, two),
        "By source or field": lambda: comparison_where.by_source(project, pair, one, two),
    }
    if len(views) == 2:
        blocks["Overlap of the tops"] = lambda: comparison.curves([one, two], {(0, 1): figures})
    for tab, block in zip(st.tabs(list(blocks), key="comparing_tabs", on_change="rerun"), blocks.values()):
        if tab.open:
            with tab, errors_shown():
                block()
    kept.keep("compare_", str(project.path))
