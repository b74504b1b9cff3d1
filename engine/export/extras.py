"""The fields beside the sample itself: weights, scores, decisions, reasons, tags, notes, signals, original fields.

One value per chosen row, in the order of the rows; absent values are null. They are written only where they exist and
were asked for. Original fields come with the rows as they are read; all others are gathered before, and a manifest
keeps them (`told`, `from_told`), so that the same file can be written again where the project is gone.
Notation: k chosen rows. Does not write files.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import pyarrow as pa

from engine.curation import columns
from engine.curation.facts import AGGREGATE, ROLES, Facts
from engine.data.samples import Scalar
from engine.errors import EngineError
from engine.export.plan import Plan
from engine.store import chosen, decision_history, decisions, tags
from engine.store.records import StoredRow

WEIGHT = "weight"
_ARROW: dict[str, pa.DataType] = {
    "text": pa.string(),
    "whole": pa.int64(),
    "number": pa.float64(),
    "flag": pa.bool_(),
    "nothing": pa.string(),
    "float32": pa.float32(),
    "texts": pa.list_(pa.string()),
}


class Selected(Protocol):
    """The part of a `Selection` that is read here."""

    @property
    def rows(self) -> np.ndarray:
        """int64 (k,), ascending."""

    @property
    def weights(self) -> np.ndarray | None:
        """float32 (k,) or None."""

    @property
    def run(self) -> str | None:
        """The run it rests on."""

    @property
    def reasons(self) -> np.ndarray | None:
        """Why each row is in, or None."""


@dataclass(frozen=True)
class Extra:
    """One extra field: its name, the kind of its values (of `_ARROW`), and the values (k,), a numpy array or a list.

    `values` None: an original field, taken from the rows as they are read under the name `field`.
    """

    name: str
    kind: str
    values: np.ndarray | list[Any] | None = None
    field: str = ""

    @property
    def arrow(self) -> pa.DataType:
        """The Arrow type of the column."""
        return _ARROW[self.kind]

    def part(self, start: int, rows: Sequence[StoredRow]) -> list[Any]:
        """Plain values for the rows that begin at `start`."""
        if self.values is None:
            return [_scalar(row.fields.get(self.field), self.kind) for row in rows]
        found = self.values[start : start + len(rows)]
        return found if isinstance(found, list) else _plain(found)

    def told(self) -> dict[str, Any]:
        """The field as a manifest keeps it."""
        values = self.values if self.values is not None else []
        return {"name": self.name, "kind": self.kind, "values": values if isinstance(values, list) else _plain(values)}


def from_told(value: Mapping[str, Any]) -> Extra:
    """The field that `told` described."""
    values = value["values"]
    if value["kind"] in ("float32", "number"):
        kind = np.float32 if value["kind"] == "float32" else np.float64
        values = np.array([np.nan if v is None else v for v in values], kind)
    return Extra(value["name"], value["kind"], values)


def gather(facts: Facts, selection: Selected, plan: Plan, *, taken: Sequence[str]) -> tuple[list[Extra], list[str]]:
    """The extra fields of the plan in the order of `ADDED`, then original fields; and what was asked for but is absent.

    Raises `EngineError` for an unknown field, and for a name in `taken` or named twice.
    """
    found: list[Extra] = []
    notes: list[str] = []
    for name, make in _MAKERS.items():
        if name in plan.added:
            extras, note = make(facts, selection)
            found += extras
            notes += [note] if note else []
    found += fields_of(facts, selection.rows, plan.columns)
    check_names([*taken, *(extra.name for extra in found)])
    return found, notes


def fields_of(facts: Facts, rows: np.ndarray, names: Sequence[str]) -> list[Extra]:
    """Original fields of the rows, whose values come with the rows. Raises `EngineError` for an unknown one."""
    known = facts.fields()
    for name in names:
        if name not in known:
            raise EngineError(
                f"The samples have no field {name!r}. There are: {', '.join(known)}. Nothing was written."
            )
    with facts.project.session() as con:
        kinds = chosen.field_kinds(con, rows, names)
    return [Extra(chosen.bare(name), kinds[name], None, chosen.bare(name)) for name in names]


def check_names(names: Sequence[str]) -> None:
    """Raise `EngineError` where two fields of a record would have one name."""
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise EngineError(f"Two fields would be called {', '.join(twice)}. Leave one out; nothing was written.")


Gathered = tuple[list[Extra], str]


def _weights(facts: Facts, selection: Selected) -> Gathered:
    return ([] if selection.weights is None else [Extra(WEIGHT, "float32", selection.weights)]), ""


def _scores(facts: Facts, selection: Selected) -> Gathered:
    if not selection.run:
        return [], "The selection rests on no run, so there are no scores to add."
    found = facts.scores(facts.run(selection.run).artifact)
    names = {"score": AGGREGATE} | {f"target:{name}": name for name in found.sets}
    return [Extra(name, "float32", covered(found.column(column), selection.rows)) for name, column in names.items()], ""


def _decision(facts: Facts, selection: Selected) -> Gathered:
    names = list(decisions.DECISIONS)
    return [Extra("decision", "text", [names[code] for code in facts.decisions()[selection.rows].tolist()])], ""


def _reason(facts: Facts, selection: Selected) -> Gathered:
    if selection.reasons is None:
        return [], "The selection was saved without reasons, so there are none to add."
    return [Extra("reason", "text", selection.reasons.tolist())], ""


def _tags(facts: Facts, selection: Selected) -> Gathered:
    held: list[list[str]] = [[] for _ in range(len(selection.rows))]
    for tag, at in _tagged(facts, selection.rows):
        for place in at.tolist():
            held[place].append(tag)
    return [Extra("tags", "texts", held)], ""


def _tagged(facts: Facts, rows: np.ndarray) -> list[tuple[str, np.ndarray]]:
    """Every tag in alphabetical order and the places in `rows` of those that bear it."""
    with facts.project.session() as con:
        return [(name, np.flatnonzero(np.isin(rows, held))) for name, held in tags.current(con).items()]


def _note(facts: Facts, selection: Selected) -> Gathered:
    """The note of the decision in force, or null."""
    with facts.project.session() as con:
        notes = decision_history.notes(con, selection.rows)
    return [Extra("note", "text", notes)], ""


def _signals(facts: Facts, selection: Selected) -> Gathered:
    played = {f"signal/{role}" for role in ROLES.values()}  # parts in a run are no signals of the sample
    listed = [c for c in columns.listed(facts) if c.name.startswith("signal/") and c.name not in played]
    if facts.latest_signals() is None:
        return [], "The pool has not been checked yet, so there are no signals to add."
    return [_signal(facts, selection.rows, column) for column in listed], ""


def _signal(facts: Facts, rows: np.ndarray, column: columns.Column) -> Extra:
    if column.kind == "category":
        coded = columns.categories(facts, column.name)
        return Extra(column.name, "text", [coded.names[code] for code in coded.codes[rows].tolist()])
    values = columns.numbers(facts, column.name)[rows]
    if column.kind == "flag":
        return Extra(column.name, "flag", [None if np.isnan(v) else bool(v) for v in values])
    return Extra(column.name, "float32", values)


_MAKERS: dict[str, Callable[[Facts, Selected], Gathered]] = {
    "weights": _weights,
    "scores": _scores,
    "decision": _decision,
    "reason": _reason,
    "tags": _tags,
    "note": _note,
    "signals": _signals,
}


def covered(values: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """float32 (k,): the rows' values, NaN for rows beyond those covered."""
    found = np.full(len(rows), np.nan, np.float32)
    inside = rows < len(values)
    found[inside] = values[rows[inside]]
    return found


def _scalar(value: Scalar, kind: str) -> Any:
    """A field's value as its column holds it: where kinds are mixed, texts as they are and anything else as JSON."""
    if kind != "text" or value is None or isinstance(value, str):
        return float(value) if kind == "number" and value is not None else value
    return json.dumps(value)


def _plain(values: np.ndarray) -> list[Any]:
    """Numbers as the floats with the fewest digits that read back as the same: 0.1, not 0.10000000149011612."""
    if not np.issubdtype(values.dtype, np.floating):
        return list(values.tolist())
    if values.dtype == np.float64:
        return [None if v != v else v for v in values.tolist()]
    return [None if text == "nan" else float(text) for text in map(str, values)]
