"""The regions of the map where a run's scores are least certain.

A region is a cluster of the map. It is doubtful where the median standard deviation of its propagated scores is well
above the pool's: measured rows have none and do not count.
"""

from dataclasses import dataclass

import numpy as np

from engine.store.project import Project
from pages.parts import reads
from pages.parts.run_choice import View
from pages.parts.words import count, shorten

NOTABLE = 1.25  # times the pool's median
LEAST_ROWS = 5
MOST = 4


@dataclass(frozen=True)
class Region:
    """A doubtful cluster: its code, its label cut short, and why it is named; not escaped."""

    cluster: int
    label: str
    words: str


def of_run(project: Project, layout: reads.Layout, view: View) -> list[Region]:
    """The doubtful clusters of the latest map under a run, the worst first; none where the run has no `sigma`."""
    sigma = view.scores.sigma
    if sigma is None:
        return []
    both = min(len(sigma), len(layout.cluster))
    return reads.by_artifact(
        project,
        view.scores.artifact,
        "doubtful regions",
        lambda _: _named(np.asarray(sigma[:both]), np.asarray(layout.cluster[:both]), layout.labels),
        layout.artifact,
    )


def _named(sigma: np.ndarray, cluster: np.ndarray, labels: list[str]) -> list[Region]:
    return [
        Region(
            code,
            shorten(labels[code] if code < len(labels) else f"cluster {code}", 40),
            f"{count(rows, 'propagated sample')}; their scores are typically {ratio:.1f} times as uncertain as the "
            "pool's. Click to see only these.",
        )
        for code, ratio, rows in weakest(sigma, cluster)
    ]


def weakest(sigma: np.ndarray, cluster: np.ndarray) -> list[tuple[int, float, int]]:
    """(cluster, median sigma over the pool's, propagated rows) of at most `MOST` clusters, the least certain first.

    `sigma` float (n,), 0 for measured rows and NaN without a score; `cluster` int (n,), -1 for none.
    """
    propagated = np.isfinite(sigma) & (sigma > 0)
    if not propagated.any():
        return []
    usual = float(np.median(sigma[propagated]))
    found = []
    for code in np.unique(cluster[propagated & (cluster >= 0)]).tolist():
        inside = sigma[propagated & (cluster == code)]
        ratio = float(np.median(inside)) / usual
        if len(inside) >= LEAST_ROWS and ratio >= NOTABLE:
            found.append((int(code), ratio, len(inside)))
    return sorted(found, key=lambda region: -region[1])[:MOST]
