"""What the demo's generators give: one drafted sample with a believable wrong answer beside the right one.

Notation: a *draft* is a sample before faults and ids; `Workings` does the sums of a worked answer, right or with one
slip, so that a wrong answer carries its mistake on consistently as a person's would.
Knows nothing of pools, files or faults (`demo`, `demo_faults`).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import TypeVar

T = TypeVar("T")
Turn = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Draft:
    """One generated sample of `source`.

    `wrong` is a believable wrong response to the same prompt, or None where no answer can be called wrong.
    `before`: the (role, text) turns that come before the prompt, oldest first.
    """

    source: str
    prompt: str
    response: str
    wrong: str | None = None
    before: tuple[Turn, ...] = ()

    def messages(self, response: str | None = None) -> list[dict[str, str]]:
        """The sample as chat messages, with another response if one is given."""
        answer = self.response if response is None else response
        turns = (*self.before, ("user", self.prompt), ("assistant", answer))
        return [{"role": role, "content": text} for role, text in turns]


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a worked answer: prints as "3 + 4 = 7"."""

    text: str
    value: int

    def __str__(self) -> str:
        return self.text


class Workings:
    """Works sums out step by step; the step numbered `slip` (from 0) comes out wrong by `error`."""

    def __init__(self, slip: int | None = None, error: int = 0) -> None:
        self.slip = slip
        self.error = error
        self.steps = 0

    def add(self, left: int, right: int) -> Step:
        """`left` + `right`."""
        return self._step(f"{left} + {right}", left + right)

    def sub(self, left: int, right: int) -> Step:
        """`left` - `right`."""
        return self._step(f"{left} - {right}", left - right)

    def mul(self, left: int, right: int) -> Step:
        """`left` * `right`."""
        return self._step(f"{left} * {right}", left * right)

    def div(self, left: int, right: int) -> Step:
        """`left` / `right`, whole."""
        return self._step(f"{left} / {right}", left // right)

    def _step(self, text: str, value: int) -> Step:
        if self.steps == self.slip:
            value = value + self.error if value + self.error >= 0 else value - self.error
        self.steps += 1
        return Step(f"{text} = {value}", value)


def worked(rng: Random, source: str, prompt: str, answer: Callable[[Workings], str]) -> Draft:
    """The draft whose right answer is `answer` worked out, and whose wrong one has a slip in one step."""
    sums = Workings()
    right = answer(sums)
    slip = Workings(rng.randrange(sums.steps), rng.choice((-10, -3, -2, 2, 3, 4, 10)))
    return Draft(source, prompt, right, answer(slip))


def other(rng: Random, options: Sequence[T], taken: T) -> T:
    """One of `options` that is not `taken`."""
    return rng.choice([option for option in options if option != taken])


def pick(rng: Random, options: Sequence[T], count: int) -> list[T]:
    """`count` different ones of `options`, in random order."""
    return rng.sample(list(options), count)


def listed(words: Sequence[str], joint: str = "and") -> str:
    """The words as an English list: "a, b and c"."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} {joint} {words[-1]}"


def counted(number: int, one: str, many: str) -> str:
    """A number with its noun in the right form: "1 apple", "3 apples"."""
    return f"{number} {one if number == 1 else many}"


def a(noun: str) -> str:
    """The noun with its indefinite article: "an apple"."""
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"


def capital(text: str) -> str:
    """The text with a capital first letter, the rest as it is."""
    return text[:1].upper() + text[1:]
