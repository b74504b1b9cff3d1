"""Compare: two runs side by side, and the samples they disagree about."""

import streamlit as st

from pages.parts import comparison, reads
from pages.parts.mistakes import errors_shown
from pages.parts.shell import empty, open_page
from pages.parts.words import plain

with open_page(
    "Compare",
    "See how far two runs agree, and look at the samples they disagree about.",
    needs=("project", "pool", "run"),
) as project:
    if len(reads.by_state(project, "runs")) < 2:
        empty("There is only one run", "Score again with another method, seed or target to have two.", "Score")
        st.stop()
    one, two = comparison.choose(project)
    with st.spinner("Comparing…"):
        found = comparison.pair(project, one, two)
    if len(found.rows) == 0:
        empty("The two runs score no sample in common", "Choose another pair, or score again to cover the same rows.")
        st.stop()
    comparison.figures(found)
    left, right = st.columns(2, gap="medium")
    with left:
        st.markdown("**Overlap of the tops**")
        comparison.curve(found, one, two)
    with right:
        st.markdown(f"**{plain(one.record.name)} against {plain(two.record.name)}**")
        comparison.scatter(found, one, two)
    st.subheader("Largest disagreements in rank", anchor=False)
    with errors_shown():
        comparison.disagreements(project, found, one, two)
