"""Marks of the catalogue's subjects: what was changed has another one, nothing else has."""

import itertools

import numpy as np
import pytest

from engine.store import audits
from engine.store.project import Project
from engine.store.records import MapRecord, RunRecord


def _run(project: Project) -> None:
    project.add_run(RunRecord("r", "random", "", {}, "scores-1", 10, project.pool_hash(), []))


def _tag(project: Project) -> None:
    with project.changing() as con:
        con.execute("INSERT INTO tag_batches VALUES (1, 'now', 'Ada', 'odd', 'add', [1, 2])")


def _audit(project: Project) -> None:
    with project.changing() as con:
        audits.begin(con, members=np.ones(10, bool), rows=np.arange(10), seed=1, filters="", by="Ada")


CHANGES = {
    "decisions": lambda project: project.decide([1], "approve", by="Ada"),
    "runs": _run,
    "maps": lambda project: project.add_map(MapRecord("m", "map-1", 10, project.pool_hash(), "hidden")),
    "signals": lambda project: project.add_signals("signals-1", 10, project.pool_hash()),
    "selections": lambda project: project.save_selection("s", spec={}, rows=[1, 2], by="Ada"),
    "tags": _tag,
    "audits": _audit,
}


@pytest.mark.parametrize("subject", CHANGES)
def test_a_change_marks_its_subject_alone(filled, subject):
    before = filled.versions()
    assert filled.versions() == before
    CHANGES[subject](filled)
    after = filled.versions()
    assert {name for name in before if after[name] != before[name]} == {subject}


def test_new_rows_undone_decisions_and_approvals_are_changes_too(filled, make_row, make_info):
    filled.decide([1], "approve", by="Ada")
    filled.save_selection("s", spec={}, rows=[1, 2], by="Ada")
    seen = [filled.versions()]
    filled.undo(by="Ada")
    seen.append(filled.versions())
    filled.approve_selection("s", by="Bo")
    seen.append(filled.versions())
    filled.add_rows("target", "t", make_info("cc", path="/data/t.jsonl"), [make_row(1, "a target")])
    seen.append(filled.versions())
    changed = [{name for name in a if a[name] != b[name]} for a, b in itertools.pairwise(seen)]
    assert changed == [{"decisions"}, {"selections"}, {"sets"}]


def test_results_that_replace_others_change_the_mark(filled):
    _run(filled)
    before = filled.versions()["runs"]
    with filled.changing() as con:
        con.execute("UPDATE runs SET artifact = 'scores-2'")
    assert filled.versions()["runs"] != before
