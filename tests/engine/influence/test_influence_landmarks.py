"""Audit rows and landmarks: drawn without replacement, disjoint, seeded, within what is usable."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import EngineError
from engine.influence.landmarks import audit_rows, choose_landmarks


@given(data=st.data(), n=st.integers(1, 60), seed=st.integers(0, 9))
def test_landmarks_and_audit_are_disjoint_draws_of_usable_rows(data, n, seed):
    usable = np.array(data.draw(st.lists(st.booleans(), min_size=n, max_size=n)))
    rows = np.flatnonzero(usable)
    m = data.draw(st.integers(0, len(rows)))
    count = data.draw(st.integers(0, len(rows) - m))
    audit = audit_rows(usable, m, seed=seed)
    landmarks = choose_landmarks(rows, count, seed=seed, exclude=audit)
    together = np.concatenate([audit, landmarks])
    assert len(audit) == m and len(landmarks) == count
    assert len(set(together)) == m + count and set(together) <= set(rows)
    assert audit.dtype == landmarks.dtype == np.int64
    assert (np.diff(audit) > 0).all() and (np.diff(landmarks) > 0).all()


def test_the_seed_decides_and_the_order_given_does_not():
    rows = np.arange(5, 105)
    first = audit_rows(rows, 20, seed=1)
    assert np.array_equal(first, audit_rows(rows[::-1], 20, seed=1))
    assert not np.array_equal(first, audit_rows(rows, 20, seed=2))
    assert not np.array_equal(first, choose_landmarks(rows, 20, seed=1))


def test_the_draw_is_uniform():
    counts = np.zeros(10)
    for seed in range(2000):
        counts[audit_rows(np.arange(10), 3, seed=seed)] += 1
    assert np.abs(counts - 600).max() < 90  # about four standard deviations


@pytest.mark.parametrize("count", [-1, 4])
def test_too_many_rows_are_refused(count):
    with pytest.raises(EngineError, match="3 rows can serve"):
        choose_landmarks(np.arange(5), count, seed=0, exclude=[0, 1])
