"""What is written: the form of a record, the container of the file, extra fields, split and shards.

A *form* says which fields a record has, a *container* which kind of file holds the records. Frozen, validated at
construction, kept in the manifest, so that the same files can be written again. Does not write.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from engine.errors import EngineError

Form = Literal["original", "chat", "sharegpt", "alpaca", "prompt-completion", "prompt-completion-chat"]
Container = Literal["jsonl", "parquet", "hf"]
Added = Literal["weights", "scores", "decision", "reason", "tags", "note", "signals"]
FORMS: tuple[str, ...] = get_args(Form)
CONTAINERS: tuple[str, ...] = get_args(Container)
ADDED: tuple[str, ...] = get_args(Added)
FORMATS: tuple[str, ...] = (*FORMS, "parquet", "hf")
"""What `--format` takes: a form (as JSON lines), or a container (of chats)."""
GROUPS = ("near-duplicates", "exact-duplicates", "cluster")
"""What a split can keep together beside the values of an original field, which is named `field/NAME`."""
MOST_VALIDATION = 0.5
FIELD = "field/"
_NOTHING = "Nothing was written."


@dataclass(frozen=True, kw_only=True)
class Plan:
    """One way to write a selection.

    `columns`: original fields to add; `added`: further fields, of `ADDED`, where the project has them. `validation`:
    share of the rows that go into a split of their own, whole groups of `group` at a time, drawn by `seed`; 0: no
    split. `shard_rows`, `shard_mb` (10^6 bytes): most of either in one file; 0: one file. At most one of them is set.
    """

    form: Form = "original"
    container: Container = "jsonl"
    columns: tuple[str, ...] = ()
    added: tuple[str, ...] = ("weights",)
    validation: float = 0.0
    group: str = "near-duplicates"
    seed: int = 0
    shard_rows: int = 0
    shard_mb: float = 0.0

    def __post_init__(self) -> None:
        """Refuse unknown names, values out of range, and what the original form cannot carry."""
        _one_of(self.form, FORMS, "form")
        _one_of(self.container, CONTAINERS, "container")
        for name in self.added:
            _one_of(name, ADDED, "extra field")
        if self.form == "original" and self.container != "jsonl":
            raise EngineError(
                f"The original form is the rows byte for byte, which only JSON lines hold, not {self.container}. "
                f"Use another form or container. {_NOTHING}"
            )
        if self.form == "original" and (self.columns or set(self.added) - {"weights"}):
            raise EngineError(f"The original form adds nothing to the rows; use another form for fields. {_NOTHING}")
        if not 0 <= self.validation <= MOST_VALIDATION or not math.isfinite(self.validation):
            raise EngineError(f"The share for validation is {self.validation:g}; it goes from 0 to 0.5. {_NOTHING}")
        if self.group not in GROUPS and not (self.group.startswith(FIELD) and len(self.group) > len(FIELD)):
            raise EngineError(f"There is no group {self.group!r}: {', '.join(GROUPS)} or {FIELD}NAME. {_NOTHING}")
        if self.shard_rows < 0 or self.shard_mb < 0 or not math.isfinite(self.shard_mb) or self.seed < 0:
            raise EngineError(f"Shards and seeds are not negative. {_NOTHING}")
        if self.shard_rows and self.shard_mb:
            raise EngineError(f"Shards go by samples or by size, not by both. {_NOTHING}")

    @property
    def split(self) -> bool:
        """Whether there is a part for validation."""
        return self.validation > 0

    @property
    def sharded(self) -> bool:
        """Whether a split may become several files."""
        return bool(self.shard_rows or self.shard_mb)

    @property
    def folder(self) -> bool:
        """Whether what is written is a folder."""
        return self.container == "hf" or self.split or self.sharded

    @property
    def format(self) -> str:
        """The word for `--format` that means form and container together, where there is one; else the form."""
        return self.container if self.form == "chat" and self.container != "jsonl" else self.form

    def to_dict(self) -> dict[str, Any]:
        """All settings as JSON values."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Plan":
        """The plan that `to_dict` told; `EngineError` for settings that this version does not know."""
        unknown = sorted(set(values) - set(cls.__dataclass_fields__))
        if unknown:
            raise EngineError(f"This Touchstone does not know how to write {', '.join(unknown)}. Update it. {_NOTHING}")
        given: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
        return cls(**given)


def named(format: str, container: str = "") -> dict[str, Any]:
    """Form and container that `--format` and `--container` mean together.

    `parquet` and `hf` as a format mean chats in that container. Raises `EngineError` for an unknown name, and where
    the two name different containers.
    """
    _one_of(format, FORMATS, "format")
    if container:
        _one_of(container, CONTAINERS, "container")
    if format in FORMS:
        return {"form": format, "container": container or "jsonl"}
    if container not in ("", format):
        raise EngineError(f"The format {format} is a container itself and not {container}. {_NOTHING}")
    return {"form": "chat", "container": format}


def _one_of(value: str, allowed: tuple[str, ...], what: str) -> None:
    if value not in allowed:
        raise EngineError(f"{value!r} is no {what}; use one of {', '.join(allowed)}. {_NOTHING}")
