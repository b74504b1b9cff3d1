"""One call from features to a map, and the map's saved form.

Notation: n rows of d features, k neighbours per row. Rows whose features are not finite cannot be placed: their
position is NaN, their neighbours -1 and their cluster `NOISE`; the map's notes count them. Saved as `.npy` arrays
beside `map.json`, which is written last, so that its presence means the map is complete.

Does not compute features (sentence.py and the language models do) and does not know the project's folder.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.errors import EngineError
from engine.maps import clusters, labels, layout, neighbours
from engine.maps.labels import Texts
from engine.maps.neighbours import EXACT_UP_TO, Features, Metric
from engine.progress import Reporter, Silent

FORMAT_VERSION = 1
_ARRAYS = ("xy", "neighbours", "distances", "cluster", "fitted", "centres")
_TRUST_ROWS = 2000


@dataclass(frozen=True)
class MapConfig:
    """How a map is made; everything here changes the answer.

    neighbours: k of the graph. metric: distance between features. fit_rows: most rows UMAP is fitted to.
    exact_up_to: most rows whose neighbours are searched exactly. search_dims: principal axes searched where the
    search is approximate. epochs: UMAP's, None for 500 up to 10,000 rows and 200 beyond. min_dist: UMAP's.
    """

    neighbours: int = 15
    metric: Metric = "cosine"
    fit_rows: int = 50_000
    exact_up_to: int = EXACT_UP_TO
    search_dims: int = 64
    epochs: int | None = None
    min_dist: float = layout.MIN_DIST

    def __post_init__(self) -> None:
        """Raise `EngineError` on a value that makes no map."""
        least = {"neighbours": 2, "fit_rows": 50, "exact_up_to": 0, "search_dims": 2}
        for option, smallest in least.items():
            if getattr(self, option) < smallest:
                raise EngineError(f"Map option {option} is {getattr(self, option)}: expected at least {smallest}.")
        if self.metric not in neighbours.METRICS:
            raise EngineError(f"Map option metric is {self.metric!r}: expected one of {', '.join(neighbours.METRICS)}.")
        if self.epochs is not None and self.epochs < 1:
            raise EngineError(f"Map option epochs is {self.epochs}: expected at least 1.")
        if not 0.0 <= self.min_dist <= 1.0:
            raise EngineError(f"Map option min_dist is {self.min_dist}: expected 0 to 1.")


@dataclass(frozen=True)
class MapResult:
    """A map of n rows.

    xy float32 (n, 2): positions, the longer half-side is 1. neighbours int32 (n, k) and distances float32 (n, k):
    nearest other rows in feature space, nearest first. cluster int32 (n,): 0 is the largest, -1 none. fitted bool
    (n,): laid out by UMAP rather than placed beside fitted rows. centres float32 (c, 2): where each label stands.
    labels: one per cluster. trust: trustworthiness (0..1; Venna & Kaski 2001) of the positions on a sample of rows,
    NaN for too few rows. notes: what a reader of the map should know.
    """

    xy: NDArray[np.float32]
    neighbours: NDArray[np.int32]
    distances: NDArray[np.float32]
    cluster: NDArray[np.int32]
    fitted: NDArray[np.bool_]
    centres: NDArray[np.float32]
    labels: list[str]
    trust: float
    notes: tuple[str, ...]
    seed: int
    config: MapConfig
    versions: dict[str, str] = field(default_factory=dict)

    @property
    def sizes(self) -> NDArray[np.int64]:
        """Rows of each cluster, (c,)."""
        return np.bincount(self.cluster[self.cluster >= 0], minlength=len(self.labels))


def build_map(
    features: NDArray[np.floating[Any]],
    texts: Texts,
    *,
    seed: int = 0,
    config: MapConfig | None = None,
    reporter: Reporter | None = None,
) -> MapResult:
    """Neighbours, positions, clusters and labels of n rows; the same input and seed give the same map.

    Args:
        features: (n, d), any float type, may be memory-mapped; one row per pool row, in pool order.
        texts: the rows' prompts, or a function from row numbers to their prompts; read for a sample only.
        seed: of every random choice.
        reporter: told the phases neighbours, layout, placing, clusters, labels.

    Raises `EngineError` where there is no row, or none with finite features.
    """
    options, listener = config or MapConfig(), reporter or Silent()
    usable, notes = _usable(features)
    rows = Rows(features, usable, unit=options.metric == "cosine")
    search, note = _searchable(rows, options, seed=seed)
    notes += note
    found = _neighbours(rows, search, options, seed=seed, reporter=listener)
    positions, fitted, note = _positions(search, found, options, seed=seed, reporter=listener)
    notes += note
    listener.phase("clusters", 1, "step")
    alike = float(found.distance.max(initial=0.0)) <= layout.ALIKE
    codes = np.zeros(len(rows), np.int32) if alike else clusters.cluster(positions, seed=seed)
    trust = trustworthiness(rows, positions, seed=seed)
    listener.advance(1)
    names = labels.label_clusters(codes, _of_usable(texts, usable), seed=seed, reporter=listener)
    everywhere = _Widening(len(features), usable)
    return MapResult(
        xy=everywhere(positions, np.nan),
        neighbours=everywhere(usable.astype(np.int32)[found.index], -1),
        distances=everywhere(found.distance, np.nan),
        cluster=everywhere(codes, clusters.NOISE),
        fitted=everywhere(fitted, False),
        centres=clusters.centres(positions, codes),
        labels=names,
        trust=trust,
        notes=tuple(notes),
        seed=seed,
        config=options,
        versions={name: metadata.version(name) for name in ("umap-learn", "scikit-learn", "torch", "numpy")},
    )


@dataclass(frozen=True)
class Rows:
    """The usable rows of a feature table, read as float32 (m, d) block by block; of unit length where `unit`."""

    features: NDArray[np.floating[Any]]
    usable: NDArray[np.int64]
    unit: bool

    def __len__(self) -> int:
        """Usable rows."""
        return len(self.usable)

    @property
    def dims(self) -> int:
        """Features of a row."""
        return int(self.features.shape[1])

    def __getitem__(self, which: slice | NDArray[np.integer]) -> Features:
        """Rows by position among the usable ones."""
        block = np.asarray(self.features[self.usable[which]], dtype=np.float32)
        return neighbours.unit_rows(block) if self.unit else block

    def whole(self) -> Features:
        """All usable rows in memory."""
        out = np.empty((len(self), self.dims), dtype=np.float32)
        for start in range(0, len(self), 50_000):
            out[start : start + 50_000] = self[start : start + 50_000]
        return out


@dataclass(frozen=True)
class _Widening:
    """Puts the usable rows' values back among all `n` rows."""

    n: int
    usable: NDArray[np.int64]

    def __call__(self, values: NDArray[Any], missing: float) -> NDArray[Any]:
        """`values` (m, ...) at the usable rows of an array (n, ...), `missing` elsewhere."""
        if len(self.usable) == self.n:
            return values
        out = np.full((self.n, *values.shape[1:]), missing, dtype=values.dtype)
        out[self.usable] = values
        return out


def trustworthiness(
    features: Features | Rows, xy: NDArray[np.float32], *, seed: int = 0, rows: int = _TRUST_ROWS
) -> float:
    """How far neighbours on the map are neighbours in Euclidean feature space, on at most `rows` seeded rows.

    1 is faithful, about 0.5 is chance; NaN below 12 rows, where the measure is not defined.
    """
    if len(xy) < 12:
        return float("nan")
    from sklearn.manifold import trustworthiness as measure

    some = layout.fitted_rows(len(xy), rows, seed=seed)
    return float(measure(np.asarray(features[some]), xy[some], n_neighbors=min(10, (len(some) - 1) // 2)))


def _usable(features: NDArray[np.floating[Any]]) -> tuple[NDArray[np.int64], list[str]]:
    """Row numbers with finite features, and a note about the others."""
    if features.ndim != 2 or not len(features) or not features.shape[1]:
        raise EngineError(
            f"A map needs at least one row of features: got an array of shape {features.shape}. Nothing was written."
        )
    finite = np.concatenate(
        [np.isfinite(features[start : start + 50_000]).all(axis=1) for start in range(0, len(features), 50_000)]
    )
    if not finite.any():
        raise EngineError("No sample has finite features, so there is nothing to map. Nothing was written.")
    lost = int(len(finite) - finite.sum())
    return np.flatnonzero(finite), [f"{lost:,} samples have no features and are not on the map"] if lost else []


def _searchable(rows: Rows, options: MapConfig, *, seed: int) -> tuple[Features, list[str]]:
    """The features neighbours are searched in: all of them, or their main axes where the search is approximate."""
    if len(rows) <= options.exact_up_to or rows.dims <= 2 * options.search_dims:
        return rows.whole(), []
    reduced = layout.main_axes(rows, dims=options.search_dims, seed=seed)
    some = layout.fitted_rows(len(rows), 20_000, seed=seed)
    kept = float(reduced[some].var(axis=0).sum() / max(1e-30, float(rows[some].var(axis=0).sum())))
    return reduced, [
        f"neighbours were searched on the features' first {options.search_dims} main axes ({kept:.0%} of the variance)"
    ]


def _neighbours(
    rows: Rows, search: Features, options: MapConfig, *, seed: int, reporter: Reporter
) -> neighbours.Neighbours:
    """Neighbours among usable rows, with distances in the full features; `search` is prepared, so Euclid orders it."""
    found = neighbours.nearest(
        search,
        options.neighbours,
        metric="euclidean",
        seed=seed,
        exact_up_to=options.exact_up_to,
        reporter=reporter,
    )
    return neighbours.measured(rows, found.index, metric=options.metric)


def _positions(
    search: Features, found: neighbours.Neighbours, options: MapConfig, *, seed: int, reporter: Reporter
) -> tuple[NDArray[np.float32], NDArray[np.bool_], list[str]]:
    """Positions (m, 2), which rows were fitted, and notes; `search` holds prepared rows, so Euclid orders them."""
    fit_on = layout.fitted_rows(len(search), options.fit_rows, seed=seed)
    among = found
    if len(fit_on) < len(search):
        among = neighbours.nearest(
            search[fit_on],
            options.neighbours,
            metric="euclidean",
            seed=seed,
            exact_up_to=options.exact_up_to,
            reporter=reporter,
        )
    placed, how = layout.fit(
        search[fit_on], among, seed=seed, epochs=options.epochs, min_dist=options.min_dist, reporter=reporter
    )
    notes = [] if how == "UMAP" else [how]
    fitted = np.zeros(len(search), dtype=bool)
    fitted[fit_on] = True
    positions = np.empty((len(search), 2), dtype=np.float32)
    positions[fit_on] = placed
    if len(fit_on) < len(search):
        rest = np.flatnonzero(~fitted)
        beside = neighbours.nearest_among(
            search[rest],
            search[fit_on],
            5,
            metric="euclidean",
            seed=seed,
            exact_up_to=options.exact_up_to,
            reporter=reporter,
        )
        positions[rest] = layout.place(placed, beside, seed=seed)
        notes.append(f"UMAP was fitted to {len(fit_on):,} samples; {len(rest):,} were placed beside their nearest")
    return layout.centred(positions), fitted, notes


def _of_usable(texts: Texts, usable: NDArray[np.int64]) -> Texts:
    def fetch(rows: NDArray[np.int64]) -> Sequence[str]:
        wanted = usable[rows]
        return texts(wanted) if callable(texts) else [texts[int(row)] for row in wanted]

    return fetch


def save(result: MapResult, folder: Path) -> None:
    """Write the arrays and then `map.json` into `folder`, which is made where missing."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in _ARRAYS:
        np.save(folder / f"{name}.npy", getattr(result, name), allow_pickle=False)
    described = {
        "format_version": FORMAT_VERSION,
        "rows": len(result.xy),
        "labels": result.labels,
        "trust": None if np.isnan(result.trust) else result.trust,
        "notes": list(result.notes),
        "seed": result.seed,
        "config": asdict(result.config),
        "versions": result.versions,
    }
    (folder / "map.json").write_text(json.dumps(described, indent=1, ensure_ascii=False), encoding="utf-8")


def load(folder: Path) -> MapResult:
    """Read a saved map, its arrays memory-mapped; raise `EngineError` where it is missing or of a newer form."""
    path = folder / "map.json"
    if not path.is_file():
        raise EngineError(f"There is no finished map in {folder}: map.json is missing. Build the map again.")
    described = json.loads(path.read_text(encoding="utf-8"))
    if described["format_version"] != FORMAT_VERSION:
        raise EngineError(
            f"The map in {folder} has format {described['format_version']}, this version reads {FORMAT_VERSION}. "
            "Build the map again; the folder was left as it is."
        )
    arrays = {name: np.load(folder / f"{name}.npy", mmap_mode="r", allow_pickle=False) for name in _ARRAYS}
    return MapResult(
        **arrays,
        labels=described["labels"],
        trust=float("nan") if described["trust"] is None else described["trust"],
        notes=tuple(described["notes"]),
        seed=described["seed"],
        config=MapConfig(**described["config"]),
        versions=described["versions"],
    )
