"""What a sample is once it has been read: messages, rows, rows set aside, and where they came from.

Notation: a *row* is one sample of a file; its *messages* are the turns of a chat, in order; the *response* is
the last assistant turn and the *prompt* is everything before it. Standard library only, because the models and the
job folder use these classes on machines without pandas, DuckDB or `datasets`.
Does not read files (`readers`), know schemas (`schemas`) or know a model's chat template (`engine.models`).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from engine.errors import EngineError

Role = Literal["system", "user", "assistant", "tool"]
ROLES: tuple[str, ...] = get_args(Role)

Scalar = str | int | float | bool | None


@dataclass(frozen=True, slots=True)
class Message:
    """One turn: who speaks (one of `ROLES`) and the plain text."""

    role: str
    content: str

    def __post_init__(self) -> None:
        if self.role not in ROLES:
            raise EngineError(f"unknown role {self.role!r}; expected one of {', '.join(ROLES)}")


@dataclass(frozen=True, slots=True)
class Row:
    """One usable sample.

    `line`: 1-based line of a JSONL file, else the 1-based position of the element or record.
    `raw`: the original line without its newline (JSONL), else one canonical JSON line of the row's values.
    `own_id`: the row's own id as text, or None. `fields`: the other scalar top-level fields, such as source or task.
    """

    line: int
    raw: str
    own_id: str | None
    messages: tuple[Message, ...]
    fields: dict[str, Scalar] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class BadRow:
    """One row set aside. `reason`: a short stable phrase, then detail after a colon; `excerpt`: its beginning."""

    line: int
    reason: str
    excerpt: str


@dataclass(frozen=True, slots=True)
class SourceInfo:
    """Where rows came from: `path` as given, `sha256` of the content (hex), size in `bytes`, `format`, mapping used."""

    path: str
    sha256: str
    bytes: int
    format: str
    mapping: dict[str, Any]


def response_text(messages: Sequence[Message]) -> str:
    """Return the text of the last assistant turn ("" where there is none)."""
    at = _last_assistant(messages)
    return messages[at].content if at >= 0 else ""


def prompt_text(messages: Sequence[Message]) -> str:
    """Return everything before the last assistant turn as plain text, turns parted by a blank line.

    A single user turn is returned as it is; with several turns each but the user's is headed by its role.
    """
    at = _last_assistant(messages)
    return _join(messages[:at] if at >= 0 else messages)


def _last_assistant(messages: Sequence[Message]) -> int:
    return max((at for at, message in enumerate(messages) if message.role == "assistant"), default=-1)


def _join(messages: Sequence[Message]) -> str:
    if len(messages) == 1:
        return messages[0].content
    return "\n\n".join(m.content if m.role == "user" else f"[{m.role}] {m.content}" for m in messages)
