"""A page with nothing but the point map, for the browser test: `?n=3000&channels=1`, or four points: `?four`."""

import sys
from pathlib import Path

import numpy as np
import streamlit as st

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from engine.curation.areas import polygon_mask
from pages.parts import colours
from pages.parts.point_map import MapLabel, point_map

NASTY = "<img src=x onerror=\"document.title='stolen'\"> **bold**"


@st.cache_data
def islands(n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Positions, island codes and signed scores of `n` points on 24 islands, and the islands' middles (NaN: none)."""
    rng = np.random.default_rng(7)
    middles = rng.uniform(-1, 1, (24, 2)) * (1.5, 1)
    spread = rng.uniform(0.03, 0.14, 24)
    code = np.minimum(rng.geometric(0.09, n) - 1, 23)
    twist = rng.normal(size=(n, 2)) * spread[code, None]
    bend = np.stack([np.sin(twist[:, 1] * 14 + code), np.cos(twist[:, 0] * 11 - code)], axis=1) * 0.05
    xy = (middles[code] + twist + bend).astype(np.float32)
    xy /= np.abs(xy).max()
    score = rng.normal(size=n) * 0.02 + np.sin(code * 1.7) * 0.03 + twist[:, 0] * 0.2
    with np.errstate(invalid="ignore"):
        middles = (
            np.stack([np.bincount(code, xy[:, axis], 24) for axis in (0, 1)], 1)
            / np.bincount(code, minlength=24)[:, None]
        )
    return xy, code, score.astype(np.float32), middles


st.set_page_config(page_title="point map", layout="wide")
n = int(st.query_params.get("n", "3000"))
xy, code, score, middles = islands(n)
doubt = np.where(code % 2, 0.0, np.abs(xy[:, 0])).astype(np.float32)


@st.fragment
def page() -> None:
    """The map between its controls and what it told."""
    mode = st.radio("Colour", ["score", "cluster", "length", "source"], horizontal=True)
    filtered = st.toggle("Filter", value=False)
    channels = "channels" in st.query_params
    names = [
        f"{word} {topic}"
        for word in ("list", "city", "proof")
        for topic in ("code", NASTY, "sums", "maps", "a", "b", "c", "d")
    ]
    rgba, legend = {
        "score": lambda: colours.diverging(score, title="Influence", unit="cosine", dark=colours.is_dark()),
        "cluster": lambda: colours.categorical(code, names, title="Cluster"),
        "length": lambda: colours.sequential(
            np.abs(score) * 4000, title="Length", unit="words", dark=colours.is_dark()
        ),
        "source": lambda: colours.categorical(code % 3, ["gsm8k", "codegen", "bbh"], title="Source"),
    }[mode]()
    lasso = st.session_state.get("lasso")
    labels = [
        MapLabel(*map(float, middles[c]), names[c])
        for c in np.argsort(-np.bincount(code, minlength=24))
        if np.isfinite(middles[c]).all()
    ]
    event = point_map(
        key="map",
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
        legend_chosen=[i for i, entry in enumerate(legend.entries) if entry.code == st.session_state.get("told", "")],
        height=600,
    )
    if event.legend is not None:
        st.session_state.told = legend.entries[event.legend].code
        st.rerun(scope="fragment")
    if event.lasso:
        st.session_state.lasso = event.lasso
        st.rerun(scope="fragment")
    if event.box:
        x0, y0, x1, y1 = event.box
        st.session_state.lasso = [(x0, y0), (x1, y0), (x1, y1), (x0, y1)]
        st.rerun(scope="fragment")
    if event.clicked is not None:
        st.session_state.clicked = event.clicked
    if st.session_state.get("lasso"):
        st.text(f"lassoed {int(polygon_mask(xy, st.session_state.lasso).sum())}")
    st.text(f"legend {st.session_state.get('told')}")
    st.text(f"clicked {st.session_state.get('clicked')}")
    st.text(f"hovered {event.hovered}")


@st.fragment
def four() -> None:
    """Points at the corners of a square: plain, uncertain, of weight, and left out by a filter."""
    rgba, legend = colours.categorical(np.zeros(4, int), ["blue"], title="Kind")
    point_map(
        key="four",
        xy=np.array([[-1, 1], [1, 1], [-1, -1], [1, -1]], dtype=np.float32),
        colours=rgba,
        excluded=np.arange(4) == 3,
        uncertainty=colours.Channel(np.eye(4)[1], "Spread", "0 nats", "1 nats"),
        weights=colours.Channel(np.array([0, 0.3, 1, 0]), "Weight", "0", "1"),
        legend=legend,
    )


if "four" in st.query_params:
    four()
else:
    page()
