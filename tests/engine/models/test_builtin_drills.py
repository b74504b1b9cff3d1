"""The drills' answers are right: recomputed from their questions."""

import re
from datetime import date, datetime, timedelta
from random import Random

from engine.data.demo_words import MONTHS, WEEKDAYS
from engine.models.builtin.drills import calendars, orders, recall, sums

WORK = {"+": int.__add__, "-": int.__sub__, "*": int.__mul__, "/": int.__floordiv__}


def test_sums_are_right() -> None:
    lines = [line for seed in range(20) for line in sums(Random(seed))]
    for question, answer in lines:
        left, sign, right, _ = question.split()
        assert WORK[sign](int(left), int(right)) == int(answer)
    assert len(lines) == 240


def test_every_fact_told_is_recalled() -> None:
    for seed in range(30):
        lines = recall(Random(seed))
        told, _, first = lines[0][0].rpartition("\n")
        facts = {tuple(fact.split(" ", 2)) for fact in told.splitlines()}
        for question, answer in [(first, lines[0][1]), *lines[1:]]:
            one, two = question.removesuffix("?").split(" ", 1)
            assert (one, two, answer.strip()) in facts or (answer.strip(), one, two) in facts
        assert len(lines) == 2 * len(facts)


def test_orders_are_right() -> None:
    for seed in range(40):
        lines = orders(Random(seed))
        shown, _, first = lines[0][0].rpartition("\n")
        words = shown.split(", ")
        key = int if words[0].isdigit() else str
        known = {"same": words, "reverse": words[::-1], "sort": sorted(words, key=key), "last": words[-1:]}
        known |= {place: [word] for place, word in zip(("first", "second", "third"), words)}
        for question, answer in [(first, lines[0][1]), *lines[1:]]:
            name = question.removesuffix(":")
            if name in known:
                assert answer.strip() == ", ".join(known[name])
            else:
                assert {"even": [w for w in words if int(w) % 2 == 0], "largest": [max(words, key=int)]}[name] == (
                    re.findall(r"\d+", answer)
                )


def test_calendars_are_right() -> None:
    months = [name for name, _ in MONTHS]
    for question, answer in (line for seed in range(40) for line in calendars(Random(seed))):
        start, sign, count, unit, _ = question.split()
        step = int(count) * (1 if sign == "+" else -1)
        if unit == "minutes":
            end = datetime.combine(date(2024, 1, 1), datetime.strptime(start, "%H:%M").time()) + timedelta(minutes=step)
            assert answer.strip() == f"{end.hour}:{end.minute:02}"
        else:
            names = WEEKDAYS if unit == "days" else months
            assert answer.strip() == names[(names.index(start) + step) % len(names)]
