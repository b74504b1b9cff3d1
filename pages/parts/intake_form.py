"""Adding files on the Pool page: choose a source, see how it was understood, correct that, add it."""

from dataclasses import dataclass, replace
from pathlib import Path

import streamlit as st

from engine.data.hugging_face import is_hub_name
from engine.data.intake import Preview, preview
from engine.data.samples import prompt_text, response_text
from engine.data.schemas import SCHEMAS, Mapping
from engine.errors import EngineError
from engine.runs import search_jobs
from engine.runs.intake import add_heldout, add_owned, add_pool, add_target
from engine.store.project import Project
from engine.store.records import IntakeReport
from pages.parts import paths, state, uploads
from pages.parts.bar import BarReporter
from pages.parts.mistakes import errors_shown, show_error
from pages.parts.tables import table
from pages.parts.words import count, plain, shorten

SHOWN = 50
AUTO, FIELDS = "auto", "fields"
ROLES = {"pool": "The pool", "target": "A target set", "heldout": "A held-out file", "owned": "Data you already own"}
OWNED_HELP = "Samples you already train on; a selection can be made complementary to them."
HELDOUT_HELP = "Samples you will evaluate on. Nothing is scored for them; the pool is checked for copies of them."
NAMED = {"target": "target set", "heldout": "held-out file"}


@dataclass(frozen=True)
class Source:
    """What the user points at: a local path, or the name of a data set."""

    location: str
    label: str


def form(project: Project) -> None:
    """The whole of adding: where to, from where, preview, add."""
    if st.session_state.pop("intake_added", False):  # set, not dropped: a browser keeps a field nobody sets
        st.session_state.update(intake_path="", intake_name="")
    role = st.segmented_control(
        "Add to", list(ROLES), format_func=ROLES.__getitem__, default="pool", required=True, key="intake_role"
    )
    name = ""
    if role in NAMED:
        name = st.text_input(
            f"Name of the {NAMED[role]}", key="intake_name", max_chars=60, placeholder="gsm8k", width=340
        )
    if role in ("owned", "heldout"):
        st.caption(OWNED_HELP if role == "owned" else HELDOUT_HELP)
    with errors_shown():
        source = _source()
        if source is not None:
            found, mapping = _understood(source)
            if mapping is not None:
                _add_button(project, str(role), name, source, mapping, found)


def _source() -> Source | None:
    how = st.segmented_control(
        "From", ["Upload", "Path or data set"], default="Upload", required=True, key="intake_from"
    )
    if how == "Upload":
        generation = st.session_state.get("intake_round", 0)
        upload = st.file_uploader(
            "JSONL, JSON, CSV or Parquet; .gz and .zst are read as they are",
            type=list(uploads.SUFFIXES),
            key=f"intake_upload_{generation}",
        )
        return Source(str(uploads.keep(upload)), upload.name) if upload is not None else None
    typed = st.text_input(
        "File, folder, or Hugging Face data set",
        key="intake_path",
        placeholder="/data/pool.jsonl, or owner/name",
        help="A path is read where it lies, so size does not matter. A data set that is no path is fetched by name.",
    ).strip()
    return Source(_located(typed), typed) if typed else None


def _located(typed: str) -> str:
    """A path inside the allowed folders (a data set's folder may name its split: `folder#train`), else a hub name."""
    base, mark, split = typed.rpartition("#")
    if mark and _exists(base):
        return f"{paths.allowed(base)}#{split}"
    return typed if is_hub_name(typed) and not _exists(typed) else str(paths.allowed(typed))


def _exists(typed: str) -> bool:
    path = Path(typed).expanduser()
    return path.exists() or (paths.APP / path).exists()


def _understood(source: Source) -> tuple[Preview, Mapping | None]:
    """The preview under the recognised or the corrected mapping; no mapping while one is still to be named."""
    found = _preview(source, AUTO)
    if found.mapping is None:
        st.warning(plain(found.problem))
        schema = FIELDS
    else:
        schema = st.selectbox("Schema", [AUTO, *SCHEMAS], key="intake_schema", format_func=_schema_title, width=340)
    if schema == AUTO and found.mapping is not None:
        st.caption(plain(f"Recognised: {_schema_title(found.mapping.schema)} ({_mapped(found.mapping)})."))
    else:
        mapping = _columns(source, found, schema)
        found = _preview(source, mapping) if mapping is not None else replace(found, rows=[], mapping=None)
    _show(found)
    return found, found.mapping


def _columns(source: Source, head: Preview, schema: str) -> Mapping | None:
    """One choice of column for every part of the schema; None while a needed part has none."""
    guess = _preview(source, schema).mapping if schema != FIELDS else None
    parts, chosen = SCHEMAS[schema], dict[str, str]()
    for place, part in zip(st.columns(max(1, len(parts.columns))), parts.columns):
        known = guess.fields.get(part) if guess is not None else None
        value = place.selectbox(
            plain(part.capitalize()),
            head.columns,
            index=head.columns.index(known) if known in head.columns else None,
            key=f"intake_{schema}_{part}",
            placeholder="Choose a column" if part in parts.required else "None",
        )
        if value is not None:
            chosen[part] = value
    missing = [part for part in parts.required if part not in chosen]
    if missing:
        st.caption(plain(f"Choose the column of the {' and the '.join(missing)} to go on."))
        return None
    return Mapping(schema, chosen)


def _schema_title(name: str) -> str:
    return "As recognised" if name == AUTO else SCHEMAS[name].title


def _preview(source: Source, mapping: Mapping | str) -> Preview:
    with st.spinner("Reading the first rows…"):
        return preview(source.location, mapping=mapping, limit=SHOWN)


def _mapped(mapping: Mapping) -> str:
    return ", ".join(f"{part} from {column}" for part, column in mapping.fields.items())


def _show(found: Preview) -> None:
    shown = [
        {
            "Line": r.line,
            "Prompt": shorten(prompt_text(r.messages), 160),
            "Response": shorten(response_text(r.messages), 160),
        }
        for r in found.rows
    ]
    st.caption(f"The first {count(found.total_seen, 'row')}: {len(found.rows):,} usable, {len(found.bad_rows):,} not.")
    if shown:
        table(shown)
    if found.bad_rows:
        bad = [{"Line": b.line, "Reason": b.reason, "Beginning": shorten(b.excerpt, 160)} for b in found.bad_rows]
        table(bad)


def _add_button(project: Project, role: str, name: str, source: Source, mapping: Mapping, found: Preview) -> None:
    ready = bool(found.rows) and (role not in NAMED or bool(name.strip()))
    if role in NAMED and not name.strip():
        st.caption(f"Name the {NAMED[role]} above, then add it.")
    label = plain(f"Add to {_where(role, name.strip() or '…')}")
    if st.button(label, type="primary", key="intake_add", disabled=not ready):
        _add(project, role, name.strip(), source, mapping)


def _add(project: Project, role: str, name: str, source: Source, mapping: Mapping) -> None:
    bar = BarReporter()
    try:
        if role in NAMED:
            add_named = {"target": add_target, "heldout": add_heldout}[role]
            report = add_named(project, name, source.location, mapping=mapping, reporter=bar)
        else:
            add = {"pool": add_pool, "owned": add_owned}[role]
            report = add(project, source.location, mapping=mapping, reporter=bar)
    except EngineError as error:
        bar.close()
        show_error(error)
        return
    bar.close()
    uploads.forget(Path(source.location))
    told = outcome(source.label, role, name, report)
    if role == "pool" and _search_begun(project):
        told += " Its text search is being prepared in the background."
    state.notify(told, "info" if report.already else "success")
    st.session_state["intake_round"] = st.session_state.get("intake_round", 0) + 1
    st.session_state["intake_added"] = True
    st.rerun()


def _search_begun(project: Project) -> bool:
    """Begin to prepare the search of a large pool; whether that was needed."""
    try:
        return search_jobs.begin_if_large(project) is not None
    except EngineError:
        return False  # what was added is safe: the first search begins it anew and says what is wrong


def outcome(label: str, role: str, name: str, report: IntakeReport) -> str:
    """What the intake did, in one sentence."""
    where = _where(role, name)
    if report.already:
        return f"{label} is in {where} already; nothing was added."
    rows, bad, twice = report.rows, report.bad, report.duplicates
    extra = f", {count(bad, 'row')} set aside" if bad else ""
    extra += f", {count(twice, 'duplicate')} marked" if twice else ""
    return f"{label}: {count(rows, 'row')} added to {where}{extra}."


def _where(role: str, name: str) -> str:
    return {"pool": "the pool", "owned": "the data you own"}.get(role, f"{NAMED.get(role, role)} {name}")
