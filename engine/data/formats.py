"""What kind of file this is, found from its first bytes, and how to open it as a stream of uncompressed bytes.

The content decides; the name only breaks ties (CSV has no signature). A `.json` file of lines and a `.jsonl` file
that is one array are both recognised. Layouts of JSON that is not one object per line: `array` ([…]), `wrapped`
(an object whose data, rows, … member is the array) and `values` (objects one after another over several lines).
Does not parse rows (`json_lines`, `json_arrays`, `comma_values`, `columnar`).
"""

import io
import json
import re
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal, cast

import pyarrow as pa

from engine.errors import EngineError

FormatName = Literal["jsonl", "json", "csv", "parquet", "arrow"]
Layout = Literal["lines", "array", "wrapped", "values"]

HEAD_BYTES = 256 << 10
BOM = b"\xef\xbb\xbf"
SUFFIXES: dict[str, FormatName] = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
    ".csv": "csv",
    ".tsv": "csv",
    ".parquet": "parquet",
    ".arrow": "arrow",
}
COMPRESSIONS = {b"\x1f\x8b": "gz", b"\x28\xb5\x2f\xfd": "zst"}
_CODECS = {"gz": "gzip", "zst": "zstd"}
_KNOWN_BINARY = {
    b"PK\x03\x04": "a zip archive or office document (unpack it, or save the sheet as CSV)",
    b"%PDF": "a PDF document",
    b"\x80\x04": "a Python pickle (never read; save it as JSONL or Parquet)",
    b"\x80\x02": "a Python pickle (never read; save it as JSONL or Parquet)",
    b"BZh": "bzip2-compressed (compress with gzip or zstd instead)",
    b"\xfd7zXZ": "xz-compressed (compress with gzip or zstd instead)",
    b"SQLite format 3": "an SQLite database",
    b"\xff\xfe": "text in UTF-16 (save it as UTF-8)",
    b"\xfe\xff": "text in UTF-16 (save it as UTF-8)",
}
_KINDS = "JSONL, a JSON array, CSV, Parquet or Arrow"
_UNTOUCHED = "Nothing was added."
_CONTAINERS = rb"data|rows|examples|samples|records|items|train"
_WRAPPED = re.compile(
    rb'\s*\{\s*(?:"(?:[^"\\]|\\.)*"\s*:\s*(?:"(?:[^"\\]|\\.)*"|[-+.\w]+)\s*,\s*)*"(?:%s)"\s*:\s*\[(?=\s*\{)'
    % _CONTAINERS
)


@dataclass(frozen=True)
class FileFormat:
    """How to read one file. `compression` is "", "gz" or "zst"; `start`: bytes before the first element."""

    name: FormatName
    compression: str = ""
    layout: Layout = "lines"
    start: int = 0

    @property
    def label(self) -> str:
        """The format as shown, e.g. "jsonl.gz"."""
        return f"{self.name}.{self.compression}" if self.compression else self.name


def check_file(path: Path) -> int:
    """Return the file's size in bytes; raises EngineError unless it is a readable, non-empty ordinary file."""
    try:
        found = path.stat()
        if stat.S_ISREG(found.st_mode):
            with path.open("rb"):
                pass
    except FileNotFoundError:
        raise EngineError(f"there is no file or folder {str(path)!r}. Check the path. {_UNTOUCHED}") from None
    except OSError as error:
        raise EngineError(
            f"{str(path)!r} cannot be read: {error.strerror}. Check its permissions. {_UNTOUCHED}"
        ) from None
    if not stat.S_ISREG(found.st_mode):
        raise EngineError(f"{str(path)!r} is not an ordinary file; expected {_KINDS}. {_UNTOUCHED}")
    if found.st_size == 0:
        raise EngineError(f"{str(path)!r} is empty (0 bytes); expected {_KINDS}. {_UNTOUCHED}")
    return found.st_size


def detect(path: Path, *, hint: str = "") -> FileFormat:
    """Return the format of a file from its first 256 KiB; `hint` is a name to take the suffix from instead.

    Raises EngineError for a missing, unreadable, empty or binary file, or one of no known format.
    """
    check_file(path)
    with path.open("rb") as file:
        compression = next((name for magic, name in COMPRESSIONS.items() if _peek(file).startswith(magic)), "")
    head = _head(path, compression)
    suffix = _suffix(hint or path.name)
    named = SUFFIXES.get(suffix)
    if head.startswith(b"PAR1") or head.startswith((b"ARROW1", b"\xff\xff\xff\xff")):
        name: FormatName = "parquet" if head.startswith(b"PAR1") else "arrow"
        if compression:
            raise EngineError(f"{path.name!r} is compressed {name}; decompress it first. {_UNTOUCHED}")
        return FileFormat(name)
    _refuse_binary(path, head)
    if not head.strip():
        raise EngineError(f"{path.name!r} holds only blank space; expected {_KINDS}. {_UNTOUCHED}")
    if named in ("parquet", "arrow"):
        raise EngineError(f"{path.name!r} is named {suffix} but is not; the file may be damaged. {_UNTOUCHED}")
    return _text_format(path, head, compression, named)


def open_bytes(path: Path, compression: str) -> BinaryIO:
    """Open a file as a buffered stream of its uncompressed bytes."""
    if not compression:
        return path.open("rb", buffering=1 << 20)
    source: Any = pa.CompressedInputStream(pa.OSFile(str(path)), _CODECS[compression])
    return cast(BinaryIO, io.BufferedReader(source, 64 << 10))


def _peek(file: io.BufferedReader) -> bytes:
    return file.peek(8)[:8]


def _head(path: Path, compression: str) -> bytes:
    """The first bytes, byte-order mark removed; of a stream that breaks off early, what can be had."""
    try:
        with open_bytes(path, compression) as stream:
            head = stream.read(HEAD_BYTES)
    except OSError:
        head = _salvaged(path, compression)
    return head.removeprefix(BOM)


def _salvaged(path: Path, compression: str) -> bytes:
    head = b""
    try:
        with open_bytes(path, compression) as stream:
            while len(head) < HEAD_BYTES and (line := stream.readline(HEAD_BYTES)):
                head += line
    except OSError as error:
        if not head:
            raise EngineError(f"{path.name!r} cannot be decompressed: {error}. {_UNTOUCHED}") from None
    return head


def _suffix(name: str) -> str:
    parts = [part.lower() for part in Path(name).suffixes]
    if parts and parts[-1] in (".gz", ".zst", ".gzip", ".zstd"):
        parts.pop()
    return parts[-1] if parts else ""


def _refuse_binary(path: Path, head: bytes) -> None:
    for magic, words in _KNOWN_BINARY.items():
        if head.startswith(magic):
            raise EngineError(f"{path.name!r} is {words}; expected {_KINDS}. {_UNTOUCHED}")
    control = sum(head.count(byte) for byte in (*range(9), *range(14, 27), *range(28, 32)))
    undecodable = head.decode(errors="replace").count("�")
    if control > len(head) / 20 or undecodable > len(head) / 4:
        raise EngineError(f"{path.name!r} is a binary file; expected {_KINDS}. {_UNTOUCHED}")


def _text_format(path: Path, head: bytes, compression: str, named: FormatName | None) -> FileFormat:
    text = head.lstrip()
    first, _, rest = text.partition(b"\n")
    whole_line = _is_json(first)
    if named == "csv" and not (whole_line and text.startswith(b"{")):
        return FileFormat("csv", compression)
    if text.startswith(b"["):
        if whole_line and rest.strip():
            return FileFormat("jsonl", compression)
        return FileFormat("json", compression, "array", head.index(b"[") + 1)
    if text.startswith(b"{"):
        return _object_format(head, compression, whole_line and bool(rest.strip()), first)
    if named is None:
        raise EngineError(f"cannot tell the format of {path.name!r}; expected {_KINDS}. {_UNTOUCHED}")
    return FileFormat(named, compression)


def _object_format(head: bytes, compression: str, lines: bool, first: bytes) -> FileFormat:
    """Lines of objects, unless the first line is no whole object and the text reads as another layout."""
    wrapped = None if lines else _WRAPPED.match(head)
    if wrapped is not None:
        return FileFormat("json", compression, "wrapped", wrapped.end())
    if not _is_json(first) and (first.strip() == b"{" or _starts_with_object(head)):
        return FileFormat("json", compression, "values", 0)
    return FileFormat("jsonl", compression)


def _is_json(line: bytes) -> bool:
    try:
        json.loads(line)
    except (ValueError, RecursionError):
        return False
    return True


def _starts_with_object(head: bytes) -> bool:
    try:
        json.JSONDecoder().raw_decode(head.decode(errors="replace").lstrip())
    except (ValueError, RecursionError):
        return False
    return True
