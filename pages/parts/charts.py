"""The plots of the pages. Every figure is made of float arrays small enough to send; none carries text per point."""

from typing import Any

import numpy as np
import plotly.graph_objects as go
import streamlit as st

from engine.store.project import Project
from pages.parts import reads
from pages.parts.run_choice import View

TEAL, OCHRE, GREY = "#0f6b6b", "#c98a1b", "#9aa5a8"
BINS = 60
LAYOUT: dict[str, Any] = {"margin": {"l": 10, "r": 10, "t": 10, "b": 10}, "showlegend": False, "bargap": 0.05}
CONFIG: dict[str, Any] = {"displayModeBar": False, "displaylogo": False}


def histogram(project: Project, view: View) -> None:
    """How the chosen column's scores are spread over the pool."""
    counts, edges = reads.by_artifact(
        project, view.scores.artifact, "histogram", lambda _: bins(np.asarray(view.values)), view.column
    )
    if counts.sum() == 0:
        st.caption("This column has no score.")
        return
    figure = go.Figure(
        go.Bar(
            x=(edges[:-1] + edges[1:]) / 2,
            y=counts,
            marker_color=TEAL,
            hovertemplate="%{x:.4f}: %{y:,} samples<extra></extra>",
        )
    )
    figure.add_vline(x=0, line_color=GREY, line_dash="dot")
    figure.update_layout(**LAYOUT, height=240, xaxis_title=axis_title(view), yaxis_title="samples")
    st.plotly_chart(figure, config=CONFIG, key=f"histogram_{view.record.name}_{view.column}")


def bins(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Counts and edges of the finite values in `BINS` equal bins."""
    finite = values[np.isfinite(values)]
    counts, edges = np.histogram(finite, bins=BINS) if len(finite) else (np.zeros(1), np.zeros(2))
    return counts.astype(np.float32), edges.astype(np.float32)


def axis_title(view: View) -> str:
    """The score with its unit. Plotly reads a little HTML in titles, so angle brackets are taken out."""
    unit = f" ({view.unit})" if view.unit else ""
    return f"score of {view.title}{unit}".replace("<", "‹").replace(">", "›")
