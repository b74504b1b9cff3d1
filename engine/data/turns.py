"""From what a row holds to messages: one text, or a list of turns in any of the usual spellings.

Notation: a *turn* is a dict naming who speaks (`role` or `from`) and what is said (`content` or `value`).
Roles are normalised by `ROLE_NAMES`; content given as a list of text parts is joined by newlines; tool calls of an
assistant turn are kept as one canonical JSON text after its content. Knows no schema (`schemas`) and no file.
"""

import json
from collections.abc import Sequence
from typing import Any

from engine.data.samples import Message

ROLE_KEYS = ("role", "from", "speaker", "author")
CONTENT_KEYS = ("content", "value", "text", "message")
CALL_KEYS = ("tool_calls", "function_call")
ROLE_NAMES = {
    **dict.fromkeys(("system", "developer"), "system"),
    **dict.fromkeys(("user", "human", "prompter"), "user"),
    **dict.fromkeys(("assistant", "gpt", "bot", "model", "ai", "chatgpt", "chatbot", "bard", "bing"), "assistant"),
    **dict.fromkeys(("function_call", "tool_call"), "assistant"),
    **dict.fromkeys(("tool", "function", "observation", "tool_response", "ipython", "environment"), "tool"),
}


class RowProblem(Exception):
    """Why one row cannot be used; becomes the reason of a `BadRow` and never leaves the intake."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def kind_of(value: object) -> str:
    """Name a JSON value's kind in words, as messages to the user do."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true or false"
    names = ((str, "text"), ((int, float), "a number"), ((list, tuple), "a list"), (dict, "an object"))
    return next((name for kind, name in names if isinstance(value, kind)), type(value).__name__)


def is_turns(value: object) -> bool:
    """Whether `value` is a non-empty list of dicts that name a speaker and hold content (or JSON text of one)."""
    if isinstance(value, str):
        try:
            value = _decoded(value)
        except RowProblem:
            return False
    return isinstance(value, list) and bool(value) and all(_looks_like_turn(item) for item in value)


def parse_turns(value: object, *, column: str) -> tuple[Message, ...]:
    """Return the messages of a list of turns, or of its JSON text (as CSV holds it).

    Raises `RowProblem` ("wrong type", "missing field", "unknown role") naming `column` and the turn (from 1).
    """
    items = _decoded(value) if isinstance(value, str) else value
    if not isinstance(items, list | tuple):
        raise RowProblem(f"wrong type: '{column}' is {kind_of(value)}, expected a list of turns")
    return tuple(_plain_message(item) or _message(item, f"turn {at} of '{column}'") for at, item in enumerate(items, 1))


def parse_text(value: object, *, column: str) -> str:
    """Return text as it is and null as ""; anything else raises `RowProblem` ("wrong type")."""
    if value is None:
        return ""
    if not isinstance(value, str):
        raise RowProblem(f"wrong type: '{column}' is {kind_of(value)}, expected text")
    return value


def check_usable(messages: Sequence[Message]) -> None:
    """Raise `RowProblem` unless there is a prompt, a non-empty last assistant turn and only encodable text."""
    filled = [bool(message.content) and not message.content.isspace() for message in messages]
    if not any(filled):
        raise RowProblem("no text: every turn is empty" if messages else "no text: there is no turn")
    last = max((at for at, message in enumerate(messages) if message.role == "assistant"), default=-1)
    if last < 0:
        raise RowProblem("no response: there is no assistant turn")
    if not filled[last]:
        raise RowProblem("no response: the last assistant turn is empty")
    if not any(filled[:last]):
        raise RowProblem("no prompt: nothing stands before the last assistant turn")
    for message in messages:
        if not message.content.isascii():
            check_encodable(message.content, where=f"the {message.role}'s text")


def check_encodable(text: str, *, where: str) -> None:
    """Raise `RowProblem` if `text` holds half of a surrogate pair, which UTF-8 cannot hold."""
    if text.isascii():
        return
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise RowProblem(f"lone surrogate: \\u{ord(text[error.start]):04x} in {where}") from None


def _decoded(text: str) -> Any:
    if not text.lstrip().startswith("["):
        return text
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise RowProblem(f"wrong type: text that begins like a list of turns but is not JSON ({error})") from None


def _looks_like_turn(item: object) -> bool:
    return isinstance(item, dict) and _key(item, ROLE_KEYS) is not None and _key(item, CONTENT_KEYS) is not None


def _key(item: dict[str, Any], names: Sequence[str]) -> str | None:
    """The first of `names` that holds something, else the first that is present at all."""
    present = None
    for name in names:
        if name in item:
            if item[name] is not None:
                return name
            present = present or name
    return present


def _plain_message(item: object) -> Message | None:
    """The most usual turn, {"role": …, "content": …} with known role and nothing else, without further questions."""
    if isinstance(item, dict) and len(item) == 2:
        speaker, content = item.get("role"), item.get("content")
        if isinstance(content, str) and isinstance(speaker, str) and speaker in ROLE_NAMES:
            return Message(ROLE_NAMES[speaker], content)
    return None


def _message(item: object, where: str) -> Message:
    if not isinstance(item, dict):
        raise RowProblem(f"wrong type: {where} is {kind_of(item)}, expected an object")
    speaker = _key(item, ROLE_KEYS)
    if speaker is None:
        raise RowProblem(f"missing field: {where} has no role")
    calls = [item[key] for key in CALL_KEYS if item.get(key)]
    content = _key(item, CONTENT_KEYS)
    if content is None and not calls:
        raise RowProblem(f"missing field: {where} has no content")
    text = _content(item[content], where=where) if content is not None else ""
    return Message(_role(item[speaker], where=where), "\n".join([*([text] if text else []), *map(_call_text, calls)]))


def _role(name: object, *, where: str) -> str:
    if not isinstance(name, str):
        raise RowProblem(f"wrong type: the role of {where} is {kind_of(name)}, expected text")
    role = ROLE_NAMES.get(name.strip().lower())
    if role is None:
        raise RowProblem(f"unknown role: '{name[:40]}' in {where}")
    return role


def _content(value: object, *, where: str) -> str:
    if isinstance(value, list | tuple):
        return "\n".join(_part(part, where=where) for part in value)
    return parse_text(value, column=f"content of {where}")


def _part(part: object, *, where: str) -> str:
    """One text part: a string, or an object of type text (the type may be absent)."""
    if isinstance(part, str):
        return part
    if not isinstance(part, dict):
        raise RowProblem(f"wrong type: a content part of {where} is {kind_of(part)}, expected text")
    if part.get("type", "text") not in ("text", "input_text", "output_text") or not isinstance(part.get("text"), str):
        raise RowProblem(f"wrong type: a content part of {where} is {str(part.get('type'))[:40]!r}, expected text")
    return str(part["text"])


def _call_text(call: object) -> str:
    return call if isinstance(call, str) else json.dumps(call, ensure_ascii=False)
