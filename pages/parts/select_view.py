"""The Select page's blocks: the proposal in figures, and what can be seen of it behind tabs; saving it as a draft."""

import json
from typing import Any

import numpy as np
import streamlit as st

from engine.curation.facts import Facts
from engine.data.samples import prompt_text
from engine.errors import EngineError
from engine.runs.choosing import described
from engine.runs.choosing import save as keep
from engine.runs.ground import Ground
from engine.runs.why import held_back
from engine.store.project import Project
from engine.store.selections import Selection
from pages.parts import approval, choosing, filters, gain_curve, reads, select_why, state
from pages.parts.choosing import Proposal
from pages.parts.run_choice import View, describe
from pages.parts.tables import table
from pages.parts.words import count, plain, score, shorten

SHOWN = 200
FEW = 0.1  # of the chosen rows: below so many effective ones the weights are warned of
RUNNERS_UP = 50
WATCHED = ("leak", "near-duplicate", "looks truncated", filters.SURPRISING)


def figures(project: Project, view: View, proposal: Proposal) -> None:
    """The proposal in figures, and what it rests on."""
    chosen, values = proposal.rows, proposal.ground.score[proposal.rows]
    pool, (name, number, told) = count(len(proposal.chosen), "sample"), _volume(project, view, proposal)
    lowest = float(np.nanmin(values)) if np.isfinite(values).any() else float("nan")
    with st.container(horizontal=True):  # in a narrow window they take several lines, and no title is cut
        st.metric("Samples", f"{len(chosen):,}", border=True, help=f"Of {pool} in the pool.")
        st.metric(name, number, border=True, help=plain(told))
        st.metric("Lowest score in", score(lowest), border=True, help=plain(describe(view)))
        st.metric("Approved by people", f"{choosing.approved_count(project):,}", border=True,
                  help="Always in, whatever their score; rejected samples never are.")  # fmt: skip
    st.caption(plain(describe(view)))
    _weights(view, proposal)
    if proposal.found.notes:
        st.caption(plain(" ".join(proposal.found.notes)))
    out = ", ".join(f"{number:,} {reason}" for reason, number in proposal.out.items() if number)
    st.caption(plain(f"Out: {out or 'nothing'}."))
    _warn(project, proposal)


def _volume(project: Project, view: View, proposal: Proposal) -> tuple[str, str, str]:
    """What the samples hold: tokens where they were counted or are the budget, else words."""
    stand, rows = proposal.ground, proposal.rows
    counted = stand.counted or choosing.kept_tokens(project, view)
    words = int(reads.column(project, "words")[rows].sum())
    if counted is None:
        return "Words", f"{words:,}", "Prompts and responses together; tokens depend on the model."
    total = f"{int(counted.counts[rows].sum()):,}"
    of = f" The budget is {stand.budget.said}." if stand.budget.unit == "tokens" else ""
    name = "Tokens, estimated" if counted.record["by"] == "words" else "Tokens"
    return name, total, f"Prompts and responses together, {counted.said}; {words:,} words.{of}"


def _weights(view: View, proposal: Proposal) -> None:
    """The range of the weights and what they leave of the subset's variety."""
    weights = proposal.found.weights
    if weights is None:
        return
    landmarks = choosing.second_order(view)
    order = f"to second order, with the curvature of {count(landmarks, 'landmark')}" if landmarks else "to first order"
    said = (
        f"Weights {order}, from {float(weights.min()):.2g} to {float(weights.max()):.2g}, 1 on average: as varied as "
        f"{proposal.effective:,.0f} samples of equal weight. They are saved with the selection and exported; samples "
        "that people approved weigh 1."
    )
    st.caption(plain(said))
    if proposal.effective < FEW * len(proposal.rows):
        st.warning("A few samples carry most of the weight. Ask for more samples, or use the highest scores alone.")


def _warn(project: Project, proposal: Proposal) -> None:
    """Name what a careful curator would want to know about the chosen rows."""
    found = []
    for name in WATCHED:
        covered = filters.marked(project, name)
        number = int(covered[proposal.rows[proposal.rows < len(covered)]].sum())
        if number:
            found.append(f"{number:,} marked {name}")
    if found:
        st.warning(plain(f"Among the chosen: {', '.join(found)}. Leave them out above, or look at them in Review."))


def blocks(proposal: Proposal) -> dict[str, Any]:
    """What can be seen of the proposal, by title: functions of project, view and proposal."""
    curve = {"Gain curve": gained} if proposal.curve is not None else {}
    quotas = {"Quotas": quota_table} if proposal.ground.limits.groups else {}
    return {
        **quotas, **curve, "Composition": composition, "Influence": influence, "Targets": targets,
        "Who is in and why": inside, "Who just missed": outside, "Why in or out": select_why.ask,
    }  # fmt: skip


def unmet(stand: Ground) -> None:
    """What each quota lacks where nothing could be chosen."""
    if stand.limits.groups:
        _standings(stand, None)


def quota_table(project: Project, view: View, proposal: Proposal) -> None:
    """How each quota stands."""
    _standings(proposal.ground, proposal.rows)


def _standings(stand: Ground, rows: np.ndarray | None) -> None:
    lines = choosing.quota_lines(stand, rows)
    lines.sort(key=lambda line: (-line.lacks, line.state != "full"))
    shown = [
        {
            "Group": shorten(line.group.removeprefix("field/").removeprefix("signal/"), 80),
            "Bound": f"{line.bound} {line.asked:,} {'samples' if line.unit == 'rows' else line.unit}",
            "In the subset": line.inside,
            "Can be chosen": line.there,
            "State": line.state,
        }
        for line in lines
    ]
    table([{k: v for k, v in row.items() if rows is not None or k != "In the subset"} for row in shown[:SHOWN]])
    if len(shown) > SHOWN:
        st.caption(f"The first {SHOWN} of {len(shown):,} bounds, those that lack most first.")


def gained(project: Project, view: View, proposal: Proposal) -> None:
    """How much the samples gained, one after the other."""
    if (curve := proposal.curve) is not None:
        gain_curve.draw(curve, "select_curve")


def influence(project: Project, view: View, proposal: Proposal) -> None:
    """The sum of scores against the number of samples, beside the best and random ones."""
    found = choosing.influence(proposal)
    if found is None:
        st.caption("No sample that can be chosen has a score above zero, so there is nothing to add up.")
        return
    gain_curve.draw_ranked(found, "select_influence")


def targets(project: Project, view: View, proposal: Proposal) -> None:
    """How much of the influence on each target the subset holds."""
    names, found = choosing.targets_held(project, view, proposal)
    if not names:
        st.caption("This run has no target: its scores say how good a sample is by itself.")
        return
    least = found.least
    st.markdown(plain(
        f"Of the influence that {count(len(proposal.rows), 'sample')} could have on a target at best, the subset holds "
        f"{100 * float(found.chosen.mean()):.0f} % on average, as many random ones "
        f"{100 * float(found.random.mean()):.0f} %. It holds least of {shorten(names[least], 60)}: "
        f"{100 * float(found.chosen[least]):.0f} %."
    ))  # fmt: skip
    order = np.argsort(found.chosen, kind="stable")[:SHOWN].tolist()
    lines = [
        {
            "Target": shorten(names[at], 80),
            "Held": 100 * float(found.chosen[at]),
            "At random": 100 * float(found.random[at]),
        }
        for at in order
    ]
    table(lines, columns={"Held": _percent(), "At random": _percent()})


def composition(project: Project, view: View, proposal: Proposal) -> None:
    """The subset against the pool by any column of categories; the same whatever the run in view."""
    known = choosing.category_columns(project)
    names = list(known)
    first = next((name for name in ("field/source", "cluster") if name in known), names[0])
    name = st.selectbox(
        "By", names, index=names.index(first), key="select_field", width=320,
        format_func=lambda name: f"{known[name].title} ({known[name].group.lower()})",
    )  # fmt: skip
    rows = choosing.composition(project, proposal.chosen, name)
    shares = ("Share of the pool", "Share of the subset")
    ratio = st.column_config.NumberColumn(format="%.2f ×", help="1 is as frequent as in the pool.")
    lines = [
        {**line, "Value": shorten(line["Value"], 80), **{name: 100 * line[name] for name in shares}}
        for line in rows[:SHOWN]
    ]
    table(lines, columns={**{name: _percent() for name in shares}, "Subset against pool": ratio})
    if len(rows) > SHOWN:
        st.caption(f"The {SHOWN} most frequent of {len(rows):,} values.")


def _percent() -> Any:
    """A column of percentages as bars, all with one decimal."""
    return st.column_config.ProgressColumn(format="%.1f %%", min_value=0, max_value=100)


def inside(project: Project, view: View, proposal: Proposal) -> None:
    """Who is in and why: in the order taken, or best first."""
    taken, reasons = proposal.found.order, proposal.found.reasons
    at = _best_first(project, view, proposal) if taken is None else np.searchsorted(proposal.rows, taken)
    _samples(project, view, proposal.rows[at[:SHOWN]], [reasons[place] for place in at[:SHOWN]])
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
    covers = proposal.found.order is not None
    if covers:
        st.caption("The samples of highest score that are not in: others represent them, or they are unlike the rest.")
    otherwise = "not chosen" if covers else "below the cut"
    why = [held_back(proposal.ground, proposal.found, int(row), otherwise=otherwise) for row in rows]
    if why[0] == "below the cut":
        why[0] = "next in line"
    _samples(project, view, rows, why)


def _samples(project: Project, view: View, rows: np.ndarray, why: list[str]) -> None:
    decisions = reads.decisions(project)
    place = reads.ranks(project, view.scores.artifact, view.column)
    shown = [
        {
            "Sample": shorten(stored.id, 40),
            "Score": score(float(view.values[row])) if row < view.scores.covered else "–",
            "Rank in the pool": int(place[row]) or None if row < view.scores.covered else None,
            "Why": reason,
            "Decision": filters.decision_name(int(decisions[row])),
            "Prompt": shorten(prompt_text(stored.messages), 120),
        }
        for row, stored, reason in zip(rows.tolist(), reads.samples(project, rows.tolist()), why)
    ]
    own = st.column_config.NumberColumn(
        format="localized", help="Among all scored samples; the ranks under Why count only those that could be chosen."
    )
    table(shown, columns={"Rank in the pool": own})


def save(project: Project, view: View, proposal: Proposal) -> None:
    """Keep the proposal as a draft: a new version under its name."""
    with st.form("select_save", border=True):
        left, right = st.columns([3, 1], vertical_alignment="bottom")
        name = left.text_input("Name of the selection", "subset", max_chars=100, key="select_name")
        if right.form_submit_button(f"Save {len(proposal.rows):,} as a draft", type="primary", width="stretch"):
            facts: Facts = reads.facts(project)
            if (there := _kept_already(project, view, proposal, name.strip())) is not None:
                title = f"{there.name}, version {there.version},"
                state.notify(f"{title} is exactly this; nothing was saved again.", "info")
                approval.show(project, there)
                st.rerun()
            kept = keep(project, view.record, proposal.choice, proposal.ground, proposal.found, facts=facts,
                        name=name.strip(), by=state.author())  # fmt: skip
            approval.show(project, kept)
            state.notify(
                f"Saved {kept.name}, version {kept.version}, as a draft. Propose it below so that it can be approved."
            )
            st.rerun()


def _kept_already(project: Project, view: View, proposal: Proposal, name: str) -> Selection | None:
    """The latest version of the name, where it was chosen by the same settings and holds the same samples."""
    versions = [found for found in reads.facts(project).selections() if found.name == name]
    if not versions or versions[-1].size != len(proposal.rows):
        return None
    latest = versions[-1]
    settings = json.loads(json.dumps({"run": view.record.name, **described(project, view.record, proposal.choice)}))
    same = all(latest.spec.get(key) == value for key, value in settings.items())
    return latest if same and np.array_equal(latest.rows, proposal.rows) else None


def lacking(project: Project, view: View, choice: Any) -> None:
    """Where there is no proposal: what each quota lacks, where that can be told."""
    try:
        stand = choosing.ground(project, view, choice)
    except EngineError:
        return
    unmet(stand)
