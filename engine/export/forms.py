"""One chosen row as a record of a training file: chat messages or the Alpaca columns.

Chat: `{"id", "messages": [{"role", "content"}]}`. Alpaca: `{"instruction", "input", "output", "id"}`, with `system`
where the chat has one and `history` (list of [user, assistant] pairs before the last) where it has several turns, as
LLaMA-Factory reads them. A chat that is not strictly user, assistant, user, assistant has no Alpaca form.
Extra columns (weight, scores, original fields) follow. Does not write files.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from engine.data.samples import Message
from engine.store.records import FileRecord, StoredRow

CHAT_NAMES = ("id", "messages")
ALPACA_NAMES = ("instruction", "input", "output", "system", "history", "id")


@dataclass(frozen=True)
class Split:
    """Columns of a source file that hold an instruction and, apart from it, its input."""

    instruction: str
    input: str


def splits_of(files: Sequence[FileRecord]) -> tuple[Split, ...]:
    """The instruction and input columns that the pool's files were read with."""
    found = [f.mapping.get("fields", {}) for f in files if f.role == "pool"]
    pairs = [(m["prompt"], m["input"]) for m in found if isinstance(m, dict) and {"prompt", "input"} <= m.keys()]
    return tuple(Split(*pair) for pair in dict.fromkeys(pairs))


def chat_record(row: StoredRow) -> dict[str, Any]:
    """The row as id and messages."""
    return {"id": row.id, "messages": [{"role": m.role, "content": m.content} for m in row.messages]}


def alpaca_record(row: StoredRow, splits: Sequence[Split] = ()) -> dict[str, Any] | None:
    """The row in Alpaca columns, or None where its turns have no such form.

    Instruction and input are parted again if the row came parted and joining them gives the user's text.
    """
    system, turns = _system(row.messages)
    roles = [m.role for m in turns]
    if not turns or roles != ["user", "assistant"] * (len(turns) // 2):
        return None
    pairs = [[user.content, answer.content] for user, answer in zip(turns[::2], turns[1::2], strict=True)]
    instruction, given = _parted(row.raw, pairs[-1][0], splits)
    record: dict[str, Any] = {"instruction": instruction, "input": given, "output": pairs[-1][1]}
    record |= {"system": system} if system else {}
    record |= {"history": pairs[:-1]} if len(pairs) > 1 else {}
    return record | {"id": row.id}


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
