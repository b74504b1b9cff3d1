"""Tags as a column and a filter: against sets of rows; the catalogue's tags come through `columns` and `filters`."""

import numpy as np
import pytest

from engine.curation import columns, filters, tagged
from engine.curation.facts import NOTHING, Facts
from engine.curation.filters import Filter
from engine.data.samples import Message, Row, SourceInfo
from engine.store.project import Project


@pytest.fixture
def project(tmp_path):
    """Eight pool rows."""
    made = Project.create(tmp_path / "project")
    turns = (Message("user", "q"), Message("assistant", "a"))
    rows = [Row(at + 1, f'{{"n":{at}}}', f"s{at}", turns, {}) for at in range(8)]
    made.add_rows("pool", "", SourceInfo("/data/p.jsonl", "aa", 9, "jsonl", {"schema": "chat", "fields": {}}), rows)
    return made


def _passing(project, *names):
    return np.flatnonzero(filters.mask(Facts(project), Filter("value", "tag", names))).tolist()


def test_a_row_passes_on_any_tag_it_carries(project):
    assert all(column.name != "tag" for column in columns.listed(Facts(project)))  # offered once there is a tag
    project.tag([1, 2, 5], "odd", by="Ada")
    project.tag([2, 3], "good", by="Ada")
    assert (_passing(project, "odd"), _passing(project, "good"), _passing(project, "odd", "good")) == (
        [1, 2, 5], [2, 3], [1, 2, 3, 5],
    )  # fmt: skip
    assert _passing(project, NOTHING) == [0, 4, 6, 7]
    assert _passing(project, tagged.SEVERAL, NOTHING) == [0, 2, 4, 6, 7]
    assert _passing(project, "unknown") == []
    found = columns.categories(Facts(project), "tag")
    assert [found.names[code] for code in found.codes[:4]] == [NOTHING, "odd", tagged.SEVERAL, "good"]
    assert found.counts.sum() == 8
    assert columns.column_of(Facts(project), "tag").kind == "category"
    project.untag([2, 5], "odd", by="Bo")
    assert _passing(project, "odd") == [1]
