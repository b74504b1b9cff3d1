"""Signals as columns, marks and guards: against their arrays, for older results, and beyond what they cover."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from engine.curation import columns, filters, guards, marks
from engine.curation.facts import Facts
from engine.curation.filters import Filter
from engine.curation.signals import (
    KEEPS,
    Signals,
    categories,
    copies,
    groups,
    left_out,
    outdated,
    signals_of,
    summary,
)
from engine.data.samples import Message, Row, SourceInfo
from engine.data.signal_columns import LEAK, NEAR_DUPLICATE, SignalColumn, read_columns, write_columns
from engine.errors import EngineError
from engine.store import artifacts
from engine.store.project import Project

N, COVERED = 40, 36
NUMBER = SignalColumn(name="share", title="Share", kind="number", array="share", explanation="How much.", threshold=0.5)
SHORT = replace(NUMBER, name="short", kind="flag", sense="at most", threshold=0.1)
TONGUE = SignalColumn(
    name="language", title="Language", kind="category", array="language", explanation="", categories=("fr", "en")
)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    made = Project.create(tmp_path / "p")
    mapping = {"schema": "chat", "fields": {"messages": "messages"}}
    rows = [
        Row(at + 1, "{}", f"r{at}", (Message("user", f"q {at}"), Message("assistant", "word " * (at % 7 + 1))), {})
        for at in range(N)
    ]
    made.add_rows("pool", "", SourceInfo("/data/pool.jsonl", "a" * 64, 9, "jsonl", mapping), rows)
    return made


def record(project: Project, *, listed: bool) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    repeats = np.full(COVERED, -1)
    repeats[[5, 9, 11, 20]] = [2, 2, 2, 13]
    arrays = {
        "near_duplicate_of": repeats,
        "leak": rng.random(COVERED).astype(np.float32),
        "leak_target": np.zeros(COVERED, np.int64),
        "looks_truncated": rng.random(COVERED) < 0.3,
        "share": np.where(np.arange(COVERED) == 3, np.nan, rng.random(COVERED)).astype(np.float32),
        "language": rng.integers(0, 2, COVERED).astype(np.int32),
    }
    with artifacts.create(project.artifacts, "signals", "new" if listed else "old", {}) as folder:
        for name, values in arrays.items():
            artifacts.save_array(folder, name, values)
        beside = {"beside": [{"role": "target", "name": "gone", "hash": "x"}]} if listed else {}
        artifacts.write_json(folder / "summary.json", {"rows": COVERED, **beside})
        if listed:
            write_columns(folder, [NEAR_DUPLICATE, LEAK, NUMBER, SHORT, TONGUE])
            assert read_columns(folder) == (NEAR_DUPLICATE, LEAK, NUMBER, SHORT, TONGUE)
    project.add_signals(f"signals-{'new' if listed else 'old'}", COVERED, project.pool_hash())
    return arrays


def test_without_signals_there_is_nothing(project: Project) -> None:
    facts = Facts(project)
    assert signals_of(facts).names == [] and summary(facts) == [] and outdated(facts) == []
    assert not marks.marked(facts, "leak").any()
    with pytest.raises(EngineError, match=r"no signal 'leak'.*none yet"):
        left_out(facts, ["leak"])


def test_what_an_older_version_computed_is_still_read(project: Project) -> None:
    arrays, facts = record(project, listed=False), Facts(project)
    assert signals_of(facts).names == ["near-duplicate", "leak", "looks truncated"]
    np.testing.assert_array_equal(marks.marked(facts, "looks truncated")[:COVERED], arrays["looks_truncated"])
    assert outdated(facts) == ["more signals have become known"]


def test_every_signal_is_a_column_a_mark_and_a_filter(project: Project) -> None:
    arrays, facts = record(project, listed=True), Facts(project)
    found = signals_of(facts)
    share = np.append(arrays["share"], np.full(N - COVERED, np.nan, np.float32))
    np.testing.assert_array_equal(columns.numbers(facts, "signal/share"), share)
    np.testing.assert_array_equal(filters.mask(facts, Filter("number", "signal/share", (0.5, None))), share >= 0.5)
    np.testing.assert_array_equal(found.flags("share"), share >= 0.5)
    np.testing.assert_array_equal(found.flags("share", 0.9), share >= 0.9)
    np.testing.assert_array_equal(filters.mask(facts, Filter("mark", "", ("short",))), share <= 0.1)
    english = filters.mask(facts, Filter("value", "signal/language", ("en",)))
    np.testing.assert_array_equal(english, np.append(arrays["language"] == 1, [False] * (N - COVERED)))
    assert columns.categories(facts, "signal/language").counts.sum() == N
    assert "short" in marks.names(facts) and "share" not in marks.names(facts)
    assert {c.name for c in columns.listed(facts)} >= {"signal/share", "signal/short", "signal/language", "signal/leak"}
    with pytest.raises(EngineError, match="categories, not numbers"):
        columns.numbers(facts, "signal/language")
    with pytest.raises(EngineError, match="numbers, not categories"):
        columns.categories(facts, "signal/share")
    assert [(c.name, n) for c, n, _ in summary(facts) if c.name == "share"] == [("share", int((share >= 0.5).sum()))]
    assert outdated(facts) == ["4 samples joined it"]


def test_a_guard_takes_a_threshold_only_where_it_goes_by_a_number(project: Project) -> None:
    record(project, listed=True)
    facts = Facts(project)
    assert guards.barred(facts, ["leak=0.999"]).sum() < guards.barred(facts, ["leak=0.1"]).sum()
    for wrong in ("leak=nan", "leak=inf", "leak=", "near-duplicate=0.5", "warm-up=1"):
        with pytest.raises(EngineError, match="threshold"):
            guards.barred(facts, [wrong])


def test_of_copies_one_stays_whichever_is_asked_for(project: Project) -> None:
    record(project, listed=True)
    project.decide([9, 20], "approve", by="a")
    facts = Facts(project)
    group, words = groups(signals_of(facts), "near-duplicate"), facts.column("words")
    assert set(np.flatnonzero(np.bincount(group) > 1)) == {2, 13}
    stays = {"first": {2, 13}, "approved first": {9, 20}}
    for keep in KEEPS[:2] + KEEPS[3:]:
        out = copies(facts, "near-duplicate", keep=keep)
        for members in ({2, 5, 9, 11}, {13, 20}):
            kept = members - set(np.flatnonzero(out).tolist())
            assert len(kept) == 1
            if keep == "longest":
                assert words[kept.pop()] == max(words[list(members)])
            else:
                assert kept <= stays[keep]
        assert out.sum() == 4
    leaks = np.append(np.asarray(signals_of(facts).array("leak")) >= 0.8, [False] * (N - COVERED))
    both = left_out(facts, ["leak", "near-duplicate"], thresholds={"leak": 0.8})
    np.testing.assert_array_equal(both, leaks | copies(facts, "near-duplicate"))
    with pytest.raises(EngineError, match="needs a run"):
        copies(facts, "near-duplicate", keep="highest score")
    project.decide([2, 13, 20], "reject", by="a")  # the first of one group, all of the other
    out = copies(Facts(project), "near-duplicate")
    assert (out[[2, 5, 9, 11]].tolist(), out[[13, 20]].tolist()) == ([True, False, True, True], [False, True])


def test_no_copy_stays_that_cannot_be_chosen_for_another_reason(project: Project) -> None:
    record(project, listed=True)
    names, members = ["near-duplicate", "leak=0.02"], [2, 5, 9, 11]  # all leak but the last

    def kept(unfit: np.ndarray | None = None) -> list[int]:
        facts = Facts(project)
        out = guards.barred_by(facts, names[0], keep="first", run="", column="score", beside=names, unfit=unfit)
        assert (guards.barred(facts, names, unfit=unfit) >= out).all()
        return [row for row in members if not out[row]]

    assert kept() == [11] and kept(unfit=np.arange(N) == 11) == [2]
    project.decide([9], "approve", by="a")
    assert kept() == [9]  # in whatever the guards say


def test_the_category_of_nothing_is_counted_last(project: Project) -> None:
    record(project, listed=True)
    found = signals_of(Facts(project))
    column = replace(TONGUE, nothing=str(categories(found, "language").index[0]))
    counts = categories(Signals(found.n, {"language": column}, found.folders), "language")
    assert list(counts.index) == list(categories(found, "language").index[::-1]) and counts.sum() == COVERED
