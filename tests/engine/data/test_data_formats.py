"""What a file is, by its content; and one clear error for everything that cannot be read."""

import gzip
import socket
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from engine.data.formats import FileFormat, detect, open_bytes
from engine.errors import EngineError

LINES = b'{"q": "1", "a": "2"}\n{"q": "3", "a": "4"}\n'
ARRAY = b'[\n {"q": "1", "a": "2"}\n]\n'


@pytest.mark.parametrize(
    ("name", "data", "expected"),
    [
        ("x.jsonl", LINES, FileFormat("jsonl")),
        ("x.json", LINES, FileFormat("jsonl")),
        ("x", LINES, FileFormat("jsonl")),
        ("x.csv", LINES, FileFormat("jsonl")),
        ("x.jsonl", b"\xef\xbb\xbf\n\n" + LINES, FileFormat("jsonl")),
        ("x.json", ARRAY, FileFormat("json", "", "array", 1)),
        ("x.jsonl", ARRAY, FileFormat("json", "", "array", 1)),
        ("x", b"  " + ARRAY, FileFormat("json", "", "array", 3)),
        ("x.json", b"[]", FileFormat("json", "", "array", 1)),
        ("x.jsonl", b'["a"]\n["b"]\n', FileFormat("jsonl")),
        ("x.json", b'{\n "q": "1",\n "a": "2"\n}\n{\n "q": "3"\n}', FileFormat("json", "", "values", 0)),
        ("x.json", b'{"q": "1",\n "a": "2"}\n', FileFormat("json", "", "values", 0)),
        ("x.json", b'{"version": "1", "data": [{"q": "1"}]}', FileFormat("json", "", "wrapped", 26)),
        ("x.json", b'{\n"data": [\n{"q": "1"}]}', FileFormat("json", "", "wrapped", 11)),
        ("x.jsonl", b'{"instruction": "i", "instances": [{"output": "o"}]}\n', FileFormat("jsonl")),
        ("x.jsonl", b'{"messages": [{"role": "user", "content": "q"}]}', FileFormat("jsonl")),
        ("x.jsonl", b'{"q": "1", "a": \n' + LINES, FileFormat("jsonl")),
        ("x.jsonl", b"not json\n" + LINES, FileFormat("jsonl")),
        ("x.csv", b"q,a\n1,2\n", FileFormat("csv")),
        ("x.tsv", b"q\ta\n1\t2\n", FileFormat("csv")),
        ("x.csv", b"[q],a\n1,2\n", FileFormat("csv")),
        ("x.csv", "q,a\nä,ö\n".encode("latin-1"), FileFormat("csv")),
        ("x.jsonl.gz", gzip.compress(LINES, mtime=0), FileFormat("jsonl", "gz")),
        ("x.jsonl", gzip.compress(LINES, mtime=0), FileFormat("jsonl", "gz")),
        ("x.csv.gz", gzip.compress(b"q,a\n1,2\n", mtime=0), FileFormat("csv", "gz")),
        ("x.json.zst", zstandard.compress(ARRAY), FileFormat("json", "zst", "array", 1)),
    ],
)
def test_the_content_decides(tmp_path: Path, name: str, data: bytes, expected: FileFormat) -> None:
    path = tmp_path / name
    path.write_bytes(data)
    assert detect(path) == expected


def test_parquet_and_arrow_are_known_by_their_signature(tmp_path: Path) -> None:
    pq.write_table(pa.table({"q": ["1"]}), tmp_path / "x.csv")
    assert detect(tmp_path / "x.csv") == FileFormat("parquet")
    with pa.OSFile(str(tmp_path / "y"), "wb") as sink, pa.ipc.new_stream(sink, pa.schema([("q", pa.string())])):
        pass
    assert detect(tmp_path / "y") == FileFormat("arrow")


def test_a_first_line_longer_than_the_head_is_still_jsonl(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b'{"q": "' + b"x" * 300_000 + b'", "a": "2"}\n' + LINES)
    assert detect(tmp_path / "x") == FileFormat("jsonl")


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("x.jsonl", b"", r"is empty \(0 bytes\)"),
        ("x.jsonl", b" \n\n", "only blank space"),
        ("x.jsonl.gz", gzip.compress(b"", mtime=0), "only blank space"),
        ("x.jsonl", bytes(range(256)) * 40, "binary file"),
        ("x.jsonl", b"\0" * 1000, "binary file"),
        ("x.jsonl", b"PK\x03\x04rest", "zip archive"),
        ("x.jsonl", b"\x80\x04\x95rest", "pickle"),
        ("x.jsonl", '{"a": 1}'.encode("utf-16"), "UTF-16"),
        ("x.txt", b"Dear reader,", "cannot tell the format"),
        ("x.parquet", b"q,a\n1,2\n", "named .parquet but is not"),
        ("x.parquet.gz", gzip.compress(b"PAR1rest", mtime=0), "decompress it first"),
        ("x.jsonl.gz", b"\x1f\x8b\x08\x00 nothing of the kind", "cannot be decompressed"),
    ],
)
def test_each_unreadable_file_gets_one_clear_error(tmp_path: Path, name: str, data: bytes, words: str) -> None:
    path = tmp_path / name
    path.write_bytes(data)
    with pytest.raises(EngineError, match=words) as caught:
        detect(path)
    assert name in str(caught.value)
    assert str(caught.value).endswith("Nothing was added.")


def test_paths_that_are_no_files_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(EngineError, match="there is no file or folder"):
        detect(tmp_path / "missing.jsonl")
    with pytest.raises(EngineError, match="cannot be read"):
        detect(tmp_path / ("x" * 5000))
    with socket.socket(socket.AF_UNIX) as listener:
        monkeypatch.chdir(tmp_path)  # a socket's path must be short
        listener.bind("s")
        with pytest.raises(EngineError, match="not an ordinary file"):
            detect(Path("s"))


@pytest.mark.parametrize("name", ["gz", "zst"])
def test_compressed_streams_equal_the_plain_file_even_in_several_parts(tmp_path: Path, name: str) -> None:
    squeeze = {"gz": gzip.compress, "zst": zstandard.compress}[name]
    (tmp_path / "x").write_bytes(squeeze(LINES) + squeeze(LINES))
    with open_bytes(tmp_path / "x", name) as stream:
        assert stream.read() == LINES * 2
