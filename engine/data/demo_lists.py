"""Operations on short lists and words: the demo's `lists` source."""

from collections.abc import Callable, Sequence
from random import Random

from engine.data.demo_samples import Draft, other, pick
from engine.data.demo_words import CITIES, COLOURS, ITEMS, NAMES, PLAIN_WORDS

LISTS = "lists"

_KINDS = (("words", PLAIN_WORDS), ("names", NAMES), ("cities", CITIES), ("things", tuple(many for _, many in ITEMS)))


def lists(rng: Random) -> Draft:
    """One operation on a list of words or numbers."""
    return rng.choice((_order, _order, _numbers, _numbers, _position, _odd_one_out, _spell, _letters, _filter))(rng)


def _words(rng: Random, low: int = 3, high: int = 5) -> tuple[str, list[str]]:
    kind, options = rng.choice(_KINDS)
    return kind, pick(rng, options, rng.randint(low, high))


def _order(rng: Random) -> Draft:
    kind, words = _words(rng)
    asks, right = rng.choice(
        (
            (
                (
                    f"Sort these {kind} alphabetically: {', '.join(words)}.",
                    f"Put {', '.join(words)} in alphabetical order.",
                ),
                sorted(words),
            ),
            (
                (
                    f"Reverse the order of these {kind}: {', '.join(words)}.",
                    f"Write {', '.join(words)} from last to first.",
                ),
                words[::-1],
            ),
        )
    )
    return _shuffled(rng, rng.choice(asks), right, ", ".join)


def _shuffled(rng: Random, prompt: str, right: Sequence[str], show: Callable[[Sequence[str]], str]) -> Draft:
    wrong = list(right)
    while wrong == list(right):
        rng.shuffle(wrong)
    return Draft(LISTS, prompt, show(right), show(wrong))


def _numbers(rng: Random) -> Draft:
    numbers = pick(rng, range(1, 60), rng.randint(3, 5))
    shown = ", ".join(map(str, numbers))
    asks, right = rng.choice(
        (
            ((f"Sort the numbers {shown} from small to large.", f"Arrange in rising order: {shown}."), sorted(numbers)),
            (
                (f"Sort the numbers {shown} from large to small.", f"Arrange in falling order: {shown}."),
                sorted(numbers)[::-1],
            ),
            ((f"Reverse the list {numbers}.", f"Turn the list {numbers} around."), numbers[::-1]),
        )
    )
    return _shuffled(rng, rng.choice(asks), [str(n) for n in right], lambda texts: f"[{', '.join(texts)}]")


def _position(rng: Random) -> Draft:
    kind, words = _words(rng, 4, 6)
    at = rng.randrange(4)
    place = ("first", "second", "third", "fourth")[at]
    prompt = rng.choice(
        (
            f"Which of the {kind} is the {place} in this list: {', '.join(words)}?",
            f"From {', '.join(words)} take the {place} entry.",
        )
    )
    wrong = other(rng, words, words[at])
    return Draft(LISTS, prompt, f"The {place} one is {words[at]}.", f"The {place} one is {wrong}.")


def _odd_one_out(rng: Random) -> Draft:
    (kind, options), (_, strange) = pick(rng, (*_KINDS[1:], ("colours", COLOURS)), 2)
    words = pick(rng, options, 3)
    stranger = other(rng, strange, words[0])
    mixed = [*words, stranger]
    rng.shuffle(mixed)
    prompt = rng.choice(
        (
            f"Which one does not belong: {', '.join(mixed)}?",
            f"Find the odd one out among {', '.join(mixed)}.",
        )
    )
    ends = f"does not belong, because the others are {kind}."
    return Draft(LISTS, prompt, f"{stranger} {ends}", f"{words[0]} {ends}")


def _spell(rng: Random) -> Draft:
    word = rng.choice(PLAIN_WORDS)
    second = other(rng, PLAIN_WORDS, word)
    prompt = rng.choice(
        (
            f"Spell the words {word} and {second} with dashes between the letters.",
            f"Write {word} and then {second} letter by letter, with dashes.",
        )
    )
    right = f"{'-'.join(word)}, {'-'.join(second)}"
    at = rng.randrange(1, len(word) - 1)
    wrong = word[:at] + other(rng, "aeioubdgklmnprst", word[at]) + word[at + 1 :]
    return Draft(LISTS, prompt, right, f"{'-'.join(wrong)}, {'-'.join(second)}")


def _letters(rng: Random) -> Draft:
    kind, words = _words(rng)
    end, word = rng.choice(((0, "first"), (-1, "last")))
    prompt = rng.choice(
        (
            f"Give the {word} letter of each of these {kind}: {', '.join(words)}.",
            f"Take the {word} letters of {', '.join(words)}.",
        )
    )
    right = [name[end].lower() for name in words]
    wrong = list(right)
    at = rng.randrange(len(wrong))
    wrong[at] = other(rng, "abcdefghiklmnoprstuw", wrong[at])
    return Draft(LISTS, prompt, ", ".join(right), ", ".join(wrong))


def _filter(rng: Random) -> Draft:
    numbers = pick(rng, range(1, 60), 5)
    word, keep = rng.choice((("even", 0), ("odd", 1)))
    right = [n for n in numbers if n % 2 == keep]
    wrong = [n for n in numbers if n % 2 != keep]
    shown = ", ".join(map(str, numbers))
    prompt = rng.choice(
        (f"Keep only the {word} numbers: {shown}.", f"Which of {shown} are {word}? Answer with a list.")
    )
    return Draft(LISTS, prompt, str(right), str(wrong))
