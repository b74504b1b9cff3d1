"""Columns against the stored rows and arrays, one by one; unknown names are refused and name what there is."""

import math
from pathlib import Path

import numpy as np
import pytest

from engine.curation import columns, filters
from engine.curation.facts import MOST_VALUES, NOTHING, OTHERS, Facts, coded
from engine.curation.filters import Filter
from engine.data.samples import BadRow, Message, Row, SourceInfo
from engine.errors import EngineError
from engine.store.project import Project

VALUES = [3, None, 1.5, 7, 3, 9]
FLAGS = [True, False, None, True, True, False]


@pytest.fixture
def project(tmp_path: Path) -> Project:
    made = Project.create(tmp_path / "p")
    rows: list[Row | BadRow] = []
    for at, value in enumerate(VALUES):
        fields = {"source": f"s{at % 2}", "flag": FLAGS[at], "value": value}
        kept = {name: entry for name, entry in fields.items() if entry is not None}
        messages = (Message("user", f"question {at}"), Message("assistant", "answer"))
        rows.append(Row(at + 1, f"{{{at}}}", None, messages, kept))
    made.add_rows("pool", "", SourceInfo("/d/a.jsonl", "a" * 64, 1, "jsonl", {"schema": "chat", "fields": {}}), rows)
    made.decide([0, 1], "approve", by="me")
    weights = np.array([0.5, 1.5], np.float32)
    made.save_selection("a/b", spec={"run": None}, rows=[2, 4], weights=weights, by="me")
    return made


def test_numbers_categories_and_flags_are_those_of_the_rows(project: Project) -> None:
    facts = Facts(project)
    rows = project.rows(range(len(VALUES)))
    assert columns.numbers(facts, "words").tolist() == [row.words for row in rows]
    known = [math.nan if value is None else value for value in VALUES]
    np.testing.assert_array_equal(columns.numbers(facts, "field/value"), np.array(known, np.float32))
    sources = columns.categories(facts, "field/source")
    assert [sources.names[code] for code in sources.codes.tolist()] == [row.fields["source"] for row in rows]
    decided = columns.categories(facts, "decision")
    assert [decided.names[code] for code in decided.codes[:3].tolist()] == ["approved", "approved", "undecided"]
    assert columns.numbers(facts, "selection/1/a/b").tolist() == [0, 0, 1, 0, 1, 0]
    weights = columns.numbers(facts, "weight/1/a/b")
    assert weights[[2, 4]].tolist() == [0.5, 1.5] and np.isnan(weights[[0, 1, 3, 5]]).all()
    kinds = {column.name: columns.column_of(facts, column.name).kind for column in columns.listed(facts)}
    assert kinds["field/value"] == "number" and kinds["field/source"] == "category" and kinds["words"] == "number"
    assert kinds["selection/1/a/b"] == "flag"


def test_every_listed_column_can_be_filtered_by(project: Project) -> None:
    facts = Facts(project)
    for column in columns.listed(facts):
        settled = columns.column_of(facts, column.name)
        if settled.kind != "category":
            values = columns.numbers(facts, column.name)
            assert values.shape == (facts.n,) and values.dtype.kind in "fb"
            found = filters.mask(facts, Filter("number", column.name, (0.5, None)))
            assert found.tolist() == [bool(v >= 0.5) for v in values.astype(float).tolist()]
        if settled.kind != "number":
            names = columns.categories(facts, column.name)
            assert names.counts.sum() == facts.n
            found = filters.mask(facts, Filter("value", column.name, (names.names[0],)))
            assert found.tolist() == (names.codes == 0).tolist()


@pytest.mark.parametrize("name", ["nothing", "field/none", "score/none/score", "selection/9/a/b", "signal/none"])
def test_an_unknown_column_is_one_error(project: Project, name: str) -> None:
    facts = Facts(project)
    for read in (columns.numbers, columns.categories):
        with pytest.raises(EngineError, match=r"There (is|are)"):
            read(facts, name)


@pytest.mark.parametrize("kind", ["cluster", "decision", "status", "lasso", "words", "number"])
@pytest.mark.parametrize("value", [math.nan, math.inf, 10**400, "1"])
def test_a_filter_of_numbers_holds_nothing_else(kind: str, value: float | str) -> None:
    with pytest.raises(EngineError, match="takes numbers"):
        Filter(kind, "words", (value,) * 6)  # type: ignore[arg-type]
    assert Filter("words", "", (None, 10)).values == (None, 10)
    for code in (99, 0.5, None):
        with pytest.raises(EngineError, match="takes numbers"):
            Filter("decision", "", (code,))


def test_rare_values_beyond_the_limit_share_one_name() -> None:
    many = np.array([*(f"v{at}" for at in range(MOST_VALUES + 5)), "v0", None], dtype=object)
    found = coded(many)
    assert found.names[0] == "v0" and found.names[-1] == OTHERS and len(found.names) == MOST_VALUES + 1
    assert found.counts.sum() == len(many) and found.counts[-1] >= 5
    small = coded(np.array(["b", "a", None, "b", 1, "1"], dtype=object))
    assert dict(zip(small.names, small.counts.tolist(), strict=True)) == {"b": 2, "1": 2, "a": 1, NOTHING: 1}
