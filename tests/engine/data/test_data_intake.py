"""From a file to rows: fields, ids, previews, mappings, and every bad row with its line and reason."""

import gzip
import json
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.data.intake import Reading, preview, read
from engine.data.samples import BadRow, Message, Row, SourceInfo
from engine.data.schemas import Mapping
from engine.errors import EngineError

UNHURRIED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
SHARED = Path(__file__).parents[4] / "shared" / "data"
GOOD = {"id": "x1", "question": "q", "answer": "a", "source": "s", "level": 3, "hard": True, "note": None}
TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8)


def rows(reading: Reading) -> list[Row]:
    return [item for item in reading if isinstance(item, Row)]


def bad(reading: Reading) -> list[tuple[int, str]]:
    return [(item.line, item.reason) for item in reading if isinstance(item, BadRow)]


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    def written(*items: Any, name: str = "pool.jsonl") -> Path:
        path = tmp_path / name
        text = [item if isinstance(item, str) else json.dumps(item) for item in items]
        path.write_text("\n".join(text) + "\n", encoding="utf-8")
        return path

    return written


def test_a_row_holds_its_line_its_id_and_its_other_fields(write: Callable[..., Path]) -> None:
    (row,) = rows(read(write(GOOD)))
    assert row == Row(
        line=1,
        raw=json.dumps(GOOD),
        own_id="x1",
        messages=(Message("user", "q"), Message("assistant", "a")),
        fields={"source": "s", "level": 3, "hard": True, "note": None},
    )


def test_fields_are_scalars_only_with_metadata_laid_flat(write: Callable[..., Path]) -> None:
    extra = {"metadata": {"lang": "en", "deep": {}}, "tags": ["x"], "essay": "x" * 1001, "big": 1 << 70, "half": 0.5}
    (row,) = rows(read(write({"question": "q", "answer": "a", **extra})))
    assert row.fields == {"metadata.lang": "en", "big": str(1 << 70), "half": 0.5}


@pytest.mark.parametrize(
    ("extra", "own_id", "fields"),
    [
        ({"id": 7}, "7", {}),
        ({"id": "", "uid": "u"}, "u", {"id": ""}),
        ({"_id": "m", "uid": "u"}, "m", {"uid": "u"}),
        ({"id": True}, None, {"id": True}),
        ({"id": 1.5}, None, {"id": 1.5}),
        ({"id": None}, None, {"id": None}),
        ({"id": ["x"]}, None, {}),
        ({}, None, {}),
    ],
)
def test_the_own_id_is_text_or_integer(write: Callable[..., Path], extra: Any, own_id: Any, fields: Any) -> None:
    (row,) = rows(read(write({"question": "q", "answer": "a", **extra})))
    assert (row.own_id, row.fields) == (own_id, fields)


def test_a_mapped_id_column_wins(write: Callable[..., Path]) -> None:
    mapping = Mapping("fields", {"prompt": "ask", "response": "say", "id": "key"})
    (row,) = rows(read(write({"id": "no", "key": "yes", "ask": "q", "say": "a"}), mapping=mapping))
    assert (row.own_id, row.fields) == ("yes", {"id": "no"})


BAD_LINES = [
    ('{"question": "q"', "broken JSON: Expecting"),
    ('{"question": "q"}', "missing field: answer"),
    ('{"question": "q", "answer": 4}', "wrong type: 'answer' is a number"),
    ('{"question": "q", "answer": ""}', "no response: 'answer' is empty"),
    ('{"question": "", "answer": ""}', "no text: 'question' and 'answer' are empty"),
    ('{"question": "q", "answer": "a", "score": NaN}', "NaN: NaN is not JSON"),
    ('{"question": "q\\ud800", "answer": "a"}', "lone surrogate: \\ud800 in the user's text"),
    ('{"question": "q", "answer": "a", "id": "\\udfff"}', "lone surrogate: \\udfff in 'id'"),
    ('{"question": "q", "answer": "a", "tag": "\\udfff"}', "lone surrogate: \\udfff in 'tag'"),
    ('{"question": "q", "answer": "a", "\\udfff": 1}', "lone surrogate: \\udfff in a column's name"),
    ('{"question": "q", "answer": "a", "score": 1e999}', "number out of range: 'score'"),
    ('{"question": "q", "answer": "' + "x" * (16 << 20) + '"}', "too long: more than 16 MiB"),
    ('["question", "answer"]', "not an object: the row is a list"),
]


def test_every_bad_row_is_set_aside_with_line_and_reason_and_blocks_nothing(write: Callable[..., Path]) -> None:
    lines = [line for bad_line, _ in BAD_LINES for line in ("", bad_line, GOOD)]
    reading = read(write(*lines))
    found = list(reading)
    assert [item.line for item in found if isinstance(item, Row)] == [3 * at + 3 for at in range(len(BAD_LINES))]
    assert [item.line for item in found if isinstance(item, BadRow)] == [3 * at + 2 for at in range(len(BAD_LINES))]
    for (line, reason), item in zip(BAD_LINES, (item for item in found if isinstance(item, BadRow)), strict=True):
        assert item.reason.startswith(reason)
        assert item.excerpt == line[:200]


def test_lone_surrogates_in_what_is_not_used_do_no_harm(write: Callable[..., Path]) -> None:
    line = '{"question": "q", "answer": "a", "tags": ["\\ud800"]}'
    assert [row.raw for row in rows(read(write(line)))] == [line]
    (row,) = rows(read(write(f"[\n{line}\n]", name="pool.json")))
    assert json.loads(row.raw) == json.loads(line)
    assert row.raw.isascii()


FORMS: dict[str, Callable[[Path, list[dict[str, Any]]], None]] = {
    "a.jsonl": lambda path, data: _lines(path, data),
    "a.json": lambda path, data: path.write_text(json.dumps(data, indent=1)) and None,
    "lines.json": lambda path, data: _lines(path, data),
    "array.jsonl": lambda path, data: path.write_text(json.dumps(data)) and None,
    "wrapped.json": lambda path, data: path.write_text(json.dumps({"version": 1, "data": data}, indent=2)) and None,
    "many.json": lambda path, data: path.write_text("\n".join(json.dumps(row, indent=2) for row in data)) and None,
    "a.jsonl.gz": lambda path, data: path.write_bytes(gzip.compress(_text(data))) and None,
    "a.json.zst": lambda path, data: path.write_bytes(zstandard.compress(json.dumps(data).encode())) and None,
    "a.parquet": lambda path, data: pq.write_table(pa.Table.from_pylist(data), path),
}


def _text(data: list[dict[str, Any]]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in data).encode()


def _lines(path: Path, data: list[dict[str, Any]]) -> None:
    path.write_bytes(_text(data))


@pytest.mark.parametrize("name", FORMS)
def test_every_form_of_the_same_rows_gives_the_same_rows(tmp_path: Path, name: str) -> None:
    data = [GOOD | {"id": f"x{at}", "question": f"q{at}"} for at in range(600)]
    FORMS[name](tmp_path / name, data)
    reading = read(tmp_path / name)
    assert bad(reading) == []
    assert [json.loads(row.raw) for row in rows(reading)] == data
    assert [row.own_id for row in rows(reading)] == [row["id"] for row in data]
    assert {row.messages[1].content for row in rows(reading)} == {"a"}
    assert list(reading) == list(reading)


@settings(UNHURRIED, max_examples=40)
@given(
    st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8).filter(str.strip), min_size=1)
)
def test_raw_lines_join_to_the_file_they_came_from(tmp_path_factory: pytest.TempPathFactory, texts: list[str]) -> None:
    path = tmp_path_factory.mktemp("raw") / "pool.jsonl"
    lines = [json.dumps({"question": text, "answer": text}, ensure_ascii=at % 2 == 0) for at, text in enumerate(texts)]
    path.write_bytes("".join(line + "\n" for line in lines).encode())
    assert b"".join(row.raw.encode() + b"\n" for row in rows(read(path))) == path.read_bytes()


def test_info_says_what_the_file_is(write: Callable[..., Path]) -> None:
    path = write(GOOD)
    info = read(path).info
    assert info == SourceInfo(
        path=str(path),
        sha256=info.sha256,
        bytes=path.stat().st_size,
        format="jsonl",
        mapping={"schema": "question-answer", "fields": {"prompt": "question", "response": "answer"}},
    )
    assert len(info.sha256) == 64
    assert read(write(GOOD, name="copy.jsonl")).info.sha256 == info.sha256
    assert read(write(GOOD | {"answer": "b"}, name="other.jsonl")).info.sha256 != info.sha256


def test_a_schema_can_be_named_and_columns_mapped(write: Callable[..., Path]) -> None:
    path = write({"question": "q", "answer": "a", "input": "i", "target": "t", "data": {"text": "n"}})
    assert rows(read(path))[0].messages[1].content == "a"
    assert rows(read(path, mapping="input-target"))[0].messages[1].content == "t"
    nested = Mapping("fields", {"prompt": "question", "response": "data.text"})
    assert rows(read(path, mapping=nested))[0].messages[1].content == "n"
    with pytest.raises(EngineError, match="unknown schema"):
        read(path, mapping="nonsense")
    with pytest.raises(EngineError, match=r"has no column 'reply' for response; got question, answer"):
        read(path, mapping=Mapping("fields", {"prompt": "question", "response": "reply"}))


@pytest.mark.parametrize(
    ("items", "name", "words"),
    [
        ([{"text": "x"}], "pool.jsonl", "the columns fit not any known schema: got text"),
        (["[]"], "pool.json", "holds no rows"),
        (["q,a"], "pool.csv", "holds no rows"),
        (["not json", "neither"], "pool.jsonl", "no readable row among its first 2; line 1: broken JSON"),
    ],
)
def test_a_file_that_gives_nothing_says_why(write: Callable[..., Path], items: Any, name: str, words: str) -> None:
    with pytest.raises(EngineError, match=words) as caught:
        read(write(*items, name=name))
    assert name in str(caught.value)


def test_bad_rows_at_the_start_do_not_hide_the_schema(write: Callable[..., Path]) -> None:
    reading = read(write(*["broken"] * 700, *[{"text": "x"}] * 20, GOOD))
    assert len(rows(reading)) == 1
    assert len(bad(reading)) == 720


def test_a_stream_that_breaks_off_keeps_what_came_before(tmp_path: Path) -> None:
    data = gzip.compress(b"".join(json.dumps(GOOD | {"id": at}).encode() + b"\n" for at in range(15_000)))
    (tmp_path / "pool.jsonl.gz").write_bytes(data[: len(data) // 2])
    found = list(read(tmp_path / "pool.jsonl.gz"))
    assert len(found) > 100
    assert isinstance(found[-1], BadRow)
    assert found[-1].reason.startswith("unreadable: the rest of the file cannot be read")
    assert all(isinstance(item, Row) for item in found[:-1])


def test_a_file_that_changes_while_it_is_read_is_an_error(write: Callable[..., Path]) -> None:
    path = write(GOOD)
    reading = read(path)
    path.write_text(json.dumps(GOOD) + "\n" + json.dumps(GOOD) + "\n")
    with pytest.raises(EngineError, match="changed while it was read"):
        list(reading)


def test_preview_shows_the_head_and_nothing_else(write: Callable[..., Path]) -> None:
    path = write(GOOD, "broken", *[GOOD] * 1000)
    head = preview(path, limit=10)
    assert head.mapping == Mapping("question-answer", {"prompt": "question", "response": "answer"})
    assert head.columns == list(GOOD)
    assert (len(head.rows), len(head.bad_rows), head.total_seen) == (9, 1, 10)
    assert (head.format, head.problem) == ("jsonl", "")
    assert head.examples["question"] == "q"
    assert head.rows == rows(read(path))[:9]


def test_preview_of_an_unknown_schema_offers_columns_instead_of_an_error(write: Callable[..., Path]) -> None:
    head = preview(write({"ask": "q", "say": "a"}))
    assert head.mapping is None
    assert "ask, say" in head.problem
    assert (head.columns, head.examples, head.rows) == (["ask", "say"], {"ask": "q", "say": "a"}, [])
    by_hand = preview(write({"ask": "q", "say": "a"}), mapping=Mapping("fields", {"prompt": "ask", "response": "say"}))
    assert len(by_hand.rows) == 1


def test_preview_does_not_read_a_large_file(tmp_path: Path) -> None:
    path = tmp_path / "large.json"
    with path.open("w") as file:
        file.write("[" + json.dumps(GOOD) + ",\n" * 2)
        file.write((json.dumps(GOOD) + ",\n") * 4000)
        file.truncate(4 << 30)  # sparse: the rest is a hole
    process = psutil.Process()
    before = process.io_counters().read_chars
    assert preview(path).total_seen == 50
    assert process.io_counters().read_chars - before < 64 << 20


def test_rows_stream_without_being_held(tmp_path: Path) -> None:
    path = tmp_path / "pool.jsonl"
    row = json.dumps({"question": "q" * 5000, "answer": "a" * 5000}) + "\n"
    with path.open("w") as file:
        for _ in range(1000):
            file.write(row)
    reading = read(path)
    tracemalloc.start()
    count = sum(1 for _ in reading)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert count == 1000
    assert peak < 4 << 20 < path.stat().st_size


REAL = {
    "pool_mixture.jsonl": ("chat", 8996),
    "target_gsm8k.jsonl": ("question-answer", 64),
    "eval_gsm8k.jsonl": ("question-answer", 256),
    "target_codegen.jsonl": ("alpaca", 64),
    "eval_codegen.jsonl": ("alpaca", 256),
    "target_bbh.jsonl": ("input-target", 76),
    "eval_bbh.jsonl": ("input-target", 228),
    "codegen_alpaca_schema.json": ("alpaca", 800),
    "self_instruct_seed_tasks.jsonl": ("self-instruct", 175),
}


@pytest.mark.skipif(not SHARED.is_dir(), reason="the shared real data is not here")
@pytest.mark.parametrize("name", REAL)
def test_all_real_files_are_recognised_and_every_row_is_usable(name: str) -> None:
    reading = read(SHARED / name)
    found = list(reading)
    assert (reading.mapping.schema, len(found)) == REAL[name]
    assert all(isinstance(item, Row) for item in found)
    if name.endswith(".jsonl"):
        kept = b"".join(item.raw.encode() + b"\n" for item in found if isinstance(item, Row))
        assert kept == (SHARED / name).read_bytes()
    else:
        assert [json.loads(raw) for raw in _raws(found)] == json.loads((SHARED / name).read_bytes())


def _raws(found: list[Row | BadRow]) -> Iterator[str]:
    return (item.raw for item in found if isinstance(item, Row))


@pytest.mark.skipif(not SHARED.is_dir(), reason="the shared real data is not here")
def test_labels_of_the_real_pool_are_fields_and_ids_are_kept() -> None:
    row = rows(read(SHARED / "pool_mixture.jsonl"))[0]
    assert row.own_id == "codegen-00481"
    assert row.fields == {"source": "codegen", "task": "codegen"}
