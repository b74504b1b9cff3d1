"""Secrets in a text: private keys, keys and tokens of well-known services, passwords within addresses.

A service's key has a beginning of its own and a length; what merely looks so is told by its few different characters
or by the words that documentation writes in place of a key. Keys without a mark of their own, such as 32 hexadecimal
digits, are not found: they could be anything. Does not try a key.
"""

import re
from collections.abc import Callable, Iterator


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


_SERVICES = (
    r"(?:AKIA|ASIA)[0-9A-Z]{16}|gh[pousr]_[A-Za-z0-9]{36}|github_pat_[A-Za-z0-9_]{50,}|gl(?:pat|ptt|dt|rt)-[\w-]{20,}|"
    r"sk-(?:proj-|ant-)?[A-Za-z0-9_-]{24,}|[sr]k_live_[A-Za-z0-9]{16,}|xox[abeprs]-[A-Za-z0-9-]{20,}|"
    r"xapp-\d-[A-Z0-9]{8,}-\d{8,}-[a-f0-9]{40,}|hooks\.slack\.com/services/T\w{6,12}/B\w{6,12}/[A-Za-z0-9]{20,}|"
    r"discord(?:app)?\.com/api/webhooks/\d{16,20}/[\w-]{60,}|\d{8,10}:AA[\w-]{33}|AIza[\w-]{35}|GOCSPX-[\w-]{28}|"
    r"ya29\.[\w-]{40,}|hf_[A-Za-z0-9]{30,}|r8_[A-Za-z0-9]{37}|gsk_[A-Za-z0-9]{50,}|nvapi-[\w-]{60,}|"
    r"xai-[A-Za-z0-9]{70,}|npm_[A-Za-z0-9]{36}|pypi-AgEIcHlwaS5vcmc[\w-]{50,}|dckr_pat_[\w-]{27,}|"
    r"do[opr]_v1_[a-f0-9]{64}|dapi[a-f0-9]{32}|shp(?:at|ca|pa|ss)_[a-fA-F0-9]{32}|sq0(?:atp|csp)-[\w-]{22,}|SG\.[\w-]{20,}\.[\w-]{30,}|"
    r"whsec_[A-Za-z0-9+/]{32,}|hvs\.[\w-]{24,}|lin_api_[A-Za-z0-9]{40}|NRAK-[A-Z0-9]{27}|PMAK-[a-f0-9]{24}-[a-f0-9]{34}|"
    r"figd_[\w-]{40,}|AGE-SECRET-KEY-1[0-9A-Z]{58}|AccountKey=[A-Za-z0-9+/]{86}==|eyJ[\w-]{12,}\.eyJ[\w-]{12,}\.[\w-]{20,}"
)
_KEYS = re.compile(rf"(?<![A-Za-z0-9])(?:{_SERVICES})(?![A-Za-z0-9])", re.ASCII)
_KEY_MARKS = _set(
    "AKIA ASIA ghp_ gho_ ghu_ ghs_ ghr_ github_pat_ glpat- glptt- gldt- glrt- sk- k_live_ xox xapp- hooks.slack. "
    "/api/webhooks/ :AA AIza GOCSPX- ya29. hf_ r8_ gsk_ nvapi- xai- npm_ pypi- dckr_pat_ _v1_ dapi shpat_ shpca_ "
    "shppa_ shpss_ sq0 SG. whsec_ hvs. lin_api_ NRAK- PMAK- figd_ AGE-SECRET- AccountKey= eyJ"
)
"""A key holds one of these: looked for first, because it is cheap."""
_BEGINNING = re.compile(r"AGE-SECRET-KEY-1|AccountKey=|whsec_|hooks\.slack\.com/services/")
_ALL_LETTERS = ("hf_",)
"""Services whose keys may do without digits."""

_BLOCK = re.compile(
    r"-----BEGIN [A-Z ]{0,20}PRIVATE KEY(?: BLOCK)?-----\s+(?:[\w-]{1,40}: .*\s+){0,4}[A-Za-z0-9+/=\s]{64,}"
)
_NAMED = re.compile(r"(?i:secret_?access_?key)[\"']?\s{0,3}[:=]\s{0,3}[\"']?([A-Za-z0-9/+]{40})(?![A-Za-z0-9/+=])")
_ADDRESS = re.compile(r"(?<![A-Za-z])[a-z][a-z0-9+]{2,20}://[^\s:/@'\"<>]{1,64}:([^\s:/@'\"<>]{8,64})@[\w-]+\.[\w.-]+")

_MADE_UP = re.compile(
    r"(?i)example|your|xxxx|1234567|abcdef|placeholder|dummy|sample|test|0000|secret|fake|passw|chang"
)
VARIED = 12
"""Different characters of a real key; placeholders repeat few."""
VARIED_PASSWORD = 6


def keys(text: str, *, every: bool = False) -> list[str]:
    """The secrets of the text as they stand there; only the first unless `every`."""
    found: list[str] = []
    for look in _LOOKS:
        for passage in look(text):
            found.append(passage)
            if not every:
                return found
    return found


def _services(text: str) -> Iterator[str]:
    if any(mark in text for mark in _KEY_MARKS):
        yield from (match.group() for match in _KEYS.finditer(text) if _is_key(match.group()))


def _is_key(key: str) -> bool:
    own = _BEGINNING.sub("", key)
    digits = any(c.isdigit() for c in own) or (
        key.startswith(_ALL_LETTERS) and own != own.lower() and own != own.upper()
    )
    return digits and any(c.isalpha() for c in own) and len(set(own)) >= VARIED and not _MADE_UP.search(own)


def _blocks(text: str) -> Iterator[str]:
    if "PRIVATE KEY" in text:
        found = (match.group() for match in _BLOCK.finditer(text))
        yield from (block for block in found if len(set(block.rpartition("-----")[2])) > 2 * VARIED)


def _named(text: str) -> Iterator[str]:
    if "ecret" in text or "ECRET" in text:
        yield from (match.group() for match in _NAMED.finditer(text) if _is_key(match.group(1)))


def _addresses(text: str) -> Iterator[str]:
    if "://" in text and "@" in text:
        yield from (match.group() for match in _ADDRESS.finditer(text) if _is_password(match.group(1)))


def _is_password(word: str) -> bool:
    mixed = any(c.isdigit() for c in word) and any(c.isalpha() for c in word)
    return (
        mixed
        and len(set(word)) >= VARIED_PASSWORD
        and word.isascii()
        and not re.search(r"[$%{}\[\]()]", word)
        and (not _MADE_UP.search(word))
    )


_LOOKS: tuple[Callable[[str], Iterator[str]], ...] = (_services, _blocks, _named, _addresses)
