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
from pages.parts import colours, filters, reads, row_list, state
from pages.parts.charts import CONFIG, LAYOUT
from pages.parts.comparison import Compared, axis_name
from pages.parts.comparison_samples import SHARES, USUAL_SHARE
from pages.parts.shell import PAGES, empty
from pages.parts.words import count, plain, shorten

MOST_CELLS = 70  # along an axis
FEWEST = 3  # samples of a cell that is drawn
SHOWN = 200
PLANE, NARROW = 355, 660  # pixels of the map and of the table beside it
_WIDTHS = {"Group": 185, "Samples": 72, "First": 108, "Second": 108, "Shift": 65, "Lead": 70}  # its columns' pixels
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
    with st.container(horizontal=True, gap="medium"):  # side by side where both have room, else one below the other
        with st.container(width=PLANE):
            _plane(mean, number, edges, one, two)
        with st.container(width=NARROW):
            _groups(project, found, one, two, "cluster", _top(found), narrow=True)


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


def _groups(
    project: Project, found: Pair, one: Compared, two: Compared, column: str, k: int, *, narrow: bool = False
) -> None:
    """The groups of one column: sizes, shares of the tops, shift and lead; ticking a line offers it as a filter.
    `narrow` fits all columns into `NARROW` pixels.
    """
    known = columns.categories(reads.facts(project), column)
    groups = reads.by_stamp(
        project, "groups", lambda: agreement.by_group(found, known.codes, len(known.names), k), column, k, one.key,
        two.key,
    )  # fmt: skip
    order = np.argsort(-np.abs(groups.shift), kind="stable")
    order = order[groups.sizes[order] > 0]
    lines = [_line(groups, known.names, at) for at in order[:SHOWN].tolist()]
    shown, key = _columns(one, two, narrow=narrow), row_list.keyed(f"comparing_groups_{column}", order)
    event = st.dataframe(lines, hide_index=True, on_select="rerun", selection_mode="single-row", column_config=shown,
                         key=key)  # fmt: skip
    more = f" The {SHOWN} of largest shift of {len(order):,}." if len(order) > SHOWN else ""
    st.caption(f"Of each run's best {k:,}; the shift is in percent points.{more} Tick a line to see its samples.")
    chosen = [line for line in event["selection"]["rows"] if line < len(lines)]
    if chosen:
        _filter_button(column, int(order[chosen[0]]), known.names, int(groups.sizes[order[chosen[0]]]))


def _columns(one: Compared, two: Compared, *, narrow: bool) -> dict[str, Any]:
    """How the columns are headed and shown; `narrow`: how wide, so that none is cut off, whatever the runs' names."""
    first, second = (shorten(view.record.name, 24) for view in (one, two))
    whole = [plain(view.record.name) for view in (one, two)]
    number, wide = st.column_config.NumberColumn, _WIDTHS if narrow else {}
    told = "The group's share of the best of run {}, in percent.".format
    ahead = f"How many percent of the compared samples {whole[0]} ranks it higher than {whole[1]} does, on average."
    shift = f"Share of the top of {whole[1]} less that of {whole[0]}, in percent points."
    return {
        "Group": st.column_config.TextColumn(width=wide.get("Group")),
        "Samples": number(format="localized", width=wide.get("Samples")),
        "First": number(f"Top of {first}", format="%.1f %%", help=told(whole[0]), width=wide.get("First")),
        "Second": number(f"Top of {second}", format="%.1f %%", help=told(whole[1]), width=wide.get("Second")),
        "Shift": number("Shift", format="%+.1f", help=shift, width=wide.get("Shift")),
        "Lead": number("Lead" if narrow else f"Lead of {first}", format="%+.1f %%", help=ahead, width=wide.get("Lead")),
    }


def _line(groups: Groups, names: list[str], at: int) -> dict[str, Any]:
    """One group, as `_columns` shows it."""
    return {
        "Group": shorten(names[at], 60),
        "Samples": int(groups.sizes[at]),
        "First": 100 * float(groups.first[at]),
        "Second": 100 * float(groups.second[at]),
        "Shift": 100 * float(groups.shift[at]),
        "Lead": 100 * float(groups.lead[at]),
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
