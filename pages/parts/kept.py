"""What was entered in a form, kept while parts of the form or other pages are shown instead.

Streamlit forgets the value of a widget that is not drawn. `restore` gives it back before the widgets are drawn again,
`keep` takes note of all of them afterwards; both know a form by the beginning of its widgets' keys, and a project's
values never reach another project.
"""

from collections.abc import Sequence
from typing import Any

import streamlit as st

_KEPT = "ts_kept"


def restore(prefix: str, owner: str) -> None:
    """Give back the values of widgets that are not there, as last kept for the same `owner`."""
    for name, value in _of(prefix, owner).items():
        if name not in st.session_state:
            st.session_state[name] = value


def keep(prefix: str, owner: str, *, without: Sequence[str] = ()) -> None:
    """Take note of the values of all widgets whose keys begin with `prefix`, apart from `without` (buttons)."""
    _of(prefix, owner).update(
        {
            str(name): value
            for name, value in st.session_state.items()
            if str(name).startswith(prefix) and name not in without
        }
    )


def preset(key: str, value: Any) -> None:
    """Give a widget that has no value yet its first one; in this way a value can also be restored to it."""
    if key not in st.session_state:
        st.session_state[key] = value


def _of(prefix: str, owner: str) -> dict[str, Any]:
    found = st.session_state.setdefault(_KEPT, {})
    if found.get(prefix, ("", {}))[0] != owner:
        found[prefix] = (owner, {})
    return found[prefix][1]
