"""Score: what is missing, what a wrong setting does, and how far to trust a finished run."""

from collections.abc import Callable
from typing import Any

import pytest

from engine.runs import jobs
from engine.store.project import Project
from pages.parts import fidelity, trust


def test_without_a_pool_it_leads_to_the_pool(pages: Any, make_project: Callable[..., Project]) -> None:
    test = pages.open("2_Score.py", make_project(pool=False, targets=False))
    assert not test.exception
    assert "no samples yet" in test.main.markdown[0].value
    assert not test.main.button


def test_without_a_target_nothing_can_be_started_but_random(pages: Any, make_project: Callable[..., Project]) -> None:
    test = pages.open("2_Score.py", make_project(targets=False, run=False, plane=False))
    assert not test.exception
    assert "score_start" not in [b.key for b in test.button]
    test.segmented_control(key="score_family").set_value("Baseline").run()
    assert not test.button(key="score_start").disabled


def test_a_start_hands_the_settings_to_a_job(
    pages: Any, make_project: Callable[..., Project], monkeypatch: pytest.MonkeyPatch
) -> None:
    project, asked = make_project(run=False, plane=False), []
    monkeypatch.setattr(
        jobs, "submit", lambda p, kind, config, run=None: asked.append((kind, config, run)) or "score-1"
    )
    test = pages.open("2_Score.py", project)
    test.number_input(key="score_landmarks").set_value(12)
    test.number_input(key="score_seed").set_value(7)
    test.text_input(key="score_name").input("mine").run()
    test.button(key="score_start").click().run()
    assert not test.exception
    (kind, config, name) = asked[0]
    assert (kind, name, config.landmarks, config.seed, config.model) == ("score", "mine", 12, 7, "builtin")


def test_a_taken_name_starts_nothing(
    pages: Any, make_project: Callable[..., Project], monkeypatch: pytest.MonkeyPatch
) -> None:
    project, asked = make_project(), []
    monkeypatch.setattr(jobs, "submit", lambda *a, **k: asked.append(a) or "score-1")
    test = pages.open("2_Score.py", project)
    test.number_input(key="score_seed").set_value(7)
    test.text_input(key="score_name").input("landmark").run()
    test.button(key="score_start").click().run()
    assert len(test.error) == 1
    assert asked == []


def test_a_finished_run_says_how_far_to_trust_it(pages: Any, make_project: Callable[..., Project]) -> None:
    test = pages.open("2_Score.py", make_project())
    assert not test.exception
    told = " ".join(e.value.replace("\\", "").replace("\u2060", "") for e in [*test.success, *test.caption])
    assert "close to the exact order" in told
    assert "between 0.86 and 0.95" in told
    assert "need not transfer" in told
    assert "longer samples score higher" in told
    assert {m.label: m.value for m in test.metric}["Spearman"] == "0.91"


@pytest.mark.parametrize(
    ("value", "interval", "kind"),
    [(0.99, [0.97, 1.0], "success"), (0.99, [0.2, 1.0], "error"), (0.7, [0.62, 0.8], "warning"), (-0.2, None, "error")],
)
def test_the_verdict_goes_by_the_lower_end(value: float, interval: Any, kind: str) -> None:
    assert trust.of_figure(trust.measure(value, interval))[0] == kind


def test_an_undefined_fidelity_is_never_shown_as_a_number() -> None:
    undefined = trust.measure(None, None, "2 samples are too few")
    assert fidelity.shown(undefined) == "–"
    assert trust.of_figure(undefined)[0] == "warning"
