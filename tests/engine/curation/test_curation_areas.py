"""Which positions lie in a lasso or a box: against a point-by-point oracle, at the edges, and in time."""

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.curation.areas import polygon_mask

SQUARE = [(0.0, 0.0), (2.0, 0.0), (2.0, 2.0), (0.0, 2.0)]


def oracle(xy: np.ndarray, polygon: list[tuple[float, float]]) -> np.ndarray:
    """Slow: one position at a time, crossings of a ray to the right counted over all edges."""
    inside = []
    for x, y in xy.astype(float).tolist():
        odd = False
        for (ax, ay), (bx, by) in zip(polygon, polygon[1:] + polygon[:1], strict=True):
            if ay > by:
                ax, ay, bx, by = bx, by, ax, ay
            if ay <= y < by and x < ax + (y - ay) * ((bx - ax) / (by - ay)):
                odd = not odd
        inside.append(odd)
    return np.array(inside, dtype=bool)


@settings(max_examples=120, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    corners=st.integers(3, 40),
    n=st.integers(0, 400),
    scale=st.sampled_from([1e-3, 1.0, 500.0]),
    snapped=st.booleans(),
)
def test_equals_the_oracle(seed: int, corners: int, n: int, scale: float, snapped: bool) -> None:
    rng = np.random.default_rng(seed)
    xy, polygon = rng.normal(size=(n, 2)), rng.normal(size=(corners, 2))  # crosses itself
    if snapped:  # positions on edges and corners
        xy, polygon = np.round(xy * 2) / 2, np.round(polygon * 2) / 2
    xy, shape = (xy * scale).astype(np.float32), [(x, y) for x, y in (polygon * scale).tolist()]
    np.testing.assert_array_equal(polygon_mask(xy, shape), oracle(xy, shape))


def test_edges_belong_to_one_side_only() -> None:
    xy = np.array([[0, 0], [0, 1], [1, 0], [2, 1], [1, 2], [2, 2], [1, 1]], dtype=np.float32)
    assert polygon_mask(xy, SQUARE).tolist() == [True, True, True, False, False, False, True]
    beside = [(x + 2, y) for x, y in SQUARE]
    assert not (polygon_mask(xy, SQUARE) & polygon_mask(xy, beside)).any()


def test_a_hole_is_a_hole() -> None:
    star = [(np.cos(4 * np.pi * i / 5), np.sin(4 * np.pi * i / 5)) for i in range(5)]  # pentagram
    assert polygon_mask(np.array([[0.0, 0.0], [0.7, 0.0]], np.float32), star).tolist() == [False, True]


@pytest.mark.parametrize(
    "polygon",
    [[], [(0, 0)], [(0, 0), (1, 1)], [(0, 0), (1, 0), (2, 0)], [(1, 1)] * 5, [(0, 0), (1, float("nan")), (1, 1)]],
)
def test_shapes_without_an_inside_contain_nothing(polygon: list[tuple[float, float]]) -> None:
    assert not polygon_mask(np.random.default_rng(0).normal(size=(50, 2)).astype(np.float32), polygon).any()


def test_rows_without_a_place_are_never_inside() -> None:
    xy = np.array([[np.nan, 1], [1, np.nan], [1, 1], [np.inf, 1], [1e30, -1e30]], dtype=np.float32)
    assert polygon_mask(xy, SQUARE).tolist() == [False, False, True, False, False]


def test_a_far_away_map_keeps_its_digits() -> None:
    xy = np.array([[1000.0625, 0.5], [1000.4375, 0.5]], dtype=np.float32)
    assert polygon_mask(xy, [(1000.25, 0), (1001, 0), (1001, 1), (1000.25, 1)]).tolist() == [False, True]


def test_a_large_sample_equals_the_oracle_near_the_edges() -> None:
    rng = np.random.default_rng(5)
    angle = np.linspace(0, 2 * np.pi, 60, endpoint=False)
    reach = 1 + 0.4 * np.sin(5 * angle)
    polygon = [(x, y) for x, y in np.stack([reach * np.cos(angle), reach * np.sin(angle)], axis=1).tolist()]
    xy = rng.normal(size=(200_000, 2)).astype(np.float32)
    mask = polygon_mask(xy, polygon)
    some = rng.choice(len(xy), 2000, replace=False)
    np.testing.assert_array_equal(mask[some], oracle(xy[some], polygon))


def test_a_million_positions_take_a_fraction_of_a_second() -> None:
    xy = np.random.default_rng(0).normal(size=(1_000_000, 2)).astype(np.float32)
    angle = np.linspace(0, 2 * np.pi, 25, endpoint=False)
    polygon = [(x, y) for x, y in np.stack([np.cos(angle), np.sin(angle)], axis=1).tolist()]
    best = np.inf
    for _ in range(4):
        begun = time.process_time()
        polygon_mask(xy, polygon)
        best = min(best, time.process_time() - begun)
    assert best < 0.3
