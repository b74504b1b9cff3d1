"""Tags: the latest batch that names a tag and a row decides, nothing is deleted, and names are one plain line."""

import numpy as np
import pytest

from engine.errors import EngineError
from engine.store import tags


def test_what_stands_is_the_replay_of_all_batches(filled):
    rng = np.random.default_rng(0)
    expected: dict[str, set[int]] = {"good": set(), "odd one": set()}
    for number in range(1, 16):
        name, rows = str(rng.choice(["good", "odd one"])), set(rng.integers(0, 10, 3).tolist())
        if rng.random() < 0.6:
            assert filled.tag(sorted(rows), name, by="Ada") == number
            expected[name] |= rows
        else:
            assert filled.untag(sorted(rows), name, by="Bo") == number
            expected[name] -= rows
        found = {tag: rows.tolist() for tag, rows in filled.tags().items()}
        assert found == {tag: sorted(rows) for tag, rows in expected.items() if rows}
        assert filled.tag_version() == number
    with filled.session() as con:
        assert len(tags.entries(con, limit=100)) == 15


def test_a_name_is_one_line_and_hostile_text_is_kept_as_it_is(filled):
    filled.tag([3], "  <b>bold</b>   'x'\n y ", by="Ada")
    assert list(filled.tags()) == ["<b>bold</b> 'x' y"]
    for name in ("", "  ", "x" * 61, "a\x00b", "a\x1b[31mb"):
        with pytest.raises(EngineError, match="Nothing was recorded"):
            filled.tag([3], name, by="Ada")
    for rows in ([], [10], [-1]):
        with pytest.raises(EngineError, match="Nothing was recorded"):
            filled.tag(rows, "good", by="Ada")
    with pytest.raises(EngineError, match="needs the name"):
        filled.tag([3], "good", by=" ")
    assert filled.tag_version() == 1
