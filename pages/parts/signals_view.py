"""What a sample shares with the items it was compared with: the passages of both, side by side and marked.

The items are the nearest of each target set, held-out file and the owned data, as the signals found them. Texts are
data: they are drawn escaped, and the marks are the only formatting.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import streamlit as st

from engine.curation.signals import Signals, signals_of
from engine.data.passages import pieces, shared_passages
from engine.data.samples import prompt_text, response_text
from engine.data.signal_columns import SignalColumn, regions_at
from engine.store.project import Project
from engine.store.records import StoredRow
from pages.parts import reads
from pages.parts.mistakes import errors_shown
from pages.parts.words import opened, percent, plain, shorten, visible

LEAST = 0.1
"""Overlap below this is shared phrasing, not worth a look."""
MOST_SETS, MOST_EXCERPTS, MOST_PASSAGES, AROUND, LONGEST = 4, 4, 5, 120, 20_000


@dataclass(frozen=True)
class Match:
    """An item that the row is compared with: the set's signal, its value for the row, and the item's number."""

    column: SignalColumn
    value: float
    item: int


def matches(project: Project, row: int) -> list[Match]:
    """The nearest items of the sets that the row overlaps with, or lies too near to; the largest value first."""
    found = signals_of(reads.facts(project))
    each = (_match(found, name, row) for name, column in found.columns.items() if column.set or column.role == "owned")
    return sorted((match for match in each if match is not None), key=lambda match: -match.value)[:MOST_SETS]


def _match(found: Signals, name: str, row: int) -> Match | None:
    column = found.columns[name]
    if column.kind != "number" or not found.has(name, "_item"):
        return None
    values, items = found.array(name), found.array(name, "_item")
    if row >= len(values) or items[row] < 0 or not np.isfinite(values[row]):
        return None
    least = LEAST if column.array.startswith("overlap") else float(column.threshold or 1)
    return Match(column, float(values[row]), int(items[row])) if values[row] >= least else None


def personal_passages(project: Project, row: int) -> str:
    """The personal data that a sample holds, as it stands there; not escaped."""
    from engine.data.personal import matches as found_in  # its numbering plans take a moment to load
    from engine.data.phones import regions_in

    facts, stored = reads.facts(project), reads.sample(project, row)
    prompt, response = prompt_text(stored.messages), response_text(stored.messages)
    regions = regions_in(prompt, response, regions_at(facts.artifact(facts.latest_signals() or "")))
    text = f"{prompt}\n{response}"[:LONGEST]
    found = list(dict.fromkeys(visible(shorten(passage, 40)) for _, passage in found_in(text, regions=regions)))
    more = f" and {len(found) - MOST_PASSAGES:,} more" if len(found) > MOST_PASSAGES else ""
    return ", ".join(found[:MOST_PASSAGES]) + more


def passages(project: Project, row: int) -> bool:
    """A closed box that opens on what the sample shares with the items nearest to it; whether there is anything."""
    found = matches(project, row)
    if not found:
        return False
    titles = ", ".join(f"{_small(match.column.title)} {_value(match)}" for match in found[:2])
    box = st.expander(plain(opened(titles)), key="passages_box", on_change="rerun", icon=":material/compare:")
    if box.open:
        with box, errors_shown():
            for match in found:
                _side_by_side(project, row, match)
    return True


def _small(title: str) -> str:
    return title[:1].lower() + title[1:]


def _value(match: Match) -> str:
    return f"{match.value:.2f}" if match.column.unit == "cosine" else percent(match.value, 0)


def _side_by_side(project: Project, row: int, match: Match) -> None:
    column, sample = match.column, reads.sample(project, row)
    item = _item(project, column, match.item)
    one, other = (cut(f"{prompt_text(m)}\n{response_text(m)}") for m in (sample.messages, item.messages))
    shared = shared_passages(one, other, prompt=len(prompt_text(item.messages)))
    with st.container(border=True, key=f"passages_{column.array}_{column.role}_{match.item}"):
        st.markdown(f"**{plain(column.title)}: {_value(match)}**")
        left, right = st.columns(2)
        with left:
            st.caption("This sample")
            _marked(one, shared.sample)
        with right:
            st.caption(plain(f"{opened(_called(column))}, item {match.item + 1:,}: {shorten(item.id, 60)}"))
            _marked(other, shared.item)
        if not shared.shared:
            st.caption("No run of words is shared: it says the same in other words, or only short phrases agree.")
        else:
            st.caption(f"Marked are the runs of at least {shared.n} words that both hold.")


def _item(project: Project, column: SignalColumn, item: int) -> StoredRow:
    def read() -> StoredRow:
        return project.rows([item], role=column.role, set_name=column.set)[0]

    return reads.by_stamp(project, "item beside the pool", read, column.role, column.set, item)


def _called(column: SignalColumn) -> str:
    return {"target": f"target set {column.set}", "heldout": f"held-out file {column.set}"}.get(
        column.role, "owned data"
    )


def cut(text: str) -> str:
    """The beginning of a text that is too long to compare on a page."""
    return visible(text[:LONGEST])


def _marked(text: str, spans: tuple[tuple[int, int], ...]) -> None:
    if not spans:
        st.text(shorten(text, 3 * AROUND))
        return
    for excerpt in pieces(text, spans, around=AROUND, most=MOST_EXCERPTS):
        st.markdown(_escaped(excerpt))


def _escaped(parts: Iterable[tuple[str, bool]]) -> str:
    """Markdown of an excerpt: every character of the text is escaped, and shared parts have a coloured ground."""
    said = []
    for text, shared in parts:
        plainly = plain(" ".join(text.split()))
        before, after = " " * text[:1].isspace(), " " * text[-1:].isspace()
        said.append(f"{before}:orange-background[{plainly}]{after}" if shared else f"{before}{plainly}{after}")
    return "".join(said)
