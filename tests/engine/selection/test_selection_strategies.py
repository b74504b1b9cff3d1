"""Strategies against slow oracles: exactly k rows, approved in, rejected and NaN never, ties by row order."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.errors import EngineError
from engine.selection.eligible import eligible
from engine.selection.strategies import STRATEGIES, best_first, select_round_robin, select_top

values = st.sampled_from([float("nan"), float("-inf"), -1.0, 0.0, 0.25, 0.5, 1.0, float("inf")])


@st.composite
def cases(draw, most_columns=1):
    n, t = draw(st.integers(1, 12)), draw(st.integers(1, most_columns))
    matrix = np.array(draw(st.lists(st.lists(values, min_size=t, max_size=t), min_size=n, max_size=n)))
    roles = np.array(draw(st.lists(st.sampled_from("iex "), min_size=n, max_size=n)))
    return matrix, roles == "i", roles == "e", draw(st.integers(1, n + 1))


def _top_oracle(score, k, include, exclude):
    free = [i for i in range(len(score)) if not include[i] and not exclude[i] and not np.isnan(score[i])]
    ranked = sorted(free, key=lambda i: (-score[i], i))
    return sorted([*np.flatnonzero(include), *ranked[: k - include.sum()]])


def _possible(matrix, include, exclude, k):
    free = (~include & ~exclude & ~np.isnan(matrix).all(axis=1)).sum()
    return include.sum() <= k <= include.sum() + free


@settings(deadline=None)
@given(case=cases())
def test_top_is_the_sorted_list(case):
    matrix, include, exclude, k = case
    if not _possible(matrix, include, exclude, k):
        with pytest.raises(EngineError, match="nothing was selected"):
            select_top(matrix[:, 0], k, include=include, exclude=exclude)
        return
    chosen = select_top(matrix[:, 0], k, include=include, exclude=exclude)
    assert chosen.rows.tolist() == _top_oracle(matrix[:, 0], k, include, exclude)
    assert len(chosen.reasons) == k
    assert [r == "approved" for r in chosen.reasons] == include[chosen.rows].tolist()


def _robin_oracle(matrix, k, include, exclude, seed):
    generator = np.random.default_rng(seed)
    taken = list(np.flatnonzero(include))
    while len(taken) < k:
        for j in generator.permutation(matrix.shape[1]):
            free = [i for i in range(len(matrix)) if i not in taken and not exclude[i] and not np.isnan(matrix[i, j])]
            if free and len(taken) < k:
                taken.append(min(free, key=lambda i: (-matrix[i, j], i)))
    return sorted(taken)


@settings(max_examples=150, deadline=None)
@given(case=cases(most_columns=4), seed=st.integers(0, 5))
def test_round_robin_is_the_plain_loop(case, seed):
    matrix, include, exclude, k = case
    if not _possible(matrix, include, exclude, k):
        with pytest.raises(EngineError, match="nothing was selected"):
            select_round_robin(matrix, k, include=include, exclude=exclude, seed=seed)
        return
    chosen = select_round_robin(matrix, k, include=include, exclude=exclude, seed=seed)
    assert chosen.rows.tolist() == _robin_oracle(matrix, k, include, exclude, seed)
    again = select_round_robin(matrix, k, include=np.flatnonzero(include), exclude=np.flatnonzero(exclude), seed=seed)
    assert again.rows.tolist() == chosen.rows.tolist()
    assert again.reasons == chosen.reasons


def test_round_robin_deepens_its_queues_as_far_as_needed():
    generator = np.random.default_rng(0)
    shared = generator.normal(size=(3000, 1)) + 1e-3 * generator.normal(size=(3000, 8))
    chosen = select_round_robin(shared, 2900, seed=3)
    assert chosen.rows.tolist() == _robin_fast_oracle(shared, 2900, 3)


def _robin_fast_oracle(matrix, k, seed):
    generator, order = np.random.default_rng(seed), np.argsort(-matrix, axis=0, kind="stable")
    taken, at = set(), [0] * matrix.shape[1]
    while len(taken) < k:
        for j in generator.permutation(matrix.shape[1]):
            while order[at[j], j] in taken:
                at[j] += 1
            taken.add(int(order[at[j], j]))
            if len(taken) == k:
                break
    return sorted(taken)


@settings(deadline=None)
@given(scores=st.lists(st.sampled_from([-1.0, 0.0, 0.5, 2.0]), max_size=30), k=st.integers(0, 35))
def test_best_first_is_a_stable_sort(scores, k):
    score = np.array(scores, np.float32)
    assert best_first(score, k).tolist() == np.argsort(-score, kind="stable")[:k].tolist()


def test_every_target_gets_its_turn():
    matrix = np.array([[9.0, 0.0], [8.0, 0.0], [7.0, 0.1], [0.0, 0.2]])
    chosen = select_round_robin(matrix, 2, names=["maths", "code"])
    assert chosen.rows.tolist() == [0, 3]
    assert chosen.reasons == ["pick 1 of maths", "pick 1 of code"]
    assert select_top(matrix.mean(axis=1), 2).rows.tolist() == [0, 1]


def test_reasons_tell_the_rank():
    chosen = select_top(np.array([0.1, 0.9, 0.5]), 3, include=[0])
    assert chosen.reasons == ["approved", "rank 1 by score", "rank 2 by score"]


def test_more_approved_than_asked_for_is_told():
    with pytest.raises(EngineError, match=r"3 samples are approved, more than the 2 .*at least 3"):
        select_top(np.arange(5.0), 2, include=[0, 1, 2])


def test_too_few_candidates_are_told():
    with pytest.raises(EngineError, match="at most 2"):
        select_top(np.array([1.0, np.nan, 2.0, 3.0]), 3, exclude=[3])


@pytest.mark.parametrize(
    "arguments",
    [{"include": [5]}, {"include": [-1]}, {"exclude": np.ones(3, bool)}, {"include": [0], "exclude": [0]},
     {"include": [0.5]}],
)  # fmt: skip
def test_impossible_masks_are_refused(arguments):
    with pytest.raises(EngineError):
        select_top(np.arange(5.0), 1, **arguments)


def test_wrong_shapes_are_refused():
    with pytest.raises(EngineError, match="One score per sample"):
        select_top(np.zeros((3, 2)), 1)
    with pytest.raises(EngineError, match="per sample and target"):
        select_round_robin(np.zeros(3), 1)
    with pytest.raises(EngineError, match="target names"):
        select_round_robin(np.zeros((3, 2)), 1, names=["one"])
    with pytest.raises(EngineError, match="at least one"):
        select_top(np.zeros(3), 0)
    assert set(STRATEGIES) == {"top", "round-robin"}


def test_inputs_are_not_changed():
    score, include = np.array([0.1, 0.9]), np.array([True, False])
    select_top(score, 2, include=include)
    select_round_robin(score[:, None], 2, include=include)
    assert (score.tolist(), include.tolist()) == ([0.1, 0.9], [True, False])


def test_eligibility_puts_people_before_scores_and_guards():
    decisions = np.array([0, 1, 2, 3, 0, 1, 0, 1], np.int8)
    scorable = np.array([1, 1, 1, 1, 0, 0, 1, 1], bool)
    barred = np.array([0, 0, 0, 0, 0, 0, 1, 1], bool)
    found = eligible(decisions, scorable=scorable, barred=barred)
    assert np.flatnonzero(found.include).tolist() == [1, 5, 7]
    assert np.flatnonzero(found.exclude).tolist() == [2, 4, 6]
    assert found.free == 2
    assert not (found.include & found.exclude).any()
    with pytest.raises(EngineError, match="one entry per pool sample"):
        eligible(decisions, scorable=scorable[:3])


def test_an_approved_row_without_a_score_goes_in():
    score = np.array([np.nan, 0.5, np.nan])
    mask = eligible(np.array([1, 0, 0], np.int8), scorable=~np.isnan(score))
    assert select_top(score, 2, include=mask.include, exclude=mask.exclude).rows.tolist() == [0, 1]
