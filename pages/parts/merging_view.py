"""Decisions out and in on the Export page: a download of the log, an upload of another copy's, conflicts to settle.

An upload is tried first and changes nothing; what it would do is shown, conflicts with both sides
(`merging_conflicts`), and only the button below does it. The file stays in view while samples are looked at on other
pages, until it is taken in or put away. Names, notes and ids are data and shown as such.
"""

import tempfile
from pathlib import Path

import numpy as np
import streamlit as st

from engine.errors import EngineError
from engine.store.conflicts import MINE, OPEN, THEIRS
from engine.store.decision_files import Log, export_decisions
from engine.store.decision_reading import read_decisions
from engine.store.merging import Merge, merge
from engine.store.project import Project
from pages.parts import merging_conflicts, reads, review_audit, state, uploads
from pages.parts.mistakes import errors_shown
from pages.parts.words import count, moment, plain, shorten

MOST_BYTES = 200_000_000
_BOX, _UPLOAD = "merging_box", "merging_upload"
_FILE, _SAID, _DONE = "ts_merge_file", "ts_merge_said", "ts_merge_done"


def block(project: Project) -> None:
    """The whole block; nothing is read or written before it is opened."""
    if _file(project) is not None and _BOX not in st.session_state:  # back from a look at a sample
        st.session_state[_BOX] = True
    box = st.expander("Decisions: share them with another copy of this project", key=_BOX, on_change="rerun")
    if not box.open:
        return
    with box:
        with errors_shown():
            _out(project)
        st.divider()
        _in(project)


def _out(project: Project) -> None:
    st.markdown("**Give**")
    if not _any(project):
        st.caption("Nobody has decided on, tagged or audited any sample yet, so there is nothing to give.")
        return
    st.caption("Every decision, note and tag with who and when, and the random audits. "
               "Samples are named by content and id, not by number.")  # fmt: skip
    st.download_button(
        "Download the decisions", lambda: _bytes(project), f"{project.name}-decisions.jsonl", "application/jsonl",
        key="merging_download", on_click="ignore", icon=":material/download:",
    )  # fmt: skip


def _any(project: Project) -> bool:
    def ask() -> bool:
        return bool(project.decision_log(limit=1) or project.tags() or review_audit.current(project))

    return reads.by_stamp(project, "anything to give", ask)


def _bytes(project: Project) -> bytes:
    with tempfile.TemporaryDirectory(prefix="touchstone-decisions-") as room:
        path = Path(room) / "log.jsonl"
        export_decisions(project, path)
        return path.read_bytes()


@st.fragment
def _in(project: Project) -> None:
    if st.session_state.pop(_DONE, False):  # what was taken in concerns the whole page
        st.rerun()
    with errors_shown():
        st.markdown("**Take in**")
        kind, text = st.session_state.pop(_SAID, ("", ""))
        if text:
            (st.success if kind == "success" else st.error)(plain(text))
        path = _chosen(project)
        if path is not None:
            _tried(project, path)


def _file(project: Project) -> Path | None:
    """The file in view, where it is of this project and still there."""
    owner, path = st.session_state.get(_FILE, ("", ""))
    return Path(path) if owner == str(project.path) and Path(path).is_file() else None


def _chosen(project: Project) -> Path | None:
    """Draw the choice of a file, or which one is in view; its path."""
    place = st.empty()
    path = _file(project)
    if path is None:
        upload = place.file_uploader("A file of decisions from another copy", ["jsonl"], key=_UPLOAD)
        if upload is None:
            st.caption("It is tried first; nothing changes before you say so.")
            return None
        path = uploads.keep(upload)
        st.session_state[_FILE] = (str(project.path), str(path))
        merging_conflicts.forget()
    with place.container(horizontal=True, vertical_alignment="center"):
        st.text(f"In view: {shorten(path.name, 60)}")
        st.button("Put it away", key="merging_away", icon=":material/close:", type="tertiary", on_click=_put_away)
    return path


def _put_away() -> None:
    _, path = st.session_state.pop(_FILE, ("", ""))
    st.session_state.pop(_UPLOAD, None)  # else the uploader would hand the same file in again
    if path:
        uploads.forget(Path(path))
    _read.clear()
    merging_conflicts.forget()


def _tried(project: Project, path: Path) -> None:
    """What taking the file in would do, the conflicts, and the button that does it."""
    owner = path.parent.name
    with st.spinner("Comparing the two logs"):
        trial = reads.by_stamp(
            project, "merge trial", lambda: merge(project, _read(str(path)), by=state.author(), dry_run=True), owner
        )
    _told(trial)
    if not trial.brings:
        st.caption("Everything in it that can be taken in is known here already.")
        return
    sides, rule = np.zeros(0, np.int8), None
    if trial.conflicted:
        sides, rule = merging_conflicts.settle(project, trial.conflicts, owner)
    unsettled = int((sides == OPEN).sum())
    st.button(_label(trial, sides), type="primary", key="merging_go", icon=":material/merge:", disabled=unsettled > 0,
              on_click=_take_in, args=(project, str(path), rule, trial.conflicts.state))  # fmt: skip


def _label(trial: Merge, sides: np.ndarray) -> str:
    """What the button does, with its counts."""
    if (unsettled := int((sides == OPEN).sum())) > 0:
        return f"Take in: {count(unsettled, 'conflict')} not settled yet"
    parts = [f"{count(trial.taken + int((sides == THEIRS).sum()), 'sample')} changed"]
    if len(sides):
        parts.append(f"{int((sides == MINE).sum()):,} in conflict kept as here")
    if trial.audits.new:
        parts.append(count(trial.audits.new, "audit"))
    return f"Take in: {', '.join(parts)}"


def _take_in(project: Project, path: str, rule: str | None, expected: str) -> None:
    """Do it, with the choices that were drawn when the button was pressed."""
    try:
        settled = merging_conflicts.settled_for(expected)
        done = merge(project, _read(path), by=state.author(), prefer=rule, settled=settled, expected=expected)
        if not done.applied:
            raise EngineError("Some conflicts are not settled. Settle them or choose a rule; nothing was changed.")
    except EngineError as error:
        st.session_state[_SAID] = ("error", str(error))
        return
    new = count(done.new, "new batch", "new batches")
    also = f", {count(done.audits.new, 'audit')}" if done.audits.new else ""
    told = f"{new} taken in{also}: {count(done.taken, 'sample')} changed, {done.kept:,} kept against theirs."
    st.session_state[_SAID], st.session_state[_DONE] = ("success", told), True
    _put_away()


@st.cache_resource(max_entries=1, show_spinner=False)
def _read(path: str) -> Log:
    if not Path(path).is_file():
        raise EngineError("The file is no longer there. Upload it again; nothing was changed.")
    if Path(path).stat().st_size > MOST_BYTES:
        raise EngineError("The file is too large to be taken in here; use import-decisions in the shell.")
    try:
        return read_decisions(path)
    except EngineError as error:  # where uploads are kept is nothing to a reader
        raise EngineError(str(error).replace(path, Path(path).name)) from error


def _told(trial: Merge) -> None:
    """What taking it in would do, apart from conflicts."""
    batches = count(trial.new, "new batch", "new batches")
    tags = f", {count(trial.tags, 'new batch', 'new batches')} of tags" if trial.tags else ""
    agreed = f"{trial.agreed:,} {'has' if trial.agreed == 1 else 'have'} the same decision on both sides"
    st.caption(plain(
        f"From {shorten(trial.project, 60)}: {batches} of decisions, {trial.known:,} known already{tags}. "
        f"{count(trial.taken, 'sample')} would change without any conflict, {agreed}."
    ))  # fmt: skip
    if trial.audits.new or trial.audits.further:
        further = f"{count(trial.audits.further, 'audit')} answered further there" if trial.audits.further else ""
        new = f"{count(trial.audits.new, 'random audit')} that is not here" if trial.audits.new else ""
        st.caption(f"With {' and '.join(part for part in (new, further) if part)}.")
    for reason in trial.audits.left_out[:5]:
        st.warning(plain(f"{shorten(reason, 300)}. Add those files first, or take the decisions in again later."))
    if trial.unknown:
        names = ", ".join(shorten(name, 40) for name in trial.unknown_ids[:5])
        st.caption(plain(f"{count(trial.unknown, 'sample')} not in this pool and left out: {names}"))
    if trial.ahead:
        st.warning(f"Their latest act is of {moment(trial.ahead)} UTC, which has not come yet here. One of the clocks "
                   "is wrong, so the later decision need not be the later one.")  # fmt: skip
