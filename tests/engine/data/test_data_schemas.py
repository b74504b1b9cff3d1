"""Recognition and application of schemas: what fits, what does not, and the reason each bad row is given."""

from typing import Any

import pytest

from engine.data.samples import Message
from engine.data.schemas import SCHEMA_NAMES, SCHEMAS, Mapping, apply, column_value, recognise
from engine.data.turns import RowProblem
from engine.errors import EngineError

U, A, S, T = "user", "assistant", "system", "tool"
Pairs = list[tuple[str, str]]

EXAMPLES: list[tuple[str, dict[str, str], dict[str, Any], Pairs]] = [
    (
        "chat",
        {"messages": "messages"},
        {"id": 3, "messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]},
        [(U, "q"), (A, "a")],
    ),
    (
        "sharegpt",
        {"messages": "conversations", "system": "system"},
        {"system": "s", "conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]},
        [(S, "s"), (U, "q"), (A, "a")],
    ),
    (
        "sharegpt",
        {"messages": "conversations"},
        {"conversations": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]},
        [(U, "q"), (A, "a")],
    ),
    (
        "alpaca",
        {"prompt": "instruction", "response": "output", "input": "input"},
        {"instruction": "add", "input": "1 2", "output": "3"},
        [(U, "add\n\n1 2"), (A, "3")],
    ),
    (
        "alpaca",
        {"prompt": "instruction", "response": "response", "input": "input"},
        {"instruction": "add", "input": "", "response": "3"},
        [(U, "add"), (A, "3")],
    ),
    (
        "alpaca",
        {"prompt": "instruction", "response": "response", "input": "context"},
        {"instruction": "add", "context": "1 2", "response": "3", "category": "sums"},
        [(U, "add\n\n1 2"), (A, "3")],
    ),
    (
        "prompt-completion",
        {"prompt": "prompt", "response": "completion"},
        {"prompt": "q", "completion": "a"},
        [(U, "q"), (A, "a")],
    ),
    (
        "prompt-completion",
        {"prompt": "prompt", "response": "completion"},
        {
            "prompt": [{"role": "system", "content": "s"}, {"role": "user", "content": "q"}],
            "completion": [{"role": "assistant", "content": "a"}],
        },
        [(S, "s"), (U, "q"), (A, "a")],
    ),
    (
        "question-answer",
        {"prompt": "question", "response": "answer"},
        {"question": "q", "answer": "a"},
        [(U, "q"), (A, "a")],
    ),
    (
        "question-answer",
        {"prompt": "question", "response": "response", "system": "system_prompt"},
        {"system_prompt": "s", "question": "q", "response": "a"},
        [(S, "s"), (U, "q"), (A, "a")],
    ),
    ("input-target", {"prompt": "input", "response": "target"}, {"input": "q", "target": "a"}, [(U, "q"), (A, "a")]),
    (
        "self-instruct",
        {"prompt": "instruction", "instances": "instances"},
        {"instruction": "i", "instances": [{"input": "x", "output": "1"}, {"input": "y", "output": "2"}]},
        [(U, "i\n\nx"), (A, "1"), (U, "y"), (A, "2")],
    ),
    (
        "self-instruct",
        {"prompt": "instruction", "instances": "instances"},
        {"instruction": "i", "instances": [{"input": "", "output": "1"}, {"output": "2"}]},
        [(U, "i"), (A, "1"), (U, "i"), (A, "2")],
    ),
]


def pairs(messages: tuple[Message, ...]) -> Pairs:
    return [(message.role, message.content) for message in messages]


@pytest.mark.parametrize(("schema", "fields", "value", "expected"), EXAMPLES)
def test_each_schema_is_recognised_and_applied(
    schema: str, fields: dict[str, str], value: dict[str, Any], expected: Pairs
) -> None:
    mapping = recognise([value] * 3)
    assert mapping == Mapping(schema, fields)
    assert pairs(apply(mapping, value)) == expected
    assert recognise([value], schema=schema) == mapping


def test_the_table_holds_every_schema_name() -> None:
    assert tuple(SCHEMAS) == SCHEMA_NAMES


def test_the_majority_decides_and_the_rest_get_a_reason() -> None:
    flat = {"instruction": "i", "output": "o"}
    mapping = recognise([{"question": "q", "answer": "a"}, flat, flat])
    assert mapping.schema == "alpaca"
    with pytest.raises(RowProblem, match="missing field: instruction"):
        apply(mapping, {"question": "q", "answer": "a"})


def test_rows_with_wrong_types_do_not_vote_against_good_ones() -> None:
    bad = {"instruction": 5, "output": None}
    assert recognise([bad, bad, {"instruction": "i", "output": "o"}]).schema == "alpaca"
    assert recognise([bad]).schema == "alpaca"  # nothing better: presence of the columns, so rows can say why


def test_unrecognised_columns_are_named() -> None:
    with pytest.raises(EngineError, match=r"got text, url; expected chat"):
        recognise([{"text": "x", "url": "y"}])
    with pytest.raises(EngineError, match="got no columns"):
        recognise([])
    with pytest.raises(EngineError, match="schema alpaca"):
        recognise([{"question": "q", "answer": "a"}], schema="alpaca")
    with pytest.raises(EngineError, match="unknown schema"):
        recognise([], schema="nonsense")


CHAT = Mapping("chat", {"messages": "messages"})
ALPACA = Mapping("alpaca", {"prompt": "instruction", "input": "input", "response": "output"})
INSTANCES = Mapping("self-instruct", {"prompt": "instruction", "instances": "instances"})


def chat(*turns: Any) -> dict[str, Any]:
    return {"messages": list(turns)}


QUESTION = {"role": "user", "content": "q"}
ANSWER = {"role": "assistant", "content": "a"}

BAD: list[tuple[Mapping, Any, str]] = [
    (CHAT, [1], "not an object: the row is a list"),
    (CHAT, {}, "missing field: messages"),
    (CHAT, {"messages": "hello"}, "wrong type: 'messages' is text, expected a list of turns"),
    (CHAT, {"messages": "[broken"}, "wrong type: text that begins like a list"),
    (CHAT, chat(), "no text: there is no turn"),
    (CHAT, chat(QUESTION, {"role": "assistant", "content": "  "}), "no response: the last assistant turn is empty"),
    (CHAT, chat({"role": "user", "content": ""}, {"role": "assistant", "content": None}), "no text: every turn"),
    (CHAT, chat(QUESTION), "no response: there is no assistant turn"),
    (CHAT, chat(ANSWER, QUESTION), "no prompt: nothing stands before"),
    (CHAT, chat(QUESTION, {"role": "narrator", "content": "a"}), "unknown role: 'narrator' in turn 2 of 'messages'"),
    (CHAT, chat(QUESTION, {"role": 7, "content": "a"}), "wrong type: the role of turn 2 of 'messages' is a number"),
    (CHAT, chat(QUESTION, {"content": "a"}), "missing field: turn 2 of 'messages' has no role"),
    (CHAT, chat(QUESTION, {"role": "assistant"}), "missing field: turn 2 of 'messages' has no content"),
    (CHAT, chat(QUESTION, "a"), "wrong type: turn 2 of 'messages' is text, expected an object"),
    (CHAT, chat(QUESTION, {"role": "assistant", "content": 4}), "wrong type: 'content of turn 2"),
    (CHAT, chat({"role": "user", "content": [{"type": "image_url"}]}, ANSWER), "wrong type: a content part of turn 1"),
    (CHAT, chat({"role": "user", "content": [3]}, ANSWER), "wrong type: a content part of turn 1"),
    (CHAT, chat(QUESTION, {"role": "assistant", "content": "\ud83d"}), r"lone surrogate: \\ud83d in the assistant's"),
    (ALPACA, {"instruction": "i", "input": ""}, "missing field: output"),
    (ALPACA, {"instruction": "i", "output": ""}, "no response: 'output' is empty"),
    (ALPACA, {"instruction": "i", "output": None}, "no response: 'output' is null"),
    (ALPACA, {"instruction": "i", "output": 4}, "wrong type: 'output' is a number, expected text"),
    (ALPACA, {"instruction": "i", "output": True}, "wrong type: 'output' is true or false"),
    (ALPACA, {"instruction": "i", "output": ["a"]}, "wrong type: 'output' is a list"),
    (ALPACA, {"instruction": {}, "output": "o"}, "wrong type: 'instruction' is an object"),
    (ALPACA, {"instruction": "i", "input": 3, "output": "o"}, "wrong type: 'input' is a number"),
    (ALPACA, {"instruction": " ", "output": "\n"}, "no text: 'instruction' and 'output' are empty"),
    (ALPACA, {"instruction": "", "input": "", "output": "o"}, "no prompt: 'instruction' is empty"),
    (INSTANCES, {"instruction": "i", "instances": []}, "no text: there is no turn"),
    (INSTANCES, {"instruction": "i", "instances": {}}, "wrong type: 'instances' is an object, expected a list"),
    (INSTANCES, {"instruction": "i", "instances": ["x"]}, "wrong type: instance 1 is text"),
    (INSTANCES, {"instruction": "i", "instances": [{"input": "x"}]}, "missing field: instance 1 has no 'output'"),
    (INSTANCES, {"instruction": "i", "instances": [{"output": ""}]}, "no response: the output of instance 1"),
]


@pytest.mark.parametrize(("mapping", "value", "reason"), BAD)
def test_a_row_that_cannot_be_used_says_why(mapping: Mapping, value: Any, reason: str) -> None:
    with pytest.raises(RowProblem, match=f"^{reason}"):
        apply(mapping, value)


def test_roles_are_normalised_whatever_their_case() -> None:
    names = ["System", "HUMAN", "gpt", "observation", "bot", "Function", " model "]
    turns = [{"from": name, "value": "x"} for name in names]
    roles = [message.role for message in apply(CHAT, chat(*turns))]
    assert roles == [S, U, A, T, A, T, A]


def test_text_parts_are_joined_and_json_text_of_turns_is_read() -> None:
    parts = [{"type": "text", "text": "one"}, "two", {"text": "three"}]
    assert apply(CHAT, chat({"role": "user", "content": parts}, ANSWER))[0].content == "one\ntwo\nthree"
    text = '[{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]'
    assert pairs(apply(CHAT, {"messages": text})) == [(U, "q"), (A, "a")]


def test_tool_calls_are_kept_as_text() -> None:
    call = {"role": "assistant", "content": None, "tool_calls": [{"name": "add", "arguments": {"a": 1}}]}
    result = {"role": "tool", "content": "1"}
    messages = apply(CHAT, chat(QUESTION, call, result, ANSWER))
    assert messages[1] == Message(A, '[{"name": "add", "arguments": {"a": 1}}]')
    assert [message.role for message in messages] == [U, A, T, A]


def test_a_system_turn_in_the_chat_wins_over_the_system_column() -> None:
    mapping = Mapping("chat", {"messages": "messages", "system": "system"})
    own = chat({"role": "system", "content": "own"}, QUESTION, ANSWER) | {"system": "column"}
    assert pairs(apply(mapping, own))[0] == (S, "own")
    assert pairs(apply(mapping, chat(QUESTION, ANSWER) | {"system": ""}))[0] == (U, "q")


def test_columns_can_be_mapped_by_hand_into_nested_objects() -> None:
    mapping = Mapping("fields", {"prompt": "data.ask", "response": "reply", "system": "who", "id": "key"})
    value = {"data": {"ask": "q"}, "reply": "a", "who": "s"}
    assert pairs(apply(mapping, value)) == [(S, "s"), (U, "q"), (A, "a")]
    assert column_value({"a.b": 1, "a": {"b": 2}}, "a.b") == 1
    assert column_value({"a": {"b": 2}}, "a.b") == 2
    assert column_value({"a": [1]}, "a.b") is None


@pytest.mark.parametrize(
    ("schema", "fields", "words"),
    [
        ("nonsense", {}, "unknown schema"),
        ("alpaca", {"prompt": "instruction"}, "needs a column for response"),
        ("fields", {}, "needs a column for prompt and response"),
        ("chat", {"messages": "m", "response": "r"}, "no part 'response'"),
        ("chat", {"messages": ""}, "must be a name"),
    ],
)
def test_a_mapping_is_validated_when_made(schema: str, fields: dict[str, str], words: str) -> None:
    with pytest.raises(EngineError, match=words):
        Mapping(schema, fields)


def test_a_mapping_survives_the_way_through_the_catalogue() -> None:
    assert Mapping.from_dict(ALPACA.as_dict()) == ALPACA
