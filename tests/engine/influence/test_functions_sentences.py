"""DELIFT (SE) against cosines written out; what is encoded, and how often."""

from collections.abc import Sequence

import numpy as np
import pytest

from engine.gradients.sentence_features import SentenceFeatures
from engine.influence.functions.base import InfluenceFunction, Passes, unit_rows
from engine.influence.functions.sentences import NO_TEXT, SentenceSimilarity
from engine.progress import Silent

POOL = [("a", "one"), ("b", "two words"), (" ", "\n"), ("zero", "zero"), ("e", "")]
ITEMS = [("x", "three"), ("", ""), ("y", "four more words")]


class Letters:
    """Counts of the letters a to z; a text of "zero" has none that it knows."""

    dim = 26
    name = "letters"

    def __init__(self) -> None:
        self.seen: list[str] = []

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        self.seen += texts
        return np.array(
            [[0 if "zero" in t else t.count(chr(97 + k)) for k in range(26)] for t in texts], np.float32
        ).reshape(len(texts), 26)


def make() -> tuple[SentenceSimilarity, Letters]:
    encoder = Letters()
    function = SentenceSimilarity(
        SentenceFeatures(encoder), lambda rows: [POOL[i] for i in rows], lambda rows: [ITEMS[i] for i in rows], 3
    )
    return function, encoder


def cosine(first: tuple[str, str], second: tuple[str, str]) -> float:
    a, b = (Letters().encode([f"{prompt} {response}"])[0].astype(np.float64) for prompt, response in (first, second))
    return float(a @ b) / np.sqrt(float(a @ a) * float(b @ b))


def test_against_cosines_written_out():
    function, _ = make()
    made: InfluenceFunction = function
    found = made(np.arange(5))
    assert found.matrix.dtype == np.float32
    expected = np.full((5, 3), np.nan)
    for i in (0, 1, 4):
        for j in (0, 2):
            expected[i, j] = cosine(POOL[i], ITEMS[j])
    np.testing.assert_allclose(found.matrix, expected, rtol=1e-5, atol=1e-7)
    assert found.problems == {2: NO_TEXT, 3: NO_TEXT}
    assert found.item_problems == {1: NO_TEXT}
    assert not function.pointwise


@pytest.mark.parametrize(("rows", "items"), [([4, 0, 0], [2]), ([1], [2, 0, 2]), ([2], [1]), ([], [0]), ([0], [])])
def test_any_rows_and_items_in_any_order(rows, items):
    whole = make()[0](np.arange(5))
    found = make()[0](np.array(rows, np.int64), np.array(items, np.int64))
    np.testing.assert_allclose(found.matrix, whole.matrix[np.ix_(rows, items)], rtol=1e-6)
    assert set(found.problems) == {2, 3} & set(rows)
    assert set(found.item_problems) == {1} & set(items)


def test_items_are_encoded_once_and_no_model_is_run():
    function, encoder = make()
    function(np.array([0, 1]))
    function(np.array([4]), np.array([2]))
    assert function.encoded == 3 + 2 + 1
    assert encoder.seen.count("x three") == 1
    assert function.passes == Passes()
    assert not function.passes.equivalents


def test_rows_are_counted():
    done: list[int] = []

    class Listener(Silent):
        def advance(self, n: int) -> None:
            done.append(n)

    make()[0](np.arange(5), reporter=Listener())
    assert sum(done) == 5


def test_unit_rows():
    values = np.array([[3, 4], [0, 0], [np.nan, 1], [1e-3, 0]], np.float32)
    found = unit_rows(values)
    np.testing.assert_allclose(found[[0, 3]], [[0.6, 0.8], [1, 0]])
    assert np.isnan(found[1:3]).all()
    assert found.dtype == np.float32
    assert unit_rows(values[:0]).shape == (0, 2)
