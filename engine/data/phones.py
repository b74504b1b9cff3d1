"""Phone numbers in a text: written internationally, called a phone number, or as a country's people write them.

Numbers that are written nationally look like many others. So a country is tried only where a text can be from there, by
its language or because somebody named it (`regions`); the number must be one of the country's plan, and either be
called a phone number right before, or be grouped as the country groups them and begin as no ordinary number does: with
a 0, an area code in brackets, or groups that are no thousands. Numbers within sums, code and longer numbers are left
out, and so are made-up ones. The numbering plans are those of `phonenumbers`.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from itertools import chain, pairwise

import phonenumbers
from phonenumbers import Leniency, PhoneNumberFormat, PhoneNumberMatcher

from engine.data.languages import language_of
from engine.data.signal_columns import AUTO
from engine.errors import EngineError

_AMERICAN = re.compile(
    r"(?<![\w.+\-*/=$£€<>,])(?<![+\-*/=] )(?:\+?1[-. ])?(?:\(\d{3}\) ?|\d{3}[-. ])\d{3}[-. ]\d{4}"
    r"(?![\w\-*/=<>]|[.,]\d| [+*/=])"
)
_INTERNATIONAL = re.compile(r"(?<![\w.+\-*/=)\]])\+[1-9]\d{0,2}[-. ]?\(?\d[\d\-. ()]{5,16}\d(?![\w*/=]|\.\d)")
_LETTERS = "A-Za-z0-9_\u00c0-\u024f\u0400-\u04ff"
"""What a number must not touch; Chinese, Japanese and Korean are written without spaces."""
_CALLED = re.compile(rf"(?<![{_LETTERS}.])\+?\(?\d[\d\-. ()/]{{6,17}}\d(?![{_LETTERS}])")
_WORDS = {
    "US GB IN AU CA": r"phone|tel|telephone|mobile|cell|whatsapp|fax|"
    r"(?:call|phone|ring|text|reach|contact|dial) (?:me|us|him|her|them)(?: on| at)?",
    "DE AT CH NL BE SE NO DK CZ PL TR": r"telefo\w*|mobil\w*|handy\w*|tlf|gsm|komórka",
    "FR BE CH": "téléphone|portable",
    "ES MX AR CO CL PE": "teléfono|móvil|celular",
    "BR PT": "telefone|celular|telemóvel|fone",
    "IT CH": "telefono|cellulare",
    "ID": "ponsel|telp|telepon|hp",
    "VN": "sđt|điện thoại",
    "RU KZ UA": "тел|телефон|моб|мобильный",
}
"""What a phone number is called, and the countries to try then."""
_SIGNS = {
    "CN TW HK": "电话|手机|手機|电话号|手机号",
    "JP TW HK": "電話|携帯",
    "KR": "전화|휴대폰|핸드폰|연락처",
    "EG SA AE MA": "هاتف|الهاتف|جوال",
    "IN": "फोन|फ़ोन|मोबाइल",
}
"""The same in scripts where more may follow without a space."""
_OF_WORD = [
    (tuple(regions.split()), re.compile(rf"(?:{words})[^\d\n]*$", re.IGNORECASE))
    for regions, words in (*_WORDS.items(), *_SIGNS.items())
]
_WORD_BEFORE = re.compile(
    rf"(?:\b(?:{'|'.join(_WORDS.values())})"
    r"(?:[ -](?:number|no\.?|nr\.?|nummer|número|numéro|numero|номер|numarası|numaram|numer|là|is|ist|es|est|é|è|jest))"
    r"{0,2}\W{1,4}|"
    rf"(?:{'|'.join(_SIGNS.values())})(?: ?(?:号码|号|番号|번호|नंबर|は|是|为|는))*\W{{0,4}})$",
    re.IGNORECASE,
)
_GROUPED = re.compile(
    rf"(?<![{_LETTERS}.+\-*/=$£€¥₹<>,:#%^(])(?<![\d+\-*/=] )"
    r"(?:8[ -]?(?=\(?[3489]))?(?:\(0?\d{1,4}\) ?|\d{2,5}[ \-/])\d{2,8}(?:[ \-]\d{2,8}){0,4}"
    rf"(?![{_LETTERS}\-*/=<>%^)]|[.,:]\d| \d| [+\-*/=×÷])"
)
_DOTTED = re.compile(r"(?<![\w.])0\d(?:\.\d\d){4}(?!\w|\.\d)")
LONG = re.compile(r"\d[\d\-. ()/]{5,}\d")
"""What every phone number holds, and few texts do: looked at first, being cheap."""
_FILM = re.compile(r"(?:\+?1[-. ]?)?(?:\(?[2-9]\d\d\)?[-. ]?)?555[-. ]?\d{4}")
"""Made-up American numbers, which other countries' plans may hold."""
_ORDINARY = re.compile(r"[1-9]\d{0,2}(?: \d{3})+|\d{5}-\d{4}")
"""Thousands, and American postal codes."""
_DIGITS = re.compile(r"\d+")
Regions = tuple[str, ...] | Callable[[], tuple[str, ...]]
"""Countries, or what tells them: asked only of a text that holds a long number."""
SHORTEST, LONGEST = 9, 13

_OF_LANGUAGE = {
    "en": "US GB IE AU NZ ZA IN", "de": "DE AT CH", "fr": "FR BE CH", "es": "ES MX AR CO CL PE", "pt": "BR PT",
    "it": "IT CH", "nl": "NL BE", "ru": "RU KZ", "uk": "UA", "zh": "CN TW", "ja": "JP", "ko": "KR", "ar": "EG SA AE MA",
    "tr": "TR", "pl": "PL", "vi": "VN", "id": "ID", "hi": "IN", "bn": "BD IN", "ur": "PK", "fa": "IR", "he": "IL",
    "th": "TH", "el": "GR", "cs": "CZ", "sk": "SK", "hu": "HU", "ro": "RO", "sv": "SE", "da": "DK", "no": "NO",
    "fi": "FI", "ms": "MY",
}  # fmt: skip
_ANYWHERE = ("US", "GB", "DE", "FR", "IN", "ES", "IT", "BR", "AU")
"""Tried for what is called a phone number, whatever the language."""
_NANP = ("US", "CA")
_EIGHT = ("RU", "KZ")
"""Where an 8 stands in front as elsewhere a 0."""
_EIGHT_FIRST = re.compile(r"8(?:[ -]?\(\d{3,5}\)|[ -]\d{3,5}[ -])")


def checked(regions: Iterable[str]) -> tuple[str, ...]:
    """The regions in capitals, once each and in order of the alphabet; (`AUTO`,) where that is asked for.

    Raises `EngineError` for what is no country's code.
    """
    found = {region.strip().upper() for region in regions}
    if {region.lower() for region in found} == {AUTO}:
        return (AUTO,)
    wrong = sorted(found - phonenumbers.SUPPORTED_REGIONS)
    if wrong:
        raise EngineError(
            f"regions is {', '.join(sorted(found))}; {', '.join(wrong)} is no country's code. Give codes of two "
            f"letters such as DE,FR, or {AUTO} for the countries of each text's language. Nothing was checked."
        )
    return tuple(sorted(found))


def regions_of(language: str) -> tuple[str, ...]:
    """The countries whose national numbers a text of the language may hold; the USA where it is not known."""
    return tuple(_OF_LANGUAGE.get(language, "US").split())


def regions_in(prompt: str, response: str, regions: tuple[str, ...] = (AUTO,)) -> tuple[str, ...]:
    """The countries to try in a row: `regions`, or where those are (`AUTO`,) the ones of its language.

    The language is asked for only where it matters; where it cannot be told, for want of words or of the package that
    tells it, only American numbers are looked for.
    """
    if regions != (AUTO,):
        return regions
    return regions_of(_language(prompt, response)) if may_hold(f"{prompt}\n{response}") else regions_of("")


def _language(prompt: str, response: str) -> str:
    try:
        return language_of(prompt, response)
    except (ImportError, EngineError):  # said by the signal of languages, which is left out
        return ""


def may_hold(text: str) -> bool:
    """Whether anything in the text could be a number that only its country tells."""
    return any(True for each in (_candidates, _called) for _ in each(text))


def phones(text: str, regions: Regions = ("US",), *, every: bool = False) -> list[str]:
    """The phone numbers of the text as they stand there, national ones of `regions`; only the first unless `every`."""
    if not LONG.search(text):
        return []
    found: list[str] = []
    for passage in _looked_for(text, regions() if callable(regions) else regions):
        if not any(passage in other for other in found):
            found.append(passage)
            if not every:
                break
    return found


def _looked_for(text: str, regions: tuple[str, ...]) -> Iterator[str]:
    if any(region in regions for region in _NANP):
        yield from (m.group() for m in _AMERICAN.finditer(text) if _is_phone(m.group(), "US"))
    if "+" in text:
        yield from (m.group() for m in _INTERNATIONAL.finditer(text) if _is_phone(m.group(), None))
    for number, named in _called(text):
        if any(_is_phone(number, region) for region in dict.fromkeys((*named, *regions, *_ANYWHERE))):
            yield number
    others = tuple(region for region in regions if region not in _NANP)
    if others:
        yield from (number for number in _candidates(text) if any(_is_written(number, region) for region in others))


def _called(text: str) -> Iterator[tuple[str, tuple[str, ...]]]:
    """What a word for telephone stands before, and the countries where it is one."""
    for match in _CALLED.finditer(text):
        word = _WORD_BEFORE.search(text[max(0, match.start() - 30) : match.start()])
        if word:
            named = (regions for regions, words in _OF_WORD if words.match(word.group()))
            yield match.group(), tuple(chain.from_iterable(named))


def _candidates(text: str) -> Iterator[str]:
    """What is grouped as no ordinary number is, of a phone number's length."""
    yield from (match.group() for match in _DOTTED.finditer(text))
    for match in _GROUPED.finditer(text):
        number = match.group()
        long = SHORTEST <= sum(c.isdigit() for c in number) <= LONGEST
        groups = number.split()
        counted = {*map(len, groups)} == {2} and all(
            one < other for one, other in pairwise(groups)
        )  # as 01 02 03 04 05
        if long and not counted and not _ORDINARY.fullmatch(number):
            yield number


def _is_written(number: str, region: str) -> bool:
    """Whether the region's people write a number of theirs so."""
    if not _is_phone(number, region):
        return False
    if number.startswith("0") or (region in _EIGHT and _EIGHT_FIRST.match(number)):
        matcher = PhoneNumberMatcher(number, region, leniency=Leniency.STRICT_GROUPING)
        return any(found.raw_string == number for found in matcher)
    usual = phonenumbers.format_number(phonenumbers.parse(number, region), PhoneNumberFormat.NATIONAL)
    groups, own = _DIGITS.findall(usual), _DIGITS.findall(number)
    same = [group.lstrip("0") for group in groups[-len(own) :]] == [group.lstrip("0") for group in own]
    return same and (number.startswith("(") or (len(own) > 2 and number[len(own[0])] == " "))


def _is_phone(text: str, region: str | None) -> bool:
    try:
        number = phonenumbers.parse(text, region)
    except phonenumbers.NumberParseException:
        return False
    digits = str(number.national_number)
    if len(set(digits)) < 4 or "12345" in digits or "98765" in digits:
        return False
    made_up = number.country_code == 1 and "555" in (digits[:3], digits[3:6])
    return not made_up and not _FILM.fullmatch(text) and phonenumbers.is_valid_number(number)
