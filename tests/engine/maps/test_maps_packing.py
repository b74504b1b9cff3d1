"""Islands drawn together: rigid, apart from each other, smaller in extent, the same every time."""

import numpy as np
import pytest
from scipy.spatial.distance import pdist

from engine.maps.packing import drawn_together, islands, packed


def scattered(count: int = 9, each: int = 40, *, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """`count` far-flung round islands, and the island of each position."""
    rng = np.random.default_rng(seed)
    middle = 40.0 * np.stack(np.unravel_index(np.arange(count), (3, 3)), axis=1) + rng.uniform(-5, 5, (count, 2))
    code = np.repeat(np.arange(count), each)
    return (middle[code] + rng.normal(size=(count * each, 2))).astype(np.float32), code


def test_islands_are_what_short_steps_link() -> None:
    xy, code = scattered(each=120)
    found = islands(xy)
    for island in range(9):
        commonest = np.bincount(found[code == island]).argmax()
        assert (found[code == island] == commonest).mean() > 0.95
    assert len({np.bincount(found[code == island]).argmax() for island in range(9)}) == 9


def test_the_map_shrinks_and_no_island_changes_its_shape() -> None:
    xy, _ = scattered()
    found, after = islands(xy), packed(xy)
    assert after.dtype == np.float32
    assert np.ptp(after, axis=0).max() < 0.6 * np.ptp(xy, axis=0).max()
    for island in np.unique(found):
        np.testing.assert_allclose(pdist(after[found == island]), pdist(xy[found == island]), atol=1e-3)
    np.testing.assert_array_equal(after, packed(xy))


def test_discs_do_not_overlap_and_keep_their_sides() -> None:
    rng = np.random.default_rng(2)
    centre, radius = rng.uniform(-50, 50, (30, 2)), rng.uniform(0.5, 3, 30)
    after = drawn_together(centre, radius, weight=radius**2)
    apart = np.linalg.norm(after[:, None] - after[None], axis=2) + np.diag(np.full(30, np.inf))
    assert (apart - radius[:, None] - radius[None] > -0.35 * radius.max()).all()
    far = np.abs(centre[:, 0]) > 25
    assert (np.sign(after[far, 0] - after[:, 0].mean()) == np.sign(centre[far, 0])).mean() > 0.8


@pytest.mark.parametrize(
    "xy", [np.zeros((1, 2)), np.eye(2), np.zeros((30, 2)), np.random.default_rng(0).normal(size=(80, 2))]
)
def test_few_equal_or_joined_positions_are_defined(xy: np.ndarray) -> None:
    after = packed(xy.astype(np.float32))
    assert after.shape == xy.shape and np.isfinite(after).all()


def test_a_thousand_single_rows_do_not_make_a_thousand_islands() -> None:
    xy = np.random.default_rng(1).uniform(size=(3000, 2)) ** 8 * 1000  # ever thinner outwards
    assert islands(xy.astype(np.float32)).max() < 800
