"""The approver's sheet of a selection with its tokens, where those of its run's model were counted.

The figures are `engine.curation.sheet`; the counts are kept by `token_counts`, which needs to know models.
"""

from typing import Any

from engine.curation.facts import Facts
from engine.curation.sheet import sheet
from engine.runs.token_counts import kept_counts
from engine.store.selections import Selection


def sheet_of(facts: Facts, selection: Selection) -> dict[str, Any]:
    """The sheet as things stand, JSON values; reads the kept counts and makes none."""
    run = next((record for record in facts.runs() if record.name == selection.run), None)
    counted = None if run is None else kept_counts(facts.project, run)
    if counted is None:
        return sheet(facts, selection)
    return sheet(facts, selection, tokens=counted.counts, tokens_by=counted.said)
