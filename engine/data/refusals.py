"""Whether an opening declines to answer, in languages other than English: German, French, Spanish and thirteen more.

Judged much as in English (`refusals_english`): where the response opens, in the assistant's own voice, by an apology
with "I cannot help", by "as an AI, I have no", by "I cannot" before what assistants are typically asked for, or by
declining outright. The words are in `refusal_words` and `refusal_scripts`. The language need not be known: the first
word, or the script, tells which of them can be meant, so that most responses cost one look-up. An apology before an
answer, or in a letter or a story, is none.
"""

import re
import unicodedata

from engine.data.refusal_scripts import SCRIPTS
from engine.data.refusal_words import LATIN, Voice


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


_GAP = r"(?:[^.!?。！？؟।\n]{0,70}?)"
_STOPS = r"[\s,.!，。！、،।]*"
_FIRST_WORD = re.compile(r"[\W_]*([^\W_][^\s.,!?;:，。！、،।]*)")
_SKIPPED = re.compile(r"[\W_]*")
_GREETING_END = re.compile(r"[^.,!?;:，。！、؟،।\n]{0,40}[.,!;:，。！、،।\n]")
_GREETINGS = _set(
    "hallo guten danke bonjour salut bonsoir merci hola buenos buenas gracias olá oi obrigado obrigada bom "
    "boa ciao salve buongiorno grazie goedendag hoi dank bedankt здравствуйте привет спасибо 您好 你好 嗨 "
    "谢谢 谢谢您的提问 感谢您的提问 こんにちは 안녕하세요 مرحبا اهلا شكرا merhaba selam teşekkürler teşekkür "
    "cześć witaj dzień dziękuję xin chào cảm halo hai terima नमस्ते धन्यवाद"
)
_MARKS = {**dict.fromkeys([0x307, 0x640, *range(0x64B, 0x653)]), **dict.fromkeys(map(ord, "أإآ"), "ا")}
"""Marks that Arabic may leave out and that small Turkish letters gain, and the Arabic letters that vary with them."""
_SCRIPTS = (
    ("\u0400", "\u04ff", ("ru",)),
    ("\u0600", "\u06ff", ("ar",)),
    ("\u0900", "\u097f", ("hi",)),
    ("\u3040", "\u30ff", ("ja",)),
    ("\u4e00", "\u9fff", ("zh", "ja")),
    ("\uac00", "\ud7af", ("ko",)),
)
_MIXED = ("ja", "ko", "hi")
"""Languages in other scripts that may open with the Latin letters AI."""


def _pattern(voice: Voice) -> re.Pattern[str]:
    """The whole of a language. No two gaps stand side by side: that would take their product of steps to fail."""
    parts = (
        rf"(?:{voice.sorry}){_STOPS + '~' if voice.late else '~' + _STOPS}(?:{voice.refused})",
        rf"(?:(?:{voice.sorry}){_STOPS})?(?:{voice.machine})~(?:{voice.lacks})",
        rf"(?=[^.!?。！？؟।\n]{{0,160}}?(?:{voice.object})){voice.person}(?:{voice.refused})",
        rf"(?:(?:{voice.sorry}){_STOPS})?(?:{voice.declines})",
    )
    return re.compile("|".join(parts).replace("~", _GAP))


_PATTERNS = {language: _pattern(voice) for language, voice in {**LATIN, **SCRIPTS}.items()}
LANGUAGES = ("en", *_PATTERNS)
"""Languages whose refusals are known, English by `refusals_english`."""
_BY_WORD: dict[str, tuple[str, ...]] = {
    word: tuple(language for language, voice in LATIN.items() if word in voice.first.split())
    for word in " ".join(voice.first for voice in LATIN.values()).split()
}


def declines(head: str) -> bool:
    """Whether the opening, in small letters, declines to answer in one of the languages other than English."""
    word = _first_word(head)
    if word.isascii() and word != "ai" and word not in _BY_WORD and word not in _GREETINGS:
        return False
    if not head.isascii():
        head = unicodedata.normalize("NFC", head).translate(_MARKS)
        word = _first_word(head)
    if _matches(head, word):
        return True
    end = _GREETING_END.match(head) if word in _GREETINGS else None
    return end is not None and _matches(head[end.end() :], _first_word(head[end.end() :]))


def _first_word(head: str) -> str:
    found = _FIRST_WORD.match(head)
    return found.group(1) if found else ""


def _matches(head: str, word: str) -> bool:
    start = _SKIPPED.match(head)
    at = start.end() if start else 0
    return any(_PATTERNS[language].match(head, at) for language in _languages(word))


def _languages(word: str) -> tuple[str, ...]:
    """The languages that may open with the word."""
    if word in _BY_WORD:
        return _BY_WORD[word]
    if word.startswith("ai"):
        return _MIXED
    return next((found for low, high, found in _SCRIPTS if low <= word[:1] <= high), ())
