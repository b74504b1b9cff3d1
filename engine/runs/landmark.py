"""The landmark method as a run: which rows are measured when, and what is fitted to what.

    audit rows      drawn first, measured, never fitted to: they judge the run and nothing else
    tuning rows     uniform, part of the landmarks' number; they choose embedding, kernel and ridge and end adaptive
                    rounds, and are fitted to once all that is settled
    landmarks       chosen uniformly or for coverage, with adaptive rounds where a fidelity is asked for
    refined rows    near the cut of the size asked for, measured until the chosen set is stable

Beside the arrays of `scoring`: `features.npy` (n, e) float32, `variance.npy` (n,) the posterior variance in units of
the kernel, and `sigma.npy`, `low.npy`, `high.npy` (n,) float32, the standard deviation of a propagated score and its
calibrated interval, in units of the score (measured rows: 0 and the score itself). `audit_rows.npy` (m,) with
`audit_exact.npy` and `audit_estimated.npy` (m, s) keep the audit for reports by any field.
"""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from engine.influence.curvature import curvature_cost
from engine.influence.distillation import Distilled, Measured, distil
from engine.influence.landmarks import audit_rows, cover_landmarks
from engine.influence.regression import RidgeConfig
from engine.models.table import TokenTable
from engine.runs.adapting import Adapted, adapt
from engine.runs.config import ScoreConfig
from engine.runs.measuring import Measurer, Targets
from engine.runs.picking import Picked, pick_embedding
from engine.runs.refining import refine_scores
from engine.runs.scored import AUDIT, LANDMARK, TUNING, Scored, reasons, spread
from engine.runs.second_order import curvature_of, target_loss
from engine.runs.trust import Trust, report_on, trust_in, tuned

UNCERTAINTY_BUDGET = 2 * 10**12  # multiplications; above, the posterior variance would cost more than the scores
COPY_ROWS = 4096


@dataclass(frozen=True)
class Slices:
    """Disjoint row numbers, ascending: audit and tuning rows; and how many landmarks are still to be chosen."""

    audit: np.ndarray
    tuning: np.ndarray
    landmarks: int


def slices_of(config: ScoreConfig, usable: np.ndarray) -> Slices:
    """The audit and the tuning rows, drawn in this order; the landmarks' number includes the tuning rows."""
    audit = audit_rows(usable, config.audit_count(len(usable)), seed=config.seed)
    count = config.tuning_count(len(usable))
    drawn = np.random.default_rng((config.seed, 5)).permutation(np.setdiff1d(usable, audit))[:count]
    return Slices(audit, np.sort(drawn), config.landmark_count(len(usable)) - count)


def score_landmark(measurer: Measurer, pool: TokenTable, usable: np.ndarray, targets: Targets) -> Scored:
    """Measure the slices and landmarks, propagate to the pool, refine, and report how far to trust it."""
    config, ledger, reporter = measurer.config, measurer.ledger, measurer.reporter
    combine, slices = measurer.combination(targets), slices_of(config, usable)
    held = np.concatenate([slices.audit, slices.tuning])
    problems: dict[int, str] = {}
    known_loss: dict[int, float] = {}

    def measured(name: str, rows: np.ndarray) -> Measured:
        found = measurer.exact(name, pool, rows, targets)
        problems.update(found.problems)
        known_loss.update(zip(rows.tolist(), found.loss.tolist()))
        return found.measured

    audit = measured("audit gradients", slices.audit)
    tuning = measured("tuning gradients", slices.tuning) if len(slices.tuning) else _none(targets)
    picked = pick_embedding(measurer, pool, tuning, combine)
    table = measurer.embeddings(picked.embedding, pool, usable)
    problems.update(table.problems)
    place = whole_file(measurer.folder.work, table.arrays["0"], usable, len(pool))
    features = np.load(place, mmap_mode="r")
    chosen = cover_landmarks(
        features,
        usable,
        slices.landmarks,
        strategy=config.landmark_choice,
        seed=config.seed,
        exclude=held,
        kernel=config.kernel,
        bandwidth_factor=config.bandwidth_factor,
        standardise=config.standardise,
    )
    first = measured("landmark gradients", chosen.rows)
    with ledger.part("tuning"):
        setting = tuned(config, features, first, tuning, combine)
    adapted = adapt(
        config,
        features,
        first,
        tuning,
        ridge=setting.ridge,
        combine=combine,
        usable=usable,
        exclude=held,
        measure=lambda number, rows: measured(f"landmark gradients, round {number + 1}", rows),
    )
    fitted = adapted.landmarks + tuning
    with ledger.part("propagation"):
        distilled = distil(
            features,
            landmarks=fitted,
            audit=audit,
            sets=targets.names,
            usable=pool.response_lengths > 0,
            config=setting.ridge,
            combine=combine,
            uncertainty=len(pool) * len(fitted.rows) ** 2 <= UNCERTAINTY_BUDGET,
            reporter=reporter,
        )
    trust = trust_in(distilled, uniform=_uniform_rows(config, first, tuning), combine=combine)
    report = report_on(config, distilled, audit, pool.lengths, combine, trust)
    loss = _losses(picked.embedding.knows_loss, table.arrays["1"], usable, len(pool), known_loss)
    scored = _scored(distilled, trust, loss, place)
    refinement = refine_scores(config, scored, features, fitted, distilled, trust, combine, measured, setting.ridge)
    if config.curvature:
        _add_curvature(scored, measurer, pool, first, features, setting.ridge, targets)
    scored.arrays |= {"audit_rows": audit.rows, "audit_exact": distilled.audit_exact}
    scored.arrays["audit_estimated"] = distilled.audit_estimated
    _mark(scored, landmarks=adapted.landmarks.rows, tuning=tuning.rows, audit=audit.rows)
    scored.summary |= {
        "fidelity": report.fidelity,
        "uncertainty": report.uncertainty,
        "embedding": picked.to_dict(),
        "landmark_choice": {"strategy": config.landmark_choice, "notes": list(chosen.notes)},
        "tuning": setting.to_dict(),
        "adaptive": adapted.to_dict(),
        "refinement": refinement,
        "comparable": [asdict_map(each) for each in distilled.maps],
        "ridge": asdict(setting.ridge),
    }
    scored.notes += _notes(picked, chosen.notes, setting.sentence, adapted, distilled, report.notes)
    scored.problems = reasons(problems)
    return scored


def _add_curvature(
    scored: Scored,
    measurer: Measurer,
    pool: TokenTable,
    landmarks: Measured,
    features: np.ndarray,
    ridge: RidgeConfig,
    targets: Targets,
) -> None:
    """Q_L and C over the first landmarks, in the order of a seeded draw, as files and notes of the run."""
    config = measurer.config
    drawn = np.random.default_rng((config.seed, 8)).permutation(landmarks.fittable(features).rows)[: config.curvature]
    items = [np.asarray(targets.items[name]) for name in targets.names]
    weights = list(config.set_weights(targets.names).values())
    items_tokens = sum(int(table.lengths[rows].sum()) for table, rows in zip(measurer.tables, items))
    cost = curvature_cost(
        measurer.parameters.sites,
        landmarks=len(drawn),
        landmark_tokens=int(pool.lengths[drawn].sum()),
        target_tokens=items_tokens,
    )
    count = len(drawn)
    with measurer.ledger.part("curvature", rows=count, tokens=count * items_tokens, flops=cost.flops):
        loss = target_loss(measurer.lm, config, measurer.parameters, measurer.tables, items, weights)
        found = curvature_of(
            measurer.lm,
            config,
            measurer.parameters,
            loss,
            pool,
            np.sort(drawn),
            features,
            ridge,
            measurer.reporter,
        )
    scored.arrays |= {"curvature": found.core, "coefficients": found.coefficients}
    scored.summary["curvature"] = {"landmarks": len(found.rows), "form": config.curvature_form, "eta": found.eta}
    scored.notes += found.notes


def whole_file(folder: Path, values: np.ndarray, rows: np.ndarray, n: int) -> Path:
    """A file of `values` (m, e) in their rows of (n, e), NaN elsewhere; the values' own file where they are all."""
    own = getattr(values, "filename", None)
    if len(rows) == n and own is not None:
        return Path(own)
    place = folder / "features.npy"
    whole = np.lib.format.open_memmap(place, mode="w+", dtype=np.float32, shape=(n, values.shape[1]))
    whole[:] = np.nan
    for start in range(0, len(rows), COPY_ROWS):
        whole[rows[start : start + COPY_ROWS]] = values[start : start + COPY_ROWS]
    whole.flush()
    return place


def _none(targets: Targets) -> Measured:
    return Measured.none(len(targets.names), len(targets.grads))


def _uniform_rows(config: ScoreConfig, landmarks: Measured, tuning: Measured) -> np.ndarray:
    """The fitted rows that are a uniform draw from the pool, whose left-out residuals are typical of it."""
    uniform = config.landmark_choice == "uniform"
    return np.concatenate([landmarks.rows, tuning.rows]) if uniform else tuning.rows


def _losses(complete: bool, found: np.ndarray, usable: np.ndarray, n: int, measured: dict[int, float]) -> np.ndarray:
    """Response losses (n,): of every usable row where the embedding tells them, else of the measured rows alone."""
    loss = spread(np.asarray(found), usable, n)
    if not complete:
        loss[:] = np.nan
        loss[list(measured)] = list(measured.values())
    return loss


def _scored(distilled: Distilled, trust: Trust, loss: np.ndarray, features: Path) -> Scored:
    arrays = {
        "score": distilled.score,
        "columns": distilled.columns,
        "matrix": distilled.matrix,
        "status": distilled.status,
        "roles": np.zeros(len(distilled.score), np.uint8),
        "loss": loss,
    }
    if distilled.variance is not None:
        arrays["variance"] = distilled.variance
    return Scored(arrays | trust.arrays, files={"features.npy": features})


def _mark(scored: Scored, *, landmarks: np.ndarray, tuning: np.ndarray, audit: np.ndarray) -> None:
    roles = scored.arrays["roles"]
    for rows, role in ((landmarks, LANDMARK), (tuning, LANDMARK | TUNING), (audit, AUDIT)):
        roles[rows] |= role


def asdict_map(each: Any) -> dict[str, Any]:
    """The coefficients of one column as JSON values."""
    return {
        "set": each.name,
        "slope": each.slope,
        "intercept": each.intercept,
        "correlation": each.correlation,
        "reason": each.reason,
    }


def _notes(
    picked: Picked,
    chosen: tuple[str, ...],
    sentence: str,
    adapted: Adapted,
    distilled: Distilled,
    trust: tuple[str, ...],
) -> list[str]:
    said = [*picked.notes, *chosen, sentence, adapted.note, *distilled.notes, *trust]
    return [note for note in said if note]
