"""How far propagated scores can be trusted: measured on the audit slice, which nothing was fitted on.

Notation. m audit rows, s columns (one per target set); `exact` and `estimated` are (m, s). The overall figures compare
the combinations of the columns, their mean unless said. Every figure is a `Measure`: a value, where asked for a 90 %
percentile bootstrap interval over rows, or None with the reason why it is undefined (too few rows, a constant column)
— never a number that stands in for one. R² is 1 − Σ(exact − estimated)² / Σ(exact − mean)²; below 0 is worse than the
mean.

Measures what it is given; it neither draws the slice nor corrects anything.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from math import ceil
from typing import Any

import numpy as np
from scipy.stats import rankdata

from engine.errors import EngineError
from engine.influence.scores import Combination

LEVEL = 0.9
LEAST_ROWS = 3  # below, a rank correlation says nothing
LEAST_TOP_ROWS = 10
LEAST_GROUP_ROWS = 8


@dataclass(frozen=True)
class Measure:
    """A figure over n rows; `value` None means undefined, and `reason` then says why.

    `low` and `high` bound the 90 % interval where one was asked for and could be had.
    """

    value: float | None
    n: int
    low: float | None = None
    high: float | None = None
    reason: str = ""


@dataclass(frozen=True)
class Fidelity:
    """Exact against propagated scores on the audit slice; `left_out` counts its rows that have no score.

    `length_bias` is the Spearman correlation of the estimated aggregate with the rows' lengths, `length_bias_exact`
    that of the exact one: a large value means that scores follow length.
    """

    n: int
    left_out: int
    spearman: Measure
    per_target: dict[str, Measure]
    r2: Measure
    top_overlap: Measure
    length_bias: Measure
    length_bias_exact: Measure
    level: float = LEVEL

    def to_dict(self) -> dict[str, Any]:
        """All figures as JSON values."""
        return asdict(self)


def fidelity(
    exact: np.ndarray,
    estimated: np.ndarray,
    *,
    names: Sequence[str],
    generator: np.random.Generator,
    lengths: np.ndarray | None = None,
    combine: Combination | None = None,
    top: float = 0.1,
    resamples: int = 1000,
) -> Fidelity:
    """The fidelity report of estimated (m, s) against exact (m, s) columns named `names`.

    `combine` joins the columns (their mean by default). `lengths` (m,) are the rows' lengths in tokens. `generator`
    drives the bootstrap. Rows that are not finite in either matrix are left out and counted. Raises `EngineError` for
    shapes that do not match.
    """
    if exact.shape != estimated.shape or exact.ndim != 2 or exact.shape[1] != len(names):
        raise EngineError(
            f"Fidelity compares two matrices with a column per name; got {exact.shape}, {estimated.shape} and "
            f"{len(names)} names."
        )
    good = np.isfinite(exact).all(axis=1) & np.isfinite(estimated).all(axis=1)
    exact, estimated = np.asarray(exact[good], np.float64), np.asarray(estimated[good], np.float64)
    combine = combine or Combination()
    truth, guess = combine(exact), combine(estimated)
    draws = generator.integers(0, max(len(exact), 1), (resamples, len(exact)))  # (resamples, m)
    kept = None if lengths is None else np.asarray(lengths)[good]
    return Fidelity(
        n=len(exact),
        left_out=int((~good).sum()),
        spearman=spearman(truth, guess, draws=draws),
        per_target={name: spearman(exact[:, j], estimated[:, j], draws=draws) for j, name in enumerate(names)},
        r2=determination(truth, guess),
        top_overlap=top_overlap(truth, guess, top=top),
        length_bias=_length_bias(guess, kept),
        length_bias_exact=_length_bias(truth, kept),
    )


def spearman(first: np.ndarray, second: np.ndarray, *, draws: np.ndarray | None = None) -> Measure:
    """Spearman rank correlation (ties averaged) of two (m,) arrays of finite values.

    `draws` (resamples, m) are row numbers; with them the measure carries its percentile bootstrap interval.
    """
    n = len(first)
    if n < LEAST_ROWS:
        return Measure(None, n, reason=f"{n} samples are too few for a rank correlation")
    for name, values in (("first", first), ("second", second)):
        if np.ptp(values) == 0:
            return Measure(None, n, reason=f"the {name} of the two is constant")
    value = float(_rank_correlations(first[None], second[None])[0])
    low, high = (None, None) if draws is None else _interval(_rank_correlations(first[draws], second[draws]))
    return Measure(value, n, low, high)


def _rank_correlations(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Spearman of every row of two (r, m) arrays, NaN where one of them is constant."""
    a = rankdata(first, axis=1)
    b = rankdata(second, axis=1)
    a -= a.mean(axis=1, keepdims=True)
    b -= b.mean(axis=1, keepdims=True)
    scale = np.sqrt((a * a).sum(axis=1) * (b * b).sum(axis=1))
    return np.divide((a * b).sum(axis=1), scale, out=np.full(len(a), np.nan), where=scale > 0)


def _interval(values: np.ndarray) -> tuple[float | None, float | None]:
    """The central 90 % of the defined resamples; none where under half of them are defined."""
    defined = values[np.isfinite(values)]
    if 2 * len(defined) < max(len(values), 1):
        return None, None
    low, high = np.quantile(defined, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def determination(truth: np.ndarray, guess: np.ndarray) -> Measure:
    """R² of a guess (m,) at the truth (m,); undefined for a constant truth or under three rows."""
    n = len(truth)
    if n < LEAST_ROWS:
        return Measure(None, n, reason=f"{n} samples are too few")
    if np.ptp(truth) == 0:
        return Measure(None, n, reason="the exact scores are constant")
    truth, guess = truth.astype(np.float64), guess.astype(np.float64)
    return Measure(float(1 - ((truth - guess) ** 2).sum() / ((truth - truth.mean()) ** 2).sum()), n)


def top_overlap(truth: np.ndarray, guess: np.ndarray, *, top: float = 0.1) -> Measure:
    """The share of the truth's best `top` (a fraction, rounded up to whole rows) found among the guess's best.

    Ties at the cut go to the earlier row. By chance it is about `top`. Undefined for constants or under ten rows.
    """
    n = len(truth)
    if n < LEAST_TOP_ROWS:
        return Measure(None, n, reason=f"{n} samples are too few for a top {top:.0%}")
    for name, values in (("exact", truth), ("estimated", guess)):
        if np.ptp(values) == 0:
            return Measure(None, n, reason=f"the {name} scores are constant")
    k = ceil(top * n)
    best = [set(np.argsort(-values, kind="stable")[:k].tolist()) for values in (truth, guess)]
    return Measure(len(best[0] & best[1]) / k, n)


def _length_bias(scores: np.ndarray, lengths: np.ndarray | None) -> Measure:
    if lengths is None:
        return Measure(None, len(scores), reason="no lengths were given")
    measure = spearman(scores, lengths.astype(np.float64))
    named = measure.reason.replace("first of the two is", "scores are").replace("second of the two is", "lengths are")
    return Measure(measure.value, measure.n, reason=named)


@dataclass(frozen=True)
class WithinGroups:
    """Spearman inside each group, and their unweighted mean over the groups where it is defined."""

    mean: Measure
    groups: dict[str, Measure]


def within_groups(
    truth: np.ndarray, guess: np.ndarray, groups: Sequence[object] | np.ndarray, *, least: int = LEAST_GROUP_ROWS
) -> WithinGroups:
    """Spearman of guess (m,) and truth (m,) inside each group of `groups` (m,), for reports.

    It shows whether scores order rows beyond telling the groups apart. Rows that are not finite are left out; groups
    of fewer than `least` rows are undefined.
    """
    good = np.isfinite(truth) & np.isfinite(guess)
    labels = np.array([str(group) for group in groups], dtype=object)
    measures = {name: _within(truth, guess, good & (labels == name), least) for name in sorted(set(labels[good]))}
    defined = [measure.value for measure in measures.values() if measure.value is not None]
    if not defined:
        return WithinGroups(Measure(None, int(good.sum()), reason="no group has enough samples that differ"), measures)
    return WithinGroups(Measure(float(np.mean(defined)), int(good.sum())), measures)


def _within(truth: np.ndarray, guess: np.ndarray, rows: np.ndarray, least: int) -> Measure:
    n = int(rows.sum())
    if n < least:
        return Measure(None, n, reason=f"{n} samples; at least {least} are needed")
    return spearman(truth[rows], guess[rows])
