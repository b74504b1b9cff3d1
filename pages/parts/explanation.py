"""Why a sample has its score: who measured it or the landmarks that carried it, and its best and worst targets.

The engine explains; this draws. Where it cannot, its own words are shown and nothing else.
"""

from collections.abc import Callable, Sequence
from typing import Any

import streamlit as st

from engine.data.samples import prompt_text
from engine.errors import EngineError
from engine.store.project import Project
from pages.parts import reads
from pages.parts.run_choice import View
from pages.parts.tables import table
from pages.parts.words import percent, plain, score, shorten

KEY = "score_why"
SMALL = st.column_config.TextColumn(width=90)  # figures first, so that a narrow panel shows them beside long texts


def show(project: Project, view: View, row: int, *, on_open: Callable[[int], None] | None = None) -> None:
    """The explanation of one sample's overall score, made when it is asked for; it stays open from sample to sample.

    `on_open(row)` is called for a landmark that is to be looked at.
    """
    if view.record.method != "landmark" and not view.scores.matrix.shape[1]:  # neither carriers nor single targets
        return
    details = st.expander("Why this score", key=KEY, on_change="rerun")
    if not details.open:
        return
    with details:
        try:
            found = made(project, view, row)
        except EngineError as error:
            st.caption(plain(f"There is no explanation: {error}"))
            return
        _draw(project, view, found, on_open)


def made(project: Project, view: View, row: int) -> Any:
    """The engine's explanation of a covered row; the fit behind it is made once for a run and kept.

    Raises `EngineError` where there is none.
    """
    from engine.runs.explaining import explainer  # only where it is asked for

    key = view.scores.artifact
    return reads.by_artifact(project, key, "explainer", lambda _: explainer(project, view.record))([row])[0]


def _draw(project: Project, view: View, found: Any, on_open: Callable[[int], None] | None) -> None:
    if found.note and not found.carriers:
        st.caption(plain(found.note))
    if found.carriers:
        if found.share is not None:
            st.caption(plain(f"These landmarks make up {percent(found.share, 0)} of all that was propagated to it."))
        stored = reads.samples(project, [carrier.row for carrier in found.carriers])
        lines = [
            {
                "Contribution": score(carrier.contribution),
                "Coefficient": f"{carrier.coefficient:+.3f}",
                "Landmark": shorten(prompt_text(sample.messages), 80) or shorten(sample.id, 40),
                "Its score": score(carrier.score),
            }
            for carrier, sample in zip(found.carriers, stored)
        ]
        table(lines, columns=dict.fromkeys(("Contribution", "Coefficient"), SMALL))
        if on_open is not None:
            _links([carrier.row for carrier in found.carriers], on_open)
    scored = dict((*found.best, *reversed(found.worst)))  # a set of few items has both
    if scored:
        st.caption("The target samples it helps most, down to those it helps least:")
        lines = [{"Score": score(value), "Target sample": target_text(project, name)} for name, value in scored.items()]
        table(lines, columns={"Score": SMALL})


def _links(rows: Sequence[int], on_open: Callable[[int], None]) -> None:
    """One button per landmark of the table above, in its order."""
    with st.container(horizontal=True, gap="small", vertical_alignment="center"):
        st.caption("Open landmark")
        for number, row in enumerate(rows, start=1):
            st.button(str(number), key=f"carrier_{row}", on_click=on_open, args=(row,), type="tertiary",
                      help="In the order of the table above.")  # fmt: skip


def target_text(project: Project, name: str) -> str:
    """A target item as the engine names it ("maths, item 2"), with how its prompt begins where it can be found."""
    set_name, _, number = name.rpartition(", item ")
    try:
        at = int(number) - 1
        found = reads.by_pool(
            project, "target item", lambda: project.rows([at], role="target", set_name=set_name)[0], set_name, at
        )
    except (ValueError, EngineError):
        return shorten(name, 60)
    return f"{shorten(name, 30)}: {shorten(prompt_text(found.messages), 60)}"
