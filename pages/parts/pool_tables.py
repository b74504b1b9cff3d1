"""What the pool holds, as figures and tables: files, target sets, held-out files, and rows set aside with reasons."""

from collections import Counter
from typing import Any

import streamlit as st

from engine.store.project import Project
from pages.parts import reads
from pages.parts.shell import empty
from pages.parts.tables import table
from pages.parts.words import count, plain, shorten, size

PER_PAGE = 100
ROLE_WORDS = {"heldout": "held-out"}


def figures(project: Project) -> None:
    """The counts of the project in one line of figures."""
    counts = reads.by_state(project, "counts")
    shown = (
        ("Samples in the pool", counts.pool, None),
        ("Target samples", sum(counts.targets.values()), "Samples of all target sets together."),
        ("Samples you own", counts.owned, "Samples you already train on; a selection can be made complementary to "
         "them."),
        ("Rows set aside", _set_aside_total(project), "Not usable; listed below with the reason."),
        ("Exact duplicates", counts.duplicates, "Samples whose content occurred earlier. They are marked, not "
         "removed."),
    )  # fmt: skip
    with st.container(horizontal=True):  # in a narrow window they take several lines, and no title is cut
        for title, number, told in shown:
            st.metric(title, f"{number:,}", border=True, help=told)


def ready(project: Project) -> bool:
    """Whether there is something to score."""
    counts = reads.by_state(project, "counts")
    return counts.pool > 0 and bool(counts.targets)


def files(project: Project) -> None:
    """Every file that was added, in order."""
    found = reads.by_state(project, "files")
    if not found:
        empty("No files yet", "Add the first one above: drop a file, or type a path or the name of a data set.")
        return
    table([_file(record) for record in found])


def targets(project: Project) -> None:
    """The target sets and their sizes."""
    found = reads.by_state(project, "targets")
    if not found:
        empty("No target set yet", "Choose “A target set” above and add 30 to 300 samples of the task.")
        return
    table([{"Target set": t.name, "Samples": t.rows, "Set aside": t.bad} for t in found])


def heldout(project: Project) -> None:
    """The held-out files and their sizes."""
    found = reads.by_state(project, "heldout")
    if not found:
        empty(
            "No held-out file yet",
            "Choose “A held-out file” above and add what you will evaluate on; the pool is checked for copies of it.",
        )
        return
    table([{"Held-out file": each.name, "Samples": each.rows, "Set aside": each.bad} for each in found])


def set_aside(project: Project) -> None:
    """The rows that could not be used: file, line, reason and how they begin."""
    total = _set_aside_total(project)
    if total == 0:
        empty("No row was set aside", "Every row of every file was usable.")
        return
    names = {record.file_id: record for record in reads.by_state(project, "files")}
    chosen = st.selectbox(
        "File",
        [None, *(file_id for file_id, record in names.items() if record.bad)],
        format_func=lambda file_id: "All files" if file_id is None else shorten(str(names[file_id].path), 80),
        key="bad_file",
        width=420,
    )
    within = total if chosen is None else names[chosen].bad
    pages = max(1, -(-within // PER_PAGE))
    page = st.number_input("Page", 1, pages, 1, key="bad_page", width=160) if pages > 1 else 1
    rows = project.bad_rows(file_id=chosen, limit=PER_PAGE, offset=(int(page) - 1) * PER_PAGE)
    reasons = Counter(row.reason.partition(":")[0] for row in rows)
    st.caption(
        plain("On this page: " + ", ".join(f"{number:,} × {reason}" for reason, number in reasons.most_common(6)))
    )
    table(
        [
            {
                "File": shorten(str(row.file), 60),
                "Line": row.line,
                "Reason": row.reason,
                "Beginning": shorten(row.excerpt, 200),
            }
            for row in rows
        ]
    )
    st.caption(count(within, "row") + " set aside in all; nothing was dropped silently.")


def _set_aside_total(project: Project) -> int:
    return sum(record.bad for record in reads.by_state(project, "files"))


def _file(record: Any) -> dict[str, Any]:
    role = f"{ROLE_WORDS.get(record.role, record.role)} {record.set_name}".strip()
    return {
        "File": shorten(str(record.path), 90),
        "Part of": role,
        "Format": record.format,
        "Schema": record.mapping.get("schema", ""),
        "Usable rows": record.rows,
        "Set aside": record.bad,
        "Size": size(record.bytes),
    }
