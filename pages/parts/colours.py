"""Colours of points, and the legend that explains them.

Every function takes n values and returns RGBA, uint8 (n, 4), with a `Legend`. The palettes can be told apart with
the common colour deficiencies: blue to orange around zero for signed values, one dark-to-bright ramp (cividis) for
amounts, and for categories six of Okabe and Ito's with six more that keep the largest distance from these under each
deficiency. Ramps have 255 steps, so that colours travel as one byte per point.
Rows without a value are a faint grey that no ramp contains. `dark` chooses the ramps for a dark background; a map
with a legend changes to the other ramp by itself where the browser's background differs from that.

A `Channel` is a second quantity that points can show beside their colour, by opacity or by size (see point_map.py).

Does not know what a score is and draws nothing itself, save `draw_legend`, which shows text as text only.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import streamlit as st
from numpy.typing import NDArray

Colours = NDArray[np.uint8]
Kind = Literal["diverging", "sequential", "categorical"]

OKABE_ITO = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#8870FF", "#964F2C")
CATEGORIES = (*OKABE_ITO, "#D6C571", "#9FD19F", "#FF1A66", "#AE137B")
OTHER = "#A9AEB7"
MISSING = "#9A9FA8"
MISSING_ALPHA = 110
DECISIONS = {"none": OTHER, "approve": "#009E73", "reject": "#D55E00", "skip": "#E69F00"}
_STEPS = 255
_RAMPS: Mapping[tuple[str, bool], tuple[str, ...]] = {
    ("diverging", False): ("#0B4F94", "#2F7CC0", "#7FAFD8", "#C9CDD2", "#F0A95B", "#DD7414", "#A84300"),
    ("diverging", True): ("#6CC0FF", "#3E93DB", "#2F659B", "#4B4E55", "#A3611F", "#DE8423", "#FFB65C"),
    ("sequential", False): ("#E3D98B", "#B9B573", "#8C8F78", "#666B77", "#3C4D6E", "#123570", "#00204D"),
    ("sequential", True): ("#2F456F", "#4F5E78", "#717781", "#94917A", "#B9AE6B", "#DFCB55", "#FFE945"),
}


@dataclass(frozen=True)
class Entry:
    """One category of a legend: its colour (#rrggbb), its name and how many rows have it.

    `code` is the category's, -1 for rows of none; None, for what stands for several, can't be clicked in the map.
    """

    colour: str
    text: str
    count: int
    code: int | None = None


@dataclass(frozen=True)
class Legend:
    """What the colours mean. `stops` is a ramp from left to right, `ticks` are (0..1, text) along it.

    `clipped`: whether values lie below the first tick, and above the last; they have the end colours.
    """

    kind: Kind
    title: str
    unit: str = ""
    stops: tuple[str, ...] = ()
    ticks: tuple[tuple[float, str], ...] = ()
    entries: tuple[Entry, ...] = ()
    note: str = ""
    clipped: tuple[bool, bool] = (False, False)


@dataclass(frozen=True, eq=False)
class Channel:
    """A quantity shown beside the colour: `values` 0..1 (n,), NaN for none, and what 0 (`low`) and 1 (`high`) mean."""

    values: NDArray[np.floating[Any]]
    title: str
    low: str = "low"
    high: str = "high"


def channel(
    values: NDArray[np.floating[Any]], *, title: str, unit: str = "", upper: float = 99.0, from_zero: bool = True
) -> Channel:
    """A channel of amounts such as standard deviations or weights: 0, or the least value, to percentile `upper`.

    Rows without a finite value have none. Where all values are the same, all are at the lower end.
    """
    finite = _finite(values)
    low = 0.0 if from_zero or not finite.size else float(finite.min())
    high = max(low, float(np.percentile(finite, upper))) if finite.size else low
    beyond = bool(finite.size and float(finite.max()) > high)
    span = high - low or 1.0
    scaled = (np.clip(np.asarray(values, dtype=np.float64), low, high) - low) / span
    scaled[~np.isfinite(values)] = np.nan
    ends = [f"{_number(v, signed=False, span=span)} {unit}".strip() for v in (low, high)]
    return Channel(scaled.astype(np.float32), title, ends[0], f"≥ {ends[1]}" if beyond else ends[1])


def diverging(
    values: NDArray[np.floating[Any]],
    *,
    title: str = "Influence",
    unit: str = "",
    dark: bool = False,
    clip: tuple[float, float] = (1.0, 99.0),
) -> tuple[Colours, Legend]:
    """Colours of signed values: blue below zero, orange above, quiet at zero.

    Zero is always the middle and both sides have one scale: it reaches the larger of the `clip` percentiles'
    magnitudes. Values beyond it have the end colours, and the legend says so.
    """
    finite = _finite(values)
    reach = float(np.abs(np.percentile(finite, clip)).max()) if finite.size else 0.0
    reach = reach or float(np.abs(finite).max(initial=0.0)) or 1.0
    ticks = _ticks(-reach, reach, (0.0, 0.25, 0.5, 0.75, 1.0), signed=True)
    return _ramped(values, -reach, reach, Legend("diverging", title, unit, ticks=ticks), dark=dark, clip=clip)


def sequential(
    values: NDArray[np.floating[Any]],
    *,
    title: str,
    unit: str = "",
    dark: bool = False,
    clip: tuple[float, float] = (1.0, 99.0),
) -> tuple[Colours, Legend]:
    """Colours of amounts, such as uncertainty or length, from the lower to the upper `clip` percentile."""
    finite = _finite(values)
    low, high = (float(v) for v in np.percentile(finite, clip)) if finite.size else (0.0, 1.0)
    if low == high and finite.size:
        low, high = float(finite.min()), float(finite.max())
    if low == high:
        margin = max(0.5, 1e-6 * abs(low))
        low, high = low - margin, high + margin
    ticks = _ticks(low, high, (0.0, 0.5, 1.0), signed=False)
    return _ramped(values, low, high, Legend("sequential", title, unit, ticks=ticks), dark=dark, clip=clip)


def categorical(
    codes: NDArray[np.integer[Any]],
    names: Sequence[str],
    *,
    title: str,
    most: int = len(CATEGORIES),
    fixed: Mapping[str, str] | None = None,
) -> tuple[Colours, Legend]:
    """Colours of categories: the commonest `most` (at most twelve) have their own, the rest share one, "other".

    Args:
        codes: category of each row, (n,), an index into `names`; a negative one means none.
        names: the categories.
        fixed: colours (#rrggbb) by name that never change, such as `DECISIONS`; `most` then does not count them.
    """
    counts = np.bincount(codes[codes >= 0].astype(np.int64), minlength=len(names))
    if len(counts) > len(names):
        raise ValueError(f"Codes reach {len(counts) - 1}, but there are {len(names)} names.")
    chosen = _category_colours(counts, names, min(most, len(CATEGORIES)), fixed or {})
    table = np.tile(np.array([*_rgb(OTHER), 255], dtype=np.uint8), (len(names) + 1, 1))
    for code, colour in chosen.items():
        table[code, :3] = _rgb(colour)
    table[len(names)] = (*_rgb(MISSING), MISSING_ALPHA)
    rgba = _looked_up(table, np.where(codes >= 0, codes, len(names)))
    entries = [Entry(colour, names[i], int(counts[i]), i) for i, colour in chosen.items()]
    rest = counts.copy()
    rest[list(chosen)] = 0
    if rest.any():
        entries.append(Entry(OTHER, f"other ({np.count_nonzero(rest):,})", int(rest.sum())))
    missing = int((codes < 0).sum())
    if missing:
        entries.append(Entry(MISSING, "none", missing, -1))
    return rgba, Legend("categorical", title, entries=tuple(entries))


def draw_legend(legend: Legend) -> None:
    """Show a legend; names are shown as text, whatever they contain."""
    from pages.parts.point_map import mount

    mount(data=legend_message(legend))


def legend_message(
    legend: Legend,
    *,
    chosen: Collection[int] = (),
    uncertainty: Channel | None = None,
    weights: Channel | None = None,
) -> dict[str, Any]:
    """What the component draws a legend from; entries are [colour, text, count, can be clicked, is chosen]."""
    lines = {"uncertainty": uncertainty, "weights": weights}
    entries = [
        [entry.colour, entry.text, entry.count, entry.code is not None, index in chosen]
        for index, entry in enumerate(legend.entries)
    ]
    return {
        "kind": "legend",
        "title": legend.title,
        "unit": legend.unit,
        **ramps_message(legend),
        "ticks": _end_signs(legend),
        "entries": entries,
        "note": legend.note,
        **{name: line and {"title": line.title, "low": line.low, "high": line.high} for name, line in lines.items()},
    }


def ramps_message(legend: Legend) -> dict[str, Any]:
    """The ramp that colours were made with, and its kind's for a light and for a dark background."""
    ramps = [_RAMPS[legend.kind, dark] for dark in (False, True)] if legend.stops else None
    return {"stops": list(legend.stops), "ramps": ramps}


def _end_signs(legend: Legend) -> list[list[Any]]:
    """The ticks as [place, text]; "≤" and "≥" where values lie beyond an end."""
    ticks = [[place, text] for place, text in legend.ticks]
    if ticks and legend.clipped[0]:
        ticks[0][1] = f"≤ {ticks[0][1]}"
    if ticks and legend.clipped[1]:
        ticks[-1][1] = f"≥ {ticks[-1][1]}"
    return ticks


def is_dark() -> bool:
    """Whether the page is shown on a dark background; not yet known in a session's first run, which says light."""
    return st.context.theme.type == "dark"


def _category_colours(
    counts: NDArray[np.int64], names: Sequence[str], most: int, fixed: Mapping[str, str]
) -> dict[int, str]:
    """Colour by category number, commonest first; ties by number."""
    order = np.lexsort((np.arange(len(counts)), -counts))[: np.count_nonzero(counts)]
    places = {code for code in order.tolist() if names[code] in fixed} if fixed else set()
    free = [colour for colour in CATEGORIES if colour not in fixed.values()]
    own = [code for code in order[: most + 1 + len(places)].tolist() if code not in places]
    shown = own if len(own) <= most else own[: most - 1] if most > 1 else []
    given = {**dict(zip(shown, free)), **{code: fixed[names[code]] for code in places}}
    return {code: given[code] for code in sorted(given, key=lambda code: (-counts[code], code))}


def _ramped(
    values: NDArray[np.floating[Any]], low: float, high: float, legend: Legend, *, dark: bool, clip: tuple[float, float]
) -> tuple[Colours, Legend]:
    stops = _RAMPS[legend.kind, dark]
    table = np.concatenate([_ramp(stops), [[*_rgb(MISSING), MISSING_ALPHA]]]).astype(np.uint8)
    known = np.isfinite(values)
    sure = np.where(known, np.asarray(values, dtype=np.float64), low)
    below, above = int((sure < low).sum()), int((sure > high).sum())
    step = np.rint((np.clip(sure, low, high) - low) / (high - low) * (_STEPS - 1)).astype(np.uint8)
    step[~known] = _STEPS
    missing = int(len(values) - known.sum())
    notes = []
    if below or above:
        notes.append(f"{below + above:,} beyond percentiles {clip[0]:g} and {clip[1]:g} have the end colours")
    if missing:
        notes.append(f"{missing:,} without a value are faint grey")
    ends = (below > 0, above > 0)
    return _looked_up(table, step), replace(legend, stops=stops, note="; ".join(notes), clipped=ends)


def _looked_up(table: Colours, step: NDArray[np.integer[Any]]) -> Colours:
    """Rows `step` of a colour table (m, 4), fetched four bytes at a time."""
    return np.ascontiguousarray(table).view(np.uint32).reshape(-1)[step].view(np.uint8).reshape(-1, 4)


def _ramp(stops: Sequence[str]) -> NDArray[np.float64]:
    """The ramp's 255 opaque colours, (255, 4), straight between its stops."""
    corners = np.array([_rgb(stop) for stop in stops], dtype=np.float64)
    at = np.linspace(0, len(stops) - 1, _STEPS)
    channels = [np.rint(np.interp(at, np.arange(len(stops)), corners[:, c])) for c in range(3)]
    return np.stack([*channels, np.full(_STEPS, 255.0)], axis=1)


def _ticks(low: float, high: float, places: Sequence[float], *, signed: bool) -> tuple[tuple[float, str], ...]:
    return tuple((place, _number(low + place * (high - low), signed=signed, span=high - low)) for place in places)


def _number(value: float, *, signed: bool, span: float) -> str:
    """Three digits, as many as the span needs, with a true minus sign."""
    if abs(value) < 1e-9 * span:
        return "0"
    sign = "−" if value < 0 else "+" if signed else ""
    size = abs(value)
    if 1000 <= size < 1e6:
        return f"{sign}{size:,.0f}"
    return f"{sign}{size:.3g}"


def _finite(values: NDArray[np.floating[Any]]) -> NDArray[np.floating[Any]]:
    return values[np.isfinite(values)].astype(np.float64)


def _rgb(colour: str) -> tuple[int, int, int]:
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)
