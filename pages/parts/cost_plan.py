"""What a scoring run would cost, before it is started: at once what is counted, and on demand what is measured."""

import math
from typing import TYPE_CHECKING

import streamlit as st

from engine.errors import EngineError
from engine.runs.config import ScoreConfig
from engine.selection.sizes import size_of
from engine.store.project import Project
from pages.parts import function_sizes, reads
from pages.parts.mistakes import show_error
from pages.parts.score_methods import name_of
from pages.parts.tables import table
from pages.parts.words import count, duration, opened, plain, size

if TYPE_CHECKING:
    from engine.runs.plan import Plan

_MADE = "ts_plan"


def show(project: Project, config: ScoreConfig, *, measure: bool) -> None:
    """The measured plan, if one was asked for (just now: `measure`) with these settings."""
    key = (str(project.path), reads.by_state(project, "pool_hash"), config)
    if measure:
        _make(project, config, key)
    kept = st.session_state.get(_MADE)
    if kept is not None and kept[0] == key:
        _draw(kept[1], config)


def sizes(project: Project, config: ScoreConfig) -> str:
    """What the run would measure, counted without touching a model; not escaped.

    Raises `EngineError` where the settings do not fit the pool.
    """
    n = reads.pool_size(project)
    counts = reads.by_state(project, "counts").targets
    chosen = {name: rows for name, rows in counts.items() if not config.targets or name in config.targets}
    against = f"against {count(sum(chosen.values()), 'target sample')} in {count(len(chosen), 'target set')}"
    if config.method == "random":
        return f"Gives each of {count(n, 'sample')} a random score. Takes no time."
    if config.function is not None:
        return function_sizes.sentence(config, n, sum(chosen.values()), against)
    if config.method == "directional":
        directions = count(len(chosen), "target direction")
        return f"Runs each of {count(n, 'sample')} forward along {directions}. Nothing is propagated."
    if config.method == "exact":
        return f"Measures each of {count(n, 'sample')} exactly {against}. Nothing is propagated."
    landmarks, audit, tuning = config.landmark_count(n), config.audit_count(n), config.tuning_count(n)
    tuned = f" ({tuning:,} of them to tune by)" if tuning else ""
    return (
        f"Measures {count(landmarks, 'landmark')}{tuned} and {count(audit, 'audit sample')} exactly {against}, "
        f"and propagates to the other {n - landmarks - audit:,} of {count(n, 'sample')}.{_effort(config, n)}"
    )


def _effort(config: ScoreConfig, n: int) -> str:
    """What is done beyond the landmarks; refuses a size that the pool does not have before anything is started."""
    said = ""
    if config.fidelity is not None:
        most = min(config.max_landmarks or 2 * config.landmark_count(n), n)
        said += f" Adds landmarks, {most:,} at most, until the tuning samples reach Spearman {config.fidelity:.2f}."
    if config.refine:
        size, limit = size_of(config.refine, n), math.floor(config.refine_budget * n)
        said += (
            f" Then measures samples near the cut at {size:,} exactly, {limit:,} at most, until the best are stable."
        )
    return said


def _make(project: Project, config: ScoreConfig, key: object) -> None:
    from engine.runs.plan import plan  # brings torch, which no other page needs

    try:
        with st.spinner("Counting tokens and measuring this machine on a few samples…"):
            st.session_state[_MADE] = (key, plan(project, config))
    except EngineError as error:
        show_error(error)


def _draw(made: "Plan", config: ScoreConfig) -> None:
    about = "about " if made.tokens_are_estimated else ""
    figures = {"Time": duration(made.seconds)}
    if made.parameters:  # a language model takes part
        figures |= {"Tokens in the pool": f"{about}{made.tokens:,}", "Work": f"{made.flops:.2g} FLOPs"}
    figures["Disk"] = size(made.bytes)
    for place, (name, value) in zip(st.columns(4), figures.items()):
        place.metric(name, value, border=True)
    if made.exact_seconds:
        learnt = config.teacher if config.method == "network" else ""
        compared = made.compared.replace(learnt, name_of(learnt), 1)  # as the method is called on the pages
        st.caption(plain(f"For comparison: {compared} would take {duration(made.exact_seconds)}."))
    rows = [
        {"Phase": opened(p.name), "Samples": p.rows, "Tokens": p.tokens, "FLOPs": f"{p.flops:.2g}" if p.flops else "–",
         "Time": duration(p.seconds)}
        for p in made.phases
    ]  # fmt: skip
    table(rows)
    device = f"Device: {made.device}."
    st.caption(plain(" ".join([device, *(f"{opened(note)}." for note in made.notes)])))
