"""Greedy choices against the naive loop, the best of all subsets, and apricot; ties by row; nothing chosen twice."""

import warnings
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.errors import Cancelled, EngineError
from engine.progress import Silent
from engine.selection.greedy import lazy_greedy, sample_size, stochastic_greedy
from engine.selection.kernels import DenseKernel, FunctionKernel, SparseKernel
from engine.selection.objectives import (
    Diverse,
    GraphCut,
    conditional_gain,
    facility_location,
    mutual_information,
)

with warnings.catch_warnings():
    warnings.simplefilter("ignore", SyntaxWarning)  # of its own source, where it is compiled for the first time
    import apricot

NAMES = ["facility-location", "mutual-information", "conditional-gain", "graph-cut", "diverse"]


def similarities(n, seed, levels=None):
    generator = np.random.default_rng(seed)
    s = generator.uniform(0, 1, (n, n)) if levels is None else generator.integers(0, levels, (n, n)) / (levels - 1)
    s = np.maximum(s, s.T)
    np.fill_diagonal(s, 1)
    return s.astype(np.float32)


def objective_of(name, kernel, seed=0):
    generator = np.random.default_rng(seed)
    n = len(kernel)
    best, quality = generator.uniform(0.1, 0.9, n), generator.integers(0, 4, n) / 3
    return {
        "facility-location": lambda: facility_location(kernel),
        "mutual-information": lambda: mutual_information(kernel, best),
        "conditional-gain": lambda: conditional_gain(kernel, best),
        "graph-cut": lambda: GraphCut(kernel),
        "diverse": lambda: Diverse(kernel, quality, max(1, n // 2)),
    }[name]()


def naive_greedy(objective, k, candidates, start=()):
    """Look at every candidate each time, one by one; the first of the best."""
    order, gains = [], []
    for turn in range(k):
        left = [start[turn]] if turn < len(start) else sorted(set(candidates) - set(order) - set(start))
        each = [float(objective.gains(np.array([row]))[0]) for row in left]
        at = max(range(len(left)), key=lambda i: (each[i], -left[i]))
        objective.add(left[at])
        order.append(left[at])
        gains.append(each[at])
    return order, gains


@settings(deadline=None, max_examples=200)
@given(
    name=st.sampled_from(NAMES), n=st.integers(1, 14), seed=st.integers(0, 10**6), data=st.data(),
    levels=st.sampled_from([None, 2, 3]), batch=st.sampled_from([1, 2, 8, 64]),
)  # fmt: skip
def test_lazy_is_naive_whatever_the_batch_ties_included(name, n, seed, data, levels, batch):
    kernel = DenseKernel.of_matrix(similarities(n, seed, levels))
    roles = data.draw(st.lists(st.sampled_from("cccs "), min_size=n, max_size=n))
    candidates = [i for i in range(n) if roles[i] == "c"]
    start = [i for i in range(n) if roles[i] == "s"]
    k = data.draw(st.integers(len(start), len(start) + len(candidates)))
    order, gains = naive_greedy(objective_of(name, kernel), k, candidates, start)
    objective = objective_of(name, kernel)
    picks = lazy_greedy(objective, k, candidates=np.array(candidates, int), start=np.array(start, int), batch=batch)
    assert picks.order.tolist() == order
    assert picks.gains.tolist() == gains
    assert objective.value == pytest.approx(sum(gains), abs=1e-5)


def sparse_pool(n, k, seed):
    generator = np.random.default_rng(seed)
    index = np.array([generator.permutation(np.delete(np.arange(n), i))[:k] for i in range(n)])
    return SparseKernel.of_neighbours(index.astype(np.int32), generator.integers(0, 4, (n, k)) / np.float32(4))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("batch", [1, 8])
def test_lazy_is_naive_on_a_larger_sparse_pool_full_of_ties(name, batch):
    kernel = sparse_pool(300, 6, 1)
    order, gains = naive_greedy(objective_of(name, kernel), 60, range(300))
    picks = lazy_greedy(objective_of(name, kernel), 60, batch=batch)
    assert picks.order.tolist() == order and picks.gains.tolist() == gains


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("seed", range(6))
def test_greedy_is_near_the_best_of_all_subsets(name, seed):
    kernel = DenseKernel.of_matrix(similarities(10, seed))
    for k in (1, 2, 3, 5):
        values = []
        for rows in combinations(range(10), k):
            objective = objective_of(name, kernel)
            for row in rows:
                objective.add(row)
            values.append(objective.value)
        chosen = lazy_greedy(objective_of(name, kernel), k).gains.sum()
        assert (1 - np.exp(-1)) * max(values) <= chosen + 1e-6
        assert chosen <= max(values) + 1e-5
        if k == 1:
            assert chosen == pytest.approx(max(values))


@pytest.mark.parametrize("name", NAMES)
def test_sampling_every_candidate_is_greedy(name):
    kernel = sparse_pool(40, 5, 2)
    lazy = lazy_greedy(objective_of(name, kernel), 12, start=np.array([7]))
    all_of_them = stochastic_greedy(objective_of(name, kernel), 12, start=np.array([7]), epsilon=1e-6, seed=3)
    assert sample_size(39, 11, 1e-6) >= 39
    assert all_of_them.order.tolist() == lazy.order.tolist()
    assert all_of_them.gains.tolist() == lazy.gains.tolist()


@settings(deadline=None, max_examples=60)
@given(n=st.integers(1, 30), seed=st.integers(0, 99), data=st.data())
def test_a_sampled_choice_is_k_distinct_candidates_with_their_true_gains(n, seed, data):
    kernel = DenseKernel.of_matrix(similarities(n, seed))
    candidates = np.flatnonzero(np.random.default_rng(seed).random(n) < 0.8)
    k = data.draw(st.integers(0, len(candidates)))
    picks = stochastic_greedy(facility_location(kernel), k, candidates=candidates, seed=seed)
    again = stochastic_greedy(facility_location(kernel), k, candidates=candidates[::-1], seed=seed)
    assert picks.order.tolist() == again.order.tolist()
    assert len(set(picks.order.tolist())) == k and set(picks.order.tolist()) <= set(candidates.tolist())
    replay = facility_location(kernel)
    for row, gain in zip(picks.order.tolist(), picks.gains.tolist(), strict=True):
        assert gain == replay.gains(np.array([row]))[0]
        replay.add(row)


def test_sampling_keeps_its_promise_on_average():
    kernel = DenseKernel.of_matrix(similarities(60, 5))
    best = lazy_greedy(facility_location(kernel), 8).gains.sum()
    found = [stochastic_greedy(facility_location(kernel), 8, epsilon=0.2, seed=s).gains.sum() for s in range(20)]
    assert len(set(found)) > 1
    assert np.mean(found) >= 0.95 * best


@pytest.mark.parametrize("name", NAMES)
def test_the_order_of_the_rows_does_not_matter_without_ties(name):
    """Two rows that represent nobody but each other are tied where s is symmetric; caps that are reached tie all."""
    generator = np.random.default_rng(9)
    s = similarities(30, 8) if name == "graph-cut" else generator.uniform(0, 1, (30, 30))
    shuffled = generator.permutation(30)
    best, quality = generator.uniform(0.9, 1.0, 30), generator.uniform(0, 1, 30)

    def chosen(rows):
        kernel = DenseKernel.of_matrix(s[np.ix_(rows, rows)])
        objective = {
            "facility-location": lambda: facility_location(kernel),
            "mutual-information": lambda: mutual_information(kernel, best[rows]),
            "conditional-gain": lambda: conditional_gain(kernel, best[rows], nu=0.5),
            "graph-cut": lambda: GraphCut(kernel),
            "diverse": lambda: Diverse(kernel, quality[rows], 5),
        }[name]()
        return rows[lazy_greedy(objective, 5).order].tolist()

    assert chosen(shuffled) == chosen(np.arange(30))


@pytest.mark.parametrize("greedy", [lazy_greedy, stochastic_greedy])
@pytest.mark.parametrize("k", [0, 1, 5])
def test_budgets_from_none_to_all(greedy, k):
    picks = greedy(facility_location(DenseKernel.of_matrix(similarities(5, 0))), k)
    assert len(picks.order) == len(picks.gains) == len(set(picks.order.tolist())) == k
    assert picks.order.dtype == np.int64 and picks.gains.dtype == np.float64


@pytest.mark.parametrize("greedy", [lazy_greedy, stochastic_greedy])
def test_rows_put_in_are_not_chosen_again_though_they_are_candidates(greedy):
    picks = greedy(facility_location(DenseKernel.of_matrix(np.ones((5, 5)))), 5, start=np.array([3, 0]))
    assert picks.order[:2].tolist() == [3, 0] and sorted(picks.order.tolist()) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("greedy", [lazy_greedy, stochastic_greedy])
@pytest.mark.parametrize(
    ("k", "options"),
    [(6, {}), (-1, {}), (1, {"start": [0, 1]}), (2, {"start": [0, 0]}), (3, {"candidates": [1, 1, 2]})],
)
def test_impossible_budgets_are_refused_and_nothing_is_added(greedy, k, options):
    objective = facility_location(DenseKernel.of_matrix(similarities(5, 0)))
    with pytest.raises(EngineError, match="samples were asked for"):
        greedy(objective, k, **{name: np.array(rows) for name, rows in options.items()})
    assert objective.value == 0


@pytest.mark.parametrize("epsilon", [0, 1, -0.5, 0.7, np.nan])
def test_an_impossible_loss_is_refused(epsilon):
    with pytest.raises(EngineError, match="epsilon"):
        stochastic_greedy(facility_location(DenseKernel.of_matrix(np.eye(3))), 1, epsilon=epsilon)


def test_equal_rows_go_by_row_order_and_copies_add_nothing():
    s = np.kron(np.eye(3), np.ones((2, 2)))
    picks = lazy_greedy(facility_location(DenseKernel.of_matrix(s)), 6)
    assert picks.order.tolist() == [0, 2, 4, 1, 3, 5]
    assert picks.gains.tolist() == [2, 2, 2, 0, 0, 0]
    constant = lazy_greedy(facility_location(DenseKernel.of_matrix(np.ones((4, 4)))), 3)
    assert constant.order.tolist() == [0, 1, 2] and constant.gains.tolist() == [4, 0, 0]


def test_lazy_looks_at_few_rows():
    class Counting:
        def __init__(self, objective):
            self.objective, self.asked = objective, 0

        def __len__(self):
            return len(self.objective)

        def gains(self, rows):
            self.asked += len(rows)
            return self.objective.gains(rows)

        def add(self, row):
            self.objective.add(row)

    counting = Counting(facility_location(sparse_pool(400, 6, 4)))
    lazy_greedy(counting, 100)
    assert counting.asked < 400 + 0.3 * 100 * 350  # naive: 400 + 399 + ... + 301


def test_a_function_gives_the_choice_of_its_matrix():
    s = similarities(50, 3)
    function = FunctionKernel(lambda rows, columns: s[np.ix_(rows, columns)], 50, symmetric=True)
    for name in NAMES:
        ours = lazy_greedy(objective_of(name, function), 10)
        assert ours.order.tolist() == lazy_greedy(objective_of(name, DenseKernel.of_matrix(s)), 10).order.tolist()


def test_apricot_chooses_the_same_rows_with_the_same_gains():
    """Naive there, since its lazy search compiles more; every fit compiles."""
    s = similarities(60, 11)
    kernel = DenseKernel.of_matrix(s)
    for theirs, ours in (
        (apricot.FacilityLocationSelection(15, metric="precomputed", optimizer="naive"), facility_location(kernel)),
        (apricot.GraphCutSelection(15, metric="precomputed", optimizer="naive", alpha=2), GraphCut(kernel)),
    ):
        theirs.fit(s.astype(np.float64))
        picks = lazy_greedy(ours, 15)
        assert picks.order.tolist() == theirs.ranking.tolist()
        assert picks.gains == pytest.approx(theirs.gains, rel=1e-6)
        assert ours.value == pytest.approx(theirs.gains.sum(), rel=1e-6)


@pytest.mark.parametrize("greedy", [lazy_greedy, stochastic_greedy])
def test_progress_is_told_and_a_cancellation_heard(greedy):
    class Listening(Silent):
        def __init__(self, limit):
            self.told, self.done, self.limit = [], 0, limit

        def phase(self, name, total, unit="rows"):
            self.told.append((name, total))

        def advance(self, n):
            self.done += n

        def check(self):
            if self.done >= self.limit:
                raise Cancelled("Cancelled.")

    kernel = DenseKernel.of_matrix(similarities(9, 0))
    listener = Listening(99)
    greedy(facility_location(kernel), 4, start=np.array([8]), reporter=listener)
    assert (listener.told, listener.done) == ([("choosing", 4)], 4)
    with pytest.raises(Cancelled):
        greedy(facility_location(kernel), 4, reporter=Listening(2))
