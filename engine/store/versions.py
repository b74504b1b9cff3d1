"""What of the catalogue has changed: a short mark for each of its subjects, so that only what changed is read again.

The catalogue's file changes with every decision; the pool, the runs and the selections do not. A *mark* is a text that
differs whenever anything of its subject does. Marks are derived from what is stored (counts, latest numbers, names of
artifacts), so nothing has to keep them up, and asking for all of them is one query over small tables.
"""

from typing import Literal, get_args

import duckdb

from engine.store.catalogue import first

Subject = Literal["sets", "decisions", "runs", "maps", "signals", "selections", "tags", "audits"]
SUBJECTS: tuple[str, ...] = get_args(Subject)

# append-only subjects are told by their number and their latest entry, the others by what they point to
_MARKS: dict[str, str] = {
    "sets": "SELECT concat_ws('/', count(*), max(file_id), sum(usable), max(added)) FROM files",
    "decisions": "SELECT concat_ws('/', count(*), max(batch), max(made)) FROM decision_batches",
    "runs": "SELECT md5(coalesce(string_agg(concat_ws('/', name, artifact, state), '|' ORDER BY name), '')) FROM runs",
    "maps": "SELECT md5(coalesce(string_agg(artifact, '|' ORDER BY position), '')) FROM maps",
    "signals": "SELECT md5(coalesce(string_agg(artifact, '|' ORDER BY position), '')) FROM signals",
    "selections": """SELECT concat_ws('/', count(*), max(selection), (SELECT count(*) FROM selection_events))
        FROM selections""",
    "tags": "SELECT concat_ws('/', count(*), max(batch), max(made)) FROM tag_batches",
    "audits": "SELECT concat_ws('/', count(*), max(made), (SELECT count(*) FROM audit_progress)) FROM audits",
}


def marks(con: duckdb.DuckDBPyConnection) -> dict[str, str]:
    """The present mark of every subject."""
    query = "SELECT " + ", ".join(f"({_MARKS[subject]})" for subject in SUBJECTS)
    found = first(con, query) or ("",) * len(SUBJECTS)
    return dict(zip(SUBJECTS, map(str, found), strict=True))
