"""Random audits travel with decisions: the same audit, the same estimate, whatever the order of the files."""

import json
from contextlib import ExitStack

import numpy as np
import pytest

from engine.curation import audit
from engine.curation.facts import Facts
from engine.errors import EngineError
from engine.store import audits
from engine.store.decision_files import export_decisions
from engine.store.decision_reading import read_decisions
from engine.store.merging import merge
from engine.store.project import Project


@pytest.fixture
def copies(tmp_path, make_row, make_info):
    """Two projects of the same two files in another order; "twice" is in both files and cannot be told apart."""
    files = [
        ("aa", [make_row(i, f"a{i}", own_id=f"a{i}") for i in range(1, 13)] + [make_row(13, "twice")]),
        ("bb", [make_row(1, "twice")] + [make_row(i, f"b{i}") for i in range(2, 14)]),
    ]
    with ExitStack() as opened:
        places = [Project.create(tmp_path / name) for name in ("mine", "theirs")]
        for place, order in zip(places, (files, files[::-1]), strict=True):
            opened.enter_context(place.session())
            for sha256, rows in order:
                place.add_rows("pool", "", make_info(sha256, path=f"/data/{sha256}.jsonl"), rows)
        yield places


def take(into, of, tmp_path, **settings):
    export_decisions(of, tmp_path / "log.jsonl", force=True)
    return merge(into, read_decisions(tmp_path / "log.jsonl"), by="Merger", **settings)


def names(project, rows):
    """What the rows are, whatever their numbers."""
    with project.session() as con:
        found = con.execute("SELECT row, hash FROM samples JOIN sets USING (set_id) WHERE role = 'pool'").fetchall()
    known = dict(found)
    return [known[int(row)] for row in rows]


def test_a_merged_copy_shows_the_same_audit_and_its_estimate_and_goes_on_with_it(copies, tmp_path):
    mine, theirs = copies
    theirs.decide([0, 15], "approve", by="Bo")  # row 0 there is "twice" of the file bb, 25 that of aa
    begun = audit.begin(theirs, Facts(theirs), by="Bo", seed=3)
    for row in begun.rows[:5].tolist():
        theirs.decide([row], "reject" if row % 3 else "approve", by="Bo")
        audit.answered(theirs, begun, row, by="Bo")
    assert take(mine, theirs, tmp_path).audits.new == 1
    kept, reached = audit.latest(mine)
    assert (reached, kept.by, kept.seed, kept.made, kept.population) == (5, "Bo", 3, begun.made, 24)
    assert names(mine, kept.rows) == names(theirs, begun.rows)
    assert sorted(names(mine, np.flatnonzero(kept.members))) == sorted(names(theirs, np.flatnonzero(begun.members)))
    assert kept.members[kept.rows].all()
    assert audit.estimate(mine) == audit.estimate(theirs)
    again = take(mine, theirs, tmp_path)
    assert (again.brings, again.audits.new, again.audits.further) == (False, 0, 0)
    for row in kept.rows[5:7].tolist():
        mine.decide([row], "approve", by="Ada")
        audit.answered(mine, kept, row, by="Ada")
    assert take(theirs, mine, tmp_path).audits.further == 1
    assert audit.latest(theirs)[1] == 7
    assert audit.estimate(mine) == audit.estimate(theirs)


def test_a_copy_that_has_further_files_says_that_the_audit_does_not_speak_of_them(
    copies, tmp_path, make_row, make_info
):
    mine, theirs = copies
    mine.add_rows("pool", "", make_info("cc", path="/data/cc.jsonl"), [make_row(i, f"c{i}") for i in range(1, 6)])
    audit.begin(theirs, Facts(theirs), by="Bo")
    assert take(mine, theirs, tmp_path).audits.new == 1
    assert (audit.estimate(theirs).beyond, audit.estimate(mine).beyond) == (0, 5)
    mine.decide([28, 29], "reject", by="Ada")
    audit.begin(mine, Facts(mine), by="Ada")  # of all: its files are not in the other copy, which is told
    (why,) = take(theirs, mine, tmp_path).audits.left_out
    assert "3 of 29 samples it is about are of files that are not in this pool" in why
    assert audit.latest(theirs)[0].by == "Bo"


def test_both_copies_agree_on_the_latest_and_one_begun_later_is_later_whatever_the_clocks(
    copies, tmp_path, monkeypatch
):
    mine, theirs = copies
    with monkeypatch.context() as ahead:
        ahead.setattr(audits, "now", lambda: "2090-01-01T00:00:00.000+00:00")
        audit.begin(theirs, Facts(theirs), by="Bo")
    audit.begin(mine, Facts(mine), by="Ada")
    for one, two in ((mine, theirs), (theirs, mine)):
        take(one, two, tmp_path)
    assert [audit.latest(place)[0].by for place in copies] == ["Bo", "Bo"]
    audit.begin(mine, Facts(mine), by="Ada")
    assert audit.latest(mine)[0].by == "Ada"
    take(theirs, mine, tmp_path)
    assert audit.latest(theirs)[0].by == "Ada"
    with theirs.session() as con:
        assert audits.count(con) == 3


def test_an_audit_over_rows_that_are_not_here_is_told_and_comes_once_they_are(copies, tmp_path, make_row, make_info):
    mine, theirs = copies
    theirs.add_rows("pool", "", make_info("cc"), [make_row(1, "only there")])
    audit.begin(theirs, Facts(theirs), by="Bo")
    found = take(mine, theirs, tmp_path)
    assert "1 of 27 samples it is about are of files that are not in this pool" in found.audits.left_out[0]
    assert audit.latest(mine) is None
    mine.add_rows("pool", "", make_info("cc"), [make_row(1, "only there")])
    assert take(mine, theirs, tmp_path).audits.new == 1
    assert audit.latest(mine)[0].population == 27


def test_files_without_audits_stay_readable_for_older_versions_and_damaged_audits_change_nothing(copies, tmp_path):
    mine, theirs = copies
    path = tmp_path / "log.jsonl"
    theirs.decide([1], "approve", by="Bo")
    export_decisions(theirs, path)
    assert json.loads(path.read_text().splitlines()[0])["format_version"] == 1
    assert merge(mine, read_decisions(path), by="Merger").applied
    audit.begin(theirs, Facts(theirs), by="Bo")
    export_decisions(theirs, path, force=True)
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert (lines[0]["format_version"], lines[0]["audits"]) == (2, 1)
    file = lines[-1]["audit"]["files"][0]
    wrong = [{"rows": [0, 0]}, {"rows": [99]}, {"rows": []}, {"reached": 26}, {"population": 3}, {"seed": 2**70},
             {"by": " "}, {"made": "9999-12-31T23:59:59+00:00"}, {"files": []}, {"files": [file, file]},
             {"files": [file | {"usable": 10**12}]}, {"files": [file | {"members": "eJw="}]}]  # fmt: skip
    for change in wrong:
        damaged = [*lines[:-1], {"audit": lines[-1]["audit"] | change}]
        path.write_text("\n".join(map(json.dumps, damaged)))
        with pytest.raises(EngineError, match="Nothing was changed"):
            read_decisions(path)
    with mine.session() as con:
        assert audits.count(con) == 0
