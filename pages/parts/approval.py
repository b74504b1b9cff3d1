"""The desk of saved selections: all versions, the approver's sheet of one, what may happen to it, what has.

    draft → proposed → approved, or returned with a note (`engine.store.selection_events`)

The buttons offer what the state allows and nothing else; the engine refuses the rest, as where two people act at once.
The figures of the sheet are kept with a proposal and an approval.
"""

from typing import Any

import streamlit as st

from engine.curation.sheet import FORMAT_VERSION
from engine.runs import sheets
from engine.selection.curve import curve_of
from engine.selection.menu import STRATEGIES
from engine.store.decisions import DECISIONS
from engine.store.project import Project
from engine.store.selections import Selection
from pages.parts import approval_sheet, export_form, gain_curve, paged, reads, row_list, state, versions
from pages.parts.mistakes import errors_shown
from pages.parts.shell import PAGES, empty
from pages.parts.tables import table
from pages.parts.words import count, moment, plain, shorten

SHOWN = 100
ANCHOR = "saved-selections"
COLOURS = {"draft": "gray", "proposed": "blue", "approved": "green", "returned": "orange"}
_CHOICE = "ts_approval"


def desk(project: Project) -> None:
    """Everything about saved selections; an empty state where there is none."""
    found = list(reversed(reads.by_state(project, "selections")))
    if not found:
        empty("No selection saved yet", "Save a proposal under a name; it stays a draft until it is approved.")
        return
    chosen = _choose(project, found)
    blocks: dict[str, Any] = {
        "Sheet": lambda: _sheet(project, chosen),
        "Samples": lambda: _samples(project, chosen),
        "What changed": lambda: versions.compare(project, chosen, found),
        "History": lambda: _history(chosen),
    }
    if chosen.gains is not None:
        blocks["Gain curve"] = lambda: _curve(chosen)
    blocks["All selections"] = lambda: _all(found)
    with st.container(border=True):
        _head(chosen)
        _meanwhile(chosen)
        with errors_shown():
            _actions(project, chosen)
    for tab, block in zip(st.tabs(list(blocks), key="approval_tabs", on_change="rerun"), blocks.values()):
        if tab.open:
            with tab, errors_shown():
                block()


def waiting(project: Project) -> None:
    """Say at the top of the page which selections wait for approval, with a way to them; nothing where none does."""
    found = [s for s in reads.by_state(project, "selections") if s.state == "proposed"]
    if found:
        more = f" and {len(found) - 3} more" if len(found) > 3 else ""
        named = ", ".join(plain(title(s)) for s in found[:3]) + more
        st.info(f"Waiting for approval: {named}. [Go to it](#{ANCHOR})", icon=":material/pending_actions:")


def sheet_of(project: Project, selection: Selection) -> dict[str, Any]:
    """The approver's sheet as things stand, kept until the catalogue changes."""
    facts = reads.facts(project)
    return reads.by_stamp(
        project, "sheet", lambda: sheets.sheet_of(facts, selection), selection.name, selection.version
    )


def _sheet(project: Project, chosen: Selection) -> None:
    """The sheet; of an approved version, as it stood when it was approved, with what was rejected since."""
    kept = chosen.events[-1].details if chosen.state == "approved" else None
    if not kept or kept.get("format_version") != FORMAT_VERSION:
        approval_sheet.draw(project, chosen, sheet_of(project, chosen))
        return
    st.caption(plain(f"As it stood when it was approved, {moment(chosen.approved_at)}."))
    rejected = int((reads.decisions(project)[chosen.rows] == DECISIONS["reject"]).sum())
    if rejected:
        st.warning(
            f"{count(rejected, 'sample')} of it rejected since. Approved versions stay as they are: select again."
        )
    approval_sheet.draw(project, chosen, kept)


def title(selection: Selection) -> str:
    """A version in words; not escaped."""
    return f"{shorten(selection.name, 50)}, version {selection.version}"


def show(project: Project, selection: Selection) -> None:
    """Have this version in view."""
    st.session_state[_CHOICE] = {"project": str(project.path), "is": (selection.name, selection.version)}


def _choose(project: Project, found: list[Selection]) -> Selection:
    """Draw the choice of a version: what waits for approval goes first, else what was saved last. It stays in view
    while others save theirs.
    """
    names = {(s.name, s.version): s for s in found}
    kept = st.session_state.get(_CHOICE, {})
    if kept.get("project") != str(project.path) or kept.get("is") not in names:
        show(project, next((s for s in found if s.state == "proposed"), found[0]))
        kept = st.session_state[_CHOICE]
    st.session_state["approval_choice"] = kept["is"]
    st.selectbox(
        "Selection", list(names), key="approval_choice", on_change=_keep, width=520,
        format_func=lambda key: f"{title(names[key])} ({count(names[key].size, 'sample')}, {names[key].state})",
    )  # fmt: skip
    return names[kept["is"]]


def _keep() -> None:
    st.session_state[_CHOICE]["is"] = st.session_state["approval_choice"]


def _head(chosen: Selection) -> None:
    with st.container(horizontal=True, vertical_alignment="center"):
        st.markdown(f"**{plain(title(chosen))}**", width="content")
        st.badge(chosen.state, color=COLOURS[chosen.state])  # type: ignore[arg-type]
    st.caption(plain(f"Saved {moment(chosen.created)} by {chosen.by}. {standing(chosen)}"))


def _meanwhile(chosen: Selection) -> None:
    """Say what somebody did to the version since it was drawn here; a button that was pressed then is not there now."""
    seen, here = st.session_state[_CHOICE].get("seen"), (chosen.name, chosen.version, len(chosen.events))
    st.session_state[_CHOICE]["seen"] = here
    if seen is not None and seen[:2] == here[:2] and seen[2] < here[2]:
        st.warning(
            plain(f"Changed since it was shown here: {standing(chosen)} A button pressed meanwhile had no effect.")
        )


def standing(chosen: Selection) -> str:
    """Where a version stands, in a sentence; not escaped."""
    if not chosen.events:
        return "A draft: nobody has proposed it yet."
    last = chosen.events[-1]
    said = f"{last.kind.capitalize()} {moment(last.at)} by {last.by}"
    remark = f" ({chosen.remark})" if chosen.remark else ""
    return f"{said}{remark}{f': “{last.note}”' if last.note else ''}."


def _actions(project: Project, chosen: Selection) -> None:
    """The note and the buttons that the state allows."""
    if chosen.state == "approved":
        if st.button("Export it", key="approval_export", icon=":material/output:"):
            export_form.pick(project, chosen)
            st.switch_page(next(path for path, name, _ in PAGES if name == "Export"))
        return
    # Ctrl+Enter in the note would press the first button, which approves also whoever writes why they return it.
    with st.form(f"approval_act_{chosen.name}_{chosen.version}", border=False, enter_to_submit=False):
        needed = {"proposed": "what was checked; why, if it is returned", "returned": "what answers the return"}
        note = st.text_area("Note", max_chars=2000, height=70, placeholder=needed.get(chosen.state, "what was checked"))
        with st.container(horizontal=True):
            author = shorten(state.author(), 40)
            pressed = [
                (act, st.form_submit_button(plain(label.format(author=author)), icon=icon, type=kind))  # type: ignore[arg-type]
                for act, label, icon, kind in _BUTTONS[chosen.state]
            ]
    if chosen.state == "draft":
        st.caption("Approved without a proposal, it says so in the manifest.")
    for act, is_pressed in pressed:
        if is_pressed:
            _happen(project, chosen, act, note.strip())


_PROPOSE, _APPROVE, _RETURN = ":material/send:", ":material/verified:", ":material/undo:"
_BUTTONS: dict[str, tuple[tuple[str, str, str, str], ...]] = {
    "draft": (("propose", "Propose for approval", _PROPOSE, "primary"),
              ("approve", "Approve as {author}", _APPROVE, "secondary")),
    "proposed": (("approve", "Approve as {author}", _APPROVE, "primary"),
                 ("return", "Return with the note", _RETURN, "secondary")),
    "returned": (("propose", "Propose again", _PROPOSE, "primary"),),
}  # fmt: skip


def _happen(project: Project, chosen: Selection, act: str, note: str) -> None:
    who: dict[str, Any] = {"by": state.author(), "note": note, "version": chosen.version}
    st.session_state[_CHOICE]["seen"] = None  # what changes now was done here
    if act == "return":
        project.return_selection(chosen.name, **who)
        state.notify(f"{title(chosen)}, is returned with your note.", "info")
    elif act == "propose":
        project.propose_selection(chosen.name, **who, details=sheet_of(project, chosen))
        state.notify(f"{title(chosen)}, waits for approval.")
    else:
        project.approve_selection(chosen.name, **who, details=sheet_of(project, chosen))
        state.notify(f"{title(chosen)}, is approved and frozen.")
    st.rerun()


def _samples(project: Project, chosen: Selection) -> None:
    """All chosen rows, page by page, in the order taken where it is known, with why each is in."""
    rows = chosen.rows if chosen.order is None else chosen.order
    part = rows[paged.part("approval_rows", len(rows), owner=(str(project.path), chosen.name, chosen.version))]
    at = chosen.rows.searchsorted(part)
    further: dict[str, list[Any]] = {"Sample number": part.tolist()}
    if chosen.reasons is not None:
        further["Why"] = [shorten(str(reason), 80) for reason in chosen.reasons[at]]
    if chosen.weights is not None:
        further["Weight"] = [round(float(weight), 4) for weight in chosen.weights[at]]
    row_list.draw(project, part, further, key="approval_rows_table")
    if chosen.reasons is None:
        st.caption("Why each sample is in was not kept: the selection was saved by an earlier version.")


def _history(chosen: Selection) -> None:
    lines = [{"When": moment(chosen.created), "What": "saved as a draft", "Who": chosen.by, "Note": ""}]
    lines += [{"When": moment(e.at), "What": e.kind, "Who": e.by, "Note": e.note} for e in chosen.events]
    table(lines)
    if chosen.remark:
        st.caption(plain(chosen.remark.capitalize() + "."))


def _curve(chosen: Selection) -> None:
    """What each sample added, one after the other."""
    curve = None if chosen.gains is None else curve_of(chosen.gains)
    if curve is None:
        st.caption("Its samples gained nothing.")
    else:
        gain_curve.draw(curve, "approval_curve")


def _all(found: list[Selection]) -> None:
    table([_line(selection) for selection in found[:SHOWN]])
    if len(found) > SHOWN:
        st.caption(f"The latest {SHOWN} of {len(found):,}; the command selections lists all.")


def _line(selection: Selection) -> dict[str, Any]:
    spec = selection.spec
    strategy = str(spec.get("strategy", "–"))
    return {
        "Selection": selection.name,
        "Version": selection.version,
        "State": selection.state,
        "Samples": selection.size,
        "Run": selection.run or "–",
        "Strategy": STRATEGIES[strategy].title if strategy in STRATEGIES else strategy,
        "Size asked": str(spec.get("size", "–")),
        "Saved": f"{moment(selection.created)} by {selection.by}",
        "Stands": standing(selection) if selection.events else "–",
    }
