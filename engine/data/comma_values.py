"""CSV (comma, semicolon or tab): a header, then records whose values stay text.

The delimiter is the one of ",", ";" and tab that stands most often in the header. Quoting follows RFC 4180 strictly
(a closing quote is followed by a delimiter), or else a lost quote would glue two rows into one that nobody wrote.
A quoted value may span lines; `line` is the physical line where the record starts. An empty value is "".
Where quoting breaks, the lines it swallowed are read again one by one if most of them are rows themselves.
Not read: headerless files, other delimiters, other encodings than UTF-8.
"""

import csv
from collections import deque
from collections.abc import Iterator
from typing import BinaryIO

from engine.data.json_lines import bounded_lines
from engine.data.records import LINE_LIMIT, Record, bad_row, canonical, too_long
from engine.data.samples import BadRow
from engine.data.turns import RowProblem
from engine.errors import EngineError

DELIMITERS = (",", ";", "\t")


def read_comma_values(stream: BinaryIO, *, limit: int = LINE_LIMIT) -> Iterator[Record | BadRow]:
    """Yield one record or bad row per CSV record.

    `limit`: longest record in bytes, and in lines' sum. Raises EngineError where the header is no header.
    """
    feed = _Feed(stream, limit=limit)
    header = _header(feed)
    if header is None:
        return
    names, delimiter = header
    while (start := feed.begin()) is not None:
        try:
            cells = _next_cells(feed, delimiter, columns=len(names))
            if cells:
                value = _value(names, cells)
                yield Record(start, canonical(value), value)
        except RowProblem as problem:
            yield bad_row(start, problem.reason, feed.text())


class _Feed:
    """The file's lines as the csv module wants them, remembering those of the record being read."""

    def __init__(self, stream: BinaryIO, *, limit: int) -> None:
        self.limit = limit
        self.lines = bounded_lines(stream, limit=limit)
        self.waiting: deque[tuple[int, str, bool]] = deque()
        self.taken: list[tuple[int, str, bool]] = []
        self.size = 0

    def begin(self) -> int | None:
        """Start a record; the number of its first line, or None at the end of the file."""
        self.taken, self.size = [], 0
        if not self.waiting and not self._fetch():
            return None
        return self.waiting[0][0]

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        if self.size > self.limit or (not self.waiting and not self._fetch()):
            raise StopIteration
        self.taken.append(self.waiting.popleft())
        self.size += len(self.taken[-1][1])
        return self.taken[-1][1]

    def text(self) -> str:
        return "".join(text for _, text, _ in self.taken)

    def whole(self) -> bool:
        return all(whole for _, _, whole in self.taken)

    def give_back(self) -> None:
        """Put back all lines of the record but its first, to be read as records of their own."""
        self.waiting.extendleft(reversed(self.taken[1:]))
        del self.taken[1:]

    def _fetch(self) -> bool:
        found = next(self.lines, None)
        if found is not None:
            number, line, whole = found
            self.waiting.append((number, line.decode(errors="surrogateescape") + "\n", whole))
        return found is not None


def _header(feed: _Feed) -> tuple[list[str], str] | None:
    """The column names and the delimiter; None for a file without any text."""
    while feed.begin() is not None:
        first = feed.waiting[0][1]
        if not first.strip():
            next(feed)
            continue
        delimiter = max(DELIMITERS, key=first.count)
        try:
            cells = _next_cells(feed, delimiter, columns=0)
        except RowProblem as problem:
            raise EngineError(f"the CSV header cannot be read: {problem.reason}. Nothing was added.") from None
        names = [cell.strip() or f"column {at}" for at, cell in enumerate(cells, start=1)]
        double = next((name for name in names if names.count(name) > 1), None)
        if double is not None:
            raise EngineError(f"the CSV header names column {double!r} twice; rename one. Nothing was added.")
        if any(_undecodable(name) for name in names):
            raise EngineError("the CSV header is not UTF-8; save the file as UTF-8. Nothing was added.")
        return names, delimiter
    return None


def _next_cells(feed: _Feed, delimiter: str, *, columns: int) -> list[str]:
    """The cells of one record ([] for a blank line); raises `RowProblem` for a broken one."""
    if csv.field_size_limit() < 2 * feed.limit:  # one setting for the whole process, only ever raised
        csv.field_size_limit(2 * feed.limit)
    try:
        cells = next(csv.reader(feed, delimiter=delimiter, strict=True))
    except csv.Error as error:
        reason = "a quote is opened and never closed" if "end of data" in str(error) else str(error)
        raise RowProblem(_broken(feed, reason, _mostly_rows(feed, delimiter, columns))) from None
    if feed.size > feed.limit or not feed.whole():
        raise RowProblem(too_long(feed.limit))
    return cells


def _broken(feed: _Feed, reason: str, again: bool) -> str:
    """The reason for a broken record; with `again`, its lines but the first are put back to be read as rows."""
    if not feed.whole():
        return too_long(feed.limit)
    swallowed = len(feed.taken) - 1
    if not swallowed:
        return f"broken CSV: {reason}"
    if again:
        feed.give_back()
    fate = "read again as rows of their own" if again else "set aside with it"
    return f"broken CSV: {reason}; {swallowed} lines after it were {fate}"


def _mostly_rows(feed: _Feed, delimiter: str, columns: int) -> bool:
    """Whether at least half of the lines behind a broken record's first are whole rows of so many columns."""
    lines = [text for _, text, _ in feed.taken[1:] if text.strip()]
    return 2 * sum(_width(line, delimiter) == columns for line in lines) >= len(lines)


def _width(line: str, delimiter: str) -> int:
    try:
        return len(next(csv.reader([line], delimiter=delimiter, strict=True), []))
    except csv.Error:
        return -1


def _value(names: list[str], cells: list[str]) -> dict[str, str]:
    if len(cells) != len(names):
        raise RowProblem(f"wrong number of columns: {len(cells)}, expected {len(names)}")
    for name, cell in zip(names, cells, strict=True):
        if _undecodable(cell):
            raise RowProblem(f"invalid UTF-8: in column '{name}'")
    return dict(zip(names, cells, strict=True))


def _undecodable(text: str) -> bool:
    """Whether bytes that are no UTF-8 were carried over as surrogates."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False
