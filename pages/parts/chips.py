"""The filters in force as removable chips, and the button that adds one; the same on every page."""

import numpy as np
import streamlit as st

from engine.store.project import Project
from pages.parts import filter_form, filters, reads, run_choice, state
from pages.parts.words import plain


def bar(project: Project, view: run_choice.View | None, *, key: str) -> np.ndarray:
    """Draw the chips and return the mask of the rows that pass, bool (n,)."""
    active = state.active_filters()
    found = reads.layout(project) if any(part.kind == "cluster" for part in active) else None
    clusters = found.labels if found is not None else ()
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        for number, part in enumerate(active):
            st.button(
                plain(filters.describe(part, clusters)),
                key=f"{key}_chip_{number}",
                icon=":material/close:",
                icon_position="right",
                help="Remove this filter",
                on_click=state.drop_filter,
                args=(part,),
            )
        if len(active) > 1:
            st.button("Clear all", key=f"{key}_clear", type="tertiary", on_click=state.drop_filter, args=(None,))
        _adder(project, view, key)
    return filters.combined(project, active)


def _adder(project: Project, view: run_choice.View | None, key: str) -> None:
    popover = st.popover("Add a filter", icon=":material/filter_alt:", key=f"{key}_popover", on_change="rerun")
    if not popover.open:
        return
    with popover:
        made = filter_form.form(project, view, key=key)
        st.button(
            "Apply",
            key=f"{key}_apply",
            type="primary",
            disabled=made is None,
            on_click=_apply,
            args=(made, key),
        )


def _apply(made: filter_form.Made, key: str) -> None:
    """Put the filter in force, and close what would hide what it does."""
    if made is not None:
        state.add_filter(made)
        st.session_state[f"{key}_popover"] = False
