"""Where two runs part: on the map, by its clusters, and by any category of the rows.

The *lead* of the first run is how many percent of the compared samples it ranks a sample higher than the second does,
on average. Notation as in `engine.curation.agreement`.
"""

from typing import Any

import numpy as np
import plotly.graph_objects as go
import streamlit as st

from engine.curation import agreement, columns
from engine.curation.agreement import Groups, Pair
from engine.curation.facts import NOTHING
from engine.store.project import Project
from pages.parts import colours, filters, reads, state
from pages.parts.charts import CONFIG, LAYOUT
from pages.parts.comparison import Compared, axis_name
from pages.parts.comparison_samples import SHARES, USUAL_SHARE
from pages.parts.shell import PAGES, empty
from pages.parts.words import count, plain, shorten

MOST_CELLS = 70  # along an axis
FEWEST = 3  # samples of a cell that is drawn
SHOWN = 200
_STEPS = {False: ["#DD7414", "#F0A95B", "#E4E6E9", "#7FAFD8", "#2F7CC0"],
          True: ["#FFB65C", "#A3611F", "#4B4E55", "#2F659B", "#6CC0FF"]}  # fmt: skip


def on_map(project: Project, found: Pair, one: Compared, two: Compared) -> None:
    """The mean lead over the latest map, and its clusters in a table."""
    layout = reads.layout(project)
    if layout is None:
        empty("There is no map yet", "Build it to see where on it the runs disagree.", "Map")
        return
    cells = int(np.clip(np.sqrt(len(found.rows) / 3), 10, MOST_CELLS))
    mean, number, edges = reads.by_artifact(
        project, layout.artifact, "lead on the map",
        lambda _: agreement.on_plane(found, layout.xy, bins=cells, least=FEWEST if cells == MOST_CELLS else 1),
        *one.key, *two.key,
    )  # fmt: skip
    left, right = st.columns([2, 3], gap="medium")
    with left:
        _plane(mean, number, edges, one, two)
    with right:
        _groups(project, found, one, two, "cluster", _top(found))


def _plane(mean: np.ndarray, number: np.ndarray, edges: np.ndarray, one: Compared, two: Compared) -> None:
    if not number.any():
        st.caption("None of the compared samples has a place on the map.")
        return
    known = np.abs(mean[np.isfinite(mean)])
    most = float(np.percentile(known, 98)) if len(known) else 1.0
    heat = go.Heatmap(
        z=100 * mean, x=edges[0].astype(np.float32), y=edges[1].astype(np.float32), customdata=number,
        colorscale=_STEPS[colours.is_dark()], zmid=0, zmin=-100 * (most or 1), zmax=100 * (most or 1),
        colorbar={"title": {"text": "lead, %"}, "thickness": 10},
        hovertemplate="%{z:+.0f} % of %{customdata:,} samples<extra></extra>",
    )  # fmt: skip
    figure = go.Figure(heat)
    bare = {"visible": False, "showgrid": False, "zeroline": False}
    figure.update_layout(**LAYOUT, height=420, xaxis=bare, yaxis=bare | {"scaleanchor": "x"})
    st.plotly_chart(figure, config=CONFIG, key="comparing_plane", alt="The mean lead over the map")
    first, second = plain(axis_name(one)), plain(axis_name(two))
    st.caption(f"Blue: {first} ranks the samples there higher; orange: {second} does.")


def by_source(project: Project, found: Pair, one: Compared, two: Compared) -> None:
    """The shares that the values of any category have in the tops of both runs."""
    named = {c.name: c for c in columns.listed(reads.facts(project)) if c.kind in ("category", "flag", None)}
    options = [name for name in named if name != "cluster" and not name.startswith("status/")]
    usual = "field/source" if "field/source" in options else next((n for n in options if n.startswith("field/")), None)
    if st.session_state.get("compare_group") not in options:
        st.session_state["compare_group"] = usual or options[0]
    with st.container(horizontal=True, vertical_alignment="bottom"):
        name = st.selectbox("Group by", options, key="compare_group", width=300,
                            format_func=lambda n: shorten(f"{named[n].group}: {named[n].title}", 60))  # fmt: skip
        k = _top(found)
    _groups(project, found, one, two, str(name), k)


def _top(found: Pair) -> int:
    """Draw the choice of how large a top is; the number of its samples."""
    st.session_state.setdefault("compare_share", USUAL_SHARE)
    share = st.selectbox("Shares of each run's", list(SHARES), key="compare_share", width=160)
    return agreement.top_size(len(found.rows), SHARES[str(share)])


def _groups(project: Project, found: Pair, one: Compared, two: Compared, column: str, k: int) -> None:
    """The groups of one column: sizes, shares of the tops, shift and lead; ticking a line offers it as a filter."""
    known = columns.categories(reads.facts(project), column)
    groups = reads.by_stamp(
        project, "groups", lambda: agreement.by_group(found, known.codes, len(known.names), k), column, k, one.key,
        two.key,
    )  # fmt: skip
    order = np.argsort(-np.abs(groups.shift), kind="stable")
    order = order[groups.sizes[order] > 0]
    lines = [_line(groups, known.names, at, one, two) for at in order[:SHOWN].tolist()]
    places = {name: st.column_config.NumberColumn(format="%.1f %%") for name in list(lines[0])[2:]} if lines else {}
    places["Shift"] = st.column_config.NumberColumn(
        "Shift, points", format="%+.1f", help="Share in the second less that in the first, in percent points."
    )
    places["Samples"] = st.column_config.NumberColumn(format="localized")
    event = st.dataframe(lines, hide_index=True, on_select="rerun", selection_mode="single-row", column_config=places,
                         key=f"comparing_groups_{column}")  # fmt: skip
    more = f" The {SHOWN} of largest shift of {len(order):,}." if len(order) > SHOWN else ""
    st.caption(f"Of each run's best {k:,}; the shift is in percent points.{more} Tick a line to see its samples.")
    chosen = [line for line in event["selection"]["rows"] if line < len(lines)]
    if chosen:
        _filter_button(column, int(order[chosen[0]]), known.names, int(groups.sizes[order[chosen[0]]]))


def _line(groups: Groups, names: list[str], at: int, one: Compared, two: Compared) -> dict[str, Any]:
    first, second = shorten(one.record.name, 24), shorten(two.record.name, 24)
    second = f"{second} " if first == second else second
    return {
        "Group": shorten(names[at], 60),
        "Samples": int(groups.sizes[at]),
        f"In the top of {first}": 100 * float(groups.first[at]),
        f"In the top of {second}": 100 * float(groups.second[at]),
        "Shift": 100 * float(groups.shift[at]),
        f"Lead of {first}": 100 * float(groups.lead[at]),
    }


def _filter_button(column: str, code: int, names: list[str], size: int) -> None:
    label = plain(f"Show {shorten(names[code], 40)} everywhere")
    if st.button(label, key=f"comparing_group_filter_{column}", icon=":material/filter_alt:"):
        state.add_filter(filter_of(column, code, names))
        left = count(size, "compared sample")
        state.notify(f"The filter leaves {left}, on every page. Remove it by its chip.", "info")
        st.switch_page(next(path for path, name, _ in PAGES if name == "Review"))


def filter_of(column: str, code: int, names: list[str]) -> filters.Filter:
    """The filter that leaves one group of a column; of clusters by number, since two may have one label."""
    family, _, rest = column.partition("/")
    if family == "cluster" and names[code] != NOTHING:
        return filters.Filter("cluster", "", (code,))
    if family == "field":
        return filters.Filter("field", rest, (names[code],))
    return filters.Filter("value", column, (names[code],))
