"""Why a row has its score: the landmarks that carried it, and the target items it helps most and least.

A landmark run is fitted again from what it kept (features, exact columns, settings), which takes a moment, and the
regression's coefficients of the rows asked for are read off. Exact rows are not carried by anything, and neither is
what a network estimated: of those it is said who scored them.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from engine.errors import EngineError
from engine.influence.explanations import best_and_worst_targets, carriers
from engine.influence.regression import KernelRidge, RidgeConfig
from engine.influence.scores import Combination
from engine.runs.scored import AUDIT, LABELLED, LANDMARK
from engine.store.artifacts import load_array
from engine.store.project import Project
from engine.store.records import RunRecord

CARRIERS, ITEMS = 5, 3


@dataclass(frozen=True)
class Carrier:
    """One landmark behind a score: its pool row, the regression's coefficient, its exact score, and their product."""

    row: int
    coefficient: float
    score: float
    contribution: float


@dataclass(frozen=True)
class Explanation:
    """Why a row has its score. `share` is what the carriers make up of all contributions' size, `note` a sentence."""

    row: int
    carriers: tuple[Carrier, ...]
    share: float | None
    best: tuple[tuple[str, float], ...]
    worst: tuple[tuple[str, float], ...]
    note: str


@dataclass(frozen=True)
class Explainer:
    """A run ready to explain: its fitted regression (None where nothing was propagated) and its arrays.

    `teacher` is that of a network's run, `asked` bool (n,) the rows that it labelled.
    """

    ridge: KernelRidge | None
    landmark_rows: np.ndarray
    landmark_scores: np.ndarray
    features: np.ndarray | None
    score: np.ndarray
    status: np.ndarray
    matrix: np.ndarray
    items: tuple[str, ...]
    teacher: str = ""
    asked: np.ndarray | None = None

    def __call__(self, rows: Sequence[int]) -> list[Explanation]:
        """An explanation for each of the rows; `EngineError` for a row that the run does not cover."""
        numbers = np.asarray(rows, dtype=np.int64)
        if len(numbers) and not (numbers.min() >= 0 and numbers.max() < len(self.score)):
            raise EngineError(
                f"The run covers {len(self.score):,} samples; sample {int(numbers.max())} was added later."
            )
        carried = self._carried(numbers)
        extremes = best_and_worst_targets(self.matrix[numbers], count=ITEMS)
        return [
            Explanation(
                row=int(row),
                carriers=carried[at][0],
                share=carried[at][1],
                best=self._named(extremes.best[at], extremes.best_scores[at]),
                worst=self._named(extremes.worst[at], extremes.worst_scores[at]),
                note=self._note(int(row)),
            )
            for at, row in enumerate(numbers)
        ]

    def _carried(self, rows: np.ndarray) -> list[tuple[tuple[Carrier, ...], float | None]]:
        nothing: list[tuple[tuple[Carrier, ...], float | None]] = [((), None)] * len(rows)
        if self.ridge is None or self.features is None or not len(rows):
            return nothing
        found = carriers(
            self.ridge.coefficients(np.asarray(self.features[rows])),
            self.landmark_scores,
            self.landmark_rows,
            count=CARRIERS,
        )
        place = {int(row): at for at, row in enumerate(self.landmark_rows)}
        result = nothing.copy()
        for at, row in enumerate(rows):
            if self.status[row] == 2:
                parts = zip(found.rows[at, 0], found.coefficients[at, 0], found.contributions[at, 0])
                lines = [
                    Carrier(int(r), float(c), float(self.landmark_scores[place[int(r)]]), float(p)) for r, c, p in parts
                ]
                result[at] = tuple(lines), float(found.covered[at, 0])
        return result

    def _named(self, items: np.ndarray, scores: np.ndarray) -> tuple[tuple[str, float], ...]:
        return tuple(
            (self.items[int(i)], float(v)) for i, v in zip(items, scores) if i >= 0 and int(i) < len(self.items)
        )

    def _note(self, row: int) -> str:
        if self.status[row] == 0:
            return "This sample has no score."
        if self.teacher:
            return f"{self._learnt(row)}: {self.score[row]:+.4f}."
        if self.status[row] == 1:
            return f"Measured exactly: {self.score[row]:+.4f}."
        return f"Propagated: {self.score[row]:+.4f}, carried by the landmarks below."

    def _learnt(self, row: int) -> str:
        """Who scored a row of a network's run."""
        if self.status[row] == 1:
            return f"Labelled by the network's teacher ({self.teacher})"
        if self.asked is not None and self.asked[row]:
            return f"Labelled by the teacher ({self.teacher}) for some target items, estimated for the others"
        return f"Estimated by the network (teacher: {self.teacher})"


def explainer(project: Project, run: RunRecord) -> Explainer:
    """What explains the scores of `run`. Raises `EngineError` where its results are missing."""
    folder, summary = project.artifacts / run.artifact, run.summary
    score, status, matrix = (load_array(folder, name) for name in ("score", "status", "matrix"))
    names = tuple(f"{s['name']}, item {item + 1}" for s in summary.get("sets", []) for item in s["items"])
    nothing = Explainer(None, np.zeros(0, np.int64), np.zeros(0), None, score, status, matrix, names)
    if "network" in summary:
        asked = (np.asarray(load_array(folder, "roles")) & (LABELLED | AUDIT)) > 0
        return replace(nothing, teacher=str(summary["network"]["teacher"]), asked=asked)
    if not isinstance(summary.get("ridge"), dict):
        return nothing
    features, columns, roles = (load_array(folder, name) for name in ("features", "columns", "roles"))
    chosen = np.flatnonzero((roles & LANDMARK) > 0)
    weights = tuple(float(s.get("weight", 1.0)) for s in summary["sets"])
    scores = Combination(weights, run.config.get("across", "mean"))(np.asarray(columns[chosen]))
    good = np.isfinite(scores) & np.isfinite(np.asarray(features[chosen])).all(axis=1)
    rows = chosen[good]
    ridge = KernelRidge.from_config(np.asarray(features[rows]), scores[good], RidgeConfig(**summary["ridge"]))
    return Explainer(ridge, rows, scores[good].astype(np.float64), features, score, status, matrix, names)


def explain(project: Project, run: RunRecord, rows: Sequence[int]) -> list[Explanation]:
    """Why each of `rows` has its score in `run`."""
    return explainer(project, run)(rows)
