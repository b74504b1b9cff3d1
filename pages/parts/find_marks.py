"""The words that a search found, marked where a sample is read: in a component of our own, which makes text of text.

A text in *parts* is a list of texts that, joined, are the text: every second one, from the second on, was found.
Searches by meaning mark nothing: no word of a sample is the reason why it is near. Does not search.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import streamlit as st

from engine.curation import texts
from engine.curation.search_marks import LONGEST, bracketed, first_excerpt, marked_by, spans
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


def excerpt(messages: Sequence[Any]) -> str:
    """Where a sample has what is searched for, in brackets, on one line; "" where no text is searched for."""
    turns = texts.sides([(message.role, message.content) for message in messages])
    for side, role in (("prompt", "user"), ("response", "assistant")):
        for asked in queries(role):
            if any(spans(turn[:LONGEST], asked) for turn in turns[side]):
                return bracketed(first_excerpt({side: turns[side]}, asked, width=200)[1])
    return ""


def draw(text: str, role: str, *, key: str) -> None:
    """One turn as plain text, with what was found in it marked."""
    found = parts(text, role)
    if found:
        mount(key=key, data={"parts": [visible(part) for part in found]})
    else:
        st.text(visible(text), width="stretch")
