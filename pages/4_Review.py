"""Review: look at single samples, best or worst first or at random, and decide from the keyboard."""

import streamlit as st

from pages.parts import (
    chips,
    find,
    reads,
    review_audit,
    review_desk,
    review_list,
    review_orders,
    review_table,
    run_choice,
)
from pages.parts.shell import open_page
from pages.parts.words import count

with open_page(
    "Review",
    "Read single samples and decide: A approve, X reject, S skip, U undo, arrows to move, N note, T tag.",
    needs=("project", "pool"),
) as project:
    scored = bool(reads.by_state(project, "runs"))
    with st.container():  # one, so that the desk stays mounted whatever is said above it
        with st.container(horizontal=True, vertical_alignment="bottom"):
            view = run_choice.choose(project) if scored else None
            order = review_orders.choose(project, view)
            if order == review_orders.DISPUTED:
                review_orders.choose_runs(project)
            as_list = review_table.choose()
            undecided = st.toggle("Only undecided", key="review_undecided", disabled=order == review_orders.AUDIT)
            anew = st.button("Refresh", key="review_anew", help="Makes the list anew, with what was decided.")
        find.bar(project, key="review")
        chips.bar(project, view, key="review")
        if view is not None:
            run_choice.coverage(project, view)
    if order != review_orders.AUDIT or review_audit.controls(project):
        found = review_list.current(project, view, order, undecided=undecided, anew=anew)
        with st.container():
            if found.unscored and order not in review_orders.WITHOUT_SCORES:
                more = count(found.unscored, "more passes the filters but has", "more pass the filters but have")
                st.caption(f"{more} no place in this order; see pool order.")
        (review_table.table if as_list else review_desk.desk)(project, view)
