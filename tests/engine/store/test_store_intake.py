"""Adding files: all or nothing, byte for byte, duplicates and clashing ids marked, nothing added twice."""

import errno
import json
import resource
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.data.samples import BadRow, Message, Row, SourceInfo
from engine.errors import Cancelled, EngineError
from engine.progress import Silent
from engine.store.doctor import doctor
from engine.store.project import Project

ROOT = Path(__file__).parents[3]
text = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | text
messages = st.lists(st.builds(Message, st.sampled_from(["user", "assistant", "system", "tool"]), text), min_size=1)
rows = st.lists(
    st.builds(
        Row,
        st.integers(1, 2**40),
        text,
        st.none() | st.sampled_from(["a", "b", "\x00", "é"]) | text,
        messages.map(tuple),
        st.dictionaries(text, scalars, max_size=3),
    ),
    min_size=1,
    max_size=12,
)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(given_rows=rows)
def test_rows_come_back_exactly_as_they_were(tmp_path_factory, given_rows):
    project = Project.create(tmp_path_factory.mktemp("p") / "p")
    with project.session():  # one opening for all calls below
        _check_round_trip(project, given_rows)


def _check_round_trip(project: Project, given_rows: list[Row]) -> None:
    project.add_rows("pool", "", SourceInfo("x", "s", 1, "jsonl", {}), given_rows)
    found = project.rows(range(len(given_rows)))
    own = [r.own_id or None for r in given_rows]
    first: dict[tuple, int] = {}
    for at, (was, now) in enumerate(zip(given_rows, found, strict=True)):
        assert (now.row, now.line, now.raw, now.messages, now.fields) == (
            at, was.line, was.raw, was.messages, was.fields,
        )  # fmt: skip
        assert now.own_id == own[at]
        assert now.id == (own[at] if own[at] and own.count(own[at]) == 1 else now.engine_id)
        seen = first.setdefault(tuple((m.role, m.content) for m in was.messages), at)
        assert now.duplicate_of == (seen if seen < at else -1)
        assert now.chars == sum(len(m.content) for m in was.messages)
        assert project.row_of(now.id) == at
        assert project.row_of(now.engine_id) == at
    assert project.column("id").tolist() == [r.id for r in found]
    assert project.column("duplicate_of").tolist() == [r.duplicate_of for r in found]
    assert project.column("id_clash").tolist() == [r.id_clash for r in found]
    assert project.raw(project.column("row")) == [r.raw.encode() for r in given_rows]
    assert len(set(project.column("id").tolist())) == len(found)


def test_marks_reach_across_files_and_earlier_rows_keep_theirs(project, make_row, make_info):
    project.add_rows("pool", "", make_info("1"), [make_row(1, "one", own_id="x"), make_row(2, "two", own_id="y")])
    ids = project.column("id").tolist()
    assert ids == ["x", "y"]
    report = project.add_rows(
        "pool", "", make_info("2"), [make_row(1, "two", own_id="x"), make_row(2, "new", own_id="z")]
    )
    assert (report.rows, report.duplicates) == (2, 1)
    assert project.column("duplicate_of").tolist() == [-1, -1, 1, -1]
    first, second, third, fourth = project.rows([0, 1, 2, 3])
    assert (second.id, fourth.id) == ("y", "z")
    assert first.id == first.engine_id
    assert third.id == third.engine_id
    assert first.id_clash
    assert third.id_clash
    with pytest.raises(EngineError, match="borne by several samples"):
        project.row_of("x")


def test_an_own_id_posing_as_another_rows_engine_id_gives_way(project, make_row, make_info):
    project.add_rows("pool", "", make_info("1"), [make_row(1, "one")])
    posing = project.rows([0])[0].engine_id
    project.add_rows("pool", "", make_info("2"), [make_row(1, "two", own_id=posing)])
    genuine, impostor = project.rows([0, 1])
    assert genuine.id == posing
    assert impostor.id == impostor.engine_id != posing


def test_target_sets_number_their_own_rows_and_know_no_pool_duplicates(filled, make_row, make_info):
    report = filled.add_rows("target", "maths", make_info("t"), [make_row(1), make_row(2), BadRow(3, "broken", "")])
    assert (report.rows, report.bad, report.duplicates) == (2, 1, 0)
    assert [t.__dict__ for t in filled.targets()] == [{"name": "maths", "rows": 2, "bad": 1}]
    assert [r.row for r in filled.rows([1, 0], role="target", set_name="maths")] == [1, 0]
    assert filled.counts().targets == {"maths": 2}
    assert filled.counts().pool == 10


def test_owned_data_is_one_set_that_grows_file_by_file(filled, make_row, make_info):
    before = filled.counts()
    filled.add_rows("owned", "", make_info("o"), [make_row(1), make_row(2), BadRow(3, "broken", "")])
    first = filled.set_hash("owned", "")
    report = filled.add_rows("owned", "", make_info("p"), [make_row(1), make_row(9)])
    assert (report.rows, report.duplicates) == (2, 1)
    assert filled.counts().owned == 4
    assert filled.set_hash("owned", "") != first
    assert [r.row for r in filled.rows([3, 0], role="owned")] == [3, 0]
    assert len(filled.bad_rows()) == 1
    with pytest.raises(EngineError, match="the owned data has 4 usable samples"):
        filled.rows([4], role="owned")
    after = filled.counts()
    assert (before.owned, after.pool, after.bad, after.duplicates) == (0, before.pool, before.bad, before.duplicates)
    assert (after.targets, filled.pool_hash(), filled.columns()) == ({}, filled.set_hash("pool", ""), filled.columns())


def test_the_same_content_again_changes_nothing(filled, make_row, make_info):
    before, counts = filled.stamp(), filled.counts()

    def unread():
        raise AssertionError("the rows were read")
        yield

    report = filled.add_rows("pool", "", make_info(path="/elsewhere/copy.jsonl"), unread())
    assert report.already
    assert report.rows == 10
    assert (filled.stamp(), filled.counts()) == (before, counts)


def test_the_same_content_under_another_mapping_is_refused(filled, make_info):
    with pytest.raises(EngineError, match="added before with the mapping"):
        filled.add_rows("pool", "", make_info(mapping={"schema": "alpaca", "fields": {}}), [])


def test_a_target_name_stands_for_one_content(filled, make_row, make_info):
    filled.add_rows("target", "maths", make_info("t"), [make_row(1)])
    assert filled.add_rows("target", "maths", make_info("t"), []).already
    with pytest.raises(EngineError, match="exists with other content"):
        filled.add_rows("target", "maths", make_info("other"), [make_row(1), make_row(2)])
    assert filled.counts().targets == {"maths": 1}


@pytest.mark.parametrize(
    ("role", "name"),
    [
        ("pool", "named"),
        ("target", ""),
        ("target", "a,b"),
        ("target", " a"),
        ("target", "a\nb"),
        ("teacher", "x"),
        ("owned", "named"),
    ],
)
def test_bad_set_names_are_refused(project, make_row, make_info, role, name):
    with pytest.raises(EngineError, match="Nothing was added"):
        project.add_rows(role, name, make_info(), [make_row(1)])
    assert project.files() == []


def test_no_usable_row_says_why_and_keeps_nothing(project, make_info):
    bad = [BadRow(1, "broken JSON: at 3", "{"), BadRow(2, "broken JSON: at 9", "{"), BadRow(3, "no response", "")]
    with pytest.raises(EngineError, match=r"all 3 were set aside: broken JSON \(2\), no response \(1\)"):
        project.add_rows("pool", "", make_info(), bad)
    with pytest.raises(EngineError, match="has no rows"):
        project.add_rows("pool", "", make_info(), [])
    assert (project.files(), project.bad_rows(), doctor(project)) == ([], [], [])
    assert list(project.artifacts.iterdir()) == []


def test_bad_rows_are_counted_by_reason_and_paged(project, make_row, make_info):
    bad = [BadRow(i, "no response: null" if i % 2 else "broken JSON", "e" * 900) for i in range(2, 12)]
    report = project.add_rows("pool", "", make_info(), [make_row(1), *bad])
    assert report.reasons == {"no response": 5, "broken JSON": 5}
    assert project.add_rows("pool", "", make_info(), []).reasons == report.reasons
    found = project.bad_rows(limit=3, offset=2)
    assert [b.line for b in found] == [4, 5, 6]
    assert len(found[0].excerpt) == 500
    assert project.bad_rows(file_id=99) == []
    assert project.counts().bad == 10


class _Cancelling(Silent):
    def check(self) -> None:
        raise Cancelled("stopped")


def test_a_failing_source_or_a_cancellation_leaves_nothing(filled, make_row, make_info):
    def broken():
        yield make_row(1, "new")
        raise EngineError("the file ended in the middle")

    with pytest.raises(EngineError, match="in the middle"):
        filled.add_rows("pool", "", make_info("new"), broken())
    with pytest.raises(Cancelled):
        filled.add_rows("pool", "", make_info("new"), [make_row(1, "new")], reporter=_Cancelling())
    assert filled.counts().pool == 10
    assert len(list(filled.artifacts.iterdir())) == 1
    assert doctor(filled) == []


def test_a_failing_import_leaves_nothing(filled, make_row, make_info, monkeypatch):
    from engine.store import adding

    def fail(*_args):
        raise OSError(errno.EIO, "the disk broke")

    monkeypatch.setattr(adding, "_mark_clashes", fail)
    with pytest.raises(OSError, match="the disk broke"):
        filled.add_rows("pool", "", make_info("new"), [make_row(1, "new")])
    assert filled.counts().pool == 10
    assert len(list(filled.artifacts.iterdir())) == 1


def test_batches_do_not_change_what_is_stored(project, make_row, make_info, tmp_path, monkeypatch):
    from engine.store import staging

    given_rows = [make_row(i, f"q {i % 7}", own_id=str(i % 5), n=i) for i in range(1, 40)]
    project.add_rows("pool", "", make_info(), given_rows)
    monkeypatch.setattr(staging, "BATCH_ROWS", 3)
    other = Project.create(tmp_path / "other")
    other.add_rows("pool", "", make_info(), iter(given_rows))
    everything = range(len(given_rows))
    assert other.rows(everything) == project.rows(everything)
    assert other.pool_hash() == project.pool_hash()


def test_the_pool_hash_follows_content_mapping_and_order(project, make_row, make_info, tmp_path):
    hashes = []
    for number, order in enumerate((["1"], ["1", "2"], ["2", "1"])):
        made = Project.create(tmp_path / str(number))
        for sha in order:
            made.add_rows("pool", "", make_info(sha), [make_row(1, sha)])
        hashes.append(made.pool_hash())
    assert len({project.pool_hash(), *hashes}) == 4


LIMITED = """
import resource, sys
sys.path.insert(0, sys.argv[1])
from engine.data.samples import Message, Row, SourceInfo
from engine.errors import EngineError
from engine.store.project import Project
project = Project.open(sys.argv[2])
resource.setrlimit(resource.RLIMIT_FSIZE, (6_000_000, 6_000_000))
rows = (Row(i, "x" * 900, None, (Message("user", str(i)), Message("assistant", "y")), {}) for i in range(20_000))
try:
    project.add_rows("pool", "", SourceInfo("big", "big", 1, "jsonl", {}), rows)
except EngineError as error:
    print("told:", error)
"""


def test_a_full_disk_is_told_and_leaves_nothing(filled):
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY
    found = subprocess.run(
        [sys.executable, "-c", LIMITED, str(ROOT), str(filled.path)], capture_output=True, text=True, check=False
    )
    assert found.stdout.startswith("told: Could not write"), found.stderr
    assert filled.counts().pool == 10
    assert len(list(filled.artifacts.iterdir())) == 1
    assert doctor(filled) == []


def test_fields_keep_their_types_as_columns(project, make_row, make_info):
    values = [
        {"n": 1, "f": 0.5, "b": True, "s": "x", "gap": 1, "mixed": 1, "file": "mine", 'odd/na"me': 1, "huge": 2**70},
        {"n": -2, "f": 3, "b": False, "s": "", "gap": None, "mixed": "1", "file": "yours", 'odd/na"me': 2, "huge": 1},
    ]
    project.add_rows("pool", "", make_info(), [make_row(i, **v) for i, v in enumerate(values)])
    project.add_rows("pool", "", make_info("2"), [make_row(1, **{**values[0], "late": "x"})])
    assert project.columns() == ["n", "f", "b", "s", "gap", "mixed", "field:file", 'odd/na"me', "huge", "late"]
    assert project.column("n").tolist() == [1, -2, 1]
    assert project.column("n").dtype == "int64"
    assert project.column("f").tolist() == [0.5, 3.0, 0.5]
    assert project.column("b").dtype == bool
    assert project.column("s").tolist() == ["x", "", "x"]
    assert json.dumps(project.column("gap").tolist()) == "[1.0, NaN, 1.0]"
    assert project.column("mixed").tolist() == [1, "1", 1]
    assert project.column("field:file").tolist() == ["mine", "yours", "mine"]
    assert project.column("file").tolist() == ["pool.jsonl"] * 3
    assert project.column('odd/na"me').tolist() == [1, 2, 1]
    assert project.column("huge").tolist() == [float(2**70), 1.0, float(2**70)]
    assert project.column("late").tolist() == [None, None, "x"]
    with pytest.raises(EngineError, match="No column 'absent'"):
        project.column("absent")


def test_rows_are_given_in_the_order_asked_and_in_chunks(filled):
    assert [r.row for r in filled.rows([7, 0, 7])] == [7, 0, 7]
    assert filled.rows([]) == []
    chunks = list(filled.iterate(chunk=4, start=1))
    assert [[r.row for r in chunk] for chunk in chunks] == [[1, 2, 3, 4], [5, 6, 7, 8], [9]]
    assert [r for chunk in chunks for r in chunk] == filled.rows(range(1, 10))
    for wrong in ([10], [-1]):
        with pytest.raises(EngineError, match="does not exist"):
            filled.rows(wrong)
    with pytest.raises(EngineError, match="No sample has the id"):
        filled.row_of("nobody")


def test_the_catalogue_is_free_between_chunks(filled):
    chunks = filled.iterate(chunk=5)
    next(chunks)
    filled.decide([0], "approve", by="Ada")
    assert [r.row for r in next(chunks)] == [5, 6, 7, 8, 9]
