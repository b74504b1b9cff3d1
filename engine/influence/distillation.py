"""Influence Distillation to first order: a few exact rows and an embedding per row become a score for every row.

Notation. n pool rows with embeddings E (n, e); l landmarks with exact scores P_L (l, t) over t target items; m audit
rows with exact scores P_A (m, t); s named target sets, each a list of items. Exact rows (landmarks and audit) keep
their exact scores; every other row gets the kernel ridge prediction of its embedding, made comparable per column
(see `comparable`). Higher is better. The audit slice is measured, stored and reported on, and never fitted to.

An unmeasured row whose embedding is not finite, or that is not `usable`, and a measured row without a gradient have no
score. (arXiv 2505.19051; METHODS section 1, "Landmarks".) Computes no gradient and chooses no row.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from engine.errors import EngineError
from engine.influence.comparable import AffineMap
from engine.influence.propagation import Propagation, Sets
from engine.influence.regression import CHUNK, RidgeConfig
from engine.influence.scores import Aggregate, columns_of, over_sets, status_of, usable_items
from engine.progress import Reporter, Silent


@dataclass(frozen=True)
class ExactRows:
    """Rows with exact scores over the pool's target items; the scores are NaN where a row has no gradient.

    `landmarks` (l,) and `audit` (m,) are disjoint row numbers, `landmark_scores` (l, t), `audit_scores` (m, t).
    Raises `EngineError` if they overlap, repeat, or do not match their scores.
    """

    landmarks: np.ndarray
    landmark_scores: np.ndarray
    audit: np.ndarray
    audit_scores: np.ndarray

    def __post_init__(self) -> None:
        """Refuse overlapping rows and scores of another length."""
        if len(np.unique(self.rows)) != len(self.rows):
            raise EngineError(
                "Landmarks and audit rows overlap or repeat; the audit must be rows nothing is fitted on."
            )
        rows = (len(self.landmarks), len(self.audit))
        if rows != (len(self.landmark_scores), len(self.audit_scores)):
            raise EngineError(
                f"Got {rows[0]} landmarks and {rows[1]} audit rows with {len(self.landmark_scores)} and "
                f"{len(self.audit_scores)} rows of scores. Nothing was propagated."
            )

    @property
    def rows(self) -> np.ndarray:
        """All exact rows, landmarks first, (l + m,)."""
        return np.concatenate([self.landmarks, self.audit])

    @property
    def scores(self) -> np.ndarray:
        """Their item scores (l + m, t), in the order of `rows`."""
        return np.concatenate([self.landmark_scores, self.audit_scores])


@dataclass(frozen=True)
class Distilled:
    """Scores of the whole pool.

    `columns` (n, s) float32 per target set, `score` (n,) float32 their mean, `status` (n,) uint8 (0 unscorable,
    1 exact, 2 propagated), `variance` (n,) float32 the posterior variance in units of the kernel (0 for exact rows,
    NaN for unscorable ones; None where it was not asked for). `maps` hold the coefficients of the columns.
    `audit_exact` and `audit_estimated` (m, s) are the audit rows' exact columns and what propagation says of them, on
    one comparable scale; `landmarks_estimated` (l', s) the leave-one-out columns of the `fitted_rows` (l',).
    `matrix` (n, u) float32 holds the item scores of `items` (u,) where they were kept, comparable item by item
    (`item_maps`), for a round robin; their mean differs from the columns by those maps.
    """

    sets: tuple[str, ...]
    columns: np.ndarray
    score: np.ndarray
    status: np.ndarray
    variance: np.ndarray | None
    maps: tuple[AffineMap, ...]
    fitted_rows: np.ndarray
    landmarks_estimated: np.ndarray
    audit_exact: np.ndarray
    audit_estimated: np.ndarray
    matrix: np.ndarray | None
    items: np.ndarray
    item_maps: tuple[AffineMap, ...]
    notes: tuple[str, ...]


def distil(
    embeddings: np.ndarray,
    *,
    landmark_rows: Sequence[int] | np.ndarray,
    landmark_scores: np.ndarray,
    sets: Mapping[str, Sequence[int]],
    audit_rows: Sequence[int] | np.ndarray = (),
    audit_scores: np.ndarray | None = None,
    usable: np.ndarray | None = None,
    config: RidgeConfig | None = None,
    aggregate: Aggregate = "mean",
    keep_matrix: bool = False,
    uncertainty: bool = True,
    chunk: int = CHUNK,
    reporter: Reporter | None = None,
) -> Distilled:
    """Propagate the landmarks' item scores (l, t) over the pool's embeddings (n, e), which may be memory-mapped.

    `sets` maps each target set to its items (columns of the scores). `usable` (n,) bool marks rows that can be scored
    at all. `keep_matrix` also keeps item scores (n, u). `uncertainty` costs O(n·l²). Raises `EngineError` if landmarks
    and audit overlap, a length does not match, a set has no usable item, or no landmark can be fitted.
    """
    exact, items, named = _usable_exact(landmark_rows, landmark_scores, audit_rows, audit_scores, sets)
    fitted = _fittable(embeddings, exact)
    rule = Propagation.fit(
        np.asarray(embeddings[exact.landmarks[fitted]]),
        exact.landmark_scores[fitted],
        named,
        config=config or RidgeConfig(),
        aggregate=aggregate,
        keep_items=keep_matrix,
    )
    columns, matrix, variance = _stream(embeddings, rule, uncertainty, chunk, reporter or Silent())
    audit_estimated = columns[exact.audit]
    known = columns_of(exact.scores, named, aggregate=aggregate)  # (l + m, s)
    _settle(columns, exact.rows, known, usable)
    score = over_sets(columns)
    status = status_of(score, exact.rows)
    if matrix is not None:
        _settle(matrix, exact.rows, exact.scores, usable)
    if variance is not None:
        variance = np.where(status == 0, np.nan, np.where(status == 1, 0, variance)).astype(np.float32)
    return Distilled(
        sets=tuple(named),
        columns=columns,
        score=score,
        status=status,
        variance=variance,
        maps=rule.maps,
        fitted_rows=exact.landmarks[fitted],
        landmarks_estimated=rule.estimated,
        audit_exact=columns[exact.audit],
        audit_estimated=audit_estimated,
        matrix=matrix,
        items=items,
        item_maps=rule.item_maps,
        notes=(*rule.notes, *_left_out_notes(int((~fitted).sum()))),
    )


def _usable_exact(
    landmark_rows: Sequence[int] | np.ndarray,
    landmark_scores: np.ndarray,
    audit_rows: Sequence[int] | np.ndarray,
    audit_scores: np.ndarray | None,
    sets: Sets,
) -> tuple[ExactRows, np.ndarray, Sets]:
    """The exact rows over usable items only, those items, and the sets in terms of them."""
    measured = np.asarray(landmark_scores)
    audited = np.zeros((0, measured.shape[1])) if audit_scores is None else np.asarray(audit_scores)
    items = np.flatnonzero(usable_items(measured))
    _check_sets(sets, measured.shape[1])
    place = {int(item): j for j, item in enumerate(items)}
    named = {name: [place[int(i)] for i in chosen if int(i) in place] for name, chosen in sets.items()}
    landmarks, audit = np.asarray(landmark_rows, dtype=np.int64), np.asarray(audit_rows, dtype=np.int64)
    return ExactRows(landmarks, measured[:, items], audit, audited[:, items]), items, named


def _check_sets(sets: Sets, count: int) -> None:
    for name, chosen in sets.items():
        if any(not 0 <= int(item) < count for item in chosen):
            raise EngineError(f"Target set {name!r} names items outside the {count} that were scored.")


def _fittable(embeddings: np.ndarray, exact: ExactRows) -> np.ndarray:
    """Which landmarks (l,) have both a finite embedding and finite scores. Raises `EngineError` for none."""
    good = np.isfinite(exact.landmark_scores).all(axis=1)
    good &= np.isfinite(np.asarray(embeddings[exact.landmarks])).all(axis=1)
    if not good.any():
        raise EngineError(
            f"None of the {len(good)} landmarks has both an embedding and a gradient, so nothing can be propagated. "
            "Choose more landmarks, or the method 'exact'. Nothing was scored."
        )
    return good


def _stream(
    embeddings: np.ndarray, rule: Propagation, uncertainty: bool, chunk: int, reporter: Reporter
) -> tuple[np.ndarray, np.ndarray | None, np.ndarray | None]:
    """Columns (n, s), item scores (n, u) where kept, and variance (n,) where asked for, chunk by chunk."""
    n = len(embeddings)
    columns = np.empty((n, len(rule.maps)), dtype=np.float32)
    matrix = np.empty((n, len(rule.item_maps)), dtype=np.float32) if rule.item_maps else None
    variance = np.empty(n, dtype=np.float32) if uncertainty else None
    reporter.phase("propagate", n)
    for start in range(0, n, chunk):
        reporter.check()
        part = np.asarray(embeddings[start : start + chunk])
        here = slice(start, start + len(part))
        columns[here], kept = rule(part)
        if matrix is not None:
            matrix[here] = kept
        if variance is not None:
            variance[here] = rule.ridge.variance(part)
        reporter.advance(len(part))
    return columns, matrix, variance


def _settle(values: np.ndarray, rows: np.ndarray, known: np.ndarray, usable: np.ndarray | None) -> None:
    """Put the exact values (l + m, ·) in their rows and NaN in rows that cannot be scored, in place."""
    values[rows] = known
    if usable is not None:
        values[~np.asarray(usable, dtype=bool)] = np.nan
    values[~np.isfinite(values).all(axis=1)] = np.nan


def _left_out_notes(count: int) -> tuple[str, ...]:
    return (f"{count} landmarks without a gradient or an embedding were left out of the fit.",) if count else ()
