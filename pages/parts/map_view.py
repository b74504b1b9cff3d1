"""The Map page's blocks: the build of a map, the plane of points, the sample panel and the actions on many.

A lasso or a box becomes the one filter of the area; everything else that is filtered is greyed, never removed.
"Selected" are the rows inside the area among the filtered ones; "filtered" the rows that pass every other filter.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import streamlit as st

from engine.errors import EngineError
from engine.runs import jobs
from engine.runs.map_config import MapConfig
from engine.store.project import Project
from pages.parts import filters, find, map_colours, reads, regions, run_choice, sample_view, score_view, state
from pages.parts.colours import Channel
from pages.parts.filters import Filter
from pages.parts.mistakes import errors_shown
from pages.parts.point_map import MapLabel, point_map, read_event
from pages.parts.run_choice import View, describe
from pages.parts.shell import PAGES, empty
from pages.parts.words import count, plain, shorten

HEIGHT = 620
BULK = (
    ("approve", "Approve", ":material/check:"),
    ("reject", "Reject", ":material/close:"),
    ("clear", "Clear", ":material/backspace:"),
)
_BULK_HELP = {"clear": "Takes the decisions off"}
_CLICKED, _CHANGED = "ts_map_row", "ts_map_changed"


@dataclass(frozen=True)
class Sets:
    """Masks over the pool, bool (n,): `filtered` pass every filter but the area; `selected` pass the area too."""

    filtered: np.ndarray
    selected: np.ndarray | None

    @property
    def acted(self) -> np.ndarray:
        """What an action on many is about: the selected rows, else the filtered ones."""
        return self.filtered if self.selected is None else self.selected


def build(project: Project, *, running: bool) -> None:
    """The empty state of the page: one click builds the map; nothing else is shown until there is one."""
    if running:
        return
    empty("There is no map yet", "Building it also looks for near-duplicates, leaked target items and cut-off text.")
    if st.button("Build the map", type="primary", key="map_build"):
        _start(project)


def rebuild(project: Project, layout: reads.Layout) -> None:
    """Where the pool has grown since, say so and offer a new map."""
    missing = reads.pool_size(project) - len(layout.xy)
    if missing > 0:
        are = "is" if missing == 1 else "are"
        st.warning(f"{count(missing, 'sample')} joined the pool after this map was built and {are} not on it.")
        if st.button("Build the map again", key="map_rebuild"):
            _start(project)


def _start(project: Project) -> None:
    with errors_shown():
        jobs.submit(project, "map", MapConfig())
        st.rerun()


def sets(project: Project) -> Sets:
    """The filtered and the selected rows under the filters in force."""
    active = state.active_filters()
    area = [part for part in active if part.slot[0] == "area"]
    filtered = filters.combined(project, [part for part in active if part not in area])
    return Sets(filtered, filtered & filters.combined(project, area) if area else None)


def counts_line(found: Sets) -> str:
    """`N selected of M filtered of T`."""
    total, filtered = len(found.filtered), int(found.filtered.sum())
    selected = 0 if found.selected is None else int(found.selected.sum())
    noun = "sample" if total == 1 else "samples"
    return f"**{selected:,}** selected of **{filtered:,}** filtered of **{total:,}** {noun}"


@dataclass(frozen=True, eq=False)
class Look:
    """How the points are drawn: colours, and what fading and size show, if anything."""

    painted: map_colours.Painted
    uncertainty: Channel | None = None
    weights: Channel | None = None


def look(project: Project, view: View | None) -> Look:
    """Draw the choices of colour, fading and size, and return what they come to."""
    choices = map_colours.choices(project, view)
    chosen = st.selectbox("Colour by", list(choices), key="map_colour", width=run_choice.WIDTH)
    sizes = map_colours.sizes(project)
    if len(sizes) > 1:
        size = st.selectbox("Size by", list(sizes), key="map_size", width=run_choice.WIDTH,
                            help="Weights of a saved selection, or who is in it.")  # fmt: skip
    else:
        size = map_colours.NO_SIZE
    by_rank = st.toggle("By rank", key="map_by_rank", disabled=not choices[chosen].startswith("score/"),
                        help="Colours scores by their rank instead of their value.")  # fmt: skip
    doubt = map_colours.uncertainty(project, view)
    faded = doubt is not None and st.toggle(
        "Fade by uncertainty", key="map_fade", help="The less certain a score is, the fainter its point."
    )
    painted = map_colours.paint(project, choices[chosen], by_rank=by_rank)
    return Look(painted, doubt if faded else None, map_colours.sized(project, sizes[size]))


@st.fragment
def plane(project: Project, layout: reads.Layout, found: Sets, drawn: Look) -> None:
    """The points. Hovering reruns only this; a new lasso, box or click draws the whole page again."""
    if st.session_state.pop(_CHANGED, False):
        st.rerun()
    m, key = len(layout.xy), f"map_{layout.artifact}"
    active = state.active_filters()
    point_map(
        key=key,
        xy=layout.xy,
        colours=drawn.painted.rgba[:m],
        excluded=~found.filtered[:m],
        selected=None if found.selected is None else found.selected[:m],
        labels=[MapLabel(float(x), float(y), text) for (x, y), text in zip(layout.centres, layout.labels)],
        outlines=[outline for part in active if (outline := filters.outline(part))],
        hover_text=lambda row: hover_text(project, row, drawn.painted),
        uncertainty=_first(drawn.uncertainty, m),
        weights=_first(drawn.weights, m),
        legend=drawn.painted.legend,
        legend_chosen=map_colours.chosen_entries(project, drawn.painted, active),
        height=HEIGHT,
        on_event=lambda: _take(project, layout, key, drawn.painted),
    )


def _first(channel: Channel | None, m: int) -> Channel | None:
    """A channel of the rows that the map covers."""
    return None if channel is None else replace(channel, values=channel.values[:m])


def doubtful(project: Project, layout: reads.Layout, view: View | None) -> None:
    """Name the regions where the scores are least certain; a click filters to one."""
    found = regions.of_run(project, layout, view) if view is not None else []
    if not found:
        return
    with st.container(horizontal=True, vertical_alignment="center", gap="small", key="map_doubtful"):
        st.caption("Scores are least certain in:", width="content")
        for region in found:
            st.button(
                plain(region.label), key=f"doubtful_{region.cluster}", type="tertiary", on_click=state.add_filter,
                icon=":material/filter_alt:",
                args=(Filter("cluster", "", (region.cluster,)),), help=plain(region.words),
            )  # fmt: skip


def _take(project: Project, layout: reads.Layout, key: str, painted: map_colours.Painted) -> None:
    """Put what was drawn or clicked on the map into the session."""
    event = read_event(key)
    try:
        if event.lasso:
            state.add_filter(Filter("lasso", layout.artifact, tuple(round(v, 4) for c in event.lasso for v in c)))
        elif event.box:
            state.add_filter(Filter("box", layout.artifact, tuple(round(v, 4) for v in event.box)))
        elif event.legend is not None:
            _toggle(map_colours.picked(project, painted, event.legend))
        elif event.clicked is not None:
            st.session_state[_CLICKED] = (str(project.path), event.clicked)
        else:
            return
    except EngineError as error:
        state.notify(str(error), "error")
    st.session_state[_CHANGED] = True


def _toggle(part: Filter | None) -> None:
    """Add a category of the legend to the filter on its column, or take it out again."""
    if part is None:
        return
    there = next((old for old in state.active_filters() if old.slot == part.slot), None)
    kept = () if there is None else tuple(value for value in there.values if value not in part.values)
    added = () if there is not None and set(part.values) <= set(there.values) else part.values
    if kept + added:
        state.add_filter(replace(part, values=kept + added))
    else:
        state.drop_filter(there)


def hover_text(project: Project, row: int, painted: map_colours.Painted) -> str:
    """The card of the point under the pointer: id, decision, what its colour says, how it begins; plain text."""
    try:
        stored = reads.sample(project, row)
        decision = filters.decision_name(int(reads.decisions(project)[row]))
        coloured = map_colours.told(project, painted, row)
    except EngineError as error:  # the map stays where its project is held, or gone
        return shorten(str(error), 160)
    lines = (f"{shorten(stored.id, 40)} · {decision}", shorten(coloured, 80), shorten(stored.messages[0].content, 160))
    return "\n".join(line for line in lines if line)


def panel(project: Project, view: View | None) -> None:
    """The clicked sample: whole text, score, marks, and decisions on it."""
    path, row = st.session_state.get(_CLICKED, ("", 0))
    if path != str(project.path) or row >= reads.pool_size(project):
        empty("No sample chosen", "Click a point to read it here. Draw a lasso or a box to select many.")
        return
    stored = reads.sample(project, row)
    decision = filters.decision_name(int(reads.decisions(project)[row]))
    with st.container(horizontal=True, vertical_alignment="center"):
        _decide_buttons(project, row)
        st.badge(decision, color={"approved": "green", "rejected": "red"}.get(decision, "gray"))  # type: ignore[arg-type]
    sample_view.source_line(stored)
    if view is not None and row < view.scores.covered:
        place, scored = score_view.position(project, view, view.column, row)
        rank = f"rank {place:,} of {scored:,}" if place else "no score"
        st.caption(plain(f"{view.title}: {float(view.values[row]):+.4f} · {rank} · {describe(view)}"))
        st.caption(plain(score_view.certainty(view, row)))
    sample_view.marks(project, row)
    with st.container(height=360, border=False):
        sample_view.turns(stored)
    with st.container(horizontal=True):
        find.similar_button(project, row, key="map")
        if st.button("Open in Review", key="map_review", type="tertiary", icon=":material/rate_review:"):
            state.put("sample", stored.id)
            st.switch_page(next(path for path, name, _ in PAGES if name == "Review"))


def _decide_buttons(project: Project, row: int) -> None:
    for decision, label, icon in (("approve", "Approve", ":material/check:"), ("reject", "Reject", ":material/close:")):
        st.button(label, key=f"map_{decision}", icon=icon, on_click=decide, args=(project, [row], decision, ""))


def actions(project: Project, found: Sets) -> None:
    """Approve, reject or clear all selected rows (or, without an area, all filtered ones), with their number."""
    rows = np.flatnonzero(found.acted)
    narrowed = bool(state.active_filters())
    of = f"all {len(rows):,} {'selected' if found.selected is not None else 'filtered'} samples"
    why_not = "Draw a lasso or add a filter first, so that it is not the whole pool."
    with st.container(border=True, key="map_actions"):
        st.markdown(counts_line(found))
        if narrowed and len(rows) == 0:
            st.caption("No sample passes all of the filters. Remove one of them above the map.")
        with st.container(horizontal=True, gap="small"):
            for decision, label, icon in BULK:
                st.button(
                    f"{label} {len(rows):,}" if narrowed else label, key=f"bulk_{decision}", icon=icon,
                    on_click=decide_many,
                    args=(project, rows, decision), disabled=not narrowed or len(rows) == 0,
                    help=f"{_BULK_HELP.get(decision, label)} {of}" if narrowed else why_not,
                )  # fmt: skip
        with st.container(horizontal=True, gap="small", vertical_alignment="bottom"):
            st.text_input("Note", key="bulk_note", max_chars=500, placeholder="kept with the decisions", width=200)
            st.button("Undo", key="bulk_undo", icon=":material/undo:", on_click=undo, args=(project,),
                      help="Takes back your latest decision, however many samples it was about.")  # fmt: skip


def decide_many(project: Project, rows: np.ndarray, decision: str) -> None:
    """One batch over many rows, with the note that was typed."""
    decide(project, rows, decision, str(st.session_state.get("bulk_note", "")).strip())
    st.session_state["bulk_note"] = ""


def decide(project: Project, rows: Any, decision: str, note: str) -> None:
    """Write one batch of decisions and say what was done."""
    done = {"approve": "approved", "reject": "rejected", "clear": "set back to undecided"}[decision]
    try:
        project.decide(rows, decision, by=state.author(), note=note)
    except EngineError as error:
        state.notify(str(error), "error")
        return
    if len(rows) > 1:
        state.notify(f"{count(len(rows), 'sample')} {done}. One undo takes all of it back.")


def undo(project: Project) -> None:
    """Take back the author's latest batch."""
    try:
        touched = project.undo(by=state.author())
    except EngineError as error:
        state.notify(str(error), "error")
        return
    told = f"Undone: your latest decision, on {count(touched, 'sample')}."
    state.notify(told if touched else "There is nothing of yours to undo.", "info")
