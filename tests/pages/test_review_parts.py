"""Parts of the Review page without a page: presses as a browser may send them, strips per target, pieces of text."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from pages.parts import score_view, word_pieces
from pages.parts.review_keys import Press, parsed

GOOD = {"seq": 2, "act": "approve", "list": "1.a.b", "at": 0, "row": 7, "seen": "none", "note": "n" * 900}


def test_only_well_formed_presses_pass_in_the_order_of_their_numbers() -> None:
    bad = [{**GOOD, "act": "drop"}, {**GOOD, "row": "7"}, {**GOOD, "at": True}, 3]
    events = [GOOD, {**GOOD, "seq": 1, "act": "go"}, *bad]
    found = parsed({"client": "c", "events": events})
    assert found is not None
    assert [press.act for press in found.presses] == ["go", "approve"]
    assert found.presses[1] == Press(2, "approve", "1.a.b", 0, 7, "none", "n" * 500, "")


@pytest.mark.parametrize("value", [None, 3, {}, {"client": 5}, {"client": "x" * 99, "events": []}])
def test_what_is_no_message_is_none(value: Any) -> None:
    assert parsed(value) is None


def test_strips_hold_each_sets_own_items_and_of_many_the_furthest_from_zero() -> None:
    sets = [{"name": f"s{at}", "items": list(range(at + 1))} for at in range(50)]
    columns = np.linspace(-1, 1.01, 50, dtype=np.float32)[None]
    columns[0, 3] = np.nan
    matrix = np.arange(sum(len(entry["items"]) for entry in sets), dtype=np.float32)[None]
    scores: Any = SimpleNamespace(
        summary={"sets": sets}, sets=[e["name"] for e in sets], columns=columns, matrix=matrix
    )
    found = score_view.strips(scores, 0, most=10)
    assert [strip.name for strip in found] == ["s0", "s1", "s2", "s4", "s44", "s45", "s46", "s47", "s48", "s49"]
    assert found[3].items.tolist() == [10.0, 11.0, 12.0, 13.0, 14.0]  # behind 1 + 2 + 3 + 4 others


def test_pieces_leave_out_what_is_long_and_the_same_and_spell_out_what_hides() -> None:
    long = "w" * 1000
    shown = list(word_pieces.shown([("same", long), ("added", "a\u202eb"), ("same", "short"), ("removed", "<b>")]))
    kinds = [kind for kind, _ in shown]
    assert kinds == ["left-out", "same", "added", "same", "removed"]
    assert "840 characters the same" in shown[0][1]
    assert shown[1][1] == "w" * 160
    assert shown[2][1] == "a⟨U+202E⟩b"
    assert shown[4][1] == "<b>"
