"""Which rows must go in and which may not, before any strategy chooses.

Approved rows are always in, rejected rows never; a row without a score never goes in unless a person approved it.
Notation: decision codes 0 none, 1 approve, 2 reject, 3 skip, as the catalogue keeps them. Does not rank anything.
"""

from dataclasses import dataclass

import numpy as np

from engine.errors import EngineError

APPROVED, REJECTED = 1, 2


@dataclass(frozen=True)
class Eligible:
    """Masks over the pool, bool (n,): `include` must go in, `exclude` may not; no row is both."""

    include: np.ndarray
    exclude: np.ndarray

    @property
    def free(self) -> int:
        """How many rows a strategy may choose from, beside those included."""
        return int((~self.include & ~self.exclude).sum())


def eligible(decisions: np.ndarray, *, scorable: np.ndarray, barred: np.ndarray | None = None) -> Eligible:
    """Return the masks for decision codes int8 (n,) and `scorable` bool (n,).

    `barred` bool (n,): rows that a guard (duplicates, leaks, a filter) leaves out unless they are approved.
    Raises `EngineError` if the arrays differ in length.
    """
    shapes = {np.shape(a) for a in (decisions, scorable, barred) if a is not None}
    if len(shapes) != 1 or np.ndim(decisions) != 1:
        raise EngineError(f"Decisions and scores must have one entry per pool sample, got shapes {sorted(shapes)}.")
    approved = np.asarray(decisions) == APPROVED
    out = ~np.asarray(scorable, bool)
    if barred is not None:
        out = out | np.asarray(barred, bool)
    return Eligible(include=approved, exclude=(np.asarray(decisions) == REJECTED) | (out & ~approved))
