"""Who is labelled for a network: audit rows, labelled rows and items, and the pairs that are held out of the block.

Audit rows are drawn first and never fitted to; items that are not fitted to are held for the report. Every draw is
fixed by the run's seed.
"""

from dataclasses import dataclass

import numpy as np

from engine.errors import EngineError
from engine.influence.landmarks import audit_rows
from engine.runs.functions import Materials
from engine.runs.methods import POINTWISE
from engine.runs.network_rows import choose_rows

HELD_PAIRS = 0.05  # of the labelled block, kept out of the fit
LEAST_PAIRS = 40  # in a block from which pairs are held out


@dataclass(frozen=True)
class Draw:
    """Rows and items that the teacher labels, ascending, and which of them are fitted to (bool)."""

    rows: np.ndarray
    fit_rows: np.ndarray
    items: np.ndarray | None
    fit_items: np.ndarray

    @property
    def audit(self) -> np.ndarray:
        """The audit rows."""
        return self.rows[~self.fit_rows]

    @property
    def asked_items(self) -> np.ndarray:
        """The items that the teacher is asked about; none for a point-wise one."""
        return np.zeros(0, np.int64) if self.items is None else self.items

    @property
    def labelled_items(self) -> np.ndarray:
        """Those of them that are fitted to."""
        return self.asked_items if self.items is None else self.items[self.fit_items]


def draw(job: Materials) -> Draw:
    """Who is labelled, by the run's seed: audit rows first, then labelled rows, then items set by set."""
    config, usable = job.config, job.usable
    if not len(usable):
        raise EngineError("No sample of the pool can be scored. Nothing was scored.")
    audit = audit_rows(usable, config.audit_count(len(usable)), seed=config.seed)
    chosen = choose_rows(job, np.setdiff1d(usable, audit), config.labelled_count(len(usable)))
    rows = np.sort(np.concatenate([audit, chosen]))
    fit_rows = np.isin(rows, chosen)
    if config.function in POINTWISE:
        return Draw(rows, fit_rows, None, np.ones(1, bool))
    labelled, held = drawn_items(job)
    items = np.sort(np.concatenate([labelled, held]))
    return Draw(rows, fit_rows, items, np.isin(items, labelled))


def drawn_items(job: Materials) -> tuple[np.ndarray, np.ndarray]:
    """Labelled and held items, ascending: every set gives its share of each, in a seeded order, and one at least."""
    labelled, held = job.config.item_counts(job.item_count)
    generator = np.random.default_rng((job.config.seed, 25))
    mixed = [generator.permutation(each.items) for each in job.sets]
    # item k of a set of m stands at (k + 1/2) / m, so that any number of first ones holds every set's share
    places = [(np.arange(len(items)) + 0.5) / max(1, len(items)) for items in mixed]
    for place in places:
        place[:1] = 0.0
    order = np.concatenate(mixed)[np.argsort(np.concatenate(places), kind="stable")]
    return np.sort(order[:labelled]), np.sort(order[labelled : labelled + held])


def fitted_mask(labels: np.ndarray, drawn: Draw, *, seed: int) -> np.ndarray:
    """bool (m, u): the pairs that the network is fitted to. Some of the block are held out where it is large enough."""
    block = np.outer(drawn.fit_rows, drawn.fit_items) & np.isfinite(labels)
    places = np.flatnonzero(block)
    if drawn.items is None or len(places) < LEAST_PAIRS:
        return block
    held = np.random.default_rng((seed, 26)).permutation(places)[: round(HELD_PAIRS * len(places))]
    block.ravel()[held] = False
    return block
