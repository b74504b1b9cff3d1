"""Strategies that compare rows, from a run and a map: who may be chosen, who is represented, and what is kept."""

import json
import shutil

import numpy as np
import pytest
import torch

from engine.data.samples import Message, Row, SourceInfo
from engine.errors import EngineError
from engine.export.manifest import build_manifest
from engine.influence.network.estimate import Estimator
from engine.influence.network.inputs import Scaling
from engine.influence.network.network import InfluenceNetwork
from engine.maps import neighbours
from engine.progress import Silent
from engine.runs import learnt_likeness, likeness
from engine.runs.choice import Choice
from engine.runs.choosing import choose, select
from engine.runs.config import ScoreConfig
from engine.runs.likeness import Likeness
from engine.runs.sides import STAGE, side_key, side_of
from engine.selection.curve import curve_of
from engine.selection.quotas import quota_of
from engine.selection.submodular import SUBMODULAR_NAMES
from engine.store import artifacts
from engine.store.project import Project
from engine.store.records import MapRecord, RunRecord

N, MAPPED, D = 46, 44, 6
RECIPE = {"features": "hidden", "model": "m", "max_length": 64, "precision": "float32"}
APPROVED, REJECTED, UNSCORED, BLANK = 0, 1, 2, 3
NEEDLESS = [name for name in SUBMODULAR_NAMES if name != "conditional-gain"]


def draw(seed, rows):
    return np.random.default_rng(seed).normal(size=(rows, D)).astype(np.float32)


def rows_of(count, first=0):
    return [
        Row(
            i + 1,
            json.dumps({"i": first + i}),
            f"s{first + i}",
            (Message("user", "q"), Message("assistant", f"a{i}")),
            {},
        )
        for i in range(count)
    ]


def add_side(project, role, name, features):
    info = SourceInfo(f"/data/{role}{name}.jsonl", f"{role}{name}", 9, "jsonl", {"schema": "chat", "fields": {}})
    project.add_rows(role, name, info, rows_of(len(features), first=100))
    with artifacts.create(project.artifacts, STAGE, side_key(RECIPE, side_of(project, role, name)), {}) as folder:
        artifacts.save_array(folder, "features", features)


@pytest.fixture
def project(tmp_path):
    """46 rows of which the map covers 44; one approved, one rejected, one without a score, one without features."""
    made = Project.create(tmp_path / "project")
    made.add_rows(
        "pool", "", SourceInfo("/data/a.jsonl", "aa", 9, "jsonl", {"schema": "chat", "fields": {}}), rows_of(N)
    )
    score = np.random.default_rng(5).normal(size=N).astype(np.float32)
    score[UNSCORED] = np.nan
    matrix = np.stack([score, -score], axis=1)
    with artifacts.create(made.artifacts, "scores", "k", {}) as folder:
        for name, array in {"score": score, "matrix": matrix}.items():
            artifacts.save_array(folder, name, array)
    for at, name in enumerate(("maths", "code")):
        add_side(made, "target", name, draw(10 + at, 3))
    summary = {"sets": [{"name": "maths", "items": [0]}, {"name": "code", "items": [0]}]}
    config = {"avoid": ["code"]}
    targets = ["maths", "code"]
    made.add_run(RunRecord("r", "exact", "builtin", config, "scores-k", N, made.pool_hash(), targets, summary=summary))
    features = draw(1, MAPPED)
    features[BLANK] = np.nan
    plane = {
        "features": features,
        "neighbours": np.zeros((MAPPED, 2), np.int32),
        "distances": np.zeros((MAPPED, 2), np.float32),
    }
    with artifacts.create(made.artifacts, "map", "p", {"config": {"features": "hidden", "seed": 3}}) as folder:
        for name, array in plane.items():
            artifacts.save_array(folder, name, array)
        artifacts.write_json(folder / "recipe.json", RECIPE)
    made.add_map(MapRecord("map-1", "map-p", MAPPED, made.pool_hash(), "hidden"))
    made.decide([APPROVED], "approve", by="Ada")
    made.decide([REJECTED], "reject", by="Ada")
    return made


def asked(project, strategy, *, size="10", **settings):
    return choose(project, project.run("r"), Choice(size=size, strategy=strategy, **settings))


def cosines(a, b):
    a, b = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (a.astype(np.float64), b.astype(np.float64)))
    return np.maximum(a @ b.T, 0)


def candidates(project):
    return [row for row in range(MAPPED) if row not in (REJECTED, UNSCORED, BLANK)]


def slow(project, strategy, k, pool):
    """Greedy by the formula of METHODS section 2, over V = `pool` rows, the approved row first."""
    features = np.load(project.artifacts / "map-p" / "features.npy")[pool]
    s = cosines(features, features)
    most = {
        "mutual-information": lambda: cosines(features, draw(10, 3)).max(1),
        "conditional-gain": lambda: cosines(features, draw(20, 4)).max(1),
    }.get(strategy, lambda: None)()

    def worth(chosen):
        if not chosen:
            return 0.0
        best = s[:, chosen].max(1)
        if strategy == "facility-location":
            return best.sum()
        if strategy == "mutual-information":
            return np.minimum(best, most).sum()
        if strategy == "conditional-gain":
            return np.maximum(best - most, 0).sum()
        return 2 * s[:, chosen].sum() - s[np.ix_(chosen, chosen)].sum()

    taken = [pool.index(APPROVED)]
    score = np.load(project.artifacts / "scores-k" / "score.npy")
    while len(taken) < k:  # rows that add equally much go by score
        left = [j for j in np.argsort(-score[pool], kind="stable").tolist() if j not in taken]
        taken.append(max(left, key=lambda j: round(worth([*taken, j]), 6)))
    return [pool[j] for j in taken], worth(taken)


@pytest.mark.parametrize("strategy", ["facility-location", "mutual-information", "conditional-gain", "graph-cut"])
def test_the_rows_are_those_of_the_formula(project, strategy):
    add_side(project, "owned", "", draw(20, 4))
    chosen = asked(project, strategy)
    order, worth = slow(project, strategy, 10, candidates(project))
    assert chosen.order.tolist() == order
    assert chosen.gains.sum() == pytest.approx(worth, rel=1e-5)
    assert chosen.rows.tolist() == sorted(order)
    assert chosen.reasons[order.index(APPROVED)] == "approved"


def test_diverse_goes_from_scores_to_coverage(project):
    top = choose(project, project.run("r"), Choice(size="10"))
    reachable = [row for row in top.rows.tolist() if row < MAPPED and row != BLANK]
    scores = asked(project, "diverse", tradeoff=0.0)
    assert set(reachable) <= set(scores.rows.tolist())
    coverage = asked(project, "diverse", tradeoff=1.0)
    assert coverage.rows.tolist() == asked(project, "facility-location").rows.tolist()


@pytest.mark.parametrize("strategy", NEEDLESS)
def test_approved_rows_are_in_and_others_without_score_or_features_are_not(project, strategy):
    chosen = asked(project, strategy, size="41")
    assert APPROVED in chosen.rows
    assert not {REJECTED, UNSCORED, BLANK, 44, 45} & set(chosen.rows.tolist())
    assert "2 samples were added after the map and are not chosen. Run map again to include them." in chosen.notes
    assert "1 samples have no features on the map and are not chosen." in chosen.notes
    assert any("All 41 samples are compared" in note for note in chosen.notes)
    with pytest.raises(EngineError, match="only 41 can be selected"):
        asked(project, strategy, size="42")


def test_approved_rows_need_neither_score_nor_features(project):
    project.decide([UNSCORED, BLANK, 45], "approve", by="Ada")
    for strategy in NEEDLESS:
        assert {APPROVED, UNSCORED, BLANK, 45} <= set(asked(project, strategy).rows.tolist())
    with pytest.raises(EngineError, match="4 samples are approved"):
        asked(project, "facility-location", size="3")


def test_among_limits_who_is_chosen_and_who_is_represented(project):
    score = np.load(project.artifacts / "scores-k" / "score.npy")
    free = [row for row in candidates(project) if row != APPROVED]
    best = sorted(free, key=lambda row: -score[row])[: len(free) * 3 // 10]
    chosen = asked(project, "facility-location", size="6", among="30%")
    order, worth = slow(project, "facility-location", 6, sorted([APPROVED, *best]))
    assert chosen.order.tolist() == order
    assert chosen.gains.sum() == pytest.approx(worth, rel=1e-5)
    assert "Represented are 13 of 46 samples: the best 30% by score and 1 approved." in chosen.notes
    with pytest.raises(EngineError, match="best 30% by score are 12 of 40 samples, and 19 are to be chosen"):
        asked(project, "facility-location", size="20", among="30%")


def test_rows_left_out_are_not_represented(project):
    barred = np.arange(N) % 2 == 1
    chosen = choose(project, project.run("r"), Choice(size="5", strategy="facility-location"), barred=barred)
    pool = [row for row in candidates(project) if row % 2 == 0]
    assert chosen.order.tolist() == slow(project, "facility-location", 5, pool)[0]


def test_the_targets_are_those_of_the_run_but_the_avoided_or_those_named(project):
    own = asked(project, "mutual-information")
    assert own.order.tolist() == asked(project, "mutual-information", targets=("maths",)).order.tolist()
    other = asked(project, "mutual-information", targets=("code",))
    assert other.order.tolist() != own.order.tolist()
    saved, _ = select(project, Choice(size="10", strategy="mutual-information"), run="r", name="s", by="Ada")
    assert saved.spec["targets"] == ["maths"]
    with pytest.raises(EngineError, match="no target set 'physics'; target sets: maths, code"):
        asked(project, "mutual-information", targets=("physics",))


def test_what_a_strategy_lacks_is_one_sentence_with_the_way_out(project, tmp_path):
    with pytest.raises(EngineError, match=r"no owned data\. Add some with add-owned"):
        asked(project, "conditional-gain")
    run = project.run("r")
    project.add_run(RunRecord("bare", "random", "builtin", {}, run.artifact, N, run.pool_hash, [], summary={}))
    with pytest.raises(EngineError, match=r"no target to cover. Name target sets \(there are: maths, code\)"):
        choose(project, project.run("bare"), Choice(size="4", strategy="mutual-information"))
    shutil.copytree(project.path, tmp_path / "other")
    other = Project.open(tmp_path / "other")
    with other.changing() as con:
        con.execute("DELETE FROM maps")
    with pytest.raises(EngineError, match=r"no map yet.*Run map first"):
        asked(other, "facility-location")
    assert asked(other, "top").order is None
    assert project.selections() == other.selections() == []


@pytest.mark.parametrize("greedy", ["lazy", "stochastic"])
def test_the_same_seed_gives_the_same_rows(project, greedy):
    settings = {"greedy": greedy, "seed": 7}
    first = asked(project, "facility-location", **settings)
    np.testing.assert_array_equal(first.order, asked(project, "facility-location", **settings).order)
    assert any(greedy.capitalize() in note for note in first.notes)
    others = [asked(project, "facility-location", greedy=greedy, seed=seed).order.tolist() for seed in range(4)]
    assert (len({tuple(order) for order in others}) > 1) == (greedy == "stochastic")


def test_order_and_gains_survive_in_the_catalogue(project):
    _, chosen = select(project, Choice(size="10", strategy="diverse", among="80%"), run="r", name="s", by="Ada")
    kept = Project.open(project.path).selection("s")
    assert kept.order.tolist() == chosen.order.tolist()
    np.testing.assert_array_equal(kept.gains, chosen.gains)
    assert (kept.order.dtype, kept.gains.dtype) == (np.int64, np.float64)
    assert kept.spec["map"] == "map-p"
    assert {"among": "80%", "tradeoff": 0.5, "greedy": "auto", "kernel": "map"}.items() <= kept.spec.items()
    assert curve_of(kept.gains).sentence == curve_of(chosen.gains).sentence
    plain, _ = select(project, Choice(size="10"), run="r", name="plain", by="Ada")
    assert plain.order is None
    assert plain.gains is None
    assert "among" not in plain.spec
    assert "map" not in plain.spec


def test_the_manifest_tells_how_to_choose_again(project):
    choice = Choice(size="10", strategy="mutual-information", among="50%", targets=("code", "maths"), seed=2)
    saved, _ = select(project, choice, run="r", name="s", by="Ada")
    told = build_manifest(project, saved)
    assert told["selection"]["spec"]["targets"] == ["code", "maths"]
    lines = told["reproduce"]
    assert f"python -m engine map {project.path} --features hidden --seed 3" in lines
    (line,) = [line for line in lines if " select " in line]
    for words in ("--strategy mutual-information", "--among 50%", "--targets code,maths", "--seed 2", "--greedy auto"):
        assert words in line
    assert "tradeoff" not in line
    assert "kernel" not in line
    json.dumps(told)


def test_many_rows_are_compared_with_neighbours_that_are_searched_once(project, monkeypatch):
    monkeypatch.setattr(likeness, "DENSE_UP_TO", 10)
    monkeypatch.setattr(likeness, "NEIGHBOURS", 40)
    sparse = asked(project, "facility-location")
    assert any("42 nearest neighbours" in note for note in sparse.notes)
    monkeypatch.setattr(neighbours, "nearest", None)  # a second search would fail
    again = asked(project, "facility-location")
    assert again.order.tolist() == sparse.order.tolist()
    monkeypatch.setattr(likeness, "DENSE_UP_TO", 10_000)
    dense = asked(project, "facility-location")  # every row has all others among its neighbours
    assert dense.order.tolist() == sparse.order.tolist()
    np.testing.assert_allclose(sparse.gains, dense.gains, rtol=1e-4)


def add_network_run(project):
    """A run with a second network of random weights, over inputs of 46 rows of which one is unknown."""
    config = ScoreConfig(method="network", pool_network=True, network_members=2, network_hidden=8)
    inputs = np.random.default_rng(8).normal(size=(N, 5)).astype(np.float32)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = InfluenceNetwork(5, 5, config.network()).eval().requires_grad_(False)
    scaling = Scaling(np.zeros(5, np.float32), np.ones(5, np.float32), False, 0.0, 1.0)
    estimator = Estimator(network, scaling, inputs)
    kept = inputs.copy()
    kept[BLANK] = np.nan
    with artifacts.create(project.artifacts, "scores", "n", {}) as folder:
        artifacts.save_array(folder, "score", np.load(project.artifacts / "scores-k" / "score.npy"))
        artifacts.save_array(folder, "features", kept)
        np.savez(folder / "pool_network.npz", allow_pickle=False, **estimator.save())
    run = RunRecord("n", "network", "builtin", config.to_dict(), "scores-n", N, project.pool_hash(), ["maths"])
    return project.add_run(run), estimator(inputs).astype(np.float64)


def test_likeness_by_the_network_is_its_mean_of_both_directions(project, monkeypatch):
    run, said = add_network_run(project)
    both = (np.maximum(said, 0) + np.maximum(said.T, 0)) / 2
    pool = [row for row in range(N) if row not in (REJECTED, UNSCORED, BLANK)]
    s = both[np.ix_(pool, pool)]
    np.fill_diagonal(s, 0)
    s /= s.max()
    np.fill_diagonal(s, 1)
    taken = [pool.index(APPROVED)]
    while len(taken) < 8:
        left = [j for j in range(len(pool)) if j not in taken]
        taken.append(max(left, key=lambda j: s[:, [*taken, j]].max(1).sum()))
    choice = Choice(size="8", strategy="facility-location", kernel="network")
    chosen = choose(project, run, choice)
    assert chosen.order.tolist() == [pool[at] for at in taken]
    assert "1 samples are unknown to the run's network and are not chosen." in chosen.notes
    monkeypatch.setattr(learnt_likeness, "DENSE_UP_TO", 5)
    assert choose(project, run, choice).order.tolist() == chosen.order.tolist()
    saved, _ = select(project, choice, run="n", name="s", by="Ada")
    assert saved.spec["kernel"] == "network"
    assert "map" not in saved.spec


def test_likeness_by_the_network_has_its_bounds(project, monkeypatch):
    with pytest.raises(EngineError, match="'r' learned no network of pool samples"):
        asked(project, "diverse", kernel="network")
    with pytest.raises(EngineError, match="mutual-information has no use for kernel"):
        Choice(size="5", strategy="mutual-information", kernel="network")
    run, _ = add_network_run(project)
    monkeypatch.setattr(learnt_likeness, "MOST_ROWS", 40)
    with pytest.raises(EngineError, match="43 samples are too many"):
        choose(project, run, Choice(size="5", strategy="graph-cut", kernel="network"))


def test_neighbours_outside_what_is_represented_do_not_count(project, monkeypatch):
    monkeypatch.setattr(likeness, "DENSE_UP_TO", 3)
    monkeypatch.setattr(likeness, "NEIGHBOURS", 4)
    found = Likeness.of(project, rows=N)
    some = np.arange(4, 20)
    kernel, how = found.kernel(some, reporter=Silent())
    assert "16 nearest" in how  # of 43, so that about four lie among the 16
    features = np.load(project.artifacts / "map-p" / "features.npy")
    whole = cosines(features, features)
    whole[BLANK] = whole[:, BLANK] = -1
    near = np.zeros((MAPPED, MAPPED), bool)
    for row in range(MAPPED):
        order = [j for j in np.argsort(-whole[row]) if j != row][:16]
        near[row, order] = True
    near |= near.T | np.eye(MAPPED, dtype=bool)
    expected = np.where(near, whole, 0)[np.ix_(some, some)]
    dense = np.zeros_like(expected)
    for j in range(len(some)):
        held, values = kernel.column(j)
        dense[held, j] = values
    np.testing.assert_allclose(dense, expected, atol=1e-5)


def test_quotas_and_words_bind_what_represents_others_too(project):
    for strategy in ("facility-location", "graph-cut", "diverse"):
        quotas = (quota_of("file:a.jsonl=4", "at-most"),)
        with pytest.raises(EngineError, match="caps leave room for only 4"):
            asked(project, strategy, quotas=quotas)
        chosen = asked(project, strategy, size="9 words")
        assert APPROVED in chosen.rows and project.column("words")[chosen.rows].sum() <= 9
        few = asked(project, strategy, quotas=(quota_of("decision:undecided=90%", "at-most"),))
        assert len(few.rows) == 10 and APPROVED in few.rows
