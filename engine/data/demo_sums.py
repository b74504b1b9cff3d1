"""Word problems with worked steps, and bare arithmetic: the demo's `word-problems` and `arithmetic` sources.

Operands stay small (sums within about a hundred, the times table to twelve), so that a model of a million weights
can learn them and a wrong result looks wrong to it.
"""

from random import Random

from engine.data.demo_samples import Draft, Workings, counted, other, pick, worked
from engine.data.demo_words import HOLDERS, ITEMS, NAMES, PASTIMES, PLACES, owner, subject

WORDS = "word-problems"
BARE = "arithmetic"


def word_problem(rng: Random) -> Draft:
    """One word problem of one to three steps."""
    return rng.choice(_PROBLEMS)(rng)


def arithmetic(rng: Random) -> Draft:
    """One bare calculation, comparison or sequence."""
    return rng.choice(_BARE)(rng)


def _gain(rng: Random) -> Draft:
    name, giver = pick(rng, NAMES, 2)
    (_, many), place = rng.choice(ITEMS), rng.choice(PLACES)
    start, more = rng.randint(3, 30), rng.randint(2, 15)
    prompt = rng.choice(
        (
            f"{name} has {start} {many} and gets {more} more from {giver}. How many {many} does {name} have now?",
            f"{name} had {start} {many}. At {place} {subject(name)} bought {more} more. "
            f"How many {many} are there in total?",
            f"There were {start} {many} in {name}'s bag. {giver} put in another {more}. Count the {many}.",
        )
    )

    def answer(sums: Workings) -> str:
        total = sums.add(start, more)
        return f"{name} starts with {start} {many} and gets {more} more, so {total}.\nThe answer is {total.value}."

    return worked(rng, WORDS, prompt, answer)


def _loss(rng: Random) -> Draft:
    name, friend = pick(rng, NAMES, 2)
    _, many = rng.choice(ITEMS)
    less = rng.randint(2, 12)
    start = less + rng.randint(2, 25)
    prompt = rng.choice(
        (
            f"{name} has {start} {many}. {name} gives {less} of them to {friend}. How many {many} are left?",
            f"Of the {start} {many} that {name} collected, {less} got lost at {rng.choice(PLACES)}. How many remain?",
            f"{name} packed {start} {many} for a trip with {friend} and used up {less}. "
            f"How many {many} does {subject(name)} bring back?",
        )
    )

    def answer(sums: Workings) -> str:
        left = sums.sub(start, less)
        return f"We take {less} away from {start}: {left}.\nThe answer is {left.value}."

    return worked(rng, WORDS, prompt, answer)


def _groups(rng: Random) -> Draft:
    name = rng.choice(NAMES)
    (_, many), (_, holders) = rng.choice(ITEMS), rng.choice(HOLDERS)
    groups, each = rng.randint(2, 9), rng.randint(2, 10)
    prompt = rng.choice(
        (
            f"{name} fills {groups} {holders} with {each} {many} each. How many {many} is that altogether?",
            f"On {rng.choice(PLACES)[4:]} day {name} carried {groups} {holders}, every one holding {each} {many}. "
            f"Find the number of {many}.",
            f"A shop sells {many} in {holders} of {each}. {name} buys {groups} {holders}. "
            f"How many {many} does {subject(name)} get?",
        )
    )

    def answer(sums: Workings) -> str:
        total = sums.mul(groups, each)
        return f"There are {groups} {holders} with {each} {many} each: {total}.\nThe answer is {total.value}."

    return worked(rng, WORDS, prompt, answer)


def _share(rng: Random) -> Draft:
    name = rng.choice(NAMES)
    _, many = rng.choice(ITEMS)
    people, each = rng.randint(2, 9), rng.randint(2, 9)
    total = people * each
    who = rng.choice(("friends", "children", "cousins", "players", "neighbours", "pupils"))
    prompt = rng.choice(
        (
            f"{name} shares {total} {many} equally among {people} {who}. How many does each of them get?",
            f"{people} {who} split {total} {many} that {name} brought from {rng.choice(PLACES)}. What is one share?",
        )
    )

    def answer(sums: Workings) -> str:
        share = sums.div(total, people)
        return f"We share {total} {many} among {people} {who}: {share}.\nThe answer is {share.value}."

    return worked(rng, WORDS, prompt, answer)


def _shopping(rng: Random) -> Draft:
    name = rng.choice(NAMES)
    (one, many), (_, extra) = pick(rng, ITEMS, 2)
    count, price, fee = rng.randint(2, 8), rng.randint(2, 9), rng.randint(2, 15)
    prompt = rng.choice(
        (
            f"{name} buys {count} {many} at {price} euros each and {extra} for {fee} euros. "
            f"How much does {subject(name)} pay?",
            f"One {one} costs {price} euros. {name} takes {count} of them and pays {fee} euros for {extra} too. "
            f"What is the bill?",
        )
    )

    def answer(sums: Workings) -> str:
        cost = sums.mul(count, price)
        bill = sums.add(cost.value, fee)
        return f"The {many} cost {cost} euros.\nWith the {extra} it is {bill} euros.\nThe answer is {bill.value}."

    return worked(rng, WORDS, prompt, answer)


def _change(rng: Random) -> Draft:
    name = rng.choice(NAMES)
    _, many = rng.choice(ITEMS)
    count, price = rng.randint(2, 6), rng.randint(2, 8)
    note = 50 if count * price >= 20 else 20
    prompt = rng.choice(
        (
            f"{name} pays for {count} {many} at {price} euros each with a {note} euro note. "
            f"How much change does {subject(name)} get?",
            f"With {note} euros in {owner(name)} pocket {name} goes to {rng.choice(PLACES)} and buys {count} {many}, "
            f"{price} euros apiece. How much money is left?",
        )
    )

    def answer(sums: Workings) -> str:
        cost = sums.mul(count, price)
        left = sums.sub(note, cost.value)
        return f"The {many} cost {cost} euros.\nThat leaves {left} euros.\nThe answer is {left.value}."

    return worked(rng, WORDS, prompt, answer)


def _compare(rng: Random) -> Draft:
    first, second = pick(rng, NAMES, 2)
    _, many = rng.choice(ITEMS)
    start, gap = rng.randint(4, 25), rng.randint(2, 10)
    prompt = (
        f"{first} has {start} {many}. {second} has {gap} more than {first}. "
        f"How many {many} do {first} and {second} have together?"
    )

    def answer(sums: Workings) -> str:
        more = sums.add(start, gap)
        total = sums.add(start, more.value)
        return f"{second} has {more} {many}.\nTogether they have {total} {many}.\nThe answer is {total.value}."

    return worked(rng, WORDS, prompt, answer)


def _times(rng: Random) -> Draft:
    first, second = pick(rng, NAMES, 2)
    (_, many), word = rng.choice(ITEMS), rng.choice((("twice", 2), ("three times", 3), ("four times", 4)))
    start = rng.randint(2, 10)
    gift = rng.randint(1, start)
    prompt = (
        f"{first} owns {start} {many}, and {second} owns {word[0]} as many. {second} gives away {gift}. "
        f"How many {many} does {second} keep?"
    )

    def answer(sums: Workings) -> str:
        owned = sums.mul(word[1], start)
        left = sums.sub(owned.value, gift)
        return f"{second} owns {owned} {many}.\nAfter the gift {left} remain.\nThe answer is {left.value}."

    return worked(rng, WORDS, prompt, answer)


def _practice(rng: Random) -> Draft:
    name, pastime = rng.choice(NAMES), rng.choice(PASTIMES)
    hours, days, extra = rng.randint(1, 6), rng.randint(2, 7), rng.randint(1, 9)
    prompt = rng.choice(
        (
            f"{name} spends {counted(hours, 'hour', 'hours')} on {pastime} on each of {days} days, and {extra} more "
            f"at the weekend. How many hours is that?",
            f"For {days} days {name} does {counted(hours, 'hour', 'hours')} of {pastime} a day. Then {subject(name)} "
            f"adds {extra} hours. Work out the hours of {pastime}.",
        )
    )

    def answer(sums: Workings) -> str:
        base = sums.mul(hours, days)
        total = sums.add(base.value, extra)
        return f"The {days} days make {base} hours.\nWith the rest it is {total} hours.\nThe answer is {total.value}."

    return worked(rng, WORDS, prompt, answer)


def _trip(rng: Random) -> Draft:
    name, place = rng.choice(NAMES), rng.choice(PLACES)
    seats, cars = rng.randint(2, 8), rng.randint(2, 6)
    late = rng.randint(1, 9)
    prompt = (
        f"{name} plans a visit to {place}. {cars} vans with {seats} people each are full, and {late} people walk. "
        f"How many people go?"
    )

    def answer(sums: Workings) -> str:
        riding = sums.mul(cars, seats)
        total = sums.add(riding.value, late)
        return f"The vans take {riding} people.\nWith those who walk {total} people go.\nThe answer is {total.value}."

    return worked(rng, WORDS, prompt, answer)


_PROBLEMS = (_gain, _loss, _groups, _share, _shopping, _change, _compare, _times, _practice, _trip)

_ASK = (
    "What is {}?",
    "Compute {}.",
    "Work out {}.",
    "How much is {}?",
    "Please calculate {} for me.",
    "Find the value of {}.",
    "Evaluate: {}",
    "{} = ?",
)


def _one_sum(rng: Random) -> Draft:
    kind = rng.choice("+-*/")
    left, right = rng.randint(2, 12), rng.randint(2, 12)
    if kind in "+-":
        left, right = rng.randint(5, 50), rng.randint(2, 20)
    if kind == "-":
        left += right
    if kind == "/":
        left *= right
    prompt = rng.choice(_ASK).format(f"{left} {kind} {right}")

    def answer(sums: Workings) -> str:
        return f"{_apply(sums, left, kind, right)}."

    return worked(rng, BARE, prompt, answer)


def _apply(sums: Workings, left: int, kind: str, right: int) -> object:
    return {"+": sums.add, "-": sums.sub, "*": sums.mul, "/": sums.div}[kind](left, right)


def _two_sums(rng: Random) -> Draft:
    a, b, c = rng.randint(2, 9), rng.randint(2, 9), rng.randint(2, 20)
    bracket = rng.random() < 0.5
    small = rng.randint(2, 6)
    expression = f"{small} * ({a} + {b})" if bracket else f"{a} * {b} + {c}"
    prompt = rng.choice(_ASK).format(expression)

    def answer(sums: Workings) -> str:
        if bracket:
            inner = sums.add(a, b)
            return f"First {inner}, then {sums.mul(small, inner.value)}."
        inner = sums.mul(a, b)
        return f"First {inner}, then {sums.add(inner.value, c)}."

    return worked(rng, BARE, prompt, answer)


def _larger(rng: Random) -> Draft:
    left, right = pick(rng, range(2, 100), 2)
    word, best, worst = rng.choice(
        (("larger", max(left, right), min(left, right)), ("smaller", min(left, right), max(left, right)))
    )
    prompt = rng.choice(
        (
            f"Which number is {word}, {left} or {right}?",
            f"{left} and {right}: which one is {word}?",
            f"Name the {word} of {left} and {right}.",
        )
    )
    return Draft(BARE, prompt, f"{best} is {word} than {worst}.", f"{worst} is {word} than {best}.")


def _parity(rng: Random) -> Draft:
    number = rng.randint(2, 99)
    truth, lie = ("even", "odd") if number % 2 == 0 else ("odd", "even")
    prompt = rng.choice((f"Is {number} even or odd?", f"Tell me whether the number {number} is odd or even."))
    reason = {"even": "it can be divided by 2", "odd": "it leaves 1 when divided by 2"}
    return Draft(
        BARE, prompt, f"{number} is {truth}, since {reason[truth]}.", f"{number} is {lie}, since {reason[lie]}."
    )


def _sequence(rng: Random) -> Draft:
    start, step = rng.randint(1, 20), rng.randint(2, 9)
    terms = [start + step * at for at in range(5)]
    shown = ", ".join(map(str, terms[:4]))
    prompt = rng.choice(
        (
            f"What number comes next: {shown}?",
            f"Continue the sequence {shown} by one number.",
            f"Here is a pattern: {shown}. Give the following number.",
        )
    )
    wrong = other(rng, [terms[4] + slip for slip in (-2, -1, 1, 2, step)], terms[4])
    return Draft(
        BARE,
        prompt,
        f"The numbers grow by {step}, so the next one is {terms[4]}.",
        f"The numbers grow by {step}, so the next one is {wrong}.",
    )


_BARE = (_one_sum, _one_sum, _two_sums, _two_sums, _larger, _parity, _sequence)
