"""The marks a row can carry, as flags: what the signals found, and the part it played in the latest run.

A mark is a name of `names(facts)`: every signal that is a flag (`signals`), and what a run can make of a row. `MARKS`
are those that every project can have. Rows that signals or run do not cover carry none. Does not compute signals.
"""

import numpy as np

from engine.curation import signals
from engine.curation.facts import ROLES, Facts
from engine.data.surprise import THRESHOLD

LEAK = 0.5
"""The share of a target item's word sequences from which on a row counts as a leak."""
SURPRISING = "surprising answer"
MARKS = (
    "near-duplicate",
    "leak",
    "looks truncated",
    SURPRISING,
    "landmark",
    "audit",
    "warm-up",
    "truncated for the model",
    "tuning",
    "measured near the cut",
    "labelled for the network",
    "added after the run",
)


def names(facts: Facts) -> tuple[str, ...]:
    """The marks that rows of this pool can carry: those of every project, then the other signals that are flags."""
    found = signals.signals_of(facts)
    return (*MARKS, *(name for name, column in found.columns.items() if column.kind == "flag" and name not in MARKS))


def marked(facts: Facts, name: str) -> np.ndarray:
    """bool over the covered rows: those that carry the mark `name`, all False where it is unknown.

    The name of a number with a threshold marks the rows beyond it.
    """
    found, guide = signals.signals_of(facts), facts.guide()
    if name in found.columns and (found.columns[name].kind == "flag" or found.columns[name].threshold is not None):
        return found.flags(name)
    judge = facts.judge() if name == SURPRISING else None
    if judge is not None:
        return _surprising(facts, judge.artifact)
    if guide is None or name == SURPRISING:
        return np.zeros(0, bool)
    flag = {text: bit for bit, text in ROLES.items()}.get(name, 0)
    return (np.asarray(facts.scores(guide.artifact).roles) & flag) > 0


def version(facts: Facts) -> str:
    """What besides the pool the marks depend on."""
    artifacts = [run.artifact for run in (facts.guide(), facts.judge()) if run is not None]
    return f"{signals.version(facts)} {' '.join(artifacts)} {facts.latest_map()}"


def whole(covered: np.ndarray, n: int) -> np.ndarray:
    """The flags of all n rows: False for those that are not covered."""
    return np.concatenate([covered[:n], np.zeros(max(0, n - len(covered)), bool)])


def _surprising(facts: Facts, run: str) -> np.ndarray:
    """Rows whose response is far less likely than those of their neighbours on the map, and is not merely cut off."""
    values, found = facts.surprises(run), facts.marks()
    if values is None:
        return np.zeros(0, bool)
    far = np.asarray(values) > THRESHOLD
    if found is not None:
        cut = np.asarray(found.looks_truncated, bool)[: len(far)]
        far = far & ~np.pad(cut, (0, len(far) - len(cut)))
    return far
