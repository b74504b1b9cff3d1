"""The choice of a scoring method: families that a curator can tell apart, each method with what the engine says of it.

Knows names and families alone; what a method does, costs and needs is the engine's (`engine.runs.methods`).
"""

from typing import Any, get_args

import streamlit as st

from engine.runs.methods import METHODS, Teacher
from pages.parts.words import opened, plain

METHOD_NAMES: dict[str, str] = {
    "landmark": "Landmark",
    "exact": "Exact",
    "directional": "Directional",
    "network": "Network",
    "less": "LESS",
    "delift": "DELIFT",
    "delift-se": "DELIFT (SE)",
    "selectit": "SelectIT",
    "rds": "RDS+",
    "random": "Random",
}
FAMILIES: dict[str, tuple[str, tuple[str, ...]]] = {
    "Gradients": (
        "How a training step on the sample would change the loss on the targets.",
        ("landmark", "exact", "directional"),
    ),
    "Learned": ("A few samples are scored by another method; a network learns it for all others.", ("network",)),
    "Influence functions": (
        "Published measures of what a sample is worth, asked of every sample.",
        ("less", "delift", "delift-se", "selectit", "rds"),
    ),
    "Baseline": ("What every method must beat.", ("random",)),
}


def choose() -> str:
    """Draw the choice: a family, and its methods with their sentences; the method's name in the engine."""
    family = st.segmented_control(
        "Method", list(FAMILIES), default=next(iter(FAMILIES)), required=True, key="score_family",
        help="The kind of method; the methods of a kind are listed below it.",
    )  # fmt: skip
    said, methods = FAMILIES[family]
    st.caption(plain(said))
    if len(methods) == 1:
        st.markdown(f"**{plain(name_of(methods[0]))}**")
        st.caption(plain(sentence(methods[0])))
        return methods[0]
    found = st.radio(
        family, methods, format_func=name_of, captions=[plain(sentence(method)) for method in methods],
        label_visibility="collapsed", key=key_of(family),
    )  # fmt: skip
    return str(found)


def teacher() -> str:
    """Draw the choice of what the network learns, with what is said of it; the method's name in the engine."""
    found = st.selectbox(
        "Teacher", get_args(Teacher), format_func=name_of, key="score_teacher",
        help="The method that the network learns. It scores the labelled samples; the network estimates all others.",
    )  # fmt: skip
    st.caption(plain(f"{name_of(found)}: {sentence(found)}"))
    return str(found)


def key_of(family: str) -> str:
    """The widget that chooses among the methods of a family."""
    return f"score_method_{family.lower().replace(' ', '_')}"


def name_of(method: str) -> str:
    """A method as it is called on the pages; one without a name as it is."""
    return METHOD_NAMES.get(method, method)


def run_name(config: dict[str, Any], method: str) -> str:
    """A run's method in words; a network with its teacher."""
    return f"{name_of(method)} of {name_of(str(config.get('teacher', '')))}" if method == "network" else name_of(method)


def sentence(method: str) -> str:
    """What the engine says of a method, without its name where it begins with it."""
    return opened(METHODS[method].removeprefix(f"{name_of(method)}: "))
