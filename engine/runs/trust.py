"""How a landmark run is set and how far it may be trusted: tuning, intervals and the fidelity report, as JSON values.

The tuning slice chooses the regression's settings; residuals of uniformly drawn fitted rows, each left out of the fit
in turn, calibrate the intervals; the audit slice, used for neither, judges both.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from engine.influence.distillation import Distilled, Measured
from engine.influence.fidelity import Fidelity, Measure, fidelity
from engine.influence.propagation import mapped
from engine.influence.regression import RidgeConfig
from engine.influence.scores import Combination
from engine.influence.tuning import Tuned, tune
from engine.influence.uncertainty import LEAST_ROWS, Calibration, Coverage, calibrate, coverage
from engine.runs.config import ScoreConfig


@dataclass(frozen=True)
class Setting:
    """The regression's settings, and how they were found (`tuning` None: as configured)."""

    ridge: RidgeConfig
    tuning: Tuned | None
    rows: int

    @property
    def sentence(self) -> str:
        """What was decided."""
        return "" if self.tuning is None else self.tuning.sentence

    def to_dict(self) -> dict[str, Any] | None:
        """The decision and everything that was tried, as JSON values."""
        if self.tuning is None:
            return None
        names = ("kernel", "bandwidth_factor", "ridge", "standardise")
        return {
            "sentence": self.tuning.sentence,
            "chosen": {name: getattr(self.ridge, name) for name in names},
            "default_spearman": self.tuning.default_score,
            "best_spearman": self.tuning.best_score,
            "rows": self.rows,
            "trials": [
                {**{name: getattr(trial, name) for name in names}, "spearman": trial.score}
                for trial in self.tuning.trials
            ],
        }


def tuned(
    config: ScoreConfig, features: np.ndarray, landmarks: Measured, tuning: Measured, combine: Combination
) -> Setting:
    """The regression's settings: the configured ones, or those that the tuning slice prefers clearly."""
    default = RidgeConfig(
        kernel=config.kernel,
        bandwidth_factor=config.bandwidth_factor,
        ridge=config.ridge,
        standardise=config.standardise,
        seed=config.seed,
    )
    if not config.tune or not len(tuning.rows) or not len(landmarks.rows):
        return Setting(default, None, 0)
    found = tune(
        np.asarray(features[landmarks.rows]),
        combine(landmarks.columns)[:, None],
        np.asarray(features[tuning.rows]),
        combine(tuning.columns)[:, None],
        default=default,
        seed=config.seed,
    )
    return Setting(found.config, found, len(tuning.rows))


@dataclass(frozen=True)
class Trust:
    """How far single scores may be off.

    `shown` calibrates the interval around a propagated score as it is shown and ranked (made comparable), `plain` the
    error of the plain prediction, by which a refinement goes; both None where there is too little to calibrate on.
    `arrays` are sigma, low and high (n,), empty then.
    """

    shown: Calibration | None
    plain: Calibration | None
    arrays: dict[str, np.ndarray] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def trust_in(distilled: Distilled, *, uniform: np.ndarray, combine: Combination) -> Trust:
    """Intervals calibrated on the fitted rows among `uniform`, the rows drawn uniformly from the pool."""
    if distilled.variance is None:
        said = "Intervals were not computed: the pool is too large for this many landmarks."
        return Trust(None, None, notes=(said,))
    typical = np.isin(distilled.fitted_rows, uniform)
    if typical.sum() < LEAST_ROWS:
        said = f"{int(typical.sum())} uniform samples are too few to calibrate intervals on."
        return Trust(None, None, notes=(said,))
    variance = distilled.fitted_variance[typical]
    comparable = combine(mapped(distilled.rule.left_out, distilled.maps))
    shown = calibrate(variance, (distilled.fitted_exact - comparable)[typical])
    plain = calibrate(variance, (distilled.fitted_exact - distilled.fitted_left_out)[typical])
    low, high = shown.interval(distilled.score, distilled.variance)
    arrays = {"sigma": shown.sigma(distilled.variance), "low": low, "high": high}
    exact, nothing = distilled.status == 1, distilled.status == 0
    arrays["sigma"][exact] = 0
    for name in ("low", "high"):
        arrays[name][exact] = distilled.score[exact]
    for array in arrays.values():
        array[nothing] = np.nan
    return Trust(shown, plain, arrays, shown.notes)


@dataclass(frozen=True)
class Report:
    """`fidelity` and `uncertainty` as JSON values, and sentences where they do not speak for the scores."""

    fidelity: dict[str, Any]
    uncertainty: dict[str, Any] | None
    notes: tuple[str, ...]


def report_on(
    config: ScoreConfig,
    distilled: Distilled,
    audit: Measured,
    lengths: np.ndarray,
    combine: Combination,
    trust: Trust,
) -> Report:
    """Judge a run by its audit slice; `lengths` (n,) are those of all rows in tokens."""
    found = fidelity(
        distilled.audit_exact,
        distilled.audit_estimated,
        names=distilled.sets,
        generator=np.random.default_rng((config.seed, 4)),
        lengths=lengths[audit.rows],
        combine=combine,
    )
    judged = None
    if trust.shown is not None and distilled.audit_variance is not None:
        said = combine(distilled.audit_estimated)
        judged = coverage(trust.shown, combine(audit.columns), said, distilled.audit_variance)
    described = fidelity_values(found)
    return Report(described, _uncertainty(trust, judged), (*trust.notes, *warnings_of(described, judged)))


def fidelity_values(report: Fidelity) -> dict[str, Any]:
    """A fidelity report as the summary of a run keeps it."""
    whole = {"spearman": report.spearman, "r2": report.r2, "top_overlap": report.top_overlap}
    whole |= {"length_correlation": report.length_bias, "length_correlation_exact": report.length_bias_exact}
    return {
        **{name: measure.value for name, measure in whole.items()},
        "interval": _interval(report.spearman),
        "level": report.level,
        "n": report.n,
        "left_out": report.left_out,
        "per_set": {name: _measure(measure) for name, measure in report.per_target.items()},
        "reasons": {name: measure.reason for name, measure in whole.items() if measure.reason},
    }


def _measure(measure: Measure) -> dict[str, Any]:
    return {"spearman": measure.value, "interval": _interval(measure), "n": measure.n, "reason": measure.reason}


def _interval(measure: Measure) -> list[float] | None:
    return None if measure.low is None or measure.high is None else [measure.low, measure.high]


def _uncertainty(trust: Trust, judged: Coverage | None) -> dict[str, Any] | None:
    if trust.shown is None or judged is None:
        return None
    said = (
        "no audit sample to judge by" if judged.overall is None else f"{judged.overall:.0%} of {judged.n} audit samples"
    )
    return {
        "level": judged.level,
        "coverage": judged.overall,
        "by_decile": list(judged.deciles),
        "rows_by_decile": list(judged.rows),
        "width": judged.mean_width,
        "relative_width": judged.relative_width,
        "n": judged.n,
        "calibrated_on": trust.shown.m,
        "sentence": f"{judged.level:.0%} intervals hold the exact score of {said}.",
    }


def warnings_of(report: dict[str, Any], judged: Coverage | None) -> list[str]:
    """What the report means where it does not speak for the scores."""
    value, low = report["spearman"], (report["interval"] or [None])[0]
    if value is None:
        why = report["reasons"].get("spearman", "undefined")
        return [f"The audit cannot say how far these scores can be trusted: {why}."]
    notes = []
    if low is not None and low <= 0:
        notes.append("On the audit slice the propagated scores are not distinguishable from chance: do not use them.")
    length = report["length_correlation"]
    if length is not None and abs(length) >= 0.3:
        notes.append(f"Scores follow the length of a sample: Spearman {length:+.2f} on the audit slice.")
    return notes
