"""Prompts and responses of many rows in one file of JSON lines, read in order or by row number.

One line per row: `["prompt", "response"]`. Only where each line begins is kept in memory (8 bytes per row).
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from engine.errors import EngineError

Pair = tuple[str, str]


def text_line(prompt: str, response: str) -> str:
    """The line of one row, with its newline."""
    return json.dumps([prompt, response], ensure_ascii=False) + "\n"


class TextPairs:
    """The rows of one file; iterate for all of them in order."""

    def __init__(self, path: Path) -> None:
        """Find the lines of `path`; `EngineError` where there is no such file."""
        self.path = path
        try:
            with path.open("rb") as file:
                ends = np.cumsum(np.fromiter((len(line) for line in file), dtype=np.int64))
        except FileNotFoundError as error:
            raise EngineError(f"The texts {path} are missing. Resume the job, which writes them.") from error
        self._starts: NDArray[np.int64] = np.concatenate([[0], ends[:-1]]) if len(ends) else ends

    def __len__(self) -> int:
        """How many rows there are."""
        return len(self._starts)

    def __iter__(self) -> Iterator[Pair]:
        """(prompt, response) of every row, in order."""
        with self.path.open("rb") as file:
            for line in file:
                yield _pair(line)

    def pairs(self, rows: Iterable[int] | NDArray[np.int64]) -> list[Pair]:
        """(prompt, response) of the rows asked for, in the order asked for."""
        found = []
        with self.path.open("rb") as file:
            for row in rows:
                file.seek(int(self._starts[int(row)]))
                found.append(_pair(file.readline()))
        return found

    def prompts(self, rows: NDArray[np.int64]) -> Sequence[str]:
        """The prompts of the rows asked for."""
        return [prompt for prompt, _ in self.pairs(rows)]


def _pair(line: bytes) -> Pair:
    prompt, response = json.loads(line)
    return prompt, response
