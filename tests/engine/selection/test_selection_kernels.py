"""Kernels against plain loops: cosines, neighbour lists, functions; the same bits for one column or many."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.errors import EngineError
from engine.maps.neighbours import nearest
from engine.selection import kernels
from engine.selection.kernels import DenseKernel, FunctionKernel, SparseKernel
from engine.selection.similarity import best_similarity, checked, directions


def features_of(n=40, d=6, seed=0):
    return np.random.default_rng(seed).normal(size=(n, d)).astype(np.float32)


def cosine(a, b):
    """max(cos, 0) by its definition, 0 where one has no direction."""
    a, b = a.astype(np.float64), b.astype(np.float64)
    size = np.sqrt((a * a).sum()) * np.sqrt((b * b).sum())
    return max(float(a @ b) / size, 0.0) if np.isfinite(size) and size > 0 else 0.0


def similarities(features):
    n = len(features)
    return np.array([[1.0 if i == j else cosine(features[i], features[j]) for j in range(n)] for i in range(n)])


def improvement(s, columns, level, cap):
    """Σ_i max(min(s_ij, cap_i) − level_i, 0), looped."""
    caps = np.full(len(s), np.inf) if cap is None else cap
    return [sum(max(min(s[i][j], caps[i]) - level[i], 0) for i in range(len(s))) for j in columns]


def matrix_of(kernel):
    matrix = np.zeros((len(kernel), len(kernel)))
    for j in range(len(kernel)):
        rows, values = kernel.column(j)
        assert len(set(rows.tolist())) == len(rows)
        matrix[rows, j] = values
    return matrix


def complete_lists(features):
    found = nearest(features, len(features) - 1)
    return SparseKernel.of_neighbours(found.index, found.distance)


def by_function(matrix, **options):
    return FunctionKernel(lambda rows, columns: matrix[np.ix_(rows, columns)], len(matrix), **options)


def all_kernels(features):
    s = similarities(features)
    return {
        "dense": DenseKernel.of_features(features),
        "matrix": DenseKernel.of_matrix(s),
        "sparse": complete_lists(features),
        "function": by_function(s.astype(np.float32), symmetric=True),
    }


@pytest.mark.parametrize("name", ["dense", "matrix", "sparse", "function"])
@pytest.mark.parametrize("capped", [False, True])
def test_a_kernel_is_its_definition(name, capped):
    features = features_of()
    s, kernel = similarities(features), all_kernels(features)[name]
    generator = np.random.default_rng(1)
    level = generator.uniform(0, 0.5, 40).astype(np.float32)
    cap = generator.uniform(0, 1, 40).astype(np.float32) if capped else None
    columns = np.array([3, 0, 39, 17, 3])
    assert len(kernel) == 40 and kernel.usable.all() and kernel.symmetric
    assert matrix_of(kernel) == pytest.approx(s, abs=1e-6)
    assert kernel.improvements(columns, level, cap) == pytest.approx(improvement(s, columns, level, cap), abs=1e-5)
    assert kernel.improvements(np.zeros(0, np.int64), level, cap).tolist() == []
    assert kernel.strongest() == pytest.approx(s.max(axis=1), abs=1e-6)
    assert kernel.diagonal() == pytest.approx(np.ones(40))


@pytest.mark.parametrize("name", ["dense", "matrix", "sparse", "function"])
def test_a_column_has_the_same_bits_alone_and_among_others(name):
    features = features_of(n=150)
    kernel = all_kernels(features)[name]
    level = np.random.default_rng(2).uniform(0, 0.4, 150).astype(np.float32)
    together = kernel.improvements(np.arange(150), level)
    alone = [kernel.improvements(np.array([j]), level)[0] for j in range(150)]
    assert together.tolist() == alone
    assert kernel.improvements(np.arange(150)[::-1], level)[::-1].tolist() == alone


@pytest.mark.parametrize("entries", [1, 7, 300])
def test_blocks_change_nothing(entries, monkeypatch):
    features = features_of(n=50)
    whole = all_kernels(features)
    level = np.full(50, 0.2, np.float32)
    expected = {name: kernel.improvements(np.arange(50), level) for name, kernel in whole.items()}
    matrix, strongest = whole["dense"].across, whole["function"].strongest()
    for name in ("ENTRIES", "_CACHED", "_FUNCTION_COLUMNS"):
        monkeypatch.setattr(kernels, name, entries)
    for name, kernel in all_kernels(features).items():
        assert kernel.improvements(np.arange(50), level) == pytest.approx(expected[name], rel=1e-5)
    assert DenseKernel.of_features(features).across == pytest.approx(matrix, abs=1e-6)
    again = by_function(similarities(features).astype(np.float32))
    assert again.strongest().tolist() == strongest.tolist()
    assert again.diagonal().tolist() == [1.0] * 50
    assert best_similarity(features, features[:7], block=entries) == pytest.approx(
        best_similarity(features, features[:7]), abs=1e-6
    )


def test_inputs_are_not_changed():
    features, level = features_of(), np.full(40, 0.2, np.float32)
    matrix = similarities(features).astype(np.float32)
    given = [array.copy() for array in (features, level, matrix)]
    for kernel in (DenseKernel.of_features(features), DenseKernel.of_matrix(matrix), by_function(matrix)):
        before = matrix_of(kernel)
        kernel.improvements(np.arange(40), level, level)
        assert (matrix_of(kernel) == before).all()
    for array, kept in zip((features, level, matrix), given, strict=True):
        assert (array == kept).all()


def test_dense_features_are_symmetric_to_the_bit():
    across = DenseKernel.of_features(features_of(n=300, d=33)).across
    assert (across == across.T).all() and across.dtype == np.float32 and across.max() == 1 and across.min() == 0


def test_too_many_dense_rows_are_refused():
    with pytest.raises(EngineError, match=r"20,001 samples .*sparse kernel.*nothing was computed"):
        DenseKernel.of_features(np.ones((20_001, 1), np.float32))


def test_a_matrix_that_is_not_symmetric_is_read_row_by_column():
    s = np.array([[1.0, 0.5], [0.25, 1.0]])
    kernel = DenseKernel.of_matrix(s)
    assert not kernel.symmetric and matrix_of(kernel).tolist() == s.tolist()
    assert kernel.improvements(np.array([0]), np.zeros(2, np.float32)).tolist() == [1.25]
    assert kernel.strongest().tolist() == [1.0, 1.0]


@pytest.mark.parametrize("bad", [-0.1, np.nan, np.inf])
def test_similarities_out_of_scale_are_refused(bad):
    s = np.eye(3)
    s[0, 1] = bad
    with pytest.raises(EngineError, match="jointly"):
        DenseKernel.of_matrix(s)
    with pytest.raises(EngineError, match="jointly"):
        by_function(s).improvements(np.arange(3), np.zeros(3, np.float32))
    with pytest.raises(EngineError, match="jointly"):
        checked(s)


def test_impossible_shapes_are_refused():
    with pytest.raises(EngineError, match="between all samples"):
        DenseKernel.of_matrix(np.ones((2, 3)))
    with pytest.raises(EngineError, match="table of rows"):
        DenseKernel.of_features(np.ones(3))
    with pytest.raises(EngineError, match="came back with shape"):
        FunctionKernel(lambda rows, columns: np.ones((1, 1)), 3).column(0)
    with pytest.raises(EngineError, match="one width"):
        best_similarity(np.ones((2, 3)), np.ones((2, 4)))


blank = st.sampled_from(["nan", "zero", "inf", "one nan"])


@given(kinds=st.lists(st.one_of(st.none(), blank), min_size=2, max_size=9), seed=st.integers(0, 9))
@settings(deadline=None)
def test_rows_without_features_represent_themselves_alone(kinds, seed):
    features = features_of(n=len(kinds), d=3, seed=seed)
    for row, kind in enumerate(kinds):
        if kind == "one nan":
            features[row, 1] = np.nan
        elif kind:
            features[row] = {"nan": np.nan, "zero": 0, "inf": np.inf}[kind]
    plain = np.array([kind is None for kind in kinds])
    s = similarities(np.where(plain[:, None], features, 0))
    kernel = DenseKernel.of_features(features)
    assert kernel.usable.tolist() == plain.tolist()
    assert matrix_of(kernel) == pytest.approx(s, abs=1e-6)
    function = by_function(np.where(plain[:, None] & plain, s, np.nan).astype(np.float32), known=plain)
    assert matrix_of(function) == pytest.approx(s, abs=1e-6)
    assert function.diagonal().tolist() == [1.0] * len(kinds)
    assert function.strongest().tolist() == [1.0] * len(kinds)


def lists_by_loop(index, distance):
    """s from the definition: j is kept for i if either lists the other."""
    n = len(index)
    s = np.eye(n)
    for i in range(n):
        for j, d in zip(index[i], distance[i], strict=True):
            if j >= 0 and j != i:
                s[i, j] = s[j, i] = max(s[i, j], 1 - d, 0)
    return s


@pytest.mark.parametrize("k", [1, 3, 8])
def test_neighbour_lists_are_joined_both_ways(k):
    found = nearest(features_of(n=60, d=4), k)
    kernel = SparseKernel.of_neighbours(found.index, found.distance)
    matrix = matrix_of(kernel)
    assert matrix == pytest.approx(lists_by_loop(found.index, found.distance), abs=1e-7)
    assert (matrix == matrix.T).all()
    assert kernel.rows.dtype == np.int32 and kernel.start.dtype == np.int32 and kernel.values.dtype == np.float32
    assert len(kernel.rows) <= 60 * (2 * k + 1)
    level = np.full(60, 0.3, np.float32)
    expected = improvement(matrix, range(60), level, level + 0.2)
    assert kernel.improvements(np.arange(60), level, level + np.float32(0.2)) == pytest.approx(expected, abs=1e-5)


def test_neighbour_lists_with_gaps_and_opposites():
    index = np.array([[1, 2, -1], [0, 1, -1], [0, 3, -1], [2, -1, -1], [-1, -1, -1]], np.int32)
    distance = np.array([[0.1, 1.5, np.nan], [0.1, 0, np.nan], [1.5, 0.25, np.nan], [0.25, np.nan, 0], [9, 9, 9]])
    kernel = SparseKernel.of_neighbours(index, distance.astype(np.float32))
    s = np.eye(5)
    s[0, 1] = s[1, 0] = 0.9
    s[2, 3] = s[3, 2] = 0.75
    assert matrix_of(kernel) == pytest.approx(s, abs=1e-6)
    assert kernel.usable.tolist() == [True, True, True, True, False]
    fewer = SparseKernel.of_neighbours(index, distance, usable=np.array([True, False, True, True, False]))
    assert matrix_of(fewer)[:2, :2].tolist() == np.eye(2).tolist() and not fewer.usable[1]


def test_one_row_and_none_at_all_are_pools_too():
    one = SparseKernel.of_neighbours(np.zeros((1, 0), np.int32), np.zeros((1, 0), np.float32))
    assert one.usable.tolist() == [True] and matrix_of(one).tolist() == [[1.0]]
    none = SparseKernel.of_neighbours(np.zeros((0, 0), np.int32), np.zeros((0, 0), np.float32))
    assert len(none) == len(DenseKernel.of_features(np.zeros((0, 3)))) == 0
    for kernel in (none, DenseKernel.of_features(np.zeros((0, 3))), by_function(np.zeros((0, 0)))):
        assert len(kernel.strongest()) == len(kernel.diagonal()) == 0


@pytest.mark.parametrize(
    ("index", "distance", "message"),
    [
        (np.array([[1], [2]]), np.zeros((2, 1)), "below 2"),
        (np.array([[1], [-2]]), np.zeros((2, 1)), "-1 for none"),
        (np.array([[1], [0]]), np.zeros((2, 2)), "one shape"),
        (np.array([[1.0], [0.0]]), np.zeros((2, 1)), "one shape"),
        (np.array([[1], [0]]), np.array([[np.nan], [0]]), "not numbers"),
        (np.array([[1, 1], [0, -1]]), np.zeros((2, 2)), "listed twice"),
    ],
)
def test_impossible_neighbours_are_refused(index, distance, message):
    with pytest.raises(EngineError, match=message):
        SparseKernel.of_neighbours(index, distance)
    with pytest.raises(EngineError, match="One flag per sample"):
        SparseKernel.of_neighbours(np.zeros((2, 0), int), np.zeros((2, 0)), usable=np.ones(3, bool))


def test_a_list_may_end_with_the_row_that_begins_the_next():
    index = np.array([[1], [2], [1]], np.int32)  # with themselves: 0 1, 1 2, 1 2
    kernel = SparseKernel.of_neighbours(index, np.full((3, 1), 0.5, np.float32))
    assert matrix_of(kernel) == pytest.approx(lists_by_loop(index, np.full((3, 1), 0.5)))


def test_a_function_is_asked_only_for_rows_it_knows():
    asked = []

    def block(rows, columns):
        asked.extend([*rows.tolist(), *columns.tolist()])
        return np.ones((len(rows), len(columns)))

    kernel = FunctionKernel(block, 5, known=np.array([True, False, True, True, False]))
    assert kernel.improvements(np.arange(5), np.zeros(5, np.float32)).tolist() == [3, 1, 3, 3, 1]
    assert kernel.column(1)[1].tolist() == [0, 1, 0, 0, 0]
    assert set(asked) == {0, 2, 3}


def test_the_best_similarity_is_a_loop_over_all():
    features, others = features_of(n=30), features_of(n=7, seed=5)
    features[4], others[2] = np.nan, 0
    expected = [max(cosine(np.nan_to_num(row), other) for other in others) for row in features]
    assert best_similarity(features, others) == pytest.approx(expected, abs=1e-6)
    assert best_similarity(features, others)[4] == 0
    assert best_similarity(features, others[:0]).tolist() == [0] * 30
    assert best_similarity(features, np.full((2, 6), np.nan)).tolist() == [0] * 30
    assert best_similarity(3e30 * features, 1e-30 * others) == pytest.approx(expected, abs=1e-5)
    assert best_similarity(features, features).max() <= 1


def test_directions_have_unit_length_or_none():
    unit, usable = directions(np.array([[3e38, 3e38], [0, 0], [np.nan, 1], [1e-38, 0]], np.float32))
    assert usable.tolist() == [True, False, False, True]
    assert np.linalg.norm(unit, axis=1) == pytest.approx([1, 0, 0, 1])
