"""The whole map: determinism, placement beside true neighbours, tiny and degenerate inputs, the saved form."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from engine.errors import Cancelled, EngineError
from engine.maps import layout
from engine.maps.build import MapConfig, MapResult, build_map, load, save, trustworthiness
from engine.maps.neighbours import nearest_among
from engine.progress import Silent

QUICK = MapConfig(epochs=60)
TOPICS = ("python sort function", "capital city country", "tree climate carbon", "price sum apples")


def constructed(n: int, *, seed: int = 0, d: int = 24) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Features of `n` rows in four blobs, the blob of each, and a prompt about its topic."""
    rng = np.random.default_rng(seed)
    blob = rng.integers(0, 4, n)
    features = (4 * rng.normal(size=(4, d))[blob] + rng.normal(size=(n, d))).astype(np.float32)
    return features, blob, [f"Please write about the {TOPICS[b]} number {i}" for i, b in enumerate(blob)]


@pytest.fixture(scope="module")
def built() -> tuple[MapResult, np.ndarray]:
    features, blob, texts = constructed(400)
    return build_map(features, texts, seed=3, config=QUICK), blob


def same(a: MapResult, b: MapResult) -> bool:
    arrays = ("xy", "neighbours", "distances", "cluster", "fitted", "centres")
    return a.labels == b.labels and all(
        np.array_equal(getattr(a, name), getattr(b, name), equal_nan=getattr(a, name).dtype.kind == "f")
        for name in arrays
    )


def test_the_same_seed_gives_the_same_map_and_another_another(built: tuple[MapResult, np.ndarray]) -> None:
    features, _, texts = constructed(400)
    assert same(build_map(features, texts, seed=3, config=QUICK), built[0])
    assert not np.array_equal(build_map(features, texts, seed=4, config=QUICK).xy, built[0].xy)


def test_blobs_become_clusters_named_after_their_words(built: tuple[MapResult, np.ndarray]) -> None:
    result, blob = built
    assert len(result.labels) == len(set(result.labels)) == 4
    for code in range(4):
        members = blob[result.cluster == code]
        commonest = np.bincount(members).argmax()
        assert (members == commonest).mean() > 0.98
        words = set(result.labels[code].replace(",", " ").split())
        assert len(words) in (2, 3, 4) and words & set(TOPICS[commonest].split())
    assert result.sizes.tolist() == sorted(result.sizes.tolist(), reverse=True)
    assert result.sizes.sum() + (result.cluster < 0).sum() == 400


def test_shapes_types_and_extent(built: tuple[MapResult, np.ndarray]) -> None:
    result, _ = built
    assert result.xy.shape == (400, 2) and result.xy.dtype == np.float32
    assert result.neighbours.dtype == np.int32 and result.distances.dtype == np.float32
    assert result.cluster.dtype == np.int32 and result.fitted.all()
    assert np.abs(result.xy).max() == pytest.approx(1.0, abs=1e-5)
    assert result.trust > 0.8
    assert set(result.versions) >= {"umap-learn", "numpy"}


def test_rows_that_were_not_fitted_lie_beside_their_neighbours() -> None:
    features, blob, texts = constructed(1200, seed=5)
    result = build_map(features, texts, seed=1, config=MapConfig(fit_rows=300, epochs=80))
    assert result.fitted.sum() == 300
    assert any("fitted to 300 samples; 900 were placed" in note for note in result.notes)
    rest = ~result.fitted
    shuffled = result.xy[rest][np.random.default_rng(0).permutation(900)]
    assert trustworthiness(features[rest], result.xy[rest]) > trustworthiness(features[rest], shuffled) + 0.25
    middles = np.stack([np.median(result.xy[result.fitted & (blob == b)], axis=0) for b in range(4)])
    nearest_blob = np.linalg.norm(result.xy[rest, None] - middles[None], axis=2).argmin(axis=1)
    assert (nearest_blob == blob[rest]).mean() > 0.97


def test_a_placed_row_stays_on_its_island() -> None:
    fitted = np.concatenate([np.random.default_rng(0).normal(size=(50, 2)) * 0.1 + c for c in (0, 9)]).astype(
        np.float32
    )
    base = np.concatenate([np.full((50, 1), -1.0), np.full((50, 1), 1.0)]).astype(np.float32)
    base += np.random.default_rng(1).normal(size=base.shape).astype(np.float32) * 0.01
    queries = np.array([[-0.02], [0.02]], dtype=np.float32)  # almost between the two, hence mixed neighbours
    found = nearest_among(queries, base, 5, metric="euclidean")
    found.index[:, -1] = (99, 0)  # one neighbour on the other island
    placed = layout.place(fitted, found, seed=0)
    assert np.linalg.norm(placed[0] - 0) < 1.5 and np.linalg.norm(placed[1] - 9) < 1.5


def test_the_approximate_way_gives_a_map_as_well() -> None:
    features, blob, texts = constructed(700, d=40)
    config = MapConfig(exact_up_to=100, search_dims=8, fit_rows=200, epochs=60)
    result = build_map(features, texts, seed=0, config=config)
    assert any("first 8 main axes" in note for note in result.notes)
    assert (blob[result.neighbours[:, 0]] == blob).mean() > 0.97
    assert same(result, build_map(features, texts, seed=0, config=config))


@pytest.mark.parametrize("n", [1, 2, 3, 5, 14, 15, 17, 22])
def test_few_rows_are_defined(n: int) -> None:
    features, _, texts = constructed(n)
    result = build_map(features, texts, config=QUICK)
    assert result.xy.shape == (n, 2) and np.isfinite(result.xy).all()
    assert result.neighbours.shape == (n, min(15, n - 1))
    assert len(result.labels) >= 1 and (result.cluster >= -1).all()
    if n > 1:
        assert len(np.unique(result.xy, axis=0)) == n


def test_rows_without_any_difference_lie_on_a_disc() -> None:
    result = build_map(np.ones((60, 5)), ["maps of towns"] * 60)
    assert result.notes == ("the features do not differ: an even disc",)
    assert len(np.unique(result.xy, axis=0)) == 60 and set(result.cluster) == {0}


def test_identical_rows_among_others_do_not_break_the_map() -> None:
    features, _, texts = constructed(30)
    result = build_map(np.repeat(features, 20, axis=0), texts * 20, config=QUICK)
    assert np.isfinite(result.xy).all()


def test_rows_without_features_have_no_place_but_are_counted() -> None:
    features, _, texts = constructed(80)
    features[[0, 7]] = np.nan
    result = build_map(features, texts, config=QUICK)
    assert np.isnan(result.xy[[0, 7]]).all() and (result.cluster[[0, 7]] == -1).all()
    assert (result.neighbours[0] == -1).all() and not np.isin(result.neighbours[1:7], [0, 7]).any()
    assert np.isfinite(result.xy[1:7]).all()
    assert result.notes[0].startswith("2 samples have no features")


def test_texts_may_be_fetched_and_only_for_a_sample() -> None:
    features, _, texts = constructed(80)
    asked: list[int] = []

    def fetch(rows: np.ndarray) -> list[str]:
        asked.extend(rows.tolist())
        return [texts[row] for row in rows]

    assert build_map(features, fetch, config=QUICK).labels == build_map(features, texts, config=QUICK).labels
    assert set(asked) <= set(range(80))


class Stopping(Silent):
    """Cancels in the layout's tenth epoch."""

    name, done = "", 0

    def phase(self, name: str, total: int, unit: str = "rows") -> None:
        self.name = name

    def advance(self, n: int) -> None:
        self.done += n if self.name == "layout" else 0

    def check(self) -> None:
        if self.done >= 10:
            raise Cancelled("asked to stop")


def test_the_layout_can_be_cancelled_midway() -> None:
    features, _, texts = constructed(300)
    with pytest.raises(Cancelled):
        build_map(features, texts, config=MapConfig(epochs=20_000), reporter=Stopping())


def test_save_and_load_round_trip(built: tuple[MapResult, np.ndarray], tmp_path: Path) -> None:
    save(built[0], tmp_path / "map")
    again = load(tmp_path / "map")
    assert same(again, built[0]) and isinstance(again.xy, np.memmap)
    assert (again.config, again.notes, again.trust, again.seed) == (QUICK, built[0].notes, built[0].trust, 3)
    save(dataclasses.replace(built[0], trust=float("nan")), tmp_path / "other")
    assert np.isnan(load(tmp_path / "other").trust)


def test_an_unfinished_or_foreign_map_is_refused(built: tuple[MapResult, np.ndarray], tmp_path: Path) -> None:
    with pytest.raises(EngineError, match=r"map\.json is missing"):
        load(tmp_path)
    save(built[0], tmp_path)
    described = json.loads((tmp_path / "map.json").read_text())
    (tmp_path / "map.json").write_text(json.dumps({**described, "format_version": 99}))
    with pytest.raises(EngineError, match="format 99"):
        load(tmp_path)


@pytest.mark.parametrize("features", [np.zeros((0, 3)), np.zeros((3, 0)), np.zeros(3), np.full((3, 2), np.nan)])
def test_nothing_to_map_is_an_error(features: np.ndarray) -> None:
    with pytest.raises(EngineError, match="Nothing was written"):
        build_map(features, ["a"] * len(features))


@pytest.mark.parametrize(
    "wrong", [{"neighbours": 1}, {"metric": "hamming"}, {"epochs": 0}, {"min_dist": 2.0}, {"fit_rows": 3}]
)
def test_a_config_that_makes_no_map_is_refused(wrong: dict) -> None:
    with pytest.raises(EngineError, match="Map option"):
        MapConfig(**wrong)
