"""The gain curve: what share of all that was gained the first samples gained, and where more of them add little."""

import numpy as np
import plotly.graph_objects as go
import streamlit as st

from engine.selection.curve import Curve, Ranked
from pages.parts.charts import CONFIG, GREY, LAYOUT, OCHRE, TEAL
from pages.parts.words import plain

POINTS = 1000


def draw(curve: Curve, key: str) -> None:
    """The curve with its knee marked, under the sentence it makes."""
    st.markdown(plain(curve.sentence))
    samples, shares = points(curve)
    figure = go.Figure()
    figure.add_scatter(x=[0, len(curve.shares)], y=[0, 1], mode="lines", line={"color": GREY, "dash": "dot"},
                       hoverinfo="skip")  # fmt: skip
    figure.add_scatter(x=samples, y=shares, mode="lines", line_color=TEAL,
                       hovertemplate="%{x:,} samples: %{y:.1%}<extra></extra>")  # fmt: skip
    figure.add_scatter(x=[curve.knee], y=[curve.at_knee], mode="markers", marker={"color": OCHRE, "size": 11},
                       hovertemplate="knee: %{x:,} samples, %{y:.1%}<extra></extra>")  # fmt: skip
    figure.update_layout(**LAYOUT, height=280, xaxis_title="samples, in the order chosen", yaxis_title="share gained")
    figure.update_yaxes(tickformat=".0%", rangemode="tozero")
    st.plotly_chart(figure, config=CONFIG, key=key)


def draw_ranked(curve: Ranked, key: str) -> None:
    """The sum of the highest scores, with the knee, the rows chosen and rows drawn at random, under the sentence."""
    st.markdown(plain(curve.sentence))
    m = len(curve.shares)
    shown = np.union1d(np.geomspace(1, m, min(m, POINTS)).round().astype(np.int64), [curve.knee, min(curve.count, m)])
    figure = go.Figure()
    last = curve.shares[-1] * 1.0
    figure.add_scatter(x=[0, m], y=[0, last], mode="lines", line={"color": GREY, "dash": "dot"}, name="at random",
                       hoverinfo="skip")  # fmt: skip
    figure.add_scatter(x=shown.astype(np.float32), y=curve.shares[shown - 1], mode="lines", line_color=TEAL,
                       name="best first", hovertemplate="best %{x:,}: %{y:.1%}<extra></extra>")  # fmt: skip
    figure.add_vline(x=curve.count, line_color=GREY, line_width=1)
    marks = (("knee", curve.knee, curve.shares[curve.knee - 1], OCHRE, "circle"),
             ("this selection", curve.count, curve.chosen, TEAL, "diamond"),
             ("as many at random", curve.count, curve.random, GREY, "circle"))  # fmt: skip
    for name, at, share, colour, symbol in marks:
        figure.add_scatter(
            x=[at], y=[share], mode="markers", name=name, marker={"color": colour, "size": 11, "symbol": symbol},
            hovertemplate=name + ": %{x:,} samples, %{y:.1%}<extra></extra>",
        )  # fmt: skip
    figure.update_layout(**{**LAYOUT, "showlegend": True}, height=300, legend={"orientation": "h", "y": 1.12},
                         xaxis_title="samples, best first", yaxis_title="share of positive scores")  # fmt: skip
    figure.update_yaxes(tickformat=".0%")
    st.plotly_chart(figure, config=CONFIG, key=key)


def points(curve: Curve) -> tuple[np.ndarray, np.ndarray]:
    """At most `POINTS` + 2 points of the curve from (0, 0) to its end, the knee among them; float32 both."""
    k = len(curve.shares)
    shown = np.union1d(np.linspace(1, k, min(k, POINTS)).round().astype(np.int64), [curve.knee])
    shares = np.concatenate([[0], curve.shares[shown - 1]])
    return np.concatenate([[0], shown]).astype(np.float32), shares.astype(np.float32)
