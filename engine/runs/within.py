"""Fidelity inside each value of a field such as the source: do scores order rows beyond telling the sources apart?

Joins what a run kept of its audit slice with the catalogue. The field is read for this report alone; no score sees it.
"""

import numpy as np

from engine.influence.fidelity import WithinGroups, within_groups
from engine.influence.scores import Combination
from engine.store.artifacts import load_array
from engine.store.project import Project
from engine.store.records import RunRecord

FIELD = "source"


def within(project: Project, run: RunRecord, *, field: str = FIELD) -> WithinGroups | None:
    """Spearman of exact and propagated scores of the audit rows inside each value of `field`.

    None where the pool has no such field, or the run kept no audit slice.
    """
    folder = project.artifacts / run.artifact
    if field not in project.columns() or not (folder / "audit_rows.npy").is_file():
        return None
    rows, exact, said = (load_array(folder, f"audit_{name}") for name in ("rows", "exact", "estimated"))
    weights = {described["name"]: float(described.get("weight", 1.0)) for described in run.summary["sets"]}
    audited = run.summary.get("audited", list(weights))  # a network's teacher may label some sets alone, or none
    combine = Combination(tuple(weights.get(name, 1.0) for name in audited), run.config.get("across", "mean"))
    return within_groups(combine(np.asarray(exact)), combine(np.asarray(said)), project.column(field)[rows])


def sentence(found: WithinGroups | None, *, field: str = FIELD) -> str:
    """The figures in one line; empty where there are none."""
    if found is None:
        return ""
    if found.mean.value is None:
        return f"Within each {field} nothing can be said: {found.mean.reason}."
    each = ", ".join(
        f"{name} {measure.value:.2f} ({measure.n})"
        for name, measure in found.groups.items()
        if measure.value is not None
    )
    return f"Within each {field}, Spearman {found.mean.value:.2f} on average over audit samples: {each}."
