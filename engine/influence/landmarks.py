"""Which rows are measured exactly: the audit slice first, then landmarks from what is left.

The audit slice is a uniform sample that judges the run and is never used to fit, tune or stop anything; landmarks are
the rows the regression learns from. Both are drawn without replacement, fixed by their seed, and returned in row
order. Coverage-driven and adaptive choices are not made here.
"""

from collections.abc import Sequence

import numpy as np

from engine.errors import EngineError

Rows = Sequence[int] | np.ndarray


def audit_rows(usable: Rows, count: int, *, seed: int) -> np.ndarray:
    """`count` rows (int64, ascending) drawn uniformly from `usable` (row numbers, or a boolean mask over the pool).

    Raises `EngineError` if fewer than `count` rows are usable.
    """
    return _draw(_row_numbers(usable), count, (seed, 1), "audit rows")


def choose_landmarks(usable: Rows, count: int, *, seed: int, exclude: Rows = ()) -> np.ndarray:
    """`count` landmarks (int64, ascending) drawn uniformly from `usable` without the rows of `exclude` (the audit).

    `usable` and `exclude` are row numbers or boolean masks. Raises `EngineError` if too few rows are left.
    """
    left = np.setdiff1d(_row_numbers(usable), _row_numbers(exclude))
    return _draw(left, count, (seed, 2), "landmarks")


def _row_numbers(rows: Rows) -> np.ndarray:
    values = np.asarray(rows)
    numbers = np.flatnonzero(values) if values.dtype == bool else values.astype(np.int64)
    return np.unique(numbers)


def _draw(rows: np.ndarray, count: int, key: tuple[int, int], noun: str) -> np.ndarray:
    if not 0 <= count <= len(rows):
        raise EngineError(f"{count} {noun} asked for, but {len(rows)} rows can serve. Ask for 0 to {len(rows)}.")
    return np.sort(np.random.default_rng(key).permutation(rows)[:count])
