"""What a selection may leave rows out by: the signals that are guards, and what rows were used for by the latest run.

    barred(facts, ("leak", "near-duplicate", "toxicity=0.7"), keep="longest")

A guard is written by its name, with a threshold of its own behind an equals sign where it has one. Of a group of copies
one row stays, by `keep` (`signals.Keep`), one that the other guards leave in where there is one. Rows that a guard's
source does not cover are not left out. Computes no signal, and puts no approved rows in: whoever chooses does.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from engine.curation import marks, signals
from engine.curation.facts import Facts
from engine.errors import EngineError

OF_RUNS = ("warm-up", "truncated for the model", marks.SURPRISING)
"""Marks that guard as well: trained on before scoring, cut to the model's length, unlike its neighbours' answers."""


@dataclass(frozen=True)
class Guard:
    """A guard as it was asked for; `threshold` None is its own."""

    name: str
    threshold: float | None = None


def known(facts: Facts) -> tuple[str, ...]:
    """The guards there are, signals first."""
    return (*signals.signals_of(facts).guards, *OF_RUNS)


def guard_of(text: str, names: Sequence[str]) -> Guard:
    """The guard that `text` means among `names`: "leak", or "leak=0.3". Raises `EngineError` where there is none."""
    if text in names:
        return Guard(text)
    name, equals, number = text.rpartition("=")
    if equals and name in names:
        try:
            threshold = float(number)
        except ValueError:
            threshold = math.nan
        if not math.isfinite(threshold):
            raise EngineError(f"The guard {text!r} has no readable threshold; write {name}=0.5. Nothing was selected.")
        return Guard(name, threshold)
    there = ", ".join(names)
    raise EngineError(f"There is no guard {text!r}. There are: {there}. Nothing was selected.")


def barred(
    facts: Facts,
    guards: Sequence[str],
    *,
    keep: signals.Keep = "first",
    run: str = "",
    column: str = "score",
    unfit: np.ndarray | None = None,
) -> np.ndarray:
    """bool (n,): the rows that any of `guards` leaves out; `unfit` bool (n,) cannot be chosen anyway.

    Raises `EngineError` for an unknown guard or policy.
    """
    out = np.zeros(facts.n, bool)
    for text in guards:
        out |= barred_by(facts, text, keep=keep, run=run, column=column, beside=guards, unfit=unfit)
    return out


def barred_by(
    facts: Facts,
    text: str,
    *,
    keep: signals.Keep,
    run: str,
    column: str,
    beside: Sequence[str] = (),
    unfit: np.ndarray | None = None,
) -> np.ndarray:
    """bool (n,): the rows that one guard leaves out.

    No row that is `unfit`, or that a guard `beside` this one leaves out, stands for copies that could be chosen.
    """
    guard = guard_of(text, known(facts))
    if guard.threshold is not None and not _by_number(facts, guard.name):
        raise EngineError(f"The guard {guard.name} is a mark and has no threshold. Nothing was selected.")
    if guard.name in OF_RUNS:
        return marks.whole(marks.marked(facts, guard.name), facts.n)
    if guard.name in signals.COPIES and guard.name in signals.signals_of(facts).columns:
        others = [other for other in beside if guard_of(other, known(facts)).name not in signals.COPIES]
        useless = barred(facts, others, keep=keep, run=run, column=column)
        useless = useless if unfit is None else useless | unfit
        return signals.copies(facts, guard.name, keep=keep, run=run, column=column, unfit=useless)
    thresholds = {} if guard.threshold is None else {guard.name: guard.threshold}
    return signals.left_out(facts, [guard.name], keep=keep, run=run, column=column, thresholds=thresholds)


def _by_number(facts: Facts, name: str) -> bool:
    """Whether a guard goes by a number that a threshold can be set on; groups of copies do not."""
    found = signals.signals_of(facts).columns.get(name)
    return found is not None and found.threshold is not None and name not in signals.COPIES


def thresholds(facts: Facts, guards: Sequence[str]) -> dict[str, float]:
    """The number beyond which each of `guards` leaves a row out, of those that go by one."""
    found, columns = {}, signals.signals_of(facts).columns
    for text in guards:
        guard = guard_of(text, known(facts))
        own = columns[guard.name].threshold if guard.name in columns else None
        limit = own if guard.threshold is None else guard.threshold
        if limit is not None and guard.name not in signals.COPIES:
            found[guard.name] = float(limit)
    return found
