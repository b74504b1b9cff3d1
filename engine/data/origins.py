"""Licence and origin of rows, from whatever their original fields are called.

A field is recognised by its name, of several that fit the one that more rows fill. Licences are brought to one spelling
where they are well known (`SPDX` identifiers), other texts stay as they are; addresses count by their host. A row
without a value is `MISSING`, which is a finding: nobody can say under what terms it may be used.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Literal

Role = Literal["licence", "origin"]
MISSING = "(not stated)"
FIELDS: Mapping[Role, tuple[str, ...]] = {
    "licence": ("license", "licence", "licenses", "license_type", "license_name", "licence_name", "copyright",
                "rights", "usage_rights"),
    "origin": (
        "source", "origin", "dataset", "data_source", "source_dataset", "dataset_name", "provenance", "source_url",
        "url", "link", "domain", "website", "corpus", "subset", "from_dataset", "repo", "repository", "author",
        "publisher",
    ),
}  # fmt: skip
_UNSTATED = frozenset(("", "none", "null", "nan", "n/a", "na", "unknown", "unspecified", "-", "?", "no license"))
_SPDX = (
    (r"^(?:the )?mit(?: licen[cs]e)?$", "MIT"),
    (r"^apache(?: licen[cs]e)?,?[ -]*(?:v(?:ersion)? ?)?(?:2(?:\.0)?)?$", "Apache-2.0"),
    (r"^bsd[ -]?3.*$", "BSD-3-Clause"),
    (r"^bsd[ -]?2.*$", "BSD-2-Clause"),
    (r"^(?:gnu )?(?:lgpl)[ -]?v?(\d(?:\.\d)?)?.*$", "LGPL"),
    (r"^(?:gnu )?(?:agpl)[ -]?v?(\d(?:\.\d)?)?.*$", "AGPL"),
    (r"^(?:gnu )?(?:gpl)[ -]?v?(\d(?:\.\d)?)?.*$", "GPL"),
    (r"^(?:cc[ -]?0|cc-zero|creative commons zero)(?:[ -]1\.0)?.*$", "CC0-1.0"),
    (r"^public[ -]domain.*$", "public domain"),
    (r"^odc[ -]by(?:[ -]1\.0)?$", "ODC-By-1.0"),
)
_CC = re.compile(r"^(?:cc|creative commons)[ -]?by((?:[ -](?:nc|sa|nd))*)(?:[ -](\d\.\d))?(?: .*)?$")
_HOST = re.compile(r"^[a-z][a-z0-9+.-]*://(?:[^/@\s]*@)?(?:www\.)?([^/:?#\s]+)", re.IGNORECASE)


def recognised(fields: Sequence[str], role: Role) -> list[str]:
    """Those of `fields` that name the role, the likeliest name first; case and separators do not matter."""
    plain = {re.sub(r"[^a-z]+", "_", field.lower()).strip("_"): field for field in reversed(fields)}
    return [plain[name] for name in FIELDS[role] if name in plain]


def spelt(value: object, role: Role) -> str:
    """One value as it is counted: `MISSING`, a licence in its usual spelling, an address by its host, else its text."""
    text = " ".join(str(value).split()) if value is not None else ""
    if text.lower() in _UNSTATED:
        return MISSING
    if role == "licence":
        return _licence(text)
    host = _HOST.match(text)
    return host.group(1).lower() if host else text[:80]


def _licence(text: str) -> str:
    bare = text.lower().replace("_", "-").removesuffix(" license").removesuffix(" licence")
    for pattern, name in _SPDX:
        if match := re.match(pattern, bare):
            number = match.group(1) if match.re.groups else None
            return f"{name}-{number if '.' in number else number + '.0'}" if number else name
    if match := _CC.match(bare):
        parts = "".join(f"-{part.upper()}" for part in re.findall("nc|sa|nd", match.group(1)))
        return f"CC-BY{parts}" + (f"-{match.group(2)}" if match.group(2) else "")
    return text[:80]
