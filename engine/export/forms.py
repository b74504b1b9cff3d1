"""One chosen row as a record of a training file, in every form that trainers read.

- `chat`: `{"id", "messages": [{"role", "content"}]}`.
- `sharegpt`: `{"id", "conversations": [{"from", "value"}]}` with `human`, `gpt`, `system` and, for tools,
  `observation`, as LLaMA-Factory and FastChat read them.
- `alpaca`: `{"instruction", "input", "output", "system", "history", "id"}` as LLaMA-Factory reads them: `history`
  is the list of [user, assistant] pairs before the last. Only for chats of user and assistant in turn, no tools.
- `prompt-completion`: `{"prompt", "completion", "id"}` as plain texts (TRL), only for one question and one answer.
- `prompt-completion-chat`: the same with lists of messages (TRL's conversational variant): the completion is the last
  turn, the assistant's, the prompt all before it.

A record is None where a row has no such form. Columns in `optional` are written where any row needs them, and then in
every row, so that a file has one set of fields. The original form is the raw line and no record. Writes no files.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from engine.data.samples import Message
from engine.store.records import FileRecord, StoredRow

Record = dict[str, Any]
SPEAKERS = {"system": "system", "user": "human", "assistant": "gpt", "tool": "observation"}
_TURNS = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))
_SPEECH = pa.list_(pa.struct([("from", pa.string()), ("value", pa.string())]))
_TEXT = pa.string()


@dataclass(frozen=True)
class Split:
    """Columns of a source file that hold an instruction and, apart from it, its input."""

    instruction: str
    input: str


@dataclass(frozen=True)
class Shape:
    """A form: its fields with Arrow types and meanings, how a row becomes a record, and what to do with a misfit."""

    title: str
    fields: tuple[tuple[str, pa.DataType, str], ...]
    record: Callable[[StoredRow, Sequence[Split]], Record | None]
    optional: tuple[str, ...] = ()
    needs: str = ""

    @property
    def names(self) -> tuple[str, ...]:
        """The fields in order."""
        return tuple(name for name, _, _ in self.fields)


def splits_of(files: Sequence[FileRecord]) -> tuple[Split, ...]:
    """The instruction and input columns that the pool's files were read with."""
    found = [f.mapping.get("fields", {}) for f in files if f.role == "pool"]
    pairs = [(m["prompt"], m["input"]) for m in found if isinstance(m, dict) and {"prompt", "input"} <= m.keys()]
    return tuple(Split(*pair) for pair in dict.fromkeys(pairs))


def chat_record(row: StoredRow, splits: Sequence[Split] = ()) -> Record:
    """The row as id and messages."""
    return {"id": row.id, "messages": _turns(row.messages)}


def sharegpt_record(row: StoredRow, splits: Sequence[Split] = ()) -> Record:
    """The row as id and conversations."""
    return {"id": row.id, "conversations": [{"from": SPEAKERS[m.role], "value": m.content} for m in row.messages]}


def alpaca_record(row: StoredRow, splits: Sequence[Split] = ()) -> Record | None:
    """The row in all Alpaca columns, or None where its turns have no such form.

    Instruction and input are parted again if the row came parted and joining them gives the user's text.
    """
    system, turns = _system(row.messages)
    roles = [m.role for m in turns]
    if not turns or roles != ["user", "assistant"] * (len(turns) // 2):
        return None
    pairs = [[user.content, answer.content] for user, answer in zip(turns[::2], turns[1::2], strict=True)]
    instruction, given = _parted(row.raw, pairs[-1][0], splits)
    said = {"instruction": instruction, "input": given, "output": pairs[-1][1]}
    return {**said, "system": system, "history": pairs[:-1], "id": row.id}


def prompt_record(row: StoredRow, splits: Sequence[Split] = ()) -> Record | None:
    """The row as two texts, or None unless it is one question and one answer."""
    if [m.role for m in row.messages] != ["user", "assistant"]:
        return None
    return {"prompt": row.messages[0].content, "completion": row.messages[1].content, "id": row.id}


def prompt_chat_record(row: StoredRow, splits: Sequence[Split] = ()) -> Record | None:
    """The row as the messages before its last turn and that turn, or None unless the assistant has the last word."""
    if len(row.messages) < 2 or row.messages[-1].role != "assistant":
        return None
    return {"prompt": _turns(row.messages[:-1]), "completion": _turns(row.messages[-1:]), "id": row.id}


_ID = ("id", _TEXT, "the sample's id")
SHAPES: dict[str, Shape] = {
    "chat": Shape("Chat messages", (_ID, ("messages", _TURNS, "all turns with role and content")), chat_record),
    "sharegpt": Shape(
        "ShareGPT conversations",
        (_ID, ("conversations", _SPEECH, "all turns: from human, gpt, system or observation (a tool)")),
        sharegpt_record,
    ),
    "alpaca": Shape(
        "Alpaca: instruction, input, output",
        (
            ("instruction", _TEXT, "the last user turn"),
            ("input", _TEXT, "the prompt's input, where the original had one"),
            ("output", _TEXT, "the last assistant turn"),
            ("system", _TEXT, "the system text"),
            ("history", pa.list_(pa.list_(_TEXT)), "earlier turns, as pairs"),
            _ID,
        ),
        alpaca_record,
        optional=("system", "history"),
        needs="an optional system text and then user and assistant in turn, no tools. Use chat",
    ),
    "prompt-completion": Shape(
        "Prompt and completion, as texts",
        (("prompt", _TEXT, "the user's text"), ("completion", _TEXT, "the assistant's text"), _ID),
        prompt_record,
        needs="one user turn and one assistant turn. Use prompt-completion-chat",
    ),
    "prompt-completion-chat": Shape(
        "Prompt and completion, as messages",
        (
            ("prompt", _TURNS, "all turns before the last"),
            ("completion", _TURNS, "the last turn, the assistant's"),
            _ID,
        ),
        prompt_chat_record,
        needs="an assistant turn at the end. Use chat",
    ),
}


def _turns(messages: Sequence[Message]) -> list[dict[str, str]]:
    return [{"role": m.role, "content": m.content} for m in messages]


def _system(messages: tuple[Message, ...]) -> tuple[str, tuple[Message, ...]]:
    if messages and messages[0].role == "system":
        return messages[0].content, messages[1:]
    return "", messages


def _parted(raw: str, user: str, splits: Sequence[Split]) -> tuple[str, str]:
    if not splits:
        return user, ""
    values = json.loads(raw)
    for split in splits if isinstance(values, dict) else ():
        instruction, given = values.get(split.instruction), values.get(split.input)
        if isinstance(instruction, str) and isinstance(given, str) and f"{instruction}\n\n{given}" == user:
            return instruction, given
    return user, ""
