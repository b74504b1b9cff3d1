"""Two copies of a project: what one decided and the other did not, what both did, and that merging settles it."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from engine.__main__ import main
from engine.errors import EngineError
from engine.store import decisions
from engine.store.decision_files import export_decisions, read_decisions
from engine.store.merging import merge
from engine.store.project import Project


@pytest.fixture
def copies(filled: Project, tmp_path: Path) -> tuple[Project, Project]:
    """Two copies that share one decision on row 0."""
    filled.decide([0], "approve", by="Ada", note="shared")
    shutil.copytree(filled.path, tmp_path / "other")
    return filled, Project.open(tmp_path / "other")


def take(into: Project, of: Project, tmp_path: Path, **settings):
    export_decisions(of, tmp_path / "log.jsonl", force=True)
    return merge(into, read_decisions(tmp_path / "log.jsonl"), by="Merger", **settings)


def state(project: Project) -> list[str]:
    names = tuple(decisions.DECISIONS)
    return [names[code] for code in project.decisions()]


def log(project: Project):
    return [(e.row, e.decision, e.by, e.at, e.note, e.kind) for e in project.decision_log(limit=10_000)]


def test_what_one_side_decided_is_taken_and_a_conflict_waits_for_a_choice(copies, tmp_path):
    mine, theirs = copies
    theirs.decide([1, 2], "approve", by="Bo", note="good")
    theirs.decide([0], "reject", by="Bo")  # knowing the shared decision: no conflict
    mine.decide([2], "reject", by="Ada", note="bad")
    mine.decide([3], "skip", by="Ada")
    before = log(mine)
    found = take(mine, theirs, tmp_path)
    assert (found.applied, found.conflicted, found.new, found.known, found.taken) == (False, 1, 2, 1, 2)
    (conflict,) = found.conflicts
    assert (conflict.row, conflict.id) == (2, "s2")
    assert (conflict.mine.decision, conflict.mine.by, conflict.mine.note) == ("reject", "Ada", "bad")
    assert (conflict.theirs.decision, conflict.theirs.by, conflict.theirs.note) == ("approve", "Bo", "good")
    assert conflict.theirs.at < conflict.mine.at
    assert take(mine, theirs, tmp_path, prefer="theirs", dry_run=True).applied is False
    assert log(mine) == before
    assert take(mine, theirs, tmp_path, prefer="latest").applied
    assert state(mine)[:4] == ["reject", "approve", "reject", "skip"]
    assert (1, "approve", "Bo", conflict.theirs.at, "good", "decide") in log(mine)
    with mine.session() as con:
        assert np.array_equal(decisions.replay(con), mine.decisions())


@pytest.mark.parametrize(("prefer", "outcome"), [("mine", "reject"), ("theirs", "approve"), ("latest", "reject")])
def test_a_choice_settles_it_once_and_for_both(copies, tmp_path, prefer, outcome):
    mine, theirs = copies
    theirs.decide([2], "approve", by="Bo")
    mine.decide([2], "reject", by="Ada")
    assert take(mine, theirs, tmp_path, prefer=prefer).applied
    assert state(mine)[2] == outcome
    settled = log(mine)
    again = take(mine, theirs, tmp_path)
    assert (again.applied, again.new, again.conflicted, again.taken) == (True, 0, 0, 0)
    assert log(mine) == settled
    back = take(theirs, mine, tmp_path)  # the other side learns of it without being asked again
    assert (back.applied, back.conflicted) == (True, 0)
    assert state(theirs) == state(mine)


def test_rows_are_known_by_content_and_id_whatever_their_number(project, tmp_path, make_row, make_info):
    other = Project.create(tmp_path / "other")
    first = [make_row(1, "same", own_id="x"), make_row(2, "same", own_id="x"), make_row(3, "only here", own_id="o")]
    second = [make_row(1, "same"), make_row(2, "b", own_id="b")]
    for place, order in ((project, (first, second)), (other, (second, first[:2]))):
        for at, rows in enumerate(order):
            place.add_rows("pool", "", make_info(f"{at}{len(rows)}", path=f"/data/{at}.jsonl"), rows)
    project.decide([1], "approve", by="Ada")  # the second of two equal rows
    project.decide([2], "reject", by="Ada")  # not there
    project.decide([3], "skip", by="Ada")  # the same text without an id
    project.decide([4], "reject", by="Ada")
    found = take(other, project, tmp_path)
    assert state(other) == ["skip", "reject", "none", "approve"]
    assert (found.unknown, found.unknown_ids) == (1, ("o",))


def test_undoing_and_tags_travel_and_the_later_tag_counts(copies, tmp_path):
    mine, theirs = copies
    theirs.undo(by="Ada")
    theirs.tag([1], "odd", by="Bo")
    mine.tag([1, 2], "odd", by="Ada")
    mine.untag([1], "odd", by="Ada")
    theirs.tag([3], "good", by="Bo")
    assert take(mine, theirs, tmp_path).tags == 2
    assert state(mine)[0] == "none"
    take(theirs, mine, tmp_path)
    for place in copies:
        assert {name: rows.tolist() for name, rows in place.tags().items()} == {"good": [3], "odd": [2]}
    mine.undo(by="Merger", batch=2)  # the undo that came from there can itself be taken back
    assert state(mine)[0] == "approve"


@pytest.mark.parametrize("seed", range(3))
def test_any_two_histories_meet(copies, tmp_path, seed):
    """Random acts and exchanges: after both have merged, both hold the same, and no decision of the log is lost."""
    draw = np.random.default_rng(seed)
    for step in range(30):
        side = int(draw.integers(2))
        place, rows = copies[side], draw.choice(10, int(draw.integers(1, 4)), replace=False)
        if step % 9 == 8:
            take(place, copies[1 - side], tmp_path, prefer=str(draw.choice(["mine", "theirs", "latest"])))
        elif step % 5 == 4:
            place.undo(by=f"p{side}")
        else:
            place.decide(rows, str(draw.choice(["approve", "reject", "skip", "clear"])), by=f"p{side}")
    take(copies[0], copies[1], tmp_path, prefer="latest")
    last = take(copies[1], copies[0], tmp_path)
    assert (last.applied, last.conflicted) == (True, 0)
    assert state(copies[0]) == state(copies[1])
    assert take(copies[0], copies[1], tmp_path).taken == 0
    assert sorted(log(copies[0])) == sorted(log(copies[1]))
    with copies[0].session() as con:
        assert np.array_equal(decisions.replay(con), decisions.current(con))


def test_a_file_that_is_none_changes_nothing(copies, tmp_path):
    mine, theirs = copies
    theirs.decide([1], "approve", by="Bo")
    path = tmp_path / "log.jsonl"
    export_decisions(theirs, path)
    with pytest.raises(EngineError, match="exists already"):
        export_decisions(theirs, path)
    lines = path.read_text().splitlines()
    wrong = []
    for name, value in (("decisions", [9]), ("decisions", [1.5]), ("decisions", [2**70]), ("rows", [[0]]), ("by", None),
                        ("note", "\ud800"), ("made", "9999"), ("made", "2026-01-01T00:00:00")):  # fmt: skip
        parts = [json.loads(line) for line in lines]
        parts[-1]["batch"][name] = value
        wrong.append("\n".join(map(json.dumps, parts)))
    no_object, no_version = (
        "\n".join([*lines[:-1], "null"]),
        lines[0].replace('"format_version":1', '"format_version":null'),
    )
    for text in ("", "{}\n", "no json", "[" * 100_000, "\n".join(lines[:-1]), no_object, no_version, *wrong):
        path.write_text(text)
        with pytest.raises(EngineError, match="Nothing was changed"):
            read_decisions(path)
    path.write_text(lines[0].replace('"format_version":1', '"format_version":2'))
    with pytest.raises(EngineError, match="newer"):
        read_decisions(path)
    assert state(mine).count("approve") == 1


def test_the_shell_lists_conflicts_and_waits(copies, tmp_path, capsys):
    mine, theirs = copies
    theirs.decide([2], "approve", by="Bo")
    mine.decide([2], "reject", by="Ada", note="bad")
    path = str(tmp_path / "log.jsonl")
    assert main(["export-decisions", str(theirs.path), path]) == 0
    assert main(["import-decisions", str(mine.path), path]) == 1
    out, err = capsys.readouterr()
    assert "s2" in out and "reject" in out and "Bo" in out and "Give --prefer" in err
    assert main(["import-decisions", str(mine.path), path, "--prefer", "theirs", "--dry-run"]) == 0
    assert state(mine)[2] == "reject"
    assert main(["import-decisions", str(mine.path), path, "--prefer", "theirs"]) == 0
    assert state(mine)[2] == "approve"
    assert main(["import-decisions", str(mine.path), path, "--prefer", "nobody"]) == 2
