"""Objectives against their definitions in explicit loops; monotone and submodular to the bit."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.errors import EngineError
from engine.selection.kernels import DenseKernel, FunctionKernel
from engine.selection.objectives import (
    Diverse,
    GraphCut,
    conditional_gain,
    facility_location,
    mutual_information,
    quality_of,
)

NAMES = ["facility-location", "mutual-information", "conditional-gain", "graph-cut", "diverse"]


class Case:
    """A random pool and what each objective needs; `worth` is the definition, `build` the engine's state."""

    def __init__(self, n, seed, *, levels=None, represented=None):
        generator = np.random.default_rng(seed)
        s = generator.uniform(0, 1, (n, n)) if levels is None else generator.integers(0, levels, (n, n)) / (levels - 1)
        self.s = np.maximum(s, s.T).astype(np.float32)
        np.fill_diagonal(self.s, 1)
        self.target = np.append(generator.uniform(0, 1, n - 1), 0.7).astype(np.float32)
        self.owned = generator.uniform(0, 0.8, n).astype(np.float32)
        self.quality = generator.uniform(0, 1, n)
        self.represented = represented
        self.k = max(1, n // 2)

    def build(self, name):
        kernel, v = DenseKernel.of_matrix(self.s), self.represented
        return {
            "facility-location": lambda: facility_location(kernel, represented=v),
            "mutual-information": lambda: mutual_information(kernel, self.target, eta=0.8, represented=v),
            "conditional-gain": lambda: conditional_gain(kernel, self.owned, nu=0.9, represented=v),
            "graph-cut": lambda: GraphCut(kernel, cut=2.5, represented=v),
            "diverse": lambda: Diverse(kernel, self.quality, self.k, tradeoff=0.3, represented=v),
        }[name]()

    def worth(self, name, rows):
        s = self.s.astype(np.float64)
        v = [i for i in range(len(s)) if self.represented is None or self.represented[i]]
        best = {i: max((s[i, j] for j in rows), default=0.0) for i in v}
        if name == "facility-location":
            return sum(best.values())
        if name == "mutual-information":
            return sum(min(best[i], 0.8 * self.target[i]) for i in v)
        if name == "conditional-gain":
            return sum(max(best[i] - 0.9 * self.owned[i], 0) for i in v)
        if name == "graph-cut":
            return 2.5 * sum(s[i, j] for i in v for j in rows) - sum(s[i, j] for i in rows for j in rows)
        share = sum(best.values()) / max(sum(s[i].max() for i in v), 1e-300)
        return 0.7 * sum(self.quality[j] for j in rows) / self.k + 0.3 * share


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("part", [False, True])
def test_values_and_gains_are_the_definitions(name, part):
    represented = np.arange(12) % 3 > 0 if part and name != "graph-cut" else None
    case = Case(12, 0, represented=represented)
    objective, chosen = case.build(name), []
    assert len(objective) == 12 and objective.value == 0
    for row in np.random.default_rng(1).permutation(12).tolist():
        others = np.array([j for j in range(12) if j not in chosen])
        expected = [case.worth(name, [*chosen, j]) - case.worth(name, chosen) for j in others]
        assert objective.gains(others) == pytest.approx(expected, abs=1e-5)
        objective.add(row)
        chosen.append(row)
        assert objective.value == pytest.approx(case.worth(name, chosen), abs=1e-5)


@settings(deadline=None, max_examples=60)
@given(
    name=st.sampled_from(NAMES), n=st.integers(2, 9), seed=st.integers(0, 10**6), levels=st.sampled_from([None, 2, 3])
)
def test_gains_never_grow_nor_fall_below_nothing(name, n, seed, levels):
    """Monotone and submodular, to the bit: what a row adds to a set it adds at most to a larger one, and no loss."""
    case = Case(n, seed, levels=levels)
    objective, left = case.build(name), np.arange(n)
    before = objective.gains(left)
    for row in np.random.default_rng(seed).permutation(n).tolist():
        objective.add(row)
        keep = left != row
        left, before = left[keep], before[keep]
        now = objective.gains(left)
        assert (now <= before).all() and (now >= -1e-12).all()
        before = now


@pytest.mark.parametrize("name", ["facility-location", "mutual-information", "conditional-gain"])
def test_a_row_in_the_set_adds_nothing_again(name):
    objective = Case(8, 3).build(name)
    objective.add(5)
    value = objective.value
    assert objective.gains(np.array([5])).tolist() == [0.0]
    objective.add(5)
    assert objective.value == value


def test_the_special_cases_coincide():
    """η·t = 1 and ν·p = 0 give facility location; a tradeoff of 1 its share, one of 0 the mean of the scores."""
    case = Case(10, 4)
    kernel, rows = DenseKernel.of_matrix(case.s), np.arange(10)
    plain = facility_location(kernel).gains(rows)
    assert mutual_information(kernel, np.ones(10)).gains(rows).tolist() == plain.tolist()
    assert conditional_gain(kernel, np.zeros(10)).gains(rows).tolist() == plain.tolist()
    assert conditional_gain(kernel, case.owned, nu=0).gains(rows).tolist() == plain.tolist()
    share = plain / case.s.max(axis=1).sum()
    assert Diverse(kernel, case.quality, 5, tradeoff=1).gains(rows) == pytest.approx(share)
    assert Diverse(kernel, case.quality, 5, tradeoff=0).gains(rows) == pytest.approx(case.quality / 5)


def test_the_diverse_value_of_the_best_possible_is_one():
    objective = Diverse(DenseKernel.of_matrix(np.eye(4)), np.ones(4), 4, tradeoff=0.5)
    for row in range(4):
        objective.add(row)
    assert objective.value == pytest.approx(1)


def test_scores_become_ranks():
    score = np.array([3.0, np.nan, -np.inf, 3.0, np.inf])
    assert quality_of(score) == pytest.approx([0.5, np.nan, 0, 0.5, 1], nan_ok=True)
    assert quality_of(np.array([np.nan, 7])) == pytest.approx([np.nan, 1], nan_ok=True)
    assert quality_of(np.zeros(0)).tolist() == []
    assert quality_of(np.array([2, 1, 3])).tolist() == [0.5, 0, 1]


@pytest.mark.parametrize("cut", [1.99, 0, -1, np.nan, np.inf])
def test_a_graph_cut_that_is_not_monotone_is_refused(cut):
    with pytest.raises(EngineError, match="at least 2"):
        GraphCut(DenseKernel.of_matrix(np.eye(2)), cut=cut)


def test_a_graph_cut_needs_symmetry():
    with pytest.raises(EngineError, match="s_ij = s_ji"):
        GraphCut(FunctionKernel(lambda rows, columns: np.ones((len(rows), len(columns))), 3))


def test_nothing_like_the_target_is_refused():
    kernel = DenseKernel.of_matrix(np.eye(3))
    others = np.array([False, True, True])
    for arguments in (
        {"target_best": np.zeros(3)},
        {"target_best": np.ones(3), "eta": 0.0},
        {"target_best": np.array([1.0, 0, 0]), "represented": others},
    ):
        with pytest.raises(EngineError, match=r"resembles the target.*nothing was selected"):
            mutual_information(kernel, **arguments)


@pytest.mark.parametrize("bad", [np.ones(2), -np.ones(3), np.array([0, np.nan, 1]), np.array([0, np.inf, 1])])
def test_similarities_to_target_and_owned_rows_must_be_on_the_scale(bad):
    kernel = DenseKernel.of_matrix(np.eye(3))
    for build in (mutual_information, conditional_gain):
        with pytest.raises(EngineError, match="One similarity per sample"):
            build(kernel, bad)
    with pytest.raises(EngineError, match="eta"):
        mutual_information(kernel, np.ones(3), eta=-1)
    with pytest.raises(EngineError, match="nu"):
        conditional_gain(kernel, np.ones(3), nu=np.nan)


def test_impossible_tradeoffs_and_scores_are_refused():
    kernel = DenseKernel.of_matrix(np.eye(3))
    for tradeoff in (-0.1, 1.1, np.nan):
        with pytest.raises(EngineError, match="from 0 to 1"):
            Diverse(kernel, np.ones(3), 1, tradeoff=tradeoff)
    with pytest.raises(EngineError, match="One score per sample"):
        Diverse(kernel, np.ones(2), 1)


def test_inputs_are_not_changed():
    case = Case(6, 0)
    kept = [array.copy() for array in (case.s, case.target, case.owned, case.quality)]
    for name in NAMES:
        objective = case.build(name)
        objective.add(2)
        objective.gains(np.arange(6))
    for array, before in zip((case.s, case.target, case.owned, case.quality), kept, strict=True):
        assert (array == before).all()
