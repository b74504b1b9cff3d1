"""Surprise against a plain loop, and the cases it must not mistake."""

import numpy as np
import pytest

from engine.data import surprise as surprise_module
from engine.data.surprise import THRESHOLD, surprise


def brute(loss: np.ndarray, neighbours: np.ndarray) -> list[float]:
    excess = []
    for row, near in enumerate(neighbours):
        others = [loss[n] for n in near if n >= 0 and n != row and np.isfinite(loss[n])]
        excess.append(loss[row] - np.median(others) if others and np.isfinite(loss[row]) else np.nan)
    centred = np.array(excess) - np.nanmedian(excess)
    return (centred / (1.4826 * np.nanmedian(np.abs(centred)))).tolist()


@pytest.mark.parametrize("block", [7, 50_000])
def test_same_as_a_loop_with_gaps(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(surprise_module, "BLOCK", block)
    rng = np.random.default_rng(0)
    loss = rng.gamma(2.0, size=200)
    loss[rng.choice(200, 20, replace=False)] = np.nan
    neighbours = rng.integers(-1, 200, (200, 7))
    neighbours[5] = -1
    found = surprise(loss, neighbours)
    np.testing.assert_allclose(found, brute(loss, neighbours), rtol=1e-5)
    assert found.dtype == np.float32 and np.isnan(found[5])


def test_a_hard_task_surprises_nobody_but_a_wrong_answer_does() -> None:
    rng = np.random.default_rng(1)
    loss = np.concatenate([rng.normal(0.5, 0.05, 300), rng.normal(3.0, 0.05, 300)])
    loss[7] = 1.5
    neighbours = np.concatenate([rng.integers(0, 300, (300, 15)), rng.integers(300, 600, (300, 15))])
    found = surprise(loss, neighbours)
    assert found[7] > THRESHOLD
    assert np.delete(found, 7).max() < THRESHOLD


def test_a_row_is_not_compared_with_itself() -> None:
    assert surprise([1.0, 1.0, 9.0, 1.2], [[0, 1], [1, 0], [2, 2], [3, 1]])[2] != pytest.approx(0.0)
    assert np.isnan(surprise([1.0, 1.0, 9.0, 1.2], [[0, 1], [1, 0], [2, 2], [3, 1]])[2])


def test_nothing_known_and_nothing_different() -> None:
    assert np.isnan(surprise([np.nan, np.nan], [[1], [0]])).all()
    assert surprise([2.0, 2.0, 2.0], [[1, 2], [0, 2], [0, 1]]).tolist() == [0.0, 0.0, 0.0]
    assert surprise([], np.zeros((0, 3), int)).shape == (0,)
    assert np.isnan(surprise([1.0, 2.0], np.zeros((2, 0), int))).all()
