"""The Export page's blocks: what to write, how it will look, writing it, and what was written."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import streamlit as st

from engine.errors import EngineError
from engine.export.export import FORMATS, ExportReport, export
from engine.export.forms import alpaca_record, chat_record, splits_of
from engine.export.manifest import build_manifest
from engine.export.placing import MANIFEST_SUFFIX
from engine.store.project import Project
from engine.store.selections import Selection
from pages.parts import reads
from pages.parts.bar import BarReporter
from pages.parts.tables import table
from pages.parts.words import count, plain, shorten, size

ENDINGS = {"original": ".jsonl", "chat": ".jsonl", "alpaca": ".jsonl", "parquet": ".parquet", "hf": ""}
TITLES = {
    "original": "Original rows, byte for byte (JSONL)",
    "chat": "Chat messages (JSONL)",
    "alpaca": "Alpaca: instruction, input, output (JSONL)",
    "parquet": "Parquet table",
    "hf": "Hugging Face data set folder",
}
PREVIEWED = 3
DOWNLOAD_LIMIT = 20_000_000
_REPORT = "ts_export"


def choose(project: Project) -> Selection:
    """The selection and version to export, the approved ones first."""
    found = reads.by_state(project, "selections")
    latest_first = found[::-1]
    ranked = sorted(latest_first, key=lambda s: s.state != "approved")
    titles = {title(s): s for s in ranked}
    chosen = titles[st.selectbox("Selection", list(titles), key="export_selection", width=520)]
    if chosen.state == "approved":
        st.caption(plain(f"Approved by {chosen.approved_by}{f' – {chosen.note}' if chosen.note else ''}"))
    else:
        st.warning("This selection is a draft: nobody has approved it. The export and its manifest will say so.")
    return chosen


def title(selection: Selection) -> str:
    """A selection's name, version, size and state; not escaped."""
    return f"{selection.name}, version {selection.version} – {count(len(selection.rows), 'sample')}, {selection.state}"


def form(project: Project, selection: Selection) -> dict[str, Any]:
    """Format, file name and added columns."""
    left, right = st.columns(2)
    form_ = left.selectbox("Format", FORMATS, format_func=lambda f: TITLES.get(f, f), key="export_format")
    name = right.text_input(
        "File name in the project's exports folder", default_name(selection, form_),
        key=f"export_name_{selection.name}_{selection.version}_{form_}", max_chars=120,
    )  # fmt: skip
    asked: dict[str, Any] = {"format": form_, "name": name.strip(), "columns": (), "scores": False}
    if form_ != "original":
        asked["columns"] = tuple(left.multiselect("Add original fields", reads.by_state(project, "columns"),
                                                  key="export_columns", placeholder="None"))  # fmt: skip
        if selection.run:
            asked["scores"] = right.toggle(plain(f"Add the scores of run {selection.run}"), key="export_scores")
    asked["force"] = st.toggle("Replace a file of this name", key="export_force")
    return asked


def default_name(selection: Selection, form_: str) -> str:
    """A file name made of the selection's name and version."""
    safe = "".join(c if c.isalnum() or c in "-_." else "-" for c in selection.name).strip(".-") or "selection"
    return f"{safe}-v{selection.version}{ENDINGS.get(form_, '')}"


def preview(project: Project, selection: Selection, asked: dict[str, Any]) -> None:
    """How many samples, how long, and the first ones as they will be written."""
    lengths = reads.column(project, "words")[selection.rows]
    st.caption(plain(f"{count(len(selection.rows), 'sample')}, {int(lengths.sum()):,} words in all."))
    rows = reads.samples(project, selection.rows[:PREVIEWED].tolist())
    splits = splits_of(reads.by_state(project, "files"))
    records = [_as_written(row, asked["format"], splits) for row in rows]
    table(_mapping(asked, records))
    for record in records:
        st.code(shorten_json(record), language=None, wrap_lines=True)


def _as_written(row: Any, form_: str, splits: Any) -> str | dict[str, Any] | None:
    if form_ == "original":
        return str(row.raw)
    return alpaca_record(row, splits) if form_ == "alpaca" else chat_record(row)


def shorten_json(record: str | dict[str, Any] | None, limit: int = 700) -> str:
    """One record as one line of text."""
    if record is None:
        return "This chat has no Alpaca form; export it as chat."
    text = record if isinstance(record, str) else json.dumps(record, ensure_ascii=False, default=str)
    return shorten(text, limit)


def _mapping(asked: dict[str, Any], records: list[Any]) -> list[dict[str, str]]:
    """Which field of the file holds what."""
    if asked["format"] == "original":
        return [{"Field": "every field", "Holds": "the row as it was read, nothing added or changed"}]
    meaning = {
        "messages": "all turns with role and content",
        "id": "the sample's id",
        "instruction": "the prompt",
        "input": "the prompt's input, where the original had one",
        "output": "the response",
        "system": "the system text",
        "history": "earlier turns",
    }
    names = next((list(record) for record in records if record), [])
    found = [{"Field": name, "Holds": meaning.get(name, "from the sample")} for name in names]
    found += [{"Field": name, "Holds": "original field"} for name in asked["columns"]]
    return found + ([{"Field": "score …", "Holds": "scores of the run, one per target"}] if asked["scores"] else [])


def write(project: Project, selection: Selection, asked: dict[str, Any]) -> None:
    """Export now; the report is kept for the page to show. Raises `EngineError` where nothing was written."""
    out = place(project, asked["name"])
    manifest = build_manifest(project, selection, format=asked["format"])
    bar = BarReporter()
    try:
        report = export(
            project, selection, out, format=asked["format"], force=asked["force"], manifest=manifest,
            scores=scores(project, selection) if asked["scores"] else None, columns=asked["columns"], reporter=bar,
        )  # fmt: skip
    finally:
        bar.close()
    st.session_state[_REPORT] = (str(project.path), report)


def place(project: Project, name: str) -> Path:
    """The path of a plain file name inside the project's exports folder."""
    if not name or name in {".", ".."} or "/" in name or "\\" in name or name.startswith(".") or not name.isprintable():
        raise EngineError(
            f"{name!r} is no file name: exports go into the project's exports folder, so give a name without folders. "
            "Nothing was written."
        )
    project.exports.mkdir(exist_ok=True)
    return project.exports / name


def scores(project: Project, selection: Selection) -> dict[str, np.ndarray]:
    """The aggregate and the target columns of the selection's run, by column name."""
    run = next((r for r in reads.by_state(project, "runs") if r.name == selection.run), None)
    if run is None:
        raise EngineError(f"The run {selection.run!r} of this selection is no longer there. Nothing was written.")
    found = reads.scores(project, run.artifact)
    return {"score": found.score, **{f"score:{name}": found.column(name) for name in found.sets}}


def written(project: Project) -> None:
    """What was written last in this session: size, hash, approval, manifest, and a download where it is small."""
    kept = st.session_state.get(_REPORT)
    if kept is None or kept[0] != str(project.path):
        return
    report: ExportReport = kept[1]
    st.success(plain(f"{count(report.rows, 'sample')} written to {report.out} ({size(report.bytes)})."))
    st.caption(plain(f"{'Approved' if report.approved else 'Not approved'} · SHA-256 {report.sha256}"))
    for note in report.notes:
        st.caption(plain(note))
    with st.container(horizontal=True):
        if report.out.is_file() and report.bytes <= DOWNLOAD_LIMIT:
            st.download_button("Download the file", report.out.read_bytes(), report.out.name, key="export_download",
                               on_click="ignore", icon=":material/download:")  # fmt: skip
        if report.manifest.is_file() and report.manifest.stat().st_size <= DOWNLOAD_LIMIT:
            st.download_button("Download the manifest", report.manifest.read_bytes(), report.manifest.name,
                               key="export_manifest", on_click="ignore")  # fmt: skip
    details = st.expander("Manifest", key="export_manifest_text", on_change="rerun")
    if details.open:
        details.code(report.manifest.read_text(encoding="utf-8")[:20_000], language="json", wrap_lines=True)


def earlier(project: Project) -> None:
    """The files that lie in the exports folder."""
    there = list(project.exports.glob("*")) if project.exports.is_dir() else []
    files = [p for p in there if not p.name.startswith(".") and not p.name.endswith(MANIFEST_SUFFIX)]
    files.sort(key=lambda p: p.stat().st_mtime, reverse=True)
    if not files:
        st.caption("Nothing has been exported yet.")
    else:
        table([_file(path) for path in files[:100]])
        st.caption(plain(f"In {project.exports}"))


def _file(path: Path) -> dict[str, str]:
    complete = path.with_name(path.name + MANIFEST_SUFFIX).exists()
    volume = size(path.stat().st_size) if path.is_file() else "folder"
    return {"File": path.name, "Size": volume, "Manifest": "yes" if complete else "no"}
