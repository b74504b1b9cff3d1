"""Long lists, a page at a time: which part of them is shown, and buttons to go on."""

import streamlit as st

from pages.parts.words import count

PAGE = 25


def part(key: str, total: int, *, what: str = "sample", owner: object = None, page: int = PAGE) -> slice:
    """Draw "1–25 of 1,204 samples" with buttons before and after, and return the part shown.

    The list begins anew where `owner`, which says what is listed, has changed, or when it has become shorter.
    """
    place, whose = f"ts_page_{key}", f"ts_page_of_{key}"
    if st.session_state.get(whose) != owner or st.session_state.get(place, 0) * page >= max(total, 1):
        st.session_state[whose], st.session_state[place] = owner, 0
    at = st.session_state[place]
    first, last = at * page, min(total, (at + 1) * page)
    with st.container(horizontal=True, vertical_alignment="center"):
        if total > page:
            st.button("Previous page", key=f"{key}_before", icon=":material/chevron_left:", disabled=at == 0,
                      on_click=_go, args=(place, at - 1), width=150)  # fmt: skip
            st.button("Next page", key=f"{key}_after", icon=":material/chevron_right:", disabled=last >= total,
                      on_click=_go, args=(place, at + 1), width=150)  # fmt: skip
        said = f"{first + 1:,}–{last:,} of {count(total, what)}" if total > page else count(total, what)
        st.caption(said, width="content")
    return slice(first, last)


def _go(place: str, at: int) -> None:
    st.session_state[place] = at
