"""The arithmetic of similarities: directions, cosines, and what a column adds to what its rows have.

Notation as in `kernels`: s_ij = max(cos, 0) ≥ 0 for pool, target and owned rows alike, so that all lie on one scale and
none is shifted or scaled by itself. Pure functions of arrays.
"""

from collections.abc import Iterator

import numpy as np

from engine.errors import EngineError

ENTRIES = 1 << 20  # similarities worked on at once


def best_similarity(features: np.ndarray, others: np.ndarray, *, block: int = 8192) -> np.ndarray:
    """max_q max(cos(row, q), 0) of every row of `features` (n, d) over `others` (m, d), float32 (n,).

    0 for rows without features, and for all where no other has any. Raises `EngineError` if the widths differ.
    """
    if np.ndim(features) != 2 or np.ndim(others) != 2 or np.shape(features)[1] != np.shape(others)[1]:
        raise EngineError(
            f"Rows and the rows they are compared with need features of one width, got shapes {np.shape(features)} "
            f"and {np.shape(others)}. Nothing was computed."
        )
    unit_others, known = directions(others)
    unit_others = unit_others[known]
    best = np.zeros(len(features), np.float32)
    for part in parts(len(features), block):
        unit = directions(features[part])[0]
        for some in parts(len(unit_others), max(1, ENTRIES // block)):
            np.maximum(best[part], (unit @ unit_others[some].T).max(axis=1), out=best[part])
    return np.minimum(best, 1, out=best)


def directions(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows of unit length float32 (n, d), zero where there is none, and bool (n,) which rows have a direction."""
    given = np.asarray(features, np.float32)
    if given.ndim != 2:
        raise EngineError(f"Features must be a table of rows, got shape {given.shape}. Nothing was computed.")
    peak = np.abs(given).max(axis=1, initial=0)  # squares of huge features must not overflow
    usable = np.isfinite(peak) & (peak > 0)
    unit = np.where(usable[:, None], given, 0) / np.where(usable, peak, 1)[:, None]
    unit /= np.sqrt(np.einsum("ij,ij->i", unit, unit) + ~usable)[:, None]
    return unit, usable


def raised_by(values: np.ndarray, level: np.ndarray, cap: np.ndarray | None) -> np.ndarray:
    """Σ_i max(min(s_ij, cap_i) − level_i, 0) of similarities (c, r) to c columns, float64 (c,)."""
    raised = np.minimum(values, cap) if cap is not None else values.copy()
    raised -= level
    return np.maximum(raised, 0, out=raised).sum(axis=1, dtype=np.float64)


def checked(values: np.ndarray) -> np.ndarray:
    """Similarities as float32. Raises `EngineError` unless they are finite and not negative."""
    found = values.astype(np.float32)
    low, high = found.min(initial=0), found.max(initial=0)
    if not (low >= 0 and np.isfinite(high)):
        raise EngineError(
            f"Similarities must be finite and not negative, got values from {low} to {high}. Shift and scale those of "
            "pool, target and owned rows jointly; nothing was selected."
        )
    return found


def parts(n: int, step: int) -> Iterator[slice]:
    """0 to n in slices of `step`, the last one shorter."""
    return (slice(at, min(at + step, n)) for at in range(0, n, step))
