"""Influence Distillation: a few exact rows and an embedding per row become a score for every row.

Notation. n pool rows with embeddings E (n, e); *measured* rows carry their exact columns (m, s), one per target set,
and their exact item scores (m, u). Landmarks (and tuning rows, once tuning is over) are fitted to; audit rows are
measured, stored and reported on, and never fitted to. Every measured row keeps its exact score; every other row gets
the kernel ridge prediction of its embedding, made comparable per column (see `comparable`). Higher is better.

An unmeasured row whose embedding is not finite, or that is not `usable`, and a measured row without a gradient have no
score. (arXiv 2505.19051; METHODS section 1, "Landmarks".) Computes no gradient and chooses no row.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from engine.errors import EngineError
from engine.influence.comparable import AffineMap
from engine.influence.propagation import Propagation, mapped
from engine.influence.regression import CHUNK, RidgeConfig
from engine.influence.scores import Combination, status_of
from engine.progress import Reporter, Silent


@dataclass(frozen=True)
class Measured:
    """Rows (m,) of the pool with exact columns (m, s) and item scores (m, u); NaN where a row has no gradient.

    Raises `EngineError` for lengths that do not match or rows that repeat.
    """

    rows: np.ndarray
    columns: np.ndarray
    items: np.ndarray

    def __post_init__(self) -> None:
        """Refuse values that do not belong to the rows."""
        if not len(self.rows) == len(self.columns) == len(self.items):
            raise EngineError(
                f"Got {len(self.rows)} measured rows with {len(self.columns)} rows of columns and {len(self.items)} "
                "of item scores. Nothing was propagated."
            )
        if len(np.unique(self.rows)) != len(self.rows):
            raise EngineError("A sample was measured twice; every measured sample must be there once.")

    def __add__(self, other: "Measured") -> "Measured":
        """Both, in order. Raises `EngineError` where a row is in both."""
        pairs = ((getattr(self, name), getattr(other, name)) for name in ("rows", "columns", "items"))
        return Measured(*(np.concatenate(pair) for pair in pairs))

    def fittable(self, embeddings: np.ndarray) -> "Measured":
        """The rows that have both finite scores and a finite embedding in `embeddings` (n, e)."""
        good = np.isfinite(self.columns).all(axis=1) & np.isfinite(self.items).all(axis=1)
        good &= np.isfinite(np.asarray(embeddings[self.rows])).all(axis=1)
        return Measured(self.rows[good], self.columns[good], self.items[good])

    @classmethod
    def none(cls, sets: int, items: int = 0) -> "Measured":
        """No row at all."""
        return cls(np.zeros(0, np.int64), np.zeros((0, sets), np.float32), np.zeros((0, items), np.float32))


@dataclass(frozen=True)
class Distilled:
    """Scores of the whole pool.

    `columns` (n, s) float32 per target set, `score` (n,) float32 their combination, `status` (n,) uint8 (0 unscorable,
    1 exact, 2 propagated), `variance` (n,) float32 the posterior variance in units of the kernel (0 for measured rows,
    NaN for unscorable ones; None where it was not asked for). `plain` (n,) float32 is the combination of the plain
    predictions, before they were made comparable (measured rows: what propagation says of them). `maps` hold the
    coefficients of the columns. `fitted_rows` (l',) with their exact and plain leave-one-out combinations
    `fitted_exact`, `fitted_left_out` (l',) and leave-one-out variance (l',). `audit_exact` and `audit_estimated` (m, s)
    are the audit rows' exact columns and what propagation says of them, on one comparable scale. `matrix` (n, u)
    float32 holds the item scores, comparable item by item.
    """

    sets: tuple[str, ...]
    columns: np.ndarray
    score: np.ndarray
    status: np.ndarray
    variance: np.ndarray | None
    plain: np.ndarray
    maps: tuple[AffineMap, ...]
    fitted_rows: np.ndarray
    fitted_exact: np.ndarray
    fitted_left_out: np.ndarray
    fitted_variance: np.ndarray
    audit_exact: np.ndarray
    audit_estimated: np.ndarray
    audit_variance: np.ndarray | None
    matrix: np.ndarray
    item_maps: tuple[AffineMap, ...]
    rule: Propagation = field(repr=False)
    notes: tuple[str, ...] = ()


def distil(
    embeddings: np.ndarray,
    *,
    landmarks: Measured,
    sets: Sequence[str],
    audit: Measured | None = None,
    usable: np.ndarray | None = None,
    config: RidgeConfig | None = None,
    combine: Combination | None = None,
    uncertainty: bool = True,
    chunk: int = CHUNK,
    reporter: Reporter | None = None,
) -> Distilled:
    """Propagate what was measured on the `landmarks` over the pool's embeddings (n, e), which may be memory-mapped.

    `usable` (n,) bool marks rows that can be scored at all; `combine` joins the columns (their mean by default).
    `uncertainty` costs O(n·l²). Raises `EngineError` if landmarks and audit overlap, a width does not match, or no
    landmark can be fitted.
    """
    combine = combine or Combination()
    audit = audit or Measured.none(len(sets), landmarks.items.shape[1])
    _check(landmarks, audit, sets)
    exact = _joined(landmarks, audit)
    fitted = _fittable(embeddings, landmarks)
    rule = Propagation.fit(
        np.asarray(embeddings[fitted.rows]),
        fitted.columns,
        fitted.items,
        names=sets,
        config=config or RidgeConfig(),
    )
    predicted, matrix, variance = _stream(embeddings, rule, uncertainty, chunk, reporter or Silent())
    plain = combine(predicted)
    columns = mapped(predicted, rule.maps)
    audit_estimated = columns[audit.rows]
    _settle(columns, exact.rows, exact.columns, usable)
    _settle(matrix, exact.rows, exact.items, usable)
    score = combine(columns)
    status = status_of(score, exact.rows)
    audit_variance = None if variance is None else variance[audit.rows]
    if variance is not None:
        variance = np.where(status == 0, np.nan, np.where(status == 1, 0, variance)).astype(np.float32)
    return Distilled(
        sets=tuple(sets),
        columns=columns,
        score=score,
        status=status,
        variance=variance,
        plain=plain,
        maps=rule.maps,
        fitted_rows=fitted.rows,
        fitted_exact=combine(fitted.columns),
        fitted_left_out=combine(rule.left_out),
        fitted_variance=rule.ridge.leave_one_out_variance(),
        audit_exact=columns[audit.rows],
        audit_estimated=audit_estimated,
        audit_variance=audit_variance,
        matrix=matrix,
        item_maps=rule.item_maps,
        rule=rule,
        notes=(*rule.notes, *_left_out_notes(len(landmarks.rows) - len(fitted.rows))),
    )


def _check(landmarks: Measured, audit: Measured, sets: Sequence[str]) -> None:
    for part in (landmarks, audit):
        if part.columns.shape[1] != len(sets) or part.items.shape[1] != landmarks.items.shape[1]:
            raise EngineError(
                f"Measured samples have {part.columns.shape[1]} columns and {part.items.shape[1]} items; "
                f"{len(sets)} and {landmarks.items.shape[1]} were expected. Nothing was propagated."
            )


def _joined(landmarks: Measured, audit: Measured) -> Measured:
    if len(np.intersect1d(landmarks.rows, audit.rows)):
        raise EngineError("Landmarks and audit samples overlap; the audit must be samples nothing is fitted on.")
    return landmarks + audit


def _fittable(embeddings: np.ndarray, landmarks: Measured) -> Measured:
    """The landmarks that can be fitted to. Raises `EngineError` for none."""
    fitted = landmarks.fittable(embeddings)
    if not len(fitted.rows):
        raise EngineError(
            f"None of the {len(landmarks.rows)} landmarks has both an embedding and a gradient, so nothing can be "
            "propagated. Choose more landmarks, or the method 'exact'. Nothing was scored."
        )
    return fitted


def _stream(
    embeddings: np.ndarray, rule: Propagation, uncertainty: bool, chunk: int, reporter: Reporter
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Plain columns (n, s), comparable item scores (n, u), and variance (n,) where asked for, chunk by chunk."""
    n = len(embeddings)
    columns = np.empty((n, len(rule.maps)), dtype=np.float32)
    matrix = np.empty((n, len(rule.item_maps)), dtype=np.float32)
    variance = np.empty(n, dtype=np.float32) if uncertainty else None
    reporter.phase("propagation", n)
    for start in range(0, n, chunk):
        reporter.check()
        part = np.asarray(embeddings[start : start + chunk])
        here = slice(start, start + len(part))
        columns[here], matrix[here] = rule(part)
        if variance is not None:
            variance[here] = rule.ridge.variance(part)
        reporter.advance(len(part))
    return columns, matrix, variance


def _settle(values: np.ndarray, rows: np.ndarray, known: np.ndarray, usable: np.ndarray | None) -> None:
    """Put the exact values (m, ·) in their rows and NaN in rows that cannot be scored, in place."""
    values[rows] = known
    if usable is not None:
        values[~np.asarray(usable, dtype=bool)] = np.nan
    if values.shape[1]:
        values[~np.isfinite(values).all(axis=1)] = np.nan


def _left_out_notes(count: int) -> tuple[str, ...]:
    return (f"{count} landmarks without a gradient or an embedding were left out of the fit.",) if count else ()
