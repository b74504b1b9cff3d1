"""`--set key=value` and the options with names of their own become one frozen configuration."""

import types
from collections.abc import Sequence
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from engine.cli.app import WrongUsage
from engine.errors import EngineError
from engine.runs.config import PRESETS, ScoreConfig
from engine.runs.map_config import MapConfig
from engine.runs.signals_config import SignalsConfig

C = TypeVar("C", ScoreConfig, MapConfig, SignalsConfig)
_TRUE, _FALSE = ("true", "yes", "on", "1"), ("false", "no", "off", "0")


def configured(kind: type[C], pairs: Sequence[str], **options: Any) -> C:
    """A configuration from `key=value` pairs and named options (None: not given).

    Raises a usage error for an unknown key (naming the valid ones), a value of the wrong type or out of range, and a
    key given both ways.
    """
    given = {name: value for name, value in options.items() if value is not None}
    hints = get_type_hints(kind)
    preset, others = _preset(kind, pairs)
    for pair in others:
        key, equals, text = pair.partition("=")
        key = key.strip().replace("-", "_")
        if not equals:
            raise WrongUsage(f"--set needs key=value, got {pair!r}.")
        if key not in kind.names():
            raise WrongUsage(f"There is no setting {key!r}. Valid settings: {', '.join(kind.names())}.")
        if key in given:
            raise WrongUsage(f"{key} is given twice; give it once, as an option or with --set.")
        given[key] = _value(key, text.strip(), hints[key])
    try:
        return kind(**{**preset, **given})
    except EngineError as error:
        raise WrongUsage(str(error)) from error


def _preset(kind: type[C], pairs: Sequence[str]) -> tuple[dict[str, Any], list[str]]:
    """The values of `preset=NAME`, which every other setting overrides, and the other pairs."""
    if kind is not ScoreConfig:
        return {}, list(pairs)
    named = [pair.partition("=")[2].strip() for pair in pairs if pair.partition("=")[0].strip() == "preset"]
    unknown = [name for name in named if name not in PRESETS]
    if unknown or len(named) > 1:
        raise WrongUsage(f"preset is {' and '.join(map(repr, named))}; give one of: {', '.join(PRESETS)}.")
    return dict(PRESETS[named[0]]) if named else {}, [p for p in pairs if p.partition("=")[0].strip() != "preset"]


def _value(key: str, text: str, hint: Any) -> Any:
    """`text` as the type of the field, which tells what was expected where it does not fit."""
    if get_origin(hint) in (Union, types.UnionType):
        inner = [option for option in get_args(hint) if option is not type(None)]
        return (
            None
            if text.lower() in ("none", "auto") and len(inner) < len(get_args(hint))
            else _value(key, text, inner[0])
        )
    if get_origin(hint) is tuple:
        return tuple(part.strip() for part in text.split(",") if part.strip())
    if get_origin(hint) is Literal or hint is str:
        return text  # the configuration checks the choice
    if hint is bool:
        if text.lower() not in _TRUE + _FALSE:
            raise WrongUsage(f"{key} is {text!r}; it must be true or false.")
        return text.lower() in _TRUE
    try:
        return hint(text)
    except ValueError as error:
        noun = {int: "a whole number", float: "a number"}.get(hint, "a value")
        raise WrongUsage(f"{key} is {text!r}; it must be {noun}.") from error
