"""CSV, Parquet and Arrow: values and types as written, one canonical line each, damage confined to its rows."""

import csv
import datetime
import decimal
import io
import json
import math
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.data.columnar import read_arrow, read_parquet
from engine.data.comma_values import read_comma_values
from engine.data.records import Record
from engine.data.samples import BadRow
from engine.errors import EngineError

UNHURRIED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
CELLS = st.text(st.sampled_from('ab ,;"\n\té€'), max_size=8)


def read_csv(data: bytes, **options: int) -> list[Record | BadRow]:
    return list(read_comma_values(io.BytesIO(data), **options))


def values(records: list[Record | BadRow]) -> list[dict[str, Any]]:
    return [record.value for record in records if isinstance(record, Record)]


def bad(records: list[Record | BadRow]) -> list[tuple[int, str]]:
    return [(record.line, record.reason) for record in records if isinstance(record, BadRow)]


@settings(UNHURRIED, max_examples=60)
@given(
    st.lists(st.tuples(CELLS, CELLS), max_size=5), st.sampled_from([",", ";", "\t"]), st.sampled_from(["\n", "\r\n"])
)
def test_csv_gives_back_what_was_written(rows: list[tuple[str, str]], delimiter: str, ending: str) -> None:
    out = io.StringIO(newline="")
    writer = csv.writer(out, delimiter=delimiter, lineterminator=ending, quoting=csv.QUOTE_ALL)
    writer.writerows([("question", "answer"), *rows])
    records = read_csv(out.getvalue().encode())
    assert [tuple(value.values()) for value in values(records)] == rows
    assert [json.loads(record.raw) for record in records if isinstance(record, Record)] == values(records)


def test_csv_lines_are_where_records_start() -> None:
    records = read_csv(b'\xef\xbb\xbfq,a\n\n"one\ntwo",1\nthree,3\n')
    assert [(record.line, record.raw) for record in records if isinstance(record, Record)] == [
        (3, '{"q": "one\\ntwo", "a": "1"}'),
        (5, '{"q": "three", "a": "3"}'),
    ]


def test_csv_rows_of_the_wrong_width_or_encoding_are_set_aside() -> None:
    records = read_csv(b"q,a\n1\n2,b,c\n3,\xff\n4,d\n")
    assert values(records) == [{"q": "4", "a": "d"}]
    assert bad(records) == [
        (2, "wrong number of columns: 1, expected 2"),
        (3, "wrong number of columns: 3, expected 2"),
        (4, "invalid UTF-8: in column 'a'"),
    ]


@pytest.mark.parametrize("last", ["4,w", '"4 ""four""",w'])
def test_a_lost_quote_costs_one_record_and_glues_none(last: str) -> None:
    records = read_csv(f'q,a\n1,x\n"2,y\n3,z\n{last}\n'.encode())
    assert [value["a"] for value in values(records)] == ["x", "z", "w"]
    assert [(line, reason.partition(":")[0]) for line, reason in bad(records)] == [(3, "broken CSV")]
    assert bad(records)[0][1].endswith("2 lines after it were read again as rows of their own")


def test_the_lines_of_a_broken_text_do_not_become_rows() -> None:
    records = read_csv(b'q,a\n"one\nsome words\n"two" and three\n6,y\n')
    assert values(records) == [{"q": "6", "a": "y"}]
    assert bad(records) == [(2, "broken CSV: ',' expected after '\"'; 2 lines after it were set aside with it")]


def test_a_csv_record_above_the_limit_is_set_aside_alone() -> None:
    records = read_csv(b"q,a\n1," + b"x" * 500 + b"\n2,b\n", limit=100)
    assert values(records) == [{"q": "2", "a": "b"}]
    assert bad(records)[0][1].startswith("too long")


def test_a_csv_value_may_be_far_larger_than_the_csv_module_allows_by_default() -> None:
    long = "x" * 1_000_000
    assert values(read_csv(f"q,a\n1,{long}\n".encode())) == [{"q": "1", "a": long}]


@pytest.mark.parametrize(
    ("data", "words"), [(b"q,q\n1,2\n", "column 'q' twice"), (b"q,\xff\n1,2\n", "header is not UTF-8")]
)
def test_a_csv_header_that_is_none_is_an_error(data: bytes, words: str) -> None:
    with pytest.raises(EngineError, match=words):
        read_csv(data)


def test_nameless_csv_columns_get_a_name() -> None:
    assert values(read_csv(b",a\n0,x\n")) == [{"column 1": "0", "a": "x"}]


TYPED = {
    "id": pa.array([1, None], pa.int64()),
    "ok": pa.array([True, None]),
    "score": pa.array([math.nan, math.inf]),
    "when": pa.array([datetime.datetime(2024, 5, 1, 12), None], pa.timestamp("us")),
    "day": pa.array([datetime.date(2024, 5, 1), None]),
    "took": pa.array([datetime.timedelta(seconds=1.5), None], pa.duration("us")),
    "cost": pa.array([decimal.Decimal("1.50"), None], pa.decimal128(5, 2)),
    "blob": pa.array([b"text", b"\xff\x00"], pa.binary()),
    "turns": pa.array([[{"role": "user", "content": "é"}], []]),
    "map": pa.array([[("k", 1)], None], pa.map_(pa.string(), pa.int64())),
}  # fmt: skip
EXPECTED = [
    {
        "id": 1, "ok": True, "score": None, "when": "2024-05-01T12:00:00", "day": "2024-05-01", "took": 1.5,
        "cost": "1.50", "blob": "text", "turns": [{"role": "user", "content": "é"}], "map": [["k", 1]],
    },
    {
        "id": None, "ok": None, "score": "Infinity", "when": None, "day": None, "took": None, "cost": None,
        "blob": "/wA=", "turns": [], "map": None,
    },
]  # fmt: skip


def arrow_file(path: Path, table: pa.Table, stream: bool) -> Path:
    with (
        pa.OSFile(str(path), "wb") as sink,
        (pa.ipc.new_stream if stream else pa.ipc.new_file)(sink, table.schema) as out,
    ):
        out.write_table(table, max_chunksize=3)
    return path


@pytest.mark.parametrize("kind", ["parquet", "stream", "file"])
def test_typed_values_follow_the_stated_rule(tmp_path: Path, kind: str) -> None:
    table = pa.table(TYPED)
    if kind == "parquet":
        pq.write_table(table, tmp_path / "t")
        records = list(read_parquet(tmp_path / "t"))
    else:
        records = list(read_arrow(arrow_file(tmp_path / "t", table, kind == "stream")))
    assert values(records) == EXPECTED
    assert [json.loads(record.raw) for record in records if isinstance(record, Record)] == EXPECTED
    assert [record.line for record in records] == [1, 2]


@pytest.mark.parametrize("batch_rows", [1, 7, 1000])
def test_row_groups_and_batches_change_nothing(tmp_path: Path, batch_rows: int) -> None:
    table = pa.table({"q": [f"q{at}" for at in range(50)]})
    pq.write_table(table, tmp_path / "t", row_group_size=13)
    records = list(read_parquet(tmp_path / "t", batch_rows=batch_rows))
    assert [record.line for record in records] == list(range(1, 51))
    assert values(records) == table.to_pylist()
    assert values(list(read_arrow(arrow_file(tmp_path / "a", table, True)))) == table.to_pylist()


def test_a_damaged_row_group_costs_only_its_rows(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    table = pa.table({"q": [f"question {at}" * 20 for at in range(300)]})
    pq.write_table(table, path, row_group_size=100, compression="snappy", use_dictionary=False)
    column = pq.ParquetFile(path).metadata.row_group(1).column(0)
    start, size = column.data_page_offset, column.total_compressed_size
    data = bytearray(path.read_bytes())
    data[start + 40 : start + size - 40] = b"\xff" * (size - 80)
    path.write_bytes(data)
    records = list(read_parquet(path))
    assert [record.line for record in records if isinstance(record, Record)] == [*range(1, 101), *range(201, 301)]
    assert [line for line, _ in bad(records)] == [101]
    assert "rows 101 to 200" in bad(records)[0][1]


def test_values_that_cannot_be_decoded_cost_only_their_row(tmp_path: Path) -> None:
    broken = pa.array([b"fine", b"\xff\xfe", b"good"], pa.binary()).view(pa.string())
    pq.write_table(pa.table({"q": broken}), tmp_path / "t")
    records = list(read_parquet(tmp_path / "t"))
    assert values(records) == [{"q": "fine"}, {"q": "good"}]
    assert bad(records)[0][0] == 2
    assert bad(records)[0][1].startswith("unreadable value")


def test_a_row_above_the_limit_is_set_aside(tmp_path: Path) -> None:
    pq.write_table(pa.table({"q": ["x" * 500, "y"]}), tmp_path / "t")
    records = list(read_parquet(tmp_path / "t", limit=100))
    assert values(records) == [{"q": "y"}]
    assert bad(records)[0] == (1, "too long: more than 9.53674e-05 MiB")


@pytest.mark.parametrize("read", [read_parquet, read_arrow])
def test_a_cut_off_file_is_one_clear_error_or_bad_row(tmp_path: Path, read: Any) -> None:
    path = tmp_path / "t"
    table = pa.table({"q": [f"question {at}" for at in range(100)]})
    if read is read_parquet:
        pq.write_table(table, path)
    else:
        arrow_file(path, table, True)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    if read is read_parquet:
        with pytest.raises(EngineError, match="damaged or no Parquet"):
            list(read(path))
    else:
        records = list(read(path))
        assert 0 < len(values(records)) < 100
        assert "cannot be decoded" in bad(records)[-1][1]
