"""The columns beside the sample itself: weights, scores and original fields, one value per chosen row.

They are written only where they exist and were asked for. Absent values are null. Does not write files.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from engine.errors import EngineError
from engine.store.project import Project
from engine.store.selections import Selection

WEIGHT = "weight"


@dataclass(frozen=True)
class Extra:
    """One extra column: its name, its values (k,) as plain Python values, and its Arrow type."""

    name: str
    values: list[Any]
    kind: pa.DataType


def gather(
    project: Project,
    selection: Selection,
    *,
    scores: Mapping[str, np.ndarray],
    columns: Sequence[str],
    taken: Sequence[str],
) -> list[Extra]:
    """Weights if the selection has them, then scores (over pool rows, (m,)), then original fields, in that order.

    Rows beyond m have no score. Raises `EngineError` for an unknown field and for a name in `taken` or named twice.
    """
    found = [] if selection.weights is None else [_extra(WEIGHT, selection.weights)]
    found += [_extra(name, _covered(np.asarray(values), selection.rows)) for name, values in scores.items()]
    found += [_extra(name.removeprefix("field:"), project.column(name)[selection.rows]) for name in columns]
    names = [*taken, *(extra.name for extra in found)]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise EngineError(f"Two columns would be called {', '.join(twice)}. Leave one out; nothing was written.")
    return found


def _covered(values: np.ndarray, rows: np.ndarray) -> np.ndarray:
    if values.ndim != 1:
        raise EngineError(f"A score column has one value per pool row, got shape {values.shape}. Nothing was written.")
    chosen = np.full(len(rows), np.nan, np.float64 if values.dtype == np.float64 else np.float32)
    inside = rows < len(values)
    chosen[inside] = values[rows[inside]]
    return chosen


def _extra(name: str, values: np.ndarray) -> Extra:
    if values.dtype == object:
        plain = values.tolist()
        if all(v is None or isinstance(v, str) for v in plain):
            return Extra(name, plain, pa.string())
        return Extra(name, [None if v is None else json.dumps(v, ensure_ascii=False) for v in plain], pa.string())
    if np.issubdtype(values.dtype, np.floating):
        shortest = [None if np.isnan(v) else _shortest(v) for v in values]
        return Extra(name, shortest, pa.from_numpy_dtype(values.dtype))
    return Extra(name, values.tolist(), pa.from_numpy_dtype(values.dtype))


def _shortest(value: np.floating[Any]) -> float:
    """The float with the fewest digits that reads back as the same number: 0.1, not 0.10000000149011612."""
    return float(str(value))
