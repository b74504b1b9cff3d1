"""What a search found, in words: how many samples, how near, by what they were compared; and what to try next."""

import numpy as np
import streamlit as st

from engine.curation import search_filters
from engine.curation.search_meaning import space
from engine.errors import EngineError
from engine.store.project import Project
from pages.parts import filters, reads, state
from pages.parts.filters import Filter
from pages.parts.words import count, plain

NEXT = {
    "words": "Try fewer words, an asterisk for the end of a word, or search by meaning.",
    "phrase": "Try single words, or search by meaning.",
    "regex": "Mind the case: (?i) at the beginning ignores it.",
}
FEATURES = {
    "sentence": ("sentence embeddings", "They see what a text is about, in its first 256 word pieces."),
    "hidden": ("hidden states of the map's language model", "They see wording and form as much as meaning. "
               "A map by the sentence model finds meanings better."),
}  # fmt: skip


def counts(project: Project) -> None:
    """A line for each search in force."""
    for part in state.active_filters():
        if part.kind not in ("text", "similar"):
            continue
        try:
            said, explained = (_of_text if part.kind == "text" else _of_likeness)(project, part)
        except EngineError:
            continue  # the page says it where it applies the filters, with the chip to remove above
        st.caption(plain(said), help=plain(explained) if explained else None)


def not_comparable(project: Project, row: int) -> str:
    """Why nothing can be compared with a pool row; "" where it can."""
    facts = reads.facts(project)
    try:
        values = space(facts).values()
    except EngineError as error:
        return str(error)
    if row >= len(values) or not np.isfinite(values[row]).all():
        return "This sample is not on the map, so nothing can be compared with it."
    return ""


def _of_text(project: Project, part: Filter) -> tuple[str, str]:
    found, total = int(filters.mask(project, part).sum()), reads.pool_size(project)
    said = f"{filters.describe(part)}: {found:,} of {count(total, 'sample')}."
    return said if found else f"{said} {NEXT[part.subject.partition('/')[0]]}", ""


def _of_likeness(project: Project, part: Filter) -> tuple[str, str]:
    """What is near, and the explanation of what was compared."""
    facts = reads.facts(project)
    found = search_filters.ranked(facts, part.subject, part.values)
    side = part.subject.partition("/")[2]
    made, explained = FEATURES.get(
        space(facts, side or "sample").recipe.get("features", ""), ("the map's features", "")
    )
    what = f"{side}s alone" if side else "whole samples, prompt and response as one"
    near = f"cosine {found.likeness[0]:.2f} to {found.likeness[-1]:.2f}" if len(found.rows) else "nothing is as near"
    return f"{filters.describe(part)} – {near}; {what}, by {made}.", explained
