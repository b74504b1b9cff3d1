"""JSONL: every line byte for byte, bounded in length, bad lines set aside with number and reason."""

import io
import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.data.json_lines import bounded_lines, read_json_lines
from engine.data.records import Record, canonical, decode_object, plain
from engine.data.samples import BadRow
from engine.data.turns import RowProblem

UNHURRIED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)
OBJECTS = st.dictionaries(TEXT, VALUES, max_size=4)


def read(data: bytes, **options: int) -> list[Record | BadRow]:
    return list(read_json_lines(io.BytesIO(data), **options))


@settings(UNHURRIED, max_examples=50)
@given(st.lists(st.tuples(OBJECTS, st.booleans(), st.sampled_from(["", "\r", " ", "\t"])), max_size=5), st.booleans())
def test_every_line_comes_back_byte_for_byte(rows: list[tuple[dict[str, Any], bool, str]], ending: bool) -> None:
    lines = [json.dumps(value, ensure_ascii=ascii_only) + tail for value, ascii_only, tail in rows]
    records = read(("\n".join(lines) + ("\n" if ending else "")).encode())
    assert [record.raw for record in records if isinstance(record, Record)] == lines
    assert [record.value for record in records if isinstance(record, Record)] == [value for value, _, _ in rows]


@settings(UNHURRIED, max_examples=50)
@given(st.lists(st.binary(max_size=30), max_size=6))
def test_no_line_of_whatever_bytes_stops_the_rest(lines: list[bytes]) -> None:
    data = b"\n".join([*lines, b'{"a": 1}'])
    records = read(data)
    assert isinstance(records[-1], Record)
    assert records[-1].line == data.count(b"\n") + 1
    filled = [at for at, line in enumerate(data.removeprefix(b"\xef\xbb\xbf").split(b"\n"), 1) if line.strip()]
    assert [record.line for record in records] == filled


def test_byte_order_mark_and_blank_lines_are_passed_over_but_counted() -> None:
    records = read(b'\xef\xbb\xbf\n  \n{"a": 1}\r\n\n{"a": 2}')
    assert [(record.line, getattr(record, "raw", "")) for record in records] == [(3, '{"a": 1}\r'), (5, '{"a": 2}')]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b'{"a": 1', "broken JSON: Expecting ',' delimiter at character 8"),
        (b"hello", "broken JSON: Expecting value at character 1"),
        (b'{"a": 1} x', "broken JSON: Extra data"),
        (b'{"a": "\x00"}', "broken JSON: Invalid control character"),
        (b'{"a": "\xff"}', "invalid UTF-8: byte 0xff at byte 8"),
        (b'{"a": NaN}', "NaN: NaN is not JSON"),
        (b'{"a": -Infinity}', "NaN: -Infinity is not JSON"),
        (b"[1]", "not an object: the row is a list"),
        (b"null", "not an object: the row is null"),
        (b'"x"', "not an object: the row is text"),
        (b"[" * 100_000, "broken JSON: nested too deeply"),
        (b'{"a": ' + b"9" * 5000 + b"}", "broken JSON: Exceeds the limit"),
    ],
)
def test_bad_lines_say_why_and_the_next_line_is_read(line: bytes, reason: str) -> None:
    bad, good = read(line + b'\n{"a": 1}\n')
    assert isinstance(bad, BadRow)
    assert bad.reason.startswith(reason)
    assert bad.line == 1
    assert isinstance(good, Record)
    assert good.line == 2


def test_excerpts_are_short_and_always_encodable() -> None:
    bad = read(b"x" * 5000 + b"\n" + b'\xff\xfe{"a"')
    assert isinstance(bad[0], BadRow)
    assert bad[0].excerpt == "x" * 200
    assert isinstance(bad[1], BadRow)
    assert bad[1].excerpt.encode().decode().startswith("��")


@pytest.mark.parametrize("extra", [-1, 0, 1, 2, 5000])
def test_a_line_above_the_limit_is_set_aside_alone(extra: int) -> None:
    limit = 64
    line = b'{"a": "' + b"x" * (limit + extra - 9) + b'"}'
    assert len(line) == limit + extra
    first, second = read(line + b'\n{"a": 1}', limit=limit)
    assert isinstance(first, BadRow) == (extra > 0)
    assert isinstance(second, Record)
    assert second.line == 2
    if isinstance(first, BadRow):
        assert first.reason.startswith("too long: more than")


class Counting(io.RawIOBase):
    """An endless line of which only so many bytes may ever be held."""

    def __init__(self, size: int) -> None:
        self.left = size
        self.largest = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        size = min(len(buffer), self.left)
        self.largest = max(self.largest, size)
        buffer[:size] = b"x" * size
        self.left -= size
        return size


def test_an_endless_line_is_not_held_in_memory() -> None:
    source = Counting(200 << 20)
    (number, line, whole) = next(bounded_lines(io.BufferedReader(source, 1 << 16), limit=1000))
    assert (number, len(line), whole) == (1, 1000, False)
    assert source.largest <= 1 << 20
    assert source.left == 0


@settings(UNHURRIED, max_examples=50)
@given(OBJECTS)
def test_canonical_json_is_one_line_that_reads_back_the_same(value: dict[str, Any]) -> None:
    text = canonical(value)
    assert "\n" not in text
    assert decode_object(text) == value
    assert canonical(decode_object(text)) == text


def test_canonical_json_of_half_a_surrogate_pair_is_escaped() -> None:
    assert canonical({"a": "\ud800é"}) == '{"a": "\\ud800\\u00e9"}'


@settings(UNHURRIED, max_examples=50)
@given(VALUES)
def test_plain_changes_nothing_that_json_can_hold(value: Any) -> None:
    assert plain(value) == value


def test_plain_refuses_what_has_no_rule() -> None:
    with pytest.raises(RowProblem, match="unreadable value: object"):
        plain([object()])
