"""Submodular selection of a pool: exactly k rows, people's rows in, everything else as the objectives say."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.errors import EngineError
from engine.maps.neighbours import nearest
from engine.selection import submodular
from engine.selection.greedy import lazy_greedy
from engine.selection.kernels import DenseKernel, SparseKernel
from engine.selection.objectives import conditional_gain, facility_location, mutual_information
from engine.selection.similarity import best_similarity
from engine.selection.strategies import select_top
from engine.selection.submodular import NEEDS, SUBMODULAR_NAMES, knee, select_submodular


def clusters(sizes=(30, 20, 10), d=8, seed=0):
    """Rows around one centre after the other; unit centres far apart."""
    generator = np.random.default_rng(seed)
    centres = np.eye(d)[: len(sizes)] * 4
    rows = [centre + 0.3 * generator.normal(size=(size, d)) for centre, size in zip(centres, sizes, strict=True)]
    return np.concatenate(rows).astype(np.float32)


def needs(strategy, n, seed=0):
    generator = np.random.default_rng(seed)
    name = NEEDS.get(strategy)
    return {name: generator.uniform(0.1, 0.9, n)} if name else {}


@settings(deadline=None, max_examples=120)
@given(
    strategy=st.sampled_from(SUBMODULAR_NAMES), n=st.integers(1, 12), seed=st.integers(0, 999), data=st.data(),
    greedy=st.sampled_from(["auto", "lazy", "stochastic"]),
)  # fmt: skip
def test_exactly_k_rows_with_those_of_people(strategy, n, seed, data, greedy):
    features = np.random.default_rng(seed).normal(size=(n, 3))
    features[np.random.default_rng(seed).random(n) < 0.2] = np.nan
    kernel = DenseKernel.of_features(features)
    roles = np.array(data.draw(st.lists(st.sampled_from("iex  "), min_size=n, max_size=n)))
    include, exclude, k = roles == "i", roles == "e", data.draw(st.integers(1, n + 1))
    arrays = needs(strategy, n)
    if strategy == "diverse":
        arrays["score"][np.random.default_rng(seed + 1).random(n) < 0.2] = np.nan
    able = ~include & ~exclude & kernel.usable & ~np.isnan(arrays.get("score", np.zeros(n)))
    options = {"strategy": strategy, "include": include, "exclude": exclude, "greedy": greedy, "seed": seed, **arrays}
    if not include.sum() <= k <= include.sum() + able.sum():
        with pytest.raises(EngineError, match="nothing was selected"):
            select_submodular(kernel, k, **options)
        return
    chosen = select_submodular(kernel, k, **options)
    assert len(chosen.rows) == k and (np.diff(chosen.rows) > 0).all() and chosen.weights is None
    assert set(np.flatnonzero(include)) <= set(chosen.rows) <= set(np.flatnonzero(include | able))
    assert chosen.order[: include.sum()].tolist() == np.flatnonzero(include).tolist()
    assert sorted(chosen.order.tolist()) == chosen.rows.tolist() and chosen.gains.shape == (k,)
    assert [reason == "approved" for reason in chosen.reasons] == include[chosen.rows].tolist()
    numbered = {**options, "include": np.flatnonzero(include), "exclude": np.flatnonzero(exclude)}
    again = select_submodular(kernel, k, **numbered)
    assert again.order.tolist() == chosen.order.tolist() and again.reasons == chosen.reasons


def test_every_cluster_is_represented_where_the_best_scores_are_all_in_one():
    features = clusters()
    score = np.where(np.arange(60) < 30, 1.0, 0.0) + np.arange(60) / 1000
    kernel = DenseKernel.of_features(features)
    assert set(select_top(score, 3).rows // 10) == {2}
    for options in ({"strategy": "facility-location"}, {"strategy": "diverse", "score": score, "tradeoff": 0.9}):
        rows = select_submodular(kernel, 3, **options).rows
        assert [(rows < 30).sum(), ((rows >= 30) & (rows < 50)).sum(), (rows >= 50).sum()] == [1, 1, 1]
    no_coverage = select_submodular(kernel, 3, strategy="diverse", score=score, tradeoff=0)
    assert no_coverage.rows.tolist() == select_top(score, 3).rows.tolist()


def test_a_target_draws_the_choice_to_itself_and_owned_rows_push_it_away():
    features = clusters()
    kernel = DenseKernel.of_features(features)
    target, owned = features[50:53] + 0.01, features[:10] + 0.01
    near = select_submodular(kernel, 3, strategy="mutual-information", target_best=best_similarity(features, target))
    assert (near.rows >= 50).sum() >= 2
    away = select_submodular(kernel, 2, strategy="conditional-gain", owned_best=best_similarity(features, owned))
    assert (away.rows >= 30).all()
    nothing = best_similarity(features, np.zeros((0, 8)))
    unowned = select_submodular(kernel, 5, strategy="conditional-gain", owned_best=nothing)
    plain = select_submodular(kernel, 5, strategy="facility-location")
    assert unowned.order.tolist() == plain.order.tolist() and unowned.gains.tolist() == plain.gains.tolist()
    with pytest.raises(EngineError, match="resembles the target"):
        select_submodular(kernel, 2, strategy="mutual-information", target_best=nothing)


def test_the_parameters_reach_the_objectives():
    features = clusters()
    kernel, best = DenseKernel.of_features(features), best_similarity(features, features[:4])
    for options, objective in (
        (
            {"strategy": "mutual-information", "target_best": best, "eta": 0.5},
            mutual_information(kernel, best, eta=0.5),
        ),
        ({"strategy": "conditional-gain", "owned_best": best, "nu": 0.5}, conditional_gain(kernel, best, nu=0.5)),
    ):
        assert select_submodular(kernel, 6, **options).gains.tolist() == lazy_greedy(objective, 6).gains.tolist()
    with pytest.raises(EngineError, match="at least 2"):
        select_submodular(kernel, 2, strategy="graph-cut", cut=1.0)
    with pytest.raises(EngineError, match="from 0 to 1"):
        select_submodular(kernel, 2, strategy="diverse", score=best, tradeoff=2)
    with pytest.raises(EngineError, match="epsilon"):
        select_submodular(kernel, 2, strategy="facility-location", greedy="stochastic", epsilon=2)


@pytest.mark.parametrize("strategy", SUBMODULAR_NAMES)
def test_complete_neighbour_lists_choose_as_the_dense_kernel_does(strategy):
    features = np.random.default_rng(1).normal(size=(40, 5)).astype(np.float32)
    features[7] = 0
    usable = np.flatnonzero(features.any(axis=1))
    found = nearest(features[usable], 38)
    index, distance = np.full((40, 38), -1, np.int32), np.full((40, 38), np.nan, np.float32)
    index[usable], distance[usable] = usable[found.index], found.distance
    sparse, arrays = SparseKernel.of_neighbours(index, distance), needs(strategy, 40)
    assert sparse.usable.tolist() == [row != 7 for row in range(40)]
    dense = DenseKernel.of_features(features)
    ours = select_submodular(sparse, 9, strategy=strategy, include=[7], **arrays)
    theirs = select_submodular(dense, 9, strategy=strategy, include=[7], **arrays)
    assert ours.gains == pytest.approx(theirs.gains, abs=1e-5)
    assert ours.gains.sum() == pytest.approx(theirs.gains.sum(), rel=1e-6)
    assert 7 in ours.rows and "1 samples are without features" in ours.notes[-1]


def test_excluded_rows_are_represented_unless_left_out():
    features = clusters((10, 2))
    kernel, outside = DenseKernel.of_features(features), np.arange(12) < 9
    chosen = select_submodular(kernel, 1, strategy="facility-location", exclude=outside)
    assert chosen.rows.tolist() == [9]  # the one row left of the large cluster
    alone = select_submodular(kernel, 1, strategy="facility-location", exclude=outside, represented=~outside)
    assert alone.rows[0] in (10, 11)


def test_a_graph_cut_may_choose_only_what_is_represented():
    kernel, part = DenseKernel.of_features(clusters((4, 4))), np.arange(8) < 5
    with pytest.raises(EngineError, match="to be represented"):
        select_submodular(kernel, 2, strategy="graph-cut", represented=part)
    with pytest.raises(EngineError, match="to be represented"):
        select_submodular(kernel, 2, strategy="graph-cut", represented=part, include=[6], exclude=[5, 7])
    chosen = select_submodular(kernel, 2, strategy="graph-cut", represented=part, exclude=~part)
    assert set(chosen.rows) <= set(range(5))


def test_included_rows_are_counted_as_there():
    """A row approved in the large cluster leaves the other cluster to the first pick."""
    kernel = DenseKernel.of_features(clusters((30, 10)))
    free = select_submodular(kernel, 1, strategy="facility-location")
    assert free.rows[0] < 30
    after = select_submodular(kernel, 2, strategy="facility-location", include=[4])
    assert after.order[0] == 4 and after.order[1] >= 30
    objective = facility_location(kernel)
    assert after.gains[0] == objective.gains(np.array([4]))[0]


def test_reasons_and_notes_tell_what_each_pick_added():
    kernel = DenseKernel.of_matrix(np.kron(np.eye(2), np.ones((2, 2))))
    chosen = select_submodular(kernel, 4, strategy="facility-location", include=[3])
    assert chosen.order.tolist() == [3, 0, 1, 2] and chosen.gains.tolist() == [2, 2, 0, 0]
    assert chosen.reasons == [
        "pick 1, adds 50 % of what was gained", "pick 2, adds nothing", "pick 3, adds nothing", "approved",
    ]  # fmt: skip
    assert "Lazy greedy" in chosen.notes[0] and "63 %" in chosen.notes[0]
    assert chosen.notes[1] == "2 of the 4 samples added nothing: fewer would do as well." and len(chosen.notes) == 2


def test_auto_says_which_search_it_was(monkeypatch):
    kernel = DenseKernel.of_features(clusters())
    assert select_submodular(kernel, 3, strategy="facility-location").notes[0].startswith("Lazy")
    monkeypatch.setattr(submodular, "LAZY_UP_TO", 59)
    sampled = select_submodular(kernel, 6, strategy="facility-location", seed=2)
    assert "24 random candidates a pick" in sampled.notes[0] and "(53 %)" in sampled.notes[0]
    told = select_submodular(kernel, 6, strategy="facility-location", greedy="stochastic", seed=2)
    assert told.order.tolist() == sampled.order.tolist()
    assert select_submodular(kernel, 3, strategy="facility-location", greedy="lazy").notes[0].startswith("Lazy")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"strategy": "best"}, "Unknown strategy 'best'"),
        ({"strategy": "facility-location", "greedy": "eager"}, "Unknown search 'eager'"),
        ({"strategy": "diverse"}, "needs score"),
        ({"strategy": "mutual-information"}, "needs target_best"),
        ({"strategy": "conditional-gain", "target_best": np.ones(60)}, "does not use target_best"),
        ({"strategy": "facility-location", "score": np.ones(60)}, "does not use score"),
        ({"strategy": "diverse", "score": np.ones(59)}, "One value per sample"),
        ({"strategy": "facility-location", "represented": np.ones(3, bool)}, "One value per sample"),
        ({"strategy": "facility-location", "include": [0, 1, 2, 3]}, "4 samples are approved, more than the 3"),
        ({"strategy": "facility-location", "exclude": np.ones(60, bool)}, "No sample can be selected.*features"),
        ({"strategy": "facility-location", "include": [0], "exclude": [0]}, "included and excluded at once"),
        ({"strategy": "diverse", "score": np.full(60, np.nan)}, "without features or a score"),
    ],
)
def test_what_cannot_be_is_refused(options, message):
    with pytest.raises(EngineError, match=message):
        select_submodular(DenseKernel.of_features(clusters()), 3, **options)


def test_no_rows_and_too_many_are_refused():
    kernel = DenseKernel.of_features(clusters((5,)))
    with pytest.raises(EngineError, match="at least one"):
        select_submodular(kernel, 0, strategy="facility-location")
    with pytest.raises(EngineError, match="at most 5"):
        select_submodular(kernel, 6, strategy="facility-location")
    assert select_submodular(kernel, 5, strategy="facility-location").rows.tolist() == [0, 1, 2, 3, 4]


def test_duplicates_add_next_to_nothing():
    features = np.repeat(clusters((6, 6)), 2, axis=0)
    found = nearest(features, 23)
    kernel = SparseKernel.of_neighbours(found.index, found.distance)
    chosen = select_submodular(kernel, 24, strategy="facility-location")
    assert set((chosen.order[:12] // 2).tolist()) == set(range(12))
    assert chosen.gains[12:] == pytest.approx(np.zeros(12), abs=1e-6)


def test_inputs_are_not_changed():
    features, score, include = clusters(), np.linspace(0, 1, 60), np.arange(60) < 2
    kept = [array.copy() for array in (features, score, include)]
    select_submodular(DenseKernel.of_features(features), 5, strategy="diverse", score=score, include=include)
    for array, before in zip((features, score, include), kept, strict=True):
        assert (array == before).all()


@pytest.mark.parametrize(
    ("gains", "picks"),
    [([10, 5, 1, 1, 1], 2), ([1, 1, 1, 1], 4), ([], 0), ([0, 0, 0], 0), ([3], 1), ([5, 0, 0], 1), ([4, 4, 4, 0], 3)],
)
def test_the_knee_is_where_the_curve_bends(gains, picks):
    assert knee(np.array(gains, float)) == picks


@settings(deadline=None)
@given(gains=st.lists(st.floats(0, 100), min_size=1, max_size=20))
def test_the_knee_is_furthest_above_the_chord(gains):
    total, k = sum(gains), len(gains)
    above = [sum(gains[: i + 1]) / total - (i + 1) / k for i in range(k)] if total > 0 else [0.0]
    at = knee(np.array(gains))
    if total > 0:
        assert 1 <= at <= k and above[at - 1] == pytest.approx(max(above), abs=1e-6)


def test_gains_that_are_none_are_refused():
    for bad in (np.ones((2, 2)), np.array([1, np.nan])):
        with pytest.raises(EngineError, match="gains"):
            knee(bad)
