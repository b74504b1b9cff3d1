"""The samples of two runs against each other: a picture of their density, and the samples behind any part of it.

A part is chosen by name (what leads in one run, what both rank high) or by a box or a click in the picture; its
samples are listed page by page, opened in Review, or made a filter. Ranks are those among all samples that a run
scores, so that the filter finds exactly the samples of the list. Notation as in `engine.curation.crossing`.
"""

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import plotly.graph_objects as go
import streamlit as st

from engine.curation import agreement, crossing
from engine.curation.agreement import Pair
from engine.curation.crossing import Density, Region
from engine.store.project import Project
from pages.parts import colours, filters, paged, reads, row_list, state
from pages.parts.charts import CONFIG, LAYOUT, OCHRE
from pages.parts.comparison import Compared, axis_name
from pages.parts.shell import PAGES
from pages.parts.words import count, score, shorten

LISTED = 1000  # of the largest disagreements
APART, BOTH, FIRST, SECOND, DRAWN = "apart", "both", "first", "second", "drawn"
SHARES = {"top 1 %": 0.01, "top 5 %": 0.05, "top 10 %": 0.1, "top 25 %": 0.25}
USUAL_SHARE = "top 10 %"


def explore(project: Project, found: Pair, one: Compared, two: Compared) -> None:
    """The picture on the left; on the right the choice of a part, and its samples."""
    left, right = st.columns([2, 3], gap="medium")
    with left:
        for key, usual in (("compare_by", "Rank"), ("compare_mark", "Box")):
            st.session_state.setdefault(key, usual)
        with st.container(horizontal=True):
            by_rank = st.segmented_control("Axes", ["Rank", "Score"], key="compare_by", required=True) == "Rank"
            box = st.segmented_control("Mark by", ["Box", "Click"], key="compare_mark", required=True) == "Box"
        x, y = values(project, found, one, two, by_rank=by_rank)
        event, shown = _picture(project, x, y, one, two, by_rank=by_rank, box=box)
    drawn = region_of(event, shown)
    with right:
        part, k = _choice(project, one, two, drawn)
        _samples(project, found, one, two, part, k, drawn if part == DRAWN else None, by_rank=by_rank)


def values(
    project: Project, found: Pair, one: Compared, two: Compared, *, by_rank: bool
) -> tuple[np.ndarray, np.ndarray]:
    """x and y of the compared rows: their ranks in each run (int64), or their scores (float32)."""
    if by_rank:
        x, y = (reads.ranks(project, v.scores.artifact, v.column)[found.rows] for v in (one, two))
    else:
        x, y = (np.asarray(v.values)[found.rows].astype(np.float32, copy=False) for v in (one, two))
    return x, y


def _picture(
    project: Project, x: np.ndarray, y: np.ndarray, one: Compared, two: Compared, *, by_rank: bool, box: bool
) -> tuple[Any, Density]:
    """Draw how densely the samples lie; returns what was chosen in it. Plotly hears a box or a click, never both."""
    shown = reads.by_artifact(
        project, one.scores.artifact, "density", lambda _: crossing.density(x, y), *one.key, *two.key, by_rank
    )
    counts = shown.counts.astype(np.float32)
    scale = "Tealgrn" if not colours.is_dark() else "Tealgrn_r"
    heat = go.Heatmap(
        x=shown.x, y=shown.y, z=np.where(counts > 0, np.log10(1 + counts), np.nan), colorscale=scale, showscale=False,
        hoverinfo="skip",
    )  # fmt: skip
    row, column = np.nonzero(shown.counts)
    centres = ((shown.x[:-1] + shown.x[1:]) / 2)[column], ((shown.y[:-1] + shown.y[1:]) / 2)[row]
    cells = go.Scatter(  # invisible: what a click chooses and the pointer reads
        x=centres[0].astype(np.float32), y=centres[1].astype(np.float32), mode="markers",
        customdata=counts[row, column], marker={"size": 7, "color": OCHRE, "opacity": 0},
        selected={"marker": {"opacity": 1}}, unselected={"marker": {"opacity": 0}},
        hovertemplate="%{customdata:,} samples<extra></extra>",
    )  # fmt: skip
    figure = go.Figure([heat, cells])
    names = (_axis(view, by_rank=by_rank) for view in (one, two))
    figure.update_layout(**LAYOUT, height=420, dragmode="select" if box else False)
    figure.update_layout(dict(zip(("xaxis_title", "yaxis_title"), names)))
    for edges, axis in ((shown.x, figure.update_xaxes), (shown.y, figure.update_yaxes)):
        ends = [float(edges[0]), float(edges[-1])]
        axis(range=ends[::-1] if by_rank else ends, zeroline=False)
    key = "_".join(["density", *one.key, *two.key, str(by_rank), str(box)])
    mode: Literal["box", "points"] = "box" if box else "points"
    event = st.plotly_chart(figure, config=CONFIG, key=key, on_select="rerun", selection_mode=mode,
                            alt="How densely the samples lie, one run against the other")  # fmt: skip
    beyond = f" {count(shown.outside, 'sample')} beyond the picture lie at its edges." if shown.outside else ""
    best = " The best are at the top right." if by_rank else ""
    dense = "Brighter" if colours.is_dark() else "Darker"
    st.caption(f"{dense} is denser.{best} {'Draw a box' if box else 'Click a cell'} to list its samples.{beyond}")
    return event, shown


def _axis(view: Compared, *, by_rank: bool) -> str:
    unit = f" ({view.unit})" if view.unit and not by_rank else ""
    return f"{'rank' if by_rank else 'score'} in {axis_name(view)}{unit}".replace("<", "‹").replace(">", "›")


def region_of(event: Mapping[str, Any], shown: Density) -> Region | None:
    """The region of the box drawn last, else of the cell clicked last, else None."""
    chosen = event["selection"]
    if chosen.get("box"):
        box = chosen["box"][-1]
        ends = [sorted(float(end) for end in box[axis]) for axis in ("x", "y")]
        x, y = ((_rounded(low, shown, up=True), _rounded(high, shown, up=False)) for low, high in ends)
        return Region(x, y)
    points = [at for at in chosen.get("point_indices", ()) if at < np.count_nonzero(shown.counts)]
    if not points:
        return None
    row, column = (int(part[points[-1]]) for part in np.nonzero(shown.counts))
    return shown.region(column, row)


def _rounded(end: float, shown: Density, *, up: bool) -> float:
    """A box's end as a filter keeps it: a whole number for ranks, six digits for scores."""
    if shown.x.dtype.kind in "iu":
        return int(np.ceil(end) if up else np.floor(end))
    return float(f"{end:.6g}")


def _choice(project: Project, one: Compared, two: Compared, drawn: Region | None) -> tuple[str, int]:
    """Which part is listed, and how large a top is, of all samples scored; what was drawn last goes first."""
    first, second = (shorten(view.record.name, 30) for view in (one, two))
    names = {
        APART: "Largest disagreements",
        FIRST: f"Only in the top of {first}",
        SECOND: f"Only in the top of {second}",
        BOTH: "In both tops",
        DRAWN: "What is marked in the picture",
    }
    if drawn != st.session_state.get("ts_compare_drawn"):
        st.session_state["ts_compare_drawn"] = drawn
        st.session_state["compare_part"] = APART if drawn is None else DRAWN
    options = [part for part in names if part != DRAWN or drawn is not None]
    if st.session_state.get("compare_part") not in options:
        st.session_state["compare_part"] = APART
    st.session_state.setdefault("compare_top", USUAL_SHARE)
    with st.container(horizontal=True, vertical_alignment="bottom"):
        part = st.selectbox("Samples", options, key="compare_part", format_func=names.__getitem__, width=340)
        share = st.selectbox(
            "A top is the", list(SHARES), key="compare_top", width=140, disabled=part in (APART, DRAWN)
        )
    scored = max(len(reads.order(project, view.scores.artifact, view.column)) for view in (one, two))
    return str(part), agreement.top_size(scored, SHARES[str(share)])


def _samples(
    project: Project,
    found: Pair,
    one: Compared,
    two: Compared,
    part: str,
    k: int,
    drawn: Region | None,
    *,
    by_rank: bool,
) -> None:
    x, y = values(project, found, one, two, by_rank=by_rank or part != DRAWN)
    region = drawn or named_region(part, k)
    if region is None:
        at = agreement.largest(found.lead, LISTED)
    else:
        at = crossing.inside(x, y, region)
        at = at[np.argsort(_first_of(part, found.ranks[at]), kind="stable")]
    owner = (one.key, two.key, part, k, region)
    if not len(at):
        st.caption("No sample lies there. Draw another box, or choose a larger top.")
        return
    if region is None:
        st.caption(f"The samples whose ranks differ most, of {count(len(found.rows), 'sample')}.")
    else:
        _filter_button(one, two, region, len(at), by_rank=by_rank or part != DRAWN)
    shown = at[paged.part("comparing_list", len(at), owner=owner)]
    _table(project, found, one, two, shown)


def named_region(part: str, k: int) -> Region | None:
    """The region, in ranks, of a part that has a name; None for the largest disagreements."""
    top, rest = (1, k), (k + 1, None)
    return {FIRST: Region(top, rest), SECOND: Region(rest, top), BOTH: Region(top, top)}.get(part)


def _first_of(part: str, ranks: np.ndarray) -> np.ndarray:
    """What a part is listed by, the smallest first: the rank in the run it is named after, else the better of both."""
    return ranks[:, 0] if part == FIRST else ranks[:, 1] if part == SECOND else ranks.min(axis=1)


def filters_of(one: Compared, two: Compared, region: Region, *, by_rank: bool) -> list[filters.Filter]:
    """The region as filters, one per run; an axis open to both sides needs none. A filter in force on the same run is
    taken in, since it would be replaced.
    """
    kind: filters.Kind = "rank" if by_rank else "score"
    active = {part.slot: part.values for part in state.active_filters()}
    found = []
    for view, span in ((one, region.x), (two, region.y)):
        subject = f"{view.record.name}/{view.column}"
        if span != (None, None):
            found.append(filters.Filter(kind, subject, narrowed(span, active.get((kind, subject), (None, None)))))
    return found


def narrowed(one: tuple[float | None, ...], two: tuple[float | None, ...]) -> tuple[float | None, float | None]:
    """What two spans (low, high) have in common, ends included and None for open."""
    lows, highs = ([span[at] for span in (one, two) if span[at] is not None] for at in (0, 1))
    return max(lows, default=None), min(highs, default=None)  # type: ignore[type-var]


def _filter_button(one: Compared, two: Compared, region: Region, number: int, *, by_rank: bool) -> None:
    label = f"Show these {number:,} everywhere"
    if st.button(label, key="comparing_filter", icon=":material/filter_alt:", help="Adds filters on both runs."):
        for part in filters_of(one, two, region, by_rank=by_rank):
            state.add_filter(part)
        passing = count(number, "sample")
        state.notify(f"{passing} pass the new filters, on every page. Remove them by their chips.", "info")
        st.switch_page(next(path for path, name, _ in PAGES if name == "Review"))


def _table(project: Project, found: Pair, one: Compared, two: Compared, at: np.ndarray) -> None:
    """One page of samples; ticking a line offers to open it in Review."""
    rows = found.rows[at]
    first, second = shorten(one.record.name, 30), shorten(two.record.name, 30)
    second = f"{second} " if first == second else second
    further: dict[str, list[Any]] = {}
    for view, name in ((one, first), (two, second)):
        further[f"Rank in {name}"] = reads.ranks(project, view.scores.artifact, view.column)[rows].tolist()
    for view, name in ((one, first), (two, second)):
        further[f"Score in {name}"] = [score(float(value)) for value in np.asarray(view.values)[rows]]
    row_list.draw(project, rows, further, key="comparing_rows", readable=False)
