"""Decisions: an append-only log whose replay is the state, with or without its snapshot."""

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.errors import EngineError
from engine.store import decisions
from engine.store.decisions import DECISIONS
from engine.store.project import Project

acts = st.lists(
    st.one_of(
        st.tuples(
            st.just("decide"),
            st.lists(st.integers(0, 9), min_size=1, max_size=4),
            st.sampled_from(["approve", "reject", "skip", "clear"]),
            st.sampled_from(["Ada", "Bo"]),
        ),
        st.tuples(st.just("undo"), st.sampled_from(["Ada", "Bo"])),
        st.tuples(st.just("undo batch"), st.integers(1, 12)),
    ),
    max_size=12,
)


class Model:
    """The slow oracle: acts with a flag whether they stand; the state is the replay of those that stand."""

    def __init__(self) -> None:
        self.acts: list[dict] = []

    def state(self) -> list[int]:
        codes = [0] * 10
        for act in self.acts:
            if act["kind"] == "decide" and self.stands(act):
                for row in act["rows"]:
                    codes[row] = act["code"]
        return codes

    def stands(self, act: dict) -> bool:
        undoing = [a for a in self.acts if a.get("undoes") is act]
        return not any(self.stands(a) for a in undoing)

    def undo(self, act: dict) -> int:
        before = self.state()
        self.acts.append({"kind": "undo", "undoes": act})
        return sum(a != b for a, b in zip(before, self.state(), strict=True))


@pytest.fixture(scope="module")
def ten_rows(tmp_path_factory) -> Project:
    project = Project.create(tmp_path_factory.mktemp("history") / "p")
    _pretend(project, 10)
    return project


def _pretend(project: Project, n: int) -> None:
    """A pool of n rows without texts: decisions look at nothing else."""
    with project.changing() as con:
        con.execute("INSERT INTO sets VALUES (1, 'pool', '')")
        con.execute(f"INSERT INTO files VALUES (1, 1, 'f', 'f', 's', 1, 'jsonl', '{{}}', 't', 0, {n}, 0, 0, '')")


@settings(max_examples=25, deadline=None)
@given(acts=acts, snapshot_after=st.sampled_from([0, 3, 10_000]))
def test_any_history_equals_its_model(ten_rows, acts, snapshot_after):
    model = Model()
    with pytest.MonkeyPatch.context() as patch, ten_rows.session() as con:
        con.execute("DELETE FROM decision_batches")  # a fresh history per example, in one project
        con.execute("DELETE FROM decision_snapshot")
        patch.setattr(decisions, "SNAPSHOT_AFTER", snapshot_after)
        known = None
        for act in acts:
            before = con.execute("SELECT * FROM decision_batches ORDER BY batch").fetchall()
            _perform(con, model, act)
            after = con.execute("SELECT * FROM decision_batches ORDER BY batch").fetchall()
            assert after[: len(before)] == before
            assert decisions.current(con).tolist() == model.state()
            assert decisions.replay(con).tolist() == model.state()
            known = decisions.state_after(con, known)  # each from the one before
            assert known.codes.tolist() == model.state()


def test_a_known_state_grows_with_the_pool_and_is_not_trusted_in_another_history(filled, make_row, make_info):
    filled.decide([1, 2], "approve", by="Ada")
    known = filled.decision_state()
    assert filled.decision_state(known) is known
    filled.add_rows("pool", "", make_info("bb", path="/data/more.jsonl"), [make_row(1, "new", own_id="t")])
    filled.decide([10], "reject", by="Ada")
    assert filled.decision_state(known).codes.tolist() == [0, 1, 1, *[0] * 7, 2]
    assert known.codes.tolist() == [0, 1, 1, *[0] * 7], "the state given was changed"
    with filled.changing() as con:
        con.execute("DELETE FROM decision_batches")
        con.execute("INSERT INTO decision_batches VALUES (1, 'then', 'Bo', 'decide', NULL, '', 1, [5], [3], [0], NULL)")
    assert filled.decision_state(known).codes.tolist() == [*[0] * 5, 3, *[0] * 5]


def _perform(con, model: Model, act: tuple) -> None:
    if act[0] == "decide":
        number = decisions.decide(con, act[1], act[2], by=act[3], note="")
        model.acts.append({"kind": "decide", "rows": act[1], "code": {**DECISIONS, "clear": 0}[act[2]], "by": act[3]})
        assert number == len(model.acts)
    elif act[0] == "undo":
        own = [a for a in model.acts if a["kind"] == "decide" and a["by"] == act[1] and model.stands(a)]
        expected = model.undo(own[-1]) if own else 0
        assert decisions.undo(con, by=act[1], batch=None) == expected
    elif act[1] > len(model.acts) or not model.stands(model.acts[act[1] - 1]):
        with pytest.raises(EngineError, match="Nothing was recorded"):
            decisions.undo(con, by="Cy", batch=act[1])
    else:
        assert decisions.undo(con, by="Cy", batch=act[1]) == model.undo(model.acts[act[1] - 1])


def test_the_log_tells_who_what_before_and_why(filled):
    filled.decide([2, 3], "approve", by="Ada", note="clear answers")
    filled.decide([3], "reject", by="Bo", note="wrong")
    filled.undo(by="Bo")
    newest, middle, oldest = filled.decision_log(rows=[3])
    assert (newest.kind, newest.undoes, newest.decision, newest.previous) == ("undo", 2, "approve", "reject")
    assert (middle.by, middle.note, middle.previous, middle.decision) == ("Bo", "wrong", "approve", "reject")
    assert (oldest.batch, oldest.by, oldest.previous, oldest.at[-6:]) == (1, "Ada", "none", "+00:00")
    assert [e.row for e in filled.decision_log(limit=3)] == [3, 3, 2]
    assert filled.counts().decisions == {"none": 8, "approve": 2, "reject": 0, "skip": 0}


def test_decisions_outlive_new_pool_rows(filled, make_row, make_info):
    filled.decide([9], "reject", by="Ada")
    filled.add_rows("pool", "", make_info("more"), [make_row(1, "new")])
    assert filled.decisions().tolist() == [0] * 9 + [2, 0]


@pytest.mark.parametrize(
    ("rows", "decision", "by"),
    [([10], "approve", "Ada"), ([-1], "approve", "Ada"), ([], "approve", "Ada"), ([1], "maybe", "Ada"),
     ([1], "none", "Ada"), ([1], "approve", " "), ([1.5], "approve", "Ada")],
)  # fmt: skip
def test_impossible_decisions_record_nothing(filled, rows, decision, by):
    before = filled.stamp()
    with pytest.raises(EngineError, match="Nothing was recorded"):
        filled.decide(rows, decision, by=by)
    assert filled.decision_log() == []
    assert filled.stamp() == before


def test_undo_leaves_other_peoples_work(filled):
    filled.decide([1], "approve", by="Ada")
    filled.decide([2], "reject", by="Bo")
    assert filled.undo(by="Ada") == 1
    assert filled.undo(by="Ada") == 0
    assert filled.decisions().tolist()[:3] == [0, 0, 2]


def test_a_million_rows_are_decided_and_read_quickly(project):
    n = 1_000_000
    _pretend(project, n)
    project.decide(np.arange(0, n, 2), "approve", by="Ada")
    project.decide(np.arange(0, n, 3), "reject", by="Ada")
    project.decide([5], "skip", by="Ada")
    started = time.process_time()
    codes = project.decisions()
    took = time.process_time() - started
    expected = np.zeros(n, np.int8)
    expected[::2], expected[::3], expected[5] = 1, 2, 3
    assert (codes == expected).all()
    assert took < 0.3
