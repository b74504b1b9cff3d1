"""Kernel ridge regression against dense solves and refits; singular and degenerate fits are defined and finite."""

from itertools import pairwise

import numpy as np
import pytest

from engine.errors import EngineError
from engine.influence.kernels import median_distance
from engine.influence.regression import KernelRidge, RidgeConfig

RNG = np.random.default_rng(0)
LANDMARKS = RNG.normal(size=(40, 6)).astype(np.float32)
POOL = RNG.normal(size=(33, 6)).astype(np.float32)
SCORES = np.sin(LANDMARKS @ RNG.normal(size=(6, 3)))
OPTIONS = [
    {"kernel": "rbf"},
    {"kernel": "rbf", "bandwidth": 1.7, "ridge": 0.3},
    {"kernel": "rbf", "standardise": True},
    {"kernel": "linear"},
    {"kernel": "linear", "standardise": True, "ridge": 1.0},
]


def dense(options, landmarks=LANDMARKS, pool=POOL, bandwidth=None):
    """K(E, L), A and k(x, x) by loops over pairs."""
    left, right = np.asarray(landmarks, np.float64), np.asarray(pool, np.float64)
    if options.get("standardise"):
        shift, scale = left.mean(axis=0), left.std(axis=0)
        left, right = (left - shift) / scale, (right - shift) / scale
    pairs = [np.linalg.norm(left[i] - left[j]) for i in range(len(left)) for j in range(i)]
    sigma = bandwidth or options.get("bandwidth") or np.median(pairs)

    def k(x, y):
        if options["kernel"] == "linear":
            return x @ y + np.mean(np.sum(left**2, axis=1))
        return np.exp(-np.sum((x - y) ** 2) / (2 * sigma**2))

    gram = np.array([[k(x, y) for y in left] for x in left])
    system = gram + options.get("ridge", 1e-2) * np.mean(np.diag(gram)) * np.eye(len(left))
    cross = np.array([[k(x, y) for y in left] for x in right])
    return cross, system, np.array([k(x, x) for x in right]), sigma


@pytest.mark.parametrize("options", OPTIONS)
def test_prediction_variance_and_coefficients_against_a_dense_solve(options):
    model = KernelRidge.fit(LANDMARKS, SCORES, precision="float64", **options)
    cross, system, own, _ = dense(options)
    inverse = np.linalg.inv(system)
    np.testing.assert_allclose(model.predict(POOL), cross @ inverse @ SCORES, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(model.coefficients(POOL), cross @ inverse, rtol=1e-4, atol=1e-5)
    variance = own - np.einsum("ij,jk,ik->i", cross, inverse, cross)
    np.testing.assert_allclose(model.variance(POOL), variance, rtol=1e-4, atol=1e-5)
    assert model.jitter == 0 and model.predict(POOL).dtype == np.float32


@pytest.mark.parametrize("options", OPTIONS)
def test_leave_one_out_against_refitting_without_the_row(options):
    model = KernelRidge.fit(LANDMARKS, SCORES, **options)
    _, system, _, _ = dense(options)
    noise = options.get("ridge", 1e-2) * model._mean_diagonal()
    loo, spread = model.leave_one_out(), model.leave_one_out_variance()
    for i in range(len(LANDMARKS)):
        rest = np.delete(np.arange(len(LANDMARKS)), i)
        row = system[i, rest]
        solved = np.linalg.solve(system[np.ix_(rest, rest)], np.column_stack([SCORES[rest], row]))
        np.testing.assert_allclose(loo[i], row @ solved[:, :3], rtol=1e-6, atol=1e-8)
        np.testing.assert_allclose(spread[i], system[i, i] - noise - row @ solved[:, 3], rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("chunk", [1, 7, 33, 1000])
def test_chunks_do_not_matter(chunk):
    model = KernelRidge.fit(LANDMARKS, SCORES)
    for name in ("predict", "variance", "coefficients"):
        method = getattr(model, name)
        np.testing.assert_allclose(method(POOL, chunk=chunk), method(POOL), rtol=1e-4, atol=1e-4)


def test_one_factorisation_serves_all_targets(monkeypatch):
    import engine.influence.factorisation as module

    calls = []
    real = module.cholesky
    monkeypatch.setattr(module, "cholesky", lambda *a, **k: calls.append(1) or real(*a, **k))
    together = KernelRidge.fit(LANDMARKS, SCORES, precision="float64").predict(POOL)
    assert len(calls) == 1
    parts = [KernelRidge.fit(LANDMARKS, SCORES[:, j], precision="float64").predict(POOL) for j in range(3)]
    np.testing.assert_allclose(together, np.column_stack(parts), rtol=1e-5, atol=1e-6)


def test_the_inputs_are_not_changed():
    landmarks, scores = LANDMARKS.copy(), SCORES.copy()
    KernelRidge.fit(landmarks, scores, standardise=True).leave_one_out()
    assert np.array_equal(landmarks, LANDMARKS) and np.array_equal(scores, SCORES)


def test_bandwidth_is_the_median_distance_of_the_landmarks():
    model = KernelRidge.fit(LANDMARKS, SCORES)
    assert model.parameter == pytest.approx(dense({"kernel": "rbf"})[3], rel=1e-6)
    many = RNG.normal(size=(1500, 3))
    sub, rule = median_distance(many, seed=0)
    assert "1024" in rule and median_distance(many, seed=0)[0] == sub
    full = np.median(np.linalg.norm(many[:, None] - many[None], axis=-1)[np.triu_indices(1500, 1)])
    assert sub == pytest.approx(full, rel=0.05)


def test_float32_is_close_and_said():
    model = KernelRidge.fit(LANDMARKS, SCORES, precision="float32")
    np.testing.assert_allclose(model.predict(POOL), KernelRidge.fit(LANDMARKS, SCORES).predict(POOL), atol=1e-3)
    assert "float32" in model.notes[0] and model.factor.dtype == np.float32


def bears_a_shift(options):
    """Far from the origin a linear kernel of rows as they are is another kernel."""
    return options["kernel"] == "rbf" or options.get("standardise", False)


SHIFTED = [(options, 0) for options in OPTIONS] + [(options, 300) for options in OPTIONS if bears_a_shift(options)]


@pytest.mark.parametrize(("options", "shift"), SHIFTED)
def test_the_float32_pool_side_stays_by_the_float64_oracle(options, shift):
    landmarks, pool = LANDMARKS + shift, POOL + shift
    fast = KernelRidge.fit(landmarks, SCORES, **options)
    slow = KernelRidge.fit(landmarks, SCORES, precision="float64", **options)
    assert fast.prepared.dtype == np.float32 and slow.prepared.dtype == np.float64 and slow.factor.dtype == np.float64
    for name, close in (("predict", 2e-4), ("variance", 2e-4), ("coefficients", 1e-3)):
        np.testing.assert_allclose(getattr(fast, name)(pool), getattr(slow, name)(pool), atol=close)
    assert any("float32" in note and "off by" in note for note in fast.notes)


def test_where_float32_would_cost_too_much_the_pool_side_is_float64_and_said():
    rows = RNG.normal(size=(300, 2)).astype(np.float32)
    scores = RNG.normal(size=300)  # nothing to learn, hardly a ridge: huge coefficients that cancel
    model = KernelRidge.fit(rows, scores, ridge=1e-9)
    assert model.prepared.dtype == np.float64 and any("half as fast" in note for note in model.notes)
    slow = KernelRidge.fit(rows, scores, ridge=1e-9, precision="float64")
    np.testing.assert_allclose(model.predict(rows), slow.predict(rows), atol=1e-6)
    forced = KernelRidge.fit(rows, scores, ridge=1e-9, precision="float32")
    assert forced.prepared.dtype == np.float32


@pytest.mark.parametrize("kernel", ["rbf", "linear"])
def test_variance_given_some_landmarks_only_overstates(kernel):
    model = KernelRidge.fit(LANDMARKS, SCORES, kernel=kernel, precision="float64")
    full = model.variance(POOL)
    parts = [model.variance(POOL, rank=rank) for rank in (1, 5, 20, 39)]
    for part in parts:
        assert (part >= full - 1e-6).all()
    assert all(a.mean() >= b.mean() for a, b in pairwise(parts))
    np.testing.assert_allclose(model.variance(POOL, rank=40), full, atol=1e-6)
    np.testing.assert_allclose(model.variance(POOL, rank=1000), full, atol=1e-6)
    with pytest.raises(EngineError, match="at least 1"):
        model.variance(POOL, rank=0)


def test_a_subset_variance_is_that_of_a_dense_solve():
    model = KernelRidge.fit(LANDMARKS, SCORES, precision="float64")
    cross, system, own, _ = dense({"kernel": "rbf"})
    chosen, left = [], system - model.noise * np.eye(40)
    for _ in range(7):  # the kernel's pivoted Cholesky, by hand
        pivot = int(np.argmax(np.diag(left)))
        chosen.append(pivot)
        left = left - np.outer(left[:, pivot], left[pivot]) / left[pivot, pivot]
    part, inner = cross[:, chosen], np.linalg.inv(system[np.ix_(chosen, chosen)])
    np.testing.assert_allclose(
        model.variance(POOL, rank=7), own - np.einsum("ij,jk,ik->i", part, inner, part), atol=1e-5
    )


@pytest.mark.parametrize("options", OPTIONS)
def test_covariance_against_a_dense_solve(options):
    model = KernelRidge.fit(LANDMARKS, SCORES, **options)
    found = model.covariance(POOL)
    np.testing.assert_allclose(np.diag(found), model.variance(POOL), rtol=1e-3, atol=2e-4)
    assert np.array_equal(found, found.T) and np.linalg.eigvalsh(found).min() > -1e-9
    cross, system, _, sigma = dense(options)
    among, _, _, _ = dense(options, landmarks=POOL, bandwidth=sigma)
    if options["kernel"] == "rbf" and not options.get("standardise"):
        np.testing.assert_allclose(found, among - cross @ np.linalg.inv(system) @ cross.T, atol=1e-8)


def test_the_bandwidth_factor_multiplies_the_median():
    base = KernelRidge.fit(LANDMARKS, SCORES)
    wide = KernelRidge.fit(LANDMARKS, SCORES, bandwidth_factor=2.0)
    assert wide.parameter == pytest.approx(2 * base.parameter) and "2 × the median" in wide.notes[1]
    given = KernelRidge.fit(LANDMARKS, SCORES, bandwidth=1.5, bandwidth_factor=2.0)
    assert given.parameter == 3.0


def test_no_ridge_interpolates():
    model = KernelRidge.fit(LANDMARKS, SCORES, ridge=0.0, precision="float64")
    np.testing.assert_allclose(model.predict(LANDMARKS), SCORES, atol=1e-5)


@pytest.mark.parametrize("kernel", ["rbf", "linear"])
@pytest.mark.parametrize("ridge", [0.0, 1e-2])
@pytest.mark.parametrize("standardise", [True, False])
def test_identical_rows_are_defined(kernel, ridge, standardise):
    rows = np.repeat(LANDMARKS[:1], 9, axis=0)
    model = KernelRidge.fit(rows, np.arange(9.0), kernel=kernel, ridge=ridge, standardise=standardise)
    found = np.concatenate([model.predict(POOL), model.leave_one_out(), model.variance(POOL)[:, None]])
    assert np.isfinite(found).all()
    if kernel == "rbf":
        assert "coincide" in model.notes[1]
        np.testing.assert_allclose(model.predict(rows), 4.0, rtol=0.01)  # the mean of what was seen there
    if ridge == 0:
        assert model.jitter > 0 and any("jitter" in note for note in model.notes)


def test_duplicates_without_ridge_get_a_visible_jitter():
    rows = np.concatenate([LANDMARKS, LANDMARKS[:5]])
    model = KernelRidge.fit(rows, np.concatenate([SCORES, SCORES[:5]]), ridge=0.0)
    assert 0 < model.jitter < 1e-6 and "singular" in model.notes[-1]
    np.testing.assert_allclose(model.predict(LANDMARKS), SCORES, atol=1e-3)


@pytest.mark.parametrize("kernel", ["rbf", "linear"])
def test_one_landmark(kernel):
    model = KernelRidge.fit(LANDMARKS[:1], SCORES[:1], kernel=kernel)
    assert np.isfinite(model.predict(POOL)).all() and np.isfinite(model.variance(POOL)).all()
    np.testing.assert_allclose(model.leave_one_out(), 0, atol=1e-12)
    np.testing.assert_allclose(model.predict(LANDMARKS[:1]), SCORES[:1] / 1.01, rtol=1e-5)


def test_constant_targets_and_zero_embeddings():
    assert np.isfinite(KernelRidge.fit(LANDMARKS, np.full(40, 0.3)).predict(POOL)).all()
    model = KernelRidge.fit(np.zeros((5, 6)), SCORES[:5], kernel="linear")
    np.testing.assert_allclose(model.predict(POOL), np.tile(SCORES[:5].mean(axis=0), (33, 1)), rtol=0.01)
    assert np.isfinite(model.leave_one_out()).all()


def test_standardised_linear_landmarks_do_not_give_each_other_away():
    # more coordinates than landmarks and scores that nothing tells: leave-one-out must not swing beyond the scores
    rows = RNG.normal(size=(30, 200))
    scores = 5 + RNG.normal(size=(30, 1))
    left_out = KernelRidge.fit(rows, scores, kernel="linear", standardise=True).leave_one_out()
    fresh = KernelRidge.fit(rows, scores, kernel="linear", standardise=True).predict(RNG.normal(size=(500, 200)))
    assert left_out.std() < 3 * scores.std()
    assert 1 / 3 < left_out.std() / fresh.std() < 3
    assert abs(left_out.mean() - scores.mean()) < 1


def test_a_constant_coordinate_is_only_shifted():
    rows, pool = np.column_stack([LANDMARKS, np.full(40, 1e3)]), np.column_stack([POOL, np.full(33, 1e3)])
    found = KernelRidge.fit(rows, SCORES, standardise=True).predict(pool)
    np.testing.assert_allclose(found, KernelRidge.fit(LANDMARKS, SCORES, standardise=True).predict(POOL), rtol=1e-5)


def test_a_row_that_is_not_finite_is_nan_alone():
    pool = POOL.copy()
    pool[3, 2] = np.nan
    model = KernelRidge.fit(LANDMARKS, SCORES)
    found = model.predict(pool, chunk=2)
    assert np.flatnonzero(np.isnan(found).any(axis=1)).tolist() == [3]
    np.testing.assert_allclose(np.delete(found, 3, axis=0), np.delete(model.predict(POOL), 3, axis=0), atol=1e-4)


def test_memory_mapped_embeddings_are_streamed(tmp_path):
    np.save(tmp_path / "pool.npy", POOL)
    model = KernelRidge.fit(LANDMARKS, SCORES)
    mapped = np.load(tmp_path / "pool.npy", mmap_mode="r")
    np.testing.assert_allclose(model.predict(mapped, chunk=8), model.predict(POOL), atol=1e-4)


def test_variance_is_low_on_landmarks_and_one_far_away():
    model = KernelRidge.fit(LANDMARKS, SCORES)
    assert model.variance(LANDMARKS).max() < 0.02
    np.testing.assert_allclose(model.variance(POOL[:1] + 1e3), 1)
    np.testing.assert_allclose(model.predict(POOL[:1] + 1e3), 0)


@pytest.mark.parametrize(
    ("embeddings", "scores", "options", "says"),
    [
        (LANDMARKS[:0], SCORES[:0], {}, "one row of scores per landmark"),
        (LANDMARKS, SCORES[:3], {}, "one row of scores per landmark"),
        (LANDMARKS * np.nan, SCORES, {}, "not finite"),
        (LANDMARKS, SCORES * np.inf, {}, "not finite"),
        (LANDMARKS, SCORES, {"ridge": -1.0}, "at least 0"),
        (LANDMARKS, SCORES, {"bandwidth": 0.0}, "above 0"),
        (LANDMARKS, SCORES, {"bandwidth_factor": np.nan}, "above 0"),
        (LANDMARKS, SCORES, {"kernel": "cubic"}, "rbf, linear"),
    ],
)
@pytest.mark.filterwarnings("ignore:invalid value")
def test_refusals(embeddings, scores, options, says):
    with pytest.raises(EngineError, match=says):
        KernelRidge.fit(embeddings, scores, **options)


def test_rows_of_another_width_are_refused():
    with pytest.raises(EngineError, match="fitted on 6 coordinates"):
        KernelRidge.fit(LANDMARKS, SCORES).predict(POOL[:, :4])


def test_rows_beyond_float32_are_unscorable_alone():
    pool = POOL.astype(np.float64)
    pool[4] = 1e30
    found = KernelRidge.fit(LANDMARKS, SCORES).predict(pool)
    assert np.flatnonzero(np.isnan(found).any(axis=1)).tolist() == [4]


def test_half_precision_embeddings_serve():
    model = KernelRidge.fit(LANDMARKS.astype(np.float16), SCORES)
    exact = KernelRidge.fit(LANDMARKS.astype(np.float16).astype(np.float64), SCORES, precision="float64")
    np.testing.assert_allclose(
        model.predict(POOL.astype(np.float16)), exact.predict(POOL.astype(np.float16).astype(np.float64)), atol=2e-4
    )


def test_the_configuration_is_kept():
    config = RidgeConfig(kernel="linear", ridge=0.5, standardise=True)
    assert KernelRidge.from_config(LANDMARKS, SCORES, config).config == config
