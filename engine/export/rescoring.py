"""The second half of `reproduce --rescore`: the selection chosen anew in a project made again, and compared.

Works in a temporary project of its own, in which everything the selection went by is made as it was (`replaying`): its
run, the runs, map and signals that its filters, guards and quotas looked at, tags and decisions as it knew them.
Compares the rows chosen, and the scores where the export carries them. Does not compare maps point by point: what they
are for is the selection.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from engine.curation.facts import AGGREGATE, Facts
from engine.errors import EngineError
from engine.export.extras import covered, from_told
from engine.export.replaying import BY, WITHOUT, other_names, replayed, went_by
from engine.influence.fidelity import spearman
from engine.progress import Reporter
from engine.runs.choice import Choice
from engine.runs.choosing import select
from engine.store.project import Project

_TARGET = "target:"


@dataclass(frozen=True)
class Rescored:
    """What came of it: one line per difference, and notes worth knowing."""

    differences: tuple[str, ...]
    notes: tuple[str, ...]


def rescored(folder: Path, found: Mapping[int, Path | str], told: Mapping[str, Any], reporter: Reporter) -> Rescored:
    """Make everything the selection went by again in a new project at `folder`, select, and compare with the record.

    `found`: where the inputs lie, checked. Raises `EngineError` where the manifest holds no way to choose (a selection
    by hand), or a step fails.
    """
    spec = dict(told["selection"]["spec"])
    if told.get("run") is None or "size" not in spec:
        raise EngineError(
            "This selection names no scoring run or no size, so it cannot be chosen anew; without --rescore its files "
            "can be made again. Nothing was written."
        )
    project = replayed(folder, found, told, reporter)
    choice, run = Choice.from_spec(_renamed(spec, told, project)), told["run"]["name"]
    try:
        again, chosen = select(project, choice, run=run, name="again", by=BY, reporter=reporter)
    except EngineError as error:
        said = " ".join([str(error), *other_names(project, told), *_untold(told), WITHOUT])
        raise EngineError(f"The selection cannot be chosen anew. {said}") from error
    differences = [*_rows(told, again.rows), *_weights(told, again.rows, again.weights), *_scores(project, told)]
    return Rescored(tuple(differences), (*other_names(project, told), *_untold(told), *chosen.notes))


def _untold(told: Mapping[str, Any]) -> list[str]:
    """That a selection does not tell what its marks went by, where this may matter."""
    spec = told["selection"]["spec"]
    if went_by(told) is not None or not (spec.get("filters") or spec.get("left_out") or spec.get("quotas")):
        return []
    return [
        "The selection was saved before selections kept what their filters and guards went by; the latest map and "
        "check of the export and the runs it names were taken for it."
    ]


def _renamed(spec: dict[str, Any], told: Mapping[str, Any], project: Project) -> dict[str, Any]:
    """The spec with the recorded map's name replaced by that of the one made anew, should they differ."""
    plane = project.latest_map()
    old = [name for name in told.get("artifacts", {}) if name.startswith("map-")]
    if plane is None or not old:
        return spec

    def replaced(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: replaced(inner) for name, inner in value.items()}
        if isinstance(value, list):
            return [replaced(inner) for inner in value]
        return plane.artifact if value in old else value

    return {name: replaced(value) for name, value in spec.items()}


def _rows(told: Mapping[str, Any], rows: np.ndarray) -> list[str]:
    recorded = np.asarray(told["rows"]["row"], np.int64)
    more, fewer = np.setdiff1d(rows, recorded), np.setdiff1d(recorded, rows)
    if not len(more) and not len(fewer):
        return []
    return [
        f"selection: {len(fewer):,} of the {len(recorded):,} recorded samples were not chosen again, and {len(more):,} "
        f"others were (samples {', '.join(map(str, [*fewer[:5], *more[:5]]))} …)"
    ]


def _weights(told: Mapping[str, Any], rows: np.ndarray, weights: np.ndarray | None) -> list[str]:
    recorded = told.get("weights")
    if recorded is None or weights is None or list(rows) != told["rows"]["row"]:
        return []
    apart = float(np.abs(np.asarray(recorded, np.float32) - weights).max())
    return [f"weights: they differ by up to {apart:.3g}"] if apart > 0 else []


def _scores(project: Project, told: Mapping[str, Any]) -> list[str]:
    """Scores written with the rows, overall and by target, against those made anew."""
    held = [each for each in told.get("extras", ()) if each["name"] == "score" or each["name"].startswith(_TARGET)]
    if not held:
        return []
    facts, rows = Facts(project), np.asarray(told["rows"]["row"], np.int64)
    scores = facts.scores(facts.run(told["run"]["name"]).artifact)
    lines: list[str] = []
    for each in held:
        name = each["name"]
        now = covered(scores.column(AGGREGATE if name == "score" else name.removeprefix(_TARGET)), rows)
        lines += _apart("scores" if name == "score" else name, now, np.asarray(from_told(each).values, np.float32))
    return lines


def _apart(name: str, now: np.ndarray, then: np.ndarray) -> list[str]:
    """How far two columns differ, beside their spread and order: rounding, or another answer?"""
    both = np.isfinite(now) & np.isfinite(then)
    apart, spread = float(np.abs(now - then)[both].max(initial=0.0)), float(then[both].std()) if both.any() else 0.0
    gaps = int((np.isfinite(now) != np.isfinite(then)).sum())
    lines = [f"{name}: {gaps:,} samples have one only now or only then"] if gaps else []
    if apart > 0:
        order = spearman(then[both], now[both]).value
        said = "" if order is None else f"; Spearman of then and now {order:.4f}"
        lines.insert(
            0, f"{name}: they differ by up to {apart:.3g}, where their standard deviation is {spread:.3g}{said}"
        )
    return lines
