"""The filters in force on the pages: `engine.curation.filters` with the pages' shared memory of what was read.

Nothing here draws; `pages.parts.chips` does.
"""

from collections.abc import Sequence

import numpy as np

from engine.curation import filters, marks
from engine.curation.columns import DECISION_OF, decision_name
from engine.curation.filters import Filter, Kind, decode, describe, encode, outline, value_name
from engine.curation.marks import LEAK, MARKS, SURPRISING
from engine.store.project import Project
from pages.parts import reads

__all__ = ["DECISION_OF", "LEAK", "MARKS", "SURPRISING", "Filter", "Kind", "decision_name", "decode", "describe",
           "encode", "outline", "value_name"]  # fmt: skip


def marks_of(project: Project) -> tuple[str, ...]:
    """The marks that rows of this pool can carry."""
    return marks.names(reads.facts(project))


def mask(project: Project, part: Filter) -> np.ndarray:
    """bool (n,): the pool rows that pass one filter."""
    return filters.mask(reads.facts(project), part)


def combined(project: Project, parts: Sequence[Filter]) -> np.ndarray:
    """bool (n,): the pool rows that pass all filters; all rows where there is none."""
    return filters.combined(reads.facts(project), parts)


def marked(project: Project, name: str) -> np.ndarray:
    """bool over the covered rows: those that carry the mark `name`, all False where unknown."""
    return marks.marked(reads.facts(project), name)
