"""Filters against a slow oracle, their way through a link, and what a link may not do."""

import shutil
from collections.abc import Callable
from typing import Any, get_args

import numpy as np
import pytest

from engine.curation import guards
from engine.curation.facts import Facts
from engine.curation.marks import marked
from engine.errors import EngineError
from engine.store.project import Project
from pages.parts import filters, reads, sample_view
from pages.parts.filters import Filter

MAP = "map-0123456789abcdef"


@pytest.fixture
def project(make_project: Callable[..., Project]) -> Project:
    made = make_project(full=True)
    made.decide([0, 1, 2], "approve", by="test")
    made.decide([3], "reject", by="test")
    return made


def _slow(project: Project, part: Filter) -> list[bool]:
    """The same predicate row by row, from the stored rows and arrays themselves."""
    run = reads.scores(project, project.run("landmark").artifact)
    layout, marks = reads.layout(project), reads.marks(project)
    values = run.column(part.subject.partition("/")[2]).tolist()
    ranked = sorted((v for v in values if v == v), reverse=True)
    rows = project.rows(range(project.counts().pool))
    codes = project.decisions().tolist()
    low, high = (*part.values, None, None)[:2]
    sigma = np.sqrt(run.variance if run.sigma is None else np.square(run.sigma)).tolist()

    def within(value: Any) -> bool:
        return value == value and (low is None or value >= low) and (high is None or value <= high)

    checks: dict[str, Callable[[int], bool]] = {
        "score": lambda i: within(values[i]),
        "rank": lambda i: values[i] == values[i] and within(ranked.index(values[i]) + 1),
        "words": lambda i: within(rows[i].words),
        "number": lambda i: within({"chars": rows[i].chars, "uncertainty/landmark": sigma[i]}[part.subject]),
        "value": lambda i: (
            {"field/task": rows[i].fields["task"], "status/landmark": reads.STATUS[int(run.status[i])]}[part.subject]
            in part.values
        ),
        "field": lambda i: str(rows[i].fields[part.subject]) in part.values,
        "decision": lambda i: codes[i] in part.values,
        "cluster": lambda i: layout.cluster[i] in part.values,
        "status": lambda i: run.status[i] in part.values,
        "box": lambda i: (
            part.values[0] <= layout.xy[i][0] <= part.values[2] and part.values[1] <= layout.xy[i][1] <= part.values[3]
        ),
        "mark": lambda i: (
            ("leak" in part.values and marks.leak[i] >= 0.5)
            or ("near-duplicate" in part.values and marks.near_duplicate_of[i] >= 0)
            or ("landmark" in part.values and bool(run.roles[i] & 1))
        ),
    }
    return [checks[part.kind](i) for i in range(len(rows))]


EVERY_KIND = (
    Filter("number", "chars", (24, 25)),
    Filter("number", "uncertainty/landmark", (None, 0.2)),
    Filter("value", "field/task", ("t1",)),
    Filter("value", "status/landmark", ("exact", "unscorable")),
    Filter("score", "landmark/score", (0.0, None)),
    Filter("score", "landmark/maths", (-0.05, 0.05)),
    Filter("rank", "landmark/code", (1, 10)),
    Filter("words", "", (None, 4)),
    Filter("field", "source", ("source 1", "no such")),
    Filter("decision", "", (0, 3)),
    Filter("cluster", "", (-1, 2)),
    Filter("status", "landmark", (0, 1)),
    Filter("mark", "", ("leak", "near-duplicate")),
    Filter("mark", "", ("landmark",)),
    Filter("box", MAP, (-0.5, -0.5, 0.5, 0.5)),
)


def test_mask_equals_the_row_by_row_predicate(project: Project) -> None:
    elsewhere = {"lasso", "text", "similar", "contains"}  # the last three in tests/engine, where there is a model
    assert {part.kind for part in EVERY_KIND} | elsewhere == set(get_args(filters.Kind))
    for part in EVERY_KIND:
        assert filters.mask(project, part).tolist() == _slow(project, part), part


def test_filters_join_with_and_and_the_area_has_one_slot(project: Project) -> None:
    one, two = Filter("decision", "", (1,)), Filter("field", "source", ("source 0",))
    both = filters.combined(project, [one, two])
    assert both.tolist() == (filters.mask(project, one) & filters.mask(project, two)).tolist()
    assert filters.combined(project, []).all()
    assert Filter("lasso", MAP, (0, 0, 1, 0, 1, 1)).slot == Filter("box", MAP, (0, 0, 1, 1)).slot


def test_a_new_decision_is_seen_at_once(project: Project) -> None:
    undecided = Filter("decision", "", (0,))
    before = filters.mask(project, undecided).sum()
    project.decide([20], "skip", by="test")
    assert filters.mask(project, undecided).sum() == before - 1


def test_filters_survive_a_link() -> None:
    parts = (Filter("score", "a/b", (None, 0.5)), Filter("field", "söurce", ("x", '"')), Filter("cluster", "", (1, 2)))
    assert filters.decode(filters.encode(parts)) == parts


@pytest.mark.parametrize(
    "text",
    [
        *("", "[", "{}", "[1]", '[["magic","",1]]', '[["score","r/c","1","2"]]', '[["lasso","m",1,2,3]]'),
        *('[["field",1,"x"]]', '[["decision","",{"a":1}]]', "[" * 7000),
    ],
)
def test_a_link_that_no_page_would_make_is_refused(text: str) -> None:
    with pytest.raises(EngineError):
        filters.decode(text)


def test_a_lasso_of_an_older_map_is_refused_not_misapplied(project: Project) -> None:
    with pytest.raises(EngineError, match="no longer the latest"):
        filters.mask(project, Filter("lasso", "map-other", (0, 0, 1, 0, 1, 1)))


def test_the_guard_leaves_the_first_of_a_group_in(project: Project) -> None:
    barred = guards.barred(reads.facts(project), ("near-duplicate", "leak"))
    assert np.flatnonzero(barred).tolist() == [3, 4]


def test_a_surprising_answer_is_marked_and_a_cut_one_is_not(project: Project) -> None:
    """Rows 5 and 8 are equally unlikely, but row 5 is cut off, which is another mark."""
    assert np.flatnonzero(filters.marked(project, filters.SURPRISING)).tolist() == [8]
    assert filters.SURPRISING in sample_view.sample_marks(project, 8)
    assert filters.SURPRISING not in sample_view.sample_marks(project, 5)


def test_a_later_run_without_losses_or_without_its_results_hides_no_surprise(
    project: Project, add_run: Callable[..., Any]
) -> None:
    record = add_run(project, "likeness", seed=3)
    place = project.artifacts / record.artifact
    np.save(place / "loss.npy", np.full_like(np.load(place / "loss.npy"), np.nan))
    assert np.flatnonzero(filters.marked(project, filters.SURPRISING)).tolist() == [8]
    shutil.move(place, place.with_name("gone"))
    assert np.flatnonzero(marked(Facts(project), filters.SURPRISING)).tolist() == [8]


def test_without_a_map_no_answer_is_surprising(make_project: Callable[..., Project]) -> None:
    assert not filters.marked(make_project(plane=False), filters.SURPRISING).any()


def test_a_cluster_is_called_by_its_label_where_there_is_one() -> None:
    part = Filter("cluster", "", (1, 7))
    assert filters.describe(part, ["sums", "code"]) == "Cluster: code, 7"
    assert filters.describe(part) == "Cluster: 1, 7"
