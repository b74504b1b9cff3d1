"""The words that a search found, marked where a sample is read: in a component of our own, which makes text of text.

A text in *parts* is a list of texts that, joined, are the text: every second one, from the second on, was found.
Searches by meaning mark nothing: no word of a sample is the reason why it is near. Does not search.
"""

from collections.abc import Iterable
from pathlib import Path

import streamlit as st

from engine.curation.search_marks import marked_by
from engine.curation.search_words import TextQuery
from pages.parts import state
from pages.parts.filters import Filter
from pages.parts.words import visible

_HERE = Path(__file__).parent

# Registered once per process, when this module is first imported.
mount = st.components.v2.component(
    "touchstone_marked_text",
    css=(_HERE / "find_marks.css").read_text(encoding="utf-8"),
    js=(_HERE / "find_marks.js").read_text(encoding="utf-8"),
)


def queries(role: str, filters: Iterable[Filter] | None = None) -> list[TextQuery]:
    """What is searched for in the turns of `role`, by the filters in force."""
    side = "response" if role == "assistant" else "prompt"
    found = []
    for part in state.active_filters() if filters is None else filters:
        mode, _, where = part.subject.partition("/")
        if part.kind == "text" and where in ("both", side):
            found.append(TextQuery.of(str(part.values[0]), mode))
    return found


def parts(text: str, role: str) -> list[str]:
    """`text` of a turn in parts; empty where nothing is searched for or found in it."""
    asked = queries(role)
    pieces = marked_by(text, asked) if asked else []
    if not any(found for _, found in pieces):
        return []
    made = [""]
    for piece, found in pieces:
        if found != (len(made) % 2 == 0):
            made.append(piece)
        else:
            made[-1] += piece
    return made


def draw(text: str, role: str, *, key: str) -> None:
    """One turn as plain text, with what was found in it marked."""
    found = parts(text, role)
    if found:
        mount(key=key, data={"parts": [visible(part) for part in found]})
    else:
        st.text(visible(text), width="stretch")
