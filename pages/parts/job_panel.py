"""Jobs as a page shows them: a small badge on every page, and panels with live progress, cancel and resume.

Both poll the job folders from a fragment, so that the page itself does not rerun until a job's state changes.
They open no catalogue. A job belongs to nobody's tab: closing the page leaves it running.
"""

import time
from collections.abc import Callable, Sequence

import streamlit as st

from engine.errors import EngineError
from engine.runs import jobs
from engine.store.project import Project
from pages.parts import state
from pages.parts.mistakes import errors_shown
from pages.parts.words import duration, opened, plain, shorten

POLL = "1s"
TITLES = {"score": "Scoring", "map": "Building the map", "signals": "Checking the pool", "demo": "Building the demo",
          "search": "Preparing the search", "token-counts": "Counting tokens"}  # fmt: skip
STATES = {
    "queued": "waiting to start",
    "prepared": "prepared, to be run elsewhere",
    "running": "running",
    "computed": "computed, about to be stored",
    "done": "done",
    "failed": "failed",
    "cancelled": "cancelled",
}
RECENT_S = 7 * 86400


def active(project: Project, kinds: Sequence[str] = ()) -> list[jobs.Job]:
    """The jobs that wait or run, of the given kinds (all where none is given), the newest first."""
    return [job for job in jobs.jobs(project) if job.active and (not kinds or job.kind in kinds)]


def badge(project: Project) -> None:
    """In the sidebar: what is running now, drawn only while something runs."""
    running = [job.id for job in active(project)]
    if running:
        _badge(project, running)


@st.fragment(run_every="2s")
def _badge(project: Project, drawn: list[str]) -> None:
    with errors_shown():
        running = active(project)
        if [job.id for job in running] != drawn:
            st.rerun(scope="app")
        for job in running:
            st.progress(job.progress.fraction, text=plain(f"{TITLES[job.kind]}: {job.progress.phase or 'starting'}"))


def panels(project: Project, kinds: Sequence[str]) -> bool:
    """The panels of the jobs of these kinds that run, or ended badly of late; whether one of them runs."""
    shown = held(project, kinds)
    with st.container():  # there with and without a job, so that what follows keeps its place
        if shown:
            _panels(project, tuple(kinds), shown)
    return any(state_ in jobs.ACTIVE for _, state_ in shown)


def held(project: Project, kinds: Sequence[str]) -> list[tuple[str, str]]:
    """The ids and states of the jobs worth a panel: the active ones, and the latest of each kind if it ended badly."""
    found, latest = [], set[str]()
    for job in jobs.jobs(project):
        fresh = job.kind not in latest and time.time() - job.created < RECENT_S
        if job.kind in kinds and (job.active or (fresh and job.state != "done")):
            found.append((job.id, job.state))
        latest.add(job.kind)
    return found


@st.fragment(run_every=POLL)
def _panels(project: Project, kinds: tuple[str, ...], drawn: list[tuple[str, str]]) -> None:
    with errors_shown():
        if held(project, kinds) != drawn:
            st.rerun(scope="app")
        for job_id, _ in drawn:
            _panel(project, jobs.job(project, job_id))


def _panel(project: Project, job: jobs.Job) -> None:
    with st.container(border=True, key=f"job_{job.id}"):
        left, right = st.columns([5, 1], vertical_alignment="center")
        name = f" – {job.spec['run']}" if job.spec.get("run") else ""
        left.markdown(f"**{plain(TITLES[job.kind] + name)}** · {STATES.get(job.state, job.state)}")
        if job.active:
            cancelling = job.folder.cancel_asked
            label = "Cancelling…" if cancelling else "Cancel"
            if right.button(label, key=f"cancel_{job.id}", disabled=cancelling, width="stretch"):
                _act(lambda: jobs.cancel(project, job.id))
            st.progress(job.progress.fraction, text=plain(sentence(job)))
        else:
            if right.button("Resume", key=f"resume_{job.id}", type="primary", width="stretch"):
                _act(lambda: jobs.resume(project, job.id))
            st.text(opened(job.progress.message) or "It stopped before it was complete. What was complete is kept.")
        _details(job)


def _details(job: jobs.Job) -> None:
    past = [f"{p.name}: {duration(p.seconds)}" for p in job.progress.phases]
    facts = [*([f"on {job.progress.device}"] if job.progress.device else []), *past]
    if facts:
        st.caption(plain(" · ".join(facts)))
    details = st.expander("Log", key=f"log_{job.id}", on_change="rerun")
    if details.open:
        details.code("\n".join(job.folder.log_tail(30)) or "empty so far", language=None, wrap_lines=True)


def sentence(job: jobs.Job) -> str:
    """The present phase in words: what, how far, how fast, how long still."""
    now = job.progress
    if not now.phase:
        return now.message or "Starting"
    parts = [now.phase]
    if now.total:
        parts.append(f"{now.done:,} of {now.total:,} {now.unit}")
    if now.rate:
        parts.append(f"{now.rate:,.0f} {now.unit}/s" if now.rate >= 10 else f"{now.rate:.1f} {now.unit}/s")
    if now.eta_s is not None:
        parts.append(f"about {duration(now.eta_s)} left in this phase")
    if now.message:
        parts.append(shorten(now.message, 90))
    return " · ".join(parts)


def _act(action: Callable[[], object]) -> None:
    try:
        action()
    except EngineError as error:
        state.notify(str(error), "error")
    st.rerun(scope="app")
