"""One record of a file before its schema is known: JSON text to values, values to canonical JSON, faults to reasons.

Values that JSON cannot hold (Parquet, Arrow) follow one rule, `plain`: NaN → null; infinities → "Infinity" and
"-Infinity"; date, time and timestamp → ISO 8601 text; duration → seconds; decimal and UUID → text; bytes → UTF-8
text where valid, else base64 text; tuples and maps → lists (of pairs).
Knows neither files (`formats`, `readers`) nor schemas.
"""

import base64
import datetime
import decimal
import json
import math
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NoReturn

from engine.data.samples import BadRow
from engine.data.turns import RowProblem, kind_of

LINE_LIMIT = 16 << 20
"""Longest record that is read, in bytes; longer ones are set aside without being held in memory."""
EXCERPT_CHARS = 200


@dataclass(frozen=True, slots=True)
class Record:
    """One row as read: `line` and `raw` as in `samples.Row`, `value` the row's object."""

    line: int
    raw: str
    value: dict[str, Any]


def bad_row(line: int, reason: str, raw: str | bytes = "") -> BadRow:
    """Return the row set aside with the beginning of its text, undecodable bytes shown as U+FFFD."""
    text = raw[: 4 * EXCERPT_CHARS].decode(errors="replace") if isinstance(raw, bytes) else raw
    text = text[:EXCERPT_CHARS].strip()
    return BadRow(line, reason, text.encode(errors="replace").decode())


def too_long(limit: int) -> str:
    """The reason for a record above `limit` bytes."""
    return f"too long: more than {limit / (1 << 20):g} MiB"


def decode_text(data: bytes) -> str:
    """Return UTF-8 text; raises `RowProblem` with the offending byte's place (from 1)."""
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise RowProblem(f"invalid UTF-8: byte 0x{data[error.start]:02x} at byte {error.start + 1}") from None


def decode_object(text: str) -> dict[str, Any]:
    """Return the JSON object in `text`; raises `RowProblem` (broken JSON, NaN, not an object)."""
    try:
        value = _DECODER.decode(text)
    except json.JSONDecodeError as error:
        raise RowProblem(f"broken JSON: {error.msg} at character {error.pos + 1}") from None
    except RecursionError:
        raise RowProblem("broken JSON: nested too deeply") from None
    except ValueError as error:
        raise RowProblem(f"broken JSON: {error}") from None
    if not isinstance(value, dict):
        raise RowProblem(f"not an object: the row is {kind_of(value)}")
    return value


def canonical(value: Any) -> str:
    """Return one line of JSON: keys in their order, text unescaped unless UTF-8 cannot hold it.

    `json.loads` of the result gives `value` back. Raises `RowProblem` for NaN, infinities and too deep nesting.
    """
    try:
        text = _ENCODER.encode(value)
    except (ValueError, RecursionError) as error:
        raise RowProblem(f"unreadable value: {error}") from None
    try:
        text.encode()
    except UnicodeEncodeError:
        return json.dumps(value, allow_nan=False)
    return text


def plain(value: Any) -> Any:
    """Return `value` with everything JSON cannot hold replaced by the module's rule, nested values included."""
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else _not_finite(value)
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    for kind, convert in _CONVERSIONS:
        if isinstance(value, kind):
            return convert(value)
    raise RowProblem(f"unreadable value: {type(value).__name__} has no JSON form")


def _not_finite(value: float) -> str | None:
    return None if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def _bytes_text(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return base64.b64encode(value).decode("ascii")


def _refuse_constant(name: str) -> NoReturn:
    raise RowProblem(f"NaN: {name} is not JSON")


_CONVERSIONS: tuple[tuple[type, Callable[[Any], Any]], ...] = (
    (bytes, _bytes_text),
    (datetime.datetime, lambda value: value.isoformat()),
    (datetime.date, lambda value: value.isoformat()),
    (datetime.time, lambda value: value.isoformat()),
    (datetime.timedelta, lambda value: value.total_seconds()),
    (decimal.Decimal, str),
    (uuid.UUID, str),
)
_DECODER = json.JSONDecoder(parse_constant=_refuse_constant)
_ENCODER = json.JSONEncoder(ensure_ascii=False, allow_nan=False)
