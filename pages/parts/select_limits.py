"""What bounds a selection on the Select page: guards that leave samples out, quotas on groups, how tokens are counted.

Quotas are kept in the session as the engine's own, one removable chip each. Does not choose.
"""

from typing import Any

import streamlit as st

from engine.curation import columns, signals
from engine.curation import guards as known_guards
from engine.curation.signals import KEEPS, Keep
from engine.errors import EngineError
from engine.runs import jobs, token_counts_job
from engine.runs.choice import Counted
from engine.runs.token_counts import PER_WORD, has_tokenizer
from engine.selection.quotas import EACH, Kind, Quota
from engine.store.project import Project
from pages.parts import choosing, job_panel, reads, state
from pages.parts.kept import preset
from pages.parts.mistakes import show_error
from pages.parts.run_choice import View
from pages.parts.words import count, plain, shorten

_QUOTAS = "ts_quotas"
LIMIT = "select_limit_"  # then the guard's name: the keys of thresholds
_COUNTING = (token_counts_job.KIND,)
MOST_VALUES = 1000  # offered in a list; the others can be given in the shell
_KINDS: dict[Kind, str] = {"at-most": "At most", "at-least": "At least"}
_KEEP_NAMES = {
    "first": "The first",
    "longest": "The longest",
    "highest score": "The best by score",
    "approved first": "An approved one",
}


def guards(project: Project) -> tuple[tuple[str, ...], Keep]:
    """The guards chosen, with thresholds where they were set, and which of several copies stays."""
    facts = reads.facts(project)
    names = known_guards.known(facts)
    if any(name not in names for name in st.session_state.get("select_guards", ())):
        st.session_state["select_guards"] = [name for name in st.session_state["select_guards"] if name in names]
    with st.container(horizontal=True, vertical_alignment="bottom"):
        chosen = st.multiselect(
            "Leave out", names, key="select_guards", placeholder="Nothing", width="stretch",
            help="Samples with these marks stay out unless a person approved them. Of copies one stays.",
        )  # fmt: skip
        keep: Keep = "first"
        if any(name in signals.COPIES for name in chosen):
            preset("select_keep", "first")
            keep = st.selectbox("Of copies keep", KEEPS, key="select_keep", width=190,
                                format_func=lambda name: _KEEP_NAMES.get(name, name))  # fmt: skip
        found = [_with_threshold(facts, name) for name in chosen]
    return tuple(found), keep


def _with_threshold(facts: Any, name: str) -> str:
    """The guard, with its threshold where it goes by one and another was set."""
    column = signals.signals_of(facts).columns.get(name)
    if column is None or column.threshold is None or name in signals.COPIES:
        return name
    own = float(column.threshold)
    sense = "from" if column.sense == "at least" else "up to"
    preset(f"{LIMIT}{name}", own)
    value = st.number_input(
        plain(f"{shorten(name, 24)} {sense}"),
        key=f"{LIMIT}{name}",
        width=150,
        help=plain(f"{column.title}. {column.explanation}"),
    )
    return name if value == own else f"{name}={value:g}"


def quotas(project: Project) -> tuple[Quota, ...]:
    """The quotas in force, one chip each, and the form that adds one."""
    held = _held(project)
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        for number, quota in enumerate(held):
            st.button(
                plain(_said(quota)), key=f"select_quota_{number}", icon=":material/close:", icon_position="right",
                help="Remove this quota", on_click=_drop, args=(project, quota),
            )  # fmt: skip
        popover = st.popover("Add a quota", icon=":material/balance:", key="select_quota_popover", on_change="rerun")
    if popover.open:
        with popover:
            _form(project)
    return held


def counted(project: Project, view: View) -> Counted:
    """How tokens are counted: by the run's tokenizer once a job has done so, until then by words, which is told."""
    if choosing.kept_tokens(project, view) is not None:
        return "tokenizer"
    estimated = f"Tokens are estimated at {PER_WORD:g} a word"
    if not has_tokenizer(view.record):
        st.caption(f"{estimated}: this run has no language model whose tokenizer could count them.")
        return "words"
    panels = (jobs.job(project, name) for name, _ in job_panel.held(project, _COUNTING))
    offered = any(token_counts_job.counts_for(job, view.record) for job in panels)  # there, to be cancelled or resumed
    with st.container(horizontal=True, vertical_alignment="center"):
        st.caption(f"{estimated} until they are counted for this run's model; the page then goes on by the counts.")
        if not offered:
            size = count(reads.pool_size(project), "sample")
            st.button(f"Count the tokens of {size}", key="select_count", icon=":material/123:",
                      help="Counts beside your work, also when this page is closed. Made once for a pool and a "
                      "tokenizer; of a pool that grew only the new samples are counted.",
                      on_click=_count, args=(project, view))  # fmt: skip
    job_panel.panels(project, _COUNTING)
    return "words"


def _count(project: Project, view: View) -> None:
    try:
        token_counts_job.ask(project, view.record)
    except EngineError as error:
        state.notify(str(error), "error")


def _said(quota: Quota) -> str:
    value = "each value" if quota.value == EACH else shorten(quota.value, 40)
    return f"{_title(quota.column)}: {value} {_KINDS[quota.kind].lower()} {quota.amount}"


def _title(name: str) -> str:
    family, _, rest = name.partition("/")
    return rest if family in ("field", "signal") else family.capitalize()


def _held(project: Project) -> tuple[Quota, ...]:
    owner, found = st.session_state.get(_QUOTAS, ("", ()))
    return found if owner == str(project.path) else ()


def _drop(project: Project, quota: Quota) -> None:
    st.session_state[_QUOTAS] = (str(project.path), tuple(q for q in _held(project) if q != quota))


def _add(project: Project, quota: Quota) -> None:
    """Put one more in force; one of the same kind on the same group is replaced."""
    same = (quota.column, quota.value, quota.kind)
    others = tuple(q for q in _held(project) if (q.column, q.value, q.kind) != same)
    st.session_state[_QUOTAS] = (str(project.path), (*others, quota))


def _form(project: Project) -> None:
    known = choosing.category_columns(project)
    column = st.selectbox("Of", list(known), key="select_quota_column", format_func=lambda name: _named(known[name]))
    found = columns.categories(reads.facts(project), column)
    order = sorted(range(len(found.names)), key=lambda at: -found.counts[at])[:MOST_VALUES]
    counts = {found.names[at]: int(found.counts[at]) for at in order}
    value = st.selectbox(
        "Value", [EACH, *counts], key="select_quota_value",
        format_func=lambda name: "each value" if name == EACH else f"{shorten(name, 60)} ({counts.get(name, 0):,})",
    )  # fmt: skip
    kind = st.radio("Bound", list(_KINDS), key="select_quota_kind", format_func=lambda name: _KINDS[name],
                    horizontal=True)  # fmt: skip
    amount = st.text_input("Amount", key="select_quota_amount", placeholder="50, or 30%",
                           help="Samples, or a share of the size (of tokens where it is in tokens).")  # fmt: skip
    made = None
    if amount.strip():
        try:
            made = Quota(column, str(value), kind, amount.strip())
        except EngineError as error:
            show_error(error)
    st.button("Add", key="select_quota_add", type="primary", disabled=made is None,
              on_click=lambda: _add(project, made) if made else None)  # fmt: skip


def _named(column: columns.Column) -> str:
    return f"{column.title} ({column.group.lower()})"
