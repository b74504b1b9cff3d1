"""The plan of runs by influence functions: the phases that the run reports, and the passes that it makes."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.gradients.lexical_features import LexicalFeatures
from engine.progress import Silent
from engine.runs import plan as module
from engine.runs import scoring_job
from engine.runs.config import ScoreConfig
from engine.runs.costs import Speed
from engine.runs.jobs import create_job
from engine.runs.plan import describe_plan, plan
from engine.runs.runjob import compute
from engine.store.artifacts import read_json
from engine.store.project import Project

SPEED = Speed(1000, "cpu", 0.0, 0.004, 0.5, depth=2, forward=0.001, encoding=0.02)
QUICK: dict[str, Any] = {"network_epochs": 2, "network_members": 1, "labelled": 0.3, "audit": 4}
BEFORE = ("loading the model", "warm-up")  # one phase of the run, "model and warm-up"


@pytest.fixture(autouse=True)
def _fixed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fixed speed in place of the measurement, and a sentence model that needs no files."""
    from engine.maps import sentence

    class Letters:
        dim, name, sha256, device = 4, "letters", "ab" * 32, "cpu"

        def encode(self, given: list[str], **_: Any) -> np.ndarray:
            found = np.array([[text.count(letter) + 1 for letter in "aeio"] for text in given], np.float32)
            return found / np.linalg.norm(found, axis=1, keepdims=True)

    monkeypatch.setattr(sentence, "load_encoder", lambda **_: Letters())
    monkeypatch.setattr(module, "measure_speed", lambda *_, **__: SPEED)
    monkeypatch.setattr(module, "measure_encoding", lambda *_, **__: 0.02)
    lexical = LexicalFeatures.fit
    monkeypatch.setattr(LexicalFeatures, "fit", lambda pairs, **seed: lexical(pairs, width=8, **seed))


@pytest.fixture
def config(roomy_model: Path) -> ScoreConfig:
    return ScoreConfig(method="rds", model=str(roomy_model), warm_up_epochs=2, lora_rank=2, less_width=32)


def run(project: Project, config: ScoreConfig) -> dict[str, Any]:
    """The summary of a run."""
    folder = create_job(project, "score", config)
    scoring_job.prepare_score(project, folder, Silent())
    compute(folder, Silent())
    return dict(read_json(folder.output / "summary.json"))


@pytest.mark.parametrize(
    "change",
    [
        {"method": "rds"},
        {"method": "delift"},
        {"method": "delift-se"},
        {"method": "less"},
        {"method": "rds", "warm_up": "on"},
        *({"method": "network", "teacher": name, **QUICK} for name in ("rds", "delift", "less", "exact", "delift-se")),
        {"method": "network", "teacher": "rds", "network_features": "hidden+lexical", **QUICK},
        {"method": "network", "teacher": "rds", "network_features": "lexical", "pool_network": True, **QUICK},
    ],
    ids=lambda change: "-".join(str(change[k]) for k in ("method", "teacher", "network_features") if k in change),
)
def test_phases_and_passes_are_those_of_the_run(project: Project, config: ScoreConfig, change: dict[str, Any]) -> None:
    config = replace(config, **change)
    made, summary = plan(project, config), run(project, config)
    reported = {entry["name"]: entry for entry in summary["cost"]}
    planned = {phase.name.removesuffix(", at most"): phase for phase in made.phases if phase.name not in BEFORE}
    chosen = summary.get("network", {}).get("inputs", {}).get("name", "sentence")
    left_out = set() if "sentence" in chosen else {"network inputs, sentence"}
    assert planned.keys() - left_out <= reported.keys()
    assert {name for name, entry in reported.items() if entry["tokens"]} <= planned.keys()
    for name in planned.keys() & reported.keys():
        assert planned[name].rows == reported[name]["rows"], name
        if reported[name]["tokens"]:
            assert planned[name].tokens == pytest.approx(reported[name]["tokens"], rel=0.15), name
    if change.get("warm_up") == "on":
        warm = next(phase for phase in made.phases if phase.name == "warm-up")
        assert (warm.rows, warm.seconds) == (4, pytest.approx(0.004 * warm.tokens))
    assert made.seconds == pytest.approx(sum(phase.seconds for phase in made.phases))


def test_ratings_are_planned_by_prompts_and_models(project: Project, config: ScoreConfig) -> None:
    one = plan(project, replace(config, method="selectit"))
    two = plan(project, replace(config, method="selectit", models=(config.model,)))
    scores = [next(phase for phase in made.phases if phase.name == "selectit scores") for made in (one, two)]
    assert scores[0].tokens == 5 * one.tokens + 90 * 5 * 40
    assert scores[1].tokens == 2 * scores[0].tokens
    assert scores[0].seconds == pytest.approx(0.001 * scores[0].tokens)
    assert one.targets == {}
    taught = plan(project, replace(config, method="network", teacher="selectit", **QUICK))
    assert next(phase for phase in taught.phases if phase.name == "teacher labels").rows == 12 + 4


def test_a_network_is_compared_with_its_teacher_asked_of_everything(project: Project, config: ScoreConfig) -> None:
    made = plan(project, replace(config, method="network", teacher="delift", network_features="lexical", **QUICK))
    whole = plan(project, replace(config, method="delift"))
    assert made.compared == "delift of every sample and item"
    assert made.exact_seconds == pytest.approx(whole.seconds - SPEED.loading)
    assert whole.exact_seconds is None
    assert made.seconds < whole.seconds
    assert any("delift of every sample and item would take" in line for line in describe_plan(made))


def test_nothing_is_planned_for_a_model_that_does_not_run(project: Project, config: ScoreConfig) -> None:
    made = plan(project, replace(config, method="delift-se", model="/nowhere", warm_up="on"))
    assert [phase.name for phase in made.phases] == ["delift-se scores"]
    assert (made.flops, made.tokens, made.model) == (0.0, 0, "")
    assert made.seconds == pytest.approx(0.02 * 48)
