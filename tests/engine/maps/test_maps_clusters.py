"""Clusters: sensible sizes from a hundred rows to a million, determinism, label places inside their cluster."""

import numpy as np
import pytest

from engine.maps import clusters


def islands(n: int, count: int, *, seed: int = 0, strays: float = 0.0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    middles = np.stack(np.meshgrid(np.arange(5), np.arange(5)), axis=2).reshape(-1, 2)[:count] / 5
    xy = middles[rng.integers(0, count, n)] + rng.normal(scale=0.02, size=(n, 2))
    lost = rng.random(n) < strays
    xy[lost] = rng.uniform(-1, 2, (int(lost.sum()), 2))
    return xy.astype(np.float32)


@pytest.mark.parametrize("n", [100, 1000, 200_000])
def test_islands_are_found_at_every_size(n: int) -> None:
    xy = islands(n, 5)
    codes = clusters.cluster(xy, seed=1)
    sizes = np.bincount(codes[codes >= 0])
    assert len(sizes) == 5
    assert (codes >= 0).mean() > 0.95
    assert (np.diff(sizes) <= 0).all()
    np.testing.assert_array_equal(codes, clusters.cluster(xy, seed=1))


def test_a_map_without_gaps_is_cut_into_parts() -> None:
    xy = np.random.default_rng(0).uniform(size=(3000, 2)).astype(np.float32)
    sizes = np.bincount(clusters.cluster(xy) + 1)[1:]
    assert 3 <= len(sizes) <= 60
    assert sizes.max() <= 0.45 * len(xy)


def test_strays_far_from_any_island_are_noise() -> None:
    xy = islands(2000, 4, strays=0.05)
    xy[0] = (40, 40)
    codes = clusters.cluster(xy)
    assert codes[0] == clusters.NOISE
    assert 0 < (codes == clusters.NOISE).mean() < 0.1


def test_few_rows_or_one_place_are_one_cluster() -> None:
    assert clusters.cluster(islands(7, 2)).tolist() == [0] * 7
    assert set(clusters.cluster(np.ones((50, 2), np.float32))) == {0}


def test_by_size_numbers_the_largest_zero() -> None:
    codes = np.array([4, 2, 2, -1, 7, 7, 7], dtype=np.int32)
    assert clusters.by_size(codes).tolist() == [2, 1, 1, -1, 0, 0, 0]
    assert clusters.by_size(np.array([-1, -1], dtype=np.int32)).tolist() == [-1, -1]


def test_a_label_stands_on_a_member_of_its_cluster() -> None:
    ring = np.stack([np.cos(np.arange(60)), np.sin(np.arange(60))], axis=1).astype(np.float32)
    place = clusters.centres(ring, np.zeros(60, np.int32))[0]
    assert np.linalg.norm(ring - place, axis=1).min() == 0  # not the empty middle
