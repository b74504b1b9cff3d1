"""The score form: what is asked for becomes the run's configuration; what does not go together is one error."""

from collections.abc import Callable
from typing import Any

import pytest

from engine.runs import jobs
from engine.runs.config import PRESETS, ScoreConfig, preset_of
from engine.store.project import Project
from pages.parts.score_form import EMBEDDING_NAMES, EMBEDDING_WORDS


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[ScoreConfig]:
    """The configurations that were handed to a job."""
    found: list[ScoreConfig] = []
    monkeypatch.setattr(jobs, "submit", lambda p, kind, config, run=None: found.append(config) or "score-1")
    return found


def _open(pages: Any, make_project: Callable[..., Project]) -> Any:
    test = pages.open("2_Score.py", make_project(run=False, plane=False))
    assert not test.exception
    return test


def _start(test: Any, asked: list[ScoreConfig]) -> ScoreConfig:
    test.button(key="score_start").click().run()
    assert not test.exception
    assert len(asked) == 1
    return asked[0]


def _told(test: Any) -> str:
    return " ".join(c.value.replace("\\", "").replace("\u2060", "") for c in test.caption)


def test_untouched_it_asks_for_the_engines_own_defaults(
    pages: Any, make_project: Callable[..., Project], asked: list[ScoreConfig]
) -> None:
    assert _start(_open(pages, make_project), asked) == ScoreConfig()


def test_the_papers_settings_are_exactly_the_preset(
    pages: Any, make_project: Callable[..., Project], asked: list[ScoreConfig]
) -> None:
    test = _open(pages, make_project)
    test.selectbox(key="score_embedding").set_value("hidden").run()
    test.segmented_control(key="score_preset").set_value("The paper's").run()
    assert "score_embedding" not in [s.key for s in test.selectbox]  # nothing is offered that would not be used
    assert "score_tune" not in [t.key for t in test.toggle]
    config = _start(test, asked)
    assert preset_of(config) == "paper"
    assert {name: getattr(config, name) for name in PRESETS["paper"]} == PRESETS["paper"]


def test_every_embedding_is_explained(pages: Any, make_project: Callable[..., Project]) -> None:
    test = _open(pages, make_project)
    assert set(EMBEDDING_NAMES) == set(EMBEDDING_WORDS)
    for name, words in EMBEDDING_WORDS.items():
        test.selectbox(key="score_embedding").set_value(name).run()
        assert not test.exception, name
        assert words in _told(test)


def test_targets_count_for_against_and_by_weight(
    pages: Any, make_project: Callable[..., Project], asked: list[ScoreConfig]
) -> None:
    test = _open(pages, make_project)
    test.multiselect(key="score_targets").set_value(["maths"]).run()
    assert test.multiselect(key="score_avoid").options == ["code"]  # a set cannot count for and against
    test.multiselect(key="score_avoid").set_value(["code"]).run()
    test.toggle(key="score_weighted").set_value(True).run()
    test.number_input(key="score_weight_maths").set_value(2.5).run()
    assert "8 target samples in 2 target sets" in _told(test)
    config = _start(test, asked)
    assert (set(config.targets), config.avoid, config.target_weights) == ({"maths", "code"}, ("code",), ("maths=2.5",))
    assert config.set_weights(["maths", "code"]) == {"maths": 2.5, "code": -1.0}


def test_refinement_and_fidelity_are_asked_for_with_their_budgets(
    pages: Any, make_project: Callable[..., Project], asked: list[ScoreConfig]
) -> None:
    test = _open(pages, make_project)
    test.number_input(key="score_landmarks").set_value(20).run()
    test.toggle(key="score_refine").set_value(True).run()
    test.text_input(key="score_refine_size").input("12").run()
    test.number_input(key="score_refine_budget").set_value(20.0).run()
    test.toggle(key="score_fidelity_on").set_value(True).run()
    test.number_input(key="score_max_landmarks").set_value(30).run()
    told = _told(test)
    assert "30 at most, until the tuning samples reach Spearman 0.85" in told
    assert "near the cut at 12 exactly, 12 at most" in told
    config = _start(test, asked)
    assert (config.refine, config.refine_budget, config.fidelity, config.max_landmarks) == ("12", 0.2, 0.85, 30)


@pytest.mark.parametrize("size", ["many", "61", "0"])
def test_a_refinement_that_cannot_be_is_one_error_and_no_start(
    pages: Any, make_project: Callable[..., Project], asked: list[ScoreConfig], size: str
) -> None:
    test = _open(pages, make_project)
    test.toggle(key="score_refine").set_value(True).run()
    test.text_input(key="score_refine_size").input(size).run()
    assert not test.exception
    assert len(test.error) == 1
    assert "score_start" not in [b.key for b in test.button]
    assert asked == []


def test_settings_that_do_not_go_together_are_one_error(pages: Any, make_project: Callable[..., Project]) -> None:
    test = _open(pages, make_project)
    test.selectbox(key="score_conditioning").set_value("adam").run()
    assert not test.error  # the warm-up of the built-in model gives the moments
    test.selectbox(key="score_warm_up").set_value("off").run()
    assert not test.exception
    assert len(test.error) == 1
    assert "score_start" not in [b.key for b in test.button]


def test_more_settings_reach_the_configuration(
    pages: Any, make_project: Callable[..., Project], asked: list[ScoreConfig]
) -> None:
    test = _open(pages, make_project)
    test.toggle(key="score_tune").set_value(False).run()
    test.selectbox(key="score_kernel").set_value("linear")
    test.number_input(key="score_ridge").set_value(0.5)
    test.selectbox(key="score_landmark_choice").set_value("rp-cholesky")
    test.selectbox(key="score_unit_rows").set_value("off")
    test.selectbox(key="score_across").set_value("max")
    test.number_input(key="score_blocks").set_value(2)
    test.text_input(key="score_parameters").input("*down_proj*, *.o_proj.*")
    test.number_input(key="score_keep").set_value(25.0).run()
    assert not test.error, test.error[0].value
    config = _start(test, asked)
    assert (config.tune, config.kernel, config.ridge, config.landmark_choice) == (False, "linear", 0.5, "rp-cholesky")
    assert (config.unit_rows, config.across, config.blocks, config.keep) == ("off", "max", 2, 0.25)
    assert config.parameters == ("*down_proj*", "*.o_proj.*")


def test_curvature_is_offered_for_inner_products_alone(
    pages: Any, make_project: Callable[..., Project], asked: list[ScoreConfig]
) -> None:
    test = _open(pages, make_project)
    assert "score_curvature" not in [n.key for n in test.number_input]
    test.selectbox(key="score_unit").set_value("inner-product").run()
    test.number_input(key="score_curvature").set_value(8).run()
    test.selectbox(key="score_curvature_form").set_value("gauss-newton").run()
    config = _start(test, asked)
    assert (config.curvature, config.curvature_form) == (8, "gauss-newton")
