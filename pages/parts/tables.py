"""Tables of plain values: whole numbers with thousands separated, text as text."""

from collections.abc import Mapping, Sequence
from typing import Any

import streamlit as st


def table(rows: Sequence[Mapping[str, Any]], *, columns: Mapping[str, Any] | None = None) -> None:
    """Show records as a table; `columns` overrides how single columns are shown.

    Cells are drawn on a canvas, so whatever text they hold stays text.
    """
    config = {name: st.column_config.NumberColumn(format="localized") for name in _whole_numbers(rows)}
    st.dataframe(list(rows), hide_index=True, column_config={**config, **(columns or {})})


def _whole_numbers(rows: Sequence[Mapping[str, Any]]) -> set[str]:
    names = set(rows[0]) if rows else set()
    return {name for name in names if all(_whole(row.get(name)) for row in rows)}


def _whole(value: Any) -> bool:
    return value is None or (isinstance(value, int) and not isinstance(value, bool))
