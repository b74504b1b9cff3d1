"""Tokens of many rows as flat arrays: what a job reads, written once and then memory-mapped.

Notation: n rows, N tokens in all. Row i owns tokens offsets[i]:offsets[i+1]. A row that could not be encoded keeps
its place with length 0 and a reason in `problems`, so row numbers never shift.
This module knows nothing of tokenizers.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import IO, Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from engine.errors import EngineError


@dataclass(frozen=True)
class Encoded:
    """One row's tokens: ids int32 (T,), mask uint8 (T,) 1 on response tokens that are predicted, cut or not."""

    ids: NDArray[np.int32]
    mask: NDArray[np.uint8]
    truncated: bool


@dataclass(frozen=True)
class TokenTable:
    """ids int32 (N,), offsets int64 (n+1,), mask uint8 (N,), truncated bool (n,), problems row → reason."""

    ids: NDArray[np.int32]
    offsets: NDArray[np.int64]
    mask: NDArray[np.uint8]
    truncated: NDArray[np.bool_]
    problems: dict[int, str] = field(default_factory=dict)

    @classmethod
    def of(cls, rows: Iterable[Encoded | str]) -> Self:
        """The table of encoded rows; a string stands for a row that could not be encoded and is its reason."""
        builder = TableBuilder()
        builder.add(rows)
        table = builder.finish()
        return cls(table.ids, table.offsets, table.mask, table.truncated, table.problems)

    @classmethod
    def joined(cls, tables: Sequence["TokenTable"]) -> Self:
        """The rows of several tables one after the other, in memory."""
        starts = np.cumsum([0, *(len(table) for table in tables)])
        lengths = np.concatenate([np.zeros(0, np.int64), *(table.lengths for table in tables)])
        return cls(
            ids=np.concatenate([np.zeros(0, np.int32), *(table.ids for table in tables)]),
            offsets=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
            mask=np.concatenate([np.zeros(0, np.uint8), *(table.mask for table in tables)]),
            truncated=np.concatenate([np.zeros(0, np.bool_), *(table.truncated for table in tables)]),
            problems={int(at) + row: why for at, table in zip(starts, tables) for row, why in table.problems.items()},
        )

    def subset(self, rows: ArrayLike) -> Self:
        """The rows asked for, in that order, as a table of their own in memory."""
        numbers = np.asarray(rows, dtype=np.int64)
        parts = [self.row(int(i)) for i in numbers]
        lengths = [len(ids) for ids, _ in parts]
        return type(self)(
            ids=np.concatenate([np.zeros(0, np.int32), *(ids for ids, _ in parts)]),
            offsets=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
            mask=np.concatenate([np.zeros(0, np.uint8), *(mask for _, mask in parts)]),
            truncated=np.asarray(self.truncated)[numbers],
            problems={at: self.problems[int(i)] for at, i in enumerate(numbers) if int(i) in self.problems},
        )

    def __len__(self) -> int:
        """The number of rows n, unusable ones included."""
        return len(self.offsets) - 1

    @cached_property
    def lengths(self) -> NDArray[np.int64]:
        """Tokens of each row (n,), 0 where the row could not be encoded."""
        return np.diff(self.offsets)

    @cached_property
    def response_lengths(self) -> NDArray[np.int64]:
        """Response tokens that enter each row's loss (n,)."""
        counts = np.zeros(len(self), dtype=np.int64)
        filled = self.usable
        if len(filled):
            counts[filled] = np.add.reduceat(self.mask, self.offsets[filled], dtype=np.int64)
        return counts

    @cached_property
    def usable(self) -> NDArray[np.int64]:
        """Row numbers that have tokens, ascending."""
        return np.flatnonzero(self.lengths)

    def row(self, i: int) -> tuple[NDArray[np.int32], NDArray[np.uint8]]:
        """ids (T,) and mask (T,) of row i."""
        part = slice(int(self.offsets[i]), int(self.offsets[i + 1]))
        return self.ids[part], self.mask[part]

    def outside(self, rows: NDArray[np.int64], vocabulary: int) -> NDArray[np.int64]:
        """Those of `rows` that have a token id which a model of `vocabulary` embedded ids does not know."""
        return rows[np.array([self.row(int(i))[0].max(initial=0) >= vocabulary for i in rows], dtype=np.bool_)]

    def save(self, folder: Path) -> None:
        """Write the arrays as .npy and the problems as JSON into `folder`, which is made if absent."""
        folder.mkdir(parents=True, exist_ok=True)
        np.save(folder / "ids.npy", self.ids)
        np.save(folder / "mask.npy", self.mask)
        _save_index(folder, self.offsets, self.truncated, self.problems)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """The table saved in `folder`, ids and mask memory-mapped; an `EngineError` where it is incomplete."""
        try:
            ids = np.load(folder / "ids.npy", mmap_mode="r", allow_pickle=False)
            mask = np.load(folder / "mask.npy", mmap_mode="r", allow_pickle=False)
            offsets = np.load(folder / "offsets.npy", allow_pickle=False)
            truncated = np.load(folder / "truncated.npy", allow_pickle=False)
            problems = {int(k): v for k, v in json.loads((folder / "problems.json").read_text("utf-8")).items()}
        except (OSError, ValueError) as error:
            raise EngineError(
                f"The token table in {folder} cannot be read: {error}. Tokenise the samples again."
            ) from error
        if len(offsets) != len(truncated) + 1 or not len(ids) == len(mask) == offsets[-1]:
            raise EngineError(f"The token table in {folder} is incomplete: its arrays disagree. Tokenise again.")
        return cls(ids, offsets, mask, truncated, problems)


class TableBuilder:
    """Collects encoded rows; with a folder, tokens go to disk as they come, so memory holds one chunk.

    As a context manager it closes its files however the work ends; what is then not finished is not a table.
    """

    def __init__(self, folder: Path | None = None) -> None:
        """Begin an empty table, in memory or in `folder`."""
        self._folder = folder
        self._ids = _column(folder, "ids.npy", np.dtype(np.int32))
        self._mask = _column(folder, "mask.npy", np.dtype(np.uint8))
        self._lengths: list[int] = []
        self._truncated: list[bool] = []
        self._problems: dict[int, str] = {}

    def __enter__(self) -> Self:
        """The builder itself."""
        return self

    def __exit__(self, *problem: object) -> None:
        """Close the files; those of an unfinished table stay as they are, of no row."""
        self._ids.close()
        self._mask.close()

    def add(self, rows: Iterable[Encoded | str]) -> None:
        """Append rows; a string is the reason why that row has no tokens."""
        for row in rows:
            if isinstance(row, str):
                self._problems[len(self._lengths)] = row
                self._lengths.append(0)
                self._truncated.append(False)
                continue
            self._ids.append(row.ids)
            self._mask.append(row.mask)
            self._lengths.append(len(row.ids))
            self._truncated.append(row.truncated)

    def finish(self) -> TokenTable:
        """The table; with a folder it is complete on disk and memory-mapped."""
        offsets = np.concatenate([[0], np.cumsum(self._lengths, dtype=np.int64)]).astype(np.int64)
        truncated = np.array(self._truncated, dtype=np.bool_)
        ids, mask = self._ids.finish(), self._mask.finish()
        if self._folder is None:
            return TokenTable(ids, offsets, mask, truncated, self._problems)
        _save_index(self._folder, offsets, truncated, self._problems)
        return TokenTable.load(self._folder)


class _MemoryColumn:
    def __init__(self, dtype: np.dtype[Any]) -> None:
        self._dtype = dtype
        self._parts: list[NDArray[Any]] = []

    def append(self, part: NDArray[Any]) -> None:
        self._parts.append(np.asarray(part, dtype=self._dtype))

    def finish(self) -> NDArray[Any]:
        return np.concatenate(self._parts) if self._parts else np.zeros(0, dtype=self._dtype)

    def close(self) -> None:
        """Nothing is open."""


class _FileColumn:
    """A one-dimensional .npy file that grows: numpy pads the header so that the final shape fits in its place."""

    def __init__(self, path: Path, dtype: np.dtype[Any]) -> None:
        self._path, self._dtype, self._count = path, dtype, 0
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("wb")
        _write_header(self._file, dtype, 0)

    def append(self, part: NDArray[Any]) -> None:
        self._file.write(np.ascontiguousarray(part, dtype=self._dtype).tobytes())
        self._count += len(part)

    def finish(self) -> NDArray[Any]:
        self._file.seek(0)
        _write_header(self._file, self._dtype, self._count)
        self.close()
        return np.load(self._path, mmap_mode="r", allow_pickle=False)

    def close(self) -> None:
        self._file.close()


def _column(folder: Path | None, name: str, dtype: np.dtype[Any]) -> _MemoryColumn | _FileColumn:
    return _MemoryColumn(dtype) if folder is None else _FileColumn(folder / name, dtype)


def _write_header(file: IO[bytes], dtype: np.dtype[Any], count: int) -> None:
    header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": (count,)}
    np.lib.format.write_array_header_1_0(file, header)


def _save_index(
    folder: Path, offsets: NDArray[np.int64], truncated: NDArray[np.bool_], problems: dict[int, str]
) -> None:
    np.save(folder / "offsets.npy", offsets)
    np.save(folder / "truncated.npy", truncated)
    text = json.dumps({str(k): v for k, v in problems.items()}, ensure_ascii=False)
    (folder / "problems.json").write_text(text, encoding="utf-8")
