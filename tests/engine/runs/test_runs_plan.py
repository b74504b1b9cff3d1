"""The cost plan: sizes that are right, costs that add up, speeds measured once."""

from dataclasses import replace
from pathlib import Path

import pytest

from engine.errors import EngineError
from engine.models.sources import resolve
from engine.runs import plan as module
from engine.runs.config import ScoreConfig
from engine.runs.costs import Speed
from engine.runs.inputs import take_view
from engine.runs.plan import Plan, describe_plan, plan
from engine.runs.tokenizers import load_tokenizer
from engine.store.project import Project

SPEED = Speed(parameters=1000, device="cpu", embedding=0.001, gradients=0.004, loading=0.5, depth=2)


@pytest.fixture
def config(toy_model: Path) -> ScoreConfig:
    return ScoreConfig(model=str(toy_model), landmarks=8, audit=6, warm_up="off")


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A fixed speed in place of the measurement; the list counts how often it was asked for."""
    asked: list[str] = []

    def measure(*_: object, **__: object) -> Speed:
        asked.append("measured")
        return SPEED

    monkeypatch.setattr(module, "measure_speed", measure)
    return asked


def test_a_small_pool_is_counted_exactly(project: Project, config: ScoreConfig, measured: list[str]) -> None:
    tokenizer = load_tokenizer(resolve(config.model), max_length=512)
    sizes = module.measure_sizes(project, take_view(project), tokenizer, seed=0)
    made = plan(project, config)
    assert (made.rows, made.targets, made.landmarks) == (40, {"sums": 5, "colours": 3}, 8)
    assert not made.tokens_are_estimated
    assert made.tokens == int(sizes.sample.lengths.sum())
    assert tokenizer.max_length == 96, "the model's own limit was not heeded"


def test_costs_follow_two_and_four_flops_a_parameter(
    project: Project, config: ScoreConfig, measured: list[str]
) -> None:
    made = plan(project, config)
    phases = {phase.name: phase for phase in made.phases}
    assert list(phases) == [
        *("loading the model", "target gradients", "audit gradients", "tuning gradients", "embeddings"),
        "landmark gradients",
    ]
    landmark = phases["landmark gradients"]
    assert landmark.rows == 6 and phases["tuning gradients"].rows == 2, "tuning rows are among the 8 landmarks"
    assert landmark.tokens == pytest.approx(made.tokens * 6 / 40, abs=1)
    assert landmark.flops == 6 * 1000 * landmark.tokens
    assert landmark.seconds == pytest.approx(0.004 * landmark.tokens)
    assert phases["embeddings"].seconds == pytest.approx(0.001 * made.tokens)
    assert phases["embeddings"].flops == pytest.approx((2 + 4 * 1 / 2) * 1000 * made.tokens), "one of two blocks"
    assert made.seconds == pytest.approx(sum(phase.seconds for phase in made.phases))
    assert made.flops == sum(phase.flops for phase in made.phases)
    assert made.exact_seconds == pytest.approx(0.004 * made.tokens)


def test_adaptive_rounds_and_refinement_are_upper_bounds(
    project: Project, config: ScoreConfig, measured: list[str]
) -> None:
    bounded = replace(config, fidelity=0.9, max_landmarks=20, refine="10%", refine_budget=0.25)
    phases = {phase.name: phase.rows for phase in plan(project, bounded).phases}
    assert phases["more landmarks, at most"] == 12
    assert phases["refinement, at most"] == 10


def test_second_order_weights_cost_a_product_over_the_targets_per_landmark(
    project: Project, config: ScoreConfig, measured: list[str]
) -> None:
    plain = {phase.name: phase for phase in plan(project, replace(config, unit="inner-product")).phases}
    made = plan(project, replace(config, unit="inner-product", curvature=4))
    phases = {phase.name: phase for phase in made.phases}
    assert "curvature" not in plain
    assert phases["curvature"].rows == 4
    assert phases["curvature"].tokens == 4 * phases["target gradients"].tokens // 2
    assert phases["curvature"].flops == 12 * 1000 * phases["curvature"].tokens


def test_larger_pools_are_estimated_from_a_sample_and_say_so(
    project: Project, config: ScoreConfig, measured: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    exact = plan(project, config).tokens
    monkeypatch.setattr(module, "SAMPLE_ROWS", 20)
    made = plan(project, config)
    assert made.tokens_are_estimated
    assert made.tokens == pytest.approx(exact, rel=0.25)
    assert any("estimated from 20 samples" in note for note in made.notes)
    assert "about" in "\n".join(line for line in describe_plan(made) if line.startswith("tokens"))


def test_the_speed_is_measured_once_per_model_and_settings(
    project: Project, config: ScoreConfig, measured: list[str]
) -> None:
    first, second = plan(project, config), plan(project, config)
    assert len(measured) == 1
    assert first.phases == second.phases
    plan(project, ScoreConfig(model=config.model, landmarks=8, projection=8))
    assert len(measured) == 2


def test_the_real_measurement_gives_speeds(project: Project, config: ScoreConfig) -> None:
    made: Plan = plan(project, config)
    assert made.parameters > 1000
    assert made.device == "cpu"
    assert all(phase.seconds > 0 for phase in made.phases)
    assert made.bytes > 0


def test_mistakes_are_those_of_the_run(project: Project, config: ScoreConfig, measured: list[str]) -> None:
    with pytest.raises(EngineError, match="no target set 'x'"):
        plan(project, ScoreConfig(model=config.model, targets=("x",)))
    with pytest.raises(EngineError, match="41 landmarks"):
        plan(project, ScoreConfig(model=config.model, landmarks=41))
    assert measured == []
