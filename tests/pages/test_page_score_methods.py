"""The choice of a method: each can be reached, asks for what it uses and no more, and says what it will do."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from engine.data.samples import Message, Row, SourceInfo
from engine.runs import jobs
from engine.runs.config import PRESETS, ScoreConfig, preset_of
from engine.runs.function_config import PAPER_NETWORK
from engine.runs.methods import METHODS
from engine.store.project import Project
from pages.parts import cost_plan, score_functions, score_methods

FAMILY_OF = {method: family for family, (_, methods) in score_methods.FAMILIES.items() for method in methods}
SIZES = {
    "landmark": "Measures 60 landmarks",
    "exact": "Measures each of 60 samples exactly against 8 target samples in 2 target sets.",
    "directional": "Runs each of 60 samples forward along 2 target directions.",
    "network": "Labels 60 samples against 8 target samples with LESS, which is all: nothing is left to estimate.",
    "delift": "Runs the model on 480 pairs of sample and target sample",
    "delift-se": "Embeds 60 samples by a small encoder and compares them against 8 target samples in 2 target sets.",
    "less": "at most 5 % of the pool for 4 epochs. Then takes the gradient of each of 60 samples at each of 4 epochs",
    "selectit": "Lets the model rate each of 60 samples under several prompts: 300 passes.",
    "rds": "Runs each of 60 samples forward once and compares the hidden states against 8 target samples",
    "random": "Gives each of 60 samples a random score.",
}


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[ScoreConfig]:
    """The configurations that were handed to a job."""
    found: list[ScoreConfig] = []
    monkeypatch.setattr(jobs, "submit", lambda p, kind, config, run=None: found.append(config) or "score-1")
    return found


@pytest.fixture
def test(pages: Any, make_project: Callable[..., Project]) -> Any:
    """The page on a project that has no run yet."""
    return pages.open("2_Score.py", make_project(run=False, plane=False))


def choose(test: Any, method: str) -> None:
    """Choose a method as a curator does: its family, then the method."""
    family = FAMILY_OF[method]
    test.segmented_control(key="score_family").set_value(family).run()
    if len(score_methods.FAMILIES[family][1]) > 1:
        test.radio(key=score_methods.key_of(family)).set_value(method).run()
    assert not test.exception


def start(test: Any, asked: list[ScoreConfig]) -> ScoreConfig:
    test.button(key="score_start").click().run()
    assert not test.exception
    return asked[-1]


def told(test: Any) -> str:
    return " ".join(c.value.replace("\\", "").replace("\u2060", "") for c in test.caption)


def keys(test: Any) -> set[str]:
    kinds = ("number_input", "selectbox", "multiselect", "toggle", "text_input", "text_area", "segmented_control")
    return {str(widget.key) for kind in kinds for widget in getattr(test, kind)}


def test_every_method_is_in_one_family_and_has_a_name() -> None:
    assert sorted(FAMILY_OF) == sorted(METHODS) == sorted(score_methods.METHOD_NAMES)


@pytest.mark.parametrize("method", list(METHODS))
def test_untouched_every_method_is_asked_for_by_its_defaults(test: Any, asked: list[ScoreConfig], method: str) -> None:
    choose(test, method)
    assert not test.error
    assert SIZES[method] in told(test), told(test)
    assert start(test, asked) == ScoreConfig(method=method)


@pytest.mark.parametrize(
    ("method", "present", "absent"),
    [
        ("landmark", {"score_unit", "score_landmarks", "score_targets"}, {"score_teacher", "score_lora_rank"}),
        ("network", {"score_teacher", "score_labelled", "score_lora_rank"}, {"score_unit", "score_tuning"}),
        ("less", {"score_lora_rank", "score_less_width", "score_warm_up_epochs"}, {"score_unit", "score_conditioning"}),
        ("delift", {"score_model_kind", "score_aggregate"}, {"score_lora_rank", "score_warm_up", "score_keep"}),
        ("delift-se", {"score_targets", "score_device"}, {"score_model_kind", "score_dtype", "score_batch"}),
        ("selectit", {"score_rating_levels", "score_models"}, {"score_targets", "score_aggregate", "score_groups"}),
        ("rds", {"score_model_kind", "score_length"}, {"score_projection", "score_unit"}),
        ("random", {"score_seed"}, {"score_model_kind", "score_targets", "score_device"}),
    ],
)  # fmt: skip
def test_only_what_matters_is_asked(test: Any, method: str, present: set[str], absent: set[str]) -> None:
    choose(test, method)
    assert present <= keys(test)
    assert not absent & keys(test)


def test_a_network_is_asked_for_as_it_is_set(test: Any, asked: list[ScoreConfig]) -> None:
    choose(test, "network")
    test.selectbox(key="score_teacher").set_value("delift").run()
    test.number_input(key="score_labelled").set_value(20.0)
    test.number_input(key="score_labelled_items").set_value(3)
    test.selectbox(key="score_features").set_value("hidden+lexical")
    test.selectbox(key="score_labelled_choice").set_value("k-means++")
    test.toggle(key="score_pool_network").set_value(True)
    test.number_input(key="score_network_hidden").set_value(64)
    test.number_input(key="score_network_learning_rate").set_value(0.01)
    test.selectbox(key="score_network_batch_of").set_value("pairs")
    test.toggle(key="score_network_cosine").set_value(False)
    test.number_input(key="score_audit").set_value(10).run()
    assert "Labels 12 samples and 10 audit samples against 5 of 8 target samples with DELIFT" in told(test)
    assert "and estimates the other 38 of 60. That is 110 pairs instead of 480." in told(test)
    assert "for the second network" in told(test)
    assert start(test, asked) == ScoreConfig(
        method="network", teacher="delift", labelled=0.2, labelled_items=3, network_features="hidden+lexical",
        landmark_choice="k-means++", pool_network=True, network_hidden=64, network_learning_rate=0.01,
        network_batch_of="pairs", network_cosine=False, audit=10,
    )  # fmt: skip


def test_the_papers_network_is_exactly_the_preset(test: Any, asked: list[ScoreConfig]) -> None:
    choose(test, "network")
    test.number_input(key="score_labelled").set_value(20.0).run()
    test.segmented_control(key="score_preset").set_value("The paper's").run()
    assert not {"score_labelled", "score_features", "score_labelled_choice", "score_network_hidden"} & keys(test)
    config = start(test, asked)
    assert preset_of(config) == "paper"
    assert {name: getattr(config, name) for name in PAPER_NETWORK} == PAPER_NETWORK
    assert config == ScoreConfig(method="network", **PRESETS["paper"])


@pytest.mark.parametrize("method", ["less", "network"])
def test_less_and_its_warm_up_are_asked_for_as_set(test: Any, asked: list[ScoreConfig], method: str) -> None:
    choose(test, method)
    test.number_input(key="score_lora_rank").set_value(4)
    test.number_input(key="score_lora_alpha").set_value(32.0)
    test.number_input(key="score_less_width").set_value(512)
    test.number_input(key="score_warm_up_fraction").set_value(10.0)
    test.number_input(key="score_warm_up_epochs").set_value(2)
    test.number_input(key="score_warm_up_rate").set_value(0.002).run()
    assert "at most 10 % of the pool for 2 epochs" in told(test)
    assert start(test, asked) == ScoreConfig(
        method=method, lora_rank=4, lora_alpha=32.0, less_width=512, warm_up_fraction=0.1, warm_up_epochs=2,
        warm_up_learning_rate=0.002,
    )  # fmt: skip


@pytest.mark.parametrize("method", ["selectit", "network"])
def test_ratings_are_asked_for_as_set_and_need_no_target(
    pages: Any, make_project: Callable[..., Project], asked: list[ScoreConfig], method: str
) -> None:
    test = pages.open("2_Score.py", make_project(targets=False, run=False, plane=False))
    choose(test, method)
    if method == "network":
        assert "score_start" not in [b.key for b in test.button]  # its teacher needs a target
        test.selectbox(key="score_teacher").set_value("selectit").run()
        assert not {"score_labelled_items", "score_pool_network", "score_groups"} & keys(test)
    test.number_input(key="score_rating_levels").set_value(7)
    test.number_input(key="score_rating_alpha").set_value(0.5)
    test.selectbox(key="score_rating_preset").set_value("release")
    test.text_area(key="score_models").input(" owner/one \n\n/models/two\n").run()
    assert not test.error
    teacher = {"teacher": "selectit"} if method == "network" else {}
    assert start(test, asked) == ScoreConfig(
        method=method, rating_levels=7, rating_alpha=0.5, rating_preset="release",
        models=("owner/one", "/models/two"), **teacher,
    )  # fmt: skip


def test_every_method_that_needs_a_target_says_so_in_its_place(
    pages: Any, make_project: Callable[..., Project]
) -> None:
    test = pages.open("2_Score.py", make_project(targets=False, run=False, plane=False))
    for method in METHODS:
        choose(test, method)
        missing = any("needs a target set" in m.value for m in test.markdown)
        started = "score_start" in [b.key for b in test.button]
        assert (missing, started) == ((False, True) if method in ("selectit", "random") else (True, False)), method


def test_a_model_that_is_not_named_starts_nothing(test: Any) -> None:
    for method in ("less", "selectit", "network"):
        choose(test, method)
        test.segmented_control(key="score_model_kind").set_value("Folder or hub name").run()
        assert "Name the model" in told(test)
        assert "score_start" not in [b.key for b in test.button]
    choose(test, "delift-se")
    assert "Name the model" not in told(test)
    assert "score_start" in [b.key for b in test.button]
    choose(test, "network")
    test.selectbox(key="score_teacher").set_value("delift-se").run()
    assert "score_start" in [b.key for b in test.button]
    assert not any("hidden" in option.lower() for option in test.selectbox(key="score_features").options)


def test_what_was_entered_stays_while_another_method_or_page_is_in_view(test: Any, asked: list[ScoreConfig]) -> None:
    choose(test, "less")
    test.segmented_control(key="score_model_kind").set_value("Folder or hub name").run()
    test.text_input(key="score_model").input("owner/model")
    test.number_input(key="score_lora_rank").set_value(4)
    test.multiselect(key="score_targets").set_value(["code"])
    test.number_input(key="score_seed").set_value(9).run()
    for method in METHODS:
        choose(test, method)
        assert test.number_input(key="score_seed").value == 9
    test.switch_page("pages/1_Pool.py").run()
    test.switch_page("pages/2_Score.py").run()
    choose(test, "less")
    assert start(test, asked) == ScoreConfig(method="less", model="owner/model", lora_rank=4, targets=("code",), seed=9)


def test_what_was_entered_does_not_reach_another_project(
    pages: Any, make_project: Callable[..., Project], test: Any
) -> None:
    choose(test, "less")
    test.number_input(key="score_lora_rank").set_value(4).run()
    choose(test, "rds")
    test.query_params["project"] = make_project("other", run=False, plane=False).name
    test.run()
    choose(test, "less")
    assert test.number_input(key="score_lora_rank").value == ScoreConfig().lora_rank


def test_fields_of_target_samples_are_offered_as_groups_where_there_are_any(
    pages: Any, make_project: Callable[..., Project], asked: list[ScoreConfig], hostile: str, tmp_path: Path
) -> None:
    project = make_project(run=False, plane=False)
    assert score_functions.target_fields(project) == []
    rows = [
        Row(at + 1, "{}", None, (Message("user", f"q {at}"), Message("assistant", "a")), {"task": f"t{at}", hostile: 1})
        for at in range(3)
    ]
    source = SourceInfo("/data/tasks.jsonl", "f" * 64, 99, "jsonl", {"schema": "chat", "fields": {}})
    project.add_rows("target", "tasks", source, rows)
    test = pages.open("2_Score.py", project)
    assert "score_groups" not in keys(test)  # scores by gradients do not go by single target samples
    choose(test, "less")
    assert test.selectbox(key="score_groups").options == ["None", "task", hostile]
    test.selectbox(key="score_groups").set_value("task").run()
    assert start(test, asked) == ScoreConfig(method="less", groups="task")


def test_a_plan_without_a_language_model_speaks_of_none(
    test: Any, pages: Any, make_project: Callable[..., Project], monkeypatch: pytest.MonkeyPatch
) -> None:
    from engine.runs import plan as planning
    from engine.runs.phases import Phase

    made = planning.Plan(
        method="network", model="", rows=60, targets={"maths": 4}, landmarks=0, tokens=0, tokens_are_estimated=False,
        parameters=0, flops=0.0, bytes=1000, seconds=3.0, phases=(Phase("teacher labels", 10, 0, 0.0, 3.0),),
        exact_seconds=60.0, device="cpu", compared="delift-se of every sample and item",
    )  # fmt: skip
    monkeypatch.setattr(planning, "plan", lambda project, config: made)
    choose(test, "network")
    test.selectbox(key="score_teacher").set_value("delift-se").run()
    test.button(key="score_plan").click().run()
    assert not test.exception
    assert [m.label for m in test.metric] == ["Time", "Disk"]
    assert "For comparison: DELIFT (SE) of every sample and item would take 1 min 0 s." in told(test)
    assert cost_plan.sizes(make_project("two", run=False), ScoreConfig(method="random")).endswith("Takes no time.")
