"""What changed between two versions of a selection, or between two selections of one pool.

Rows that came in and rows that went out, with why as far as it is known: a row came in for the reason kept with it; it
went out because it is rejected now, or by a guard or a filter of the later selection, or because it was simply not
chosen. Settings are told where they differ. Does not choose, and does not draw.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from engine.curation import columns, filters, guards
from engine.curation.facts import Facts
from engine.errors import EngineError
from engine.store.decisions import APPROVE, REJECT
from engine.store.selections import Selection

REJECTED, OUTSIDE, UNSCORED, PASSED = "rejected", "outside the filters", "no score", "not chosen any more"
_RESULTS = {"rows", "notes", "artifact", "map", "signals", "tokens", "method"}  # what came of settings, told last
_STATE = "went by: "


@dataclass(frozen=True)
class Changes:
    """Rows int64, ascending: `added` only in the later, `removed` only in the earlier; how many are in both, and how
    many of these changed their weight. `settings`: name, value before and after, where they differ; None for none.
    """

    added: np.ndarray
    removed: np.ndarray
    kept: int
    reweighted: int
    settings: tuple[tuple[str, Any, Any], ...]


def changes(before: Selection, after: Selection) -> Changes:
    """What changed from `before` to `after`."""
    added = np.setdiff1d(after.rows, before.rows, assume_unique=True)
    removed = np.setdiff1d(before.rows, after.rows, assume_unique=True)
    kept = len(after.rows) - len(added)
    return Changes(added, removed, kept, _reweighted(before, after), settings(before.spec, after.spec))


def settings(before: Mapping[str, Any], after: Mapping[str, Any]) -> tuple[tuple[str, Any, Any], ...]:
    """The settings that differ: what was asked for first, then what came of it."""
    one, two = _flat(before), _flat(after)
    names = sorted({*one, *two}, key=lambda name: (name in _RESULTS or name.startswith(_STATE), name))
    return tuple((n, one.get(n), two.get(n)) for n in names if one.get(n) != two.get(n))


def _flat(spec: Mapping[str, Any]) -> dict[str, Any]:
    """The settings with each thing that filters went by as one of its own."""
    went_by = spec.get("went_by") or {}
    return {n: v for n, v in spec.items() if n != "went_by"} | {f"{_STATE}{n}": v for n, v in went_by.items()}


def why_added(facts: Facts, after: Selection, rows: np.ndarray) -> list[str]:
    """Why each of these rows of the later selection came in: as kept with it; else what is known."""
    if after.reasons is not None:
        return [str(after.reasons[at]) or "not told" for at in np.searchsorted(after.rows, rows)]
    approved = facts.decisions()[rows] == APPROVE
    return ["approved" if flag else "not told" for flag in approved.tolist()]


def why_removed(facts: Facts, after: Selection, rows: np.ndarray) -> list[str]:
    """Why each of these rows is not in the later selection, as its settings and the present decisions tell."""
    told = np.full(len(rows), PASSED, object)
    for name, out in reversed(list(_barring(facts, after).items())):  # the first that applies is told
        told[out[rows]] = name
    return [str(reason) for reason in told]


def _barring(facts: Facts, after: Selection) -> dict[str, np.ndarray]:
    """bool (n,) by reason: the rows that could not be in; what cannot be told any more is left out."""
    found = {REJECTED: facts.decisions() == REJECT}
    spec = after.spec
    run, column = after.run or "", str(spec.get("column", "score"))
    named = [str(text) for text in spec.get("left_out") or ()]
    for text in named:
        try:
            keep = spec.get("keep", "first")
            barred = guards.barred_by(facts, text, keep=keep, run=run, column=column, beside=named)
            found[f"guard: {text}"] = barred
        except EngineError:  # a guard of signals that are gone
            continue
    try:
        if spec.get("filters"):
            found[OUTSIDE] = ~filters.combined(facts, filters.from_lists(spec["filters"]))
        if run:
            score = columns.numbers(facts, f"score/{run}/{column}")
            found[UNSCORED] = ~np.isfinite(score)
    except EngineError:  # filters on what is gone, or a run that was deleted
        pass
    return found


def _reweighted(before: Selection, after: Selection) -> int:
    """How many rows in both have another weight; a selection without weights gives every row 1."""
    if before.weights is None and after.weights is None:
        return 0
    _, one, two = np.intersect1d(before.rows, after.rows, assume_unique=True, return_indices=True)
    first = np.ones(len(one)) if before.weights is None else before.weights[one]
    second = np.ones(len(two)) if after.weights is None else after.weights[two]
    return int((~np.isclose(first, second)).sum())


def shift(facts: Facts, before: Selection, after: Selection, name: str) -> list[dict[str, Any]]:
    """Per value of a column of categories: rows and share in both selections, the largest shift first."""
    found = columns.categories(facts, name)
    counts = [np.bincount(found.codes[s.rows], minlength=len(found.names)) for s in (before, after)]
    shares = [count / max(1, len(s.rows)) for count, s in zip(counts, (before, after))]
    order = np.argsort(-np.abs(shares[1] - shares[0]), kind="stable")
    order = order[(counts[0] + counts[1])[order] > 0]
    return [
        {
            "name": found.names[at], "before": int(counts[0][at]), "after": int(counts[1][at]),
            "share_before": float(shares[0][at]), "share_after": float(shares[1][at]),
        }
        for at in order.tolist()
    ]  # fmt: skip
