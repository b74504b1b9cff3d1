"""What the built-in model learns from: chats of the demo's generators, drills of sums, and Python's own texts.

Notation: a *document* is one text with, for every character span, how much its tokens count in training. Responses
count fully, prompts little (their words are free choices that nothing predicts). Every prompt of the default demo
is left out, so that the model has met neither its pool nor its target sets nor its held-out rows.
Knows nothing of tokens or of the model.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from random import Random
from typing import Literal

from engine.data.demo import demo_rows
from engine.data.demo_samples import Draft
from engine.data.demo_sources import SOURCES
from engine.models.builtin import drills
from engine.models.builtin.library import functions, pieces

BEGIN, END, PAD = "<|begin|>", "<|end|>", "<|pad|>"
ROLES = ("system", "user", "assistant", "tool")
SPECIAL = (PAD, BEGIN, END, *(f"<|{role}|>" for role in ROLES))
PROMPT_WEIGHT = 0.2

SYSTEM = (
    "You are a helpful assistant.",
    "Answer briefly and correctly.",
    "You are a careful tutor. Show your work.",
    "You are a friendly assistant who answers in plain English.",
    "Follow the instruction exactly.",
)

SUMS_TWICE = (*SOURCES, "word-problems", "arithmetic")
HARD_MORE = (*SOURCES, "reading", "reading", "lists", "lists", "calendar", "calendar", "code", "translation")

Stage = Literal["all", "hard"]
"""First all sources alike; then more of what is hard to learn, and drills for it."""

Part = tuple[str, float]


@dataclass(frozen=True, slots=True)
class Document:
    """Parts of one text in order, each with the weight of its tokens in the loss."""

    parts: tuple[Part, ...]

    @property
    def text(self) -> str:
        """The whole text."""
        return "".join(text for text, _ in self.parts)


def documents(*, seed: int, stage: Stage = "all") -> Iterator[Document]:
    """Documents without end, the same for the same seed and stage."""
    rng = Random(f"touchstone built-in model {seed}")
    held_out = demo_prompts()
    kinds, weights = list(_MIXTURE[stage]), list(_MIXTURE[stage].values())
    while True:
        yield rng.choices(kinds, weights)[0](rng, held_out)


def demo_prompts() -> frozenset[str]:
    """The prompts of the default demo's pool, target sets and held-out rows."""
    demo = demo_rows(seed=0)
    rows = [*demo.pool, *(row for sets in (demo.targets, demo.evals) for items in sets.values() for row in items)]
    return frozenset(row["messages"][-2]["content"] for row in rows)


def drawn(rng: Random, held_out: frozenset[str], sources: Sequence[str] = SUMS_TWICE) -> Draft:
    """A draft of a random one of `sources` that is not held out."""
    while True:
        draft = SOURCES[rng.choice(sources)].draw(rng)
        if draft.prompt not in held_out:
            return draft


def _chat(rng: Random, held_out: frozenset[str], sources: Sequence[str] = SUMS_TWICE) -> Document:
    parts: list[Part] = [(BEGIN, 0.0)]
    if rng.random() < 0.1:
        parts.append((f"<|system|>{rng.choice(SYSTEM)}{END}", 0.0))
    turns = 1 if rng.random() < 0.9 else rng.randint(2, 6)
    for _ in range(turns):
        parts += _turns(drawn(rng, held_out, sources).messages())
    return Document(tuple(parts))


def _hard_chat(rng: Random, held_out: frozenset[str]) -> Document:
    return _chat(rng, held_out, HARD_MORE)


def _turns(messages: list[dict[str, str]]) -> Iterator[Part]:
    for message in messages:
        answer = message["role"] == "assistant"
        yield f"<|{message['role']}|>", 0.0
        yield message["content"] + END, 1.0 if answer else PROMPT_WEIGHT


def _sums(rng: Random, held_out: frozenset[str]) -> Document:
    """Sums as plain text, questions and answers counting alike."""
    text = "".join(question + answer for question, answer in drills.sums(rng))
    return Document(((BEGIN, 0.0), (text.strip() + END, 1.0)))


def _drill(rng: Random, held_out: frozenset[str]) -> Document:
    """One drill of any kind; only its answers count."""
    lines = rng.choice(drills.DRILLS)(rng)
    parts = [part for question, answer in lines for part in ((question, 0.0), (answer, 1.0))]
    return Document(((BEGIN, 0.0), *parts, (END, 0.0)))


def _piece(rng: Random, held_out: frozenset[str]) -> Document:
    return Document(((BEGIN, 0.0), (rng.choice(pieces()) + END, 0.5)))


def _function(rng: Random, held_out: frozenset[str]) -> Document:
    task, code = rng.choice(functions())
    messages = [{"role": "user", "content": task}, {"role": "assistant", "content": code}]
    return Document(((BEGIN, 0.0), *_turns(messages)))


_MIXTURE: dict[Stage, dict[Callable[[Random, frozenset[str]], Document], float]] = {
    "all": {_chat: 0.91, _sums: 0.04, _piece: 0.03, _function: 0.02},
    "hard": {_hard_chat: 0.60, _drill: 0.36, _piece: 0.03, _function: 0.01},
}
