"""Writing an export from the page, what was written, and the exports there are."""

from pathlib import Path
from typing import Any

import streamlit as st

from engine.errors import EngineError
from engine.export.commands import reproduce_line
from engine.export.export import ExportReport, export
from engine.export.placing import CARD_SUFFIX, MANIFEST_SUFFIX
from engine.store.project import Project
from engine.store.selections import Selection
from pages.parts import reads
from pages.parts.bar import BarReporter
from pages.parts.export_form import Asked
from pages.parts.tables import table
from pages.parts.words import count, moment, plain, size

DOWNLOAD_LIMIT = 20_000_000
MANIFEST_SHOWN = 20_000
MOST_LISTED = 100
_REPORT = "ts_export"


def write(project: Project, selection: Selection, asked: Asked) -> None:
    """Export now; the report is kept for the page to show. Raises `EngineError` where nothing was written."""
    st.session_state.pop(_REPORT, None)
    out = place(project, asked.name)
    bar = BarReporter()
    try:
        report = export(
            project, selection, out, plan=asked.plan, force=asked.force, facts=reads.facts(project), reporter=bar
        )
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


def written(project: Project) -> None:
    """What was written last in this session: size, hash, approval, files, downloads where small, how to repeat it."""
    found = st.session_state.get(_REPORT)
    if found is None or found[0] != str(project.path):
        return
    report: ExportReport = found[1]
    st.success(plain(f"{count(report.rows, 'sample')} written to {report.out} ({size(report.bytes)})."))
    st.caption(plain(f"{'Approved' if report.approved else 'Not approved'} · SHA-256 {report.sha256}"))
    for note in report.notes:
        st.caption(plain(note))
    if len(report.files) > 1:
        table([_part(entry) for entry in report.files[:MOST_LISTED]])
    _downloads(report)
    st.markdown("**Make it again**", help="Needs the manifest and the input files, not this project.")
    st.code(reproduce_line(str(report.out.name)), language=None, wrap_lines=True)
    for title, path, key in (("Manifest", report.manifest, "manifest"), ("Data set card", report.card, "card")):
        details = st.expander(title, key=f"export_{key}_text", on_change="rerun")
        if details.open:
            details.code(_beginning(path), language=None, wrap_lines=True)


def _downloads(report: ExportReport) -> None:
    """Buttons for the parts that are small enough to pass through memory; read only when pressed."""
    offered = [("Download the file", report.out, "download"), ("Download the manifest", report.manifest, "manifest"),
               ("Download the card", report.card, "card")]  # fmt: skip
    small = [entry for entry in offered if entry[1].is_file() and entry[1].stat().st_size <= DOWNLOAD_LIMIT]
    with st.container(horizontal=True):
        for label, path, key in small:
            st.download_button(label, path.read_bytes, path.name, key=f"export_{key}", on_click="ignore",
                               icon=":material/download:")  # fmt: skip
    if report.out.is_dir():
        st.caption("A folder is not downloaded here: take it from the exports folder on the server.")
    elif report.out not in [path for _, path, _ in small]:
        st.caption(f"Files above {size(DOWNLOAD_LIMIT)} are not downloaded here: take it from the exports folder.")


def _beginning(path: Path) -> str:
    if not path.is_file():
        return "It is no longer there."
    with path.open(encoding="utf-8") as stream:
        text = stream.read(MANIFEST_SHOWN + 1)
    return text if len(text) <= MANIFEST_SHOWN else f"{text[:MANIFEST_SHOWN]}\n…"


def _part(entry: dict[str, Any]) -> dict[str, Any]:
    return {
        "File": entry["name"],
        "Split": entry["split"],
        "Samples": entry["rows"],
        "Size": size(entry["bytes"]),
        "SHA-256": entry["sha256"],
    }


def earlier(project: Project) -> None:
    """The files that lie in the exports folder, the latest first."""
    there = list(project.exports.glob("*")) if project.exports.is_dir() else []
    files = [p for p in there if not p.name.startswith(".") and not p.name.endswith((MANIFEST_SUFFIX, CARD_SUFFIX))]
    files.sort(key=lambda p: p.stat().st_mtime, reverse=True)
    if not files:
        st.caption("Nothing has been exported yet.")
        return
    table([_file(path) for path in files[:MOST_LISTED]])
    st.caption(plain(f"In {project.exports}"))


def _file(path: Path) -> dict[str, str]:
    found = path.stat()
    complete = path.with_name(path.name + MANIFEST_SUFFIX).exists()
    return {
        "File": path.name,
        "Size": size(found.st_size) if path.is_file() else "folder",
        "Written": moment(found.st_mtime),
        "Manifest": "yes" if complete else "no",
    }
