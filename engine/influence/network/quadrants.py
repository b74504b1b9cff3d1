"""How well a network says what it never saw: the report by quadrants, beside what is easier to fit.

Notation. A row or an item is *seen* if some labelled pair of it was fitted to. The four quadrants hold pairs that were
labelled only to judge by: of seen rows with seen items (pairs held out of the block), seen rows with unseen items,
unseen rows with seen items, and neither seen, which is what a large pool and a new target look like. A point-wise
function has two, by its rows.

The rows that decided when to stop are seen where the network was fitted again to all labelled rows. Without that refit
they are neither seen nor unseen, since they chose the epoch: the caller leaves them out of `exact` and `fitted`.

Per quadrant and estimate: the mean squared error over pairs, Spearman over pairs, Spearman of the rows' means over the
quadrant's items (which a selection goes by), and the overlap of the best 10 % of rows by those means. Beside them the
errors of the labels' mean and of labels drawn at random from the fitted ones. A figure that is undefined is a `Measure`
with its reason.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from engine.influence.fidelity import Measure, spearman, top_overlap

QUADRANTS: dict[str, str] = {
    "both": "sample and item both seen, the pair held out",
    "rows": "sample seen, item never seen",
    "items": "item seen, sample never seen",
    "neither": "neither seen",
}
SHOWN_PAIRS = 1500
RESAMPLES = 300


@dataclass(frozen=True)
class Agreement:
    """One estimate against the exact influence of one quadrant."""

    mse: float
    pairs: Measure
    rows: Measure
    top: Measure


@dataclass(frozen=True)
class Quadrant:
    """One quadrant: its pairs, rows and items; the errors of the mean and of random labels; each estimate's figures.

    `shown` (k, 2) float32 are exact and estimated influence of a seeded sample of its pairs, for a picture.
    """

    name: str
    pairs: int
    rows: int
    items: int
    mse_of_mean: float
    mse_of_random: float
    estimates: dict[str, Agreement]
    shown: np.ndarray

    @property
    def share_of_mean(self) -> float | None:
        """The network's error as a share of the mean's; None where the quadrant's influence is constant."""
        return self.estimates["network"].mse / self.mse_of_mean if self.mse_of_mean > 0 else None

    def to_dict(self) -> dict[str, Any]:
        """All figures as JSON values, the shown pairs left out."""
        kept = ("name", "pairs", "rows", "items", "mse_of_mean", "mse_of_random")
        estimates = {name: asdict(each) for name, each in self.estimates.items()}
        told = {name: getattr(self, name) for name in kept}
        return {**told, "said": QUADRANTS[self.name], "share_of_mean": self.share_of_mean, "estimates": estimates}


def quadrants(
    exact: np.ndarray,
    estimates: Mapping[str, np.ndarray],
    fitted: np.ndarray,
    *,
    seed: int = 0,
) -> tuple[Quadrant, ...]:
    """The quadrants that hold pairs, in the order of `QUADRANTS`.

    `exact` (m, u), NaN where a pair has no influence; `fitted` bool (m, u) says which pairs were fitted to; each of the
    `estimates` (m, u) is finite where `exact` is, or the pair is left out for all of them.
    """
    known = np.asarray(np.isfinite([exact, *estimates.values()]).all(axis=0))  # (m, u)
    labels = exact[fitted & np.isfinite(exact)].astype(np.float64)
    seen_rows, seen_items = fitted.any(axis=1), fitted.any(axis=0)
    found = []
    for name, rows, items in (
        ("both", seen_rows, seen_items),
        ("rows", seen_rows, ~seen_items),
        ("items", ~seen_rows, seen_items),
        ("neither", ~seen_rows, ~seen_items),
    ):
        there = known & ~fitted & np.outer(rows, items)
        if there.any() and len(labels):
            found.append(_quadrant(name, exact, estimates, there, labels, seed))
    return tuple(found)


def _quadrant(
    name: str,
    exact: np.ndarray,
    estimates: Mapping[str, np.ndarray],
    there: np.ndarray,
    labels: np.ndarray,
    seed: int,
) -> Quadrant:
    generator = np.random.default_rng((seed, 22))
    truth = exact[there].astype(np.float64)
    sample = np.sort(generator.permutation(len(truth))[:SHOWN_PAIRS])
    network = np.asarray(estimates["network"])[there]
    return Quadrant(
        name=name,
        pairs=len(truth),
        rows=int(there.any(axis=1).sum()),
        items=int(there.any(axis=0).sum()),
        mse_of_mean=float(((truth - labels.mean()) ** 2).mean()),
        mse_of_random=float(((truth - generator.choice(labels, len(truth))) ** 2).mean()),
        estimates={key: _agreement(exact, values, there, generator) for key, values in estimates.items()},
        shown=np.stack([truth[sample], network[sample]], axis=1).astype(np.float32),
    )


def _agreement(exact: np.ndarray, said: np.ndarray, there: np.ndarray, generator: np.random.Generator) -> Agreement:
    truth, guess = exact[there].astype(np.float64), np.asarray(said)[there].astype(np.float64)
    by_row, by_guess = _row_means(exact, there), _row_means(said, there)
    draws = generator.integers(0, len(by_row), (RESAMPLES, len(by_row)))
    return Agreement(
        mse=float(((truth - guess) ** 2).mean()),
        pairs=spearman(truth, guess),
        rows=spearman(by_row, by_guess, draws=draws),
        top=top_overlap(by_row, by_guess),
    )


def _row_means(values: np.ndarray, there: np.ndarray) -> np.ndarray:
    """The mean over its pairs of every row that has one."""
    counts = there.sum(axis=1)
    sums = np.where(there, values, 0).sum(axis=1, dtype=np.float64)
    return sums[counts > 0] / counts[counts > 0]
