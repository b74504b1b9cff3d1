"""Questions on short made-up passages: the demo's `reading` source."""

from dataclasses import dataclass
from random import Random

from engine.data.demo_samples import Draft, a, counted, other, pick
from engine.data.demo_words import ANIMALS, CITIES, COLOURS, DISHES, ITEMS, JOBS, NAMES, PASTIMES, PLACES, subject

READING = "reading"


@dataclass(frozen=True, slots=True)
class _Person:
    name: str
    city: str
    job: str
    pastime: str
    dish: str


def reading(rng: Random) -> Draft:
    """One passage with one question on it."""
    return rng.choice((_people, _people, _people, _yes_no, _things, _rooms, _story))(rng)


def _cast(rng: Random, count: int) -> list[_Person]:
    columns = (pick(rng, options, count) for options in (NAMES, CITIES, JOBS, PASTIMES, DISHES))
    return [_Person(*row) for row in zip(*columns)]


def _facts(rng: Random, person: _Person) -> str:
    they = subject(person.name)
    return rng.choice(
        (
            f"{person.name} lives in {person.city} and works as {a(person.job)}. On Sundays {they} likes "
            f"{person.pastime}.",
            f"{person.name}, {a(person.job)} from {person.city}, loves {person.pastime} and often cooks {person.dish}.",
            f"In {person.city} you can meet {person.name}. By day {they} is {a(person.job)}; {they} also enjoys "
            f"{person.pastime}.",
        )
    )


def _people(rng: Random) -> Draft:
    cast = _cast(rng, rng.choice((2, 2, 3)))
    passage = " ".join(_facts(rng, person) for person in cast)
    hero = rng.choice(cast)
    rival = other(rng, cast, hero)
    question, right, wrong = rng.choice(
        (
            (
                f"Where does {hero.name} live?",
                f"{hero.name} lives in {hero.city}.",
                f"{hero.name} lives in {rival.city}.",
            ),
            (f"What is {hero.name}'s job?", f"{hero.name} is {a(hero.job)}.", f"{hero.name} is {a(rival.job)}."),
            (
                f"What does {hero.name} like to do?",
                f"{hero.name} likes {hero.pastime}.",
                f"{hero.name} likes {rival.pastime}.",
            ),
            (f"Who is {a(hero.job)}?", f"It is {hero.name}.", f"It is {rival.name}."),
            (f"Who lives in {hero.city}?", f"It is {hero.name}.", f"It is {rival.name}."),
        )
    )
    return Draft(READING, _asked(rng, passage, question), right, wrong)


def _asked(rng: Random, passage: str, question: str) -> str:
    return rng.choice(
        (
            f"{passage}\n\n{question}",
            f"Read the text and answer.\n\n{passage}\n\nQuestion: {question}",
            f"{question} Use only this text: {passage}",
        )
    )


def _yes_no(rng: Random) -> Draft:
    cast = _cast(rng, 2)
    passage = " ".join(_facts(rng, person) for person in cast)
    hero, rival = cast if rng.random() < 0.5 else cast[::-1]
    asked = rng.choice((hero, rival))
    question = f"Does {hero.name} live in {asked.city}? Answer yes or no and say where."
    yes, no = f"Yes, {hero.name} lives in {hero.city}.", f"No, {hero.name} lives in {hero.city}."
    if asked is hero:
        return Draft(READING, _asked(rng, passage, question), yes, f"No, {hero.name} lives in {rival.city}.")
    return Draft(READING, _asked(rng, passage, question), no, f"Yes, {hero.name} lives in {rival.city}.")


def _things(rng: Random) -> Draft:
    name, place = rng.choice(NAMES), rng.choice(PLACES)
    goods = pick(rng, ITEMS, 3)
    counts = pick(rng, range(2, 20), 3)
    colours = pick(rng, COLOURS, 3)
    shelf = ", ".join(f"{n} {c} {many}" for n, c, (_, many) in zip(counts, colours, goods))
    passage = f"At {place} {name} sees {shelf}."
    at = rng.randrange(3)
    off = (at + rng.randint(1, 2)) % 3
    many = goods[at][1]
    question, right, wrong = rng.choice(
        (
            (f"How many {many} are there?", f"There are {counts[at]} {many}.", f"There are {counts[off]} {many}."),
            (f"What colour are the {many}?", f"The {many} are {colours[at]}.", f"The {many} are {colours[off]}."),
            (
                f"Which things are {colours[at]}?",
                f"The {many} are {colours[at]}.",
                f"The {goods[off][1]} are {colours[at]}.",
            ),
        )
    )
    return Draft(READING, _asked(rng, passage, question), right, wrong)


def _rooms(rng: Random) -> Draft:
    names, places = pick(rng, NAMES, 3), pick(rng, PLACES, 3)
    first, second = rng.sample(range(3), 2)
    passage = " ".join(f"{name} went to {place}." for name, place in zip(names, places))
    passage += f" Then {names[first]} walked over to {places[second]}."
    asked = rng.choice((first, 3 - first - second))
    right = places[second] if asked == first else places[asked]
    wrong = other(rng, places, right)
    question = f"Where is {names[asked]} now?"
    return Draft(
        READING, _asked(rng, passage, question), f"{names[asked]} is at {right}.", f"{names[asked]} is at {wrong}."
    )


def _story(rng: Random) -> Draft:
    name, friend = pick(rng, NAMES, 2)
    (one, _), (other_one, _) = pick(rng, ANIMALS, 2)
    colour, tint = pick(rng, COLOURS, 2)
    dish, city = rng.choice(DISHES), rng.choice(CITIES)
    age = rng.randint(2, 12)
    passage = (
        f"{name} keeps a {colour} {one} that is {counted(age, 'year', 'years')} old. {friend}, who moved to {city}, "
        f"has a {tint} {other_one}. They meet for {dish} every week."
    )
    question, right, wrong = rng.choice(
        (
            (
                f"What animal does {name} keep?",
                f"{name} keeps a {colour} {one}.",
                f"{name} keeps a {tint} {other_one}.",
            ),
            (
                f"What animal does {friend} have?",
                f"{friend} has a {tint} {other_one}.",
                f"{friend} has a {colour} {one}.",
            ),
            (f"How old is the {one}?", f"The {one} is {age} years old.", f"The {one} is {age + 3} years old."),
            ("Who moved away?", f"{friend} moved to {city}.", f"{name} moved to {city}."),
            (f"What do {name} and {friend} eat?", f"They eat {dish}.", f"They eat {other(rng, DISHES, dish)}."),
        )
    )
    return Draft(READING, _asked(rng, passage, question), right, wrong)
