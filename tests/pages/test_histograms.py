"""Histograms against row-by-row counts, and what a brush may and may not do to the filters."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from engine.curation import columns
from engine.curation.columns import Column
from engine.store.project import Project
from pages.parts import filters, histograms, reads, state
from pages.parts.filters import Filter


@pytest.fixture
def project(make_project: Callable[..., Project], monkeypatch: pytest.MonkeyPatch) -> Project:
    made = make_project(full=True)
    made.decide([0, 1, 2], "approve", by="test")
    held: dict[str, tuple[Filter, ...]] = {"active": ()}

    def add(new: Filter) -> None:
        held["active"] = (*(part for part in held["active"] if part.slot != new.slot), new)

    def drop(old: Filter) -> None:
        held["active"] = tuple(part for part in held["active"] if part != old)

    monkeypatch.setattr(state, "active_filters", lambda: held["active"])
    monkeypatch.setattr(state, "add_filter", add)
    monkeypatch.setattr(state, "drop_filter", drop)
    monkeypatch.setattr(state, "current", lambda: made)
    return made


def _known(project: Project) -> dict[str, Column]:
    return {column.name: column for column in columns.listed(reads.facts(project))}


def test_bars_count_all_rows_and_those_the_other_filters_leave(project: Project) -> None:
    known = _known(project)
    state.add_filter(Filter("field", "source", ("source 1",)))
    state.add_filter(Filter("decision", "", (0,)))
    sources = histograms.chart(project, known["field/source"])
    rows = project.rows(range(project.counts().pool))
    codes = project.decisions()
    for name, total, passing in zip(sources["names"], sources["all"], sources["passing"], strict=True):
        mine = [row.row for row in rows if row.fields["source"] == name]
        assert total == len(mine)
        assert passing == sum(codes[row] == 0 for row in mine)  # its own filter does not narrow it
    assert sources["chosen"] == ["source 1"] and sources["filtered"]
    score = histograms.chart(project, known["score/landmark/score"])
    inside = filters.combined(project, state.active_filters())
    values = reads.scores(project, project.run("landmark").artifact).score
    assert sum(score["all"]) == int(np.isfinite(values).sum())
    assert sum(score["passing"]) == int((np.isfinite(values) & inside).sum())


def test_bins_hold_every_finite_value_once_and_extremes_at_the_ends() -> None:
    values = np.concatenate([np.linspace(-1, 1, 10_000), [np.nan, np.inf, 1e9, -1e9]]).astype(np.float32)
    low, high, bins = histograms.binned(values)
    assert -1.01 < low < high < 1.01  # two extremes do not stretch the range
    assert bins[-4:].tolist() == [histograms.BINS, histograms.BINS, histograms.BINS - 1, 0]
    inside = np.abs(values[:10_000]) < 0.9
    oracle = np.floor((values[:10_000] - low) / (high - low) * histograms.BINS)
    assert np.abs(bins[:10_000][inside] - oracle[inside]).max() <= 1  # rounding at an edge
    assert histograms.binned(np.full(5, 3.0, np.float32))[2].tolist() == [0] * 5
    assert histograms.binned(np.full(3, np.nan, np.float32))[2].tolist() == [histograms.BINS] * 3


def test_a_brush_makes_the_filter_that_the_chips_would(project: Project) -> None:
    known = _known(project)
    for told, expected in (
        ({"chart": "words", "range": [3.6, None]}, Filter("words", "", (4, None))),
        ({"chart": "score/landmark/score", "range": [None, 0.5]}, Filter("score", "landmark/score", (None, 0.5))),
        ({"chart": "chars", "range": [10.0, 20.0]}, Filter("number", "chars", (10.0, 20.0))),
        ({"chart": "field/task", "names": ["t1"]}, Filter("field", "task", ("t1",))),
        ({"chart": "decision", "names": ["approved"]}, Filter("decision", "", (1,))),
        ({"chart": "status/landmark", "names": ["exact"]}, Filter("value", "status/landmark", ("exact",))),
    ):
        histograms.take({"brushed": told}, known)
        assert state.active_filters()[-1] == expected
        histograms.take({"brushed": {"chart": told["chart"], "clear": True}}, known)
        assert expected not in state.active_filters()


@pytest.mark.parametrize(
    "told",
    [None, 3, {}, {"chart": "no such"}, {"chart": "words"}, {"chart": "words", "range": [None, None]},
     {"chart": "words", "range": ["a", 2]}, {"chart": "words", "range": [1, float("nan")]},
     {"chart": "decision", "names": "approved"}, {"chart": "decision", "names": [1]}],
)  # fmt: skip
def test_a_malformed_brush_changes_nothing(project: Project, told: Any) -> None:
    histograms.take({"brushed": told}, _known(project))
    histograms.take(told, _known(project))
    assert state.active_filters() == ()
