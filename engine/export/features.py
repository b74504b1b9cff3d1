"""The types of the columns of JSON lines, for readers that would otherwise guess them from the first rows.

`datasets` takes a column's type from the first 10 MB of the first file, and fails where a column that was empty so far
(no note, no tags, no earlier turns) holds something later. So the card of an export whose columns may be empty tells
the types: in its YAML, which is read with a folder, and in the code that loads a single file.

Notation: a *kind* is a name such as "string" or "int64", a list of one kind, or a mapping of names to kinds, as JSON
keeps them. Knows no rows, and writes no file.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import pyarrow as pa

Kind = Any  # "string", ["string"] or {"role": "string"}, nested
_NAMES = {
    pa.string(): "string",
    pa.int64(): "int64",
    pa.float32(): "float32",
    pa.float64(): "float64",
    pa.bool_(): "bool",
}


def kinds_of(schema: pa.Schema) -> dict[str, Kind]:
    """The kind of every column, in order."""
    return {field.name: _kind(field.type) for field in schema}


def yaml_lines(kinds: Mapping[str, Kind]) -> Iterator[str]:
    """The lines of a card's front matter that tell the kinds."""
    yield from ("dataset_info:", "  features:")
    for name, kind in kinds.items():
        yield f"  - name: {quoted(name)}"
        yield from _yaml(kind, "    ")


def code_lines(kinds: Mapping[str, Kind]) -> Iterator[str]:
    """The lines of Python that make `features` of the kinds."""
    yield "features = datasets.Features({"
    yield from (f"    {quoted(name)}: {_code(kind)}," for name, kind in kinds.items())
    yield "})"


def quoted(text: object) -> str:
    """Any text in double quotes, such that YAML and Python read the very same one."""
    return '"' + "".join(_ESCAPED.get(c) or (c if c.isprintable() else f"\\U{ord(c):08x}") for c in str(text)) + '"'


_ESCAPED = {'"': '\\"', "\\": "\\\\"}


def _kind(held: pa.DataType) -> Kind:
    if pa.types.is_list(held):
        return [_kind(held.value_type)]
    if pa.types.is_struct(held):
        return {field.name: _kind(field.type) for field in held}
    return _NAMES[held]


def _yaml(kind: Kind, pad: str) -> Iterator[str]:
    if isinstance(kind, str):
        yield f"{pad}dtype: {kind}"
        return
    (inner,) = kind
    if isinstance(inner, str):
        yield f"{pad}list: {inner}"
        return
    yield f"{pad}list:"
    if isinstance(inner, list):
        yield from _yaml(inner, f"{pad}  ")
        return
    for name, of in inner.items():
        yield f"{pad}- name: {name}"
        yield from _yaml(of, f"{pad}  ")


def _code(kind: Kind) -> str:
    if isinstance(kind, str):
        return f'datasets.Value("{kind}")'
    if isinstance(kind, list):
        return f"[{_code(kind[0])}]"
    return "{" + ", ".join(f'"{name}": {_code(of)}' for name, of in kind.items()) + "}"
