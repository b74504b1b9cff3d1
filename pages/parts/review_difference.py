"""How a sample differs, word by word, from one of its duplicates or neighbours; compared only where it is asked for."""

import streamlit as st

from engine.data.word_diff import difference
from engine.store.project import Project
from pages.parts import reads, sample_view, score_view, word_pieces
from pages.parts.words import count, plain, shorten, visible

KEY, _CHOICE = "review_difference", "review_difference_with"
LONGEST = 200_000  # characters of either sample that are compared


def show(project: Project, row: int) -> None:
    """The difference from a related sample, the nearest first; it stays open from sample to sample."""
    found = score_view.related(project, row)
    if not found:
        return
    details = st.expander("What differs from a duplicate or neighbour", key=KEY, on_change="rerun")
    if not details.open:
        return
    with details:
        names = {other: f"{relation}: {_name(project, other)}" for relation, other in found}
        if st.session_state.get(_CHOICE) not in names:
            st.session_state[_CHOICE] = found[0][1]
        other = st.selectbox("Compared with", list(names), key=_CHOICE, format_func=lambda at: names[at])
        _compare(project, row, int(other))


def _name(project: Project, row: int) -> str:
    return visible(shorten(reads.sample(project, row).id, 60))


def _compare(project: Project, row: int, other: int) -> None:
    texts = [_whole(project, at) for at in (other, row)]
    found = reads.by_pool(project, "difference", lambda: difference(texts[0][:LONGEST], texts[1][:LONGEST]), row, other)
    removed, added = found.words
    if texts[0] == texts[1]:
        st.caption("The messages are the same to the letter.")
        return
    st.caption(
        plain(f"+ {count(added, 'word')} that only this sample has, − {count(removed, 'word')} that only "
              f"{_name(project, other)} has.")
    )  # fmt: skip
    parts = [(piece.kind, piece.text) for piece in found.pieces]
    word_pieces.pieces(parts, key=f"{KEY}_pieces", label=f"What differs: {added} words added, {removed} removed")
    beyond = found.beyond + max(0, max(map(len, texts)) - LONGEST)
    if beyond:
        st.caption(f"{beyond:,} characters at the end were not compared.")


def _whole(project: Project, row: int) -> str:
    messages = reads.sample(project, row).messages
    return "\n\n".join(f"{sample_view.label(message.role)}:\n{message.content}" for message in messages)
