"""The second network of a run: pool rows on pool rows, for selections that go by the influence rows have on each other.

The teacher scores the labelled and audit rows against some pool rows (`POOL_ITEMS`, a quarter of them never fitted to);
what the first network reads is read again. A row's influence on itself is left out. Kept in the run's artifact:
`pool_network.npz` and `features.npy` (n, d) float32, the inputs of all rows; summary["pool_network"] reports it.
"""

from dataclasses import asdict
from pathlib import Path

import numpy as np

from engine.influence.network.estimate import Estimator
from engine.influence.network.training import fit_network
from engine.runs.by_function import ask
from engine.runs.functions import Materials, make_function
from engine.runs.ledger import Ledger
from engine.runs.methods import needs_model
from engine.runs.network_draw import Draw, fitted_mask
from engine.runs.network_inputs import Learnt
from engine.runs.network_report import described_fit, judge, sentence
from engine.runs.scored import Scored

POOL_ITEMS = 64
HELD = 4  # one of so many is never fitted to


def add_pool_network(scored: Scored, job: Materials, ledger: Ledger, drawn: Draw, learnt: Learnt) -> None:
    """Label, fit and keep the second network of a run whose first one is `learnt`."""
    config = job.config
    mixed = np.random.default_rng((config.seed, 28)).permutation(drawn.rows)[:POOL_ITEMS]
    columns = np.sort(mixed)
    fitted_items = ~np.isin(columns, mixed[: len(mixed) // HELD])
    teacher = make_function(config.teacher, job, items=columns)
    own = Draw(drawn.rows, drawn.fit_rows, np.arange(len(columns)), fitted_items)
    lengths = job.pool.lengths[columns] if needs_model(config.method, config.teacher) else None
    asked = ask(job, ledger, teacher, drawn.rows, own.items, phase="teacher labels, pool", lengths=lengths)
    labels = np.array(asked.values)
    labels[drawn.rows[:, None] == columns[None]] = np.nan
    fitted_pairs = fitted_mask(labels, own, seed=config.seed)
    inputs, at = learnt.inputs, np.searchsorted(drawn.rows, columns)
    job.reporter.phase("learning, pool", 0)
    with ledger.part("learning, pool", rows=int(drawn.fit_rows.sum())):
        block = np.where(fitted_pairs, labels, np.nan)[np.ix_(own.fit_rows, own.fit_items)]
        right = learnt.rows[at]
        fit = fit_network(
            learnt.rows[own.fit_rows],
            right[own.fit_items],
            block,
            config.network(),
            parts=inputs.parts,
            reporter=job.reporter,
        )
        again = Learnt(inputs, fit, learnt.rows, right, {})
        estimator = Estimator.of(fit, right)
        report = judge(again, estimator, own, labels, fitted_pairs, seed=config.seed)
    place = job.folder.work / "pool_network.npz"
    np.savez(place, allow_pickle=False, **estimator.save())
    scored.files |= {"pool_network.npz": place, "features.npy": _whole(job, ledger, learnt)}
    scored.summary["pool_network"] = {
        "items": len(columns),
        "passes": {**asdict(asked.passes), "equivalents": asked.passes.equivalents},
        "pairs": int(fitted_pairs.sum()),
        "fit": described_fit(fit, config),
        "quadrants": [each.to_dict() for each in report.quadrants],
        "sentence": sentence(config.teacher, fit.constant, report.quadrants),
    }


def _whole(job: Materials, ledger: Ledger, learnt: Learnt) -> Path:
    """The inputs of all rows as one file."""
    place = job.folder.work / "features.npy"
    shape = (job.rows, sum(learnt.inputs.parts))
    whole = np.lib.format.open_memmap(place, mode="w+", dtype=np.float32, shape=shape)
    for start, part in learnt.inputs.of_pool(ledger):
        whole[start : start + len(part)] = part
    whole.flush()
    return place
