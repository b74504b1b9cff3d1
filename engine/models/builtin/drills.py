"""Exercises as plain text, dense in answers: sums, look-ups, orders and calendars.

A chat teaches one answer in some fifty words; a drill teaches a dozen. They make the model learn what the chats of the
demo's generators presuppose: small sums, finding what was said of a name, keeping and turning an order, days and
times.
"""

from collections.abc import Callable
from random import Random

from engine.data.demo_samples import pick
from engine.data.demo_words import (
    ANIMALS,
    CITIES,
    COLOURS,
    DISHES,
    ITEMS,
    JOBS,
    MONTHS,
    NAMES,
    PASTIMES,
    PLACES,
    PLAIN_WORDS,
    WEEKDAYS,
)

Line = tuple[str, str]
"""A question, and the answer that follows it."""

_KINDS = (
    ("city", CITIES),
    ("job", JOBS),
    ("likes", PASTIMES),
    ("cooks", DISHES),
    ("place", PLACES),
    ("colour", COLOURS),
    ("pet", tuple(one for one, _ in ANIMALS)),
    ("number", tuple(str(number) for number in range(2, 60))),
)
_LISTS = (PLAIN_WORDS, NAMES, CITIES, tuple(many for _, many in ITEMS))


def sums(rng: Random) -> list[Line]:
    """Twelve sums within the sizes of the demo."""
    return [_sum(rng) for _ in range(12)]


def _sum(rng: Random) -> Line:
    left, right = rng.randint(0, 12), rng.randint(1, 12)
    kind = rng.choice("++--*/")
    if kind in "+-":
        left, right = rng.randint(1, 60), rng.randint(1, 30)
    if kind == "-":
        left += right
    result = {"+": left + right, "-": left - right, "*": left * right, "/": left}[kind]
    return f"{left * right if kind == '/' else left} {kind} {right} =", f" {result}\n"


def recall(rng: Random) -> list[Line]:
    """A few people with facts about each, then every fact asked for in random order, by name and by fact."""
    names = pick(rng, NAMES, rng.randint(2, 4))
    kinds = pick(rng, _KINDS, rng.randint(1, 3))
    facts = [
        (name, kind, value) for kind, options in kinds for name, value in zip(names, pick(rng, options, len(names)))
    ]
    told = "\n".join(f"{name} {kind} {value}" for name, kind, value in pick(rng, facts, len(facts)))
    asked = [(f"{name} {kind}?", f" {value}\n") for name, kind, value in facts]
    asked += [(f"{kind} {value}?", f" {name}\n") for name, kind, value in facts]
    lines = pick(rng, asked, len(asked))
    return [(f"{told}\n{lines[0][0]}", lines[0][1]), *lines[1:]]


def orders(rng: Random) -> list[Line]:
    """One short list of words or numbers, turned, sorted and counted off."""
    numbers = rng.random() < 0.4
    words = [str(n) for n in pick(rng, range(1, 60), rng.randint(3, 5))]
    if not numbers:
        words = pick(rng, rng.choice(_LISTS), rng.randint(3, 5))
    shown = ", ".join(words)
    rising = sorted(words, key=int) if numbers else sorted(words)
    lines = [
        ("same:", f" {shown}\n"),
        ("reverse:", f" {', '.join(words[::-1])}\n"),
        ("sort:", f" {', '.join(rising)}\n"),
        *((f"{place}:", f" {word}\n") for place, word in zip(("first", "second", "third"), words)),
        ("last:", f" {words[-1]}\n"),
    ]
    if numbers:
        lines += [("even:", f" {[int(w) for w in words if int(w) % 2 == 0]}\n"), ("largest:", f" {rising[-1]}\n")]
    chosen = pick(rng, lines, 5)
    return [(f"{shown}\n{chosen[0][0]}", chosen[0][1]), *chosen[1:]]


def calendars(rng: Random) -> list[Line]:
    """Ten steps in weekdays, months and times of day."""
    return [rng.choice((_weekday, _month, _clock))(rng) for _ in range(10)]


def _weekday(rng: Random) -> Line:
    at, step = rng.randrange(7), rng.randint(-12, 12)
    return f"{WEEKDAYS[at]} {'+' if step >= 0 else '-'} {abs(step)} days =", f" {WEEKDAYS[(at + step) % 7]}\n"


def _month(rng: Random) -> Line:
    at, step = rng.randrange(12), rng.randint(-6, 6)
    return f"{MONTHS[at][0]} {'+' if step >= 0 else '-'} {abs(step)} months =", f" {MONTHS[(at + step) % 12][0]}\n"


def _clock(rng: Random) -> Line:
    start, length = rng.randint(6, 20) * 60 + rng.randrange(0, 60, 5), rng.randrange(10, 60, 5)
    end = start + length
    return f"{start // 60}:{start % 60:02} + {length} minutes =", f" {end // 60}:{end % 60:02}\n"


DRILLS: tuple[Callable[[Random], list[Line]], ...] = (sums, recall, orders, calendars)
