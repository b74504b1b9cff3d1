"""Which columns of a row hold what: the schemas, their recognition and their application.

Notation: a *part* is a role that a column plays (`PARTS`); a *mapping* is a schema with one column per part.
A column may be a path into nested objects ("data.question"); a key of that literal name wins.
Flat schemas turn (prompt, input, response) into a user turn (prompt, blank line, input) and an assistant turn; a
prompt or response that is itself a list of turns is taken as those turns; null counts as empty text.
Does not read files, keep raw text or other fields (`intake`).
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from collections.abc import Mapping as Dict
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from engine.data.samples import Message
from engine.data.turns import RowProblem, check_usable, is_turns, kind_of, parse_text, parse_turns
from engine.errors import EngineError

SchemaName = Literal[
    "chat", "sharegpt", "self-instruct", "alpaca", "prompt-completion", "question-answer", "input-target", "fields"
]
SCHEMA_NAMES: tuple[str, ...] = get_args(SchemaName)
PARTS = ("messages", "prompt", "input", "response", "instances", "system", "id")
SYSTEM_COLUMNS = ("system", "system_prompt")

_ABSENT = object()


@dataclass(frozen=True)
class Mapping:
    """A schema and the columns that play its parts, e.g. `Mapping("alpaca", {"prompt": "instruction", ...})`.

    `fields`: part → column. Parts a schema needs must be there; `system` and `id` are welcome in every schema.
    Raises EngineError at construction for an unknown schema, an unknown part or a missing one.
    """

    schema: str
    fields: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.schema not in SCHEMAS:
            raise EngineError(f"unknown schema {self.schema!r}; known are {', '.join(SCHEMA_NAMES)}")
        schema = SCHEMAS[self.schema]
        allowed = [part for part in PARTS if part in schema.columns or part == "id"]
        for part, column in self.fields.items():
            if part not in allowed:
                raise EngineError(f"schema {self.schema} has no part {part!r}; its parts are {', '.join(allowed)}")
            if not isinstance(column, str) or not column:
                raise EngineError(f"the column for {part!r} must be a name, got {column!r}")
        missing = [part for part in schema.required if part not in self.fields]
        if missing:
            raise EngineError(f"schema {self.schema} needs a column for {' and '.join(missing)}; name it")

    def as_dict(self) -> dict[str, Any]:
        """Return the mapping as plain JSON values, for the catalogue and the manifest."""
        return {"schema": self.schema, "fields": dict(self.fields)}

    @staticmethod
    def from_dict(value: Dict[str, Any]) -> "Mapping":
        """Return the mapping that `as_dict` described; raises EngineError like the constructor."""
        return Mapping(schema=value.get("schema", ""), fields=dict(value.get("fields", {})))


@dataclass(frozen=True)
class Schema:
    """One known form of rows. `columns`: the usual column names per part, best first; `convert`: row → messages."""

    name: str
    title: str
    required: tuple[str, ...]
    columns: dict[str, tuple[str, ...]]
    convert: Callable[[dict[str, str], dict[str, Any]], tuple[Message, ...]]


def recognise(values: Iterable[Any], *, schema: str | None = None) -> Mapping:
    """Return the mapping that most of `values` (rows as dicts) fit, among all schemas or within the one named.

    A row votes for the first schema whose needed columns it holds with the right kinds of values; if no row does,
    rows vote by the presence of the columns alone, so that the rows' own reasons can be shown. Ties: first seen.
    Raises EngineError naming the columns found where no row fits.
    """
    rows = [value for value in values if isinstance(value, dict)]
    if schema is not None and schema not in SCHEMAS:
        raise EngineError(f"unknown schema {schema!r}; known are auto, {', '.join(SCHEMA_NAMES)}")
    candidates = [s for s in SCHEMAS.values() if s.name != "fields" and schema in (None, s.name)]
    for fits in (_fits, _present):
        votes = Counter(vote for row in rows if (vote := _vote(row, candidates, fits)) is not None)
        if votes:
            name, chosen = votes.most_common(1)[0][0]
            return Mapping(name, dict(chosen) | _optional(SCHEMAS[name], rows))
    raise EngineError(_unrecognised(rows, schema))


def apply(mapping: Mapping, value: Any) -> tuple[Message, ...]:
    """Return the row's messages; raises `RowProblem` with the reason where the row cannot be used."""
    if not isinstance(value, dict):
        raise RowProblem(f"not an object: the row is {kind_of(value)}")
    messages = SCHEMAS[mapping.schema].convert(mapping.fields, value)
    check_usable(messages)
    return messages


def column_value(value: Dict[str, Any], column: str, default: Any = None) -> Any:
    """Return the value at a column name or, where there is no such key, at a dotted path; else `default`."""
    if column in value:
        return value[column]
    found: Any = value
    for key in column.split("."):
        if not isinstance(found, dict) or key not in found:
            return default
        found = found[key]
    return found


def _vote(
    row: dict[str, Any], candidates: Sequence[Schema], fits: Callable[[str, object], bool]
) -> tuple[str, tuple[tuple[str, str], ...]] | None:
    for schema in candidates:
        chosen = [(part, column) for part in schema.required if (column := _first(row, part, schema, fits)) is not None]
        if len(chosen) == len(schema.required):
            return schema.name, tuple(chosen)
    return None


def _first(row: dict[str, Any], part: str, schema: Schema, fits: Callable[[str, object], bool]) -> str | None:
    return next((column for column in schema.columns[part] if column in row and fits(part, row[column])), None)


def _fits(part: str, value: object) -> bool:
    if part == "messages":
        return is_turns(value)
    if part == "instances":
        return isinstance(value, list)
    return isinstance(value, str) or (isinstance(value, list) and is_turns(value))


def _present(part: str, value: object) -> bool:
    return True


def _optional(schema: Schema, rows: Sequence[dict[str, Any]]) -> dict[str, str]:
    """The first usual column of each part that is not needed, where any row holds text under it."""
    found = {}
    for part, columns in schema.columns.items():
        if part in schema.required:
            continue
        for column in columns:
            if any(isinstance(row.get(column), str) for row in rows):
                found[part] = column
                break
    return found


def _unrecognised(rows: Sequence[dict[str, Any]], schema: str | None) -> str:
    columns = list(dict.fromkeys(column for row in rows[:20] for column in row))
    known = "; ".join(s.title for s in SCHEMAS.values() if s.name != "fields" and schema in (None, s.name))
    wanted = "any known schema" if schema is None else f"schema {schema}"
    return (
        f"the columns fit not {wanted}: got {', '.join(columns[:20]) or 'no columns'}; expected {known}. "
        "Name the columns that hold the prompt and the response. Nothing was added."
    )


def _chat(fields: dict[str, str], value: dict[str, Any]) -> tuple[Message, ...]:
    turns = parse_turns(_needed(fields, value, "messages"), column=fields["messages"])
    return _with_system(fields, value, turns)


def _flat(fields: dict[str, str], value: dict[str, Any]) -> tuple[Message, ...]:
    prompt, response = _needed(fields, value, "prompt"), _needed(fields, value, "response")
    before = _side(prompt, "user", fields["prompt"], also=_text(fields, value, "input"))
    after = _side(response, "assistant", fields["response"])
    if not any(turn.content.strip() for turn in (*before, *after)):
        raise RowProblem(f"no text: '{fields['prompt']}' and '{fields['response']}' are empty")
    if not any(turn.content.strip() for turn in after):
        raise RowProblem(f"no response: '{fields['response']}' is {'null' if response is None else 'empty'}")
    if not any(turn.content.strip() for turn in before) and len(after) < 2:
        raise RowProblem(f"no prompt: '{fields['prompt']}' is {'null' if prompt is None else 'empty'}")
    return _with_system(fields, value, (*before, *after))


def _self_instruct(fields: dict[str, str], value: dict[str, Any]) -> tuple[Message, ...]:
    """One sample per row: the first instance follows the instruction, further instances are further turns."""
    instruction = parse_text(_needed(fields, value, "prompt"), column=fields["prompt"])
    instances = _needed(fields, value, "instances")
    if not isinstance(instances, list):
        raise RowProblem(f"wrong type: '{fields['instances']}' is {kind_of(instances)}, expected a list")
    turns: list[Message] = []
    for at, instance in enumerate(instances, start=1):
        given, answer = _instance(instance, where=f"instance {at}")
        prompt = _paragraphs(instruction, given) if at == 1 else given if given.strip() else instruction
        turns += [Message("user", prompt), Message("assistant", answer)]
    return _with_system(fields, value, tuple(turns))


def _instance(instance: object, *, where: str) -> tuple[str, str]:
    if not isinstance(instance, dict):
        raise RowProblem(f"wrong type: {where} is {kind_of(instance)}, expected an object")
    if "output" not in instance:
        raise RowProblem(f"missing field: {where} has no 'output'")
    answer = parse_text(instance["output"], column=f"output of {where}")
    if not answer.strip():
        raise RowProblem(f"no response: the output of {where} is empty")
    return parse_text(instance.get("input"), column=f"input of {where}"), answer


def _needed(fields: dict[str, str], value: dict[str, Any], part: str) -> Any:
    found = column_value(value, fields[part], _ABSENT)
    if found is _ABSENT:
        raise RowProblem(f"missing field: {fields[part]}")
    return found


def _text(fields: dict[str, str], value: dict[str, Any], part: str) -> str:
    return parse_text(column_value(value, fields[part]), column=fields[part]) if part in fields else ""


def _side(value: object, role: str, column: str, *, also: str = "") -> tuple[Message, ...]:
    """The turns of one column: its own where it holds a list of turns, else one of `role` with `also` after it."""
    if isinstance(value, list) and is_turns(value):
        return (*parse_turns(value, column=column), *([Message(role, also)] if also.strip() else []))
    return (Message(role, _paragraphs(parse_text(value, column=column), also)),)


def _paragraphs(first: str, second: str) -> str:
    return f"{first}\n\n{second}" if first.strip() and second.strip() else second if second.strip() else first


def _with_system(fields: dict[str, str], value: dict[str, Any], turns: tuple[Message, ...]) -> tuple[Message, ...]:
    """Put the system column's text first, unless the turns bring a system turn of their own or it is empty."""
    system = _text(fields, value, "system")
    if not system.strip() or (turns and turns[0].role == "system"):
        return turns
    return (Message("system", system), *turns)


def _table(*schemas: Schema) -> dict[str, Schema]:
    return {schema.name: schema for schema in schemas}


def _flat_schema(name: str, title: str, prompt: Sequence[str], response: Sequence[str], *also: str) -> Schema:
    columns = {"prompt": tuple(prompt), "input": also, "response": tuple(response), "system": SYSTEM_COLUMNS}
    return Schema(name, title, ("prompt", "response"), columns, _flat)


def _chat_schema(name: str, title: str, *columns: str) -> Schema:
    return Schema(name, title, ("messages",), {"messages": columns, "system": SYSTEM_COLUMNS}, _chat)


_ANSWERS = ("response", "output", "answer")
SCHEMAS: dict[str, Schema] = _table(
    _chat_schema("chat", "chat (messages)", "messages", "dialog", "dialogue", "turns"),
    _chat_schema("sharegpt", "ShareGPT (conversations)", "conversations", "conversation"),
    Schema(
        "self-instruct",
        "Self-Instruct (instruction, instances)",
        ("prompt", "instances"),
        {"prompt": ("instruction",), "instances": ("instances",), "system": SYSTEM_COLUMNS},
        _self_instruct,
    ),
    _flat_schema(
        "alpaca",
        "Alpaca (instruction, input, output)",
        ["instruction"],
        ["output", "response", "completion", "answer"],
        "input",
        "context",
    ),
    _flat_schema("prompt-completion", "prompt and completion", ["prompt"], ["completion", *_ANSWERS]),
    _flat_schema(
        "question-answer", "question and answer", ["question", "query", "problem"], ["answer", "response", "solution"]
    ),
    _flat_schema("input-target", "input and target", ["input", "inputs"], ["target", "targets", "output", "outputs"]),
    _flat_schema("fields", "columns named by hand (prompt, response)", [], []),
)
