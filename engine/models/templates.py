"""A chat becomes one text and the character spans in it that the model has to produce.

The text is what the tokenizer's own chat template renders; a tokenizer without one gets `DEFAULT_TEMPLATE`. A span
holds one assistant turn together with its end-of-turn token. Three ways find it, each verified against the rendered
text, and the first that holds is taken (2 before 1 where the template writes text of its own before a response):

1. incremental: the template of the messages before the turn (with its generation prompt) and of the messages up to
   the turn are both prefixes of the whole text, and the turn's content follows;
2. marker: the turn's content is replaced by a marker; what the template writes before and after the marker also
   begins and ends the whole text (holds where a template strips earlier thinking or moves the system text);
3. generation: the template's own `{% generation %}` blocks.

Where none holds the chat is refused (`Unencodable`) rather than masked wrongly. This module knows nothing of tokens.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from jinja2 import TemplateError, TemplateSyntaxError
from transformers import PreTrainedTokenizerBase
from transformers.utils.chat_template_utils import render_jinja_template

from engine.errors import EngineError

if TYPE_CHECKING:
    from engine.data.samples import Message

DEFAULT_TEMPLATE = (
    "{{ leading_bos }}{% for message in messages %}"
    "{{ '<|' + message['role'] + '|>\n' + message['content'] }}"
    "{% if message['role'] == 'assistant' %}{{ eos_token }}{% endif %}{{ '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}"
)
"""The format of open-instruct and LESS: `<|user|>`, a new line, the text; the response ends with the EOS token."""

FIXED_DATE = {"%d %b %Y": "26 Jul 2024", "%d %B %Y": "26 July 2024", "%Y-%m-%d": "2024-07-26"}
"""What "today" is to a template that stamps the date, so that a row has the same tokens on every day."""

_MARKER = "Touchstone7Marker9Content"
_THINK_END = "</think>"
_TEMPLATE_ERRORS = (TemplateError, TypeError, ValueError, KeyError, IndexError)

Chat = list[dict[str, str]]
Span = tuple[int, int]


class Unencodable(EngineError):
    """A row cannot become tokens with a response to learn; `reason` is a short phrase for the list of such rows."""

    def __init__(self, reason: str) -> None:
        """Keep the reason beside the message."""
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True)
class Rendered:
    """A chat's text up to the end of its last response, and the spans [start, end) of its responses, in order."""

    text: str
    spans: tuple[Span, ...]
    system_folded: bool


class ChatRenderer:
    """Renders chats as one tokenizer wants them; made once per tokenizer. `note` says which template is in use."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        """Take the template and special tokens of `tokenizer`; a broken template is an `EngineError`."""
        own = _own_template(tokenizer)
        self.note = "chat template: the tokenizer's own" if own else "chat template: the plain default (it has none)"
        self._template = _date_macro(own) if own else DEFAULT_TEMPLATE
        self._marks_generation = bool(own and re.search(r"\{%-?\s*generation\s*-?%\}", own))
        self._variables = {
            **tokenizer.special_tokens_map,
            "leading_bos": _leading_bos(tokenizer),
            "date_string": FIXED_DATE["%d %b %Y"],
        }
        self._end = _end_pattern(tokenizer)
        ways = [self._incremental, self._by_marker, self._by_generation]
        self._ways = ways if self._prompt_ends_at_content() else [ways[1], ways[0], ways[2]]

    def render(self, messages: "Sequence[Message]") -> Rendered:
        """The text and response spans of a chat; what follows its last response is left out.

        Where the template has no system role, the system text is put before the first user turn, with a blank line
        between (`system_folded`). Raises `Unencodable`.
        """
        chat: Chat = [{"role": m.role, "content": m.content} for m in messages]
        turns = [k for k, m in enumerate(chat) if m["role"] == "assistant" and m["content"].strip()]
        if not turns:
            raise Unencodable("no response: no assistant turn has any text")
        chat = chat[: turns[-1] + 1]
        try:
            return self._render_turns(chat, turns, system_folded=False)
        except _Refused as refusal:
            folded = _fold_system(chat)
            if folded is None:
                raise Unencodable(f"the chat template refuses this chat: {refusal}") from None
        try:
            return self._render_turns(folded, [k - 1 for k in turns], system_folded=True)
        except _Refused as refusal:
            raise Unencodable(f"the chat template refuses this chat: {refusal}") from None

    def prompt(self, messages: "Sequence[Message]") -> str:
        """The text that asks a model for the turn after `messages`: the chat and its generation prompt.

        Raises `Unencodable` where the template refuses the chat; no system text is folded.
        """
        try:
            return self._text([{"role": m.role, "content": m.content} for m in messages], prompting=True)
        except _Refused as refusal:
            raise Unencodable(f"the chat template refuses this chat: {refusal}") from None

    def _render_turns(self, chat: Chat, turns: list[int], *, system_folded: bool) -> Rendered:
        text = self._text(chat)
        if chat[0]["role"] == "system" and chat[0]["content"].strip() not in text:
            raise _Refused("it leaves out the system text")
        spans = [self._span(chat, k, text) for k in turns]
        if any(a[1] > b[0] for a, b in pairwise(spans)):
            raise Unencodable("the responses overlap in the text that the chat template makes")
        return Rendered(text[: spans[-1][1]], tuple(spans), system_folded)

    def _span(self, chat: Chat, k: int, text: str) -> Span:
        for find in self._ways:
            if (span := find(chat, k, text)) is not None:
                return span
        raise Unencodable(f"the chat template rewrites message {k + 1}, so the response cannot be located")

    def _incremental(self, chat: Chat, k: int, text: str) -> Span | None:
        if k == 0:
            return None
        try:
            prompt = self._text(chat[:k], prompting=True)
            upto = text if k == len(chat) - 1 else self._text(chat[: k + 1])
        except _Refused:
            return None
        if not (text.startswith(prompt) and text.startswith(upto) and len(prompt) < len(upto)):
            return None
        length = _content_length(upto[len(prompt) :], chat[k]["content"])
        if length is None:
            return None
        return len(prompt), self._close(text, len(prompt) + length, len(upto))

    def _by_marker(self, chat: Chat, k: int, text: str) -> Span | None:
        marked = [m if i != k else {**m, "content": _MARKER} for i, m in enumerate(chat)]
        try:
            parts = self._text(marked).split(_MARKER)
        except _Refused:
            return None
        if len(parts) != 2 or not (text.startswith(parts[0]) and text.endswith(parts[1])):
            return None
        start, end = len(parts[0]), len(text) - len(parts[1])
        body = text[start:end] if start < end else ""
        content = chat[k]["content"]
        if not body.strip() or _squeeze(body) not in (_squeeze(content), _squeeze(content.rpartition(_THINK_END)[2])):
            return None
        return start, self._close(text, end, len(text) if k == len(chat) - 1 else end)

    def _by_generation(self, chat: Chat, k: int, text: str) -> Span | None:
        if not self._marks_generation:
            return None
        rendered, marks = self._call(chat, return_assistant_tokens_mask=True)
        turns = [i for i, m in enumerate(chat) if m["role"] == "assistant"]
        if rendered[0] != text or len(marks[0]) != len(turns):
            return None
        start, end = marks[0][turns.index(k)]
        length = _content_length(text[start:end], chat[k]["content"])
        return None if length is None else (start, max(end, self._close(text, start + length, end)))

    def _close(self, text: str, end: int, limit: int) -> int:
        """Where a response whose content ends at `end` ends with its end-of-turn token.

        That is one special token, after white space at most, or else what the template writes up to `limit`.
        """
        found = self._end.match(text, end)
        return found.end() if found else max(end, end + len(text[end:limit].rstrip()))

    def _text(self, chat: Chat, *, prompting: bool = False) -> str:
        rendered, _ = self._call(chat, add_generation_prompt=prompting)
        return rendered[0]

    def _call(self, chat: Chat, **options: bool) -> tuple[list[str], list[list[Span]]]:
        variables: dict[str, Any] = {**self._variables, **options}
        try:
            result: Any = render_jinja_template(conversations=[chat], chat_template=self._template, **variables)
        except TemplateSyntaxError as error:
            raise EngineError(
                f"The tokenizer's chat template is broken: {_first_line(error)}. Mend chat_template in the model "
                "folder, or remove it to use the plain default. Nothing was tokenised."
            ) from None
        except _TEMPLATE_ERRORS as error:
            raise _Refused(_first_line(error)) from None
        return result

    def _prompt_ends_at_content(self) -> bool:
        """Whether the generation prompt leaves nothing but white space before the content of a response."""
        user = {"role": "user", "content": "a"}
        try:
            prompt = self._text([user], prompting=True)
            text = self._text([user, {"role": "assistant", "content": _MARKER}])
        except _Refused:
            return True  # it refuses this probe, not every chat
        return text.startswith(prompt) and text[len(prompt) :].lstrip().startswith(_MARKER)


class _Refused(Exception):
    """The template raised on a chat, or dropped part of it."""


def _own_template(tokenizer: PreTrainedTokenizerBase) -> str | None:
    if not tokenizer.chat_template:
        return None
    try:
        return tokenizer.get_chat_template()
    except ValueError as error:
        raise EngineError(f"The tokenizer names several chat templates and no default: {_first_line(error)}") from None


def _date_macro(template: str) -> str:
    """The template with `strftime_now`, which reads the clock, replaced by fixed dates."""
    if "strftime_now" not in template:
        return template
    choices = "".join(f"{{%- if format == '{f}' -%}}{d}{{%- endif -%}}" for f, d in FIXED_DATE.items())
    known = ", ".join(f"'{f}'" for f in FIXED_DATE)
    other = f"{{%- if format not in [{known}] -%}}{FIXED_DATE['%d %b %Y']}{{%- endif -%}}"
    return "{% macro strftime_now(format) %}" + choices + other + "{% endmacro %}{{ '' }}" + template


def _leading_bos(tokenizer: PreTrainedTokenizerBase) -> str:
    """The BOS token, if this tokenizer puts one before plain text by itself."""
    ids = tokenizer("a")["input_ids"]
    return tokenizer.bos_token if tokenizer.bos_token and ids and ids[0] == tokenizer.bos_token_id else ""


def _end_pattern(tokenizer: PreTrainedTokenizerBase) -> re.Pattern[str]:
    """White space and one special token that may end a turn: any added token but a BOS that is not also the EOS."""
    tokens = set(tokenizer.all_special_tokens) | {str(t) for t in tokenizer.added_tokens_decoder.values()}
    if tokenizer.bos_token != tokenizer.eos_token:
        tokens.discard(tokenizer.bos_token)
    ordered = sorted((t for t in tokens if t and not t.isspace()), key=len, reverse=True)
    return re.compile(rf"\s*(?:{'|'.join(map(re.escape, ordered))})" if ordered else r"(?!)")


def _fold_system(chat: Chat) -> Chat | None:
    """The chat with its leading system text put before its first user turn, or None if it has no such pair."""
    if len(chat) < 3 or chat[0]["role"] != "system" or chat[1]["role"] != "user":
        return None
    joined = chat[0]["content"].strip() + "\n\n" + chat[1]["content"]
    return [{"role": "user", "content": joined}, *chat[2:]]


def _content_length(segment: str, content: str) -> int | None:
    """How far `segment`, which must begin with `content`, is the content; white space may differ. None if not."""
    core = content.strip()
    lead = len(segment) - len(segment.lstrip())
    if segment.startswith(core, lead):
        return lead + len(core)
    wanted = _squeeze(core)
    if not _squeeze(segment).startswith(wanted):
        return None
    places = [i for i, c in enumerate(segment) if not c.isspace()]
    return places[len(wanted) - 1] + 1


def _squeeze(text: str) -> str:
    return "".join(text.split())


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
