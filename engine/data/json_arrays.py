"""A JSON array of any size as a stream of its elements, and its relatives (wrapped in an object, values in a row).

A scanner that knows only strings, brackets and commas finds where each element ends; the element alone is then
parsed. So memory is one element of at most the limit, and a broken element does not take the others with it:
where its brackets balance, the next element follows; where they do not (a lost quote or brace), reading goes on
at the next object that begins with the key that rows began with so far. What cannot be followed is said.
Notation: `at` is where the current element starts in the window, `scan` how far the scanner has come.
Missing or doubled commas between elements are forgiven. Lines count elements from 1.
"""

import re
from collections.abc import Iterator
from typing import BinaryIO

from engine.data.formats import BOM, Layout
from engine.data.records import LINE_LIMIT, Record, bad_row, canonical, decode_object, decode_text, too_long
from engine.data.samples import BadRow
from engine.data.turns import RowProblem

CHUNK = 1 << 20

_IN_STRING = re.compile(rb'[^"\\]*+(?:\\.[^"\\]*+)*+', re.DOTALL)
_OUTSIDE = re.compile(rb'[^"\[\]{},]*+')
_STRING = rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"'
_BETWEEN = re.compile(rb"[\s,]*+")
_FIRST_KEY = re.compile(rb'\{\s*+("[^"\\]*+")\s*+:')


def _balanced(levels: int) -> re.Pattern[bytes]:
    """What the scanner would accept as one bracketed element, down to so many levels, as one expression (faster)."""
    pattern = rb"[\[{](?:[^\"\[\]{}]++|%s)*+[\]}]" % _STRING
    for _ in range(levels - 1):
        pattern = rb"[\[{](?:[^\"\[\]{}]++|%s|%s)*+[\]}]" % (_STRING, pattern)
    return re.compile(pattern, re.DOTALL)


_ELEMENT = _balanced(5)
_LOST = "broken JSON: the array cannot be followed beyond the element before; the rest was not read"


def read_json_array(
    stream: BinaryIO, *, layout: Layout = "array", start: int = 0, limit: int = LINE_LIMIT, chunk: int = CHUNK
) -> Iterator[Record | BadRow]:
    """Yield one record or bad row per element.

    `start`: bytes to pass over, the array's opening bracket included; `limit`: longest element in bytes; `chunk`:
    bytes per read, which changes nothing but speed.
    """
    return _Elements(stream, layout=layout, start=start, limit=limit, chunk=chunk).read()


class _Elements:
    """The scanner's window on the stream and its state within the current element."""

    def __init__(self, stream: BinaryIO, *, layout: Layout, start: int, limit: int, chunk: int) -> None:
        self.stream, self.layout, self.limit, self.chunk = stream, layout, limit, chunk
        self.data = b""
        self.at = self.scan = 0
        self.depth, self.in_string = 0, False
        self.ended = False
        self.line = 0
        self.key = b""
        while len(self.data) < len(BOM) + start and self.more():
            pass
        self.data = self.data.removeprefix(BOM)[start:]

    def more(self) -> bool:
        """Drop what lies before the current element and append the next chunk; False at the end of the file."""
        piece = b"" if self.ended else self.stream.read(self.chunk)
        self.ended = not piece
        self.data = self.data[self.at :] + piece
        self.scan -= self.at
        self.at = 0
        return not self.ended

    def read(self) -> Iterator[Record | BadRow]:
        while self.begin():
            self.line += 1
            end = self.find_end()
            if self.scan - self.at > self.limit:
                yield self.oversize(end)
                continue
            text = self.data[self.at : len(self.data) if end is None else end]
            record = self.record(text, whole=end is not None)
            yield record
            if not isinstance(record, BadRow) or not record.reason.startswith("broken JSON"):
                self.at += len(text)
            elif not self.recover(len(text)):
                self.line += 1
                yield bad_row(self.line, _LOST, self.data[self.at : self.at + min(self.limit, 1000)])
                return
            elif end is None and self.at >= len(self.data):
                return
        yield from self.closing()

    def begin(self) -> bool:
        """Move to the start of the next element; False at the end of the array or file."""
        while True:
            found = _BETWEEN.match(self.data, self.at)
            self.at = self.scan = found.end() if found else self.at
            self.depth, self.in_string = 0, False
            if self.at < len(self.data):
                return self.layout == "values" or self.data[self.at] != 0x5D  # "]"
            if not self.more():
                return False

    def find_end(self) -> int | None:
        """Return where the current element ends; None at the end of the file or once above the limit."""
        if found := _ELEMENT.match(self.data, self.at):
            self.scan = found.end()
            return self.scan
        while (end := self.step_through()) is None:
            if self.scan - self.at > self.limit or not self.more():
                return None
        return end

    def step_through(self) -> int | None:
        """Scan the window on; the element's end, or None where the window ends first. Resumes exactly."""
        data, size = self.data, len(self.data)
        while self.scan < size:
            pattern = _IN_STRING if self.in_string else _OUTSIDE
            found = pattern.match(data, self.scan)
            self.scan = found.end() if found else self.scan
            if self.scan >= size or data[self.scan] == 0x5C:  # a backslash whose partner has not come yet
                return None
            sign = data[self.scan : self.scan + 1]
            if self.depth == 0 and sign in b",]" and not self.in_string and not self.stray(sign):
                return self.scan
            self.scan += 1
            if self.turn(sign):
                return self.scan
        return None

    def stray(self, sign: bytes) -> bool:
        """A closing bracket that closes nothing here, where values follow one another without an array."""
        return self.layout == "values" and sign == b"]"

    def turn(self, sign: bytes) -> bool:
        """Take one structural sign into account; True where it closes the element."""
        if sign == b'"':
            self.in_string = not self.in_string
        elif sign in b"[{":
            self.depth += 1
        elif sign in b"]}" and self.depth:
            self.depth -= 1
            return self.depth == 0
        return False

    def record(self, text: bytes, *, whole: bool) -> Record | BadRow:
        """The current element parsed; of the first good one, the first key is remembered."""
        try:
            if not whole:
                raise RowProblem("broken JSON: the file ends inside this element")
            value = decode_object(decode_text(text.strip()))
            raw = canonical(value)
        except RowProblem as problem:
            return bad_row(self.line, problem.reason, text)
        if not self.key and (found := _FIRST_KEY.match(text)):
            self.key = found[1]
        return Record(self.line, raw, value)

    def recover(self, length: int) -> bool:
        """Move behind a broken element of `length` bytes; False where the array cannot be followed.

        First choice is a row it swallowed, second its own end if the array goes on there, third any later row.
        """
        following = self.next_row(self.at + length)
        if following is None and self.sound(self.at + length):
            following = self.at + length
        if following is None:
            while len(self.data) - self.at <= self.limit and self.more():
                pass
            following = self.next_row(self.at + self.limit)
        self.at = self.at if following is None else following
        return following is not None

    def next_row(self, stop: int) -> int | None:
        """Where, behind the current element's start and before `stop`, an object with the rows' first key begins."""
        first = _FIRST_KEY.match(self.data, self.at)
        key = self.key or (first[1] if first else b"")
        if not key:
            return None
        found = re.compile(rb"[,}\n\]]\s*+(?=\{\s*+" + re.escape(key) + rb"\s*+:)").search(self.data, self.at + 1, stop)
        return found.end() if found else None

    def sound(self, end: int) -> bool:
        """Whether the array goes on behind `end`: with an object, or with its own end."""
        length = end - self.at
        while True:
            found = _BETWEEN.match(self.data, self.at + length)
            after = found.end() if found else self.at + length
            if after < len(self.data) or not self.more():
                break
        if after >= len(self.data) or self.data[after] == 0x7B:  # "{"
            return True
        return self.data[after] == 0x5D and self.closes(after)

    def closes(self, bracket: int) -> bool:
        """Whether the closing bracket is followed by nothing (or, in a wrapping object, by its other members)."""
        rest = self.ahead(bracket)
        return not rest or (self.layout == "wrapped" and rest[:1] in b",}")

    def ahead(self, bracket: int) -> bytes:
        """The next 64 bytes behind `bracket`, without the blank space before them."""
        length = bracket - self.at
        while len(self.data) - self.at - length <= 64 and self.more():
            pass
        return self.data[self.at + length + 1 : self.at + length + 65].lstrip()

    def oversize(self, end: int | None) -> BadRow:
        """Set aside an element above the limit and read past it without keeping it."""
        excerpt = self.data[self.at : self.at + min(self.limit, 1000)]
        following = self.next_row(self.at + self.limit)
        if following is not None:
            self.at = following
            return bad_row(self.line, "broken JSON: its end is missing", excerpt)
        while end is None:
            self.at = self.scan
            end = self.step_through() if self.more() else len(self.data)
        self.at = end
        return bad_row(self.line, too_long(self.limit), excerpt)

    def closing(self) -> Iterator[BadRow]:
        """Say what is wrong with the array's end, if anything is."""
        if self.layout == "values":
            return
        if self.at >= len(self.data):
            yield bad_row(self.line + 1, "broken JSON: the array is never closed; the file may be cut off")
        elif not self.closes(self.at):
            reason = "broken JSON: text after the end of the array was not read"
            yield bad_row(self.line + 1, reason, self.ahead(self.at))
