"""The point map: a WebGL2 component that draws up to millions of points and tells what was lassoed or pointed at.

    event = point_map(key="map", xy=xy, colours=colours, excluded=~passes, hover_text=text_of_row)
    if event.lasso: chosen = polygon_mask(xy, event.lasso)  # engine.curation.areas

Positions are float32 (n, 2) in data coordinates, y upwards; rows with NaN positions are not drawn. What a filter
excludes is greyed and stays; what is selected lies on top. A lasso comes back as a polygon in data coordinates and
is applied here, to all rows, drawn or not. Positions, colours and the rest travel apart (three mounts of one
component, two of which show nothing), so that hovering sends a few hundred bytes and a new colouring does not send
the positions again. Text is shown as text, never as markup.

Besides colour, points can show an `uncertainty` (fainter and greyer; hollow where there is room) and `weights` (as
size), each a `colours.Channel`. With `legend` the map explains itself below the plane: an entry of a category with a
`code` is a button, and a click on it comes back as its number:

    if event.legend is not None: code = legend.entries[event.legend].code

A `lasso` has at most 64 corners. Keys: + and − zoom, arrows move, 0 or Home shows all, F what is selected, P, L, B
choose the tool, T labels, Enter takes what is in sight (box, lasso) or opens the point in the middle, Escape cancels.

Mount it inside an `st.fragment`: each event reruns what is around it. Does not colour (see colours.py) and does not
know projects, runs or filters.
"""

import hashlib
import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import streamlit as st
from numpy.typing import NDArray

from pages.parts.colours import Channel, Legend, legend_message, ramps_message

EXCLUDED, SELECTED = 1, 2
EVENTS = ("lasso", "box", "clicked", "hovered", "legend")
SCRIPTS = (
    *("messages", "elements", "points", "shapes", "shaders", "renderer", "sample"),
    *("plane", "labels", "legend", "status", "tools", "pointer", "keys", "hover", "view"),
)
_MAGIC = b"TSPM"
_HERE = Path(__file__).parent

Point = tuple[float, float]
Polygon = Sequence[Point]

# Registered once per process, when this module is first imported.
mount = st.components.v2.component(
    "touchstone_point_map",
    css=(_HERE / "point_map.css").read_text(encoding="utf-8"),
    js="\n".join((_HERE / "point_map_js" / f"{part}.js").read_text(encoding="utf-8") for part in SCRIPTS),
)


@dataclass(frozen=True)
class MapLabel:
    """A name at a place of the map; labels given first win where two would touch."""

    x: float
    y: float
    text: str


@dataclass(frozen=True)
class MapEvent:
    """What the user did. `hovered` (a row) stays; all else lasts for one run.

    `lasso`: corners; `box`: (x0, y0, x1, y1); `clicked`: a row; `legend`: the number of an entry of the legend.
    """

    lasso: list[Point] | None = None
    box: tuple[float, float, float, float] | None = None
    clicked: int | None = None
    hovered: int | None = None
    legend: int | None = None


def point_map(
    *,
    key: str,
    xy: NDArray[np.float32],
    colours: NDArray[np.uint8],
    excluded: NDArray[np.bool_] | None = None,
    selected: NDArray[np.bool_] | None = None,
    labels: Sequence[MapLabel] = (),
    outlines: Sequence[Polygon] = (),
    hover_text: str | Callable[[int], str] | None = None,
    uncertainty: Channel | None = None,
    weights: Channel | None = None,
    legend: Legend | None = None,
    legend_chosen: Collection[int] = (),
    height: int = 560,
    on_event: Callable[[], None] | None = None,
) -> MapEvent:
    """Draw the map and return what happened on it.

    Args:
        key: name of this map, unique on the page; the camera and the events belong to it.
        xy: positions (n, 2). colours: RGBA (n, 4), see colours.py.
        excluded: rows that a filter leaves out (n,), greyed. selected: rows to emphasise (n,), drawn even if excluded.
        labels: names on the map, most important first. outlines: polygons to draw, such as lassoes in force.
        hover_text: the text of the row last hovered over (`read_event(key).hovered`), or a function from a row to
            its text, called for that row only. None: hovering asks for nothing and reruns nothing.
        uncertainty, weights: values 0..1 of the rows (n,), NaN: none, with what their ends mean; see `colours.channel`.
        legend: shown below the plane, with a line for each channel. None: the page shows its own, or none.
        legend_chosen: numbers of the entries that a filter stands for at present, shown as pressed.
        height: CSS pixels of the plane; a legend comes below it.
        on_event: called before the rerun that a lasso, a box, a click or the legend causes; `read_event(key)` then
            tells it.

    Raises `ValueError` where the arrays disagree about n or a colour is not four bytes.
    """
    n = _checked(xy, colours, excluded, selected, uncertainty, weights)
    before = read_event(key)
    row = before.hovered if before.hovered is not None and before.hovered < n else None
    text = hover_text(row) if callable(hover_text) and row is not None else hover_text
    hover = {"row": row, "text": text} if row is not None and isinstance(text, str) else None
    view = {
        "kind": "view",
        "name": key,
        "labels": [[float(v.x), float(v.y), v.text] for v in labels if np.isfinite((v.x, v.y)).all()],
        "outlines": [[[float(x), float(y)] for x, y in outline] for outline in outlines],
        "hover": hover,
        "asksHover": hover_text is not None,
        "weights": weights is not None,
        "legend": legend and legend_message(legend, chosen=legend_chosen, uncertainty=uncertainty, weights=weights),
        "height": int(height),
    }
    react = on_event or _nothing
    result = mount(
        key=key,
        data=view,
        on_lasso_change=react,
        on_box_change=react,
        on_clicked_change=react,
        on_legend_change=react,
        on_hovered_change=_nothing,
    )
    mount(key=f"{key}-points", data=pack("points", key, {"xy": np.ascontiguousarray(xy, dtype=np.float32)}))
    style = _style(colours, excluded, selected, uncertainty, weights)
    mount(key=f"{key}-style", data=pack("style", key, style, ramps_message(legend) if legend else {}))
    return _event(result)


def read_event(key: str) -> MapEvent:
    """What the map `key` last told, for use in callbacks and before the map is drawn; empty where it is not there."""
    return _event(st.session_state.get(key) or {})


def pack(kind: str, name: str, arrays: Mapping[str, NDArray[Any]], about: Mapping[str, Any] | None = None) -> bytes:
    """Arrays as one block of bytes: magic, header length, JSON header, arrays.

    The header carries what is `about` them and the hash of all.
    """
    digest = hashlib.blake2b(json.dumps(about or {}).encode(), digest_size=12)
    sections, body, offset = [], [], 0
    for label, values in arrays.items():
        body.append(values.tobytes())
        digest.update(f"{label}:{values.dtype}:{values.shape}".encode())
        digest.update(body[-1])
        sections.append({"name": label, "type": str(values.dtype), "offset": offset, "count": int(values.size)})
        offset += values.nbytes
    described = {"kind": kind, "name": name, "hash": digest.hexdigest(), **(about or {})}
    width = len(_header(described, sections, 10**9))
    header = _header(described, sections, 8 + width).ljust(width)
    return b"".join([_MAGIC, width.to_bytes(4, "little"), header, *body])


def _header(described: Mapping[str, Any], sections: Sequence[dict[str, Any]], base: int) -> bytes:
    placed = [{**section, "offset": section["offset"] + base} for section in sections]
    return json.dumps({**described, "arrays": placed}).encode()


def _style(
    colours: NDArray[np.uint8],
    excluded: NDArray[np.bool_] | None,
    selected: NDArray[np.bool_] | None,
    uncertainty: Channel | None = None,
    weights: Channel | None = None,
) -> dict[str, NDArray[np.uint8]]:
    """Colours as codes into a palette where 256 do (a quarter of the bytes), the flags, and channels if any."""
    flags = np.zeros(len(colours), dtype=np.uint8)
    for rows, flag in ((excluded, EXCLUDED), (selected, SELECTED)):
        if rows is not None:
            flags |= rows.astype(np.uint8) * np.uint8(flag)
    style = {"flags": flags}
    if uncertainty is not None or weights is not None:
        style["channels"] = np.stack([_bytes(uncertainty, len(colours)), _bytes(weights, len(colours))], axis=1).ravel()
    codes, palette = pd.factorize(np.ascontiguousarray(colours).view(np.uint32).reshape(-1))
    if len(palette) > 256:
        return {"colours": np.ascontiguousarray(colours).reshape(-1), **style}
    return {"palette": np.asarray(palette).view(np.uint8), "codes": codes.astype(np.uint8), **style}


def _bytes(channel: Channel | None, n: int) -> NDArray[np.uint8]:
    """Values 0..1 as 0..255, uint8 (n,); none counts as 0, what lies outside as the nearer end."""
    if channel is None:
        return np.zeros(n, dtype=np.uint8)
    return np.rint(255 * np.clip(np.nan_to_num(channel.values, nan=0.0), 0.0, 1.0)).astype(np.uint8)


def _checked(
    xy: NDArray[np.float32],
    colours: NDArray[np.uint8],
    excluded: NDArray[np.bool_] | None,
    selected: NDArray[np.bool_] | None,
    uncertainty: Channel | None,
    weights: Channel | None,
) -> int:
    n = len(xy)
    if xy.ndim != 2 or xy.shape[1] != 2:
        raise ValueError(f"Positions must have shape (n, 2), got {xy.shape}.")
    if colours.shape != (n, 4) or colours.dtype != np.uint8:
        raise ValueError(f"Colours must be uint8 of shape ({n}, 4), got {colours.dtype} {colours.shape}.")
    for label, flags in (("excluded", excluded), ("selected", selected)):
        if flags is not None and flags.shape != (n,):
            raise ValueError(f"`{label}` must have shape ({n},), got {flags.shape}.")
    for label, channel in (("uncertainty", uncertainty), ("weights", weights)):
        if channel is not None and channel.values.shape != (n,):
            raise ValueError(f"`{label}` must have values of shape ({n},), got {channel.values.shape}.")
    return n


def _event(told: Mapping[str, Any]) -> MapEvent:
    """Only well-formed values pass: what comes from a browser may be anything."""
    values = {name: told.get(name) for name in EVENTS}
    lasso = _numbers(values["lasso"], width=2)
    box = _numbers([values["box"]], width=4)
    return MapEvent(
        lasso=[(x, y) for x, y in lasso] if lasso else None,
        box=(box[0][0], box[0][1], box[0][2], box[0][3]) if box else None,
        clicked=_row(values["clicked"]),
        hovered=_row(values["hovered"]),
        legend=_row(values["legend"]),
    )


def _numbers(rows: Any, *, width: int) -> list[list[float]] | None:
    """Rows of `width` finite numbers, or None where anything else is among them."""
    if not isinstance(rows, list) or not rows or len(rows) > 10_000:
        return None
    for row in rows:
        if not isinstance(row, list | tuple) or len(row) != width:
            return None
        if not all(isinstance(v, int | float) and not isinstance(v, bool) and np.isfinite(v) for v in row):
            return None
    return [[float(value) for value in row] for row in rows]


def _row(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def _nothing() -> None:
    """The callback that makes an event part of the component's result."""
