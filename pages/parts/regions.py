"""The regions of the map where a run's scores are least certain, as the engine finds them, in the map's own words."""

from dataclasses import dataclass

import numpy as np

from engine.influence.explanations import WeakRegion, weak_regions
from engine.store.project import Project
from pages.parts import reads
from pages.parts.run_choice import View
from pages.parts.words import count, shorten

MOST = 4


@dataclass(frozen=True)
class Region:
    """A doubtful cluster: its code, its label cut short, and why it is named; not escaped."""

    cluster: int
    label: str
    words: str


def of_run(project: Project, layout: reads.Layout, view: View) -> list[Region]:
    """The doubtful clusters of the latest map under a run, the worst first; none where the run has no `sigma`.

    Measured rows have no uncertainty and do not count.
    """
    sigma = view.scores.sigma
    if sigma is None:
        return []
    both = min(len(sigma), len(layout.cluster))

    def compute(_: object) -> list[Region]:
        propagated = np.where(np.asarray(sigma[:both]) > 0, sigma[:both], np.nan)
        return [_named(region, layout.labels) for region in weak_regions(propagated, layout.cluster[:both])[:MOST]]

    return reads.by_artifact(project, view.scores.artifact, "doubtful regions", compute, layout.artifact)


def _named(region: WeakRegion, labels: list[str]) -> Region:
    label = labels[region.cluster] if region.cluster < len(labels) else f"cluster {region.cluster}"
    words = (
        f"{count(region.rows, 'propagated sample')}; their scores are typically {region.ratio:.1f} times as uncertain "
        "as the pool's. Click to see only these."
    )
    return Region(region.cluster, shorten(label, 40), words)
