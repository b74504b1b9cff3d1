"""A finished run on the Score page: trust first, then how it was made and what it cost; runs of the first version."""

from collections.abc import Callable
from typing import Any

import pytest

from engine.store.project import Project
from pages.parts import fidelity, provenance, trust
from tests.pages.conftest import full_summary

BAD = {"spearman": 0.1, "interval": [-0.05, 0.25], "n": 40, "reasons": {}, "per_set": {}}
TABLES = ("run_embeddings_tried", "run_settings_tried", "run_rounds_of_landmarks")


def _plain(text: str) -> str:
    return text.replace("\\", "").replace("\u2060", "")


def _told(test: Any) -> str:
    return " ".join(_plain(e.value) for e in [*test.success, *test.markdown, *test.caption])


def _opened(pages: Any, project: Project, *keys: str, **address: str) -> Any:
    """The page with some of its expanders open."""
    test = pages.open("2_Score.py", project, **address)
    for key in keys:
        test.session_state[key] = True
    test.run()
    assert not test.exception
    return test


def _tables(test: Any) -> list[Any]:
    return [frame.value for frame in test.dataframe]


def test_a_run_tells_how_it_was_made(pages: Any, make_project: Callable[..., Project]) -> None:
    test = _opened(pages, make_project(full=True))
    told = _told(test)
    for part in (
        "1,474,560 weights of 42 layers",
        "Gradients of the last blocks (4,096 numbers per sample)",
        "Spread (k-means++). 2 identical rows were passed over.",
        "A linear kernel did clearly better",
        "reached Spearman 0.86",
        "the best 6 are stable",
        "For maths × 2. Against code × 1.",
        "0.12 wide on average, 0.40 times the spread",
        "from 88 % to 93 % by tenths",
        "Calibrated on 540 other samples",
    ):
        assert part in told, part
    assert told.count("most faithful for their cost") == 1  # not once more among the notes
    assert "A word of its own." in told
    figures = {m.label: m.value for m in test.metric}
    assert (figures["Interval width"], figures["Intervals that hold"]) == ("0.40 ×", "91 %")
    assert not test.warning


def test_what_was_tried_is_one_click_away(pages: Any, make_project: Callable[..., Project]) -> None:
    test = _opened(pages, make_project(full=True))
    closed = len(test.dataframe)
    test = _opened(pages, make_project("other", full=True), *TABLES)
    assert len(test.dataframe) == closed + len(TABLES)
    embeddings, trials, rounds = _tables(test)[-3:]
    assert embeddings["Taken"].tolist() == ["yes", "", ""]
    assert embeddings["Spearman"].tolist() == ["0.86", "0.71", "–"]
    assert trials["Spearman"].tolist() == ["0.86", "0.81"]
    assert trials["Taken"].tolist() == ["yes", ""]
    assert rounds["Landmarks"].tolist() == [10, 26]


def test_the_cost_is_shown_beside_its_prediction(pages: Any, make_project: Callable[..., Project]) -> None:
    test = _opened(pages, make_project(full=True), "run_what_it_cost")
    costs = _tables(test)[-1]
    assert costs["Phase"].tolist() == ["Model and warm-up", "Embeddings", "Landmark gradients"]
    assert costs["Predicted"].tolist() == ["–", "24 s", "10 s"]
    assert costs["Measured"].tolist() == ["2 s", "30 s", "9 s"]
    assert "took 39 s; predicted were 34 s" in _told(test)


def test_a_run_of_the_first_version_says_what_it_knows(pages: Any, make_project: Callable[..., Project]) -> None:
    test = _opened(pages, make_project(), "run_what_it_cost")
    told = _told(test)
    assert "close to the exact order" in told
    assert "How the scores were made" not in told
    assert "Interval width" not in [m.label for m in test.metric]
    assert _tables(test)[-1]["Measured"].tolist() == ["2 s"]


def test_a_run_that_cannot_be_trusted_says_so_first_and_everywhere(
    pages: Any, make_project: Callable[..., Project], add_run: Callable[..., Any]
) -> None:
    project = make_project()
    narrow = {**full_summary()["uncertainty"], "coverage": 0.5}
    add_run(project, "bad", seed=5, full=True, fidelity=BAD, uncertainty=narrow)
    test = _opened(pages, project, run="bad")
    assert test.error[0].value.startswith("Do not use these scores")
    assert "too narrow" in test.warning[0].value
    first = next(at for at, node in enumerate(_walk(test.main)) if node.type == "error")
    assert first < min(at for at, node in enumerate(_walk(test.main)) if node.type == "metric")
    for page in ("3_Map.py", "4_Review.py", "6_Select.py"):
        test = pages.open(page, project, run="bad")
        assert not test.exception
        assert any("cannot be trusted" in e.value for e in test.error), page
        assert not any("cannot be trusted" in e.value for e in pages.open(page, project, run="landmark").error), page


def _walk(block: Any) -> list[Any]:
    found = []
    for child in block.children.values():
        found.append(child)
        if hasattr(child, "children"):
            found += _walk(child)
    return found


def test_a_run_without_any_score_says_so(
    pages: Any, make_project: Callable[..., Project], add_run: Callable[..., Any]
) -> None:
    project = make_project()
    add_run(project, "none", seed=6, counts={"exact": 0, "propagated": 0, "unscorable": 60}, fidelity=None)
    test = _opened(pages, project, run="none")
    assert "No sample has a score" in test.error[0].value


@pytest.mark.parametrize(
    ("method", "kind"), [("exact", "info"), ("directional", "info"), ("random", "info"), ("landmark", "warning")]
)
def test_without_an_audit_the_method_decides_what_is_said(method: str, kind: str) -> None:
    assert trust.of_run(method, {"counts": {"exact": 3, "propagated": 0}})[0] == kind


def test_an_unknown_coverage_is_not_shown_as_a_number() -> None:
    said = fidelity.uncertainty_sentence({"level": 0.9, "coverage": None, "by_decile": [], "width": 0.2})
    assert "not known" in said
    assert "None" not in said


def test_tenths_of_a_handful_of_samples_are_not_spoken_of() -> None:
    found = {**full_summary()["uncertainty"], "rows_by_decile": [6] * 10}
    assert "tenths" not in fidelity.uncertainty_sentence(found)
    assert "tenths" in fidelity.uncertainty_sentence(found | {"rows_by_decile": [18] * 10})


def test_an_empty_or_partial_summary_tells_no_story() -> None:
    for summary in ({}, {"tuning": None, "embedding": None, "adaptive": {"rounds": [], "note": ""}, "cost": []}):
        assert provenance.candidates(summary) == provenance.trials(summary) == provenance.rounds(summary) == []
        assert provenance.costs(summary) == []
        assert provenance.cost_sentence(summary) == ""
