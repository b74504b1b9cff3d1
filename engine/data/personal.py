"""Personal data and secrets in a text: e-mail addresses, phone numbers, IP and bank numbers, cards, keys.

Every kind is a pattern, then a test that a chance match fails: known ends of domains, numbering plans (`phones`),
Luhn's check digit, the IBAN's remainder, addresses that belong to somebody; keys are those of `secret_keys`. What
documentation writes in their place is not personal: example.com, 555 numbers, test cards, 192.168.0.1. Names and postal
addresses are not found. A flag is a reason to look, not a proof.
"""

import ipaddress
import re
from collections.abc import Callable, Iterator

from engine.data.phones import LONG, Regions, phones
from engine.data.secret_keys import keys


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


PHONE = "phone"
AMERICA = ("US",)
NUMBERED = (PHONE, "payment card", "iban")
"""Kinds that hold a long number: most texts have none, which is looked at once."""
KINDS = ("email", PHONE, "secret key", "ip address", "payment card", "iban")

_EMAIL = re.compile(
    r"(?<![\w.+%/-])([A-Za-z0-9][\w.+-]{0,63})@((?:[A-Za-z0-9-]{1,63}\.)+)([A-Za-z]{2,24})(?![\w@-]|\.\w|\()", re.ASCII
)
"""Letters of other scripts may touch an address: Chinese and Japanese are written without spaces."""
_LOGIN = re.compile(r"://[^\s/@]{0,80}$")
"""Before what stands in an address of the web where a password may."""
_ENDS = _set(
    "com org net edu gov mil int info biz name pro io ai app dev co me tv cc eu uk us ca au nz in de fr it es pt nl be "
    "ch at se no dk fi pl cz sk hu ro bg gr tr ru ua il za ng ke eg ma br mx ar cl pe ve jp cn kr tw hk sg my th vn ph "
    "id pk bd lk ir sa ae qa ie is lu lt lv ee si hr rs by kz tn dz gh ug tz zw uy bo py ec cr gt np kh "
    "mn ge az uz md mk al ba cy mt li jo kw om bh lb iq online site shop store tech cloud xyz email"
)
_MADE_UP_DOMAINS = _set(
    "example test sample domain email company yourdomain mydomain website yourcompany mycompany yoursite mysite "
    "somewhere abc xyz foo bar baz acme host server provider mail user invalid localhost anydomain mailinator fake "
    "placeholder somedomain otherdomain subdomain testing demo business corp corporation organization"
)
_NEVER_REAL = _set("example test sample invalid localhost")
_PROVIDERS = _set("mail.ru mail.de mail.ee mail.bg email.cz email.de email.it")
"""Real ones, whatever they are called."""
_SECOND = _set("co com ac org net gov edu or ne")
"""What may stand between a domain's own name and its country: mail.co.uk."""
_MADE_UP_USERS = _set(
    "example test sample user username name yourname youremail your.email your_email your.name your_name email me "
    "someone somebody john jane john.doe johndoe john_doe jane.doe janedoe jane_doe jdoe doe foo bar alice bob "
    "johnsmith john.smith john_smith jsmith info admin support contact help noreply no-reply sales git hello "
    "first.last firstname.lastname myemail my.email abc xyz test1 user1 user2 user123 test123 recipient sender "
    "receiver to from janesmith jane.smith jane_smith abc123 customerservice customer.service webmaster "
    "postmaster"
)

_IP4 = re.compile(r"(?<![\w.\-/])(?:\d{1,3}\.){3}\d{1,3}(?![\w\-]|\.\d)")
_IP6 = re.compile(r"(?<![\w:.])(?:[0-9a-fA-F]{1,4}:){3,7}(?::?[0-9a-fA-F]{1,4}){1,4}(?![\w:])")
_VERSION = re.compile(
    r"(?i)(?:version|\bver|\bv|release|build|section|chapter|article|clause|paragraph|rule|annex|appendix|figure|table|"
    r"§|python|numpy|oid|nuget|dll|firmware|driver|kernel)\W{0,3}$"
)
"""Before what numbers a release or a part of a text."""
_EVERYBODYS = _set(
    "123.45.67.89 12.34.56.78 123.123.123.123 8.8.8.8 8.8.4.4 1.1.1.1 1.0.0.1 9.9.9.9 208.67.222.222 208.67.220.220 "
    "4.4.4.4 4.2.2.2"
)
"""Public name servers and the addresses that examples like to write."""

_CARD = re.compile(
    r"(?<![\w.+\-*/])(?<!\d )"
    r"(?:\d{4}([ -])\d{4}\1\d{4}\1\d{4}|3[47]\d\d([ -])\d{6}\2\d{5}|\d{15,16})(?![\w*/]|[.\- ]\d)"
)
_CARD_WORD = re.compile(r"(?i)card|visa|mastercard|amex|american express|credit|debit|cvv|payment")
_ISSUERS = re.compile(r"4|5[1-5]|2(?:22[1-9]|2[3-9]|[3-6]|7[01]|720)|3[47]|6011|65")
_TEST_CARDS = _set(
    "4111111111111111 4242424242424242 4012888888881881 4000056655665556 5555555555554444 5105105105105100 "
    "378282246310005 371449635398431 6011111111111117 6011000990139424 4000000000000002 5200828282828210 "
    "2223003122003222 4222222222222 4532015112830366 4539578763621486 4485275742308327 4916338506082832 "
    "1234567812345670 4532756279624064 5425233430109903 374245455400126 4917610000000000"
)

_IBAN = re.compile(r"(?<!\w)[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?(?!\w)")
_IBAN_LENGTHS = {
    part[:2]: int(part[2:])
    for part in _set(
        "AD24 AE23 AL28 AT20 AZ28 BA20 BE16 BG22 BH22 BR29 CH21 CR22 CY28 CZ24 DE22 DK18 DO28 EE20 EG29 ES24 FI18 FO18 "
        "FR27 GB22 GE22 GI23 GL18 GR27 GT28 HR21 HU28 IE22 IL23 IS26 IT27 JO30 KW30 KZ20 LB28 LC32 LI21 LT20 LU20 LV21 "
        "MC27 MD24 ME22 MK19 MR27 MT31 MU30 NL18 NO15 PK24 PL28 PS29 PT25 QA29 RO24 RS22 SA24 SE24 SI19 SK24 SM27 TN24 "
        "TR26 UA29 VA22 VG24 XK20"
    )
}
_TEST_IBANS = _set("GB82WEST12345698765432 DE89370400440532013000 GB29NWBK60161331926819 FR1420041010050500013M02606")

_DOTTED = re.compile(r"\d\.\d{1,3}\.\d")


def personal(text: str, *, regions: Regions = AMERICA) -> frozenset[str]:
    """Which of `KINDS` the text holds; phone numbers written nationally are those of `regions`."""
    numbered = bool(LONG.search(text))
    found = {kind for kind, look in _LOOKS.items() if (numbered or kind not in NUMBERED) and look(text)}
    return frozenset(found | {PHONE} if numbered and phones(text, regions) else found)


def matches(text: str, *, regions: Regions = AMERICA) -> Iterator[tuple[str, str]]:
    """(kind, passage) of everything found, by kind and in the order of the text."""
    for kind in KINDS:
        found = phones(text, regions, every=True) if kind == PHONE else _LOOKS[kind](text, every=True)
        yield from ((kind, passage) for passage in found)


def _all(pattern: re.Pattern[str], text: str, real: Callable[[re.Match[str]], bool], every: bool) -> list[str]:
    found = []
    for match in pattern.finditer(text):
        if real(match):
            found.append(match.group())
            if not every:
                break
    return found


def _emails(text: str, *, every: bool = False) -> list[str]:
    return _all(_EMAIL, text, _real_email, every) if "@" in text else []


def _real_email(match: re.Match[str]) -> bool:
    user, domains, end = match.group(1).lower(), match.group(2).lower().rstrip(".").split("."), match.group(3).lower()
    if end not in _ENDS or user in _MADE_UP_USERS or user.strip("0123456789") in _MADE_UP_USERS:
        return False
    if _LOGIN.search(match.string[max(0, match.start() - 100) : match.start()]):
        return False
    own = next((part for part in reversed(domains) if part not in _SECOND), "")
    made_up = own in _MADE_UP_DOMAINS and f"{own}.{end}" not in _PROVIDERS
    return not made_up and not any(part in _NEVER_REAL or part.startswith(("example", "your")) for part in domains)


def _addresses(text: str, *, every: bool = False) -> list[str]:
    found = _all(_IP4, text, _real_ip4, every) if _DOTTED.search(text) else []
    if ":" in text and (every or not found):
        found += _all(_IP6, text, lambda match: _is_global(match.group()), every)
    return found


def _real_ip4(match: re.Match[str]) -> bool:
    parts = match.group().split(".")
    counts = all(len(part) == 1 for part in parts[:3]) or len(set(parts)) == 1
    before = match.string[max(0, match.start() - 12) : match.start()]
    return not counts and match.group() not in _EVERYBODYS and not _VERSION.search(before) and _is_global(match.group())


def _is_global(text: str) -> bool:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return False
    return address.is_global and not address.is_multicast


def _cards(text: str, *, every: bool = False) -> list[str]:
    return _all(_CARD, text, _real_card, every)


def _real_card(match: re.Match[str]) -> bool:
    digits = re.sub(r"\D", "", match.group())
    if digits in _TEST_CARDS or len(set(digits)) < 5 or "123456" in digits or not _ISSUERS.match(digits):
        return False
    grouped = len(digits) != len(match.group())
    around = match.string[max(0, match.start() - 80) : match.end() + 40]
    return luhn(digits) and (grouped or bool(_CARD_WORD.search(around)))


def luhn(digits: str) -> bool:
    """Whether the last digit is the check digit of those before it."""
    doubled = [int(d) * (1 + at % 2) for at, d in enumerate(reversed(digits))]
    return sum(value - 9 * (value > 9) for value in doubled) % 10 == 0


def _ibans(text: str, *, every: bool = False) -> list[str]:
    return _all(_IBAN, text, lambda match: is_iban(match.group()), every)


def is_iban(text: str) -> bool:
    """Whether the text is an account number of its country's length with the right remainder; no textbook's."""
    bare = text.replace(" ", "")
    if _IBAN_LENGTHS.get(bare[:2]) != len(bare) or bare in _TEST_IBANS:
        return False
    return int("".join(str(int(c, 36)) for c in bare[4:] + bare[:4])) % 97 == 1


_LOOKS: dict[str, Callable[..., list[str]]] = dict(
    zip([kind for kind in KINDS if kind != PHONE], (_emails, keys, _addresses, _cards, _ibans), strict=True)
)
