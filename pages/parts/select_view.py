"""The Select page's blocks: the proposal in figures, curve and tables, and saving it."""

from typing import Any

import numpy as np
import streamlit as st

from engine.data.samples import prompt_text
from engine.runs.choosing import described
from engine.store.project import Project
from pages.parts import choosing, filters, gain_curve, reads, state
from pages.parts.choosing import Proposal
from pages.parts.run_choice import View, describe
from pages.parts.tables import table
from pages.parts.words import count, plain, score, shorten

SHOWN = 200
FEW = 0.1  # of the chosen rows: below so many effective ones the weights are warned of
RUNNERS_UP = 50


def figures(project: Project, view: View, proposal: Proposal) -> None:
    """The proposal in figures, and what it rests on."""
    lengths = reads.column(project, "words")
    chosen = proposal.rows
    values = np.asarray(view.values)[chosen[chosen < view.scores.covered]]
    words = int(lengths[chosen].sum())
    places = st.columns(4)
    places[0].metric(
        "Samples", f"{len(chosen):,}", border=True, help=f"Of {count(len(lengths), 'sample')} in the pool."
    )
    places[1].metric(
        "Words", f"{words:,}", border=True, help="Prompts and responses together; tokens depend on the model."
    )
    lowest = float(np.nanmin(values)) if np.isfinite(values).any() else float("nan")
    places[2].metric("Lowest score in", score(lowest), border=True, help=plain(describe(view)))
    places[3].metric("Approved by people", f"{choosing.approved_count(project):,}", border=True,
                     help="Always in, whatever their score; rejected samples never are.")  # fmt: skip
    st.caption(plain(describe(view)))
    _weights(view, proposal)
    if proposal.notes:
        st.caption(plain(" ".join(proposal.notes)))
    out = ", ".join(f"{number:,} {reason}" for reason, number in proposal.out.items() if number)
    st.caption(plain(f"Out: {out or 'nothing'}."))
    _warn(project, proposal)


def _weights(view: View, proposal: Proposal) -> None:
    """The range of the weights and what they leave of the subset's variety."""
    if proposal.weights is None:
        return
    landmarks = choosing.second_order(view)
    order = f"to second order, with the curvature of {count(landmarks, 'landmark')}" if landmarks else "to first order"
    low, high = float(proposal.weights.min()), float(proposal.weights.max())
    said = (
        f"Weights {order}, from {low:.2g} to {high:.2g}, 1 on average: as varied as {proposal.effective:,.0f} samples "
        "of equal weight. They are saved with the selection and exported; samples that people approved weigh 1."
    )
    st.caption(plain(said))
    if proposal.effective < FEW * len(proposal.rows):
        st.warning("A few samples carry most of the weight. Ask for more samples, or use the highest scores alone.")


def _warn(project: Project, proposal: Proposal) -> None:
    """Name what a careful curator would want to know about the chosen rows."""
    found = []
    for name in ("leak", "near-duplicate", "looks truncated", filters.SURPRISING):
        covered = filters.marked(project, name)
        number = int(covered[proposal.rows[proposal.rows < len(covered)]].sum())
        if number:
            found.append(f"{number:,} marked {name}")
    if found:
        st.warning(plain(f"Among the chosen: {', '.join(found)}. Leave them out above, or look at them in Review."))


def blocks(proposal: Proposal) -> dict[str, Any]:
    """What can be seen of the proposal, by title: functions of project, view and proposal."""
    curve = {"Gain curve": gained} if proposal.curve is not None else {}
    return {**curve, "Composition": composition, "Who is in and why": inside, "Who just missed": outside}


def gained(project: Project, view: View, proposal: Proposal) -> None:
    """How much the samples gained, one after the other."""
    if (curve := proposal.curve) is not None:
        gain_curve.draw(curve, "select_curve")


def composition(project: Project, view: View, proposal: Proposal) -> None:
    """The subset against the pool by an original field; the same whatever the run in view."""
    names = reads.by_state(project, "columns")
    if not names:
        st.caption("The samples carry no fields to compare by.")
        return
    field = st.selectbox("By field", names, index=names.index("source") if "source" in names else 0,
                         key="select_field", width=260)  # fmt: skip
    rows = choosing.composition(project, proposal.chosen, field)
    shares = {
        name: st.column_config.NumberColumn(format="percent") for name in ("Share of the pool", "Share of the subset")
    }
    shares["Subset against pool"] = st.column_config.NumberColumn(
        format="%.2f ×", help="1 is as frequent as in the pool."
    )
    table(rows[:SHOWN], columns=shares)
    if len(rows) > SHOWN:
        st.caption(f"The {SHOWN} most frequent of {len(rows):,} values.")


def inside(project: Project, view: View, proposal: Proposal) -> None:
    """Who is in and why: in the order taken, or best first."""
    taken = proposal.order
    at = _best_first(project, view, proposal) if taken is None else np.searchsorted(proposal.rows, taken)
    _samples(project, view, proposal.rows[at[:SHOWN]], [proposal.reasons[place] for place in at[:SHOWN]])
    if len(proposal.rows) > SHOWN:
        which = "best" if taken is None else "first"
        st.caption(f"The {which} {SHOWN} of {count(len(proposal.rows), 'sample')}; the export lists all.")


def _best_first(project: Project, view: View, proposal: Proposal) -> np.ndarray:
    place = reads.ranks(project, view.scores.artifact, view.column)
    known = np.zeros(len(proposal.chosen), np.int64)
    known[: len(place)] = place
    return np.argsort(np.where(known[proposal.rows] > 0, known[proposal.rows], len(known) + 1), kind="stable")


def outside(project: Project, view: View, proposal: Proposal) -> None:
    """Who just missed it."""
    rows = choosing.runners_up(project, view, proposal, RUNNERS_UP)
    if len(rows) == 0:
        st.caption("No other sample could have been chosen.")
        return
    why = ["next in line", *["below the cut"] * (len(rows) - 1)]
    if proposal.order is not None:
        st.caption("The samples of highest score that are not in: others represent them, or they are unlike the rest.")
        why = ["not chosen"] * len(rows)
    _samples(project, view, rows, why)


def _samples(project: Project, view: View, rows: np.ndarray, why: list[str]) -> None:
    decisions = reads.decisions(project)
    place = reads.ranks(project, view.scores.artifact, view.column)
    shown = [
        {
            "Sample": shorten(stored.id, 40),
            "Score": score(float(view.values[row])) if row < view.scores.covered else "–",
            "Rank": int(place[row]) or None if row < view.scores.covered else None,
            "Why": reason,
            "Decision": filters.decision_name(int(decisions[row])),
            "Prompt": shorten(prompt_text(stored.messages), 120),
        }
        for row, stored, reason in zip(rows.tolist(), reads.samples(project, rows.tolist()), why)
    ]
    table(shown)


def save(project: Project, view: View, proposal: Proposal) -> None:
    """Keep the proposal as a draft: a new version under its name."""
    with st.form("select_save", border=True):
        left, right = st.columns([3, 1], vertical_alignment="bottom")
        name = left.text_input("Name of the selection", "subset", max_chars=100, key="select_name")
        if right.form_submit_button(f"Save {len(proposal.rows):,} as a draft", type="primary", width="stretch"):
            kept = project.save_selection(
                name.strip(), spec=spec_of(project, view, proposal), rows=proposal.rows, weights=proposal.weights,
                order=proposal.order, gains=proposal.gains, by=state.author(),
            )  # fmt: skip
            state.notify(
                f"Saved {kept.name}, version {kept.version}, as a draft. Approve it below to freeze it for training."
            )
            st.rerun()


def spec_of(project: Project, view: View, proposal: Proposal) -> dict[str, Any]:
    """How the selection was made, for its record and the manifest."""
    asked = proposal.wish
    return {
        "run": view.record.name,
        "column": view.column,
        **described(project, view.record, asked.choice),
        "left_out": list(asked.guards),
        **({"notes": list(proposal.notes)} if proposal.notes else {}),
        "filters": [[part.kind, part.subject, *part.values] for part in asked.within],
    }
