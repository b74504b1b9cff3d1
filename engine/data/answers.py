"""Responses that answer nothing: those that look empty, and refusals.

Judged by the texts alone, without a model. A refusal is looked for where a response opens, because "I cannot" further
on is a part of an answer, and only in the assistant's own voice: a story in which somebody refuses is none. How that is
told is in `refusals_english` and, for other languages, in `refusals`.
"""

import re

from engine.data.refusals import declines
from engine.data.refusals_english import declines_in_english
from engine.data.word_forms import NOTHING


def _phrases(text: str) -> frozenset[str]:
    return frozenset(text.split("|"))


OPENING = 240
"""Characters of a response within which a refusal must be declared."""
LONGEST_PLACEHOLDER = 40
ECHO = 20
"""A response that is the prompt again counts as empty from so many characters on; "42" may well be both."""

_NOTHING = _phrases(
    "n/a|n.a.|n a|tbd|tba|todo|noinput|nooutput|no input|no output|no response|no answer|no content|no text|see above|"
    "not available|not applicable|no response generated|no output generated|response not available|placeholder|"
    "output not available|output is empty|your answer here|your response here|insert answer here|lorem ipsum|"
    "empty response|empty output|none provided|your answer|no answer provided|no answer given|"
    "no response provided|no response given|insert text here|insert response here|to be filled in|to be completed|"
    "keine antwort|keine angabe|pas de réponse|sans réponse|aucune réponse|sin respuesta|sem resposta|nessuna risposta|"
    "geen antwoord|brak odpowiedzi|нет ответа|无回答|暂无回答|暂无|没有回答|无答案|回答なし|該当なし|답변 없음|"
    "لا يوجد جواب"
)
_LABELS = _phrases("answer|response|output|result|assistant|completion|antwort|réponse|respuesta|risposta|回答|答案")
"""Of a response that is this and a colon, the answer is missing."""
_PERHAPS = _phrases("none|null|nil|nan|unknown|undefined|empty|blank|na")
"""What may well be the right answer: counts only where the prompt reads as one that asks for text."""
_ASKS_FOR_TEXT = re.compile(
    r"\b(?:write|describe|explain|summari[sz]e|translate|rewrite|compose|create|generate|draft|tell me|discuss|"
    r"suggest)\b",
    re.IGNORECASE,
)
_QUOTED = re.compile(r"[\"“«„][^\"“”»]*[\"”»]\s*\w")
"""What somebody says within a story."""
_FRAME = re.compile(r"^[\s\W]+|[\s\W]+$")
_HIDDEN = re.compile(f"[{NOTHING}]")
_ASKS_FOR_A_SIGN = re.compile(r"\b(?:sign|symbol|operator|character|punctuation|mark|glyph|emoji)s?\b", re.IGNORECASE)
_DASHES = " \t\r\n\v\f.…-–—_*'\"`#!?,;:"


def looks_empty(prompt: str, response: str) -> bool:
    """Whether the response holds nothing: no text, dots or dashes alone, a placeholder, or just the prompt again.

    Other marks alone, such as brackets, may be an answer; so may a single dash or dot where a sign is asked for.
    """
    text = (response if response.isascii() else _HIDDEN.sub("", response)).strip()
    if not text.strip(_DASHES):
        return len(text) != 1 or not _ASKS_FOR_A_SIGN.search(prompt)
    if len(text) > LONGEST_PLACEHOLDER:
        return text == prompt.strip()
    bare = _FRAME.sub("", text).lower()
    if text.endswith((":", "：")) and bare in _LABELS:
        return True
    if bare in _PERHAPS:
        return bool(_ASKS_FOR_TEXT.search(prompt)) and bare not in prompt.lower()
    return (bare in _NOTHING and bare not in prompt.lower()) or (len(text) >= ECHO and text == prompt.strip())


def refuses(response: str) -> bool:
    """Whether the response opens by declining to answer, as an assistant does."""
    head = response[: OPENING * 2].strip()[:OPENING].replace("’", "'").lower()
    return not _QUOTED.match(head) and (declines_in_english(head) or declines(head))
