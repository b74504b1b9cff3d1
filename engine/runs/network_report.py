"""What a run says of its network: the report by quadrants beside its baselines, and a sentence on what it is worth."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from engine.influence.network.baselines import fit_baselines
from engine.influence.network.estimate import Estimator
from engine.influence.network.quadrants import QUADRANTS, Quadrant, quadrants
from engine.influence.network.training import Fitted
from engine.runs.config import ScoreConfig
from engine.runs.functions import Materials
from engine.runs.network_draw import Draw
from engine.runs.network_inputs import Learnt


@dataclass(frozen=True)
class Judged:
    """The report by quadrants, with the baselines' ridges."""

    quadrants: tuple[Quadrant, ...]
    ridges: tuple[float, float]


def judge(
    learnt: Learnt, estimator: Estimator, drawn: Draw, labels: np.ndarray, fitted: np.ndarray, *, seed: int
) -> Judged:
    """The network and its baselines on everything that was labelled; the baselines read what the network reads.

    Rows that chose the network's epoch without being fitted to are judged by nobody (`quadrants`).
    """
    fit = learnt.fitted
    scaling, rows = fit.scaling, learnt.rows
    left = scaling.rows(rows).numpy()
    if learnt.items is None:
        columns: np.ndarray | slice = slice(None)
        right = np.ones((1, 1), np.float32)
    else:
        columns = drawn.asked_items
        right = scaling.items(learnt.items[columns]).numpy()
    said = {"network": estimator(rows, columns)}
    block = np.where(fitted, labels, np.nan)[np.ix_(drawn.fit_rows, drawn.fit_items)]
    baselines = fit_baselines(
        left[drawn.fit_rows], right[drawn.fit_items], block, validation=fit.validation, refit=not len(fit.unfitted)
    )
    said |= {name: values for name, values in baselines.estimates(left, right).items() if name != "mean"}
    aside = np.isin(np.arange(len(rows)), np.flatnonzero(drawn.fit_rows)[fit.unfitted])[:, None]
    return Judged(quadrants(np.where(aside, np.nan, labels), said, fitted & ~aside, seed=seed), baselines.ridges)


def shown(report: Judged) -> np.ndarray:
    """(k, 3) float32: the number of the quadrant, exact and estimated influence of a sample of its pairs."""
    order = list(QUADRANTS)
    parts = [np.hstack([np.full((len(q.shown), 1), order.index(q.name)), q.shown]) for q in report.quadrants]
    return np.concatenate(parts or [np.zeros((0, 3))]).astype(np.float32)


def told(job: Materials, learnt: Learnt, drawn: Draw, fitted: np.ndarray, report: Judged) -> dict[str, Any]:
    """What the summary says of the network."""
    fit, config = learnt.fitted, job.config
    in_block = np.outer(drawn.fit_rows, drawn.fit_items)
    return {
        "teacher": config.teacher,
        "pointwise": drawn.items is None,
        "inputs": {
            "name": learnt.inputs.name,
            "why": learnt.inputs.why,
            "dim": sum(learnt.inputs.parts),
            "parts": list(learnt.inputs.parts),
            "tried": learnt.tried,
        },
        "parameters": fit.network.count * config.network_members,
        "labelled": {
            "rows": int(drawn.fit_rows.sum()),
            "share": float(drawn.fit_rows.sum() / max(1, len(job.usable))),
            "items": int(drawn.fit_items.sum()) if drawn.items is not None else 0,
            "held_items": int((~drawn.fit_items).sum()) if drawn.items is not None else 0,
            "pairs": int(fitted.sum()),
            "held_pairs": int((in_block & ~fitted).sum()),
            "audit_rows": int((~drawn.fit_rows).sum()),
        },
        "fit": described_fit(fit, config),
        "ridges": list(report.ridges),
        "quadrants": [each.to_dict() for each in report.quadrants],
        "sentence": sentence(config.teacher, fit.constant, report.quadrants),
    }


def described_fit(fit: Fitted, config: ScoreConfig) -> dict[str, Any]:
    """How the training went, as JSON values."""
    return {
        "epochs": len(fit.errors) or config.network_epochs,
        "best": fit.best + 1,
        "errors": list(fit.errors),
        "error": fit.error,
        "constant": fit.constant,
    }


def sentence(teacher: str, constant: bool, found: tuple[Quadrant, ...]) -> str:
    """What the network is worth, on what is hardest for it."""
    if constant:
        return f"Every labelled pair has the same {teacher} influence, so the network says that number of all others."
    if not found:
        return "Nothing was kept out of the fit, so how well the network estimates is not known."
    last = found[-1]
    agreement, share = last.estimates["network"], last.share_of_mean
    rows = "undefined" if agreement.rows.value is None else f"{agreement.rows.value:.2f}"
    error = "" if share is None else f", squared error {share:.2f} of that of the mean"
    where = {"neither": "samples and items never seen", "items": "samples never seen"}.get(last.name, "pairs held out")
    beaten = [n for n, each in last.estimates.items() if n != "network" and each.mse < 0.98 * agreement.mse]
    names = {"linear": "a linear model", "kernel": "kernel ridge"}
    better = f" On the same labels {' and '.join(names[n] for n in beaten)} did better." if beaten else ""
    return f"On {where}: Spearman of the samples {rows}{error}.{better}"
