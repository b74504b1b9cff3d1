"""The method `network`: a teacher labels a block of pairs, a network learns it, and says it of all others (NN-CIFT).

    audit rows       drawn first, labelled, never fitted to: they judge the run
    labelled rows    drawn at random, or for coverage; a share of them decides when to stop
    labelled items   drawn at random from each target set; the other labelled items are never fitted to
    held pairs       of labelled rows and items, never fitted to either

The teacher labels (labelled ∪ audit rows) x (labelled ∪ held items). Those values are kept as exact; every other pair
is the network's, brought to the spread of exact ones (`network_settling`). Response losses are known where
the network reads hidden states, whose passes tell them; a network that reads texts runs no model on most rows, and its
run knows no row's loss. Beside the arrays of `scoring`: `network_shown.npy` (k, 3) float32 (number of the quadrant,
exact, estimated) for a picture, `network.npz` the network with `network_reading.npz` for what it reads of rows, and
`audit_rows`, `audit_exact`, `audit_estimated` as `landmark` keeps them.
"""

from pathlib import Path
from typing import Any

import numpy as np

from engine.influence.functions.base import Passes
from engine.influence.network.estimate import Estimator
from engine.runs.by_function import ask, cost_of, described, expected_passes, unusable_notes, usable_sets
from engine.runs.functions import Materials, make_function
from engine.runs.ledger import Ledger
from engine.runs.network_draw import Draw, draw, fitted_mask
from engine.runs.network_inputs import Learnt, learn, reads_sentences
from engine.runs.network_reading import READING_FILE
from engine.runs.network_report import judge, shown, told
from engine.runs.network_settling import settle
from engine.runs.pool_network import add_pool_network
from engine.runs.scored import Scored


def score_by_network(job: Materials, ledger: Ledger) -> Scored:
    """Label, learn, estimate, and report on what was never fitted to.

    Raises `EngineError` where there is nothing to label or to learn from.
    """
    config = job.config
    if reads_sentences(config.network_features):
        _ = job.encoder  # where there is none, that is said before anything is labelled
    drawn = draw(job)
    teacher = make_function(config.teacher, job)
    asked = ask(job, ledger, teacher, drawn.rows, drawn.items, phase="teacher labels")
    labels = np.asarray(asked.values)
    sets = usable_sets(job.sets, asked.unusable) if drawn.items is not None else ()
    fitted_pairs = fitted_mask(labels, drawn, seed=config.seed)
    job.reporter.phase("learning", 0)
    with ledger.part("learning", rows=int(drawn.fit_rows.sum())):
        learnt = learn(job, drawn, np.where(fitted_pairs, labels, np.nan))
    estimator = Estimator.of(learnt.fitted, learnt.items)
    job.reporter.phase("judging", 0)
    with ledger.part("judging"):
        report = judge(learnt, estimator, drawn, labels, fitted_pairs, seed=config.seed)
    matrix = _estimates(job, ledger, learnt, estimator)
    scored = settle(job, drawn, labels, matrix, sets, learnt, asked.problems)
    kept = {"network.npz": estimator.save(), READING_FILE: learnt.inputs.kept()}
    scored.files |= {name: _saved(job.folder.work / name, arrays) for name, arrays in kept.items()}
    scored.arrays["network_shown"] = shown(report)
    if learnt.inputs.losses is not None:  # the passes for the hidden states told them
        scored.arrays["loss"] = np.array(learnt.inputs.losses)
    scored.summary |= {
        "sets": described(job, sets),
        "passes": _cost(job, learnt, drawn, asked.passes),
        "network": told(job, learnt, drawn, fitted_pairs, report),
    }
    scored.notes = [*teacher.notes, *learnt.inputs.notes, *scored.notes, *unusable_notes(job, asked.unusable)]
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


def _saved(place: Path, arrays: dict[str, np.ndarray]) -> Path:
    np.savez(place, allow_pickle=False, **arrays)
    return place


def _cost(job: Materials, learnt: Learnt, drawn: Draw, done: Passes) -> dict[str, Any]:
    """Passes of the teacher and of the inputs, beside those of the teacher asked of every row and item.

    The inputs of drawn rows are read before those of the whole pool, and count twice.
    """
    config, kinds = job.config, learnt.inputs.kinds
    whole = expected_passes(job, config.teacher, job.usable, None)
    first, everyone = len(drawn.rows) + job.item_count, job.rows + job.item_count
    hidden = Passes()
    if "hidden" in kinds:
        items = int(job.items.lengths.sum()) if job.item_count else 0
        tokens = int(job.pool.lengths.sum() + job.pool.lengths[drawn.rows].sum()) + items
        hidden = Passes(forward=job.rows + first, tokens=tokens)
    encoded = (first if reads_sentences(config.network_features) else 0) + (job.rows if "sentence" in kinds else 0)
    by_encoder = config.teacher == "delift-se"
    encoded += first if by_encoder else 0
    texts = {"encoded": encoded, "full_encoded": everyone if by_encoder else 0}
    return cost_of(done + hidden, whole) | texts | {"full_pairs": len(job.usable) * max(1, job.item_count)}
