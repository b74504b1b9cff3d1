"""The weights' problem against a general QP solver, against brute force over supports, and by its properties."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from engine.errors import EngineError
from engine.influence import quadratic
from engine.influence.quadratic import Quadratic
from engine.influence.weights import Weights, exported_weights, solve_weights


def objective(p, matrix, lam, w):
    return -(p - p.mean()) @ w + w @ matrix @ w / 2 + lam * w @ w / 2


def general_solver(p, matrix, lam):
    """min f by scipy's SLSQP; `matrix` is ηQ."""
    n, centred = len(p), p - p.mean()
    found = minimize(
        lambda w: objective(p, matrix, lam, w), np.ones(n), method="SLSQP",
        jac=lambda w: -centred + matrix @ w + lam * w,
        bounds=[(0, None)] * n, constraints={"type": "eq", "fun": lambda w: w.sum() - n, "jac": lambda w: np.ones(n)},
        options={"maxiter": 1000, "ftol": 1e-14},
    )  # fmt: skip
    w = np.maximum(found.x, 0)
    w *= n / w.sum()
    return objective(p, matrix, lam, w)


def brute_force(p, matrix, lam):
    """min f by solving the equality-constrained problem on every support."""
    n, best, where = len(p), np.inf, None
    for size in range(1, n + 1):
        for rows in combinations(range(n), size):
            inside = list(rows)
            system = np.zeros((size + 1, size + 1))
            system[:size, :size] = matrix[np.ix_(inside, inside)] + lam * np.eye(size)
            system[:size, size] = system[size, :size] = 1
            found = np.linalg.solve(system, [*(p - p.mean())[inside], n])[:size]
            if (found < -1e-12).any():
                continue
            w = np.zeros(n)
            w[inside] = found
            value = objective(p, matrix, lam, w)
            if value < best - 1e-12:
                best, where = value, w
    return best, where


def problem(seed, n, q, *, indefinite=False, dense=False):
    generator = np.random.default_rng(seed)
    c, b = generator.normal(size=(n, q)), generator.normal(size=(q, q))
    core = ((b + b.T) / 2 if indefinite else b @ b.T) / n
    matrix = c @ core @ c.T
    return generator.normal(size=n), Quadratic.dense(matrix) if dense else Quadratic.low_rank(c, core), matrix


def well_formed(found: Weights, n, total=None):
    assert found.weights.shape == (n,) and found.weights.dtype == np.float64
    assert (found.weights >= 0).all() and found.weights.sum() == pytest.approx(n if total is None else total, rel=1e-9)
    assert found.support == (found.weights > 0).sum()
    assert found.relative_gap < 1e-8 and found.gap >= 0
    assert (np.diff(found.rows) > 0).all() and (found.weights[found.rows] > 0).all()


@pytest.mark.parametrize("seed", range(24))
def test_second_order_against_a_general_solver(seed):
    n, q = (5, 12, 25)[seed % 3], (1, 4, 30)[seed % 4 % 3]
    p, curvature, matrix = problem(seed, n, q, indefinite=seed % 2 == 1, dense=seed % 5 == 0)
    eta = (0.1, 1.0)[seed % 2]
    bound = max(0.0, -eta * np.linalg.eigvalsh(matrix).min())
    lam = 1.02 * bound + (0.01, 0.1, 1.0)[seed % 3]
    found = solve_weights(p, lam=lam, curvature=curvature, eta=eta)
    well_formed(found, n)
    value, reference = objective(p, eta * matrix, lam, found.weights), general_solver(p, eta * matrix, lam)
    assert value == pytest.approx(found.objective, rel=1e-8, abs=1e-10)
    assert abs(value - reference) < 1e-5 * abs(reference)
    assert value <= reference + 1e-9 * abs(reference)  # never the worse of the two


@pytest.mark.parametrize("seed", range(12))
def test_first_order_against_a_general_solver(seed):
    p = np.random.default_rng(seed).normal(size=15)
    lam = (0.02, 0.2, 2.0)[seed % 3]
    found = solve_weights(p, lam=lam)
    well_formed(found, 15)
    reference = general_solver(p, np.zeros((15, 15)), lam)
    assert abs(found.objective - reference) < 1e-5 * abs(reference)


@pytest.mark.parametrize("seed", range(40))
def test_tiny_problems_against_brute_force(seed):
    n = 1 + seed % 6
    p, curvature, matrix = problem(100 + seed, n, 1 + seed % 3, indefinite=seed % 2 == 1)
    lam = max(0.0, -np.linalg.eigvalsh(matrix).min()) * 1.01 + (0.01, 0.3)[seed % 2]
    best, where = brute_force(p, matrix, lam)
    found = solve_weights(p, lam=lam, curvature=curvature)
    well_formed(found, n)
    assert found.objective == pytest.approx(best, rel=1e-8, abs=1e-10)
    np.testing.assert_allclose(found.weights, where, atol=1e-6)
    first = solve_weights(p, lam=lam)
    np.testing.assert_allclose(first.weights, brute_force(p, np.zeros((n, n)), lam)[1], atol=1e-9)


@pytest.mark.parametrize("seed", range(12))
def test_just_above_the_convex_bound_it_still_converges(seed):
    p, curvature, matrix = problem(seed, 40, 6, indefinite=True)
    lam = -1.001 * np.linalg.eigvalsh(matrix).min()
    found = solve_weights(p, lam=lam, curvature=curvature)
    well_formed(found, 40)
    assert found.objective <= general_solver(p, matrix, lam) + 1e-8


@pytest.mark.parametrize("seed", range(30))
def test_curvature_that_dwarfs_lambda_still_converges(seed):
    generator = np.random.default_rng(seed)
    n, q = int(generator.integers(20, 100)), int(generator.integers(5, 20))
    c, b = 30 * generator.normal(size=(n, q)), generator.normal(size=(q, q))
    p, curvature = generator.normal(size=n), Quadratic.low_rank(c, b @ b.T)
    lam = 1e-6 * np.linalg.eigvalsh(c @ (b @ b.T) @ c.T).max()
    assert solve_weights(p, lam=lam, curvature=curvature).relative_gap < 1e-6
    assert len(solve_weights(p, k=n // 2, curvature=curvature).rows) == n // 2


scores = st.lists(st.sampled_from([-2.0, -0.5, 0.0, 0.25, 1.0, 1.5]), min_size=1, max_size=12)


@settings(deadline=None, max_examples=100)
@given(values=scores, lam=st.floats(1e-3, 1e3), seed=st.integers(0, 99))
def test_the_simplex_and_permutations(values, lam, seed):
    p = np.array(values)
    order = np.random.default_rng(seed).permutation(len(p))
    found = solve_weights(p, lam=lam)
    well_formed(found, len(p))
    np.testing.assert_allclose(solve_weights(p[order], lam=lam).weights, found.weights[order], rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(solve_weights(p + 7, lam=lam).weights, found.weights, rtol=1e-6, atol=1e-6)
    assert (np.diff(found.weights[np.argsort(-p, kind="stable")]) <= 1e-12).all()  # a higher score weighs no less


@settings(deadline=None, max_examples=60)
@given(values=scores, low=st.floats(1e-3, 1e2), ratio=st.floats(1, 1e3))
def test_the_support_does_not_shrink_as_lambda_grows(values, low, ratio):
    p = np.array(values)
    assert solve_weights(p, lam=low).support <= solve_weights(p, lam=low * ratio).support


@settings(deadline=None, max_examples=100)
@given(values=scores, k=st.integers(1, 12))
def test_k_gives_the_largest_lambda_of_that_support(values, k):
    p = np.array(values)
    assume(k <= len(p))
    found = solve_weights(p, k=k)
    well_formed(found, len(p))
    assert len(found.rows) == k
    ranked = np.sort(p)[::-1]
    reachable = [j for j in range(1, len(p) + 1) if j == len(p) or ranked[j - 1] > ranked[j]]
    assert found.support == min(j for j in reachable if j >= k)
    assert found.rows.tolist() == sorted(sorted(range(len(p)), key=lambda i: (-p[i], i))[:k])
    assert any("exactly" in note for note in found.notes) == (found.support > k)
    if np.isfinite(found.lam):
        np.testing.assert_allclose(solve_weights(p, lam=found.lam).weights, found.weights, atol=1e-9)
        assert solve_weights(p, lam=found.lam * 1.001).support > found.support


def test_the_example_of_ties():
    p = np.array([3.0, 2, 2, 1])
    assert [solve_weights(p, k=k).support for k in (1, 2, 3, 4)] == [1, 3, 3, 4]
    found = solve_weights(p, k=2)
    assert found.rows.tolist() == [0, 1] and found.weights.tolist() == [2.0, 1.0, 1.0, 0.0] and found.lam == 1.0
    assert exported_weights(found.weights, found.rows).tolist() == [4 / 3, 2 / 3]


@pytest.mark.parametrize("seed", range(9))
def test_k_to_second_order(seed):
    n, k = 30, (2, 9, 20)[seed % 3]
    p, curvature, matrix = problem(seed, n, 5)
    found = solve_weights(p, k=k, curvature=curvature, eta=0.005)
    well_formed(found, n)
    assert len(found.rows) == k and found.support == k
    reference = general_solver(p, 0.005 * matrix, found.lam)
    assert abs(found.objective - reference) < 1e-5 * abs(reference)
    assert solve_weights(p, lam=found.lam * 1.001, curvature=curvature, eta=0.005).support > k
    order = np.random.default_rng(seed).permutation(n)
    turned = Quadratic.low_rank(curvature.factors[order], curvature.core)
    again = solve_weights(p[order], k=k, curvature=turned, eta=0.005)
    np.testing.assert_allclose(again.weights, found.weights[order], rtol=1e-3, atol=1e-3)


def test_identical_rows_share_and_are_cut_by_row_order():
    p, curvature, _ = problem(3, 12, 3)
    twice = Quadratic.low_rank(np.concatenate([curvature.factors] * 2), curvature.core)
    found = solve_weights(np.concatenate([p, p]), k=5, curvature=twice, eta=0.05)
    assert found.support == 6 and len(found.rows) == 5
    np.testing.assert_allclose(found.weights[:12], found.weights[12:], atol=1e-6)
    assert any("ties" in note for note in found.notes)


def test_curvature_may_leave_no_lambda_for_so_few_rows():
    p, curvature, _ = problem(0, 20, 5)
    found = solve_weights(p, k=1, curvature=curvature, eta=10.0)
    assert found.support > 1 and len(found.rows) == 1
    assert any("spreads the weight" in note for note in found.notes)


def test_a_problem_that_is_not_convex_is_never_solved_silently():
    p, curvature, matrix = problem(1, 20, 4, indefinite=True)
    bound = -np.linalg.eigvalsh(matrix).min()
    with pytest.raises(EngineError, match=r"not convex .* Gauss–Newton"):
        solve_weights(p, lam=0.5 * bound, curvature=curvature)
    raised = solve_weights(p, lam=0.5 * bound, curvature=curvature, non_convex="raise")
    well_formed(raised, 20)
    assert raised.lam > bound and raised.notes[0].startswith("λ was raised")
    assert raised.least_eigenvalue == pytest.approx(-bound)
    with pytest.raises(EngineError, match="not convex"):
        solve_weights(p, k=1, curvature=curvature)
    found = solve_weights(p, k=1, curvature=curvature, non_convex="raise")
    assert len(found.rows) == 1 and found.lam > bound and any("λ was raised" in note for note in found.notes)


@pytest.mark.parametrize("indefinite", [False, True])
def test_the_least_eigenvalue_by_lanczos_and_exactly(indefinite, monkeypatch):
    _, wide, matrix = problem(5, 12, 30, indefinite=indefinite)
    assert wide.least_eigenvalue() == pytest.approx(np.linalg.eigvalsh(matrix).min(), abs=1e-9)
    for n, q in ((60, 7), (60, 50)):
        _, curvature, matrix = problem(4, n, q, indefinite=indefinite)
        least = np.linalg.eigvalsh(matrix).min()
        assert curvature.least_eigenvalue() == pytest.approx(least, rel=1e-8, abs=1e-9)
        with monkeypatch.context() as patch:
            patch.setattr(quadratic, "DENSE_EIGENVALUES", 1)
            found = curvature.least_eigenvalue()
        assert found <= least + 1e-9 and found == pytest.approx(least, rel=1e-4, abs=1e-6)


@pytest.mark.parametrize("second", [False, True])
def test_rows_without_a_score_weigh_nothing_and_change_nothing(second):
    p, curvature, _ = problem(2, 14, 3)
    bad = np.zeros(14, bool)
    bad[[0, 5]] = True
    given = np.where(bad, np.nan, p)
    factors = curvature.factors.copy()
    factors[5] = np.nan
    broken = Quadratic.low_rank(factors, curvature.core) if second else None
    clean = curvature.of(np.flatnonzero(~bad)) if second else None
    for ask in ({"lam": 0.3}, {"k": 4}, {"k": 12}):
        found = solve_weights(given, curvature=broken, eta=0.1, **ask)
        well_formed(found, 14)
        alone = solve_weights(p[~bad], curvature=clean, eta=0.1, total=14, **ask)
        np.testing.assert_allclose(found.weights[~bad], alone.weights, rtol=1e-6, atol=1e-9)
        assert found.weights[bad].tolist() == [0, 0] and not set(found.rows) & {0, 5}
        assert found.notes[-1] == "2 samples without a score have weight 0."


@pytest.mark.parametrize("second", [False, True])
def test_degenerate_problems_are_defined(second):
    for n in (1, 2, 7):
        curvature = Quadratic.low_rank(np.ones((n, 1)), np.ones((1, 1))) if second else None
        for k in {1, n}:
            equal = solve_weights(np.full(n, 0.3), k=k, curvature=curvature)
            assert equal.rows.tolist() == list(range(k)) and equal.relative_gap < 1e-8
            np.testing.assert_allclose(equal.weights, 1.0)
            some = solve_weights(np.arange(n, dtype=float), k=k, curvature=curvature)
            assert some.rows.tolist() == list(range(n - k, n))
            assert np.isfinite(some.weights).all() and some.weights.sum() == pytest.approx(n)
    zero = Quadratic.low_rank(np.zeros((4, 2)), np.zeros((2, 2)))
    np.testing.assert_allclose(
        solve_weights(np.arange(4.0), lam=1.0, curvature=zero).weights, solve_weights(np.arange(4.0), lam=1.0).weights
    )


@pytest.mark.parametrize("scale", [1e-12, 1e12])
def test_the_scale_of_the_scores_does_not_matter(scale):
    p, curvature, _ = problem(6, 20, 3)
    for ask in ({"k": 7}, {"lam": 0.2}):
        scaled = {name: value * scale if name == "lam" else value for name, value in ask.items()}
        wide = Quadratic.low_rank(curvature.factors, curvature.core * scale)
        for q, one in ((None, None), (wide, curvature)):
            expected = solve_weights(p, curvature=one, eta=0.1, **ask)
            found = solve_weights(p * scale, curvature=q, eta=0.1, **scaled)
            np.testing.assert_allclose(found.weights, expected.weights, rtol=1e-4, atol=1e-4)


def test_exported_weights_have_mean_one():
    weights = np.array([0.0, 4.0, 0.0, 1.0, 1.0])
    assert exported_weights(weights, np.array([1, 3, 4])).tolist() == [2.0, 0.5, 0.5]
    for rows in ([0, 1], []):
        with pytest.raises(EngineError, match="above 0"):
            exported_weights(weights, np.array(rows, dtype=np.int64))


@pytest.mark.parametrize(
    ("p", "arguments", "message"),
    [
        ([1.0, 2.0], {}, "either λ or"),
        ([1.0, 2.0], {"lam": 1.0, "k": 1}, "either λ or"),
        ([1.0, 2.0], {"k": 0}, "at least one"),
        ([1.0, 2.0], {"k": 3}, "only 2 have a score"),
        ([1.0, np.nan], {"k": 2}, "only 1 have a score"),
        ([np.nan, np.nan], {"k": 1}, "None of the 2"),
        ([], {"k": 1}, "None of the 0"),
        ([1.0, np.inf], {"k": 1}, "infinite"),
        ([[1.0]], {"k": 1}, "shape"),
        ([1.0, 2.0], {"lam": 0.0}, "above 0"),
        ([1.0, 2.0], {"lam": float("nan")}, "above 0"),
        ([1.0, 2.0], {"k": 1, "eta": -1.0}, "above 0"),
        ([1.0, 2.0], {"k": 1, "total": 0.0}, "above 0"),
        ([1.0, 2.0], {"k": 1, "non_convex": "ignore"}, "refuse, raise"),
        ([1.0, 2.0], {"k": 1, "curvature": Quadratic.low_rank(np.ones((3, 1)), np.ones((1, 1)))}, "over 3 samples"),
    ],
)
def test_impossible_requests_are_refused(p, arguments, message):
    with pytest.raises(EngineError, match=message):
        solve_weights(np.array(p), **arguments)


def test_broken_curvature_is_refused():
    with pytest.raises(EngineError, match="coefficients"):
        Quadratic.low_rank(np.ones((3, 2)), np.ones((3, 3)))
    with pytest.raises(EngineError, match="not finite"):
        Quadratic.low_rank(np.ones((3, 1)), np.full((1, 1), np.nan))
    with pytest.raises(EngineError, match="square"):
        Quadratic.dense(np.ones((3, 2)))


def test_inputs_are_not_changed():
    p, curvature, _ = problem(8, 10, 2)
    before = p.copy(), curvature.factors.copy(), curvature.core.copy()
    solve_weights(p, k=3, curvature=curvature)
    for now, then in zip((p, curvature.factors, curvature.core), before):
        np.testing.assert_array_equal(now, then)


def test_a_large_pool_to_first_order():
    p = np.random.default_rng(0).normal(size=200_000)
    found = solve_weights(p, k=20_000)
    assert found.support == 20_000 and found.relative_gap < 1e-12
