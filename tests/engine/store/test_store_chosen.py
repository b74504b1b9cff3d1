"""Ids and hashes of some rows alone, asked for in parts: those that the rows themselves tell."""

import numpy as np
import pytest

from engine.store import chosen
from engine.store.staging import content_hash


@pytest.mark.parametrize("part", [1, 3, 10_000])
def test_identities_in_parts_are_those_of_the_rows(filled, make_row, make_info, monkeypatch, part):
    more = [make_row(1, "again", own_id="s3"), make_row(2, "without"), make_row(3, "own", own_id="t")]
    filled.add_rows("pool", "", make_info("bb", path="/data/more.jsonl"), more)
    monkeypatch.setattr(chosen, "_PART", part)
    rows = np.array([0, 2, 3, 7, 10, 11, 12])
    with filled.session() as con:
        ids, hashes = chosen.identities(con, rows)
    stored = filled.rows(rows)
    assert ids == [row.id for row in stored]
    assert hashes == [content_hash(row.messages) for row in stored]
    assert len(set(ids)) == len(rows), "an id that several rows bear was taken for one row's"
