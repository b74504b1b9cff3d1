"""What a selection is asked to be, on the Select page: size, strategy, its settings in one row, what stays out.

Titles, explanations and which settings matter come from the engine's menu of strategies. Does not choose.
"""

from collections.abc import Callable
from typing import Any

import streamlit as st

from engine.runs.choice import Choice
from engine.runs.learnt_likeness import has_network
from engine.selection.menu import GREEDY_NAMES, LIKENESS_NAMES, STRATEGIES, STRATEGY_NAMES, Need
from engine.selection.submodular import LAZY_UP_TO
from engine.store.project import Project
from pages.parts import choosing, filters, reads, state
from pages.parts.choosing import Wish
from pages.parts.run_choice import View
from pages.parts.shell import empty
from pages.parts.words import plain

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


def wish(project: Project, view: View) -> Wish:
    """The inputs of a selection. Raises `EngineError` for settings out of range."""
    left, right = st.columns([1, 3], vertical_alignment="bottom")
    size = left.text_input(
        "Size", "10%", key="select_size", help="A number of samples such as 500, or a share such as 10%."
    )
    strategy = right.selectbox(
        "Strategy", STRATEGY_NAMES, format_func=lambda name: STRATEGIES[name].title, key="select_strategy"
    )
    told = STRATEGIES[strategy]
    st.caption(plain(f"{told.does} {told.when}"))
    settings = _settings(project, view, strategy)
    guards = st.multiselect(
        "Leave out", choosing.GUARDS, key="select_guards", placeholder="Nothing",
        help="Samples with these marks stay out unless a person approved them. Of near-duplicates the first stays.",
    )  # fmt: skip
    within: tuple[filters.Filter, ...] = ()
    if state.active_filters():
        only = st.toggle("Only samples that pass the filters", value=True, key="select_within")
        within = state.active_filters() if only else ()
    return Wish(Choice(size=size.strip(), strategy=strategy, **settings), tuple(guards), within)


def possible(project: Project, wish: Wish) -> bool:
    """Whether the project has what the strategy needs; where it has not, say what to do."""
    there = {
        "map": lambda: reads.by_state(project, "latest_map") is not None,
        "targets": lambda: bool(reads.by_state(project, "targets")),
        "owned": lambda: reads.by_state(project, "counts").owned > 0,
    }
    missing = [need for need in wish.choice.needs if need in there and not there[need]()]
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
    share = st.number_input(
        "Among the best, %", 1, 100, 100, step=5, key="select_among", width=190,
        help="Only the best share by score can be chosen, and is represented; 100: all samples with a score.",
    )  # fmt: skip
    return "" if share == 100 else f"{share}%"


def _tradeoff(project: Project, view: View, found: dict[str, Any]) -> float:
    return st.slider(
        "Score or coverage", 0.0, 1.0, 0.5, 0.05, key="select_tradeoff", width=240,
        help="0 goes by the score alone, 1 by how well the samples represent the others.",
    )  # fmt: skip


def _targets(project: Project, view: View, found: dict[str, Any]) -> tuple[str, ...]:
    names = [target.name for target in reads.by_state(project, "targets")]
    avoided = view.record.config.get("avoid") or ()
    default = [name for name in names if name in view.record.targets and name not in avoided]
    return tuple(
        st.multiselect("Targets to cover", names, default, key="select_targets", placeholder="Those of the run")
    )


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
    return int(st.number_input("Seed", 0, 2**32 - 1, 0, key="select_seed", width=150)) if drawn else None


_INPUTS: dict[str, Callable[[Project, View, dict[str, Any]], Any]] = {
    "targets": _targets,
    "tradeoff": _tradeoff,
    "among": _among,
    "kernel": _kernel,
    "greedy": _greedy,
    "seed": _seed,
}
