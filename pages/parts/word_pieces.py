"""A text in pieces of which some are marked: added, removed, or matching; shown as text, whatever it holds.

    pieces([("same", "The answer is "), ("removed", "41"), ("added", "42")], key="diff", label="…")

Marks are told apart by colours that everyone can tell apart, and by sign, underline and strike without any colour.
Control characters are spelt out. Does not compare texts (`engine.data.word_diff`).
"""

from collections.abc import Iterable, Iterator
from pathlib import Path

import streamlit as st

from pages.parts.words import visible

AROUND = 160  # characters kept on either side of a long piece that is the same
LONGEST = 20_000  # characters of one marked piece that are shown
_HERE = Path(__file__).parent

# Registered once per process, when this module is first imported.
mount = st.components.v2.component(
    "touchstone_word_pieces",
    css=(_HERE / "word_pieces.css").read_text(encoding="utf-8"),
    js=(_HERE / "word_pieces.js").read_text(encoding="utf-8"),
)


def pieces(parts: Iterable[tuple[str, str]], *, key: str, label: str) -> None:
    """Draw (kind, text) pieces in order; kinds "same", "added", "removed" and "match". `label` names the whole."""
    mount(key=key, data={"label": label, "pieces": list(shown(parts))})


def shown(parts: Iterable[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    """The pieces as they are shown: what is long and the same is left out but for its ends."""
    listed = list(parts)
    for at, (kind, text) in enumerate(listed):
        if kind != "same":
            yield kind, visible(text[:LONGEST])
            if len(text) > LONGEST:
                yield "left-out", f" … {len(text) - LONGEST:,} more characters … "
            continue
        before = AROUND if at > 0 else 0  # nothing precedes the first piece, so its beginning tells nothing
        after = AROUND if at + 1 < len(listed) else 0
        if len(text) <= before + after + AROUND:
            yield kind, visible(text)
            continue
        if before:
            yield kind, visible(text[:before])
        yield "left-out", f" … {len(text) - before - after:,} characters the same … "
        if after:
            yield kind, visible(text[-after:])
