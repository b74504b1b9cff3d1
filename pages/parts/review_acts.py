"""What a reviewer's presses do: decide, undo, tag and move, each once and in order.

A decision is recorded against what the reviewer saw: where somebody else has decided otherwise meanwhile, it is held
back and both are told (`held`), until the reviewer says which stands. Reading and writing happen in one session of
the catalogue, so nothing can come between. Presses that could not be dealt with, because another process holds the
project or its folder is gone, are not acknowledged; the desk sends them again. Does not draw.
"""

from collections.abc import Callable
from dataclasses import dataclass

import streamlit as st

from engine.errors import EngineError, ProjectLocked
from engine.store.decisions import DECISIONS
from engine.store.project import Project
from pages.parts import review_audit, review_keys, review_list, state
from pages.parts.review_keys import Press
from pages.parts.words import count

_ACKNOWLEDGED, _HELD, _SAID, _TROUBLE = "ts_review_ack", "ts_review_held", "ts_review_said", "ts_review_trouble"
PAST = {"none": "undecided", "clear": "undecided", "approve": "approved", "reject": "rejected", "skip": "skipped"}


@dataclass(frozen=True)
class Held:
    """A decision that was not recorded, because the sample's decision had changed since it was shown."""

    project: str
    row: int
    act: str
    note: str
    now: str
    by: str
    when: str
    their_note: str


def take(project: Project) -> None:
    """Deal with the presses of the desk that were not dealt with before."""
    told = review_keys.told()
    if told is None:
        return
    done = acknowledged()
    fresh = [press for press in told.presses if press.seq > done.get(told.client, 0)]
    if not fresh:
        return
    st.session_state[_TROUBLE] = ""
    try:
        with project.session():
            for press in fresh:
                _attempt(project, press)
                st.session_state[_ACKNOWLEDGED] = {**_few(acknowledged()), told.client: press.seq}
    except EngineError as error:  # held by another process, or its folder is gone
        st.session_state[_TROUBLE] = str(error)


def acknowledged() -> dict[str, int]:
    """Per desk the number of its last press that was dealt with."""
    return st.session_state.get(_ACKNOWLEDGED, {})


def trouble() -> str:
    """Why the latest presses could not be dealt with, or nothing."""
    return st.session_state.get(_TROUBLE, "")


def said() -> tuple[int, str]:
    """A number that grows with every message, and the latest message."""
    return st.session_state.get(_SAID, (0, ""))


def say(text: str) -> None:
    """Tell the reviewer something on the desk."""
    st.session_state[_SAID] = (said()[0] + 1, text)


def held(project: Project) -> list[Held]:
    """The decisions held back in a project, oldest first; those of another wait until it is open again."""
    return [one for one in _all_held() if one.project == str(project.path)]


def _all_held() -> list[Held]:
    return st.session_state.get(_HELD, [])


def settle(project: Project, one: Held, *, overwrite: bool) -> None:
    """Record a decision that was held back after all, or let it go."""
    try:
        if overwrite:
            batch = project.decide([one.row], one.act, by=state.author(), note=one.note)
            review_list.remember(review_list.at(), one.row, batch)
            say(f"{PAST[one.act]} all the same")
        _let_go(one)
    except EngineError as error:
        say(str(error))


def _attempt(project: Project, press: Press) -> None:
    """One press; what it cannot do is told, and the reviewer is put back to the sample it was about."""
    if not review_list.is_of_project(project, press.list_token):
        say("A key pressed in another project came too late and did nothing.")
        return
    if not review_list.is_of_session(press.list_token) and not _still_to_do(project, press):
        return
    try:
        _ACTS[press.act](project, press)
    except ProjectLocked:
        raise
    except EngineError as error:
        say(str(error))
        if press.row >= 0:
            review_list.move(press.list_token, press.at)


def _still_to_do(project: Project, press: Press) -> bool:
    """Whether a press that an earlier session of this desk sent, before the server was started anew, is not done yet.

    A decision or tag that stands needs no second record; to undo or to move means something else by now.
    """
    if press.act in ("tag", "untag"):
        return True
    return press.act in DECISIONS and _code(project, press.row) != press.act


def _decide(project: Project, press: Press) -> None:
    now = _code(project, press.row)
    batch = None
    if now not in {press.seen, press.act}:
        _hold(project, press, now)
    else:
        batch = project.decide([press.row], press.act, by=state.author(), note=press.note.strip())
        review_audit.answered(project, press.row)
    review_list.remember(press.at, press.row, batch)
    review_list.move(press.list_token, press.at + 1)


def _code(project: Project, row: int) -> str:
    codes = project.decisions()
    if not 0 <= row < len(codes):
        raise EngineError(f"Sample {row} does not exist. Nothing was recorded.")
    return next(name for name, code in DECISIONS.items() if code == codes[row])


def _hold(project: Project, press: Press, now: str) -> None:
    last = next(iter(project.decision_log(rows=[press.row], limit=1)), None)
    by, when, note = (last.by, last.at, last.note) if last else ("somebody", "", "")
    path = str(project.path)
    others = [one for one in _all_held() if (one.project, one.row) != (path, press.row)]
    st.session_state[_HELD] = [*others, Held(path, press.row, press.act, press.note.strip(), now, by, when, note)]
    say(f"Not recorded: {by} made it {PAST[now]} meanwhile. Say above which decision stands.")


def _let_go(one: Held) -> None:
    st.session_state[_HELD] = [other for other in _all_held() if other != one]


def undo(project: Project) -> None:
    """Take back the latest decision of this session, else the author's latest, and tell what came of it."""
    try:
        _take_back(project)
    except EngineError as error:
        say(str(error))


def _take_back(project: Project) -> None:
    step = review_list.last_step()
    if step is not None and step.batch is None:  # it was held back: nothing was recorded
        for one in [one for one in held(project) if one.row == step.row]:
            _let_go(one)
        touched = 1
    else:
        touched = project.undo(by=state.author(), batch=step.batch if step else None)
    if step is not None and step.row >= 0:
        review_list.go(step.at)
    say(f"Undone: your latest decision, on {count(touched, 'sample')}." if touched else
        "There is nothing of yours to undo.")  # fmt: skip


def _go(project: Project, press: Press) -> None:
    review_list.move(press.list_token, press.at)


def _tag(project: Project, press: Press) -> None:
    project.tag([press.row], press.tag, by=state.author())


def _untag(project: Project, press: Press) -> None:
    project.untag([press.row], press.tag, by=state.author())


def _few(done: dict[str, int], most: int = 8) -> dict[str, int]:
    return dict(list(done.items())[-most:])


_ACTS: dict[str, Callable[[Project, Press], None]] = {
    "approve": _decide,
    "reject": _decide,
    "skip": _decide,
    "undo": lambda project, _: _take_back(project),
    "go": _go,
    "tag": _tag,
    "untag": _untag,
}
