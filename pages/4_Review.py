"""Review: look at single samples, best or worst first, and decide from the keyboard."""

import streamlit as st

from pages.parts import chips, reads, review_desk, review_list, run_choice
from pages.parts.shell import open_page

with open_page(
    "Review",
    "Read single samples and decide: A approve, X reject, S skip, U undo, arrow keys to move.",
    needs=("project", "pool"),
) as project:
    scored = bool(reads.by_state(project, "runs"))
    with st.container(horizontal=True, vertical_alignment="bottom"):
        view = run_choice.choose(project) if scored else None
        options = list(review_list.ORDERS) if scored else ["random", "pool"]
        names = review_list.ORDERS
        order = st.selectbox(
            "Order", options, format_func=names.__getitem__, key="review_order", width=run_choice.WIDTH
        )
        undecided = st.toggle("Only undecided", key="review_undecided")
        anew = st.button("Refresh", key="review_anew", help="Makes the list anew, with what was decided.")
    chips.bar(project, view, key="review")
    if view is not None:
        run_choice.coverage(project, view)
    found = review_list.current(project, view, order, undecided=undecided, anew=anew)
    if found.unscored and order in ("highest", "lowest"):
        st.caption(f"{found.unscored:,} more pass the filters but have no score; see them in pool order.")
    review_desk.desk(project, view)
