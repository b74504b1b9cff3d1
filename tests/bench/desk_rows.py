"""The synthetic rows of the desk's project: chats with a topic, a source, a task, a licence and a language.

Notation: n pool rows; row i has topic `topics[i]`, and its words are drawn from its topic's vocabulary by Zipf's law.
Everything follows from the row's number and the seed. Knows nothing of the project (`desk_project`).
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from engine.data.samples import BadRow, Message, Row

TOPICS = 24
SOURCES = ("flan", "dolly", "open-assistant", "cot", "code-alpaca", "share-gpt", "self-instruct", "wizard")
TASKS = ("answer", "summarise", "translate", "classify", "write code", "reason", "rewrite", "extract", "chat", "maths")
LICENCES = ("apache-2.0", "cc-by-4.0", "cc-by-sa-3.0", "mit", "unknown")
LANGUAGES = ("en", "de", "fr", "es", "zh")
TARGETS = ("word problems", "code", "safety")
TARGET_ROWS = 8
BAD = 40
_VOCABULARY, _STRETCH = 600, 200_000
_SYLLABLES = ("ba", "do", "fen", "gri", "ha", "jo", "ka", "lum", "mer", "no", "pil", "ras", "sta", "tor", "ul", "ven")


@dataclass(frozen=True)
class Drawn:
    """What is drawn for all n rows at once: int arrays (n,), codes into the names above."""

    topics: np.ndarray
    sources: np.ndarray
    tasks: np.ndarray
    licences: np.ndarray
    languages: np.ndarray
    prompts: np.ndarray
    responses: np.ndarray
    places: np.ndarray


def drawn(rows: int, *, seed: int = 0) -> Drawn:
    """The codes of all rows: topics of uneven size, sources that go with topics, lengths that are log-normal."""
    rng = np.random.default_rng(seed)
    share = 1.0 / np.arange(3, TOPICS + 3)
    topics = rng.choice(TOPICS, rows, p=share / share.sum())
    return Drawn(
        topics=topics,
        sources=np.where(rng.random(rows) < 0.6, topics % len(SOURCES), rng.integers(0, len(SOURCES), rows)),
        tasks=(topics + rng.integers(0, 3, rows)) % len(TASKS),
        licences=rng.choice(len(LICENCES), rows, p=[0.45, 0.25, 0.15, 0.1, 0.05]),
        languages=rng.choice(len(LANGUAGES), rows, p=[0.8, 0.06, 0.05, 0.05, 0.04]),
        prompts=np.clip(rng.lognormal(2.5, 0.5, rows), 3, 120).astype(np.int32),
        responses=np.clip(rng.lognormal(3.4, 0.7, rows), 1, 500).astype(np.int32),
        places=rng.integers(0, _STRETCH - 700, rows),
    )


def vocabularies(*, seed: int = 0) -> list[list[str]]:
    """For every topic a long running text of its words; texts of rows are stretches of it."""
    rng = np.random.default_rng(seed + 1)
    weight = 1.0 / np.arange(1, _VOCABULARY + 1)
    texts = []
    for topic in range(TOPICS):
        words = ["".join(rng.choice(_SYLLABLES, int(rng.integers(1, 4)))) for _ in range(_VOCABULARY)]
        words[:40] = [f"{words[at]}{topic}" if at % 5 == 0 else words[at] for at in range(40)]
        texts.append([words[at] for at in rng.choice(_VOCABULARY, _STRETCH, p=weight / weight.sum()).tolist()])
    return texts


def pool(found: Drawn, texts: list[list[str]]) -> Iterator[Row | BadRow]:
    """The rows of the pool in order, and `BAD` broken ones at the end. A tenth of the rows have no licence."""
    columns = (found.topics, found.sources, found.tasks, found.licences, found.languages, found.prompts)
    lists = [values.tolist() for values in (*columns, found.responses, found.places)]
    for at, (topic, source, task, licence, language, asked, answered, place) in enumerate(zip(*lists, strict=True)):
        words = texts[topic]
        prompt = " ".join(words[place : place + asked])
        response = " ".join(words[place + asked : place + asked + answered]) + "."
        fields: dict[str, str | int | float | bool | None] = {"source": SOURCES[source], "task": TASKS[task]}
        if at % 10:
            fields["licence"] = LICENCES[licence]
        fields["language"] = LANGUAGES[language]
        yield _row(at + 1, f"r{at}", prompt, response, fields)
    yield from (BadRow(len(lists[0]) + at, "broken JSON: Expecting value", "{not json") for at in range(1, BAD + 1))


def target(number: int, texts: list[list[str]]) -> list[Row | BadRow]:
    """The items of a target set: stretches of one topic."""
    words = texts[number % TOPICS]
    pieces = [(" ".join(words[at : at + 20]), " ".join(words[at + 20 : at + 40])) for at in range(0, 40 * 8, 40)]
    return [_row(at + 1, f"t{number}-{at}", *piece, {}) for at, piece in enumerate(pieces[:TARGET_ROWS])]


def _row(line: int, name: str, prompt: str, response: str, fields: dict[str, str | int | float | bool | None]) -> Row:
    messages = (Message("user", prompt), Message("assistant", response))
    chat = [{"role": m.role, "content": m.content} for m in messages]
    return Row(line, json.dumps({"id": name, "messages": chat, **fields}, ensure_ascii=False), name, messages, fields)
