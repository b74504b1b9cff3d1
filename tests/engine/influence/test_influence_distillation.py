"""Distillation: exact rows stay, others are propagated and comparable, the audit is never fitted to."""

import numpy as np
import pytest

from engine.errors import Cancelled, EngineError
from engine.influence.comparable import comparable_map
from engine.influence.distillation import Measured, distil
from engine.influence.fidelity import fidelity
from engine.influence.landmarks import audit_rows, choose_landmarks
from engine.influence.propagation import mapped
from engine.influence.regression import KernelRidge, RidgeConfig
from engine.influence.scores import Combination, over_sets
from engine.progress import Silent

N, T = 300, 5
RNG = np.random.default_rng(0)
EMBEDDINGS = RNG.normal(size=(N, 4)).astype(np.float32)
SCORES = np.tanh(EMBEDDINGS @ RNG.normal(size=(4, T)) + 0.2).astype(np.float32)
SETS = {"maths": [0, 1, 2], "code": [3, 4]}
COLUMNS = np.stack([SCORES[:, items].mean(axis=1) for items in SETS.values()], axis=1)
AUDIT = audit_rows(np.arange(N), 40, seed=0)
LANDMARKS = choose_landmarks(np.arange(N), 60, seed=0, exclude=AUDIT)
REST = np.setdiff1d(np.arange(N), np.concatenate([AUDIT, LANDMARKS]))


def measured(rows, columns=COLUMNS, items=SCORES):
    return Measured(np.asarray(rows, dtype=np.int64), columns[rows], items[rows])


def run(**changes):
    options = {"landmarks": measured(LANDMARKS), "audit": measured(AUDIT), "sets": tuple(SETS)}
    embeddings = changes.pop("embeddings", EMBEDDINGS)
    return distil(embeddings, **{**options, **changes})


def test_against_the_plain_formula():
    found = run()
    ridge = KernelRidge.fit(EMBEDDINGS[LANDMARKS], COLUMNS[LANDMARKS])
    raw, left_out = ridge.predict(EMBEDDINGS), ridge.leave_one_out()
    for j in range(2):
        slope = COLUMNS[LANDMARKS, j].std() / left_out[:, j].std()
        intercept = COLUMNS[LANDMARKS, j].mean() - slope * left_out[:, j].mean()
        np.testing.assert_allclose(found.columns[REST, j], intercept + slope * raw[REST, j], rtol=1e-4, atol=1e-5)
        assert found.maps[j].slope == pytest.approx(slope, rel=1e-4)
        np.testing.assert_allclose(found.audit_estimated[:, j], intercept + slope * raw[AUDIT, j], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found.score, found.columns.mean(axis=1), rtol=1e-6)
    np.testing.assert_allclose(found.plain, raw.mean(axis=1), rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(found.fitted_left_out, left_out.mean(axis=1), rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(found.fitted_exact, COLUMNS[LANDMARKS].mean(axis=1), rtol=1e-6)
    np.testing.assert_array_equal(found.columns[LANDMARKS], COLUMNS[LANDMARKS])
    np.testing.assert_array_equal(found.columns[AUDIT], COLUMNS[AUDIT])
    np.testing.assert_array_equal(found.audit_exact, COLUMNS[AUDIT])


def test_weights_and_sets_to_avoid_reach_the_score():
    combine = Combination((2.0, -1.0))
    found = run(combine=combine)
    np.testing.assert_allclose(found.score, combine(found.columns), rtol=1e-6)
    np.testing.assert_allclose(found.fitted_exact, combine(COLUMNS[LANDMARKS]), rtol=1e-6)
    np.testing.assert_array_equal(found.columns, run().columns)


def test_status_and_variance():
    found = run()
    assert (found.status[LANDMARKS] == 1).all() and (found.status[AUDIT] == 1).all() and (found.status[REST] == 2).all()
    ridge = KernelRidge.fit(EMBEDDINGS[LANDMARKS], COLUMNS[LANDMARKS])
    np.testing.assert_allclose(found.variance[REST], ridge.variance(EMBEDDINGS[REST]), rtol=1e-4, atol=1e-6)
    assert found.variance[LANDMARKS].max() == 0 and found.variance[AUDIT].max() == 0
    assert run(uncertainty=False).variance is None


def test_the_audit_slice_is_never_fitted_to():
    found = run()
    twisted = run(audit=measured(AUDIT, -7 * COLUMNS, -7 * SCORES))
    np.testing.assert_array_equal(found.columns[REST], twisted.columns[REST])
    np.testing.assert_array_equal(found.audit_estimated, twisted.audit_estimated)
    assert found.maps == twisted.maps
    np.testing.assert_array_equal(found.matrix[REST], twisted.matrix[REST])
    without = run(audit=None)
    np.testing.assert_array_equal(without.columns[REST], found.columns[REST])
    np.testing.assert_array_equal(without.columns[AUDIT], found.audit_estimated)


@pytest.mark.parametrize("chunk", [1, 13, 10_000])
def test_chunks_do_not_matter(chunk):
    found, whole = run(chunk=chunk), run()
    for name in ("columns", "score", "variance", "matrix"):
        np.testing.assert_allclose(getattr(found, name), getattr(whole, name), rtol=1e-4, atol=1e-5)
    assert (found.status == whole.status).all()


def test_propagated_columns_spread_like_exact_ones():
    items = SCORES + 2 * np.random.default_rng(1).normal(size=SCORES.shape).astype(np.float32)
    noisy = np.stack([items[:, chosen].mean(axis=1) for chosen in SETS.values()], axis=1)
    shrunk = RidgeConfig(ridge=1.0)
    found = run(landmarks=measured(LANDMARKS, noisy), audit=measured(AUDIT, noisy), config=shrunk)
    exact = noisy[LANDMARKS]
    estimated = mapped(found.rule.left_out, found.maps)
    np.testing.assert_allclose(estimated.mean(axis=0), exact.mean(axis=0), atol=1e-5)
    np.testing.assert_allclose(estimated.std(axis=0), exact.std(axis=0), rtol=1e-4)
    assert all(m.slope > 1 for m in found.maps)  # plain predictions are shrunken
    ratio = found.columns[REST].std(axis=0) / exact.std(axis=0)
    assert (ratio > 0.6).all() and (ratio < 1.7).all()


def test_the_map_keeps_the_order_of_propagated_rows():
    found = run()
    raw = KernelRidge.fit(EMBEDDINGS[LANDMARKS], COLUMNS[LANDMARKS]).predict(EMBEDDINGS[REST])
    assert (np.argsort(raw[:, 0]) == np.argsort(found.columns[REST, 0])).all()


def test_the_fit_is_good_where_embeddings_tell_the_scores():
    found = run()
    judged = fidelity(found.audit_exact, found.audit_estimated, names=found.sets, generator=np.random.default_rng(0))
    assert judged.spearman.value > 0.9


def test_unusable_rows_are_unscorable_alone():
    embeddings = EMBEDDINGS.copy()
    embeddings[REST[0]] = np.nan
    usable = np.ones(N, dtype=bool)
    usable[REST[1]] = False
    found = run(embeddings=embeddings, usable=usable)
    bad = REST[:2]
    assert (found.status[bad] == 0).all() and np.isnan(found.score[bad]).all() and np.isnan(found.variance[bad]).all()
    assert np.isnan(found.matrix[bad]).all()
    rest = REST[2:]
    np.testing.assert_allclose(found.columns[rest], run().columns[rest], rtol=1e-4, atol=1e-5)
    assert np.isfinite(np.delete(found.score, bad)).all()


def test_a_landmark_without_gradient_is_left_out_and_unscorable():
    columns = COLUMNS.copy()
    columns[LANDMARKS[3]] = np.nan
    found = run(landmarks=measured(LANDMARKS, columns))
    assert found.status[LANDMARKS[3]] == 0 and np.isfinite(found.score[REST]).all()
    assert found.fitted_rows.tolist() == np.delete(LANDMARKS, 3).tolist()
    assert "1 landmarks" in found.notes[-1]
    expected = run(landmarks=measured(np.delete(LANDMARKS, 3)))
    np.testing.assert_allclose(found.columns[REST], expected.columns[REST], rtol=1e-5, atol=1e-6)


def test_a_landmark_without_embedding_keeps_its_exact_score():
    embeddings = EMBEDDINGS.copy()
    embeddings[LANDMARKS[5]] = np.nan
    found = run(embeddings=embeddings)
    assert found.status[LANDMARKS[5]] == 1
    np.testing.assert_array_equal(found.columns[LANDMARKS[5]], COLUMNS[LANDMARKS[5]])


def test_the_matrix_serves_a_round_robin():
    found = run()
    np.testing.assert_array_equal(found.matrix[LANDMARKS], SCORES[LANDMARKS])
    ridge = KernelRidge.fit(EMBEDDINGS[LANDMARKS], SCORES[LANDMARKS])
    raw, left_out = ridge.predict(EMBEDDINGS[REST]), ridge.leave_one_out()
    slope = SCORES[LANDMARKS].std(axis=0) / left_out.std(axis=0)
    intercept = SCORES[LANDMARKS].mean(axis=0) - slope * left_out.mean(axis=0)
    np.testing.assert_allclose(found.matrix[REST], intercept + slope * raw, rtol=1e-3, atol=1e-4)
    assert len(found.item_maps) == T
    none = run(landmarks=measured(LANDMARKS, items=SCORES[:, :0]), audit=measured(AUDIT, items=SCORES[:, :0]))
    assert none.matrix.shape == (N, 0)
    np.testing.assert_allclose(none.columns, found.columns, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_very_few_landmarks(count):
    rows = LANDMARKS[:count]
    found = run(landmarks=measured(rows))
    assert np.isfinite(found.score).all()
    if count < 3:
        assert all(m.slope == 1 and m.intercept == 0 and "too few" in m.reason for m in found.maps)


def test_identical_embeddings_and_constant_scores_are_finite():
    flat = run(embeddings=np.ones((N, 4), dtype=np.float32))
    assert np.isfinite(flat.score).all() and np.isfinite(flat.variance).all()
    constant = np.full((N, T), 0.25, dtype=np.float32)
    level = constant[:, :2]
    found = run(landmarks=measured(LANDMARKS, level, constant), audit=measured(AUDIT, level, constant))
    assert np.isfinite(found.score).all() and all("constant" in m.reason for m in found.maps)


def test_all_rows_exact():
    everyone = np.arange(N)
    found = run(landmarks=measured(everyone), audit=None)
    np.testing.assert_array_equal(found.score, over_sets(COLUMNS))
    assert (found.status == 1).all()


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"audit": measured(LANDMARKS[:40])}, "overlap"),
        ({"landmarks": measured(LANDMARKS, COLUMNS[:, :1])}, "2 and 5 were expected"),
        ({"audit": measured(AUDIT, items=SCORES[:, :2])}, "2 and 5 were expected"),
        ({"sets": ("a", "b", "c")}, "3 and 5 were expected"),
        ({"embeddings": np.full_like(EMBEDDINGS, np.nan)}, "nothing can be propagated"),
    ],
)
def test_refusals(changes, says):
    with pytest.raises(EngineError, match=says):
        run(**changes)


def test_measured_rows_must_match_and_be_there_once():
    with pytest.raises(EngineError, match="60 measured rows with 3"):
        Measured(LANDMARKS, COLUMNS[:3], SCORES[LANDMARKS])
    with pytest.raises(EngineError, match="twice"):
        measured(LANDMARKS[:5]) + measured(LANDMARKS[4:8])


def test_progress_is_told_and_a_cancellation_heard():
    class Listener(Silent):
        def __init__(self):
            self.done, self.total = 0, 0

        def phase(self, name, total, unit="rows"):
            self.total = total

        def advance(self, n):
            self.done += n

    class Stop(Silent):
        def check(self):
            raise Cancelled("stopped")

    listener = Listener()
    run(reporter=listener, chunk=7)
    assert listener.done == listener.total == N
    with pytest.raises(Cancelled):
        run(reporter=Stop())


def test_settings_reach_the_regression():
    linear = run(config=RidgeConfig(kernel="linear", ridge=0.1))
    assert "linear" in linear.notes[0] and not np.allclose(linear.score[REST], run().score[REST])


def test_a_weak_prediction_is_said_and_keeps_a_positive_slope():
    exact = np.array([1.0, 2.0, 3.0, 4.0])
    weak = comparable_map("x", exact, np.array([0.4, 0.1, 0.2, 0.1]))
    assert weak.slope > 0 and weak.correlation < 0 and "hardly" in weak.reason
    assert (
        comparable_map("x", exact, exact / 3).slope == pytest.approx(3) and not comparable_map("x", exact, exact).reason
    )
    level = comparable_map("x", exact, np.full(4, 0.2))
    assert level(np.array([0.2]))[0] == pytest.approx(2.5)
