"""The approver's sheet on the page: what `engine.curation.sheet` tells of a selection, for one look before approving.

Figures are drawn as they were computed; nothing is computed here but a further column's composition when asked for.
"""

from typing import Any

import numpy as np
import streamlit as st

from engine.curation import columns
from engine.curation.sheet import composition
from engine.store.project import Project
from engine.store.selections import Selection
from pages.parts import fidelity, reads, row_list, trust
from pages.parts.shell import link
from pages.parts.tables import table
from pages.parts.words import count, opened, percent, plain, score, shorten

SHOWN = 50
Figures = dict[str, Any]


def draw(project: Project, selection: Selection, figures: Figures) -> None:
    """The whole sheet, what matters most first."""
    for sentence in figures["missing"]:
        st.warning(plain(sentence))
    _size(figures)
    left, right = st.columns(2, gap="large")
    with left:
        st.markdown("**How far the scores can be trusted**")
        _trust(figures)
        st.markdown("**What people have decided**")
        _people(figures)
    with right:
        st.markdown("**Signals among the chosen**")
        _guards(figures)
    left, right = st.columns(2, gap="large")
    with left:
        st.markdown("**Composition**")
        _composition(project, selection, figures)
    with right:
        st.markdown("**Coverage of the targets**")
        _targets(figures)
        _reasons(figures)
    st.markdown("**Look at these first**")
    _riskiest(project, figures)


def _size(figures: Figures) -> None:
    size, run = figures["size"], figures["run"]
    share = percent(size["rows"] / max(1, size["pool_rows"]))
    words = percent(size["words"] / max(1, size["pool_words"]))
    lowest = None if run is None else run["lowest"]
    people = figures["people"]
    with st.container(horizontal=True):
        st.metric("Samples", f"{size['rows']:,}", border=True, help=f"{share} of the pool's {size['pool_rows']:,}.")
        st.metric("Words", f"{size['words']:,}", border=True,
                  help=f"{words} of the pool's; prompts and responses together.")  # fmt: skip
        st.metric("Lowest score in", "–" if lowest is None else score(lowest), border=True,
                  help=plain(f"Median {_score(run, 'median')}, highest {_score(run, 'highest')}."))  # fmt: skip
        st.metric("Approved one by one", f"{people['approved']:,}", border=True,
                  help=f"Of the chosen; {people['undecided']:,} nobody decided on.")  # fmt: skip
    if size["tokens"] is not None:
        st.caption(plain(f"{size['tokens']:,} tokens, {size['tokens_by']}."))
    if size["effective_rows"] is not None:
        st.caption(f"Weighted: as varied as {size['effective_rows']:,.0f} samples of equal weight.")


def _score(run: Figures | None, name: str) -> str:
    return "–" if run is None or run[name] is None else score(run[name])


def _trust(figures: Figures) -> None:
    run = figures["run"]
    if run is None:
        st.caption("Nothing can be said: the scores are not there.")
        return
    for verdict in trust.verdicts(str(run["method"]), run):
        trust.say(verdict)
    if run["fidelity"]:
        spearman = trust.figure(run["fidelity"])
        st.caption(plain(f"{fidelity.interval(spearman)} {fidelity.length_sentence(run['fidelity'])}"))
    if run.get("added"):  # sheets kept with earlier approvals do not say
        st.caption(f"{count(run['added'], 'chosen sample')} joined after the run and "
                   f"{'was' if run['added'] == 1 else 'were'} estimated; its fidelity was not measured on any such "
                   "sample.")  # fmt: skip
    gone = "" if run["recorded"] else " The run itself was deleted since."
    unscored = f" {count(run['unscored'], 'sample')} have no score." if run["unscored"] else ""
    st.caption(plain(f"Run {run['name']}, method {run['method']}, model {run['model'] or '–'}.{unscored}{gone}"))


def _people(figures: Figures) -> None:
    people, audit = figures["people"], figures["audit"]
    total = max(1, sum(people.values()))
    reviewed = total - people["undecided"]
    told = f"{people['approved']:,} approved, {people['skipped']:,} skipped, {people['rejected']:,} rejected since"
    st.caption(f"{reviewed:,} of {total:,} chosen were reviewed ({percent(reviewed / total)}): {told}.")
    if people["rejected"]:
        st.error("Samples were rejected after it was saved, so it cannot be approved. Select again.")
    if audit is None:
        st.caption("No random audit was made: how many of the samples nobody looked at would be approved is not known.")
        link("Review", "Begin one in Review")
    else:
        st.info(plain(audit["sentence"]))


def _guards(figures: Figures) -> None:
    size = figures["size"]
    lines = [
        {
            "Signal": opened(shorten(entry["title"], 50)),
            "Chosen": entry["rows"],
            "Share": 100 * entry["rows"] / max(1, size["rows"]),
            "Share in the pool": 100 * entry["pool_rows"] / max(1, size["pool_rows"]),
        }
        for entry in sorted(figures["guards"], key=lambda entry: -entry["rows"])
        if entry["pool_rows"]
    ]
    if lines:
        shares = {n: st.column_config.NumberColumn(format="%.1f %%") for n in ("Share", "Share in the pool")}
        table(lines, columns=shares)
    elif figures["guards"]:
        st.caption("No sample of the pool carries any.")
    for entry in figures["copies"]:
        if entry["rows"]:
            st.warning(plain(f"{count(entry['rows'], 'sample')} repeat another chosen one ({entry['name']})."))
    clean = [entry["title"] for entry in figures["guards"] if not entry["pool_rows"]]
    if clean and lines:
        st.caption(plain(f"None in the pool: {', '.join(shorten(name, 30) for name in clean)}."))


def _composition(project: Project, selection: Selection, figures: Figures) -> None:
    """One column at a time, pool against subset; those on the sheet first, then any other."""
    told = {entry["column"]: entry for entry in figures["composition"]}
    named = {c.name: c for c in columns.listed(reads.facts(project)) if c.kind != "number"}
    options = [*told, *(name for name in named if name not in told)]
    if not options:
        st.caption("The samples carry nothing to compare by.")
        return
    if st.session_state.get("approval_column") not in options:
        st.session_state["approval_column"] = options[0]
    name = str(st.selectbox("By", options, key="approval_column", width=300,
                            format_func=lambda n: shorten(named[n].title if n in named else n, 50)))  # fmt: skip
    found = told[name] if name in told else composition(reads.facts(project), selection.rows, name, values=SHOWN)
    rest = [{**found["rest"], "name": f"{found['others']:,} others"}] if found["others"] else []
    table([_share(entry) for entry in (*found["values"], *rest)], columns={
        "In the subset": st.column_config.NumberColumn(format="%.1f %%"),
        "In the pool": st.column_config.NumberColumn(format="%.1f %%"),
    })  # fmt: skip


def _share(entry: Figures) -> dict[str, Any]:
    return {
        "Value": shorten(entry["name"], 60),
        "Samples": entry["rows"],
        "In the subset": 100 * entry["share"],
        "In the pool": 100 * entry["pool_share"],
    }


def _targets(figures: Figures) -> None:
    lines = [
        {
            "Target": shorten(entry["name"], 50),
            "Mean score": "–" if entry["mean"] is None else score(entry["mean"]),
            "Of the best possible": None if entry["share"] is None else 100 * entry["share"],
        }
        for entry in figures["targets"]
    ]
    if not lines:
        st.caption("The run has no target set.")
        return
    table(lines, columns={
        "Of the best possible": st.column_config.NumberColumn(
            format="%.0f %%", help="The positive score for this target held by the subset, against that of the best "
            "subset of equal size for this target alone.",
        )
    })  # fmt: skip


def _reasons(figures: Figures) -> None:
    if not figures["reasons"]:
        return
    st.markdown("**Why samples are in**")
    table([{"Reason": shorten(entry["reason"], 80), "Samples": entry["rows"]} for entry in figures["reasons"]])


def _riskiest(project: Project, figures: Figures) -> None:
    st.caption(
        "Most marks first; then what is least certain and lowest in score. Samples approved one by one go behind."
    )
    found = figures["riskiest"]
    rows = np.array([entry["row"] for entry in found], np.int64)
    further = {
        "Why": [", ".join(entry["why"]) or "lowest score of the others" for entry in found],
        "Score": ["–" if entry["score"] is None else score(entry["score"]) for entry in found],
    }
    row_list.draw(project, rows, further, key="approval_riskiest")
