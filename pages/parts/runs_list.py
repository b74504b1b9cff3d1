"""The finished runs of a project, and one of them in detail: counts, trust, notes, distribution, times."""

from typing import Any

import streamlit as st

from engine.errors import EngineError
from engine.runs import jobs
from engine.runs.config import ScoreConfig
from engine.store.project import Project
from pages.parts import charts, fidelity, network_view, provenance, reads, run_choice, score_methods, state, trust
from pages.parts.run_choice import View
from pages.parts.shell import empty, link
from pages.parts.tables import table
from pages.parts.words import count, duration, moment, opened, plain, shorten


def finished(project: Project) -> None:
    """The table of runs, and below it the one in view."""
    st.header("Finished runs", anchor=False)
    runs = reads.by_state(project, "runs")
    if not runs:
        empty("No run yet", "Set one up above and start it. With the built-in model nothing else is needed.")
        return
    table([_line(run) for run in reversed(runs)])
    with st.container(horizontal=True, vertical_alignment="bottom"):
        view = run_choice.choose(project)
    run_choice.coverage(project, view, trusted=True)
    detail(project, view)
    with st.container(horizontal=True):
        link("Map", "See it on the map")
        link("Review", "Review the best and the worst")


def detail(project: Project, view: View) -> None:
    """One run: whether to trust it at all, what kinds of score there are, how far to trust them, how made."""
    st.caption(plain(run_choice.describe(view)))
    for verdict in trust.verdicts(view.record.method, view.scores.summary):
        trust.say(verdict)
    left, right = st.columns(2, gap="medium") if view.scores.summary.get("fidelity") else (None, st.container())
    if left is not None:
        with left:
            st.markdown("**How far to trust it**")
            fidelity.report(view)
            fidelity.within_sources(project, view)
    with right:
        st.markdown("**Scores**")
        st.caption(plain(_counts(view)))
        charts.histogram(project, view)
    network_view.show(project, view)
    provenance.show(view)
    told = provenance.sentences(view)
    notes = [note for note in view.scores.summary.get("notes", ()) if note not in told]
    if notes:
        st.markdown("**Notes**")
        st.caption("\n".join(f"- {plain(opened(note))}" for note in dict.fromkeys(notes)))
    _problems(view)


def check_name(project: Project, name: str | None, config: ScoreConfig) -> None:
    """Refuse, before a job starts, a name that a run with other settings has."""
    taken = next((run for run in reads.by_state(project, "runs") if run.name == name), None)
    if taken is not None and taken.config != config.to_dict():
        raise EngineError(f"There is a run {name!r} with other settings. Choose another name; nothing was started.")


def start(project: Project, config: ScoreConfig, name: str | None) -> None:
    """Start a scoring job and draw the page anew. Raises `EngineError` where it cannot be started."""
    check_name(project, name, config)
    job = jobs.submit(project, "score", config, run=name)
    state.notify(f"Scoring has started as job {job}. You may close this page; the job goes on.", "info")
    st.rerun()


def _line(run: Any) -> dict[str, Any]:
    found = run.summary.get("fidelity") or {}
    spearman, interval = found.get("spearman"), found.get("interval")
    trust = (
        "–"
        if spearman is None
        else f"{spearman:.2f}" + (f" ({interval[0]:.2f} to {interval[1]:.2f})" if interval else "")
    )
    return {
        "Run": run.name,
        "Method": score_methods.run_name(run.config, run.method),
        "Model": shorten(str(run.model), 40) or "–",
        "Targets": ", ".join(run.targets) or "–",
        "Samples": run.rows,
        "Spearman on the audit": trust,
        "Time": duration(sum(run.summary.get("phases", {}).values())) if run.summary.get("phases") else "–",
        "Created": moment(run.created),
    }


def _counts(view: View) -> str:
    counts = view.scores.summary.get("counts", {})
    exact, other = ("by the teacher", "by the network") if view.record.method == "network" else ("exact", "propagated")
    parts = [f"{counts.get('exact', 0):,} {exact}", f"{counts.get('propagated', 0):,} {other}",
             f"{counts.get('unscorable', 0):,} without a score"]  # fmt: skip
    numbers = {name: int(((view.scores.roles & bit) > 0).sum()) for bit, name in reads.ROLES.items()}
    roles = ", ".join(f"{number:,} {name}" for name, number in numbers.items() if number)
    return f"{count(view.scores.covered, 'sample')}: {', '.join(parts)}." + (f" Of these: {roles}." if roles else "")


def _problems(view: View) -> None:
    problems = view.scores.summary.get("problems", {})
    if not problems:
        return
    details = st.expander(f"Samples without a score ({len(problems):,})", key="run_problems", on_change="rerun")
    if details.open:
        shown = [{"Sample number": int(row), "Reason": reason} for row, reason in list(problems.items())[:1000]]
        with details:
            table(shown)
