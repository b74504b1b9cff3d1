"""Why a row is in or out, how quotas stand, what is held of the targets, and how tokens are counted."""

import json

import numpy as np
import pytest

from engine.curation.facts import Facts
from engine.curation.filters import Filter
from engine.data.samples import Message, Row, SourceInfo
from engine.data.signal_columns import LEAK, write_columns
from engine.errors import EngineError
from engine.runs import token_counts
from engine.runs.choice import Choice
from engine.runs.choosing import choose, select
from engine.runs.ground import ground_of
from engine.runs.why import held_back, why
from engine.selection.curve import ranked
from engine.selection.quotas import quota_of
from engine.selection.standing import held, standings
from engine.store import artifacts
from engine.store.project import Project
from engine.store.records import RunRecord

N = 12
SCORE = np.array([0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1, 0.0, np.nan], np.float32)  # row 11 came later


@pytest.fixture
def project(tmp_path):
    """Twelve rows of two sources, scores falling; row 0 rejected, row 10 without a score, row 11 not covered."""
    made = Project.create(tmp_path / "project")
    rows = [
        Row(i + 1, json.dumps({"i": i}), f"s{i}", (Message("user", "q " * (i + 1)), Message("assistant", "a")),
            {"source": "web" if i < 6 else "book"})
        for i in range(N)
    ]  # fmt: skip
    made.add_rows("pool", "", SourceInfo("/data/a.jsonl", "aa", 9, "jsonl", {"schema": "chat", "fields": {}}), rows)
    zeros = np.zeros(len(SCORE), np.uint8)
    arrays = {"score": SCORE, "status": zeros, "roles": zeros, "loss": np.zeros(len(SCORE), np.float32)}
    arrays |= {"matrix": np.stack([SCORE, -SCORE], axis=1), "columns": np.stack([SCORE, -SCORE], axis=1)}
    with artifacts.create(made.artifacts, "scores", "k", {}) as folder:
        for name, array in arrays.items():
            artifacts.save_array(folder, name, array)
        artifacts.write_json(folder / "summary.json", {"sets": [{"name": "up"}, {"name": "down"}]})
    made.add_run(RunRecord("r", "exact", "builtin", {}, "scores-k", 11, made.pool_hash(), ["up", "down"]))
    made.decide([0], "reject", by="Ada")
    return made


def told(project, row, **asked):
    choice = Choice(**{"size": "3", **asked})
    facts, run = Facts(project), project.run("r")
    ground = ground_of(facts, run, choice)
    chosen = choose(project, run, choice, facts=facts, ground=ground)
    return why(facts, run, choice, ground, chosen, row)


def test_every_cause_is_named_with_its_remedy(project):
    inside = told(project, 1)
    assert inside.inside and inside.causes == ("It was taken: rank 1 by score.",) and not inside.remedies
    assert (inside.rank, inside.scored, inside.place, inside.able) == (2, 10, 1, 9)
    assert told(project, 0).remedies == ("Take the rejection back.",)
    cut = told(project, 6)
    assert "number 6 by score of those that could be chosen; the lowest score that came in" in cut.causes[0]
    assert cut.remedies == ("Ask for at least 6 samples.", "Approve it: approved samples are always in.")
    assert 6 in choose(project, project.run("r"), Choice(size="6")).rows  # and that is true
    assert 6 not in choose(project, project.run("r"), Choice(size="5")).rows
    assert "no score" in told(project, 10).causes[0] and "joined the pool after the run" in told(project, 11).causes[0]
    short = Filter("number", "words", (None, 6))
    assert told(project, 7, within=(short,)).causes[0].startswith("It fails the filter Words ≤ 6")
    full = told(project, 3, quotas=(quota_of("field/source:web=1", "at-most"),))
    assert full.causes[0] == "field/source: web holds 1 of at most 1 samples."
    project.decide([9], "approve", by="Ada")
    assert told(project, 9).causes == ("A person approved it; approved samples are always in.",)
    behind = told(project, 3)  # number 3 by score, but an approved row behind it takes room
    assert behind.remedies[0] == "Ask for at least 4 samples."
    assert 3 in choose(project, project.run("r"), Choice(size="4")).rows
    crowded = told(project, 3, size="1")
    assert crowded.causes == ("Approved samples fill all there is room for.",) and crowded.remedies[0].endswith(
        "4 samples."
    )
    assert told(project, 8, column="down").inside


def test_rows_that_no_guard_looked_at_are_told(project):
    with artifacts.create(project.artifacts, "signals", "k", {}) as folder:
        artifacts.save_array(folder, "leak", np.array([0, 1, 0], np.float32))
        write_columns(folder, [LEAK])
    project.add_signals("signals-k", 3, project.pool_hash())
    found = choose(project, project.run("r"), Choice(size="3", guards=("leak",)))
    assert found.rows.tolist() == [2, 3, 4]
    assert found.notes == (
        "2 of them joined the pool after it was checked, so no guard has looked at them: run `signals`.",
    )
    assert choose(project, project.run("r"), Choice(size="3")).notes == ()


def test_quotas_stand_and_what_is_full_is_told(project):
    choice = Choice(
        size="4", quotas=(quota_of("field/source:web=50%", "at-most"), quota_of("file:a.jsonl=9", "at-least"))
    )
    facts, run = Facts(project), project.run("r")
    ground = ground_of(facts, run, choice)
    with pytest.raises(
        EngineError, match=r"cannot all be met together with the budget: at best file: a\.jsonl lacks 5"
    ):
        choose(project, run, choice, facts=facts, ground=ground)
    lines = standings(ground.limits, ground.able, None, None, "rows")
    assert [(line.group, line.state) for line in lines] == [
        ("field/source: web", "can bind"), ("file: a.jsonl", "can be met")
    ]  # fmt: skip
    choice = Choice(size="4", quotas=(quota_of("field/source:web=50%", "at-most"),))
    ground = ground_of(facts, run, choice)
    chosen = choose(project, run, choice, facts=facts, ground=ground)
    assert chosen.rows.tolist() == [1, 2, 6, 7]
    (line,) = standings(ground.limits, ground.able, chosen.rows, None, "rows")
    assert (line.asked, line.there, line.inside, line.state) == (2, 5, 2, "full")
    assert held_back(ground, chosen, 3, otherwise="below") == "field/source: web is full"
    assert held_back(ground, chosen, 8, otherwise="below") == "below"


def test_tokens_are_counted_once_and_said(project):
    run = project.run("r")
    with pytest.raises(EngineError, match="no language model to count tokens with"):
        token_counts.count_tokens(project, RunRecord("x", "random", "", {}, "", 0, "", []))
    assert token_counts.kept_counts(project, run) is None
    saved, chosen = select(project, Choice(size="60t"), run="r", name="s", by="Ada")
    counts = token_counts.kept_counts(project, run)
    assert counts.counts.shape == (N,) and (np.diff(counts.counts) > 0).all()  # each prompt is longer by a word
    left = 60 - counts.counts[chosen.rows].sum()
    assert left >= 0 and (counts.counts[np.setdiff1d(np.arange(1, 10), chosen.rows)] > left).all()
    assert saved.spec["tokens"]["by"] == "tokenizer" and len(saved.spec["tokens"]["sha256"]) == 64
    assert "counted with the tokenizer of builtin" in saved.spec["notes"][-1]
    saved, chosen = select(project, Choice(size="60t", tokens_by="words"), run="r", name="s", by="Ada")
    assert saved.spec["tokens"] == {"by": "words", "per_word": 1.4} and "estimated" in saved.spec["notes"][-1]
    assert Choice.from_spec(saved.spec) == Choice(size="60t", tokens_by="words")


def test_old_selections_are_read():
    spec = {"run": "r", "column": "maths", "strategy": "top", "size": "10%", "seed": 0, "left_out": ["leak"],
            "filters": [["words", "", 3, None]], "notes": ["n"]}  # fmt: skip
    read = Choice.from_spec(spec)
    assert (read.guards, read.within, read.column) == (("leak",), (Filter("words", "", (3, None)),), "maths")
    assert Choice.from_dict(read.to_dict()) == read


def test_shares_of_influence_against_a_sum_over_rows():
    generator = np.random.default_rng(0)
    matrix, able = generator.normal(size=(40, 3)), generator.random(40) < 0.7
    matrix[3, 1] = np.nan
    rows = np.flatnonzero(able)[[0, 4, 7]]
    found = held(matrix, rows, able)
    for j in range(3):
        values = [max(v, 0.0) if np.isfinite(v) else 0.0 for v in matrix[:, j]]
        best = sum(sorted((values[i] for i in np.flatnonzero(able)), reverse=True)[:3])
        assert found.chosen[j] == pytest.approx(sum(values[i] for i in rows) / best)
        assert found.random[j] == pytest.approx(3 * np.mean([values[i] for i in np.flatnonzero(able)]) / best)
    curve = ranked(matrix[:, 0], able, rows)
    positive = sum(v for v in matrix[able, 0] if v > 0)
    assert curve.shares.max() == pytest.approx(1) and curve.chosen == pytest.approx(matrix[rows, 0].sum() / positive)
    assert curve.best >= curve.chosen and curve.random == pytest.approx(3 * matrix[able, 0].mean() / positive)
    assert ranked(-np.ones(4), np.ones(4, bool), np.arange(2)) is None
