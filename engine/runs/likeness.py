"""How alike the rows of a pool are, as a kernel over some of them: by the features of the map.

Notation: n pool rows, of which the map covers the first m; V some of them. s_ij = max(cos, 0) of the map's features,
the same for targets and owned data. Up to `DENSE_UP_TO` rows of V are compared in full. Beyond, a row is compared with
its `NEIGHBOURS` nearest, searched in the whole map and kept as an artifact `neighbours-<key>`; where V is a part of the
map they are more, so that about as many lie in V. (The map's own 15 are too few where one chosen row stands for many:
a choice of 1 % then covers 5 % less than one by all similarities, with 32 neighbours 2 %.)

Does not choose rows.
"""

from dataclasses import dataclass

import numpy as np

from engine.progress import Reporter
from engine.runs.similarity import SelectionFeatures, selection_features
from engine.selection.kernels import DenseKernel, Kernel, SparseKernel
from engine.selection.similarity import best_similarity, directions, parts
from engine.store.artifacts import artifact_key, create, find, load_array, save_array
from engine.store.project import Project

DENSE_UP_TO = 10_000  # rows of V; 400 MB of similarities
NEIGHBOURS = 32
MOST_NEIGHBOURS = 256
STAGE = "neighbours"
FORMAT = 1
_BLOCK = 50_000


@dataclass(frozen=True)
class Likeness:
    """The features that rows are compared by; `usable` bool (n,): the rows that have some."""

    found: SelectionFeatures
    usable: np.ndarray

    @classmethod
    def of(cls, project: Project, *, rows: int) -> "Likeness":
        """By the latest map, for a pool of n = `rows`. Raises `EngineError` where there is none."""
        found = selection_features(project, rows=0)
        usable = np.zeros(rows, bool)
        for part in parts(min(rows, len(found)), _BLOCK):
            usable[part] = directions(found.pool[part])[1]
        return cls(found, usable)

    def kernel(self, rows: np.ndarray, *, reporter: Reporter) -> tuple[Kernel, str]:
        """The similarities between `rows` V (v,), ascending, and a sentence about them."""
        if len(rows) <= DENSE_UP_TO:
            return DenseKernel.of_features(
                self._features(rows)
            ), f"All {len(rows):,} samples are compared with each other."
        near, apart = self._neighbours(_enough(int(self.usable.sum()), len(rows)), reporter)
        k = near.shape[1]
        place = np.full(len(self.usable) + 1, -1, np.int32)  # the last one for -1, no neighbour
        place[rows] = np.arange(len(rows))
        inside = rows[rows < len(self.found)]
        index = np.full((len(rows), k), -1, np.int32)
        distance = np.zeros((len(rows), k), np.float32)
        index[: len(inside)] = place[near[inside]]
        distance[: len(inside)] = apart[inside]
        kernel = SparseKernel.of_neighbours(index, distance, usable=self.usable[rows])
        return (
            kernel,
            f"Each sample is compared with its {k} nearest neighbours on the map alone; others count as unlike.",
        )

    def to_side(self, rows: np.ndarray, role: str, name: str, reporter: Reporter) -> np.ndarray:
        """The best similarity of each of `rows` to a target set or the owned data, float32 (v,)."""
        side = self.found.side(role, name, reporter=reporter)
        best = [best_similarity(self._features(rows[part]), side) for part in parts(len(rows), _BLOCK)]
        return np.concatenate([np.zeros(0, np.float32), *best])

    def absent(self, free: np.ndarray) -> tuple[str, ...]:
        """Sentences about the rows of `free` bool (n,) that cannot be chosen because they have no features."""
        later = int(free[len(self.found) :].sum())
        blank = int((free & ~self.usable)[: len(self.found)].sum())
        told = []
        if later:
            told.append(
                f"{later:,} samples were added after the map and are not chosen. Run map again to include them."
            )
        if blank:
            told.append(f"{blank:,} samples have no features on the map and are not chosen.")
        return tuple(told)

    def _features(self, rows: np.ndarray) -> np.ndarray:
        """Features float32 (v, d), NaN for rows that the map does not cover."""
        values = np.full((len(rows), self.found.pool.shape[1]), np.nan, np.float32)
        inside = rows < len(self.found)
        values[inside] = self.found.pool[rows[inside]]
        return values

    def _neighbours(self, k: int, reporter: Reporter) -> tuple[np.ndarray, np.ndarray]:
        """The k nearest neighbours (fewer where there are not as many) of every row of the map, -1 without features:
        index int32 and cosine distance float32, both (m, k).
        """
        artifacts, plane = self.found.project.artifacts, self.found.map.artifact
        key = artifact_key(stage=STAGE, neighbours_format=FORMAT, map=plane, k=k)
        if find(artifacts, STAGE, key) is None:
            from engine.maps import neighbours  # torch, which neighbours kept do not need

            usable = np.flatnonzero(self.usable[: len(self.found)])
            near = neighbours.nearest(self._features(usable), k, reporter=reporter)
            index = np.full((len(self.found), near.k), -1, np.int32)
            distance = np.zeros(index.shape, np.float32)
            index[usable], distance[usable] = usable[near.index], near.distance
            with create(artifacts, STAGE, key, {"map": plane, "k": k}) as folder:
                save_array(folder, "index", index)
                save_array(folder, "distance", distance)
        folder = artifacts / f"{STAGE}-{key}"
        return load_array(folder, "index"), load_array(folder, "distance")


def _enough(known: int, wanted: int) -> int:
    """Neighbours in the map of which about `NEIGHBOURS` lie in a part of it: powers of two, so that they recur."""
    k = NEIGHBOURS
    while k * wanted < NEIGHBOURS * known and k < MOST_NEIGHBOURS:
        k *= 2
    return k
