"""The random audit: what share of the samples nobody has reviewed would be approved, with an interval.

Population: the N pool rows that were undecided and passed the filters when the audit began. They were put into a seeded
random order; reviewers answer them in that order. The *sample* is the first m of them up to the first without an
answer, so whatever is decided elsewhere, in whatever order, does not bias it: membership depends on the draw alone. A
row of the sample counts with the decision in force, whoever made it. A skip counts as not approved, because a skipped
row does not go into an export as approved.

With x approved of m, the number X of rows that would be approved in the population follows from the hypergeometric
distribution: x ~ H(N, X, m). The interval holds every X that is not refuted by x at (1 - level) / 2 on either side,
which is the exact interval for finite populations (Buonaccorsi 1987, The American Statistician 41, 215-218; for N to
infinity that of Clopper and Pearson). It covers at least `level`, whatever X is; the finite population is accounted for
exactly, and with m = N it is a single number. Rows of the population that were decided outside the sample are taken
out: with a of k such rows approved, X - x - a of the N - m - k rows left would be, and the interval moves along.

Nothing is said of rows that were not in the population: those that the filters left out, and those *beyond* it, which
became undecided only after the audit began, most of them because files joined the pool. How many these are is told with
every estimate; another audit draws from them too.

Valid where reviewers decide by the sample and not by what the estimate says so far: stopping when it looks good biases
it. Does not draw and does not know the pages.
"""

from dataclasses import dataclass

import numpy as np

from engine.curation import filters
from engine.curation.facts import Facts
from engine.curation.filters import Filter
from engine.errors import EngineError
from engine.store import audits
from engine.store.audits import Audit
from engine.store.decisions import APPROVE, REJECT, SKIP
from engine.store.project import Project

LEVEL = 0.95
LONGEST = 10_000  # no audit draws more


@dataclass(frozen=True)
class Estimate:
    """What an audit says of the rows of its population that are not yet reviewed.

    `sample` = `approved` + `rejected` + `skipped` rows were answered in audit order; `elsewhere` rows of the population
    were decided outside it, `elsewhere_approved` of them approved; `left` are undecided. `rate`, `low` and `high` are
    shares of `left` that would be approved (NaN without a sample or without rows left), the interval at `level`.
    `filtered`: the population passed filters. `beyond` undecided rows joined after the audit began and are not in it.
    """

    population: int
    sample: int
    approved: int
    rejected: int
    skipped: int
    elsewhere: int
    elsewhere_approved: int
    left: int
    rate: float
    low: float
    high: float
    level: float = LEVEL
    filtered: bool = False
    beyond: int = 0

    @property
    def sentence(self) -> str:
        """The estimate in words, with what it does not speak of."""
        return f"{self._rate} {self.limits}".strip()

    @property
    def limits(self) -> str:
        """How many undecided samples joined later, of which the audit says nothing; "" where none did."""
        if not self.beyond:
            return ""
        one = self.beyond == 1
        return (
            f"It says nothing of {self.beyond:,} more undecided {'sample' if one else 'samples'} that joined after the "
            "audit began."
        )

    @property
    def _rate(self) -> str:
        among = " that passed the audit's filters" if self.filtered else ""
        if not self.left:
            return "Every sample of the audit's population is reviewed."
        if not self.sample:
            return f"No audit sample is answered yet; {self.left:,} samples{among} are not yet reviewed."
        skips = f", {self.skipped:,} of them skipped, which counts as not approved" if self.skipped else ""
        return (
            f"Of the {self.left:,} not yet reviewed{among}, {_span(self.low, self.high)} would be approved "
            f"({100 * self.level:.0f} %), from {self.sample:,} audit samples{skips}."
        )


def begin(project: Project, facts: Facts, parts: tuple[Filter, ...] = (), *, by: str, seed: int | None = None) -> Audit:
    """Draw an audit of the undecided rows that pass the filters, and keep it; `seed` is its number unless given.

    Raises `EngineError` where no such row is left; then nothing is kept.
    """
    passing = filters.combined(facts, parts)
    with project.changing() as con:
        members = passing & (project.decisions() == 0)
        if not members.any():
            raise EngineError("No sample that passes the filters is undecided, so there is nothing to audit.")
        chosen = audits.count(con) + 1 if seed is None else seed
        text = filters.encode(parts) if parts else ""
        return audits.begin(con, members=members, rows=drawn(members, chosen), seed=chosen, filters=text, by=by)


def drawn(members: np.ndarray, seed: int) -> np.ndarray:
    """The first `LONGEST` of the member rows in the random order of `seed`; members bool (n,)."""
    return np.random.default_rng(seed).permutation(np.flatnonzero(members))[:LONGEST].astype(np.int32)


def latest(project: Project) -> tuple[Audit, int] | None:
    """The audit begun last and how many of its rows were answered, or None."""
    with project.session() as con:
        number = audits.latest(con)
        return (audits.get(con, number), audits.reached(con, number)) if number else None


def answered(project: Project, audit: Audit, row: int, *, by: str) -> None:
    """Record that a reviewer, going through the audit, has answered one of its rows; other rows are passed over."""
    places = np.flatnonzero(audit.rows == row)
    if len(places):
        with project.changing() as con:
            audits.reach(con, audit.number, int(places[0]) + 1, by=by)


def estimate(project: Project, *, level: float = LEVEL) -> Estimate | None:
    """What the latest audit says now; None where none was begun."""
    found = latest(project)
    return None if found is None else of(found[0], found[1], project.decisions(), level=level)


def of(audit: Audit, reached: int, codes: np.ndarray, *, level: float = LEVEL) -> Estimate:
    """What an audit, answered up to `reached`, says given the decisions in force; codes int8 (n,)."""
    answers = codes[audit.rows[:reached]]
    open_ones = np.flatnonzero(answers == 0)
    sample = int(open_ones[0]) if len(open_ones) else len(answers)
    counts = np.bincount(answers[:sample], minlength=4)
    outside = audit.members.copy()
    outside[audit.rows[:sample]] = False
    others = codes[: audit.pool][outside]
    decided, approved = int((others != 0).sum()), int((others == APPROVE).sum())
    left = len(others) - decided
    low, rate, high = left_over(
        int(counts[APPROVE]), sample, audit.population, decided=decided, approved=approved, level=level
    )
    return Estimate(
        audit.population, sample, int(counts[APPROVE]), int(counts[REJECT]), int(counts[SKIP]), decided, approved,
        left, rate, low, high, level, bool(audit.filters), beyond(audit, codes),
    )  # fmt: skip


def beyond(audit: Audit, codes: np.ndarray) -> int:
    """How many undecided rows became so after the audit began; codes int8 (n,), n at least the audit's pool.

    They joined the pool since, or a decision on them was taken back. Where filters were in force only rows beyond the
    pool of then are counted: of the others it is not known whether they would have passed.
    """
    open_ones = codes == 0
    if not audit.filters:
        open_ones[: audit.pool] &= ~audit.members
        return int(open_ones.sum())
    return int(open_ones[audit.pool :].sum())


def left_over(
    x: int, m: int, population: int, *, decided: int = 0, approved: int = 0, level: float = LEVEL
) -> tuple[float, float, float]:
    """(low, rate, high): the share of the rows left that would be approved, given x of m approved in the sample.

    `decided` rows outside the sample are known, `approved` of them approved. NaN where nothing is left or m is 0.
    """
    left = population - m - decided
    if not m or left <= 0:
        return (float("nan"),) * 3
    least, most = interval(x, m, population, level=level)
    rate = population * x / m
    low, middle, high = (min(1.0, max(0.0, (total - x - approved) / left)) for total in (least, rate, most))
    return low, middle, high


def interval(x: int, m: int, population: int, *, level: float = LEVEL) -> tuple[int, int]:
    """The least and most rows of a population that can be approved, given x of m drawn without replacement.

    The least X with P(H >= x) > a and the most with P(H <= x) > a, for a = (1 - level) / 2.
    """
    if not 0 <= x <= m <= population:
        raise EngineError(f"{x} approved of {m} drawn from {population} cannot be. Nothing was estimated.")
    tail = (1 - level) / 2
    return _least(x, m, population, tail), population - _least(m - x, m, population, tail)


def _least(x: int, m: int, population: int, tail: float) -> int:
    """The least X under which at least x of m are approved with a chance above `tail`; found by halving."""
    from scipy.stats import hypergeom  # it takes a second, and an audit is rare

    low, high = x, population - m + x
    while low < high:
        middle = (low + high) // 2
        if hypergeom.sf(x - 1, population, middle, m) > tail:
            high = middle
        else:
            low = middle + 1
    return low


def _span(low: float, high: float) -> str:
    least, most = f"{100 * low:.0f}", f"{100 * high:.0f}"
    return f"{least} %" if least == most else f"{least}–{most} %"
