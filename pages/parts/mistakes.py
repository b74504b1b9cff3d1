"""Errors a user can mend, shown once, in one look. Anything but an `EngineError` is a defect and passes through."""

from collections.abc import Iterator
from contextlib import contextmanager

import streamlit as st

from engine.errors import EngineError
from pages.parts.words import plain


@contextmanager
def errors_shown() -> Iterator[None]:
    """Show an `EngineError` of the block in its own words and go on behind it."""
    try:
        yield
    except EngineError as error:
        show_error(error)


def show_error(error: EngineError) -> None:
    """The one look of a mistake the user can mend."""
    st.error(plain(error), icon=":material/error:")
