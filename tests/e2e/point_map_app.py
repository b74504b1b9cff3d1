"""A page with nothing but the point map, for the browser test.

What is typed under "Anew" begins a new map in the place of the old one: its number, and how many points it has (with
"channels", their doubt and weight as well) or "four": a point at each corner of a square.
"""

import sys
from pathlib import Path

import numpy as np
import streamlit as st

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from engine.curation.areas import polygon_mask
from pages.parts import colours
from pages.parts.point_map import MapLabel, point_map
from tests.e2e.point_map_islands import ISLANDS, islands

NASTY = "<img src=x onerror=\"document.title='stolen'\"> **bold**"
NAMES = [
    f"{word} {topic}"
    for word in ("list", "city", "proof")
    for topic in ("code", NASTY, "sums", "maps", "a", "b", "c", "d")
]


@st.fragment
def page(number: str, points: int, channels: bool) -> None:
    """The map between its controls and what it told."""
    xy, code, score, middles = st.cache_data(islands)(points)
    doubt = np.where(code % 2, 0.0, np.abs(xy[:, 0])).astype(np.float32)
    told = st.session_state.setdefault(f"told{number}", {})
    mode = st.radio("Colour", ["score", "cluster", "length", "source"], horizontal=True, key=f"colour{number}")
    filtered = st.toggle("Filter", value=False, key=f"filter{number}")
    rgba, legend = {
        "score": lambda: colours.diverging(score, title="Influence", unit="cosine", dark=colours.is_dark()),
        "cluster": lambda: colours.categorical(code, NAMES, title="Cluster"),
        "length": lambda: colours.sequential(
            np.abs(score) * 4000, title="Length", unit="words", dark=colours.is_dark()
        ),
        "source": lambda: colours.categorical(code % 3, ["gsm8k", "codegen", "bbh"], title="Source"),
    }[mode]()
    lasso = told.get("lasso")
    labels = [
        MapLabel(*map(float, middles[c]), NAMES[c])
        for c in np.argsort(-np.bincount(code, minlength=ISLANDS))
        if np.isfinite(middles[c]).all()
    ]
    event = point_map(
        key=f"map{number}",
        xy=xy,
        colours=rgba,
        excluded=score < 0 if filtered else None,
        selected=polygon_mask(xy, lasso) if lasso else None,
        labels=labels,
        outlines=[lasso] if lasso else [],
        hover_text=lambda row: f"row {row}\n{NASTY}",
        uncertainty=colours.channel(doubt, title="Standard deviation", unit="cosine") if channels else None,
        weights=colours.channel(np.abs(score), title="Weight") if channels else None,
        legend=legend,
        legend_chosen=[i for i, entry in enumerate(legend.entries) if entry.code == told.get("legend", "")],
        height=600,
    )
    if event.legend is not None:
        told["legend"] = legend.entries[event.legend].code
        st.rerun(scope="fragment")
    if event.lasso:
        told["lasso"] = event.lasso
        st.rerun(scope="fragment")
    if event.box:
        x0, y0, x1, y1 = event.box
        told["lasso"] = [(x0, y0), (x1, y0), (x1, y1), (x0, y1)]
        st.rerun(scope="fragment")
    if event.clicked is not None:
        told["clicked"] = event.clicked
    if lasso:
        st.text(f"lassoed {int(polygon_mask(xy, lasso).sum())}")
    st.text(f"legend {told.get('legend')}")
    st.text(f"clicked {told.get('clicked')}")
    st.text(f"hovered {event.hovered}")


@st.fragment
def four(number: str) -> None:
    """Points at the corners of a square: plain, uncertain, of weight, and left out by a filter."""
    rgba, legend = colours.categorical(np.zeros(4, int), ["blue"], title="Kind")
    point_map(
        key=f"map{number}",
        xy=np.array([[-1, 1], [1, 1], [-1, -1], [1, -1]], dtype=np.float32),
        colours=rgba,
        excluded=np.arange(4) == 3,
        uncertainty=colours.Channel(np.eye(4)[1], "Spread", "0 nats", "1 nats"),
        weights=colours.Channel(np.array([0, 0.3, 1, 0]), "Weight", "0", "1"),
        legend=legend,
    )


st.set_page_config(page_title="point map", layout="wide")
about, _, wanted = st.text_input("Anew", "0 3000").partition(" ")
if wanted == "four":
    four(about)
else:
    page(about, int(wanted.split()[0]), "channels" in wanted)
