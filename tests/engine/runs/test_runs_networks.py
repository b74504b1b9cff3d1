"""Runs of `network`: what the teacher labelled, what is estimated, and what the fit never sees."""

import json
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.errors import EngineError
from engine.gradients.lexical_features import LexicalFeatures
from engine.influence.comparable import comparable_map
from engine.influence.fidelity import fidelity
from engine.influence.functions.base import Passes, Scores
from engine.influence.network.estimate import Estimator
from engine.influence.scores import Combination
from engine.progress import Silent
from engine.runs import functions, networks, scoring_job
from engine.runs.config import ScoreConfig
from engine.runs.functions import ItemSet, Materials
from engine.runs.jobfolder import JobFolder
from engine.runs.jobs import create_job, job
from engine.runs.network_draw import draw, drawn_items, fitted_mask
from engine.runs.runjob import compute
from engine.runs.scored import AUDIT, LABELLED
from engine.runs.within import within
from engine.runs.work import work
from engine.store.project import Project

QUICK = {"network_epochs": 3, "network_members": 1, "network_rank": 2, "network_hidden": 8}


@pytest.fixture(autouse=True)
def _narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lexical features of few coordinates: the baselines' solves take as long as their cube."""
    monkeypatch.setattr(LexicalFeatures, "fit", partial(LexicalFeatures.fit, width=12))


@pytest.fixture
def config(roomy_model: Path) -> ScoreConfig:
    """A network that reads words and learns RDS+ from 20 of 40 rows, judged by 5."""
    model = {"model": str(roomy_model), "method": "network", "teacher": "rds"}
    return ScoreConfig(**model, network_features="lexical", labelled=0.5, audit=5, **QUICK)  # type: ignore[arg-type]


def prepared(project: Project, config: ScoreConfig) -> JobFolder:
    """A job whose inputs are written."""
    folder = create_job(project, "score", config)
    scoring_job.prepare_score(project, folder, Silent())
    return folder


def computed(project: Project, config: ScoreConfig) -> dict[str, Any]:
    """The results of a fresh job, apart from the project's artifacts."""
    return results(finished(prepared(project, config)))


def finished(folder: JobFolder) -> JobFolder:
    """The job, computed."""
    compute(folder, Silent())
    return folder


def results(folder: JobFolder) -> dict[str, Any]:
    """Every array, the saved network's too, and the summary."""
    found: dict[str, Any] = {path.stem: np.load(path) for path in folder.output.glob("*.npy")}
    for path in folder.output.glob("*.npz"):
        with np.load(path) as arrays:
            found |= {f"{path.stem}:{name}": arrays[name] for name in arrays.files}
    return found | {"summary": json.loads((folder.output / "summary.json").read_text(encoding="utf-8"))}


def same(first: dict[str, Any], second: dict[str, Any]) -> None:
    """All arrays are equal bit for bit."""
    assert first.keys() == second.keys()
    for name in first.keys() - {"summary"}:
        np.testing.assert_array_equal(first[name], second[name], err_msg=name)


class Fake:
    """A teacher that says P[row, item] = values[row, item] and can be made to fail for rows and items."""

    name, pointwise, notes = "rds", False, ("a fake",)

    def __init__(self, values: np.ndarray) -> None:
        self.values, self.passes = values, Passes()

    def __call__(self, rows: np.ndarray, items: np.ndarray | None = None, *, reporter: Any = None) -> Scores:
        """The values of the pairs asked for."""
        chosen = np.arange(self.values.shape[1]) if items is None else items
        self.passes += Passes(forward=len(rows), tokens=10 * len(rows))
        bad = {int(j): "unusable" for j in chosen if not np.isfinite(self.values[:, int(j)]).any()}
        return Scores(self.values[np.ix_(rows, chosen)].astype(np.float32), {}, bad)


@pytest.fixture
def taught(monkeypatch: pytest.MonkeyPatch) -> Callable[[np.ndarray], None]:
    """`taught(values)`: the teacher rds says these values (n, t)."""

    def teach(values: np.ndarray) -> None:
        monkeypatch.setitem(functions.MAKERS, "rds", lambda job, items: Fake(values))

    return teach


def smooth(rows: int = 40, items: int = 8) -> np.ndarray:
    """Values that differ for every pair."""
    return np.sin(np.arange(rows))[:, None] * np.linspace(0.5, 2, items)[None] + 0.01 * np.arange(items)


def test_labelled_and_audit_rows_keep_the_teachers_values_and_the_others_are_estimates(
    project: Project, config: ScoreConfig
) -> None:
    found = computed(project, config)
    exact = computed(project, replace(config, method="rds"))
    known = (found["roles"] & (LABELLED | AUDIT)) > 0
    assert ((found["roles"] & LABELLED) > 0).sum() == 20
    assert ((found["roles"] & AUDIT) > 0).sum() == 5
    assert not ((found["roles"] & LABELLED) > 0)[(found["roles"] & AUDIT) > 0].any()
    np.testing.assert_array_equal(found["status"], np.where(known, 1, 2))
    np.testing.assert_allclose(found["matrix"][known], exact["matrix"][known], rtol=1e-5)
    np.testing.assert_allclose(found["score"][known], exact["score"][known], rtol=1e-5)
    assert not np.isclose(found["matrix"][~known], exact["matrix"][~known], rtol=1e-5).all(axis=1).any()
    assert np.isfinite(found["score"]).all()
    counts = found["summary"]["counts"]
    assert counts == {"exact": 25, "propagated": 15, "unscorable": 0}


def test_estimates_are_the_saved_networks_brought_to_the_spread_of_exact_ones(
    project: Project, config: ScoreConfig, taught: Callable[[np.ndarray], None]
) -> None:
    """Against the explicit formula: f of the inputs, one map per set, means over items and sets."""
    config = replace(config, network_refit=False)  # so that the saved network has not seen the validation rows
    values = smooth()
    taught(values)
    folder = finished(prepared(project, config))
    found = results(folder)
    inputs, estimator = _inputs_and_estimator(folder, config)
    plain, drawn = estimator(inputs), draw(Materials(folder, config, Silent()))
    validated = drawn.rows[drawn.fit_rows][_validation(folder, config)]
    expected = plain.copy()
    for at, (start, stop) in enumerate(((0, 5), (5, 8))):
        items = [j for j in drawn.labelled_items if start <= j < stop]
        exact, said = values[np.ix_(validated, items)].mean(axis=1), plain[np.ix_(validated, items)].mean(axis=1)
        rule = comparable_map(("sums", "colours")[at], exact, said)
        told = found["summary"]["comparable"][at]
        assert told["slope"] == pytest.approx(rule.slope, rel=1e-4)
        expected[:, start:stop] = rule(plain[:, start:stop])
    expected[drawn.rows] = values[drawn.rows]
    np.testing.assert_allclose(found["matrix"], expected, rtol=1e-3, atol=1e-5)
    columns = np.stack([expected[:, :5].mean(axis=1), expected[:, 5:].mean(axis=1)], axis=1)
    np.testing.assert_allclose(found["columns"], columns, rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(found["score"], columns.mean(axis=1), rtol=1e-3, atol=1e-5)
    seen = np.setdiff1d(drawn.rows[drawn.fit_rows], validated)  # those that chose the epoch are judged by nobody
    block = np.ix_(seen, np.setdiff1d(drawn.items, drawn.labelled_items))
    judged = {each["name"]: each for each in found["summary"]["network"]["quadrants"]}
    assert (judged["rows"]["rows"], judged["rows"]["pairs"]) == (17, 34)
    assert judged["rows"]["estimates"]["network"]["mse"] == pytest.approx(((plain - values)[block] ** 2).mean())
    assert judged["both"]["rows"] <= 17


def _inputs_and_estimator(folder: JobFolder, config: ScoreConfig) -> tuple[np.ndarray, Estimator]:
    from engine.runs.network_inputs import NetworkInputs

    inputs = NetworkInputs(Materials(folder, config, Silent()), "lexical").of_rows(np.arange(40))
    with np.load(folder.output / "network.npz") as arrays:
        return inputs, Estimator.load(arrays, config.network())


def _validation(folder: JobFolder, config: ScoreConfig) -> np.ndarray:
    from engine.influence.network.training import validation_rows

    return validation_rows(20, config.network())


@pytest.mark.parametrize("hidden", ["audit samples", "held items", "held pairs"])
def test_what_is_kept_out_never_changes_the_network(
    project: Project, config: ScoreConfig, taught: Callable[[np.ndarray], None], hidden: str
) -> None:
    """Bit for bit, and the estimates of rows that were not labelled with them."""
    values = smooth()
    taught(values)
    folder = prepared(project, config)
    drawn = draw(Materials(folder, config, Silent()))
    first = results(finished(folder))
    other = values.copy()
    if hidden == "audit samples":
        other[drawn.audit] += 7.0
    elif hidden == "held items":
        other[:, np.setdiff1d(drawn.asked_items, drawn.labelled_items)] *= -5.0
    else:
        labels = values[np.ix_(drawn.rows, drawn.asked_items)]
        fitted = fitted_mask(labels, drawn, seed=config.seed)
        held = np.outer(drawn.fit_rows, drawn.fit_items) & ~fitted
        held[np.flatnonzero(drawn.fit_rows)[_validation(folder, config)]] = False  # those judge, and make comparable
        assert held.any()
        changed = labels.copy()
        changed[held] -= 3.0
        other[np.ix_(drawn.rows, drawn.asked_items)] = changed
    taught(other)
    second = computed(project, config)
    for name in first:
        if name.startswith("network:"):
            np.testing.assert_array_equal(first[name], second[name], err_msg=name)
    estimated = first["status"] == 2
    np.testing.assert_array_equal(first["matrix"][estimated], second["matrix"][estimated])
    assert not np.array_equal(first["matrix"], second["matrix"])
    assert first["summary"]["network"]["quadrants"] != second["summary"]["network"]["quadrants"]


def test_fidelity_is_that_of_the_saved_audit(project: Project, config: ScoreConfig) -> None:
    weighted = replace(config, avoid=("sums",), target_weights=("colours=3",), audit=5)
    found = computed(project, weighted)
    exact, said = found["audit_exact"], found["audit_estimated"]
    assert exact.shape == said.shape == (5, 2)
    np.testing.assert_array_equal(np.flatnonzero(found["roles"] & AUDIT), found["audit_rows"])
    np.testing.assert_array_equal(found["columns"][found["audit_rows"]], exact)
    generator = np.random.default_rng((config.seed, 4))
    again = fidelity(exact, said, names=["sums", "colours"], generator=generator, combine=Combination((-1.0, 3.0)))
    told = found["summary"]["fidelity"]
    assert (told["spearman"], told["n"]) == (again.spearman.value, 5)
    np.testing.assert_allclose(
        found["score"], (3 * found["columns"][:, 1] - found["columns"][:, 0]) / 4, rtol=1e-5, atol=1e-6
    )


def test_duplicates_get_equal_estimates(tmp_path: Path, config: ScoreConfig) -> None:
    from engine.runs import intake
    from tests.engine.runs.conftest import chat

    place = Project.create(tmp_path / "twins")
    lines = [chat(i, f"What is {i % 20}?", f"It is {i % 20}.") for i in range(60)]
    (tmp_path / "twins.jsonl").write_text("".join(lines), encoding="utf-8")
    (tmp_path / "t.jsonl").write_text("".join(lines[:3]), encoding="utf-8")
    intake.add_pool(place, tmp_path / "twins.jsonl")
    intake.add_target(place, "t", tmp_path / "t.jsonl")
    found = computed(place, replace(config, labelled=0.3))
    estimated = found["status"] == 2
    for kind in range(20):
        twins = np.flatnonzero(estimated & (np.arange(60) % 20 == kind))
        np.testing.assert_allclose(found["score"][twins], found["score"][twins[:1]].repeat(len(twins)), rtol=1e-5)


class Stop(Exception):
    """The process is killed here."""


class Killed(Silent):
    """Dies at the nth event of its kind: when a phase begins, or at a check."""

    def __init__(self, after: int) -> None:
        self.left = after
        self.phases: list[str] = []

    def phase(self, name: str, total: int, unit: str = "rows") -> None:
        """Count the phase."""
        self.phases.append(name)
        self.left -= 1
        if self.left < 0:
            raise Stop(name)


@pytest.mark.parametrize("pool_network", [False, True])
def test_killed_at_any_phase_and_resumed_gives_the_same(
    project: Project, config: ScoreConfig, monkeypatch: pytest.MonkeyPatch, pool_network: bool
) -> None:
    from engine.runs import by_function

    monkeypatch.setattr(by_function, "SHARD", 7)
    config = replace(config, pool_network=pool_network)
    whole = prepared(project, config)
    seen = Killed(99)
    compute(whole, seen)
    folder = prepared(project, config)
    for at in range(len(seen.phases)):
        with pytest.raises(Stop):
            compute(folder, Killed(at))
        assert not folder.output_complete
    compute(folder, Silent())
    same(results(whole), results(folder))
    assert results(whole)["summary"]["passes"] == results(folder)["summary"]["passes"]
    assert {"teacher labels", "learning", "judging", "network inputs, lexical", "estimating"} <= set(seen.phases)


def test_passes_are_those_of_labelled_rows_and_items(project: Project, config: ScoreConfig) -> None:
    passes = computed(project, config)["summary"]["passes"]
    whole = computed(project, replace(config, method="rds"))["summary"]["passes"]
    assert passes["forward"] == 25 + 8
    assert passes["full_forward"] == whole["forward"] == 40 + 8
    assert passes["saved"] == pytest.approx(1 - 33 / 48)
    assert whole["saved"] == 0.0


def test_a_constant_teacher_is_told_and_no_row_is_lost(
    project: Project, config: ScoreConfig, taught: Callable[[np.ndarray], None]
) -> None:
    taught(np.full((40, 8), 0.25))
    found = computed(project, config)
    np.testing.assert_allclose(found["score"], 0.25, rtol=1e-6)
    assert found["summary"]["network"]["fit"]["constant"] is True
    assert "same rds influence" in found["summary"]["network"]["sentence"]
    assert found["summary"]["fidelity"]["spearman"] is None


def test_unusable_items_are_left_out_of_everything(
    project: Project, config: ScoreConfig, taught: Callable[[np.ndarray], None]
) -> None:
    values = smooth()
    values[:, [1, 6]] = np.nan
    taught(values)
    found = computed(project, config)
    assert [each["items"] for each in found["summary"]["sets"]] == [[0, 2, 3, 4], [0, 2]]
    assert found["matrix"].shape == (40, 6)
    assert np.isfinite(found["score"]).all()
    assert any(
        "2 target items could not be used: sums, item 2 (unusable)" in note for note in found["summary"]["notes"]
    )
    values[:, 5:] = np.nan
    taught(values)
    with pytest.raises(EngineError, match=r"target set 'colours' has no usable item \(unusable\)"):
        computed(project, config)


def test_a_labelled_row_without_labels_has_no_score_and_its_reason(
    project: Project, config: ScoreConfig, taught: Callable[[np.ndarray], None]
) -> None:
    values = smooth()
    taught(values)
    drawn = draw(Materials(prepared(project, config), config, Silent()))
    lost, partly, judged = drawn.rows[drawn.fit_rows][0], drawn.rows[drawn.fit_rows][1], drawn.audit[0]
    values[lost] = values[judged] = np.nan
    values[partly, drawn.labelled_items[0]] = np.nan
    taught(values)
    found = computed(project, config)
    np.testing.assert_array_equal(np.flatnonzero(found["status"] == 0), np.sort([lost, partly, judged]))
    assert found["summary"]["problems"][str(lost)] == "no score: a target item has none for this sample"
    assert found["summary"]["fidelity"]["left_out"] == 1


@pytest.mark.parametrize("change", [{"labelled": 1.0}, {"labelled": None}, {"labelled": 0.001}, {"audit": 0}])
def test_every_share_of_labelled_rows_works(project: Project, config: ScoreConfig, change: dict[str, Any]) -> None:
    found = computed(project, replace(config, **change))
    assert np.isfinite(found["score"]).all()
    labelled = int(((found["roles"] & LABELLED) > 0).sum())
    assert labelled == {1.0: 40, None: 40, 0.001: 2}.get(change.get("labelled", 0.5), 20)
    assert found["summary"]["network"]["labelled"]["rows"] == labelled
    if labelled == 40:
        assert (found["status"] == 1).all()
        assert found["summary"]["fidelity"]["n"] == 0
        assert "not known" in found["summary"]["network"]["sentence"] or found["summary"]["network"]["quadrants"]


def test_one_pool_row_and_one_item(tmp_path: Path, config: ScoreConfig) -> None:
    from engine.runs import intake
    from tests.engine.runs.conftest import write_chats

    place = Project.create(tmp_path / "tiny")
    intake.add_pool(place, write_chats(tmp_path / "one.jsonl", 1))
    intake.add_target(place, "t", write_chats(tmp_path / "item.jsonl", 1, first=7))
    found = computed(place, config)
    assert found["status"].tolist() == [1]
    assert found["matrix"].shape == (1, 1)


def test_every_set_has_a_labelled_item_however_small(project: Project, config: ScoreConfig) -> None:
    folder = prepared(project, replace(config, teacher="delift", labelled_items=16))
    job_ = Materials(folder, replace(config, teacher="delift", labelled_items=16), Silent())
    job_.__dict__["sets"] = (ItemSet("large", tuple(range(500))), ItemSet("small", (500, 501)))
    labelled, held = drawn_items(job_)
    assert len(labelled) == 16 and len(held) == 4
    assert not np.intersect1d(labelled, held).size
    assert (labelled >= 500).sum() >= 1
    assert (labelled < 500).sum() >= 14
    shares = ScoreConfig(method="network", teacher="rds")
    job_.config = shares
    labelled, held = drawn_items(job_)
    assert len(labelled) + len(held) == 502 and len(held) == 100


def test_delift_labels_some_items_and_says_so(project: Project, config: ScoreConfig) -> None:
    config = replace(config, teacher="delift", labelled_items=3)
    found = computed(project, config)
    assert (found["status"] == 2).all(), "labelled rows are estimates for the other items"
    assert found["summary"]["network"]["labelled"]["items"] == 3
    assert found["summary"]["network"]["labelled"]["held_items"] == 2
    assert any("scored 5 of the 8 target items" in note for note in found["summary"]["notes"])
    assert found["audit_exact"].shape[1] == len(found["summary"]["audited"])
    exact = computed(project, replace(config, method="delift"))
    drawn = draw(Materials(prepared(project, config), config, Silent()))
    np.testing.assert_allclose(
        found["matrix"][np.ix_(drawn.rows, drawn.asked_items)],
        exact["matrix"][np.ix_(drawn.rows, drawn.asked_items)],
        atol=1e-5,
    )
    done = found["summary"]["passes"]
    assert done["forward"] == 25 + 25 * 5 + 5
    assert done["full_forward"] == exact["summary"]["passes"]["forward"] == 40 + 40 * 8 + 8


def test_a_pointwise_teacher_needs_no_target_set(tmp_path: Path, config: ScoreConfig) -> None:
    from engine.runs import intake
    from tests.engine.runs.conftest import write_chats

    place = Project.create(tmp_path / "alone")
    intake.add_pool(place, write_chats(tmp_path / "pool.jsonl", 12))
    config = replace(config, teacher="selectit", audit=1)
    folder = create_job(place, "score", config)
    work(place.path, folder.id)
    run = place.run(job(place, folder.id).result["run"])
    artifact = place.artifacts / run.artifact
    score, status, roles = (np.load(artifact / f"{name}.npy") for name in ("score", "status", "roles"))
    assert np.isfinite(score).all()
    np.testing.assert_array_equal(status, np.where(roles & (LABELLED | AUDIT), 1, 2))
    assert run.summary["sets"] == []
    assert run.summary["network"]["pointwise"] is True
    assert (run.summary["passes"]["forward"], run.summary["passes"]["full_forward"]) == (7 * 5, 12 * 5)
    direct = computed(place, replace(config, method="selectit"))
    known = status == 1
    np.testing.assert_allclose(score[known], direct["score"][known], rtol=1e-4)
    assert within(place, run) is not None, "the audit inside each source cannot be told"


def test_the_pool_network_is_asked_about_pool_rows(project: Project, config: ScoreConfig) -> None:
    found = computed(project, replace(config, pool_network=True))
    told = found["summary"]["pool_network"]
    assert told["items"] == 25
    assert told["passes"]["forward"] == 25 + 25
    assert found["features"].shape[0] == 40
    assert found["pool_network:items"].shape[0] == 25


def test_hidden_inputs_cost_what_they_cost(project: Project, config: ScoreConfig) -> None:
    found = computed(project, replace(config, network_features="hidden+lexical"))
    assert np.isfinite(found["score"]).all()
    passes = found["summary"]["passes"]
    assert passes["forward"] == (25 + 8) + (40 + 25 + 8)
    assert passes["saved"] < 0


class FakeEncoder:
    """Counts letters instead of running a sentence model."""

    dim, name, sha256, device = 4, "letters", "ab" * 32, "cpu"

    def encode(self, texts: list[str], **_: Any) -> np.ndarray:
        """Shares of four letters, unit length."""
        found = np.array([[text.count(letter) + 1 for letter in "aeio"] for text in texts], np.float32)
        return found / np.linalg.norm(found, axis=1, keepdims=True)


@pytest.fixture
def encoder(monkeypatch: pytest.MonkeyPatch) -> FakeEncoder:
    """A sentence model that needs no files."""
    from engine.maps import sentence

    made = FakeEncoder()
    monkeypatch.setattr(sentence, "load_encoder", lambda **_: made)
    return made


@pytest.mark.usefixtures("encoder")
def test_auto_decides_once_and_a_resumed_run_goes_on_with_it(project: Project, config: ScoreConfig) -> None:
    config = replace(config, network_features="auto")
    whole = prepared(project, config)
    seen = Killed(99)
    compute(whole, seen)
    folder = prepared(project, config)
    with pytest.raises(Stop):
        compute(folder, Killed(seen.phases.index("judging")))
    kept = json.loads((folder.work / "network-inputs.json").read_text(encoding="utf-8"))
    compute(folder, Silent())
    same(results(whole), results(folder))
    told = results(folder)["summary"]["network"]["inputs"]
    assert (told["name"], told["why"], told["tried"]) == (kept["name"], kept["why"], kept["tried"])
    assert set(told["tried"]) == {"lexical", "sentence+lexical"}
    assert results(folder)["summary"]["passes"]["encoded"] >= 25 + 8, "trying sentence embeddings was not counted"


@pytest.mark.usefixtures("encoder")
def test_the_sentence_teacher_needs_no_language_model(project: Project, config: ScoreConfig) -> None:
    found = computed(project, replace(config, teacher="delift-se", model="/nowhere"))
    passes = found["summary"]["passes"]
    assert (passes["equivalents"], passes["saved"]) == (0, None)
    assert (passes["encoded"], passes["full_encoded"]) == (25 + 8, 48)
    with pytest.raises(EngineError, match="takes a language model, and the teacher delift-se runs none"):
        replace(config, teacher="delift-se", network_features="hidden")


def test_an_absent_sentence_model_is_told_before_anything_is_labelled(
    project: Project, config: ScoreConfig, monkeypatch: pytest.MonkeyPatch, taught: Callable[[np.ndarray], None]
) -> None:
    from engine.maps import sentence

    def absent(**_: Any) -> None:
        raise EngineError("The sentence model is not installed")

    monkeypatch.setattr(sentence, "load_encoder", absent)
    monkeypatch.setattr(networks, "ask", lambda *_, **__: pytest.fail("the teacher was asked"))
    with pytest.raises(EngineError, match="is not installed"):
        computed(project, replace(config, network_features="auto"))


def test_the_seed_fixes_everything_and_is_not_global(project: Project, config: ScoreConfig) -> None:
    import torch

    before = torch.random.get_rng_state()
    first, second = computed(project, config), computed(project, config)
    same(first, second)
    assert torch.equal(before, torch.random.get_rng_state())
    assert not np.array_equal(first["roles"], computed(project, replace(config, seed=1))["roles"])
