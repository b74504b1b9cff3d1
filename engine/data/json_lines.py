"""Lines of bytes with a bound on their length, and JSONL: one JSON object per line, kept byte for byte.

Only "\\n" ends a line (a "\\r" before it stays part of the row). Blank lines are skipped but counted.
Memory: one line of at most the limit, whatever the size of the file.
"""

from collections.abc import Iterator
from typing import BinaryIO

from engine.data.formats import BOM
from engine.data.records import LINE_LIMIT, Record, bad_row, decode_object, decode_text, too_long
from engine.data.samples import BadRow
from engine.data.turns import RowProblem


def bounded_lines(stream: BinaryIO, *, limit: int = LINE_LIMIT) -> Iterator[tuple[int, bytes, bool]]:
    """Yield (line number from 1, the line without its newline, whole) for every line.

    Of a line longer than `limit` bytes the first `limit` come, with whole=False; the rest is read past. The
    byte-order mark of the file's start is removed.
    """
    number = 0
    while piece := stream.readline(limit + 1):
        number += 1
        whole = piece.endswith(b"\n") or len(piece) <= limit
        while piece and not whole and (rest := stream.readline(1 << 20)):
            if rest.endswith(b"\n"):
                break
        line = piece.removesuffix(b"\n") if whole else piece[:limit]
        yield number, line.removeprefix(BOM) if number == 1 else line, whole


def read_json_lines(stream: BinaryIO, *, limit: int = LINE_LIMIT) -> Iterator[Record | BadRow]:
    """Yield one record or one bad row for every line that is not blank."""
    for number, line, whole in bounded_lines(stream, limit=limit):
        if not whole:
            yield bad_row(number, too_long(limit), line)
        elif line and not line.isspace():
            yield _record(number, line)


def _record(number: int, line: bytes) -> Record | BadRow:
    try:
        text = decode_text(line)
        return Record(number, text, decode_object(text))
    except RowProblem as problem:
        return bad_row(number, problem.reason, line)
