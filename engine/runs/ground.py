"""What a choice is made on: scores, decisions, who is barred and why, the budget in numbers, what rows cost, quotas.

Made from a project's facts and a `Choice`; strategies choose on it (`choosing`), and whoever tells why a row is in or
out reads the same arrays. Notation: n pool rows; a run covers the first of them, the others count as without a score.
Chooses nothing.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from engine.curation import columns, dependence, filters, guards, signals
from engine.curation.facts import AGGREGATE, Facts
from engine.errors import EngineError
from engine.progress import Reporter
from engine.runs.choice import Choice
from engine.runs.finding import prepare_filters
from engine.runs.token_counts import TokenCounts, by_words, count_tokens, kept_counts
from engine.selection.budget import Budget, budget_of
from engine.selection.eligible import Eligible, eligible
from engine.selection.quotas import Limits, limits_of
from engine.selection.room import Room
from engine.store.artifacts import load_array
from engine.store.records import RunRecord


@dataclass(frozen=True, kw_only=True)
class Ground:
    """`score` float (n,), NaN where a row has none; bool (n,) `guarded`, `outside`: left out by a guard, by a filter.

    `fit` are the masks of those that must go in and may not. `costs` (n,) are what rows hold in the budget's unit, None
    where it is of rows; `counted` says how tokens were counted, where they were.
    """

    score: np.ndarray
    decisions: np.ndarray
    guarded: np.ndarray
    outside: np.ndarray
    fit: Eligible
    budget: Budget
    limits: Limits
    costs: np.ndarray | None = None
    counted: TokenCounts | None = None

    @property
    def room(self) -> "int | Room":
        """What a strategy is given: the number of rows where nothing else binds."""
        if self.costs is None and not self.limits.groups:
            return self.budget.amount
        return Room(self.budget.amount, self.limits, self.costs, self.budget.unit)

    @property
    def able(self) -> np.ndarray:
        """bool (n,): the rows that may be chosen, approved ones among them."""
        return self.fit.include | ~self.fit.exclude


def ground_of(
    facts: Facts,
    run: RunRecord,
    choice: Choice,
    *,
    score: np.ndarray | None = None,
    barred: np.ndarray | None = None,
    reporter: Reporter | None = None,
) -> Ground:
    """The ground that `choice` stands on.

    `score` (covered,) in place of the run's own; `barred` bool (n,): further rows left out unless approved. Tokens are
    counted now where they were not and the choice is by tokenizer. Raises `EngineError` for a size, guard, filter or
    quota that cannot be read or has no meaning here.
    """
    decisions = facts.decisions()
    n = len(decisions)
    values = padded(_score(facts, run, choice) if score is None else np.asarray(score), n, np.nan)
    prepare_filters(facts.project, choice.within)
    outside = ~filters.combined(facts, choice.within)
    others = outside if barred is None else outside | barred
    unfit = others | ~np.isfinite(values)
    guarded = guards.barred(facts, choice.guards, keep=choice.keep, run=run.name, column=choice.column, unfit=unfit)
    out = guarded | others
    budget = budget_of(choice.size, n)
    costs, counted = _costs(facts, run, choice, reporter)
    return Ground(
        score=values,
        decisions=decisions,
        guarded=guarded,
        outside=outside,
        fit=eligible(decisions, scorable=np.isfinite(values), barred=out),
        budget=budget,
        limits=_limits(facts, choice, budget, n),
        costs=costs,
        counted=counted,
    )


def padded(values: np.ndarray, n: int, missing: float) -> np.ndarray:
    """`values` of the rows a run covers, `missing` for rows added later."""
    if len(values) == n:
        return values
    whole = np.full((n, *values.shape[1:]), missing, dtype=values.dtype)
    whole[: len(values)] = values
    return whole


def recorded(facts: Facts, choice: Choice, ground: Ground) -> dict[str, Any]:
    """What is kept with a selection beside the choice: thresholds in force, the signals, what counted the tokens; and
    `went_by`, what filters, guards and quotas meant (`dependence`), present even where they go by the pool alone.
    """
    named = [quota.column for quota in choice.quotas]
    went_by = dependence.record(facts, parts=choice.within, guards=choice.guards, columns=named)
    said: dict[str, Any] = {"went_by": went_by}
    if _by_cluster(choice):
        said["map"] = facts.latest_map() or ""
    if choice.guards:
        said["thresholds"] = guards.thresholds(facts, choice.guards)
        said["signals"] = facts.latest_signals() or ""
    if ground.budget.unit != "rows":
        said["budget"] = {"amount": ground.budget.amount, "unit": ground.budget.unit}
    if ground.counted is not None:
        said["tokens"] = ground.counted.record
    return said


def unchecked(facts: Facts, choice: Choice, rows: np.ndarray) -> int:
    """How many of `rows` joined the pool after it was checked, so that no guard over signals looked at them."""
    found = signals.signals_of(facts)
    named = {guards.guard_of(text, guards.known(facts)).name for text in choice.guards} & set(found.names)
    covered = min((len(found.array(name)) for name in named), default=facts.n)
    return int((rows >= covered).sum())


def _by_cluster(choice: Choice) -> bool:
    """Whether a filter or a quota names clusters, whose numbers mean something on one map only."""
    used = [part.subject if part.kind == "value" else part.kind for part in choice.within]
    return "cluster" in (*used, *(quota.column for quota in choice.quotas))


def _score(facts: Facts, run: RunRecord, choice: Choice) -> np.ndarray:
    folder = facts.artifact(run.artifact)
    if choice.column == AGGREGATE:
        return load_array(folder, "score")
    scores = facts.scores(run.artifact)
    if choice.column not in scores.sets:
        known = ", ".join((AGGREGATE, *scores.sets))
        raise EngineError(
            f"The run {run.name!r} has no score {choice.column!r}; it has: {known}. Nothing was selected."
        )
    return scores.column(choice.column)


def _costs(
    facts: Facts, run: RunRecord, choice: Choice, reporter: Reporter | None
) -> tuple[np.ndarray | None, TokenCounts | None]:
    if choice.unit == "rows":
        return None, None
    words = facts.column("words")
    if choice.unit == "words":
        return np.maximum(np.asarray(words, np.int64), 1), None
    if choice.tokens_by == "words":
        counted = by_words(words)
    else:
        counted = kept_counts(facts.project, run) or count_tokens(facts.project, run, reporter=reporter)
    return counted.counts, counted


def _limits(facts: Facts, choice: Choice, budget: Budget, n: int) -> Limits:
    if not choice.quotas:
        return Limits.none(n)
    found = {}
    for name in dict.fromkeys(quota.column for quota in choice.quotas):
        family, _, field = name.partition("/")
        if family == "field" and field not in facts.fields():
            columns.column_of(facts, name)  # refuses it, naming those that are there
        found[name] = columns.categories(facts, name)
    return limits_of(choice.quotas, {name: (c.names, c.codes) for name, c in found.items()}, budget, n)
