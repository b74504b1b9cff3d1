"""Budgets and quotas: never broken, met wherever they can be, and the best choice there is, against brute force."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.errors import EngineError
from engine.selection.budget import Budget, budget_of, unit_of
from engine.selection.kernels import DenseKernel
from engine.selection.quotas import Quota, limits_of, quota_of, quotas_from
from engine.selection.room import Room
from engine.selection.strategies import select_round_robin, select_top
from engine.selection.submodular import NEEDS, SUBMODULAR_NAMES, select_submodular
from engine.selection.weighted import select_weights

STRATEGIES = ("top", "round-robin", "weights", *SUBMODULAR_NAMES)


def chosen_by(strategy, room, score, include, exclude, seed=0):
    generator, n = np.random.default_rng(seed), len(score)
    people = {"include": include, "exclude": exclude}
    if strategy == "top":
        return select_top(score, room, **people)
    if strategy == "weights":
        return select_weights(score, room, **people)
    if strategy == "round-robin":
        return select_round_robin(np.stack([score, generator.permutation(score)], axis=1), room, **people)
    kernel = DenseKernel.of_features(generator.normal(size=(n, 4)))
    own = {name: generator.uniform(0.1, 0.9, n) for name in [NEEDS.get(strategy)] if name}
    own |= {"score": score} if "score" in own else {}
    greedy = "stochastic" if seed % 3 == 0 else "lazy"
    return select_submodular(kernel, room, strategy=strategy, greedy=greedy, ties=score, **own, **people)


def keeps(room, rows):
    """Whether budget, caps and minimums hold of the rows."""
    rows = np.asarray(rows, np.int64)
    costs = np.ones(room.limits.member.shape[1], np.int64) if room.costs is None else room.costs
    spent = costs[rows].sum()
    if spent != room.budget if room.costs is None else spent > room.budget:
        return False
    for at, group in enumerate(room.limits.groups):
        inside = rows[room.limits.member[group.column, rows] == at]
        if not (
            group.least <= len(inside) <= group.most and group.least_cost <= costs[inside].sum() <= group.most_cost
        ):
            return False
    return True


@st.composite
def problems(draw, columns=2, tokens=False):
    """Rows, people's decisions, quotas and a budget, small enough to try all choices."""
    n = draw(st.integers(2, 10))
    generator = np.random.default_rng(draw(st.integers(0, 9999)))
    score = generator.permutation(n).astype(float)
    roles = generator.choice(list("ie    "), n)
    costs = generator.integers(1, 9, n)
    budget = Budget(draw(st.integers(1, n)), "rows")
    if tokens:
        budget = Budget(draw(st.integers(1, int(costs.sum()))), "tokens")
    found, values = [], {}
    for at in range(draw(st.integers(1, columns))):
        values[f"c{at}"] = (["x", "y", "z"], generator.integers(0, 3, n))
        for value in "xyz":
            share = "%" if draw(st.booleans()) else ""
            if draw(st.booleans()):
                most = draw(st.integers(0, 100 if share else n))
                found.append(Quota(f"c{at}", value, "at-most", f"{most}{share}"))
            if draw(st.integers(0, 3)) == 0:
                found.append(Quota(f"c{at}", value, "at-least", f"{draw(st.integers(0, 30 if share else 3))}{share}"))
    try:
        limits = limits_of(found, values, budget, n)
    except EngineError:
        limits = limits_of([], values, budget, n)
    return score, roles == "i", roles == "e", Room(budget.amount, limits, costs if tokens else None)


def every_choice(score, include, exclude, room):
    free = np.flatnonzero(~include & ~exclude).tolist()
    inside = np.flatnonzero(include).tolist()
    for size in range(len(free) + 1):
        yield from ([*inside, *some] for some in combinations(free, size))


@settings(deadline=None, max_examples=250)
@given(problem=problems(), strategy=st.sampled_from(STRATEGIES), seed=st.integers(0, 9))
def test_budget_and_quotas_hold_wherever_they_can(problem, strategy, seed):
    score, include, exclude, room = problem
    possible = [rows for rows in every_choice(score, include, exclude, room) if keeps(room, rows)]
    if not possible:
        with pytest.raises(EngineError, match=r"[Nn]othing was selected"):
            chosen_by(strategy, room, score, include, exclude, seed)
        return
    chosen = chosen_by(strategy, room, score, include, exclude, seed)
    assert keeps(room, chosen.rows)
    assert set(np.flatnonzero(include)) <= set(chosen.rows.tolist()) <= set(np.flatnonzero(~exclude))
    assert [why == "approved" for why in chosen.reasons] == include[chosen.rows].tolist()
    if strategy == "top" and len(room.limits.member) == 1:  # a matroid: greedy is the best there is
        assert score[chosen.rows].sum() == max(score[rows].sum() for rows in possible)
    if chosen.weights is not None:
        assert chosen.weights.mean() == pytest.approx(1) and (chosen.weights > 0).all()


@settings(deadline=None, max_examples=250)
@given(problem=problems(tokens=True), strategy=st.sampled_from(STRATEGIES), seed=st.integers(0, 9))
def test_a_budget_of_tokens_is_never_exceeded_and_what_fits_is_in(problem, strategy, seed):
    score, include, exclude, room = problem
    try:
        chosen = chosen_by(strategy, room, score, include, exclude, seed)
    except EngineError as error:
        assert "othing was selected" in str(error)
        if not room.limits.groups:  # then only the approved rows, or none that fits, can be the reason
            left = room.budget - room.costs[include].sum()
            assert left < 0 or (not include.any() and (room.costs[~exclude] > left).all())
        return
    assert keeps(room, chosen.rows)
    assert set(np.flatnonzero(include)) <= set(chosen.rows.tolist()) <= set(np.flatnonzero(~exclude))
    others = np.setdiff1d(np.flatnonzero(~exclude), chosen.rows)
    if not room.limits.groups:
        assert (room.costs[others] > room.budget - room.costs[chosen.rows].sum()).all()


def test_an_account_keeps_budget_and_quotas_whatever_it_is_offered():
    """Rows in any order: what it says cannot be taken cannot, and whatever it took, the minimums are met in the end."""
    held = 0
    for seed in range(400):
        draw = np.random.default_rng(seed)
        n, quotas, values = int(draw.integers(3, 10)), [], {}
        costs = draw.integers(0, 9, n) if seed % 2 else None
        budget = Budget(int(draw.integers(1, n + 1 if costs is None else costs.sum() + 2)), "rows")
        for column in "ab"[: 1 + seed % 3]:
            values[column] = (list("xyz"), draw.integers(0, 3, n))
            quotas += [Quota(column, v, "at-most", f"{draw.integers(2, n)}") for v in "xyz" if draw.random() < 0.4]
            quotas += [Quota(column, v, "at-least", f"{draw.integers(1, 3)}") for v in "xyz" if draw.random() < 0.4]
        try:
            room = Room(budget.amount, limits_of(quotas, values, budget, n), costs)
            account = room.account(np.zeros(0, np.int64), np.arange(n))
        except EngineError:
            continue
        held += room.limits.lower
        for row in draw.permutation(n):
            could = account.may(np.array([row]))[0]
            assert account.take(int(row)) <= could
        account.fill(np.arange(n))
        rows = np.flatnonzero(account.taken)
        assert account.left == room.budget - (len(rows) if costs is None else costs[rows].sum()) >= 0
        assert not account.lacks().any()
        assert (room.limits.counts(rows) <= [group.most for group in room.limits.groups]).all()
    assert held > 100, held


@settings(deadline=None, max_examples=60)
@given(problem=problems(columns=1), seed=st.integers(0, 99))
def test_the_order_of_the_rows_does_not_matter(problem, seed):
    score, include, exclude, room = problem
    order = np.random.default_rng(seed).permutation(len(score))
    try:
        rows = select_top(score, room, include=include, exclude=exclude).rows
    except EngineError:
        return
    other = select_top(score[order], room.of(order), include=include[order], exclude=exclude[order]).rows
    assert sorted(order[other].tolist()) == rows.tolist()


def test_many_rows_at_once_equal_one_after_the_other():
    generator, n = np.random.default_rng(0), 5000
    score, costs = generator.random(n), generator.integers(1, 60, n)
    values = {"a": (list("xyz"), generator.integers(0, 3, n)), "b": (list("pq"), generator.integers(0, 2, n))}
    quotas = [quota_of("a:x=10%", "at-most"), quota_of("b:p=300", "at-most"), quota_of("a:y=25%", "at-most")]
    budget = Budget(40_000, "tokens")
    room = Room(budget.amount, limits_of(quotas, values, budget, n), costs)
    chosen = select_top(score, room)
    order, account = np.argsort(-score), room.account(np.zeros(0, np.int64), np.argsort(-score))
    assert chosen.rows.tolist() == sorted(row for row in order.tolist() if account.take(row))
    assert keeps(room, chosen.rows)


def test_what_is_missing_is_named():
    values = {"c": (["web", "book"], np.array([0] * 8 + [1] * 2))}
    score, ten = np.arange(10.0), Budget(10, "rows")

    def refusal(*quotas, budget=ten, **people):
        with pytest.raises(EngineError) as caught:
            select_top(score, Room(budget.amount, limits_of(quotas, values, budget, 10)), **people)
        return str(caught.value)

    assert "c: book needs 3 and has 2 that can be chosen, 1 too few" in refusal(quota_of("c:book=3", "at-least"))
    said = refusal(quota_of("c:web=30%", "at-most"))
    assert "only 5 of the 10 that can be selected, 5 too few" in said
    everything = {"exclude": np.ones(10, bool)}
    for most in ((), (quota_of("c:web=3", "at-most"),)):
        assert "No sample can be selected: all are rejected" in refusal(*most, **everything)
    assert "the budget is 10 samples" in refusal(quota_of("c:*=0", "at-most"))
    with pytest.raises(EngineError, match="No sample can be selected"):
        select_top(score, 3, **everything)
    put_in = {"include": np.arange(4), "budget": Budget(5, "rows")}
    assert "c: web may be at most 3, and 4 are approved" in refusal(quota_of("c:web=3", "at-most"), **put_in)
    both = (quota_of("c:web=4", "at-least"), quota_of("c:book=2", "at-least"))
    assert "need 6, 1 more than the budget of 5" in refusal(*both, budget=Budget(5, "rows"))
    with pytest.raises(EngineError, match="at least 4 and at most 3"):
        limits_of([quota_of("c:web=4", "at-least"), quota_of("c:web=3", "at-most")], values, ten, 10)
    with pytest.raises(EngineError, match="names a value that no sample has; c has: web, book"):
        limits_of([quota_of("c:wiki=4", "at-least")], values, ten, 10)


def test_ties_of_gain_go_by_score():
    """Rows that add nothing any more are taken by score, not by row number."""
    kernel = DenseKernel.of_matrix(np.eye(8)[[0] * 8] @ np.eye(8) * 0 + np.ones((8, 8)))
    score = np.array([0, 1, 2, 3, 7, 6, 5, 4.0])
    chosen = select_submodular(kernel, 4, strategy="facility-location", ties=score)
    assert chosen.order.tolist() == [4, 5, 6, 7]


@pytest.mark.parametrize(
    ("text", "budget"),
    [
        ("500", Budget(500, "rows")),
        ("10%", Budget(90, "rows")),
        ("200000t", Budget(200_000, "tokens")),
        ("200k tokens", Budget(200_000, "tokens")),
        ("1.5Mt", Budget(1_500_000, "tokens")),
        ("80,000 words", Budget(80_000, "words")),
    ],
)
def test_budgets_are_read(text, budget):
    assert budget_of(text, 907) == budget
    assert unit_of(text) == budget.unit


@pytest.mark.parametrize(
    "text", ["", "many", "-3", "5 samples", "k tokens", "0 tokens", "0.1t", "10% tokens", "9" * 5000]
)
def test_no_budgets(text):
    with pytest.raises(EngineError, match="size is"):
        budget_of(text, 907)


def test_quotas_are_read_and_kept():
    quota = quota_of("field/source:web: a=b=12.5%", "at-most")
    assert quota == Quota("field/source", "web: a=b", "at-most", "12.5%")
    assert quotas_from([quota.to_json()]) == (quota,)
    assert quota.bound(Budget(17, "rows")) == (2, False)
    assert Quota("a", "b", "at-least", "12.5%").bound(Budget(17, "rows")) == (3, False)
    assert quota.bound(Budget(17, "tokens")) == (2, True)
    for text in ("web=3", "a:b", "a:b=", ":b=3", "a:b=x", "a:b=101%", "a:b=-1", f"a:b={'9' * 5000}%"):
        with pytest.raises(EngineError):
            quota_of(text, "at-least")
