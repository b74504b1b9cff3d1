"""What to export and how: the selection, the form of the records, the container, extra fields, a split, several files.

What was entered is kept while another page is in view. Does not write and does not read rows.
"""

from dataclasses import dataclass
from typing import Any

import streamlit as st

from engine.export.extras import WEIGHT
from engine.export.forms import SHAPES
from engine.export.plan import CONTAINERS, FIELD, FORMS, Plan
from engine.store.decisions import REJECT
from engine.store.project import Project
from engine.store.selections import Selection
from pages.parts import kept, reads
from pages.parts.words import count, plain

FORM_TITLES = {"original": "Original rows, byte for byte", **{name: shape.title for name, shape in SHAPES.items()}}
FORM_WORDS = {
    "original": "Each line as it came in; nothing added or changed.",
    "chat": "Most trainers read this: TRL, Axolotl, LLaMA-Factory.",
    "sharegpt": "For LLaMA-Factory and FastChat. Tool results are called observation.",
    "alpaca": "For LLaMA-Factory. Only chats of user and assistant in turn, without tools.",
    "prompt-completion": "For TRL. Only samples of one question and one answer, without a system text.",
    "prompt-completion-chat": "For TRL, with any number of turns: the last answer is the completion.",
}
CONTAINER_TITLES = {"jsonl": "JSON lines", "parquet": "Parquet", "hf": "Hugging Face data set folder"}
ADDED_TITLES = {
    "weights": "Weights",
    "scores": "Scores of the run",
    "decision": "Decision",
    "reason": "Why it was selected",
    "tags": "Tags",
    "note": "Note of the decision",
    "signals": "Quality signals",
}
GROUP_TITLES = {
    "near-duplicates": "Near-duplicates together",
    "exact-duplicates": "Exact duplicates together",
    "cluster": "Clusters of the map together",
}
ENDINGS = {"jsonl": ".jsonl", "parquet": ".parquet", "hf": ""}
PREFIX = "export_"
_CHOICE, _DRAWN = "ts_export_selection", "export_selection"
NOT_KEPT = (
    _DRAWN,
    "export_go",
    "export_download",
    "export_manifest",
    "export_card",
    "export_decisions",
    "export_upload",
)


@dataclass(frozen=True)
class Asked:
    """What the form asks for: the plan, the name in the exports folder, whether to replace what has it."""

    plan: Plan
    name: str
    force: bool


def choose(project: Project) -> Selection:
    """The selection and version to export, the approved ones first."""
    drawn = _DRAWN in st.session_state
    kept.restore(PREFIX, str(project.path))
    latest_first = reads.by_state(project, "selections")[::-1]
    named = {(s.name, s.version): s for s in sorted(latest_first, key=lambda s: s.state != "approved")}
    chosen = named[_chosen(project, list(named), drawn=drawn)]
    st.session_state[_DRAWN] = (chosen.name, chosen.version)
    st.selectbox("Selection", list(named), key=_DRAWN, width=520, format_func=lambda at: title(named[at]),
                 on_change=_keep, args=(project,))  # fmt: skip
    if chosen.state == "approved":
        remark = f" ({chosen.remark})" if chosen.remark else ""
        st.caption(plain(f"Approved by {chosen.approved_by}{remark}{f' – {chosen.note}' if chosen.note else ''}"))
    else:
        state = "a draft" if chosen.state == "draft" else chosen.state
        st.warning(
            f"This selection is {state}: nobody has approved it. The export, its card and its manifest will say so."
        )
    rejected = int((reads.decisions(project)[chosen.rows] == REJECT).sum())
    if rejected:
        told = count(rejected, "sample was", "samples were")
        st.warning(f"{told} rejected after this selection was saved and would be written. Select again to drop them.")
    return chosen


def pick(project: Project, selection: Selection) -> None:
    """Have this version in view when the page is opened next."""
    _note(project, (selection.name, selection.version), picked=True)


def _chosen(project: Project, there: list[tuple[str, int]], *, drawn: bool) -> tuple[str, int]:
    """The version that was picked; or what is in view, which stays there while others are saved or approved; or the
    first.
    """
    found = st.session_state.get(_CHOICE, {})
    if found.get("project") != str(project.path) or found["is"] not in there or not (found["picked"] or drawn):
        _note(project, there[0], picked=False)
    return st.session_state[_CHOICE]["is"]


def _keep(project: Project) -> None:
    _note(project, st.session_state[_DRAWN], picked=True)


def _note(project: Project, version: tuple[str, int], *, picked: bool) -> None:
    st.session_state[_CHOICE] = {"project": str(project.path), "is": version, "picked": picked}


def title(selection: Selection) -> str:
    """A selection's name, version, size and state; not escaped."""
    return f"{selection.name}, version {selection.version} – {count(selection.size, 'sample')}, {selection.state}"


def form(project: Project, selection: Selection) -> Asked:
    """Draw the form. Raises `EngineError` where the values do not make a plan."""
    left, middle = st.columns(2)
    form_ = left.selectbox("Form", FORMS, format_func=FORM_TITLES.__getitem__, key="export_form")
    left.caption(FORM_WORDS[form_])
    containers = ("jsonl",) if form_ == "original" else CONTAINERS
    container = middle.selectbox(
        "Kind of file", containers, format_func=CONTAINER_TITLES.__getitem__, key=f"export_container_{len(containers)}"
    )
    if form_ == "original":
        middle.caption("Only JSON lines keep the rows byte for byte.")
    settings: dict[str, Any] = {"form": form_, "container": container}
    if form_ != "original":
        settings |= _extras(project, selection)
    settings |= _parts(project)
    plan = Plan(**settings)
    ending = "" if plan.folder else ENDINGS[container]
    name = st.text_input(
        f"Name of the {'folder' if plan.folder else 'file'} in the project's exports folder",
        default_name(selection, ending), key=f"export_name_{selection.name}_{selection.version}_{form_}_{ending}",
        max_chars=120, width=520,
    )  # fmt: skip
    force = st.toggle("Replace an earlier export of this name", key="export_force")
    kept.keep(PREFIX, str(project.path), without=NOT_KEPT)
    return Asked(plan, name.strip(), force)


def default_name(selection: Selection, ending: str) -> str:
    """A file name made of the selection's name and version."""
    safe = "".join(c if c.isalnum() or c in "-_." else "-" for c in selection.name).strip(".-") or "selection"
    return f"{safe}-v{selection.version}{ending}"


def _extras(project: Project, selection: Selection) -> dict[str, Any]:
    """Fields beside the sample."""
    left, right = st.columns(2)
    known = [name for name in ADDED_TITLES if name != "weights" or selection.weights is not None]
    default = ["weights"] if "weights" in known else []
    added = left.multiselect(
        "Add from the project", known, default=default, format_func=ADDED_TITLES.__getitem__,
        key=f"export_added_{len(known)}", placeholder="None",
        help=f"Each becomes a field of every record; weights are called {WEIGHT}.",
    )  # fmt: skip
    columns = right.multiselect(
        "Add original fields", reads.by_state(project, "columns"), key="export_columns", placeholder="None"
    )
    return {"added": tuple(added), "columns": tuple(columns)}


def _parts(project: Project) -> dict[str, Any]:
    """A validation split and several files."""
    settings: dict[str, Any] = {}
    with st.container(horizontal=True):
        split = st.toggle("Hold back a part for validation", key="export_split")
        several = st.toggle("Several files", key="export_several")
    if split:
        settings |= _split(project)
    if several:
        left, right, _ = st.columns(3)
        by = left.segmented_control("At most", ("samples", "megabytes"), default="samples", key="export_shard_by")
        if by != "megabytes":
            settings["shard_rows"] = right.number_input("Samples in a file", 1, value=50_000, key="export_shard_rows")
        else:
            settings["shard_mb"] = right.number_input("Megabytes in a file", 0.1, value=500.0, key="export_shard_mb")
    return settings


def _split(project: Project) -> dict[str, Any]:
    left, middle, right = st.columns(3)
    share = left.number_input("Share for validation, in %", 0.1, 50.0, 5.0, 0.5, key="export_share", format="%g")
    known = {"near-duplicates": "latest_signals", "cluster": "latest_map"}
    built_in = [name for name in GROUP_TITLES if name not in known or reads.by_state(project, known[name]) is not None]
    groups = [*built_in, *(f"{FIELD}{name}" for name in reads.by_state(project, "columns"))]
    group = middle.selectbox("Keep together", groups, format_func=_group_title, key="export_group")
    seed = right.number_input("Seed", 0, value=0, key="export_seed")
    st.caption("Samples with the same text, and near-duplicates where they are known, always stay on one side.")
    return {"validation": share / 100, "group": group, "seed": int(seed)}


def _group_title(group: str) -> str:
    return GROUP_TITLES.get(group, f"Same {group.removeprefix(FIELD)}")
