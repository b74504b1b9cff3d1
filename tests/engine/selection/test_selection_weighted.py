"""The strategy that weighs: the rows of `top` to first order, mean one, people's rows at one, curvature respected."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.errors import EngineError
from engine.influence.quadratic import Quadratic
from engine.selection import menu
from engine.selection.strategies import STRATEGIES, select_round_robin, select_top
from engine.selection.submodular import SUBMODULAR_NAMES
from engine.selection.weighted import select_weights

values = st.sampled_from([float("nan"), -1.0, 0.0, 0.25, 0.5, 1.0])


@st.composite
def cases(draw):
    n = draw(st.integers(1, 12))
    score = np.array(draw(st.lists(values, min_size=n, max_size=n)))
    roles = np.array(draw(st.lists(st.sampled_from("iex  "), min_size=n, max_size=n)))
    return score, roles == "i", roles == "e", draw(st.integers(1, n + 1))


@settings(deadline=None)
@given(case=cases())
def test_the_rows_are_those_of_top_and_the_mean_weight_is_one(case):
    score, include, exclude, k = case
    free = (~include & ~exclude & ~np.isnan(score)).sum()
    if not include.sum() <= k <= include.sum() + free:
        with pytest.raises(EngineError, match="nothing was selected"):
            select_weights(score, k, include=include, exclude=exclude)
        return
    chosen = select_weights(score, k, include=include, exclude=exclude)
    top = select_top(score, k, include=include, exclude=exclude)
    assert chosen.rows.tolist() == top.rows.tolist() and top.weights is None and top.notes == ()
    assert chosen.weights.shape == (k,) and chosen.weights.mean() == pytest.approx(1) and (chosen.weights > 0).all()
    assert (chosen.weights[include[chosen.rows]] == 1).all()
    assert [reason == "approved" for reason in chosen.reasons] == include[chosen.rows].tolist()
    others = chosen.rows[~include[chosen.rows]]
    order = np.argsort(-score[others], kind="stable")
    assert (np.diff(chosen.weights[~include[chosen.rows]][order]) <= 1e-12).all()


def test_a_row_weighs_what_it_is_above_the_best_row_left_out():
    chosen = select_weights(np.array([5.0, np.nan, 3.0, 2.0, 1.0]), 2)
    assert chosen.rows.tolist() == [0, 2] and chosen.weights.tolist() == [1.5, 0.5]
    assert chosen.reasons == ["weight 1.5", "weight 0.5"] and chosen.notes == ()
    with_one = select_weights(np.array([5.0, np.nan, 3.0, 2.0, 1.0]), 3, include=[1])
    assert with_one.rows.tolist() == [0, 1, 2] and with_one.weights.tolist() == [1.5, 1.0, 0.5]
    assert select_weights(np.array([np.nan, 2.0]), 1, include=[0]).weights.tolist() == [1.0]


def test_ties_are_cut_by_row_order_and_told():
    chosen = select_weights(np.array([2.0, 3.0, 2.0, 1.0]), 2)
    assert chosen.rows.tolist() == [0, 1] and chosen.weights.tolist() == pytest.approx([2 / 3, 4 / 3])
    assert len(chosen.notes) == 1 and "exactly 2 samples" in chosen.notes[0]


def curved(n=30, q=4, seed=0):
    generator = np.random.default_rng(seed)
    b = generator.normal(size=(q, q))
    return generator.normal(size=n), Quadratic.low_rank(generator.normal(size=(n, q)), b @ b.T / n)


def test_curvature_changes_the_weights_and_passes_over_rows_without_coefficients():
    score, curvature = curved()
    plain, bent = select_weights(score, 8), select_weights(score, 8, curvature=curvature, eta=0.05)
    assert len(bent.rows) == 8 and bent.weights.mean() == pytest.approx(1)
    assert not np.allclose(bent.weights, plain.weights, atol=1e-2)
    best = int(bent.rows[np.argmax(bent.weights)])
    factors = curvature.factors.copy()
    factors[best] = np.nan
    without = select_weights(score, 8, curvature=Quadratic.low_rank(factors, curvature.core), eta=0.05)
    assert best not in without.rows
    excluded = select_weights(score, 8, exclude=[best], curvature=curvature, eta=0.05)
    assert without.rows.tolist() == excluded.rows.tolist()


def test_an_included_row_makes_rows_like_it_worth_less():
    """Two equal rows in a curvature of one direction: with one of them in, the other weighs less than without."""
    factors = np.array([[1.0], [1.0], [0.0], [0.0], [0.0]])
    curvature = Quadratic.low_rank(factors, np.array([[0.2]]))
    score = np.array([np.nan, 1.0, 0.9, 0.8, 0.0])
    alone = select_weights(score, 3, curvature=curvature)
    assert alone.rows.tolist() == [1, 2, 3]
    broken = Quadratic.low_rank(np.where(np.arange(5)[:, None] == 0, np.nan, factors), curvature.core)
    felt = select_weights(score, 4, include=[0], curvature=curvature)
    unfelt = select_weights(score, 4, include=[0], curvature=broken)  # the row has no coefficients
    for chosen in (felt, unfelt):
        assert chosen.rows.tolist() == [0, 1, 2, 3]
        assert chosen.weights[0] == 1.0 and chosen.weights.mean() == pytest.approx(1)
    assert felt.weights[1] < unfelt.weights[1] - 0.05


def test_a_problem_that_is_not_convex_is_refused_unless_it_may_be_raised():
    score, curvature = curved()
    bad = Quadratic.low_rank(curvature.factors, -30 * curvature.core)
    with pytest.raises(EngineError, match="not convex"):
        select_weights(score, 1, curvature=bad)
    chosen = select_weights(score, 1, curvature=bad, non_convex="raise")
    assert len(chosen.rows) == 1 and any("raised" in note for note in chosen.notes)


def test_what_is_refused():
    with pytest.raises(EngineError, match="One score per sample"):
        select_weights(np.zeros((3, 2)), 1)
    with pytest.raises(EngineError, match="infinite"):
        select_weights(np.array([1.0, np.inf]), 1)
    with pytest.raises(EngineError, match="over 3 samples"):
        select_weights(np.zeros(2), 1, curvature=Quadratic.low_rank(np.ones((3, 1)), np.ones((1, 1))))
    with pytest.raises(EngineError, match="3 samples are approved"):
        select_weights(np.arange(5.0), 2, include=[0, 1, 2])


def test_other_strategies_give_no_weights():
    assert select_round_robin(np.arange(6.0).reshape(3, 2), 2).weights is None
    assert set(menu.STRATEGY_NAMES) == {*STRATEGIES, "weights", *SUBMODULAR_NAMES}
    assert {name for name, told in menu.STRATEGIES.items() if told.covers} == set(SUBMODULAR_NAMES)
