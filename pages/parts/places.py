"""Places for widgets that stand beside each other, row after row as they are needed."""

from collections.abc import Iterator
from typing import Any

import streamlit as st


def places(columns: int) -> Iterator[Any]:
    """Columns without end: the next row is begun when the last one is full."""
    while True:
        yield from st.columns(columns, vertical_alignment="bottom")
