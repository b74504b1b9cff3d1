"""What selection by diversity compares rows by: the features of the latest map, and those of the sets beside the pool.

Similarity is taken from the map because it is what the curator sees: rows that lie together there are alike here. All
features are on one scale, for pool, targets and owned data are embedded by one recipe (`features.py`). They are as the
model gave them, of no particular length, and NaN where a row has none.

Does not choose rows (`engine.selection`) and builds no map; features of a set that was added after the map are
computed when they are asked for.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.errors import EngineError
from engine.progress import Reporter, Silent
from engine.runs.features import FEATURES_FILE
from engine.runs.sides import embed_side, recipe_of, side_of
from engine.store.artifacts import load_array
from engine.store.project import Project
from engine.store.records import MapRecord

_FEATURES = Path(FEATURES_FILE).stem


@dataclass(frozen=True)
class SelectionFeatures:
    """Features of the n rows that a map covers, memory-mapped.

    pool float32 or float16 (n, d): NaN for rows without features. neighbours int32 (n, k) and distances float32 (n, k):
    nearest other rows in these features, by cosine distance, nearest first; -1 and NaN for rows without features.
    recipe: how the features were made.
    """

    project: Project
    map: MapRecord
    pool: NDArray[np.floating[Any]]
    neighbours: NDArray[np.int32]
    distances: NDArray[np.float32]
    recipe: dict[str, Any]

    def __len__(self) -> int:
        """Rows n of the pool that have a place here."""
        return len(self.pool)

    def side(self, role: str, name: str = "", *, reporter: Reporter | None = None) -> NDArray[np.floating[Any]]:
        """Features (m, d) of a target set ("target", its name) or of the owned data ("owned"), memory-mapped.

        They are those that the map job kept, else they are computed in this process, which loads the model, and kept.
        Raises `EngineError` where there is no such set, or the map's model has changed or cannot be found.
        """
        side = side_of(self.project, role, name)
        plane = self.project.artifacts / self.map.artifact
        return load_array(embed_side(self.project, plane, side, reporter=reporter or Silent()), _FEATURES)


def selection_features(project: Project, *, rows: int | None = None) -> SelectionFeatures:
    """The features of the latest map, for a selection among the first `rows` rows of the pool (all by default).

    Raises `EngineError` where there is no map, it covers fewer rows, or it was made before maps kept their features.
    """
    record = project.latest_map()
    if record is None:
        raise EngineError(
            "There is no map yet, and samples are compared by its features. Run map first. Nothing was selected."
        )
    plane = project.artifacts / record.artifact
    recipe = recipe_of(plane)
    needed = project.counts().pool if rows is None else rows
    if needed > record.rows:
        raise EngineError(
            f"The latest map covers the first {record.rows:,} samples of the pool, {needed:,} are needed: "
            f"{needed - record.rows:,} samples that were added later have no features. Run map again. "
            "Nothing was selected."
        )
    arrays = {name: load_array(plane, name) for name in ("neighbours", "distances")}
    return SelectionFeatures(project, record, load_array(plane, _FEATURES), recipe=recipe, **arrays)
