"""Scoring a frozen pool from its job folder: `input/` token tables become `output/` arrays. Torch and numpy alone.

    output/score.npy      (n,) float32, the run's aggregate: the mean over the target sets; higher is better
    output/columns.npy    (n, s) float32, one per target set in the order of summary["sets"]
    output/matrix.npy     (n, t) float32, one per usable target item, for a round robin
    output/status.npy     (n,) uint8: 0 unscorable, 1 exact, 2 propagated
    output/roles.npy      (n,) uint8 flags, see `ROLES`
    output/loss.npy       (n,) float32 mean response loss in nats; NaN where unknown
    output/variance.npy   (n,) float32 posterior variance of propagated rows in units of the kernel (landmark only)
    output/problems.json  why rows have no score
    output/summary.json   written last

The audit slice is drawn first, measured exactly, and used for nothing but the fidelity report.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from engine.errors import EngineError
from engine.influence.distillation import Distilled, distil
from engine.influence.fidelity import Fidelity, Measure, fidelity
from engine.influence.landmarks import audit_rows, choose_landmarks
from engine.influence.regression import RidgeConfig
from engine.influence.scores import columns_of, over_sets, status_of
from engine.models.table import TokenTable
from engine.progress import Reporter
from engine.runs.config import ScoreConfig
from engine.runs.jobfolder import JobFolder, write_json
from engine.runs.measuring import NO_GRADIENT, Measurer, Targets, prepare_model
from engine.store.artifacts import read_json

LANDMARK, AUDIT, WARM_UP, TRUNCATED = 1, 2, 4, 8
ROLES = {LANDMARK: "landmark", AUDIT: "audit", WARM_UP: "used for the warm-up", TRUNCATED: "cut to the model's length"}
KEPT_PROBLEMS = 1000
UNCERTAINTY_BUDGET = 2 * 10**12  # multiplications; above, the posterior variance would cost more than the scores


@dataclass
class Scored:
    """What a method found: `arrays` over the pool by file name, and what the summary tells of them."""

    arrays: dict[str, np.ndarray]
    sets: list[dict[str, Any]] = field(default_factory=list)
    fidelity: dict[str, Any] | None = None
    maps: list[dict[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    problems: dict[str, str] = field(default_factory=dict)


class Clock:
    """Wall seconds of each named part of a run (only of this process, where a run was resumed)."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Count the block's time under `name`."""
        start = time.perf_counter()
        yield
        self.seconds[name] = round(self.seconds.get(name, 0.0) + time.perf_counter() - start, 3)


def run_score(folder: JobFolder, reporter: Reporter) -> None:
    """Score the pool of `folder` as its specification says, from a complete `input/` to a complete `output/`.

    Raises `EngineError` where a target set or the landmarks have nothing to score with; nothing is written then.
    """
    config = ScoreConfig.from_dict(folder.spec["config"])
    clock = Clock()
    if config.method == "random":
        scored = score_random(folder.spec["rows"], config)
    else:
        scored = _score_with_model(folder, config, clock, reporter)
    _write(folder, config, scored, clock)


def score_random(rows: int, config: ScoreConfig) -> Scored:
    """Uniform scores in [0, 1), fixed by the seed: the baseline. Every row counts as scored exactly."""
    score = np.random.default_rng((config.seed, 0)).random(rows, dtype=np.float32)
    arrays: dict[str, np.ndarray] = {
        "score": score,
        "columns": np.zeros((rows, 0), np.float32),
        "matrix": np.zeros((rows, 0), np.float32),
        "status": np.ones(rows, np.uint8),
        "roles": np.zeros(rows, np.uint8),
        "loss": np.full(rows, np.nan, np.float32),
    }
    return Scored(arrays, notes=["Random scores: they say nothing about the rows and serve as the baseline."])


def _score_with_model(folder: JobFolder, config: ScoreConfig, clock: Clock, reporter: Reporter) -> Scored:
    pool = TokenTable.load(folder.input / "pool")
    named = read_json(folder.input / "targets.json")
    tables = [(s["name"], TokenTable.load(folder.input / "targets" / str(i))) for i, s in enumerate(named)]
    usable = np.flatnonzero(pool.response_lengths > 0)
    if not len(usable):
        reasons = "; ".join(sorted(set(pool.problems.values()))[:3])
        raise EngineError(f"No row of the pool can be scored by this model ({reasons}). Nothing was scored.")
    config.landmark_count(len(usable))
    with clock.part("model and warm-up"):
        lm, warmed = prepare_model(folder, config, pool, reporter)
    measurer = Measurer(folder, lm, config, reporter)
    with clock.part("target gradients"):
        targets = measurer.targets(tables)
    score = _exact if config.method == "exact" else _landmark
    scored = score(measurer, pool, usable, targets, clock)
    roles = scored.arrays["roles"]
    roles[pool.truncated] |= TRUNCATED
    if warmed is not None:
        roles[np.asarray(warmed.rows)] |= WARM_UP
        scored.notes.append(f"The model was first trained on {len(warmed.rows)} rows of the pool; they are marked.")
    scored.notes[:0] = [*lm.notes, *_honest_notes(folder)]
    scored.sets = [_set_summary(s, targets) for s in named]
    scored.problems = {**{str(row): reason for row, reason in pool.problems.items()}, **scored.problems}
    if targets.problems:
        scored.notes.append(f"{len(targets.problems)} target items could not be used: {_some(targets.problems)}.")
    return scored


def _exact(measurer: Measurer, pool: TokenTable, usable: np.ndarray, targets: Targets, clock: Clock) -> Scored:
    config, n = measurer.config, len(pool)
    with clock.part("exact gradients"):
        table = measurer.exact("exact gradients", pool, usable, targets)
    values = table.arrays["values"]
    matrix, loss = _spread(values[:, :-1], usable, n), _spread(values[:, -1], usable, n)
    columns = columns_of(matrix, targets.sets, aggregate=config.aggregate)
    score = over_sets(columns)
    arrays = {
        "score": score,
        "columns": columns,
        "matrix": matrix,
        "status": status_of(score, usable),
        "roles": np.zeros(n, np.uint8),
        "loss": loss,
    }
    return Scored(arrays, problems=_reasons(table.problems))


def _landmark(measurer: Measurer, pool: TokenTable, usable: np.ndarray, targets: Targets, clock: Clock) -> Scored:
    config, n = measurer.config, len(pool)
    audit = audit_rows(usable, config.audit_count(len(usable)), seed=config.seed)
    landmarks = choose_landmarks(usable, config.landmark_count(len(usable)), seed=config.seed, exclude=audit)
    with clock.part("landmark gradients"):
        exact = measurer.exact("landmark gradients", pool, landmarks, targets)
    with clock.part("audit gradients"):
        audited = measurer.exact("audit gradients", pool, audit, targets)
    with clock.part("embeddings"):
        embedded, embedding_notes = measurer.embeddings(pool, usable)
    features = _spread(embedded.arrays["values"][:, :-1], usable, n)
    with clock.part("propagation"):
        distilled = distil(
            features,
            landmark_rows=landmarks,
            landmark_scores=exact.arrays["values"][:, :-1],
            audit_rows=audit,
            audit_scores=audited.arrays["values"][:, :-1],
            sets=targets.sets,
            usable=pool.response_lengths > 0,
            config=RidgeConfig(
                kernel=config.kernel, ridge=config.ridge, standardise=config.standardise, seed=config.seed
            ),
            aggregate=config.aggregate,
            keep_matrix=True,
            uncertainty=n * len(landmarks) ** 2 <= UNCERTAINTY_BUDGET,
            reporter=measurer.reporter,
        )
    report = _fidelity(distilled, audit, pool, config)
    notes = [*embedding_notes, *distilled.notes, *_trust_notes(report)]
    problems = _reasons(exact.problems) | _reasons(audited.problems) | _reasons(embedded.problems)
    roles = np.zeros(n, np.uint8)
    roles[landmarks] |= LANDMARK
    roles[audit] |= AUDIT
    arrays = {
        "score": distilled.score,
        "columns": distilled.columns,
        "matrix": distilled.matrix if distilled.matrix is not None else np.zeros((n, 0), np.float32),
        "status": distilled.status,
        "roles": roles,
        "loss": _spread(embedded.arrays["values"][:, -1], usable, n),
        "features": features,
    }
    if distilled.variance is not None:
        arrays["variance"] = distilled.variance
    else:
        notes.append(
            "The uncertainty of propagated scores was not computed: the pool is too large for this many landmarks."
        )
    maps = [
        {"set": m.name, "slope": m.slope, "intercept": m.intercept, "correlation": m.correlation, "reason": m.reason}
        for m in distilled.maps
    ]
    return Scored(arrays, fidelity=report, maps=maps, notes=notes, problems=problems)


def _fidelity(distilled: Distilled, audit: np.ndarray, pool: TokenTable, config: ScoreConfig) -> dict[str, Any]:
    report: Fidelity = fidelity(
        distilled.audit_exact,
        distilled.audit_estimated,
        names=distilled.sets,
        generator=np.random.default_rng((config.seed, 4)),
        lengths=pool.lengths[audit],
    )
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


def _trust_notes(report: dict[str, Any]) -> list[str]:
    """What the report means where it does not speak for the scores."""
    value, low = report["spearman"], (report["interval"] or [None])[0]
    if value is None:
        why = report["reasons"].get("spearman", "undefined")
        return [f"The audit cannot say how far these scores can be trusted: {why}."]
    if low is not None and low <= 0:
        return ["On the audit slice the propagated scores are not distinguishable from chance: do not rely on them."]
    return []


def _honest_notes(folder: JobFolder) -> list[str]:
    if folder.spec["model"]["kind"] != "builtin":
        return []
    return ["Scored with the built-in model: its scores need not transfer to the model you will train."]


def _set_summary(named: dict[str, Any], targets: Targets) -> dict[str, Any]:
    return {"name": named["name"], "rows": named["rows"], "items": targets.items[named["name"]]}


def _spread(values: np.ndarray, rows: np.ndarray, n: int) -> np.ndarray:
    """Values (m, …) of `rows` placed into (n, …) float32, NaN elsewhere."""
    whole = np.full((n, *values.shape[1:]), np.nan, dtype=np.float32)
    whole[rows] = values
    return whole


def _reasons(problems: Any) -> dict[str, str]:
    return {str(row): reason for row, reason in problems.items()}


def _some(problems: dict[str, str]) -> str:
    shown = [f"{name} ({reason})" for name, reason in list(problems.items())[:3]]
    return "; ".join(shown) + (", …" if len(problems) > 3 else "")


def _write(folder: JobFolder, config: ScoreConfig, scored: Scored, clock: Clock) -> None:
    for name, array in scored.arrays.items():
        np.save(folder.output / f"{name}.npy", array)
    status = scored.arrays["status"]
    unscorable = {row: scored.problems.get(str(row), NO_GRADIENT) for row in np.flatnonzero(status == 0).tolist()}
    write_json(folder.output / "problems.json", {str(row): reason for row, reason in unscorable.items()})
    kept = dict(list(unscorable.items())[:KEPT_PROBLEMS])
    summary = {
        "method": config.method,
        "unit": config.unit if config.method != "random" else "random number in [0, 1)",
        "sign": "higher is better",
        "model": folder.spec.get("model"),
        "aggregate": f"mean over target sets of the {config.aggregate} over items",
        "norm": "projected gradient",
        "parameter_set": "linear weights of the transformer blocks",
        "conditioning": "plain",
        "sets": scored.sets,
        "counts": {
            "exact": int((status == 1).sum()),
            "propagated": int((status == 2).sum()),
            "unscorable": int((status == 0).sum()),
        },
        "fidelity": scored.fidelity,
        "comparable": scored.maps,
        "notes": scored.notes,
        "phases": clock.seconds,
        "problems": {str(row): reason for row, reason in kept.items()},
    }
    write_json(folder.output / "summary.json", summary)
