"""The random audit: its interval against brute force and by simulation, and what counts as its sample."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import hypergeom

from engine.curation import audit
from engine.curation.facts import Facts
from engine.curation.filters import Filter
from engine.data.samples import Message, Row, SourceInfo
from engine.errors import EngineError
from engine.store.audits import Audit
from engine.store.project import Project


@pytest.fixture
def filled(tmp_path):
    """Ten pool rows, sources a and b in turn."""
    project = Project.create(tmp_path / "project")
    turns = (Message("user", "q"), Message("assistant", "a"))
    rows = [Row(at + 1, f'{{"n":{at}}}', f"s{at}", turns, {"source": "ab"[at % 2]}) for at in range(10)]
    project.add_rows("pool", "", SourceInfo("/data/p.jsonl", "aa", 9, "jsonl", {"schema": "chat", "fields": {}}), rows)
    return project


def _not_refuted(x: int, m: int, population: int, level: float = 0.95) -> list[int]:
    """Every X that x of m does not refute on either side, one by one."""
    tail = (1 - level) / 2
    return [
        total
        for total in range(x, population - m + x + 1)
        if hypergeom.sf(x - 1, population, total, m) > tail and hypergeom.cdf(x, population, total, m) > tail
    ]


def test_the_interval_holds_exactly_what_is_not_refuted():
    for population in (1, 7, 40):
        for m in range(1, population + 1, 3):
            for x in range(m + 1):
                least, most = audit.interval(x, m, population)
                assert list(range(least, most + 1)) == _not_refuted(x, m, population), (x, m, population)
    with pytest.raises(EngineError, match="cannot be"):
        audit.interval(4, 3, 10)


def _audit(members: np.ndarray, seed: int) -> Audit:
    rows = audit.drawn(members, seed)
    return Audit(1, "", "Ada", seed, len(members), int(members.sum()), "", 0, members, rows)


def test_the_interval_covers_the_rows_left_whatever_is_decided_elsewhere():
    """400 audits of 60 among 500 rows while another list decides the 150 best: none of it biases the estimate, nor do
    200 bad rows that joined later, of which it says nothing.
    """
    n, later, inside, rates, truths = 500, 200, 0, [], []
    for seed in range(400):
        good = np.arange(n) < 300  # row order is the order of the other list: its part is all good
        would = np.where(good, 1, 2).astype(np.int8)
        drawn = _audit(np.ones(n, bool), seed)
        codes = np.zeros(n + later, np.int8)
        codes[:150] = would[:150]
        codes[drawn.rows[:60]] = would[drawn.rows[:60]]
        codes[n : n + 10] = 2  # some of the later ones are reviewed, from whatever list
        found = audit.of(drawn, 60, codes)
        undecided = codes[:n] == 0
        truth = float(good[undecided].mean())
        assert (found.sample, found.left, found.beyond) == (60, int(undecided.sum()), later - 10)
        assert found == replace(audit.of(drawn, 60, codes[:n]), beyond=later - 10)
        inside += found.low <= truth <= found.high
        rates.append(found.rate)
        truths.append(truth)
    assert inside >= 0.95 * 400
    assert abs(np.mean(rates) - np.mean(truths)) < 0.02  # nor is the estimate itself biased


def test_the_sample_ends_at_the_first_row_without_an_answer_and_skips_are_not_approved():
    drawn = _audit(np.ones(20, bool), seed=3)
    codes = np.zeros(20, np.int8)
    codes[drawn.rows[:6]] = [1, 1, 3, 2, 0, 1]
    codes[drawn.rows[10]] = 1  # decided from another list, beyond what the audit reached
    found = audit.of(drawn, 6, codes)
    assert (found.sample, found.approved, found.rejected, found.skipped) == (4, 2, 1, 1)
    assert (found.elsewhere, found.elsewhere_approved, found.left) == (2, 2, 14)
    assert found.rate == pytest.approx((20 * 2 / 4 - 2 - 2) / 14)
    assert "1 of them skipped, which counts as not approved" in found.sentence
    assert np.isnan(audit.of(drawn, 0, np.zeros(20, np.int8)).rate)
    everything = audit.of(drawn, 20, np.ones(20, np.int8))
    assert everything.left == 0
    assert everything.sentence == "Every sample of the audit's population is reviewed."


def test_an_audit_is_frozen_with_its_seed_and_only_its_rows_advance_it(filled):
    filled.decide([0, 2], "approve", by="Ada")
    only = Filter("field", "source", ("a",))  # the even rows
    begun = audit.begin(filled, Facts(filled), (only,), by="Bo")
    assert sorted(begun.rows.tolist()) == [4, 6, 8]
    assert begun.population == 3
    assert begun.rows.tolist() == audit.drawn(begun.members, begun.seed).tolist()
    first, other = int(begun.rows[0]), 1
    for row in (first, other):
        filled.decide([row], "reject", by="Bo")
        audit.answered(filled, begun, row, by="Bo")
    kept, reached = audit.latest(filled)
    assert (kept.rows.tolist(), reached) == (begun.rows.tolist(), 1)
    found = audit.estimate(filled)
    assert (found.sample, found.rejected, found.left) == (1, 1, 2)
    assert "Of the 2 not yet reviewed that passed the audit's filters, " in found.sentence
    filled.decide([4, 6, 8], "approve", by="Ada")
    with pytest.raises(EngineError, match="nothing to audit"):
        audit.begin(filled, Facts(filled), (only,), by="Bo")
    filled.decide([0], "clear", by="Ada")  # undecided again; whether it passed the filters was not asked
    info = SourceInfo("/data/q.jsonl", "bb", 9, "jsonl", {"schema": "chat", "fields": {}})
    later = [Row(at + 1, f'{{"m":{at}}}', None, (Message("user", "q"), Message("assistant", "a"))) for at in range(3)]
    filled.add_rows("pool", "", info, later)
    assert audit.estimate(filled).sentence == (
        "Every sample of the audit's population is reviewed. It says nothing of 3 more undecided samples that joined "
        "after the audit began."
    )
