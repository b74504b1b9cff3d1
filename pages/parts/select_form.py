"""What a selection is asked to be, on the Select page: size, strategy and its settings in one row.

Guards and quotas are `select_limits`'.
Titles, explanations and which settings matter come from the engine's menu of strategies. Does not choose.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import streamlit as st

from engine.runs.choice import Choice
from engine.runs.learnt_likeness import has_network
from engine.selection.menu import GREEDY_NAMES, LIKENESS_NAMES, STRATEGIES, STRATEGY_NAMES, Need
from engine.selection.submodular import LAZY_UP_TO
from engine.store.project import Project
from pages.parts import filters, kept, reads, select_limits, state
from pages.parts.kept import preset
from pages.parts.run_choice import View
from pages.parts.shell import empty
from pages.parts.words import plain

PREFIX = "select_"
_KEPT_KEYS = {
    f"{PREFIX}{name}"
    for name in (
        "size", "strategy", "targets", "tradeoff", "among", "kernel", "greedy", "seed", "guards", "keep", "within"
    )
}  # fmt: skip
_SEARCHES = {"auto": "By size of the pool", "lazy": "Lazy, exact", "stochastic": "Random candidates, faster"}
_LIKENESS = {"map": "Features of the map", "network": "Influence, by the run's network"}
# what is missing, in words: heading, what to do, and the page that does it
_ABSENT: dict[Need, tuple[str, str, str]] = {
    "map": ("No map yet", "This strategy compares samples by the features of the map. Make the map first.", "Map"),
    "targets": ("No target yet", "This strategy chooses for target samples. Add a target set first.", "Pool"),
    "owned": (
        "No owned data yet",
        "This strategy chooses what the data you already train on lacks. Add that data as owned first.",
        "Pool",
    ),
}


def asked(project: Project, view: View) -> Choice:
    """The inputs of a selection. Raises `EngineError` for settings out of range."""
    kept.restore(PREFIX, str(project.path))
    left, right = st.columns([1, 3], vertical_alignment="bottom")
    preset("select_size", "10%")
    size = left.text_input(
        "Size", key="select_size",
        help="A number of samples such as 500, a share such as 10%, or what they may hold together: 200k tokens or "
        "80k words. Such a budget takes samples in the strategy's order, each that still fits.",
    )  # fmt: skip
    strategy = right.selectbox(
        "Strategy", STRATEGY_NAMES, format_func=lambda name: STRATEGIES[name].title, key="select_strategy"
    )
    told = STRATEGIES[strategy]
    st.caption(plain(f"{told.does} {told.when}"))
    settings = _settings(project, view, strategy)
    guards, keep = select_limits.guards(project)
    quotas = select_limits.quotas(project)
    within: tuple[filters.Filter, ...] = ()
    if state.active_filters():
        preset("select_within", True)
        only = st.toggle("Only samples that pass the filters", key="select_within")
        within = state.active_filters() if only else ()
    kept.keep(PREFIX, str(project.path), without=[str(key) for key in st.session_state if not _is_kept(str(key))])
    more: dict[str, Any] = {"guards": guards, "keep": keep, "quotas": quotas, "within": within, "column": view.column}
    choice = Choice(size=size.strip(), strategy=strategy, **settings, **more)
    return choice if choice.unit != "tokens" else replace(choice, tokens_by=select_limits.counted(project, view))


def _is_kept(key: str) -> bool:
    """Whether a widget holds what was asked, and is no button."""
    return key in _KEPT_KEYS or key.startswith(select_limits.LIMIT)


def possible(project: Project, choice: Choice) -> bool:
    """Whether the project has what the strategy needs; where it has not, say what to do."""
    there = {
        "map": lambda: reads.by_state(project, "latest_map") is not None,
        "targets": lambda: bool(reads.by_state(project, "targets")),
        "owned": lambda: reads.by_state(project, "counts").owned > 0,
    }
    missing = [need for need in choice.needs if need in there and not there[need]()]
    if missing:
        empty(*_ABSENT[missing[0]])
    return not missing


def _settings(project: Project, view: View, strategy: str) -> dict[str, Any]:
    """The settings that matter to the strategy, side by side."""
    names = [name for name in _INPUTS if name in STRATEGIES[strategy].settings]
    if not names:
        return {}
    found: dict[str, Any] = {}
    with st.container(horizontal=True, vertical_alignment="bottom"):
        for name in names:
            found[name] = _INPUTS[name](project, view, found)
    return {name: value for name, value in found.items() if value is not None}


def _among(project: Project, view: View, found: dict[str, Any]) -> str:
    preset("select_among", 100)
    share = st.number_input(
        "Among the best, %", 1, 100, step=5, key="select_among", width=190,
        help="Only the best share by score can be chosen, and is represented; 100: all samples with a score.",
    )  # fmt: skip
    return "" if share == 100 else f"{share}%"


def _tradeoff(project: Project, view: View, found: dict[str, Any]) -> float:
    preset("select_tradeoff", 0.5)
    return st.slider(
        "Score or coverage", 0.0, 1.0, step=0.05, key="select_tradeoff", width=240,
        help="0 goes by the score alone, 1 by how well the samples represent the others.",
    )  # fmt: skip


def _targets(project: Project, view: View, found: dict[str, Any]) -> tuple[str, ...]:
    names = [target.name for target in reads.by_state(project, "targets")]
    avoided = view.record.config.get("avoid") or ()
    preset("select_targets", [name for name in names if name in view.record.targets and name not in avoided])
    return tuple(st.multiselect("Targets to cover", names, key="select_targets", placeholder="Those of the run"))


def _greedy(project: Project, view: View, found: dict[str, Any]) -> str:
    return st.selectbox(
        "Search", GREEDY_NAMES, format_func=lambda name: _SEARCHES.get(name, name), key="select_greedy", width=240,
        help="Lazy looks at every sample that could be the best. Random candidates cost less in very large pools, and "
        "gain a little less.",
    )  # fmt: skip


def _kernel(project: Project, view: View, found: dict[str, Any]) -> str | None:
    """Where likeness comes from, where the run offers a choice."""
    if not has_network(project.artifacts / view.scores.artifact):
        return None
    return st.selectbox("Likeness by", LIKENESS_NAMES, format_func=lambda name: _LIKENESS.get(name, name),
                        key="select_kernel", width=280)  # fmt: skip


def _seed(project: Project, view: View, found: dict[str, Any]) -> int | None:
    """The seed, where anything is drawn."""
    search = found.get("greedy")
    drawn = search in (None, "stochastic") or (search == "auto" and reads.pool_size(project) > LAZY_UP_TO)
    if not drawn:
        return None
    preset("select_seed", 0)
    return int(st.number_input("Seed", 0, 2**32 - 1, key="select_seed", width=150))


_INPUTS: dict[str, Callable[[Project, View, dict[str, Any]], Any]] = {
    "targets": _targets,
    "tradeoff": _tradeoff,
    "among": _among,
    "kernel": _kernel,
    "greedy": _greedy,
    "seed": _seed,
}
