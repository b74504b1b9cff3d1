"""The demo's sources: which generator makes each, and how large a share of the pool it has. Data only."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from engine.data.demo_chat import CHAT, chat
from engine.data.demo_code import CODE, code
from engine.data.demo_language import GRAMMAR, TRANSLATION, grammar, translation
from engine.data.demo_lists import LISTS, lists
from engine.data.demo_measures import CALENDAR, UNITS, calendar, units
from engine.data.demo_reading import READING, reading
from engine.data.demo_samples import Draft
from engine.data.demo_sums import BARE, WORDS, arithmetic, word_problem
from engine.data.demo_words import NAMES

_NAME = re.compile(rf"\b(?:{'|'.join(NAMES)})\b|\b(?:he|she|his|her)\b")


@dataclass(frozen=True, slots=True)
class Source:
    """One source: its generator and the clean rows it gives to the pool."""

    draw: Callable[[Random], Draft]
    rows: int


SOURCES: dict[str, Source] = {
    WORDS: Source(word_problem, 480),
    BARE: Source(arithmetic, 230),
    UNITS: Source(units, 240),
    CALENDAR: Source(calendar, 230),
    CODE: Source(code, 420),
    LISTS: Source(lists, 230),
    READING: Source(reading, 280),
    GRAMMAR: Source(grammar, 230),
    TRANSLATION: Source(translation, 200),
    CHAT: Source(chat, 240),
}


def draw_unlike(source: str, count: int, *, rng: Random, seen: set[str]) -> list[Draft]:
    """`count` drafts of `source` whose prompts differ from those in `seen` by more than people's names; adds theirs."""
    drafts: list[Draft] = []
    while len(drafts) < count:
        draft = SOURCES[source].draw(rng)
        prompt = _NAME.sub("", draft.prompt)
        if prompt not in seen:
            seen.add(prompt)
            drafts.append(draft)
    return drafts
