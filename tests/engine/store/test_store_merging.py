"""Two copies of a project: what one decided and the other did not, what both did, and that merging settles it."""

import json
import shutil
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest

from engine.__main__ import main
from engine.errors import EngineError
from engine.store import decision_history, decisions, merged_tags, tags
from engine.store.decision_files import export_decisions
from engine.store.decision_reading import read_decisions
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
    (conflict,) = found.conflicts.listed(mine, slice(None))
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


@pytest.mark.parametrize("seed", range(2))
def test_any_three_histories_meet(copies, tmp_path, seed):
    """Random acts, choices and exchanges: once all have exchanged all hold the same, and no act of a log is lost."""
    shutil.copytree(copies[0].path, tmp_path / "third")
    places = [*copies, Project.open(tmp_path / "third")]
    draw = np.random.default_rng(seed)
    with ExitStack() as opened:  # once, which is quicker, and many acts are of one moment
        for place in places:
            opened.enter_context(place.session())
        _met(places, draw, tmp_path)


def _met(places, draw, tmp_path):
    for step in range(36):
        side, other = draw.choice(3, 2, replace=False).tolist()
        place, rows = places[side], draw.choice(10, int(draw.integers(1, 4)), replace=False)
        if step % 6 == 5:
            take(place, places[other], tmp_path, prefer=str(draw.choice(["mine", "theirs", "latest"])))
        elif step % 5 == 4:
            place.undo(by=f"p{side}")
        elif step % 7 == 6:
            (place.tag if draw.random() < 0.6 else place.untag)(rows, str(draw.choice(["x", "y"])), by="same")
        else:
            place.decide(rows, str(draw.choice(["approve", "reject", "skip", "clear"])), by="same")
    for one, two in ((0, 1), (0, 2), (1, 0), (2, 0)):
        last = take(places[one], places[two], tmp_path, prefer="latest")
    assert (last.applied, last.conflicted) == (True, 0)
    held = {name: rows.tolist() for name, rows in places[0].tags().items()}
    for place in places[1:]:
        assert state(place) == state(places[0])
        assert {name: rows.tolist() for name, rows in place.tags().items()} == held
        assert not set(log(places[0])) - set(log(place))
        assert not take(place, places[0], tmp_path).brings
    with places[0].session() as con:
        assert np.array_equal(decisions.replay(con), decisions.current(con))


def test_single_rows_are_settled_and_the_rest_waits_or_follows_a_rule(copies, tmp_path):
    mine, theirs = copies
    theirs.decide([2, 3, 4], "approve", by="Bo", note="good")
    mine.decide([2, 3, 4], "reject", by="Ada", note="bad")
    before = log(mine)
    waits = take(mine, theirs, tmp_path, settled={2: "theirs", 7: "mine"})
    assert (waits.applied, waits.unsettled, waits.conflicted) == (False, 2, 3)
    seen = waits.conflicts.state
    with pytest.raises(EngineError, match="settles nothing for sample 2"):
        take(mine, theirs, tmp_path, settled={2: "hers"})
    mine.decide([4], "skip", by="Ada")
    with pytest.raises(EngineError, match="decided meanwhile"):
        take(mine, theirs, tmp_path, settled={2: "theirs"}, prefer="mine", expected=seen)
    assert log(mine)[1:] == before
    done = take(mine, theirs, tmp_path, settled={2: "theirs"}, prefer="mine")
    assert (done.applied, done.taken, done.kept) == (True, 1, 2)
    assert state(mine)[2:5] == ["approve", "reject", "skip"]
    with mine.session() as con:  # what holds keeps its note, and says that it was chosen
        notes = decision_history.notes(con, np.array([2, 3, 4]))
    assert notes[0] == "good · Theirs, taken when the decisions of other were merged"
    assert notes[1:] == [
        "bad · Kept when the decisions of other were merged", "Kept when the decisions of other were merged"
    ]  # fmt: skip


def test_two_who_each_yield_to_the_other_are_asked_again(copies, tmp_path):
    mine, theirs = copies
    theirs.decide([2], "approve", by="Bo")
    mine.decide([2], "reject", by="Ada")
    export_decisions(theirs, tmp_path / "theirs.jsonl")
    export_decisions(mine, tmp_path / "mine.jsonl")
    for place, name in ((mine, "theirs"), (theirs, "mine")):
        merge(place, read_decisions(tmp_path / f"{name}.jsonl"), by="Merger", prefer="theirs")
    assert (state(mine)[2], state(theirs)[2]) == ("approve", "reject")
    assert take(mine, theirs, tmp_path).conflicted == 1  # and not at peace with different decisions
    assert take(mine, theirs, tmp_path, settled={2: "mine"}).applied
    assert take(theirs, mine, tmp_path).applied
    assert (state(mine)[2], state(theirs)[2]) == ("approve", "approve")


def test_who_answered_one_of_two_that_agree_is_in_conflict_with_the_other(copies, tmp_path):
    mine, theirs = copies
    mine.decide([2], "approve", by="Ada", note="checked")
    theirs.decide([2], "approve", by="Bo")
    for decision in ("approve", "clear"):  # taken back, so that a decision made elsewhere holds
        mine.decide([5], decision, by="Ada")
    theirs.decide([5], "reject", by="Bo")
    assert take(mine, theirs, tmp_path).conflicted == 0 and state(mine)[5] == "reject"
    theirs.decide([5], "skip", by="Bo")
    theirs.decide([2], "reject", by="Bo")  # which takes back his own, and knows nothing of hers
    for place, other in (copies, copies[::-1]):
        found = take(place, other, tmp_path)
        (conflict,) = found.conflicts.listed(place, slice(None))
        sides = (conflict.mine, conflict.theirs) if place is mine else (conflict.theirs, conflict.mine)
        assert [(s.by, s.decision, s.note) for s in sides] == [("Ada", "approve", "checked"), ("Bo", "reject", "")]
    assert take(mine, theirs, tmp_path, prefer="mine").applied and take(theirs, mine, tmp_path).applied
    assert [(state(place)[2], state(place)[5]) for place in copies] == [("approve", "skip")] * 2


def test_rows_added_later_get_what_was_decided_and_an_undo_takes_back_only_what_was_done_here(
    copies, tmp_path, make_row, make_info
):
    mine, theirs = copies
    for place in (theirs, mine):
        if place is mine:
            theirs.decide([1, 10], "approve", by="Ada")  # another person of the same name
            theirs.tag([1, 10], "odd", by="Ada")
            assert take(mine, theirs, tmp_path).unknown == 1
            assert not take(mine, theirs, tmp_path).brings
            mine.undo(by="Ada")
            assert state(mine)[:2] == ["none", "approve"]
        place.add_rows("pool", "", make_info("bb"), [make_row(1, "late", own_id="late")])
    found = take(mine, theirs, tmp_path)
    assert (found.new, found.tags, found.unknown) == (1, 1, 0)
    assert (state(mine)[10], mine.tags()["odd"].tolist()) == ("approve", [1, 10])
    assert not take(mine, theirs, tmp_path).brings


def test_a_clock_that_is_ahead_undoes_no_tag_that_knew_better_and_is_told(copies, tmp_path, monkeypatch):
    mine, theirs = copies
    with monkeypatch.context() as ahead:
        ahead.setattr(tags, "now", lambda: "2099-01-01T00:00:00.000+00:00")
        theirs.tag([1, 2], "odd", by="Bo")
    assert take(mine, theirs, tmp_path).ahead.startswith("2099")
    mine.untag([1], "odd", by="Ada")
    theirs.tag([3], "odd", by="Bo")
    for _ in range(2):
        take(mine, theirs, tmp_path)
        take(theirs, mine, tmp_path)
    assert [place.tags()["odd"].tolist() for place in copies] == [[2, 3], [2, 3]]


def test_a_merge_that_is_broken_off_changes_nothing(copies, tmp_path, monkeypatch):
    mine, theirs = copies
    theirs.decide([1], "approve", by="Bo")
    theirs.tag([1], "odd", by="Bo")
    before, stamp = log(mine), mine.stamp()
    assert take(mine, theirs, tmp_path, dry_run=True).brings
    assert mine.stamp() == stamp  # a trial does not even touch the file

    def killed(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as broken, pytest.raises(KeyboardInterrupt):
        broken.setattr(merged_tags, "take_in", killed)
        take(mine, theirs, tmp_path)
    assert (log(mine), mine.tags()) == (before, {})
    assert take(mine, theirs, tmp_path).applied


def test_a_file_that_is_none_changes_nothing(copies, tmp_path):
    mine, theirs = copies
    theirs.decide([1], "approve", by="Bo")
    path = tmp_path / "log.jsonl"
    export_decisions(theirs, path)
    with pytest.raises(EngineError, match="exists already"):
        export_decisions(theirs, path)
    lines = path.read_text().splitlines()
    wrong = []
    for name, value in (
        ("decisions", [9]), ("decisions", [257]), ("decisions", [1.5]), ("decisions", [2**70]), ("rows", [[0]]),
        ("by", None), ("key", ""), ("note", "\ud800"), ("made", "9999"), ("made", "2026-01-01T00:00:00"),
    ):  # fmt: skip
        parts = [json.loads(line) for line in lines]
        parts[-1]["batch"][name] = value
        wrong.append("\n".join(map(json.dumps, parts)))
    wrong.append("\n".join(lines).replace('"s1",0]', '"s1",true]'))
    no_object, no_version = (
        "\n".join([*lines[:-1], "null"]),
        lines[0].replace('"format_version":1', '"format_version":null'),
    )
    for text in ("", "{}\n", "no json", "[" * 100_000, "\n".join(lines[:-1]), no_object, no_version, *wrong):
        path.write_text(text)
        with pytest.raises(EngineError, match="Nothing was changed"):
            read_decisions(path)
    path.write_text(lines[0].replace('"format_version":1', '"format_version":3'))
    with pytest.raises(EngineError, match="newer"):
        read_decisions(path)
    assert state(mine).count("approve") == 1


def test_the_shell_lists_conflicts_and_waits_and_takes_a_file_that_was_filled_in(copies, tmp_path, capsys):
    mine, theirs = copies
    theirs.decide([2, 3], "approve", by="Bo", note="=1+1")
    mine.decide([2, 3], "reject", by="Ada", note="bad")
    path, sheet, lines = (str(tmp_path / name) for name in ("log.jsonl", "sheet.csv", "lines.jsonl"))
    command = ["import-decisions", str(mine.path), path]
    assert main(["export-decisions", str(theirs.path), path]) == 0
    assert main(command) == 1
    out, err = capsys.readouterr()
    assert "s2" in out and "reject" in out and "Bo" in out and "give --prefer" in err
    assert main([*command, "--conflicts", sheet]) == main([*command, "--conflicts", lines]) == 0
    assert main([*command, "--conflicts", sheet]) == 1  # it is there already
    before, text = log(mine), Path(sheet).read_text()
    assert ",s2,2,question 3,yes,reject,Ada," in text and ",'=1+1," in text
    assert main([*command, "--settle", sheet]) == 1  # nothing was filled in
    told = [json.loads(line) for line in Path(lines).read_text().splitlines()]
    wrong = ["no,head\n", text.replace("\n,s2", "\nhers,s2"), text.replace("\n,s2", "\nmine,s2").replace(",m", ",x")]
    double = [told[0] | {"settle": "mine"}, told[0] | {"settle": "theirs"}]
    wrong.append("\n".join(map(json.dumps, double)))
    for at, bad in enumerate(wrong):
        place = tmp_path / ("bad.jsonl" if at == 3 else "bad.csv")
        place.write_text(bad)
        capsys.readouterr()
        assert main([*command, "--settle", str(place), "--prefer", "mine"]) == 1
        assert "Nothing was changed" in capsys.readouterr().err
    # as a spreadsheet of another country writes it
    filled = text.replace("\n,s2", "\nTheirs ,s2").replace(",", ";").replace("\n", "\r\n")
    Path(sheet).write_text("\ufeff" + filled, encoding="utf-8", newline="")
    assert main([*command, "--settle", sheet]) == 1  # s3 waits
    assert main([*command, "--settle", sheet, "--prefer", "mine", "--dry-run"]) == 0
    assert log(mine) == before
    assert main([*command, "--settle", sheet, "--prefer", "mine"]) == 0
    assert state(mine)[2:4] == ["approve", "reject"]
    capsys.readouterr()
    assert main([*command, "--settle", sheet]) == 0  # once more: it settles nothing
    assert "passed over" in capsys.readouterr().err
    assert main([*command, "--prefer", "nobody"]) == main([*command, "--prefer", "mine", "--conflicts", sheet]) == 2
