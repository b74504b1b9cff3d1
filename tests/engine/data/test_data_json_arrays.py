"""JSON arrays as streams: equal to json.loads, whatever the chunks, and never losing sound rows to a broken one."""

import io
import json
import tracemalloc
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.data.json_arrays import read_json_array
from engine.data.records import Record, canonical
from engine.data.samples import BadRow

UNHURRIED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
TEXT = st.text(st.sampled_from('ab"\\{}[],: \n\té€😀'), max_size=12)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)
OBJECTS = st.dictionaries(TEXT, VALUES, max_size=4)
INDENTS = st.sampled_from([None, 0, 2, "\t"])
CHUNKS = st.integers(1, 40)


def read(data: bytes, *, start: int = 1, **options: Any) -> list[Record | BadRow]:
    return list(read_json_array(io.BytesIO(data), start=start, **options))


def values(records: list[Record | BadRow]) -> list[dict[str, Any]]:
    return [record.value for record in records if isinstance(record, Record)]


def reasons(records: list[Record | BadRow]) -> list[tuple[int, str]]:
    return [(record.line, record.reason.partition(":")[0]) for record in records if isinstance(record, BadRow)]


@UNHURRIED
@given(st.lists(OBJECTS, max_size=6), INDENTS, st.booleans(), CHUNKS)
def test_the_stream_equals_the_slow_reader(rows: list[Any], indent: Any, ascii_only: bool, chunk: int) -> None:
    data = json.dumps(rows, indent=indent, ensure_ascii=ascii_only).encode()
    records = read(data, chunk=chunk)
    assert values(records) == json.loads(data)
    assert [record.line for record in records] == list(range(1, len(rows) + 1))
    assert [record.raw for record in records if isinstance(record, Record)] == [canonical(row) for row in rows]


@UNHURRIED
@given(st.lists(OBJECTS, min_size=1, max_size=5), INDENTS, CHUNKS)
def test_objects_one_after_another_are_read_without_an_array(rows: list[Any], indent: Any, chunk: int) -> None:
    data = "\n".join(json.dumps(row, indent=indent) for row in rows).encode()
    assert values(read(data, start=0, layout="values", chunk=chunk)) == rows


@UNHURRIED
@given(st.lists(OBJECTS, min_size=1, max_size=4), st.data(), CHUNKS)
def test_damage_anywhere_gives_the_same_answer_for_every_chunk(rows: list[Any], draw: Any, chunk: int) -> None:
    data = json.dumps(rows).encode()
    at = draw.draw(st.integers(1, len(data) - 1))
    damaged = data[:at] + draw.draw(st.sampled_from([b"", b'"', b"}", b"]", b"{", b"x"])) + data[at + 1 :]
    assert read(damaged, chunk=chunk) == read(damaged)
    ends = [len(json.dumps(rows[: count + 1])) - 1 for count in range(len(rows))]
    sound = sum(end <= at for end in ends)
    assert values(read(damaged))[:sound] == rows[:sound]
    limited = read(damaged, chunk=chunk, limit=30)
    assert limited == read(damaged, limit=30)


ROWS = [{"q": f"question {at}, {{[", "a": f"answer {at}"} for at in range(6)]


@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"a": "answer 2"', '"a": answer 2'),
        ('"a": "answer 2"', '"a" "answer 2"'),
        ('"a": "answer 2"', '"a": "answer 2'),
        ('"a": "answer 2"', '"a": answer 2"'),
        ('"question 2, {["', 'question 2, {["'),
        ('"question 2, {["', '"question 2, {['),
        ('"question 2, {["', "question 2, {["),
        ('"question 2, {["', '"question 2, {[""'),
        ('"a": "answer 2"', '"a": "answer 2"]'),
        ('"a": "answer 2"', '"a": NaN'),
        ('"a": "answer 2"', '"a": "\\x"'),
        ('"a": "answer 2"', '"a": "answer \x01"'),
    ],
)
def test_one_broken_element_costs_only_itself(indent: int | None, old: str, new: str) -> None:
    text = json.dumps(ROWS, indent=indent)
    assert text.count(old) == 1
    for chunk in (7, 1 << 20):
        records = read(text.replace(old, new).encode(), chunk=chunk)
        assert [row for row in ROWS if row not in values(records)] == [ROWS[2]]
        assert 1 <= len(reasons(records)) <= 2
        assert reasons(records)[0][0] == 3


def test_a_missing_brace_is_found_at_the_next_row() -> None:
    text = json.dumps(ROWS).replace('"answer 2"}, ', '"answer 2", ')
    records = read(text.encode())
    assert values(records) == ROWS[:2] + ROWS[3:]
    assert reasons(records) == [(3, "broken JSON")]


def test_a_stray_brace_costs_no_row() -> None:
    records = read(json.dumps(ROWS).replace('"answer 2"', '"answer 2"}}').encode())
    assert values(records) == ROWS
    assert reasons(records) == [(4, "broken JSON")]


def test_broken_rows_at_both_ends() -> None:
    text = json.dumps(ROWS)
    first = read(text.replace('"q": "question 0', '"q": question 0').encode())
    assert values(first) == ROWS[1:]
    last = read(text.replace('"answer 5"', '"answer 5').encode())
    assert values(last) == ROWS[:5]
    assert reasons(last) == [(6, "broken JSON")]


def test_invalid_utf8_costs_one_element() -> None:
    data = json.dumps(ROWS).encode().replace(b"answer 3", b"answer \xff")
    records = read(data)
    assert values(records) == ROWS[:3] + ROWS[4:]
    assert reasons(records) == [(4, "invalid UTF-8")]


def test_elements_that_are_no_objects_are_set_aside() -> None:
    records = read(b'[1, {"a": 1}, "x, ]", [2, {"a": 3}], null, {"a": 2}]')
    assert values(records) == [{"a": 1}, {"a": 2}]
    assert reasons(records) == [(1, "not an object"), (3, "not an object"), (4, "not an object"), (5, "not an object")]


def test_missing_and_doubled_commas_are_forgiven() -> None:
    assert values(read(b'[{"a": 1} {"a": 2},, {"a": 3},]')) == [{"a": 1}, {"a": 2}, {"a": 3}]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b'[{"a": 1}, {"a": 2', "broken JSON: the file ends inside this element"),
        (b'[{"a": 1}, {"a": "x', "broken JSON: the file ends inside this element"),
        (b'[{"a": 1}', "broken JSON: the array is never closed"),
        (b'[{"a": 1},', "broken JSON: the array is never closed"),
        (b'[{"a": 1}] tail', "broken JSON: text after the end"),
        (b'[{"a": 1}, {"a": 1e999}]', "unreadable value: Out of range"),
    ],
)
def test_a_faulty_end_is_said_once(data: bytes, reason: str) -> None:
    good, bad = read(data)
    assert isinstance(good, Record)
    assert isinstance(bad, BadRow)
    assert bad.line == 2
    assert bad.reason.startswith(reason)


def test_an_empty_array_holds_nothing() -> None:
    assert read(b"[ ]") == []


def test_a_wrapping_object_ends_with_its_array() -> None:
    data = b'{"version": 1, "data": [{"a": 1}, {"a": 2}], "end": [3]}'
    assert values(read(data, start=data.index(b"[") + 1, layout="wrapped")) == [{"a": 1}, {"a": 2}]
    assert reasons(read(data, start=data.index(b"[") + 1, layout="wrapped")) == []


@pytest.mark.parametrize("chunk", [5, 64, 1 << 20])
def test_an_element_above_the_limit_is_set_aside_alone(chunk: int) -> None:
    long = {"a": 'x"]}, {[' * 100}
    records = read(json.dumps([{"a": "1"}, long, {"a": "2"}]).encode(), chunk=chunk, limit=100)
    assert values(records) == [{"a": "1"}, {"a": "2"}]
    assert reasons(records) == [(2, "too long")]


def test_what_cannot_be_followed_is_said() -> None:
    records = read(b'[{"a": 1}, {"a": "x}, {"b": 2}] y", {"c": 3}')
    assert values(records)[0] == {"a": 1}
    assert any("cannot be followed" in record.reason or "ends inside" in record.reason for record in records[1:])  # type: ignore[union-attr]


def test_memory_stays_at_a_few_chunks_whatever_the_size() -> None:
    row = json.dumps({"a": "x" * 1000}).encode() + b",\n"

    class Long:
        left = 8000

        def read(self, size: int) -> bytes:
            count = min(self.left, max(1, size // len(row)))
            self.left -= count
            return row * count

    tracemalloc.start()
    count = sum(1 for _ in read_json_array(Long(), layout="values", chunk=1 << 16))  # type: ignore[arg-type]
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert count == 8000
    assert peak < 1 << 20
