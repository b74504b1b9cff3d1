"""Responses that answer nothing: those that look empty, and refusals.

Judged by the texts alone, without a model. A refusal is looked for where a response opens, because "I cannot" further
on is a part of an answer, and only in the assistant's own voice: a story in which somebody refuses is none. The
patterns here are English; those of other languages are in `refusals`.
"""

import re

from engine.data.refusals import declines
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
_LABELS = _phrases(
    "answer|response|output|result|assistant|completion|### response|### answer|### output|antwort|réponse|respuesta|回答|答案"
)
"""Of a response that is this and a colon, the answer is missing."""
_PERHAPS = _phrases("none|null|nil|nan|unknown|undefined|empty|blank|na")
"""What may well be the right answer: counts only where the prompt reads as one that asks for text."""
_ASKS_FOR_TEXT = re.compile(
    r"\b(?:write|describe|explain|summari[sz]e|translate|rewrite|compose|create|generate|draft|tell me|discuss|"
    r"suggest)\b",
    re.IGNORECASE,
)
_FRAME = re.compile(r"^[\s\W]+|[\s\W]+$")
_HIDDEN = re.compile(f"[{NOTHING}]")
_ASKS_FOR_A_SIGN = re.compile(r"\b(?:sign|symbol|operator|character|punctuation|mark|glyph|emoji)s?\b", re.IGNORECASE)
_DASHES = " \t\r\n\v\f.…-–—_*'\"`#!?,;:"

_AI = (
    r"(?:an? |just an? |only an? |your )?(?:(?:large |text-based )?ai\b|artificial intelligence|"
    r"(?:large )?language model|virtual assistant|chatbot)"
)
_SORRY = (
    r"(?:(?:i'm|i am|we're|we are) (?:very |so |really |truly |deeply )?sorry|sorry|i (?:do |sincerely )?apologi[sz]e|"
    r"(?:my )?apologies|unfortunately|regrettably)"
)
_CANNOT = r"(?:cannot|can't|can not|could not|couldn't|am (?:not able|unable)|'m (?:not able|unable)|won't|will not)"
_LACK = (
    r"(?:do not|don't) (?:currently )?(?:have (?:the |enough |any |direct |sufficient )*"
    r"(?:ability|access|capability|information|context|details)|feel comfortable)"
)
_HELP = (
    r"(?:to )?(?:help|assist|provide|fulfill?|comply|answer|respond|generate|create|write|complete|discuss|engage|"
    r"support|offer|give|share|do (?:that|this|so)|process|perform|access|browse|display|determine|recommend|produce)\b"
)
_MORE = r"(?:some )?(?:more|further|additional) (?:information|context|details)"
_REFUSAL = re.compile(
    "|".join(
        (
            rf"{_SORRY}\b[^.!?]{{0,60}}?(?:[,.!]\s*|\s+)(?:but |however,? |as {_AI}[^.]{{0,60}}?, ?)*"
            rf"(?:i|we) ?(?:{_CANNOT} {_HELP}|{_LACK})",
            rf"{_SORRY}\b,? (?:but )?(?:that|this|your|the) (?:is|request|question|prompt|input)[^.]{{0,40}}? "
            r"(?:not (?:possible|appropriate|clear|complete|something i)|violates?|goes against|against my|incomplete)",
            rf"{_SORRY}\b,? (?:but )?(?:i )?(?:would )?(?:need|require) {_MORE}",
            rf"as {_AI}[^.]{{0,80}}?, ?(?:i|my)\b ?(?:{_CANNOT}|do not|don't|am not|'m not|have no|lack|must decline)",
            rf"(?:i am|i'm) {_AI}[^.]{{0,60}}?(?:and|so|which means|therefore|,)\s(?:therefore )?(?:i ?)?"
            rf"(?:{_CANNOT}|do not|don't) ",
            rf"(?:i|we) ?{_CANNOT} {_HELP}[^.]{{0,60}}?\b(?:request|that|this|illegal|harmful|personal|real[- ]time|"
            r"you with|image|internet|without (?:more|further|additional)|as i am|because i am|medical|legal advice)",
            rf"i {_LACK} to (?:real[- ]time|current|the internet|personal|your)",
            r"(?:i'd|i would) (?:prefer|rather) not (?:to )?(?:answer|discuss|help|provide|respond|say)",
            r"i (?:must|have to|need to) (?:respectfully |politely )?(?:decline|refuse)\b",
            r"(?:it is|it's|it would be) "
            r"(?:not (?:possible|appropriate)|impossible|inappropriate|unethical) for me to\b",
            r"(?:this|the|your) (?:request|prompt|question|instruction) "
            r"(?:violates|goes against|is against my|cannot be fulfilled)",
        )
    )
)
"""Matched against the opening in small letters."""
_POSSIBLE = _phrases(
    "sorry|apolog|cannot|can't|can not|couldn't|could not|won't|will not|unable|not able|decline|refuse|for me to|"
    "language model|rather not|prefer not|violate|against|an ai|i'm ai|have no|don't|do not"
)
"""A refusal holds one of these: looked for first, because it is cheap."""
_GREETING = re.compile(
    r"(?:[\W_]*(?:(?:hello|hi|hey|thank you[^.!,]{0,40}|thanks[^.!,]{0,40}|well|sure|no)[,.!]\s*)?)*"
)


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
    if any(part in head for part in _POSSIBLE):
        start = _GREETING.match(head)
        if _REFUSAL.match(head, start.end() if start else 0):
            return True
    return declines(head)
