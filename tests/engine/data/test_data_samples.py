"""The plain-text views of a conversation and what the dataclasses refuse."""

import subprocess
import sys
from pathlib import Path

import pytest

from engine.data.samples import ROLES, Message, Row, prompt_text, response_text
from engine.errors import EngineError

ROOT = Path(__file__).parents[3]
CHAT = (
    Message("system", "Be brief."),
    Message("user", "One?"),
    Message("assistant", "1"),
    Message("user", "Two?"),
    Message("assistant", "2"),
)


def test_single_turn_prompt_is_the_user_text_itself() -> None:
    assert prompt_text((Message("user", "Why?"), Message("assistant", "So."))) == "Why?"


def test_prompt_is_everything_before_the_last_assistant_turn() -> None:
    assert prompt_text(CHAT) == "[system] Be brief.\n\nOne?\n\n[assistant] 1\n\nTwo?"
    assert response_text(CHAT) == "2"


def test_turns_after_the_last_assistant_turn_belong_to_neither() -> None:
    longer = (*CHAT, Message("user", "Three?"))
    assert response_text(longer) == "2"
    assert "Three?" not in prompt_text(longer)


def test_without_an_assistant_turn_the_response_is_empty() -> None:
    assert response_text((Message("user", "Why?"),)) == ""
    assert prompt_text((Message("user", "Why?"),)) == "Why?"
    assert prompt_text(()) == ""


@pytest.mark.parametrize("role", ["human", "", "User"])
def test_a_message_refuses_roles_that_were_not_normalised(role: str) -> None:
    with pytest.raises(EngineError, match="unknown role"):
        Message(role, "x")
    assert role not in ROLES


def test_rows_are_frozen() -> None:
    with pytest.raises(AttributeError):
        Row(1, "{}", None, CHAT).line = 2  # type: ignore[misc]


def test_samples_and_schemas_need_only_the_standard_library() -> None:
    code = (
        "import sys, engine.data.samples, engine.data.schemas;"
        "print(sorted({'numpy', 'pandas', 'pyarrow', 'datasets', 'torch', 'streamlit', 'duckdb'} & set(sys.modules)))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert found.stdout.strip() == "[]"


def test_intake_does_not_import_datasets_until_it_is_needed() -> None:
    code = "import sys, engine.data.intake; print('datasets' in sys.modules, 'streamlit' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert found.stdout.strip() == "False False"
