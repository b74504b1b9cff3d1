"""A run's scores as a Parquet file: every usable row of the pool, in pool order.

Columns: row, id, file, line, status, score, and `target:NAME` per target set. Status is `exact`, `propagated` or
`unscorable`; rows added to the pool after the run are `not covered`. Rows of the last two kinds have null scores.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from engine.errors import EngineError
from engine.store.artifacts import MANIFEST, load_array
from engine.store.disk import disk_errors, remove, temporary_name
from engine.store.project import Project
from engine.store.records import RunRecord

STATUS = ("unscorable", "exact", "propagated", "not covered")
NOT_COVERED = STATUS.index("not covered")
GROUP_ROWS = 100_000


def write_scores(project: Project, run_name: str, out: Path, *, force: bool = False) -> int:
    """Write the scores of run `run_name` to `out` and return the number of rows; all of it or nothing.

    Raises `EngineError` for an unknown run, a name that does not end in .parquet, or an existing file without `force`.
    """
    if out.suffix != ".parquet":
        raise EngineError(f"The scores file {out} must end in .parquet. Nothing was written.")
    if out.exists() and not force:
        raise EngineError(f"{out} exists already; give --force to replace it. It was left as it is.")
    run = project.run(run_name)
    work = out.with_name(temporary_name(out.name))
    count = 0
    try:
        with disk_errors(f"write {out}", "What was there before is unchanged."):
            table = score_table(project, run)
            with pq.ParquetWriter(work, table.schema) as writer:
                for group in table.to_batches(max_chunksize=GROUP_ROWS):
                    writer.write_batch(group)
                    count += len(group)
            work.replace(out)
    finally:
        remove(work)
    return count


def score_table(project: Project, run: RunRecord) -> pa.Table:
    """The columns of the scores file for `run`."""
    folder = project.artifacts / run.artifact
    if not (folder / MANIFEST).is_file():
        raise EngineError(f"The scores of run {run.name!r} are missing ({folder}). Score again to restore them.")
    ids, files, lines = project.column("id"), project.column("file"), project.column("line")
    n, covered = len(ids), run.rows
    status = np.full(n, NOT_COVERED, dtype=np.int8)
    status[:covered] = load_array(folder, "status")
    columns: dict[str, Any] = {
        "row": pa.array(np.arange(n, dtype=np.int64)),
        "id": pa.array(ids, pa.string()),
        "file": pa.array(files, pa.string()),
        "line": pa.array(lines, pa.int64()),
        "status": pa.DictionaryArray.from_arrays(pa.array(status), pa.array(STATUS)).cast(pa.string()),
        "score": _score(load_array(folder, "score"), n),
    }
    columns |= {f"target:{name}": _score(values, n) for name, values in _sets(run, load_array(folder, "columns"))}
    return pa.table(columns)


def _sets(run: RunRecord, columns: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    for at, described in enumerate(run.summary["sets"]):
        yield described["name"], columns[:, at]


def _score(values: np.ndarray, n: int) -> pa.Array:
    """float32 with null for NaN and for rows beyond the run."""
    whole = np.full(n, np.nan, dtype=np.float32)
    whole[: len(values)] = values
    return pa.array(whole, pa.float32(), mask=np.isnan(whole))
