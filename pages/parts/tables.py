"""Tables of plain values: whole numbers with thousands separated, text as text, height fitted to the rows."""

from collections.abc import Mapping, Sequence
from typing import Any

import streamlit as st

ROW, HEADER, MOST = 35, 38, 14


def table(rows: Sequence[Mapping[str, Any]], *, columns: Mapping[str, Any] | None = None, most: int = MOST) -> None:
    """Show records as a table of at most `most` rows in height; `columns` overrides how single columns are shown.

    Cells are drawn on a canvas, so whatever text they hold stays text.
    """
    config = {name: st.column_config.NumberColumn(format="localized") for name in _whole_numbers(rows)}
    height = HEADER + ROW * min(most, len(rows))
    st.dataframe(list(rows), hide_index=True, height=height, column_config={**config, **(columns or {})})


def _whole_numbers(rows: Sequence[Mapping[str, Any]]) -> set[str]:
    names = set(rows[0]) if rows else set()
    return {name for name in names if all(_whole(row.get(name)) for row in rows)}


def _whole(value: Any) -> bool:
    return value is None or (isinstance(value, int) and not isinstance(value, bool))
