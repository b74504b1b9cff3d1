"""Selections: every save is a new version, approval freezes, rejected rows never go in."""

import numpy as np
import pytest

from engine.errors import EngineError
from engine.store import schema, selection_rows
from engine.store.project import Project


def test_a_saved_selection_comes_back_sorted_with_its_weights(filled):
    filled.decide([0], "approve", by="Ada")
    saved = filled.save_selection(
        "best", spec={"run": "r", "size": "30%", "nan": float("nan")}, rows=[8, 1, 4], weights=[0.8, 0.1, 0.4], by="Ada"
    )
    assert saved.rows.tolist() == [1, 4, 8]
    assert saved.rows.dtype == np.int64
    assert saved.weights is not None
    assert saved.weights.tolist() == np.array([0.1, 0.4, 0.8], np.float32).tolist()
    assert (saved.version, saved.state, saved.run, saved.by, saved.decision_batch) == (1, "draft", "r", "Ada", 1)
    assert saved.spec == {"run": "r", "size": "30%", "nan": None}
    again = filled.selection("best")
    assert again.rows.tolist() == saved.rows.tolist()
    assert (again.approved_by, again.approved_at, again.note) == (None, None, "")


def test_approval_freezes_the_version_and_saving_makes_the_next(filled):
    filled.save_selection("best", spec={}, rows=[1], by="Ada")
    approved = filled.approve_selection("best", by="Bo", note="looked at all")
    assert (approved.state, approved.approved_by, approved.note) == ("approved", "Bo", "looked at all")
    with pytest.raises(EngineError, match="was approved by Bo"):
        filled.approve_selection("best", by="Cy")
    filled.save_selection("best", spec={}, rows=[2, 3], by="Ada")
    assert filled.selection("best").version == 2
    assert filled.selection("best").state == "draft"
    first = filled.selection("best", 1)
    assert (first.rows.tolist(), first.state, first.approved_by) == ([1], "approved", "Bo")
    filled.approve_selection("best", by="Cy", version=2)
    assert [(s.version, s.approved_by) for s in filled.selections()] == [(1, "Bo"), (2, "Cy")]


def test_rejected_rows_neither_enter_nor_get_approved(filled):
    filled.decide([3], "reject", by="Ada")
    with pytest.raises(EngineError, match="1 of the samples are rejected"):
        filled.save_selection("best", spec={}, rows=[2, 3], by="Ada")
    assert filled.selections() == []
    filled.save_selection("best", spec={}, rows=[1, 2], by="Ada")
    filled.decide([2], "reject", by="Bo")
    with pytest.raises(EngineError, match="rejected since it was saved"):
        filled.approve_selection("best", by="Bo")
    assert filled.selection("best").state == "draft"
    filled.undo(by="Bo")
    assert filled.approve_selection("best", by="Bo").state == "approved"


@pytest.mark.parametrize(
    ("name", "rows", "weights", "by"),
    [("", [1], None, "Ada"), (" a", [1], None, "Ada"), ("a\nb", [1], None, "Ada"), ("a", [], None, "Ada"),
     ("a", [1, 1], None, "Ada"), ("a", [10], None, "Ada"), ("a", [-1], None, "Ada"), ("a", [1.0], None, "Ada"),
     ("a", [1], [1.0, 2.0], "Ada"), ("a", [1], [-1.0], "Ada"), ("a", [1], [float("nan")], "Ada"), ("a", [1], None, "")],
)  # fmt: skip
def test_impossible_selections_save_nothing(filled, name, rows, weights, by):
    with pytest.raises(EngineError, match="Nothing was saved"):
        filled.save_selection(name, spec={}, rows=rows, weights=weights, by=by)
    assert filled.selections() == []


def test_a_missing_selection_is_told_with_those_there_are(filled):
    with pytest.raises(EngineError, match="None has been saved yet"):
        filled.selection("best")
    filled.save_selection("other", spec={}, rows=[1], by="Ada")
    with pytest.raises(EngineError, match="There are: other"):
        filled.selection("best")
    with pytest.raises(EngineError, match=r"no version 4. There are: 1"):
        filled.selection("other", 4)


def test_order_and_gains_come_back_in_the_order_taken(filled):
    saved = filled.save_selection("s", spec={}, rows=[2, 5, 7], order=[7, 2, 5], gains=[3.0, 2.0, 0.5], by="Ada")
    again = filled.selection("s")
    assert again.order.tolist() == saved.order.tolist() == [7, 2, 5]
    assert again.gains.tolist() == [3.0, 2.0, 0.5]
    filled.save_selection("plain", spec={}, rows=[1, 2], by="Ada")
    assert filled.selection("plain").order is None
    assert [s.gains is None for s in filled.selections()] == [False, True]


@pytest.mark.parametrize(
    ("order", "gains"),
    [
        ([7, 2], [1, 1]),
        ([7, 2, 4], [1, 1, 1]),
        ([7, 2, 2], [1, 1, 1]),
        ([7, 2, 5], [1, 1]),
        ([7, 2, 5], [1, 1, np.nan]),
    ],
)
def test_an_order_of_other_rows_is_refused(filled, order, gains):
    with pytest.raises(EngineError, match=r"names each of its samples once.*Nothing was saved"):
        filled.save_selection("s", spec={}, rows=[2, 5, 7], order=np.array(order), gains=np.array(gains), by="Ada")
    assert filled.selections() == []


def test_selections_of_an_older_project_have_no_order_and_stay_whole(tmp_path, monkeypatch):
    monkeypatch.setattr(schema, "MIGRATIONS", schema.MIGRATIONS[:1])
    old = Project.create(tmp_path / "old")
    with old.changing() as con:
        con.execute("INSERT INTO selections VALUES (1, 'best', 1, '{}', NULL, true, '2026', 'Ada', 0)")
        con.execute("INSERT INTO selection_rows VALUES (1, 4, 0.5), (1, 9, 1.5)")
    monkeypatch.undo()
    kept = Project.open(old.path).selection("best")
    assert (kept.rows.tolist(), kept.weights.tolist()) == ([4, 9], [0.5, 1.5])
    assert (kept.order, kept.gains) == (None, None)


def test_the_way_of_a_version_is_kept_event_by_event(filled):
    filled.save_selection("best", spec={}, rows=[1, 2], by="Ada", reasons=["approved", "score"])
    filled.propose_selection("best", by="Ada", note="please look")
    assert filled.selection("best").state == "proposed"
    returned = filled.return_selection("best", by="Bo", note="row 2 is odd")
    assert (returned.state, returned.note, returned.approved_by) == ("returned", "row 2 is odd", None)
    filled.propose_selection("best", by="Ada", note="row 2 is right: I checked")
    approved = filled.approve_selection("best", by="Bo", note="fine", details={"rows": 2, "share": float("nan")})
    assert [(e.kind, e.by) for e in approved.events] == [
        ("proposed", "Ada"), ("returned", "Bo"), ("proposed", "Ada"), ("approved", "Bo")
    ]  # fmt: skip
    assert approved.events[-1].details == {"rows": 2, "share": None}
    assert (approved.state, approved.approved_by, approved.note, approved.remark) == ("approved", "Bo", "fine", "")
    assert approved.rows.tolist() == [1, 2]


@pytest.mark.parametrize(
    ("before", "action", "told"),
    [
        ([], "return", "nobody proposed it"),
        (["propose"], "propose", "waits to be approved or returned"),
        (["propose", "return"], "approve", "was returned by Bo"),
        (["propose", "return"], "return", "was returned by Bo"),
        (["propose", "return"], "silent propose", "Answer that in a note"),
        (["propose"], "silent return", "Say in a note why"),
        (["approve"], "propose", "which froze it"),
        (["approve"], "return", "which froze it"),
        (["propose", "approve"], "approve", "was approved by Bo"),
        ([], "nameless propose", "Nothing was proposed"),
        (["propose"], "nameless approve", "Nothing was approved"),
    ],
)
def test_what_the_state_does_not_allow_changes_nothing(filled, before, action, told):
    filled.save_selection("best", spec={}, rows=[1], by="Ada")
    methods = {"propose": filled.propose_selection, "approve": filled.approve_selection}
    methods["return"] = filled.return_selection
    for step in before:
        methods[step]("best", by="Bo", note="a note")
    known = filled.selection("best").events
    *how, verb = action.split()
    with pytest.raises(EngineError, match=told):
        methods[verb]("best", by="" if how == ["nameless"] else "Cy", note="" if how == ["silent"] else "why")
    assert filled.selection("best").events == known


def test_who_approves_alone_is_said_and_rejected_rows_are_never_proposed(filled):
    filled.save_selection("own", spec={}, rows=[1], by="Ada")
    filled.propose_selection("own", by="Ada")
    assert filled.approve_selection("own", by="Ada").remark == "approved by the person who proposed it"
    filled.save_selection("quick", spec={}, rows=[1], by="Ada")
    assert filled.approve_selection("quick", by="Ada").remark.startswith("approved without a proposal")
    filled.save_selection("late", spec={}, rows=[1, 2], by="Ada")
    filled.propose_selection("late", by="Ada")
    filled.decide([2], "reject", by="Bo")
    with pytest.raises(EngineError, match=r"1 samples that were rejected.*nothing was approved"):
        filled.approve_selection("late", by="Bo")
    assert filled.return_selection("late", by="Bo", note="row 2 is rejected").state == "returned"
    with pytest.raises(EngineError, match="nothing was proposed"):
        filled.propose_selection("late", by="Ada", note="again")
    assert filled.selection("late").state == "returned"


def test_reasons_stand_beside_their_rows_and_old_rows_have_none(filled):
    filled.save_selection("why", spec={}, rows=[8, 1, 4], by="Ada", reasons=["last", "first", "middle"])
    assert filled.selection("why").reasons.tolist() == ["first", "middle", "last"]
    filled.save_selection("bare", spec={}, rows=[1], by="Ada")
    assert filled.selection("bare").reasons is None
    with pytest.raises(EngineError, match=r"got 1 for 2 samples. Nothing was saved"):
        filled.save_selection("short", spec={}, rows=[1, 2], by="Ada", reasons=["one"])


def test_the_list_is_light_and_rows_are_read_when_asked_for(filled, monkeypatch):
    filled.save_selection("s", spec={}, rows=[4, 2], weights=[0.5, 1.0], by="Ada", reasons=["four", "two"])
    filled.save_selection("s", spec={}, rows=[1, 2, 3], by="Ada")
    asked = []
    read = selection_rows.read

    def reading(con, number, **more):
        asked.append(number)
        return read(con, number, **more)

    monkeypatch.setattr(selection_rows, "read", reading)
    first, second = filled.selections()
    assert (first.size, second.size) == (2, 3)
    assert asked == []
    assert first.rows.tolist() == [2, 4]
    assert (first.weights.tolist(), first.reasons.tolist()) == ([1.0, 0.5], ["two", "four"])
    assert asked == [1]
    assert filled.selection("s").rows.tolist() == [1, 2, 3]
    assert asked == [1, 2], "the rows of other versions were read too"
