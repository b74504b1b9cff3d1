"""Which runs are compared, and how far they agree: in figures, pair by pair, and by the overlap of their tops.

Only rows that both runs of a pair score, and that pass the filters in force, are compared. Figures of a pair are small
and kept for good, since artifacts never change and what passes the filters is told by its content; the ranks of its
rows are large, so those of a few pairs are kept. Notation as in `engine.curation.agreement`.
"""

import hashlib
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import plotly.graph_objects as go
import streamlit as st

from engine.curation import agreement
from engine.curation.agreement import Agreement, Pair
from engine.errors import EngineError
from engine.store.project import Project
from pages.parts import colours, reads, run_choice
from pages.parts.charts import CONFIG, GREY, LAYOUT
from pages.parts.colours import OKABE_ITO
from pages.parts.run_choice import View
from pages.parts.words import percent, plain, shorten

MOST, USUAL = 6, 3  # runs compared at once, and those chosen at first
MATRICES = {
    "Spearman": "Rank correlation: 1 the same order, 0 none in common, -1 reversed.",
    "Kendall": "Tau-b: the share of pairs of samples in the same order less the share in opposite order, ties aside.",
    "Same in the top 10 %": "The share of each run's best tenth that both have; by chance 0.1.",
    "Common samples": "How many samples both runs score; only those are compared.",
}
_SHORT = {"Same in the top 10 %": "Top 10 %", "Common samples": "Common"}  # what fits a narrow window
# ramps on which the figures can be read, by whether the background is dark: around zero, and of amounts
_SIGNED = {False: ("#F0A95B", "#E4E6E9", "#7FAFD8"), True: ("#A3611F", "#3A3D44", "#2F659B")}
_AMOUNTS = {False: ("#E9EEF0", "#8CC5C0"), True: ("#3A3D44", "#0F6B6B")}
_LINES = ("solid", "dash", "dashdot", "longdash", "longdashdot")


@dataclass(frozen=True)
class Compared(View):
    """A run in comparison: `passing` bool (n,) are the rows that pass the filters, None for all; `scope` tells them."""

    passing: np.ndarray | None = None
    scope: str = ""

    @property
    def values(self) -> reads.Array:
        """float32 (covered,): the chosen column; NaN where there is no score or a filter leaves the row out."""
        found = self.scores.column(self.column)
        if self.passing is None:
            return found
        covered = self.passing[: len(found)]
        return np.where(covered, found[: len(covered)], np.float32(np.nan))

    @property
    def key(self) -> tuple[str, str, str]:
        """What the values depend on."""
        return self.scores.artifact, self.column, self.scope


def within(views: list[Compared], passing: np.ndarray) -> list[Compared]:
    """The runs on the rows that pass; bool (n,)."""
    if passing.all():
        return views
    scope = hashlib.blake2b(np.packbits(passing).tobytes(), digest_size=16).hexdigest()
    return [Compared(view.record, view.scores, view.column, passing, scope) for view in views]


def choose(project: Project) -> list[Compared]:
    """Draw the choice of runs and of the score they are compared by; the chosen runs, in the order chosen."""
    runs = {run.name: run for run in reversed(reads.by_state(project, "runs"))}
    with st.container(horizontal=True, vertical_alignment="bottom"):
        usual = sorted(runs, key=lambda name: runs[name].method == "random")[:USUAL]  # baselines behind
        known = [name for name in st.session_state.get("compare_runs", usual) if name in runs]
        st.session_state["compare_runs"] = known  # a run that has gone since is not chosen any more
        names = st.multiselect(
            "Runs", list(runs), key="compare_runs", max_selections=MOST, width=620,
            help=f"Two to {MOST}, pair by pair.", format_func=lambda name: shorten(name, 40),
        )  # fmt: skip
        found = _present(project, [runs[name] for name in names])
        sets = [scores.sets for scores in found.values()]
        shared = [reads.AGGREGATE, *(name for name in (sets[0] if sets else []) if all(name in own for own in sets))]
        if st.session_state.get("compare_column") not in shared:
            st.session_state["compare_column"] = reads.AGGREGATE
        column = st.selectbox(
            "Score of", shared, key="compare_column", width=run_choice.WIDTH,
            format_func=lambda name: "overall" if name == reads.AGGREGATE else shorten(name, 40),
            help="Overall, or a target set that all chosen runs have.",
        )  # fmt: skip
    return [Compared(runs[name], scores, column) for name, scores in found.items()]


def _present(project: Project, chosen: list[Any]) -> dict[str, reads.Scores]:
    """The scores of the runs by name; one whose results are gone is left out, and that is said."""
    found = {}
    for run in chosen:
        try:
            found[run.name] = reads.scores(project, run.artifact)
        except EngineError as error:
            st.warning(plain(f"Run {run.name} is left out. {error}"))
    return found


def figures_of(project: Project, one: Compared, two: Compared) -> Agreement:
    """The agreement of two runs in their column, kept for good."""
    return reads.by_artifact(
        project, one.scores.artifact, "agreement",
        lambda _: agreement.agreement(one.values, two.values, pair_of(project, one, two)), *one.key, *two.key,
    )  # fmt: skip


def pair_of(project: Project, one: Compared, two: Compared) -> Pair:
    """The rows that are compared, with their ranks among them; kept for the latest pairs."""
    return _pair(one, two, str(project.path), one.key, two.key)


@st.cache_resource(max_entries=4, show_spinner=False)
def _pair(_one: Compared, _two: Compared, path: str, first: tuple[str, ...], second: tuple[str, ...]) -> Pair:
    return agreement.pair(_one.values, _two.values)


def every(project: Project, views: list[Compared]) -> dict[tuple[int, int], Agreement]:
    """The agreement of all pairs of the chosen runs."""
    return {(a, b): figures_of(project, views[a], views[b]) for a, b in combinations(range(len(views)), 2)}


def overview(views: list[Compared], found: dict[tuple[int, int], Agreement]) -> None:
    """All pairs at once: a matrix of one figure, and the overlap of their tops."""
    st.session_state.setdefault("compare_figure", "Spearman")
    shown = st.segmented_control("Figure", list(MATRICES), key="compare_figure", required=True,
                                 format_func=lambda name: _SHORT.get(name, name))  # fmt: skip
    left, right = st.columns(2, gap="medium")
    with left:
        _matrix(views, found, str(shown))
        st.caption(MATRICES[str(shown)])
    with right:
        st.markdown("**Overlap of the tops as they grow**")
        curves(views, found)


def _matrix(views: list[Compared], found: dict[tuple[int, int], Agreement], shown: str) -> None:
    r = len(views)
    values = np.full((r, r), np.nan, np.float32)
    for (a, b), pair in found.items():
        values[a, b] = values[b, a] = _value(pair, shown)
    names = [axis_name(view, 24) for view in views]
    amounts = shown == "Common samples"
    ends = {"zmin": 0} if amounts else {"zmin": -1, "zmax": 1, "zmid": 0}
    scale = list((_AMOUNTS if amounts else _SIGNED)[colours.is_dark()])
    form = "%{z:,.0f}" if amounts else "%{z:.2f}"
    heat: Any = go.Heatmap(
        z=values, x=list(range(r)), y=list(range(r)), colorscale=scale, showscale=False, xgap=2, ygap=2,
        texttemplate=form, hovertemplate=f"{form}<extra></extra>", **ends,
    )  # fmt: skip
    figure = go.Figure(heat)
    axis = {"tickvals": list(range(r)), "ticktext": names, "showgrid": False, "zeroline": False}
    figure.update_layout(**LAYOUT, height=80 + 52 * r, xaxis=axis, yaxis=axis | {"autorange": "reversed"})
    st.plotly_chart(figure, config=CONFIG, key="comparing_matrix", alt=f"{shown} of every pair of runs")


def _value(pair: Agreement, shown: str) -> float:
    if shown == "Common samples":
        return float(pair.rows)
    if shown.startswith("Same"):
        return pair.top(0.1)[1] if pair.rows else np.nan
    value = pair.spearman if shown == "Spearman" else pair.kendall
    return np.nan if value is None else value


def curves(views: list[Compared], found: dict[tuple[int, int], Agreement]) -> None:
    """The overlap of the tops against their size, one line per pair, with what chance would give."""
    figure = go.Figure()
    pairs = {key: pair for key, pair in found.items() if pair.rows}
    for number, ((a, b), pair) in enumerate(pairs.items()):
        line = {"color": OKABE_ITO[number % len(OKABE_ITO)], "dash": _LINES[number // len(OKABE_ITO) % len(_LINES)]}
        name = f"{axis_name(views[a], 18)} and {axis_name(views[b], 18)}"
        figure.add_scatter(x=pair.k, y=pair.overlap.astype(np.float32), mode="lines", line=line, name=name)
    if pairs:
        largest = max(pairs.values(), key=lambda pair: pair.rows)
        chance = (largest.k / largest.rows).astype(np.float32)
        figure.add_scatter(x=largest.k, y=chance, mode="lines", line={"color": GREY, "dash": "dot"}, name="chance")
    legend = {"orientation": "h", "yanchor": "top", "y": -0.25, "x": 0}
    figure.update_layout(**{**LAYOUT, "showlegend": True}, height=380, xaxis_type="log", xaxis_title="best k of each",
                         yaxis_title="share in common", yaxis_range=[0, 1.02], legend=legend)  # fmt: skip
    st.plotly_chart(figure, config=CONFIG, key="comparing_curves", alt="Overlap of the tops against their size")


def figures(found: Agreement) -> None:
    """One pair in figures, each with what it would be without any relation."""
    with st.container(horizontal=True):  # in a narrow window they take several lines, and no title is cut
        st.metric(
            "Compared samples", f"{found.rows:,}", border=True, help="Scored by both runs, and passing the filters."
        )
        st.metric("Spearman", _shown(found.spearman), border=True, help=MATRICES["Spearman"])
        st.metric("Kendall", _shown(found.kendall), border=True, help=MATRICES["Kendall"])
        for share in (0.01, 0.1):
            k, value = found.top(share)
            st.metric(f"Same in the top {share:.0%}".replace("%", " %"), percent(value, 0), border=True,
                      help=f"Of each run's best {k:,}; by chance {percent(k / found.rows, 0)}.")  # fmt: skip
    if found.reason:
        st.caption(f"No rank correlation: {found.reason}.")
    elif found.biased is not None and found.biased_by_chance is not None:
        st.caption(
            f"Rank-biased overlap {found.biased:.2f} for a reader who looks at {found.depth:,} on average, the top "
            f"counting most; unrelated runs would have {found.biased_by_chance:.2f}."
        )


def _shown(value: float | None) -> str:
    return "–" if value is None else f"{round(value, 2) + 0.0:.2f}"  # never -0.00


def axis_name(view: Compared, limit: int = 40) -> str:
    """A run's name where Plotly shows it, which reads a little HTML: angle brackets and ampersands are taken out."""
    return shorten(view.record.name, limit).replace("<", "‹").replace(">", "›").replace("&", "+")


def choose_pair(views: list[Compared]) -> tuple[Compared, Compared]:
    """Two of the chosen runs to look at closely; of two, both."""
    if len(views) == 2:
        return views[0], views[1]
    names = [view.record.name for view in views]
    with st.container(horizontal=True, vertical_alignment="bottom"):
        first = _one("Look closely at", "compare_first", names, width=run_choice.WIDTH)
        second = _one("against", "compare_second", [n for n in names if n != first], width=run_choice.WIDTH)
    return views[names.index(first)], views[names.index(second)]


def _one(label: str, key: str, names: list[str], *, width: int) -> str:
    if st.session_state.get(key) not in names:
        st.session_state[key] = names[0]
    return str(st.selectbox(label, names, key=key, width=width, format_func=lambda n: shorten(n, 40)))


def title(one: Compared, two: Compared) -> str:
    """The pair in words, escaped."""
    return f"{plain(shorten(one.record.name))} against {plain(shorten(two.record.name))}"
