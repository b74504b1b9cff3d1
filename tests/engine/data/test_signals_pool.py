"""How responses end, and the signals of a whole pool together."""

import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.data.demo import demo_rows
from engine.data.signal_endings import CUT, OPEN, WHOLE, verdict
from engine.data.signals import Signals, compute_signals

WHOLE_ENDINGS = [
    "",
    "Yes",
    "42",
    "(D)",
    "False",
    "New York",
    "#### 18",
    "$1,200",
    "la maison",
    "The Old Man And The Sea",
    "apple banana cherry",
    "a, b, of, a",
    "It is done.",
    "Is it?",
    'He said "no."',
    "- milk\n- eggs\n- bread",
    "1. Mix\n2. Bake",
    "] ) }",
    "Total: 12 - 5 = 7",
    "See https://example.com/docs/",
    "```python\nprint(1)\n```",
    "def f(x):\n    return x + 1",
    "for (int i = 0; i < n; i++) {\n    sum += i;\n}",
    "const url = `http://x/${port}`;\nfetch(url);",
    "print('(')",
    "SELECT name FROM people WHERE age > 3",
    "x = [1, 2]  # a (comment",
    "| Year | Sales |\n|---|---|\n| 2020 | 15 |",
    "The answer is **42**",
    "f(x) = |x|",
    "Her language is C++",
    "Sorry to hear that :(",
    "It lies in the interval (0, 1]",
    "Leonardo da Vinci",
    "12 apples",
    "The sun goes down\nThe moon comes up\nAnd all is still",
    "from math import *",
    "find . -name '*.log' -exec rm {} +",
    ") } >",
    "<html>\n<body>\n<p>Hello</p>\n</body>\n</html>",
    "首都是北京",
]
CUT_ENDINGS = [
    "We take 5 away from 9: 9 - 5 =",
    "First we add the",
    "The reasons are cost, time,",
    "It is one of the best (and",
    "```python\ndef f(x):\n    return",
    "def f(x):",
    "def f(x):\n    return [n for n in (x",
    "int main() {\n    int a = 1;",
    "She went to the market and",
    "The capital is -",
    "| Year | Sales |\n|---|---|\n| 2020 | 15 |\n| 2021 |",
    "1. **Plan.** Write it down.\n2. **Sleep",
    "Here is a short summary of the article:",
    "第一，提高效率；第二，",
    "total = price *",
    "SELECT id\nFROM users\nWHERE",
    "<html>\n<body>\n<p>Hello</p>\n<p>This is",
]
OPEN_ENDINGS = [
    "The answer is twel",
    "Tom has 3 apples. He buys 4 mo",
    "Ana lives in Lis",
    "The sum is 12.\nTogether",
    "9 days ago it was Mon",
    "Walter is",
    "The concer",
    "首先，我们需要计算总数。然后，我们可以用这个结",
]


@pytest.mark.parametrize("response", WHOLE_ENDINGS)
def test_whole_endings(response: str) -> None:
    assert verdict(response) == WHOLE


@pytest.mark.parametrize("response", CUT_ENDINGS)
def test_cut_endings(response: str) -> None:
    assert verdict(response) == CUT


@pytest.mark.parametrize("response", OPEN_ENDINGS)
def test_open_endings(response: str) -> None:
    assert verdict(response) == OPEN


@given(st.text(max_size=200))
def test_every_text_has_a_verdict(response: str) -> None:
    assert verdict(response) in (WHOLE, CUT, OPEN)
    assert verdict(response + " \n") == verdict(response)


def test_open_prose_is_cut_only_beside_a_pool_that_ends_its_sentences() -> None:
    stopped = ("Go on", "The answer is twel")
    tidy = [(f"Ask {n}", f"The answer is number {n}.") for n in range(50)]
    loose = [(f"Ask {n}", "The answer is twel and more words follow") for n in range(50)]
    assert compute_signals([*tidy, stopped], {}).looks_truncated.tolist() == [False] * 50 + [True]
    assert not compute_signals([*loose, stopped], {}).looks_truncated.any()


def signals_of(seed: int, chunk: int) -> Signals:
    rng = random.Random(seed)
    words = [f"w{n}" for n in range(80)]
    pool = [
        (" ".join(rng.choices(words, k=rng.randint(0, 20))), rng.choice(CUT_ENDINGS + WHOLE_ENDINGS)) for _ in range(90)
    ]
    return compute_signals(iter(pool), {"one": pool[:5], "two": pool[40:44]}, chunk=chunk)


@pytest.mark.parametrize("chunk", [1, 13])
def test_chunking_changes_nothing(chunk: int) -> None:
    whole, parts = signals_of(1, 1000), signals_of(1, chunk)
    assert whole.columns == parts.columns and whole.arrays.keys() == parts.arrays.keys() and not whole.notes
    for name, values in whole.arrays.items():
        np.testing.assert_array_equal(values, parts.arrays[name], err_msg=name)


def test_columns_have_the_agreed_types() -> None:
    signals = signals_of(2, 40)
    kinds = {"near_duplicate_of": np.int64, "leak": np.float32, "leak_target": np.int64, "looks_truncated": np.bool_}
    for name, kind in {**kinds, "words": np.int32}.items():
        assert (signals.arrays[name].dtype, len(getattr(signals, name))) == (np.dtype(kind), 90), name
    expected = {"number": np.dtype(np.float32), "category": np.dtype(np.int32), "flag": np.dtype(bool)}
    for column in signals.columns:
        stored = signals.arrays[column.array]
        assert len(stored) == 90, column.name
        assert stored.dtype == expected[column.kind] or (column.kind == "flag" and column.threshold is not None)


def test_an_empty_pool_has_empty_signals() -> None:
    signals = compute_signals([], {"t": [("a prompt", "an answer")]})
    assert all(len(values) == 0 for values in signals.arrays.values())


def test_items_are_numbered_through_the_sets_in_order() -> None:
    first = [("The first set holds this one sentence about seven grey geese flying south.", "Yes.")]
    second = [("The second set speaks of a wooden boat that crossed the wide lake at night.", "No.")]
    pool = [*second, *first, *[(f"Filler row number {n}.", "Fine.") for n in range(20)]]
    assert compute_signals(pool, {"b": first, "a": second}).leak_target[:2].tolist() == [1, 0]


def test_words_count_words_and_marks() -> None:
    assert compute_signals([("Hello, you!", "Yes."), ("", "")], {}).words.tolist() == [6, 0]


@pytest.mark.parametrize("seed", [0, 3])
def test_the_demo_faults_are_found(seed: int) -> None:
    """Floors below what is measured; the labels are read here only, to judge."""
    demo = demo_rows(seed=seed)
    pairs = {name: [pair(row) for row in rows] for name, rows in {"": demo.pool, **demo.targets}.items()}
    signals = compute_signals(pairs.pop(""), pairs)
    kinds = {label["id"]: label["fault"] for label in demo.labels}
    kind = np.array([kinds.get(row["id"], "") for row in demo.pool])
    flags = {
        "duplicate": signals.near_duplicate_of >= 0,
        "leak": signals.leak >= 0.5,
        "truncated": signals.looks_truncated,
    }
    for name, floor in {"duplicate": 0.85, "leak": 0.95, "truncated": 0.9}.items():
        true = (flags[name] & (kind == name)).sum()
        assert true / (kind == name).sum() >= floor
        assert true / flags[name].sum() >= 0.85


def pair(row: dict) -> tuple[str, str]:
    contents = [message["content"] for message in row["messages"]]
    return "\n\n".join(contents[:-1]), contents[-1]
