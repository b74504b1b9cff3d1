"""Scoring a frozen pool from its job folder: `input/` token tables become `output/` arrays. Torch and numpy alone.

    output/score.npy      (n,) float32, the run's score: the combination of the target sets; higher is better
    output/columns.npy    (n, s) float32, one per target set in the order of summary["sets"]
    output/matrix.npy     (n, t) float32, one per usable target item, for a round robin (none: no item scores)
    output/status.npy     (n,) uint8: 0 unscorable, 1 exact, 2 propagated
    output/roles.npy      (n,) uint8 flags, see `scored.ROLES`
    output/loss.npy       (n,) float32 mean response loss in nats; NaN where unknown
    output/problems.json  why rows have no score
    output/summary.json   written last

The landmark method adds what `landmark` says. The audit slice is drawn first, measured exactly, and used for nothing
but the fidelity report.
"""

import os
import shutil
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from engine.errors import EngineError
from engine.influence.functions.base import Passes
from engine.influence.scores import status_of
from engine.models.table import TokenTable
from engine.models.warmup import warm_up_rows
from engine.progress import Reporter
from engine.runs.by_function import priced, score_by_function
from engine.runs.config import ScoreConfig, preset_of
from engine.runs.costs import time_operations
from engine.runs.functions import Materials
from engine.runs.jobfolder import JobFolder, write_json
from engine.runs.landmark import score_landmark
from engine.runs.ledger import Ledger
from engine.runs.measuring import NO_GRADIENT, Measurer, Targets
from engine.runs.methods import needs_model
from engine.runs.networks import score_by_network
from engine.runs.parameters import Parameters, parameters_of
from engine.runs.scored import TRUNCATED, WARM_UP, Scored, reasons, spread
from engine.runs.warming import prepare_model
from engine.store.artifacts import read_json

KEPT_PROBLEMS = 1000
UNITS = {
    "delift": "fall of the distance from certainty",
    "delift-se": "cosine of sentence embeddings",
    "less": "cosine of gradients over checkpoints",
    "selectit": "rating",
    "rds": "cosine of hidden states",
}
SAMPLE_ROWS = 128  # rows that the device's speed is measured on


def run_score(folder: JobFolder, reporter: Reporter) -> None:
    """Score the pool of `folder` as its specification says, from a complete `input/` to a complete `output/`.

    Raises `EngineError` where a target set or the landmarks have nothing to score with; nothing is written then.
    """
    config = ScoreConfig.from_dict(folder.spec["config"])
    ledger = Ledger(config)
    if config.method == "random":
        scored = score_random(folder.spec["rows"], config)
    elif config.function is not None:
        scored = _score_by_function(folder, config, ledger, reporter)
    else:
        scored = _score_by_gradients(folder, config, ledger, reporter)
    _write(folder, config, scored, ledger)


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
    return Scored(arrays, notes=["Random scores: they say nothing about the samples and serve as the baseline."])


def _score_by_gradients(folder: JobFolder, config: ScoreConfig, ledger: Ledger, reporter: Reporter) -> Scored:
    pool = TokenTable.load(folder.input / "pool")
    named = read_json(folder.input / "targets.json")
    config.set_weights([s["name"] for s in named])  # refuses weights of unknown sets before anything is measured
    tables = [(s["name"], TokenTable.load(folder.input / "targets" / str(i))) for i, s in enumerate(named)]
    usable = np.flatnonzero(pool.response_lengths > 0)
    _refuse_none(pool, usable)
    config.landmark_count(len(usable))
    began = time.perf_counter()
    with ledger.part("model and warm-up"):
        lm, warmed = prepare_model(folder, config, pool, reporter)
        parameters = parameters_of(lm, config, warmed)
    with ledger.part("timing this device"):
        sample = np.random.default_rng((config.seed, 6)).permutation(usable)[:SAMPLE_ROWS]
        loading = time.perf_counter() - began
        ledger.speed = time_operations(lm, pool, sample, config, parameters, sets=len(named), loading=loading)
    measurer = Measurer(folder, lm, config, parameters, ledger, reporter)
    targets = measurer.targets(tables)
    scored = SCORERS[config.method](measurer, pool, usable, targets)
    roles = scored.arrays["roles"]
    roles[pool.truncated] |= TRUNCATED
    if warmed is not None:
        roles[np.asarray(warmed.rows)] |= WARM_UP
        scored.notes.append(f"The model was first trained on {len(warmed.rows)} samples of the pool; they are marked.")
    scored.notes[:0] = [*lm.notes, *parameters.notes, *_honest_notes(folder, config, named)]
    scored.summary |= _shared_summary(config, named, targets, parameters)
    scored.problems = {**{str(row): reason for row, reason in pool.problems.items()}, **scored.problems}
    if targets.problems:
        scored.notes.append(f"{len(targets.problems)} target items could not be used: {_some(targets.problems)}.")
    return scored


def _score_by_function(folder: JobFolder, config: ScoreConfig, ledger: Ledger, reporter: Reporter) -> Scored:
    """An influence function, or the network that learns one."""
    job = Materials(folder, config, reporter)
    config.set_weights([each.name for each in job.sets])  # refuses weights of unknown sets before anything is run
    modelled = needs_model(config.method, config.teacher)
    if modelled:
        _refuse_none(job.pool, job.usable)
        _time(job, ledger)
    if config.function == "less":
        slice_ = warm_up_rows(job.pool, job.lora_config)
        tokens = config.warm_up_epochs * int(job.pool.lengths[slice_].sum())
        passes = Passes(backward=config.warm_up_epochs * len(slice_), tokens=tokens)
        with ledger.part("LoRA warm-up", **priced(ledger, passes, rows=len(slice_) * config.warm_up_epochs)):
            _ = job.lora
    scored = score_by_network(job, ledger) if config.method == "network" else score_by_function(job, ledger)
    roles, notes = scored.arrays["roles"], []
    if modelled:
        roles[job.pool.truncated] |= TRUNCATED
        notes = list(job.lm.notes)
        scored.problems |= {str(row): reason for row, reason in job.pool.problems.items()}
        seen = job.trained_on()
        roles[seen] |= WARM_UP
        if len(seen):
            scored.notes.append(f"The model was first trained on {len(seen)} samples of the pool; they are marked.")
    named = [{"name": each.name} for each in job.sets]
    scored.notes[:0] = [*notes, *_honest_notes(folder, config, named)]
    if config.function == "exact":
        scored.notes += list(job.parameters.notes)
    return scored


def _time(job: Materials, ledger: Ledger) -> None:
    """Load the model and time this device, so that phases can be compared with what was predicted."""
    began, config = time.perf_counter(), job.config
    with ledger.part("model and warm-up"):
        lm, parameters = job.lm, job.parameters
    with ledger.part("timing this device"):
        sample = np.random.default_rng((config.seed, 6)).permutation(job.usable)[:SAMPLE_ROWS]
        loading = time.perf_counter() - began
        ledger.speed = time_operations(lm, job.pool, sample, config, parameters, sets=1, loading=loading)


def _refuse_none(pool: TokenTable, usable: np.ndarray) -> None:
    if not len(usable):
        found = "; ".join(sorted(set(pool.problems.values()))[:3])
        raise EngineError(f"No sample of the pool can be scored by this model ({found}). Nothing was scored.")


def _exact(measurer: Measurer, pool: TokenTable, usable: np.ndarray, targets: Targets) -> Scored:
    found, n = measurer.exact("exact gradients", pool, usable, targets), len(pool)
    columns = spread(found.measured.columns, usable, n)
    score = measurer.combination(targets)(columns)
    arrays = {
        "score": score,
        "columns": columns,
        "matrix": spread(found.measured.items, usable, n),
        "status": status_of(score, usable),
        "roles": np.zeros(n, np.uint8),
        "loss": spread(found.loss, usable, n),
    }
    return Scored(arrays, problems=reasons(found.problems))


def _directional(measurer: Measurer, pool: TokenTable, usable: np.ndarray, targets: Targets) -> Scored:
    """Inner products with the target directions; with the unit cosine these are not divided by the rows' norms."""
    table, notes = measurer.directional(pool, usable, targets)
    n = len(pool)
    columns = spread(table.arrays["0"], usable, n)
    score = measurer.combination(targets)(columns)
    arrays = {
        "score": score,
        "columns": columns,
        "matrix": np.zeros((n, 0), np.float32),
        "status": status_of(score, usable),
        "roles": np.zeros(n, np.uint8),
        "loss": spread(table.arrays["1"], usable, n),
    }
    return Scored(arrays, notes=list(notes), problems=reasons(table.problems))


SCORERS: dict[str, Callable[[Measurer, TokenTable, np.ndarray, Targets], Scored]] = {
    "landmark": score_landmark,
    "exact": _exact,
    "directional": _directional,
}


def _honest_notes(folder: JobFolder, config: ScoreConfig, named: list[dict[str, Any]]) -> list[str]:
    notes = []
    if (folder.spec.get("model") or {}).get("kind") == "builtin":
        notes.append("Scored with the built-in model: its scores need not transfer to the model you will train.")
    weights = config.set_weights([s["name"] for s in named])
    if any(weight != 1 for weight in weights.values()):
        said = ", ".join(f"{name} {weight:+g}" for name, weight in weights.items())
        notes.append(f"Target sets are weighted ({said}); a negative weight counts against a sample.")
    return notes


def _shared_summary(
    config: ScoreConfig, named: list[dict[str, Any]], targets: Targets, parameters: Parameters
) -> dict[str, Any]:
    weights = config.set_weights(targets.names)
    sets = [{**s, "items": targets.items[s["name"]], "weight": weights[s["name"]]} for s in named]
    norm = "none" if config.method == "directional" or config.unit == "inner-product" else "true gradient"
    count = sum(site.weight.numel() for site in parameters.sites)
    return {
        "sets": sets,
        "norm": norm,
        "conditioning": config.conditioning,
        "parameter_set": f"{count:,} weights of {len(parameters.sites)} layers",
        "eta": parameters.eta,
    }


def _some(problems: dict[str, str]) -> str:
    shown = [f"{name} ({reason})" for name, reason in list(problems.items())[:3]]
    return "; ".join(shown) + (", …" if len(problems) > 3 else "")


def _write(folder: JobFolder, config: ScoreConfig, scored: Scored, ledger: Ledger) -> None:
    for name, array in scored.arrays.items():
        np.save(folder.output / f"{name}.npy", array)
    for name, source in scored.files.items():
        place = folder.output / name
        place.unlink(missing_ok=True)
        try:
            os.link(source, place)
        except OSError:  # a file system without links
            shutil.copy2(source, place)
    status = scored.arrays["status"]
    unscorable = {row: scored.problems.get(str(row), NO_GRADIENT) for row in np.flatnonzero(status == 0).tolist()}
    write_json(folder.output / "problems.json", {str(row): reason for row, reason in unscorable.items()})
    kept = dict(list(unscorable.items())[:KEPT_PROBLEMS])
    summary = {
        "method": config.method,
        "preset": preset_of(config),
        "unit": _unit(config),
        "sign": "higher is better",
        "model": folder.spec.get("model"),
        "aggregate": f"{config.across} over target sets of the {config.aggregate} over items",
        "sets": [],
        "fidelity": None,
        "comparable": [],
        **scored.summary,
        "counts": {
            "exact": int((status == 1).sum()),
            "propagated": int((status == 2).sum()),
            "unscorable": int((status == 0).sum()),
        },
        "notes": scored.notes,
        "phases": ledger.seconds,
        "cost": ledger.to_list(),
        "problems": {str(row): reason for row, reason in kept.items()},
    }
    write_json(folder.output / "summary.json", summary)


def _unit(config: ScoreConfig) -> str:
    if config.method == "random":
        return "random number in [0, 1)"
    if config.function is not None:
        return UNITS.get(str(config.function), config.unit)
    if config.method == "directional" and config.unit == "cosine":
        return "inner product with the mean unit target gradient"
    return config.unit
