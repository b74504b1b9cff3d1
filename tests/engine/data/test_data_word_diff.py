"""Word differences: the pieces spell both texts, small changes are found in long texts, and bad cases stay linear."""

import itertools
import random

import pytest

from engine.data import word_diff
from engine.data.word_diff import Piece, difference


def _spelt(found, without):
    return "".join(piece.text for piece in found.pieces if piece.kind != without)


def test_a_changed_word_is_one_removed_and_one_added():
    found = difference("The answer is 41, I think.", "The answer is 42, I think!")
    assert found.pieces == (
        Piece("same", "The answer is "), Piece("removed", "41"), Piece("added", "42"), Piece("same", ", I think"),
        Piece("removed", "."), Piece("added", "!"),
    )  # fmt: skip
    assert found.words == (1, 1)
    chinese = difference("首都是北京。", "首都是南京。")
    assert [p.text for p in chinese.pieces if p.kind != "same"] == ["北", "南"] and chinese.words == (1, 1)
    assert difference("राजधानी नई है", "राजधानी नया है").words == (1, 1)
    assert difference("a", "a").pieces == (Piece("same", "a"),)
    assert difference("", "").pieces == ()


@pytest.mark.parametrize("table", [word_diff.TABLE, 4])
def test_the_pieces_spell_both_texts_whatever_they_are(monkeypatch, table):
    """With a small table the anchors do the work."""
    monkeypatch.setattr(word_diff, "TABLE", table)
    rng = random.Random(0)
    parts = ["one", "two ", "three", "\n", "\u202e", "\x00", "é", "<b>", " ", "four five six ", "中", "नि", "\u0301"]
    for _ in range(300):
        first, second = ("".join(rng.choices(parts, k=rng.randrange(30))) for _ in range(2))
        found = difference(first, second)
        assert (_spelt(found, "added"), _spelt(found, "removed")) == (first, second)
        kinds = [piece.kind for piece in found.pieces]
        assert all(kind != following for kind, following in itertools.pairwise(kinds))


def test_scattered_changes_in_a_long_text_are_found_by_anchors():
    words = [f"word{at}" for at in range(8000)]
    changed = list(words)
    for at in (10, 4000, 7990):
        changed[at] = "other"
    found = difference(" ".join(words), " ".join(changed))
    assert found.words == (3, 3)
    assert [piece.text for piece in found.pieces if piece.kind == "removed"] == ["word10", "word4000", "word7990"]


def test_texts_without_anchors_and_endless_texts_are_given_as_a_whole(monkeypatch):
    calls = []
    real = word_diff.SequenceMatcher
    count = lambda none, a, b, **more: calls.append(len(a) * len(b)) or real(none, a, b, **more)  # noqa: E731
    monkeypatch.setattr(word_diff, "SequenceMatcher", count)
    found = difference("a b " * 5000 + "x", "b a " * 5000 + "y")
    assert _spelt(found, "added") == "a b " * 5000 + "x"
    assert all(cells <= word_diff.TABLE for cells in calls)
    long = difference("x" * 10_000_000, "y" * 10_000_000)
    assert [piece.kind for piece in long.pieces] == ["removed", "added"]
    cut = difference("a " * 100, "a " * 50, most=60)
    assert cut.beyond == 140
