"""What every configuration shares: a dictionary round trip, and checks that name what is valid."""

from dataclasses import asdict, fields
from inspect import get_annotations
from typing import Any, Self, get_args

from engine.errors import EngineError


class Config:
    """Dictionary round trip shared by the configurations."""

    def to_dict(self) -> dict[str, Any]:
        """All fields as JSON values."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}  # type: ignore[call-overload]

    @classmethod
    def names(cls) -> list[str]:
        """The settings' names: the class's own first, those it inherits after them."""
        own = get_annotations(cls)
        return sorted((f.name for f in fields(cls)), key=lambda name: name not in own)  # type: ignore[arg-type]

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """The configuration of `values`; an unknown key or a wrong type is an `EngineError` naming what is valid."""
        known = cls.names()
        unknown = sorted(set(values) - set(known))
        if unknown:
            raise EngineError(f"Unknown setting {', '.join(unknown)}. Valid settings: {', '.join(known)}.")
        return cls(**{k: tuple(v) if isinstance(v, list) else v for k, v in values.items()})


def choice(name: str, value: object, allowed: object) -> None:
    """Refuse a value that is none of a `Literal`'s."""
    if value not in get_args(allowed):
        raise EngineError(f"{name} is {value!r}; it must be one of: {', '.join(get_args(allowed))}.")


def number(name: str, value: object, kind: type | tuple[type, ...], least: float, most: float | None = None) -> None:
    """Refuse a value of another kind or out of range."""
    bounds = f"at least {least}" if most is None else f"between {least} and {most}"
    good = isinstance(value, kind) and not isinstance(value, bool)
    if not good or value < least or (most is not None and value > most):  # type: ignore[operator]
        noun = "a whole number" if kind is int else "a number"
        raise EngineError(f"{name} is {value!r}; it must be {noun} {bounds}.")
