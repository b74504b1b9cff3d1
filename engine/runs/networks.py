"""The method `network`: a teacher labels a block of pairs, a network learns it, and says it of all others (NN-CIFT).

    audit rows       drawn first, labelled, never fitted to: they judge the run
    labelled rows    drawn at random, or for coverage; a share of them decides when to stop
    labelled items   drawn at random from each target set; the other labelled items are never fitted to
    held pairs       of labelled rows and items, never fitted to either

The teacher labels (labelled ∪ audit rows) x (labelled ∪ held items). Those values are kept as exact; every other pair
is the network's, brought to the spread of exact ones (`network_settling`). Beside the arrays of `scoring`:
`network_shown.npy` (k, 3) float32 (number of the quadrant, exact, estimated) for a picture, `network.npz` the network,
and `audit_rows`, `audit_exact`, `audit_estimated` as `landmark` keeps them.
"""

from pathlib import Path
from typing import Any

import numpy as np

from engine.influence.functions.base import Passes
from engine.influence.network.estimate import Estimator
from engine.runs.by_function import ask, cost_of, described, expected_passes, unusable_notes, usable_sets
from engine.runs.functions import Materials, make_function
from engine.runs.ledger import Ledger
from engine.runs.network_draw import draw, fitted_mask
from engine.runs.network_inputs import Learnt, learn
from engine.runs.network_report import judge, shown, told
from engine.runs.network_settling import settle
from engine.runs.pool_network import add_pool_network
from engine.runs.scored import Scored


def score_by_network(job: Materials, ledger: Ledger) -> Scored:
    """Label, learn, estimate, and report on what was never fitted to.

    Raises `EngineError` where there is nothing to label or to learn from.
    """
    config = job.config
    drawn = draw(job)
    teacher = make_function(config.teacher, job)
    table, unusable = ask(job, ledger, teacher, drawn.rows, drawn.items, phase="teacher labels")
    labels = np.asarray(table.arrays["values"])
    sets = usable_sets(job.sets, unusable) if drawn.items is not None else ()
    fitted_pairs = fitted_mask(labels, drawn, seed=config.seed)
    with ledger.part("learning", rows=int(drawn.fit_rows.sum())):
        learnt = learn(job, drawn, np.where(fitted_pairs, labels, np.nan))
    estimator = Estimator.of(learnt.fitted, learnt.items)
    with ledger.part("judging"):
        report = judge(learnt, estimator, drawn, labels, fitted_pairs, seed=config.seed)
    matrix = _estimates(job, ledger, learnt, estimator)
    scored = settle(job, drawn, labels, matrix, sets, learnt, dict(table.problems))
    scored.files["network.npz"] = _saved(job.folder.work / "network.npz", estimator)
    scored.arrays["network_shown"] = shown(report)
    done = teacher.passes if teacher.passes.equivalents else expected_passes(job, teacher.name, drawn.rows, drawn.items)
    scored.summary |= {
        "sets": described(job, sets),
        "passes": _cost(job, learnt, done),
        "network": told(job, learnt, drawn, fitted_pairs, report),
    }
    scored.notes = [*teacher.notes, *learnt.inputs.notes, *scored.notes, *unusable_notes(job, unusable)]
    if config.pool_network:
        add_pool_network(scored, job, ledger, drawn, learnt)
    return scored


def _estimates(job: Materials, ledger: Ledger, learnt: Learnt, estimator: Estimator) -> np.ndarray:
    """f (n, t) of every row and item, as the network says it; NaN for rows that cannot be scored."""
    matrix = np.full((job.rows, len(estimator.items)), np.nan, np.float32)
    parts = learnt.inputs.of_pool(ledger)
    job.reporter.phase("estimating", job.rows)
    with ledger.part("estimating", rows=job.rows):
        for start, rows in parts:
            job.reporter.check()
            matrix[start : start + len(rows)] = estimator(rows)
            job.reporter.advance(len(rows))
    matrix[np.setdiff1d(np.arange(job.rows), job.usable)] = np.nan
    return matrix


def _saved(place: Path, estimator: Estimator) -> Path:
    np.savez(place, allow_pickle=False, **estimator.save())
    return place


def _cost(job: Materials, learnt: Learnt, done: Passes) -> dict[str, Any]:
    """Passes of the teacher and of the inputs, beside those of the teacher asked of every row and item."""
    config = job.config
    whole = expected_passes(job, config.teacher, job.usable, None)
    hidden = (
        Passes(forward=job.rows, tokens=int(job.pool.lengths.sum())) if "hidden" in learnt.inputs.kinds else Passes()
    )
    encodes = "sentence" in learnt.inputs.kinds
    texts = job.rows + job.item_count
    labels = int(len(job.usable) * max(1, job.item_count))
    encoder = {"encoded": texts if encodes else 0, "full_encoded": texts if config.teacher == "delift-se" else 0}
    return cost_of(done + hidden, whole) | encoder | {"full_pairs": labels}
