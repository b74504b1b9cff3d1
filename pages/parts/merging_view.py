"""Decisions out and in on the Export page: a download of the log, an upload of another copy's, conflicts to settle.

An upload is tried first and changes nothing; what it would do is shown, conflicts with both sides, and only the button
below does it. Notes and ids are data and shown as such.
"""

import tempfile
from pathlib import Path

import streamlit as st

from engine.errors import EngineError
from engine.store.decision_files import Log, export_decisions, read_decisions
from engine.store.merging import PREFER, Conflict, Merge, merge
from engine.store.project import Project
from pages.parts import reads, state, uploads
from pages.parts.mistakes import errors_shown
from pages.parts.tables import table
from pages.parts.words import count, moment, plain, shorten

SIDES = {"mine": "Keep what was decided here", "theirs": "Take theirs", "latest": "The later decision"}
SHOWN = 200
MOST_BYTES = 200_000_000
_DONE = "ts_merged"


def block(project: Project) -> None:
    """The whole block; nothing is read or written before it is opened."""
    box = st.expander("Decisions: share them with another copy of this project", key="merging_box", on_change="rerun")
    if not box.open:
        return
    with box:
        with errors_shown():
            _out(project)
        st.divider()
        with errors_shown():
            _in(project)


def _out(project: Project) -> None:
    st.markdown("**Give**")
    if not _any(project):
        st.caption("Nobody has decided on or tagged any sample yet, so there is nothing to give.")
        return
    st.caption("Every decision, note and tag with who and when. Samples are named by content and id, not by number.")
    st.download_button(
        "Download the decisions", lambda: _file(project), f"{project.name}-decisions.jsonl", "application/jsonl",
        key="merging_download", on_click="ignore", icon=":material/download:",
    )  # fmt: skip


def _any(project: Project) -> bool:
    return reads.by_stamp(project, "anything to give", lambda: bool(project.decision_log(limit=1) or project.tags()))


def _file(project: Project) -> bytes:
    with tempfile.TemporaryDirectory(prefix="touchstone-decisions-") as room:
        path = Path(room) / "log.jsonl"
        export_decisions(project, path)
        return path.read_bytes()


def _in(project: Project) -> None:
    st.markdown("**Take in**")
    upload = st.file_uploader("A file of decisions from another copy", ["jsonl"], key="merging_upload")
    if upload is None:
        st.caption("It is tried first; nothing changes before you say so.")
        return
    path = uploads.keep(upload)
    log = _log(path)
    trial = reads.by_stamp(
        project, "merge trial", lambda: merge(project, log, by=state.author(), dry_run=True), path.parent.name
    )
    _told(trial)
    prefer = None
    if trial.conflicted:
        _conflicts(trial)
        prefer = st.radio("Where both sides decided", PREFER, None, format_func=SIDES.__getitem__, key="merging_prefer")
    if not trial.new and not trial.tags:
        done = st.session_state.get(_DONE, ())
        if done[:2] == (str(project.path), str(path)):
            st.success(plain(done[2]))
        else:
            st.caption("Everything in it is known here already.")
        return
    if st.button("Take the decisions in", type="primary", key="merging_go",
                 disabled=bool(trial.conflicted) and prefer is None):  # fmt: skip
        done = merge(project, log, by=state.author(), prefer=prefer)
        if not done.applied:
            raise EngineError(
                "Somebody decided meanwhile and there are conflicts now. Look again; nothing was changed."
            )
        new = count(done.new, "new batch", "new batches")
        told = f"{new} taken in: {count(done.taken, 'sample')} changed, {done.kept:,} kept against theirs."
        st.session_state[_DONE] = (str(project.path), str(path), told)
        st.rerun()


def _log(path: Path) -> Log:
    return _read(str(path))


@st.cache_resource(max_entries=2, show_spinner=False)
def _read(path: str) -> Log:
    if Path(path).stat().st_size > MOST_BYTES:
        raise EngineError("The file is too large to be taken in here; use import-decisions in the shell.")
    return read_decisions(path)


def _told(trial: Merge) -> None:
    """What taking it in would do."""
    batches = count(trial.new, "new batch", "new batches")
    tags = f", {count(trial.tags, 'new batch', 'new batches')} of tags" if trial.tags else ""
    st.caption(plain(
        f"From {shorten(trial.project, 60)}: {batches} of decisions, {trial.known:,} known already{tags}. "
        f"{count(trial.taken, 'sample')} would change, {trial.agreed:,} have the same decision on both sides."
    ))  # fmt: skip
    if trial.unknown:
        names = ", ".join(shorten(name, 40) for name in trial.unknown_ids[:5])
        st.caption(plain(f"{count(trial.unknown, 'sample')} are not in this pool and are left out: {names}"))


def _conflicts(trial: Merge) -> None:
    st.warning(f"{count(trial.conflicted, 'sample')} decided differently on both sides.")
    table([_row(conflict) for conflict in trial.conflicts[:SHOWN]])
    if trial.conflicted > SHOWN:
        st.caption(f"The first {SHOWN}; the choice below is for all.")


def _row(conflict: Conflict) -> dict[str, str]:
    sides = {"Here": conflict.mine, "Theirs": conflict.theirs}
    found = {"Sample": conflict.id} | {title: side.decision for title, side in sides.items()}
    found |= {f"{title}: who and when": f"{side.by}, {moment(side.at)}" for title, side in sides.items()}
    return found | {f"{title}: note": shorten(side.note, 200) for title, side in sides.items()}
