"""Wording shared by the pages: numbers with units, dates, and text made safe for places that read Markdown.

Most Streamlit labels, captions, metrics and messages interpret Markdown, emoji codes and bare addresses. Every string
a user or a file supplied goes through `plain` before it reaches one of them, so that it is shown as it was typed.
It does not shorten or translate meaning: `shorten` does the former, and only for display.
"""

import math
import re
import string
from datetime import datetime

JOINER = "\u2060"  # invisible, forbids a line break; enough to keep ":x:", "http://" and "a@b" from being recognised
_ESCAPE = {ord(c): "\\" + c for c in string.punctuation} | {ord(c): f"{JOINER}\\{c}{JOINER}" for c in ":@.$"}
_HIDDEN = {c: f"⟨U+{c:04X}⟩" for c in [*range(9), 11, 12, *range(14, 32), *range(127, 160), 0x061C, 0x200E, 0x200F]}
_HIDDEN |= {c: f"⟨U+{c:04X}⟩" for c in [*range(0x2028, 0x202F), *range(0x2060, 0x2070), 0xAD, 0x200B, 0xFEFF]}
_HIDDEN |= {c: f"⟨U+{c:04X}⟩" for c in [*range(0xFFF9, 0xFFFC), *range(0xE0000, 0xE0080)]}  # tags can hide whole texts
# joiners belong to words of many scripts and to emoji; between plain letters they only hide
_JOINERS = re.compile("(?<![^\x00-\x7f])[\u200c\u200d](?![^\x00-\x7f])")
_SPACES = {ord(c): " " for c in "\r\n\t\v\f\x1c\x1d\x1e\x85\u2028\u2029"}


def plain(text: object) -> str:
    """`text` so that a Markdown renderer shows its characters and nothing else; line breaks become spaces."""
    return str(text).translate(_SPACES).translate(_ESCAPE)


def visible(text: str) -> str:
    """`text` with control characters, those of no width and those that turn the reading direction spelt out."""
    return _JOINERS.sub(lambda found: f"⟨U+{ord(found[0]):04X}⟩", text.translate(_HIDDEN))


def shorten(text: str, limit: int = 80) -> str:
    """One line of at most `limit` characters, cut with an ellipsis. Not escaped."""
    line = " ".join(text[: limit * 8].split())
    return line if len(line) <= limit and len(text) <= limit * 8 else line[: limit - 1].rstrip() + "…"


def count(number: int, singular: str = "", plural: str = "") -> str:
    """`1,204 rows`: thousands separated, the noun in its number; the plural is the singular with s unless given."""
    noun = singular if number == 1 else plural or (singular + "s" if singular else "")
    return f"{number:,} {noun}".strip()


def opened(text: str) -> str:
    """`text` with a capital at its beginning; the rest as it is."""
    return text[:1].upper() + text[1:]


def score(value: float) -> str:
    """A score with its sign and four decimals; a dash where there is none."""
    return "–" if not math.isfinite(value) else f"{value:+.4f}"


def near(*values: float) -> list[str]:
    """Values that are read beside each other, with two digits of what they differ by."""
    apart = max(values) - min(values)
    decimals = min(6, max(0, 1 - math.floor(math.log10(apart)))) if apart > 0 else 4
    return [f"{value:.{decimals}f}" for value in values]


def percent(share: float, decimals: int = 1) -> str:
    """A share of one as a percentage; a dash where there is none, "< 0.1 %" for what would round to nothing."""
    if not math.isfinite(share):
        return "–"
    least = 10.0**-decimals
    return f"< {least:.{decimals}f} %" if 0 < 100 * share < least / 2 else f"{100 * share:.{decimals}f} %"


def duration(seconds: float) -> str:
    """Seconds as the two largest units a person would say."""
    if not math.isfinite(seconds):
        return "unknown"
    if seconds < 1:
        return "under 1 s"
    whole = round(seconds)
    for unit, size, below, small in (("d", 86400, "h", 3600), ("h", 3600, "min", 60), ("min", 60, "s", 1)):
        if whole >= size:
            return f"{whole // size} {unit} {whole % size // small} {below}"
    return f"{whole} s"


def size(number: float) -> str:
    """Bytes in decimal units."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if number < 1000:
            return f"{number:,.0f} {unit}" if unit == "bytes" else f"{number:,.1f} {unit}"
        number /= 1000
    return f"{number:,.1f} TB"


def moment(when: datetime | str | float | None) -> str:
    """A point in time as `2025-05-01 14:03`, whatever form the record keeps."""
    if when is None or when == "":
        return "–"
    if isinstance(when, str) and when.replace(".", "", 1).isdigit():
        when = float(when)
    if isinstance(when, int | float):
        when = datetime.fromtimestamp(when)
    return when.strftime("%Y-%m-%d %H:%M") if isinstance(when, datetime) else str(when)[:16].replace("T", " ")
