"""The random audit on the Review page: begin one, and what it says of the samples nobody has reviewed.

What an audit is and how it estimates is `engine.curation.audit`; this shows it and tells it of answers.
"""

import streamlit as st

from engine.curation import audit
from engine.curation.audit import Estimate
from engine.errors import EngineError
from engine.store.audits import Audit
from engine.store.project import Project
from pages.parts import filters, reads, state
from pages.parts.words import count, moment, plain

IN_AUDIT = "ts_review_in_audit"  # the number of the audit whose list is under review: only its answers advance it


def current(project: Project) -> tuple[Audit, int] | None:
    """The audit begun last and how many of its rows were answered, or None."""
    return reads.by_stamp(project, "audit", lambda: audit.latest(project))


def answered(project: Project, row: int) -> None:
    """A reviewer has answered a row; it advances the audit where it was met in the audit's own order."""
    number = st.session_state.get(IN_AUDIT)
    found = current(project) if number else None
    if found is not None and found[0].number == number:
        audit.answered(project, found[0], row, by=state.author())


def estimate(project: Project) -> Estimate | None:
    """What the audit says now; None where none was begun."""
    found = current(project)
    if found is None:
        return None
    return reads.by_stamp(project, "audit estimate", lambda: audit.of(*found, reads.decisions(project)))


def line(project: Project) -> str:
    """The audit's estimate in one line, or nothing where none has an answer; not escaped."""
    found = estimate(project)
    return found.sentence if found is not None and (found.sample or not found.left) else ""


def controls(project: Project) -> bool:
    """Draw what the audit is, and the button that begins one; whether there is one to review."""
    found = current(project)
    if found is None:
        st.info("A random audit draws undecided samples blindly. Your decisions on them, in the order drawn, tell how "
                "many of all that nobody reviews would be approved.")  # fmt: skip
    else:
        st.caption(plain(f"{_about(found[0])}{_later(project)}"))
    parts = state.active_filters()
    within = "the undecided samples that pass the filters" if parts else "all undecided samples"
    st.button(
        f"Begin {'an' if found is None else 'another'} audit of {within}",
        key="review_audit_begin",
        icon=":material/casino:",
        type="primary" if found is None else "secondary",
        on_click=_begin,
        args=(project,),
    )
    return found is not None


def _later(project: Project) -> str:
    """What became undecided since the audit began, and how to hear of it too."""
    found = estimate(project)
    if found is None or not found.beyond:
        return ""
    them, are = ("it", "is") if found.beyond == 1 else ("them", "are")
    further = "" if state.active_filters() else f" Another audit draws from {them} too."
    return f" {count(found.beyond, 'undecided sample')} that joined since {are} not in it.{further}"


def _about(begun: Audit) -> str:
    """What was drawn; how far it was reviewed is told beside the sample (`line`), which follows the keys."""
    try:
        parts = filters.decode(begun.filters) if begun.filters else ()
        among = "; ".join(filters.describe(part) for part in parts)
    except EngineError:  # it came from another copy of the project, of a version that knows other filters
        parts, among = (), "filters that are not known here"
    where = f" that passed {among}" if among else ""
    drawn = f"drawn with seed {begun.seed} by {begun.by}, {moment(begun.made)} UTC"
    cut = f" It draws {len(begun.rows):,} at most." if len(begun.rows) < begun.population else ""
    other = " The filters in force now do not change it." if filters.encode(parts) != _now() else ""
    return f"Audit {begun.number} among {count(begun.population, 'sample')} undecided then{where}, {drawn}.{cut}{other}"


def _now() -> str:
    return filters.encode(state.active_filters())


def _begin(project: Project) -> None:
    try:
        audit.begin(project, reads.facts(project), state.active_filters(), by=state.author())
    except EngineError as error:
        state.notify(str(error), "error")
