"""The orders samples can be reviewed in: by score, doubt, dispute between runs or likeness, at random, as they came.

`offered` names those that make sense for the project, `ordered` gives the pool rows of one; rows that have no place in
an order (no score, no interval) are left out and counted by who made the list. Does not filter.
"""

from collections.abc import Hashable

import numpy as np
import streamlit as st

from engine.curation import disputes
from engine.curation.search_filters import ranked
from engine.store.project import Project
from pages.parts import reads, review_audit, state
from pages.parts.filters import Filter
from pages.parts.run_choice import WIDTH, View

AUDIT = "audit"
DISPUTED = "disputed"
ALIKE = "alike"
NAMES: dict[str, str] = {
    "highest": "Highest score first",
    "lowest": "Lowest score first",
    "uncertain": "Most uncertain first",
    DISPUTED: "Most disputed between runs",
    ALIKE: "Most similar first",
    AUDIT: "Random audit",
    "random": "Random order",
    "pool": "Pool order",
}
WITHOUT_SCORES = (AUDIT, "random", "pool")  # these leave no row out
_RUNS, _CHOSEN = "review_runs", "ts_review_runs"
_WIDGET, _ORDER = "review_order", "ts_review_order"


def choose(project: Project, view: View | None) -> str:
    """Draw the choice of the order, and return it."""
    options = offered(project, view)
    chosen = st.session_state.get(_ORDER)
    st.session_state[_WIDGET] = chosen if chosen in options else options[0]
    return st.selectbox(
        "Order", options, format_func=NAMES.__getitem__, key=_WIDGET, width=WIDTH, on_change=_kept,
        help="By doubt where the run has intervals, by dispute where there are two runs, by similarity after a search "
        "for similar samples. The audit is a random draw that tells how many of the rest would be approved.",
    )  # fmt: skip


def _kept() -> None:
    st.session_state[_ORDER] = st.session_state.get(_WIDGET)


def offered(project: Project, view: View | None) -> list[str]:
    """The orders that make sense here."""
    found = [name for name in NAMES if name != ALIKE or likeness() is not None]
    if view is None:
        return [name for name in (ALIKE, "random", AUDIT, "pool") if name in found]
    if doubt(view) is None:
        found.remove("uncertain")
    if len(reads.by_state(project, "runs")) < 2:
        found.remove(DISPUTED)
    return found


def likeness() -> Filter | None:
    """The filter by likeness in force that was added last: what "most similar" means; None where there is none."""
    return next((part for part in reversed(state.active_filters()) if part.kind == "similar"), None)


def prefer(order: str) -> None:
    """Let this be the order of the next list that offers it."""
    st.session_state[_ORDER] = order


def doubt(view: View) -> np.ndarray | None:
    """How uncertain the run's overall scores are, (covered,): their standard deviation, else half their interval."""
    if view.scores.sigma is not None:
        return view.scores.sigma
    if view.scores.low is None or view.scores.high is None:
        return None
    return (np.asarray(view.scores.high) - np.asarray(view.scores.low)) / 2


def choose_runs(project: Project) -> None:
    """Draw the choice of the runs whose dispute orders the list."""
    names = [run.name for run in reads.by_state(project, "runs")]
    st.session_state[_RUNS] = list(disputed_runs(project))
    st.multiselect("Disputed between", names, key=_RUNS, on_change=_keep, width=330,
                   help="Ranks of a sample in these runs are compared as percentiles.")  # fmt: skip
    if len(disputed_runs(project)) < 2:
        st.caption("Choose two runs or more.")


def disputed_runs(project: Project) -> tuple[str, ...]:
    """The runs whose dispute orders the list: those chosen, else all but random baselines, else all."""
    runs = reads.by_state(project, "runs")
    names = [run.name for run in runs]
    chosen = st.session_state.get(_CHOSEN)
    if chosen is not None:
        return tuple(name for name in names if name in chosen)
    methods = [run.name for run in runs if run.method != "random"]
    return tuple(methods if len(methods) >= 2 else names)


def _keep() -> None:
    st.session_state[_CHOSEN] = tuple(st.session_state.get(_RUNS, ()))


def depends_on(project: Project, view: View | None, order: str) -> Hashable:
    """What besides pool and filters the order depends on: a list is made anew when it changes."""
    if order == AUDIT:
        found = review_audit.current(project)
        return found[0].number if found else 0
    if order == DISPUTED:
        return disputed_runs(project)
    if order == ALIKE:
        return likeness()
    return (view.record.artifact, view.column) if view is not None and order not in ("random", "pool") else ()


def begins_at(project: Project, order: str, rows: np.ndarray) -> int:
    """Where a reviewer who opens the list starts: an audit goes on at its first row without an answer."""
    if order != AUDIT:
        return 0
    waiting = np.flatnonzero(reads.decisions(project)[rows] == 0)
    return int(waiting[0]) if len(waiting) else len(rows)


def ordered(project: Project, view: View | None, order: str) -> np.ndarray:
    """int64: the pool rows in an order, before any filter."""
    n = reads.pool_size(project)
    if order == AUDIT:
        found = review_audit.current(project)
        return np.asarray(found[0].rows, np.int64) if found else np.zeros(0, np.int64)
    if order == ALIKE:
        part = likeness()
        facts = reads.facts(project)
        return np.zeros(0, np.int64) if part is None else ranked(facts, part.subject, part.values).rows
    if order == "random":
        return reads.by_pool(project, "shuffled", lambda: np.random.default_rng(0).permutation(n))
    if order == "pool" or view is None:
        return reads.by_pool(project, "in order", lambda: np.arange(n))
    if order == DISPUTED:
        runs = disputed_runs(project)
        return disputes.most_disputed(apart(project, runs))
    if order == "uncertain":
        return _uncertain(project, view)
    best_first = reads.order(project, view.record.artifact, view.column)
    return best_first if order == "highest" else best_first[::-1]


def apart(project: Project, runs: tuple[str, ...]) -> np.ndarray:
    """float32 (n,): how far apart the runs' overall ranks of each row are, as a share of one; NaN under two runs."""
    artifacts = tuple(reads.by_state(project, "run", name).artifact for name in runs)
    n = reads.pool_size(project)

    def compute() -> np.ndarray:
        return disputes.spread([disputes.percentiles(reads.ranks(project, a, reads.AGGREGATE), n) for a in artifacts])

    return reads.by_pool(project, "disputed", compute, artifacts)


def _uncertain(project: Project, view: View) -> np.ndarray:
    values = doubt(view)
    if values is None:
        return np.zeros(0, np.int64)

    def compute(_: object) -> np.ndarray:
        order = np.argsort(-np.asarray(values), kind="stable")  # NaN sorts last
        return order[: int(np.isfinite(values).sum())]

    return reads.by_artifact(project, view.record.artifact, "uncertain first", compute)
