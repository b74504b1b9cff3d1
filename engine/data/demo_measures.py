"""Units and calendars: the demo's `units` and `calendar` sources."""

from random import Random

from engine.data.demo_samples import Draft, Workings, other, pick, worked
from engine.data.demo_words import MONTHS, NAMES, PLACES, WEEKDAYS

UNITS = "units"
CALENDAR = "calendar"

# (large unit, its plural, small plural, factor, what is measured)
_SCALES = (
    ("metre", "metres", "centimetres", 100, "A ribbon is"), ("kilometre", "kilometres", "metres", 1000, "A path is"),
    ("kilogram", "kilograms", "grams", 1000, "A parcel weighs"), ("hour", "hours", "minutes", 60, "A film lasts"),
    ("minute", "minutes", "seconds", 60, "A song lasts"), ("day", "days", "hours", 24, "A voyage takes"),
    ("week", "weeks", "days", 7, "A course runs for"), ("year", "years", "months", 12, "A contract runs for"),
    ("litre", "litres", "millilitres", 1000, "A jug holds"), ("foot", "feet", "inches", 12, "A board is"),
    ("yard", "yards", "feet", 3, "A rope is"), ("euro", "euros", "cents", 100, "A ticket costs"),
    ("dozen", "dozen", "eggs", 12, "A cook orders"), ("centimetre", "centimetres", "millimetres", 10, "A nail is"),
)  # fmt: skip


def units(rng: Random) -> Draft:
    """One conversion or comparison of units."""
    return rng.choice((_down, _down, _up, _up, _longer, _rest))(rng)


def calendar(rng: Random) -> Draft:
    """One question on weekdays, months, dates or times of day."""
    return rng.choice((_weekday, _weekday, _month, _length, _date, _clock, _clock, _span))(rng)


def _down(rng: Random) -> Draft:
    one, many, small, factor, lead = rng.choice(_SCALES)
    count = rng.randint(2, 12)
    name, place = rng.choice(NAMES), rng.choice(PLACES)
    prompt = rng.choice(
        (
            f"Convert {count} {many} to {small}.",
            f"{lead} {count} {many}. How many {small} is that?",
            f"How many {small} are there in {count} {many}?",
            f"{name} read {count} {many} on a sign at {place}. Write it in {small}.",
            f"{name} asks: what do {count} {many} come to in {small}?",
        )
    )

    def answer(sums: Workings) -> str:
        return f"One {one} is {factor} {small}, so it is {sums.mul(count, factor)} {small}."

    return worked(rng, UNITS, prompt, answer)


def _up(rng: Random) -> Draft:
    one, many, small, factor, _ = rng.choice(_SCALES)
    count = rng.randint(2, 12)
    name, place = rng.choice(NAMES), rng.choice(PLACES)
    prompt = rng.choice(
        (
            f"Convert {count * factor} {small} to {many}.",
            f"How many {many} are {count * factor} {small}?",
            f"At {place} {name} counted {count * factor} {small}. What is that in {many}?",
            f"Express {count * factor} {small} in {many}, please.",
        )
    )

    def answer(sums: Workings) -> str:
        return f"There are {factor} {small} in one {one}, so it is {sums.div(count * factor, factor)} {many}."

    return worked(rng, UNITS, prompt, answer)


def _longer(rng: Random) -> Draft:
    _, many, small, factor, _ = rng.choice(_SCALES)
    first, second = pick(rng, NAMES, 2)
    count, gap = rng.randint(2, 9), rng.choice((-1, 1))
    less = (count + gap) * factor
    prompt = rng.choice(
        (
            f"Which is more, {count} {many} or {less} {small}?",
            f"{first} has {count} {many} and {second} has {less} {small}. Which amount is greater?",
        )
    )
    texts = [
        f"{count} {many} are {count * factor} {small}, so {winner} is more."
        for winner in (f"{count} {many}", f"{less} {small}")
    ]
    right, wrong = texts if gap < 0 else texts[::-1]
    return Draft(UNITS, prompt, right, wrong)


def _rest(rng: Random) -> Draft:
    one, _, small, factor, _ = rng.choice([scale for scale in _SCALES if scale[3] <= 100])
    part = rng.randint(1, factor - 2)
    name = rng.choice(NAMES)
    prompt = rng.choice(
        (
            f"How many {small} are missing from one {one} if you have {part} {small}?",
            f"{name} already has {part} {small}. How many more make one {one}?",
        )
    )

    def answer(sums: Workings) -> str:
        return f"One {one} is {factor} {small}, and {sums.sub(factor, part)} {small} are missing."

    return worked(rng, UNITS, prompt, answer)


def _weekday(rng: Random) -> Draft:
    start, step = rng.randrange(7), rng.randint(1, 12)
    sign, phrase = rng.choice(((1, "in {} days"), (-1, "{} days ago")))
    tense = {1: "will it be", -1: "was it"}[sign]
    when = phrase.format(step) if step > 1 else {1: "tomorrow", -1: "yesterday"}[sign]
    name = rng.choice(NAMES)
    prompt = rng.choice(
        (
            f"Today is {WEEKDAYS[start]}. What day {tense} {when}?",
            f"If it is {WEEKDAYS[start]} today, which day of the week {tense} {when}?",
            f"{name} looks at the calendar on a {WEEKDAYS[start]}. Which day {tense} {when}?",
        )
    )
    right = WEEKDAYS[(start + sign * step) % 7]
    wrong = other(rng, WEEKDAYS, right)
    lead = {1: "will be", -1: "was"}[sign]
    return Draft(CALENDAR, prompt, f"{_capital(when)} it {lead} {right}.", f"{_capital(when)} it {lead} {wrong}.")


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _month(rng: Random) -> Draft:
    at, step = rng.randrange(12), rng.randint(1, 6)
    sign, word = rng.choice(((1, "after"), (-1, "before")))
    gap = f"{step} months {word}" if step > 1 else f"one month {word}"
    names = [month for month, _ in MONTHS]
    right = names[(at + sign * step) % 12]
    prompt = rng.choice(
        (
            f"Which month comes {gap} {names[at]}?",
            f"{rng.choice(NAMES)} was born {gap} {names[at]}. Which month is that?",
            f"Name the month that lies {gap} {names[at]}.",
        )
    )
    wrong = other(rng, names, right)
    return Draft(
        CALENDAR, prompt, f"The month {gap} {names[at]} is {right}.", f"The month {gap} {names[at]} is {wrong}."
    )


def _length(rng: Random) -> Draft:
    (first, one), (second, two) = pick(rng, MONTHS, 2)
    prompt = rng.choice(
        (
            f"How many days do {first} and {second} have together in a common year?",
            f"Add the days of {first} to the days of {second} (no leap year).",
        )
    )

    def answer(sums: Workings) -> str:
        return f"{first} has {one} days and {second} has {two}, which makes {sums.add(one, two)} days."

    return worked(rng, CALENDAR, prompt, answer)


def _date(rng: Random) -> Draft:
    (month, days), gap = rng.choice(MONTHS), rng.randint(2, 14)
    day = rng.randint(1, days - gap)
    name, place = rng.choice(NAMES), rng.choice(PLACES)
    prompt = rng.choice(
        (
            f"What date is {gap} days after {day} {month}?",
            f"{name} visits {place} on {day} {month} and comes back {gap} days later. On what date?",
            f"A letter sent on {day} {month} takes {gap} days. When does it arrive?",
        )
    )

    def answer(sums: Workings) -> str:
        total = sums.add(day, gap)
        return f"{total}, so it is {total.value} {month}."

    return worked(rng, CALENDAR, prompt, answer)


def _clock(rng: Random) -> Draft:
    hour, minute, length = rng.randint(6, 20), rng.randrange(0, 60, 5), rng.randrange(10, 60, 5)
    event = rng.choice(("meeting", "lesson", "film", "concert", "match", "walk", "train ride", "class"))
    prompt = rng.choice(
        (
            f"A {event} starts at {hour}:{minute:02} and lasts {length} minutes. When does it end?",
            f"{rng.choice(NAMES)}'s {event} begins at {hour}:{minute:02}. It takes {length} minutes. "
            f"At what time is it over?",
        )
    )
    end = hour * 60 + minute + length
    slip = other(rng, (end + 60, end + 10, end - 10, end - 5, end + 20), end)
    return Draft(CALENDAR, prompt, f"The {event} ends at {_time(end)}.", f"The {event} ends at {_time(slip)}.")


def _time(minutes: int) -> str:
    return f"{minutes // 60}:{minutes % 60:02}"


def _span(rng: Random) -> Draft:
    start, length = rng.randint(6, 14), rng.randint(2, 8)
    name, place = rng.choice(NAMES), rng.choice(PLACES)
    prompt = rng.choice(
        (
            f"{name} is at {place} from {start}:00 to {start + length}:00. How many hours is that?",
            f"How long is it from {start}:00 to {start + length}:00?",
        )
    )

    def answer(sums: Workings) -> str:
        return f"From {start}:00 to {start + length}:00 it is {sums.sub(start + length, start)} hours."

    return worked(rng, CALENDAR, prompt, answer)
