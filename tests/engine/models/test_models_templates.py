"""Which text a chat becomes and which spans of it the model has to produce, for the templates seen in the wild."""

from collections.abc import Callable

import pytest
from transformers import PreTrainedTokenizerBase

from engine.data.samples import Message
from engine.errors import EngineError
from engine.models.templates import ChatRenderer, Unencodable

TEMPLATES = {
    "default": "",
    "chatml": (
        "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
    ),
    "llama3": (
        "{{ '<|begin_of_text|>' }}{% for m in messages %}{{ '<|start_header_id|>' + m['role'] + '<|end_header_id|>\n\n'"
        " + m['content'] | trim + '<|eot_id|>' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"
    ),
    "mistral": (
        "{% if messages[0]['role'] == 'system' %}{% set system = messages[0]['content'] + '\n\n' %}"
        "{% set rest = messages[1:] %}{% else %}{% set system = '' %}{% set rest = messages %}{% endif %}{{ '<s>' }}"
        "{% for m in rest %}{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}"
        "{{ raise_exception('Conversation roles must alternate') }}{% endif %}{% if m['role'] == 'user' %}"
        "{{ '[INST] ' + (system if loop.first else '') + m['content'] + ' [/INST]' }}"
        "{% else %}{{ ' ' + m['content'] + '</s>' }}{% endif %}{% endfor %}"
    ),
    "mistral, system before the last user": (
        "{% if messages[0]['role'] == 'system' %}{% set system = messages[0]['content'] + '\n\n' %}"
        "{% set rest = messages[1:] %}{% else %}{% set system = '' %}{% set rest = messages %}{% endif %}{{ '<s>' }}"
        "{% set users = rest | selectattr('role', 'equalto', 'user') | list %}"
        "{% for m in rest %}{% if m['role'] == 'user' %}"
        "{{ '[INST]' + (system if m == users[-1] else '') + m['content'] + '[/INST]' }}"
        "{% else %}{{ m['content'] + '</s>' }}{% endif %}{% endfor %}"
    ),
    "system shown only while a user turn is last": (
        "{% if messages[0]['role'] == 'system' %}{% set system = messages[0]['content'] + '\n\n' %}"
        "{% set messages = messages[1:] %}{% endif %}{{ '<s>' }}{% for m in messages %}{% if m['role'] == 'user' %}"
        "{{ '[INST]' + (system if loop.last and system is defined else '') + m['content'] + '[/INST]' }}"
        "{% else %}{{ m['content'] + '</s>' }}{% endif %}{% endfor %}"
    ),
    "prompt opens the thinking": (
        "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'].split('</think>')[-1] }}"
        "{{ '<|im_end|>\n' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n<think>\n' }}{% endif %}"
    ),
    "no end token": (
        "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
    ),
    "gemma": (
        "{{ '<s>' }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}"
        "{% endif %}{% for m in messages %}{% set role = 'model' if m['role'] == 'assistant' else m['role'] %}"
        "{{ '<start_of_turn>' + role + '\n' + m['content'] | trim + '<end_of_turn>\n' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}"
    ),
    "system dropped": (
        "{% for m in messages %}{% if m['role'] != 'system' %}"
        "{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}{% endif %}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
    ),
    "thinking": (
        "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' }}{% if m['role'] == 'assistant' %}"
        "{% set parts = m['content'].split('</think>') %}{% if loop.last %}"
        "{{ '<think>\n' + (parts[0].split('<think>')[-1].strip() if parts | length > 1 else '') + '\n</think>\n\n' }}"
        "{% endif %}{{ parts[-1].lstrip('\n') }}{% else %}{{ m['content'] }}{% endif %}{{ '<|im_end|>\n' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
    ),
    "end token on the last turn only": (
        "{% for m in messages %}{{ m['role'] + ': ' + m['content'] }}"
        "{% if loop.last and m['role'] == 'assistant' %}{{ '</s>' }}{% else %}{{ '\n' }}{% endif %}{% endfor %}"
        "{% if add_generation_prompt %}{{ 'assistant: ' }}{% endif %}"
    ),
    "no generation prompt": ("{% for m in messages %}{{ m['role'] + ': ' + m['content'] + ' </s>\n' }}{% endfor %}"),
    "generation prompt always": (
        "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}{% endfor %}"
        "{{ '<|im_start|>assistant\n' }}"
    ),
    "turns counted": (
        "{{ messages | length }} turns\n{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' }}"
        "{{ m['content'] + '<|im_end|>\n' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
    ),
    "marked, lengths counted": (
        "{% for m in messages %}{{ '<|im_start|>' + m['role'] + (m['content'] | length | string) + '\n' }}"
        "{% if m['role'] == 'assistant' %}{% generation %}{{ m['content'] }}{% endgeneration %}"
        "{% else %}{{ m['content'] }}{% endif %}{{ '<|im_end|>\n' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
    ),
    "date": (
        "{{ 'Today is ' + strftime_now('%Y-%m-%d') + ' ' + strftime_now('%d %b %Y') }}"
        "{{ ' ' + strftime_now('%A') + '\n' }}"
        "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
    ),
}
END = dict.fromkeys(TEMPLATES, "<|im_end|>") | {
    "default": "</s>",
    "llama3": "<|eot_id|>",
    "mistral": "</s>",
    "mistral, system before the last user": "</s>",
    "system shown only while a user turn is last": "</s>",
    "gemma": "<end_of_turn>",
    "no generation prompt": " </s>",
}


def turn(role: str, content: str) -> Message:
    return Message(role, content)


SINGLE = [turn("user", "What is 2+2?"), turn("assistant", "It is 4.")]
SHADOW = [turn("user", "a"), turn("assistant", "a")]  # the response also occurs in "assistant" and in the prompt
SYSTEM = [turn("system", "Be brief."), *SINGLE]
MULTI = [*SINGLE, turn("user", "And 3+3?"), turn("assistant", "That is 6.\n\n    x = 6"), turn("user", "2+2?")]
MULTI += [turn("assistant", "It is 4.")]
LONG = [turn("system", "Be brief."), *MULTI]
CHATS = {"single": SINGLE, "shadow": SHADOW, "system": SYSTEM, "multi": MULTI, "system and multi": LONG}


def with_template(build: Callable[..., PreTrainedTokenizerBase], name: str) -> PreTrainedTokenizerBase:
    tokenizer = build()
    if TEMPLATES[name]:
        tokenizer.chat_template = TEMPLATES[name]
    return tokenizer


@pytest.mark.parametrize("chat", CHATS)
@pytest.mark.parametrize("name", TEMPLATES)
def test_spans_are_the_assistant_texts_with_their_end_token(
    make_byte_level: Callable[..., PreTrainedTokenizerBase], name: str, chat: str
) -> None:
    tokenizer = with_template(make_byte_level, name)
    rendered = ChatRenderer(tokenizer).render(CHATS[chat])
    answers = [m.content for m in CHATS[chat] if m.role == "assistant"]
    found = [rendered.text[a:b] for a, b in rendered.spans]
    ends = [END[name]] * len(answers)
    if name == "end token on the last turn only":
        ends = [""] * (len(answers) - 1) + ["</s>"]
    if name == "no end token":  # the start of the next turn is what stops the model
        ends = ["<|im_start|>"] * (len(answers) - 1) + [""]
    assert [f.strip() for f in found] == [a + e for a, e in zip(answers, ends)]
    assert rendered.text.endswith(found[-1])


@pytest.mark.parametrize("chat", CHATS)
@pytest.mark.parametrize("name", [n for n in TEMPLATES if n not in ("default", "date")])
def test_text_is_the_templates_own(
    make_byte_level: Callable[..., PreTrainedTokenizerBase], name: str, chat: str
) -> None:
    tokenizer = with_template(make_byte_level, name)
    rendered = ChatRenderer(tokenizer).render(CHATS[chat])
    messages = [{"role": m.role, "content": m.content} for m in CHATS[chat]]
    if rendered.system_folded:
        messages = [{"role": "user", "content": "Be brief.\n\n" + messages[1]["content"]}, *messages[2:]]
    whole = tokenizer.apply_chat_template(messages, tokenize=False)
    assert whole.startswith(rendered.text)
    assert whole[len(rendered.text) :].strip() in ("", "<|im_start|>assistant")


def test_system_text_is_folded_only_where_the_template_has_no_system_role(
    make_byte_level: Callable[..., PreTrainedTokenizerBase],
) -> None:
    folded = {n for n in TEMPLATES if ChatRenderer(with_template(make_byte_level, n)).render(SYSTEM).system_folded}
    assert folded == {"gemma", "system dropped", "system shown only while a user turn is last"}
    text = ChatRenderer(with_template(make_byte_level, "gemma")).render(SYSTEM).text
    assert "<start_of_turn>user\nBe brief.\n\nWhat is 2+2?<end_of_turn>" in text


def test_thinking_is_learnt_where_shown_and_not_where_the_template_drops_it(
    make_byte_level: Callable[..., PreTrainedTokenizerBase],
) -> None:
    chat = [turn("user", "q"), turn("assistant", "<think>\nfirst\n</think>\n\none")]
    chat += [turn("user", "r"), turn("assistant", "<think>second</think>two")]
    rendered = ChatRenderer(with_template(make_byte_level, "thinking")).render(chat)
    found = [rendered.text[a:b] for a, b in rendered.spans]
    assert found == ["one<|im_end|>", "<think>\nsecond\n</think>\n\ntwo<|im_end|>"]


def test_what_follows_the_last_response_is_left_out(make_byte_level: Callable[..., PreTrainedTokenizerBase]) -> None:
    renderer = ChatRenderer(with_template(make_byte_level, "chatml"))
    assert renderer.render([*SINGLE, turn("user", "Thanks")]) == renderer.render(SINGLE)


def test_a_blank_turn_is_no_response(make_byte_level: Callable[..., PreTrainedTokenizerBase]) -> None:
    renderer = ChatRenderer(with_template(make_byte_level, "chatml"))
    chat = [turn("user", "q"), turn("assistant", "  "), turn("tool", "4"), turn("assistant", "It is 4.")]
    rendered = renderer.render(chat)
    assert [rendered.text[a:b] for a, b in rendered.spans] == ["It is 4.<|im_end|>"]
    for bad in ([turn("user", "q")], [turn("user", "q"), turn("assistant", " \n")], []):
        with pytest.raises(Unencodable, match="no response"):
            renderer.render(bad)


@pytest.mark.parametrize(
    ("name", "chat", "reason"),
    [
        ("mistral", [turn("user", "a"), turn("user", "b"), turn("assistant", "c")], "roles must alternate"),
        ("gemma", [turn("system", "s"), turn("assistant", "c")], "System role not supported"),
    ],
)
def test_a_chat_that_the_template_refuses_is_set_aside_with_its_reason(
    make_byte_level: Callable[..., PreTrainedTokenizerBase], name: str, chat: list[Message], reason: str
) -> None:
    with pytest.raises(Unencodable, match=reason):
        ChatRenderer(with_template(make_byte_level, name)).render(chat)


@pytest.mark.parametrize(
    "body",
    ["{{ m['content'] | upper }}", "{{ m['content'] | reverse }}", "{{ m['content'][:3] }}", "nothing"],
)
def test_a_rewritten_response_is_refused_and_never_masked_wrongly(
    make_byte_level: Callable[..., PreTrainedTokenizerBase], body: str
) -> None:
    tokenizer = make_byte_level()
    tokenizer.chat_template = "{% for m in messages %}{{ m['role'] }}: " + body + "\n{% endfor %}"
    with pytest.raises(Unencodable, match="cannot be located"):
        ChatRenderer(tokenizer).render(SINGLE)


def test_the_text_does_not_depend_on_the_day(make_byte_level: Callable[..., PreTrainedTokenizerBase]) -> None:
    text = ChatRenderer(with_template(make_byte_level, "date")).render(SINGLE).text
    assert text.startswith("Today is 2024-07-26 26 Jul 2024 26 Jul 2024\n<|im_start|>user")


def test_a_broken_template_is_one_readable_error(make_byte_level: Callable[..., PreTrainedTokenizerBase]) -> None:
    tokenizer = make_byte_level()
    tokenizer.chat_template = "{% for m in messages %}{{ m['content'] }}"
    with pytest.raises(EngineError, match="chat template is broken"):
        ChatRenderer(tokenizer)


def test_the_note_says_which_template_is_used(make_byte_level: Callable[..., PreTrainedTokenizerBase]) -> None:
    assert "plain default" in ChatRenderer(make_byte_level()).note
    assert "own" in ChatRenderer(with_template(make_byte_level, "chatml")).note


def test_the_default_starts_with_bos_only_where_the_tokenizer_adds_one(
    make_byte_level: Callable[..., PreTrainedTokenizerBase],
) -> None:
    texts = [ChatRenderer(make_byte_level(bos="<s>", adds_bos=adds)).render(SINGLE).text for adds in (True, False)]
    assert texts[0] == "<s>" + texts[1]
    assert texts[1] == "<|user|>\nWhat is 2+2?\n<|assistant|>\nIt is 4.</s>"
