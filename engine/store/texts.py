"""The rows of one added file as they are read back: whole, at once, by number.

The catalogue keeps columns, which are scanned; a row's raw line and messages are fetched one by one, and a column store
has to read a hundred thousand neighbours to give one of them. So they lie in an artifact folder of their own:
`raw.bin` (each raw text and a line feed), `records.bin` (each record as one line of JSON), `offsets.npy` int64
(n + 1, 2): where row i begins in either. It is complete before the catalogue names it, and never changed.
Does not know sets, ids that clash or duplicates (`reading`).
"""

import itertools
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from engine.data.samples import Message, Scalar
from engine.errors import EngineError
from engine.store.artifacts import load_array, save_array

RAW, RECORDS, OFFSETS = "raw.bin", "records.bin", "offsets"
GAP = 65_536
BLOCK = 16_777_216


@dataclass(frozen=True)
class Record:
    """What is kept of one row beside its raw text; `hash` is that of the messages."""

    line: int
    hash: str
    own_id: str | None
    chars: int
    words: int
    fields: dict[str, Scalar]
    messages: tuple[Message, ...]


class TextWriter:
    """Appends rows to a folder; `finish` completes it."""

    def __init__(self, raw: BinaryIO, records: BinaryIO) -> None:
        """Write to two open binary files."""
        self._raw = raw
        self._records = records
        self._lengths: list[np.ndarray] = [np.zeros((1, 2), np.int64)]

    def write(self, raw: Sequence[str], records: Sequence[Record]) -> None:
        """Append rows, one raw text per record."""
        lines = [f"{text}\n".encode() for text in raw]
        encoded = [f"{_encode(record)}\n".encode() for record in records]
        self._raw.write(b"".join(lines))
        self._records.write(b"".join(encoded))
        self._lengths.append(np.array([[len(a), len(b)] for a, b in zip(lines, encoded, strict=True)], np.int64))

    def offsets(self) -> np.ndarray:
        """Where each row begins, and where the last ends: int64 (n + 1, 2)."""
        return np.cumsum(np.concatenate(self._lengths), axis=0)


@contextmanager
def writing(folder: Path) -> Iterator[TextWriter]:
    """Give a writer for an empty folder; the offsets are written at the end."""
    with (folder / RAW).open("wb") as raw, (folder / RECORDS).open("wb") as records:
        writer = TextWriter(raw, records)
        yield writer
    save_array(folder, OFFSETS, writer.offsets())


def read_texts(folder: Path, rows: np.ndarray) -> list[tuple[str, Record]]:
    """Raw text and record of the rows (numbers within this file, ascending).

    Raises `EngineError` if the folder is gone or does not hold such a row.
    """
    offsets = _offsets(folder, rows)
    lines = _read(folder / RECORDS, offsets[:, 1], rows)
    return [(raw.decode(), _decode(line)) for raw, line in zip(read_raw(folder, rows), lines, strict=True)]


def read_raw(folder: Path, rows: np.ndarray) -> list[bytes]:
    """Raw texts alone, as the bytes they are kept in; otherwise as `read_texts`."""
    return _read(folder / RAW, _offsets(folder, rows)[:, 0], rows)


def is_whole(folder: Path, rows: int) -> bool:
    """Whether the folder holds this many rows and files of the sizes its offsets tell."""
    try:
        offsets = load_array(folder, OFFSETS)
        sizes = [(folder / name).stat().st_size for name in (RAW, RECORDS)]
    except (EngineError, FileNotFoundError):
        return False
    return offsets.shape == (rows + 1, 2) and offsets[-1].tolist() == sizes


def encode_messages(messages: Sequence[Message]) -> str:
    """Messages as compact JSON pairs [role, content]: the text that is hashed."""
    return json.dumps([(m.role, m.content) for m in messages], ensure_ascii=False, separators=(",", ":"))


def _offsets(folder: Path, rows: np.ndarray) -> np.ndarray:
    offsets = load_array(folder, OFFSETS)
    if len(rows) and rows[-1] >= len(offsets) - 1:
        raise EngineError(
            f"{folder} holds {len(offsets) - 1:,} samples, not sample {rows[-1]}: restore the project's backup."
        )
    return offsets


def _read(path: Path, bounds: np.ndarray, rows: np.ndarray) -> list[bytes]:
    """The rows' bytes without their line feeds; rows less than `GAP` bytes apart are read in one go."""
    if not len(rows):
        return []
    starts, ends = np.asarray(bounds[rows]), np.asarray(bounds[rows + 1])
    breaks = np.flatnonzero((starts[1:] - ends[:-1] > GAP) | (ends[1:] // BLOCK != ends[:-1] // BLOCK)) + 1
    found: list[bytes] = []
    try:
        with path.open("rb") as stream:
            for first, last in itertools.pairwise([0, *breaks.tolist(), len(rows)]):
                base = int(starts[first])
                stream.seek(base)
                block = stream.read(int(ends[last - 1]) - base)
                local = zip((starts[first:last] - base).tolist(), (ends[first:last] - base).tolist(), strict=True)
                found += [block[start : end - 1] for start, end in local]
    except FileNotFoundError as error:
        raise EngineError(f"{path} is missing: restore the project's backup. Nothing was changed.") from error
    return found


def _encode(record: Record) -> str:
    messages = [(m.role, m.content) for m in record.messages]
    values = [record.line, record.hash, record.own_id, record.chars, record.words, record.fields, messages]
    return json.dumps(values, ensure_ascii=False, separators=(",", ":"))


def _decode(line: bytes) -> Record:
    values = json.loads(line)
    values[-1] = tuple(Message(role, content) for role, content in values[-1])
    return Record(*values)
