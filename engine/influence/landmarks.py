"""Which rows are measured exactly: the audit slice first, then landmarks from what is left.

The audit slice is a uniform sample that judges the run and is never used to fit, tune or stop anything; landmarks are
the rows the regression learns from. Both are drawn without replacement, fixed by their seed, and returned in row
order. `choose_landmarks` draws uniformly; `cover_landmarks` spreads the landmarks over the embeddings (`coverage`);
`next_landmarks` adds rows to a fitted regression. A uniform draw alone keeps leave-one-out residuals typical of the
pool; after the others, calibrate on a slice drawn uniformly. (METHODS section 3, "Better landmarks".)
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from engine.errors import EngineError
from engine.influence.coverage import Cover, distinct, farthest_point, k_means_pp, rp_cholesky
from engine.influence.kernels import KernelName, mean_squared_norm, median_distance, scaling_of

Rows = Sequence[int] | np.ndarray
LandmarkStrategy = Literal["uniform", "k-means++", "farthest-point", "rp-cholesky"]

CANDIDATES = 65_536  # rows a covering strategy chooses among
CANDIDATE_BYTES = 1 << 30
READ_ROWS = 8192


@dataclass(frozen=True)
class Chosen:
    """Landmarks (int64): `rows` ascending, `order` the same rows as they were picked, and `notes` on how."""

    rows: np.ndarray
    order: np.ndarray
    notes: tuple[str, ...]


def audit_rows(usable: Rows, count: int, *, seed: int) -> np.ndarray:
    """`count` rows (int64, ascending) drawn uniformly from `usable` (row numbers, or a boolean mask over the pool).

    Raises `EngineError` if fewer than `count` rows are usable.
    """
    return _draw(_row_numbers(usable), count, (seed, 1), "audit samples")


def choose_landmarks(usable: Rows, count: int, *, seed: int, exclude: Rows = ()) -> np.ndarray:
    """`count` landmarks (int64, ascending) drawn uniformly from `usable` without the rows of `exclude` (the audit).

    `usable` and `exclude` are row numbers or boolean masks. Raises `EngineError` if too few rows are left.
    """
    left = np.setdiff1d(_row_numbers(usable), _row_numbers(exclude))
    return _draw(left, count, (seed, 2), "landmarks")


def cover_landmarks(
    embeddings: np.ndarray,
    usable: Rows,
    count: int,
    *,
    strategy: LandmarkStrategy,
    seed: int,
    exclude: Rows = (),
    kernel: KernelName = "rbf",
    bandwidth_factor: float = 1.0,
    standardise: bool = False,
    candidates: int = CANDIDATES,
) -> Chosen:
    """`count` landmarks by `strategy` on the embeddings (n, e), which may be memory-mapped, float32 throughout.

    `k-means++` draws rows in proportion to their squared distance to those chosen, `farthest-point` takes the row
    farthest from them, `rp-cholesky` draws in proportion to the diagonal of the residual kernel (`kernel`,
    `bandwidth_factor`, `standardise` as the regression's). Large pools are covered through a uniform sample of
    `candidates` rows, fewer where memory forbids, and it is said. Identical rows count once while others remain. Rows
    of `exclude` (audit, tuning) and rows whose embedding is not finite are never chosen. Raises `EngineError` if too
    few rows are left or the strategy is unknown.
    """
    if strategy not in get_args(LandmarkStrategy):
        known = ", ".join(get_args(LandmarkStrategy))
        raise EngineError(f"strategy is {strategy!r}; it must be one of: {known}. No landmark was chosen.")
    left = np.setdiff1d(_row_numbers(usable), _row_numbers(exclude))
    if strategy == "uniform":
        rows = _draw(left, count, (seed, 2), "landmarks")
        return Chosen(rows, rows, (f"{len(rows)} landmarks drawn uniformly.",))
    rows, scaled, notes = _candidates(embeddings, left, count, seed, candidates, standardise)
    if not 0 <= count <= len(rows):
        raise EngineError(f"{count} landmarks asked for, but {len(rows)} samples can serve. Ask for 0 to {len(rows)}.")
    first, repeats = distinct(scaled)
    generator = np.random.default_rng((seed, 5))
    wanted = min(count, len(first))
    cover = _cover(strategy, scaled[first], wanted, generator, (kernel, bandwidth_factor, seed))
    picked = np.concatenate([first[cover.picks], generator.permutation(repeats)[: count - wanted]])
    if count > wanted:
        notes = (*notes, f"Only {len(first)} embeddings differ; {count - wanted} landmarks repeat one of them.")
    order = rows[picked]
    return Chosen(np.sort(order), order, (f"{count} landmarks by {strategy}.", *notes, *cover.notes))


def next_landmarks(
    variance: np.ndarray,
    count: int,
    *,
    covariance: Callable[[np.ndarray], np.ndarray],
    noise: float,
    usable: Rows,
    exclude: Rows,
    seed: int,
    shortlist: int | None = None,
) -> np.ndarray:
    """`count` rows (int64, in order of choice) whose measurement would lower the pool's variance most.

    Greedy: the row of highest posterior variance, then of highest variance *given the rows already picked*, so that
    near-duplicates are not all taken. `variance` (n,) is the regression's; `covariance(rows)` its posterior covariance
    (m, m) of pool rows, `noise` what it adds to the diagonal (`KernelRidge.covariance`, `.noise`). `exclude` must hold
    the landmarks, audit and tuning rows. The choice is made on a shortlist: half of it the highest variances, half
    drawn in proportion to variance. Rows whose variance is not finite are never chosen; fewer rows than asked for come
    back where no more can serve.
    """
    left = np.setdiff1d(_row_numbers(usable), _row_numbers(exclude))
    left = left[np.isfinite(variance[left])]
    if count < 0:
        raise EngineError(f"{count} landmarks asked for; ask for at least 0.")
    rows = _shortlist(left, variance[left], shortlist or max(4 * count, 512), np.random.default_rng((seed, 6)))
    residual = np.array(covariance(rows), dtype=np.float64) if len(rows) and count else np.zeros((0, 0))
    picks: list[int] = []
    left_over = np.diagonal(residual).copy()
    factors = np.zeros((min(count, len(rows)), len(rows)))
    for step in range(min(count, len(rows))):
        pick = int(np.argmax(left_over))
        picks.append(pick)
        gone = factors[:step]
        column = residual[pick] - gone[:, pick] @ gone
        factors[step] = column / np.sqrt(max(column[pick], 0) + noise or 1.0)
        left_over = left_over - factors[step] ** 2
        left_over[picks] = -np.inf
    return rows[np.array(picks, dtype=np.int64)]


def _shortlist(rows: np.ndarray, variance: np.ndarray, size: int, generator: np.random.Generator) -> np.ndarray:
    if len(rows) <= size:
        return rows
    order = np.argsort(-variance, kind="stable")
    top, rest = order[: size // 2], order[size // 2 :]
    weights = np.maximum(variance[rest].astype(np.float64), 0) + 1e-12
    keys = np.log(generator.random(len(rest))) / weights  # the largest are a weighted draw without replacement
    drawn = rest[np.argsort(-keys, kind="stable")[: size - len(top)]]
    return rows[np.concatenate([top, drawn])]


def _candidates(
    embeddings: np.ndarray, rows: np.ndarray, count: int, seed: int, most: int, standardise: bool
) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    """Candidate rows (c,), their centred (and standardised) embeddings (c, e) float32, and what was left out."""
    room = max(count, min(most, CANDIDATE_BYTES // (4 * (embeddings.shape[1] + count))))
    notes: tuple[str, ...] = ()
    if len(rows) > room:
        notes = (f"Landmarks were chosen among {room} of {len(rows)} samples, drawn uniformly.",)
        rows = np.sort(np.random.default_rng((seed, 4)).permutation(rows)[:room])
    taken = np.empty((len(rows), embeddings.shape[1]), dtype=np.float32)
    for start in range(0, len(rows), READ_ROWS):
        with np.errstate(over="ignore"):
            taken[start : start + READ_ROWS] = embeddings[rows[start : start + READ_ROWS]]
    finite = np.isfinite(taken).all(axis=1)
    if not finite.all():
        notes = (*notes, f"{int((~finite).sum())} samples without a finite embedding could not be landmarks.")
        rows, taken = rows[finite], taken[finite]
    if len(rows) and standardise:
        taken = scaling_of(taken, standardise=True, dtype=np.dtype(np.float32))(taken)
    return rows, taken, notes


def _cover(
    strategy: LandmarkStrategy,
    rows: np.ndarray,
    count: int,
    generator: np.random.Generator,
    settings: tuple[KernelName, float, int],
) -> Cover:
    if strategy != "rp-cholesky":
        return COVERS[strategy](rows, count, generator)
    kernel, factor, seed = settings
    if not len(rows):
        return Cover(np.zeros(0, dtype=np.int64))
    parameter = mean_squared_norm(rows) if kernel == "linear" else factor * median_distance(rows, seed=seed)[0]
    return rp_cholesky(rows, count, generator, kernel=kernel, parameter=parameter)


COVERS: dict[str, Callable[[np.ndarray, int, np.random.Generator], Cover]] = {
    "k-means++": k_means_pp,
    "farthest-point": farthest_point,
}


def _row_numbers(rows: Rows) -> np.ndarray:
    values = np.asarray(rows)
    numbers = np.flatnonzero(values) if values.dtype == bool else values.astype(np.int64)
    return np.unique(numbers)


def _draw(rows: np.ndarray, count: int, key: tuple[int, int], noun: str) -> np.ndarray:
    if not 0 <= count <= len(rows):
        raise EngineError(f"{count} {noun} asked for, but {len(rows)} samples can serve. Ask for 0 to {len(rows)}.")
    return np.sort(np.random.default_rng(key).permutation(rows)[:count])
