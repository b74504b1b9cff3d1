"""Two runs side by side: how far they agree in rank, where their tops overlap, and where they disagree most.

Only rows that both runs score are compared. Ranks count from 1 for the highest among those. Notation: m compared rows.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import plotly.graph_objects as go
import streamlit as st
from scipy.stats import spearmanr

from engine.data.samples import prompt_text
from engine.store.project import Project
from pages.parts import filters, reads, run_choice, state
from pages.parts.charts import CONFIG, GREY, LAYOUT, OCHRE, TEAL
from pages.parts.run_choice import View
from pages.parts.shell import PAGES
from pages.parts.words import count, percent, plain, score, shorten

SCATTERED = 20_000
SHOWN = 100
CURVE_POINTS = 80


@dataclass(frozen=True)
class Pair:
    """`rows` int64 (m,) scored by both; `first` and `second` their scores, `ranks` int64 (m, 2); `spearman` or None."""

    rows: np.ndarray
    first: np.ndarray
    second: np.ndarray
    ranks: np.ndarray
    spearman: float | None


def choose(project: Project) -> tuple[View, View]:
    """Two runs and one column that both have."""
    runs = {run.name: run for run in reversed(reads.by_state(project, "runs"))}
    names = list(runs)
    with st.container(horizontal=True, vertical_alignment="bottom"):
        one = st.selectbox("Run", names, key="compare_first", width=run_choice.WIDTH)
        others = [name for name in names if name != one]
        two = st.selectbox("Against", others, key="compare_second", width=run_choice.WIDTH)
        first, second = (reads.scores(project, runs[name].artifact) for name in (one, two))
        shared = [reads.AGGREGATE, *(name for name in first.sets if name in second.sets)]
        column = st.selectbox(
            "Score of", shared, key="compare_column", width=run_choice.WIDTH,
            format_func=lambda name: "overall" if name == reads.AGGREGATE else name,
        )  # fmt: skip
    return View(runs[one], first, column), View(runs[two], second, column)


def pair(project: Project, one: View, two: View) -> Pair:
    """Compare the column of two runs; kept for good, since both artifacts never change."""
    key = (two.scores.artifact, one.column)
    return reads.by_artifact(project, one.scores.artifact, "pair", lambda _: compare(one.values, two.values), *key)


def compare(one: np.ndarray, two: np.ndarray) -> Pair:
    """Ranks and rank correlation (ties averaged) over the rows that both columns score."""
    m = min(len(one), len(two))
    rows = np.flatnonzero(np.isfinite(one[:m]) & np.isfinite(two[:m]))
    first, second = np.asarray(one[rows], np.float64), np.asarray(two[rows], np.float64)
    ranks = np.stack([reads.rank(first), reads.rank(second)], axis=1)
    varied = len(rows) > 2 and np.ptp(first) > 0 and np.ptp(second) > 0
    return Pair(rows, first, second, ranks, float(spearmanr(first, second).statistic) if varied else None)


def overlap(ranks: np.ndarray, k: np.ndarray) -> np.ndarray:
    """The share of each run's best k that both have in common; float (len(k),)."""
    both = np.sort(ranks.max(axis=1))
    return np.searchsorted(both, k, side="right") / k


def figures(found: Pair) -> None:
    """Rank correlation and overlap of the tops, in figures."""
    m = len(found.rows)
    tops = np.array([max(1, m // 100), max(1, m // 10)])
    shares = overlap(found.ranks, tops)
    places = st.columns(4)
    places[0].metric("Compared samples", f"{m:,}", border=True, help="Scored by both runs.")
    value = "–" if found.spearman is None else f"{found.spearman:.2f}"
    places[1].metric("Spearman", value, border=True, help="1: the same order; 0: none in common; -1: reversed.")
    places[2].metric("Same in the top 1 %", percent(shares[0], 0), border=True, help="By chance: 1 %.")
    places[3].metric("Same in the top 10 %", percent(shares[1], 0), border=True, help="By chance: 10 %.")


def curve(found: Pair, one: View, two: View) -> None:
    """The overlap of the tops against their size, with what chance would give."""
    m = len(found.rows)
    k = np.unique(np.geomspace(1, m, CURVE_POINTS).astype(np.int64))
    figure = go.Figure()
    figure.add_scatter(x=k, y=overlap(found.ranks, k), mode="lines", line_color=TEAL, name="runs")
    figure.add_scatter(x=k, y=k / m, mode="lines", line={"color": GREY, "dash": "dot"}, name="chance")
    figure.update_layout(**{**LAYOUT, "showlegend": True}, height=320, xaxis_type="log", xaxis_title="best k of each",
                         yaxis_title="share in common", yaxis_range=[0, 1.02])  # fmt: skip
    st.plotly_chart(figure, config=CONFIG, key=f"curve_{one.record.name}_{two.record.name}_{one.column}")


def scatter(found: Pair, one: View, two: View) -> None:
    """The two scores of every compared sample; of many, a seeded sample is drawn and said."""
    m = len(found.rows)
    drawn = np.arange(m) if m <= SCATTERED else np.random.default_rng(0).choice(m, SCATTERED, replace=False)
    x, y = found.first[drawn].astype(np.float32), found.second[drawn].astype(np.float32)
    figure = go.Figure(go.Scattergl(x=x, y=y, mode="markers", marker={"size": 3, "color": OCHRE, "opacity": 0.5}))
    figure.update_layout(**LAYOUT, height=320, xaxis_title=_axis(one), yaxis_title=_axis(two))
    st.plotly_chart(figure, config=CONFIG, key=f"scatter_{one.record.name}_{two.record.name}_{one.column}")
    if m > SCATTERED:
        st.caption(f"{SCATTERED:,} of {count(m, 'sample')} are drawn, taken at random.")


def _axis(view: View) -> str:
    return f"{view.record.name}{f' ({view.unit})' if view.unit else ''}".replace("<", "‹").replace(">", "›")


def disagreements(project: Project, found: Pair, one: View, two: View) -> None:
    """The samples whose ranks differ most; a click on a line opens the sample in Review."""
    apart = np.abs(found.ranks[:, 0] - found.ranks[:, 1])
    worst = np.argsort(-apart, kind="stable")[:SHOWN]
    rows = found.rows[worst]
    decisions = reads.decisions(project)
    first, second = shorten(one.record.name, 30), shorten(two.record.name, 30)
    table: list[dict[str, Any]] = [
        {
            "Sample": shorten(stored.id, 40),
            f"Rank in {first}": int(found.ranks[at, 0]),
            f"Rank in {second}": int(found.ranks[at, 1]),
            f"Score in {first}": score(found.first[at]),
            f"Score in {second}": score(found.second[at]),
            "Decision": filters.decision_name(int(decisions[row])),
            "Prompt": shorten(prompt_text(stored.messages), 100),
        }
        for at, row, stored in zip(worst.tolist(), rows.tolist(), reads.samples(project, rows.tolist()))
    ]
    event = st.dataframe(table, hide_index=True, on_select="rerun", selection_mode="single-row", key="compare_rows")
    chosen = event["selection"]["rows"]
    if not chosen:
        st.caption("Click the box before a line to open that sample in Review.")
        return
    sample = reads.sample(project, int(rows[chosen[0]]))
    if st.button(plain(f"Open {shorten(sample.id, 40)} in Review"), key="compare_open", icon=":material/rate_review:"):
        state.put("sample", sample.id)
        st.switch_page(next(path for path, name, _ in PAGES if name == "Review"))
