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
    """Raw text and record of the rows (numbers within this file, ascending); neighbours are read in one go.

    Raises `EngineError` if the folder is gone or does not hold such a row.
    """
    offsets = load_array(folder, OFFSETS)
    if len(rows) and rows[-1] >= len(offsets) - 1:
        raise EngineError(
            f"{folder} holds {len(offsets) - 1:,} rows, not row {rows[-1]}: restore the project's backup."
        )
    try:
        with (folder / RAW).open("rb") as raw, (folder / RECORDS).open("rb") as records:
            found: list[tuple[str, Record]] = []
            for run in np.split(rows, np.flatnonzero(np.diff(rows) != 1) + 1) if len(rows) else []:
                bounds = np.asarray(offsets[run[0] : run[-1] + 2])
                texts, lines = _pieces(raw, bounds[:, 0]), _pieces(records, bounds[:, 1])
                found += [(text.decode(), _decode(line)) for text, line in zip(texts, lines, strict=True)]
    except FileNotFoundError as error:
        raise EngineError(f"{error.filename} is missing: restore the project's backup. Nothing was changed.") from error
    return found


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


def _pieces(stream: BinaryIO, bounds: np.ndarray) -> list[bytes]:
    """The pieces between consecutive bounds, without the line feed at the end of each."""
    stream.seek(int(bounds[0]))
    block = stream.read(int(bounds[-1] - bounds[0]))
    local = (bounds - bounds[0]).tolist()
    return [block[a : b - 1] for a, b in itertools.pairwise(local)]


def _encode(record: Record) -> str:
    messages = [(m.role, m.content) for m in record.messages]
    values = [record.line, record.hash, record.own_id, record.chars, record.words, record.fields, messages]
    return json.dumps(values, ensure_ascii=False, separators=(",", ":"))


def _decode(line: bytes) -> Record:
    values = json.loads(line)
    values[-1] = tuple(Message(role, content) for role, content in values[-1])
    return Record(*values)
