"""Which run, and which of its columns, the page speaks of; shared by every page through the session."""

from dataclasses import dataclass
from typing import Any

import streamlit as st

from engine.errors import EngineError
from engine.store.project import Project
from pages.parts import reads, score_methods, state, trust
from pages.parts.words import count, plain, shorten

WIDTH = 215  # pixels; three such choices and a switch fit one line of a small window


@dataclass(frozen=True)
class View:
    """A run in view: its record, its arrays, and the chosen column ("score" for the aggregate)."""

    record: Any
    scores: reads.Scores
    column: str

    @property
    def values(self) -> reads.Array:
        """float32 (covered,): the chosen column; higher is better, NaN where there is no score."""
        return self.scores.column(self.column)

    @property
    def title(self) -> str:
        """The chosen column in words."""
        return column_name(self.record, self.column)

    @property
    def unit(self) -> str:
        """What one unit of the score is."""
        return str(self.scores.summary.get("unit", self.record.config.get("unit", "")))


def run_view(project: Project) -> View:
    """The run in view without drawing anything: the one chosen, else the latest that is no random baseline.

    Raises `EngineError` where the project has no run.
    """
    runs = reads.by_state(project, "runs")
    if not runs:
        raise EngineError("Nothing has been scored yet. Score the pool first; nothing was changed.")
    record = next((run for run in runs if run.name == state.get("run")), reads.guide(project))
    found = reads.scores(project, record.artifact)
    chosen = state.get("column")
    return View(record, found, chosen if chosen in found.sets else reads.AGGREGATE)


def choose(project: Project, *, column: bool = True) -> View:
    """Draw the choice of run and column, and return the run in view."""
    view = run_view(project)
    names = [run.name for run in reversed(reads.by_state(project, "runs"))]
    _preset("choice_run", view.record.name)
    st.selectbox("Run", names, key="choice_run", on_change=_keep, args=("run", "choice_run"), width=WIDTH)
    options = [reads.AGGREGATE, *view.scores.sets]
    if column and len(options) > 2:
        _preset("choice_column", view.column)
        st.selectbox(
            "Score of",
            options,
            key="choice_column",
            on_change=_keep,
            args=("column", "choice_column"),
            format_func=lambda name: column_name(view.record, name),
            width=WIDTH,
        )
    return view


def coverage(project: Project, view: View, *, trusted: bool = False) -> None:
    """Say, where it is so, that the run cannot be trusted (unless that is said elsewhere: `trusted`), or does not cover
    the whole pool.
    """
    if not trusted:
        trust.caution(view.record.name, view.record.method, view.scores.summary)
    missing = reads.pool_size(project) - view.scores.covered
    if missing > 0:
        name = plain(view.record.name)
        have, them = ("has", "it") if missing == 1 else ("have", "them")
        st.warning(
            f"{count(missing, 'sample')} joined the pool after run {name} and {have} no score in it. "
            f"Score again to cover {them}."
        )


def describe(view: View) -> str:
    """Run, method, model and unit in one line; not escaped."""
    modelled = view.record.model and view.record.method != "random"
    model = f" · model {shorten(str(view.record.model), 40)}" if modelled else ""
    unit = f" · unit {view.unit}" if view.unit else ""
    method = score_methods.run_name(view.record.config, view.record.method)
    return f"Run {view.record.name} · method {method}{model}{unit} · higher is better"


def column_name(record: Any, name: str) -> str:
    """A column in words: the aggregate joins the target sets; a method without targets rates quality."""
    if record.method == "random":
        return "random"
    if name != reads.AGGREGATE:
        return name
    if not record.targets:
        return "quality"
    if len(record.targets) == 1:
        return f"{record.targets[0]} (overall)"
    return f"overall ({_joined(record.config)})"


def _joined(config: dict[str, Any]) -> str:
    """How the target sets were joined; configurations of earlier versions know the mean alone."""
    if config.get("across", "mean") == "max":
        return "best"
    return "weighted mean" if config.get("target_weights") or config.get("avoid") else "mean"


def _keep(name: str, key: str) -> None:
    value = st.session_state.get(key)
    state.put(name, None if name == "column" and value == reads.AGGREGATE else value)


def _preset(key: str, value: Any) -> None:
    """Give a widget the remembered value before it is drawn."""
    st.session_state[key] = value
