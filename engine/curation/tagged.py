"""Tags as a column and as a filter: a row may carry several, so it passes a filter on any of those it carries.

As a column of categories a row has one value: its tag, `SEVERAL` where it carries more than one, `NOTHING` where none.
Does not put tags (`engine.store.tags`).
"""

from collections.abc import Sequence

import numpy as np

from engine.curation.facts import NOTHING, STATE, Categories, Facts

SEVERAL = "(several tags)"


def tags(facts: Facts) -> dict[str, np.ndarray]:
    """The rows that carry each tag, ascending; tags in alphabetical order."""
    return facts.remember(STATE, "tags", facts.project.tags)


def version(facts: Facts) -> str:
    """Changes whenever a tag is put on or taken off."""
    return str(facts.remember(STATE, "tag_version", facts.project.tag_version))


def categories(facts: Facts) -> Categories:
    """One value per row, the tags in alphabetical order, then `SEVERAL`, then `NOTHING`."""
    found = tags(facts)
    names = [*found, SEVERAL, NOTHING]
    codes = np.full(facts.n, len(found) + 1, np.int32)
    for code, rows in enumerate(found.values()):
        codes[rows] = np.where(codes[rows] == len(found) + 1, code, len(found))
    return Categories(names, codes, np.bincount(codes, minlength=len(names)))


def carrying(facts: Facts, names: Sequence[object]) -> np.ndarray:
    """bool (n,): the rows that carry any of these tags; `SEVERAL` and `NOTHING` mean what they say."""
    found, passing = tags(facts), np.zeros(facts.n, bool)
    for name in map(str, names):
        passing[found.get(name, np.zeros(0, np.int32))] = True
    special = [name for name in (SEVERAL, NOTHING) if name in map(str, names)]
    if special:
        one_each = categories(facts)
        wanted = [one_each.names.index(name) for name in special]
        passing |= np.isin(one_each.codes, wanted)
    return passing
