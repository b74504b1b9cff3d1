"""Neighbours: the blocked search against a full sort, ties, tiny inputs, and the approximate search's recall."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.errors import EngineError
from engine.maps import neighbours
from engine.maps.neighbours import Metric, measured, nearest, nearest_among, unit_rows


def sorted_distances(features: np.ndarray, metric: Metric) -> np.ndarray:
    """Slow oracle: every distance in float64, each row's sorted, the row itself left out, (n, n - 1)."""
    rows = features.astype(np.float64)
    if metric == "cosine":
        rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    distance = np.linalg.norm(rows[:, None] - rows[None], axis=2)
    if metric == "cosine":
        distance = distance**2 / 2
    np.fill_diagonal(distance, np.inf)
    return np.sort(distance, axis=1)[:, :-1]


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_exact_search_equals_a_full_sort(metric: Metric, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbours, "_BLOCK_ENTRIES", 700)  # several blocks
    features = np.random.default_rng(0).normal(size=(90, 7)).astype(np.float32) * 3 + 5
    found = nearest(features, 6, metric=metric)
    assert found.index.dtype == np.int32 and found.distance.dtype == np.float32
    np.testing.assert_allclose(found.distance, sorted_distances(features, metric)[:, :6], rtol=1e-3, atol=1e-6)
    assert (found.index != np.arange(90)[:, None]).all()


@settings(max_examples=30, deadline=None)
@given(n=st.integers(1, 24), k=st.integers(1, 30), copies=st.integers(1, 4), seed=st.integers(0, 9))
def test_every_size_is_defined(n: int, k: int, copies: int, seed: int) -> None:
    features = np.repeat(np.random.default_rng(seed).normal(size=(n, 3)).astype(np.float32), copies, axis=0)
    found = nearest(features, k)
    total = n * copies
    assert found.index.shape == found.distance.shape == (total, min(k, total - 1))
    assert ((found.index >= 0) & (found.index < total)).all()
    assert all(len(set(row)) == len(row) for row in found.index.tolist())
    assert (np.diff(found.distance, axis=1) >= 0).all()


def test_identical_rows_are_their_neighbours_in_row_order() -> None:
    features = np.repeat(np.eye(3, dtype=np.float32), 4, axis=0)
    found = nearest(features, 3)
    assert found.index[5].tolist() == [4, 6, 7]
    assert (found.distance == 0).all()


def test_near_duplicates_keep_their_digits() -> None:
    features = np.array([[1, 0], [1, 1e-4], [0, 1]], dtype=np.float32)
    assert nearest(features, 1).distance[0, 0] == pytest.approx(0.5e-8, rel=1e-3)


def test_zero_and_huge_rows_are_defined() -> None:
    features = np.array([[0, 0], [1e30, 1e30], [3, 3], [0, 0]], dtype=np.float32)
    found = nearest(features, 1)
    assert np.isfinite(found.distance).all()
    assert found.index[0, 0] == 3 and found.index[1, 0] == 2
    np.testing.assert_allclose(np.linalg.norm(unit_rows(features)[1]), 1.0, rtol=1e-6)


def test_chunked_placing_equals_one_pass() -> None:
    rng = np.random.default_rng(1)
    base, queries = rng.normal(size=(60, 5)).astype(np.float32), rng.normal(size=(50, 5)).astype(np.float32)
    whole, parts = nearest_among(queries, base, 4), nearest_among(queries, base, 4, block=7)
    np.testing.assert_array_equal(whole.index, parts.index)
    assert nearest_among(queries[:0], base, 4).index.shape == (0, 4)


def test_measured_orders_by_true_distance() -> None:
    features = unit_rows(np.random.default_rng(2).normal(size=(40, 6)).astype(np.float32))
    exact = nearest(features, 5)
    again = measured(features, exact.index[:, ::-1].copy(), metric="cosine", block=9)
    np.testing.assert_array_equal(again.index, exact.index)


def test_approximate_search_is_seeded_and_finds_nearly_all() -> None:
    rng = np.random.default_rng(3)
    features = (rng.normal(size=(8, 16))[rng.integers(0, 8, 900)] + 0.3 * rng.normal(size=(900, 16))).astype(np.float32)
    exact = nearest(features, 8)
    first, second = (nearest(features, 8, exact_up_to=100, seed=5) for _ in range(2))
    np.testing.assert_array_equal(first.index, second.index)
    recall = np.mean(
        [len(set(a) & set(b)) / 8 for a, b in zip(exact.index.tolist(), first.index.tolist(), strict=True)]
    )
    assert recall > 0.95
    assert (first.index != np.arange(900)[:, None]).all()
    placed = nearest_among(features[:50], features, 3, exact_up_to=100, seed=5)
    assert (placed.index[:, 0] == np.arange(50)).mean() > 0.95


@pytest.mark.parametrize(
    ("k", "metric", "message"), [(0, "cosine", "at least 1"), (3, "manhattan", "Unknown distance")]
)
def test_nonsense_is_refused(k: int, metric: Metric, message: str) -> None:
    with pytest.raises(EngineError, match=message):
        nearest(np.ones((4, 2), dtype=np.float32), k, metric=metric)
