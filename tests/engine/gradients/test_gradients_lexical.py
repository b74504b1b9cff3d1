"""Lexical features against their definition, token by token; the same vector wherever a text is embedded."""

import math
import subprocess
import sys
import zlib
from collections import Counter
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from engine.errors import EngineError
from engine.gradients.lexical_features import BUCKETS, LONGEST, SURFACE, LexicalFeatures, Pair, _signs

PAIRS = [
    ("What is 12 + 7?", "12 + 7 = 19, so the answer is 19."),
    ("Write a loop.", "for i in range(3):\n    print(i)\n"),
    ("Übersetze: cat", "Die Katze schläft; 猫は寝ている。"),
    ("", "word"),
    ("only a prompt", ""),
    ("What is 12 + 7?", "the the the the answer"),
]
FEATURES = LexicalFeatures.fit(PAIRS, width=32)


def tokens(text: str) -> list[int]:
    """Hashes of words, single digits and single marks, read character by character."""
    found, word = [], ""
    for c in text[:LONGEST].lower() + " ":
        if c.isalpha():
            word += c
            continue
        found += [word] * bool(word)
        word = ""
        found += [c] * (c == "\n" or not c.isspace())
    return [zlib.crc32(each.encode()) for each in found]


def buckets(pair: Pair) -> list[list[int]]:
    prompt, response = tokens(pair[0]), tokens(pair[1])
    both = [(a * 1_000_003 + b) % BUCKETS for a, b in pairwise(response)]
    return [[t % BUCKETS for t in response], both, [t % BUCKETS for t in prompt]]


def by_hand(pair: Pair, *, pairs: list[Pair] = PAIRS, width: int = 32, seed: int = 0) -> np.ndarray:
    parts = []
    for part in range(3):
        rows = [set(buckets(each)[part]) for each in pairs]
        vector = np.zeros(BUCKETS)
        for bucket, count in Counter(buckets(pair)[part]).items():
            rarity = math.log((1 + len(pairs)) / (1 + sum(bucket in row for row in rows))) + 1
            vector[bucket] = (1 + math.log(count)) * rarity
        length = math.sqrt((vector**2).sum()) or 1.0
        bits = np.random.default_rng((seed, 23, part)).integers(0, 2, (BUCKETS, width), dtype=np.int8)
        parts.append((vector / length) @ np.where(bits, 1.0, -1.0) / math.sqrt(width))
    prompt, response = pair
    shares = [sum(test(c) for c in response) for test in (str.isalpha, str.isdigit, str.isspace, str.isupper)]
    shares += [sum(c in marks for c in response) for marks in (".,;:!?", "()[]{}<>")]
    n, lines = max(1, len(response)), response.count("\n") + 1
    parts.append([math.log(1 + len(prompt)), math.log(1 + len(response))])
    parts.append([*(s / n for s in shares), math.log(1 + lines), math.log(1 + n / lines) / 4])
    return np.concatenate(parts)


@pytest.mark.parametrize("row", range(len(PAIRS)))
def test_against_the_definition(row):
    found = FEATURES(PAIRS)
    assert found.shape == (len(PAIRS), FEATURES.dim)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found[row], by_hand(PAIRS[row]), rtol=1e-5, atol=1e-6)


def test_texts_of_other_words_than_those_it_was_made_for():
    pair = ("Unseen prompt", "zebra quagga okapi 4 4 4")
    np.testing.assert_allclose(FEATURES([pair])[0], by_hand(pair), rtol=1e-5, atol=1e-6)


def test_the_parts_add_up():
    assert FEATURES.parts == (32, 32, 32, 2, SURFACE)
    assert FEATURES.dim == sum(FEATURES.parts)
    assert str(FEATURES.dim) in FEATURES.notes[0]


def test_a_text_has_the_same_vector_in_any_company_and_order():
    whole = FEATURES(PAIRS)
    for order in ([3], [5, 0, 2], [2, 2, 2]):
        np.testing.assert_array_equal(FEATURES([PAIRS[k] for k in order]), whole[order])
    assert FEATURES([]).shape == (0, FEATURES.dim)


def test_the_same_vector_in_another_process():
    code = (
        "from engine.gradients.lexical_features import LexicalFeatures as F\n"
        f"pairs = {PAIRS!r}\n"
        "import sys; sys.stdout.buffer.write(F.fit(pairs, width=32)(pairs).tobytes())"
    )
    root = Path(__file__).resolve().parents[3]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, check=True)
    np.testing.assert_array_equal(np.frombuffer(done.stdout, np.float32).reshape(len(PAIRS), -1), FEATURES(PAIRS))


def test_seeds_and_widths_give_other_projections_of_the_same_inner_products():
    other = LexicalFeatures.fit(PAIRS, width=32, seed=1)(PAIRS)
    assert not np.array_equal(other[:, :96], FEATURES(PAIRS)[:, :96])
    np.testing.assert_array_equal(other[:, 96:], FEATURES(PAIRS)[:, 96:])
    wide = LexicalFeatures.fit(PAIRS, width=1024)(PAIRS)[:, :1024].astype(np.float64)
    exact = [dense_response(pair) for pair in PAIRS]
    for i, a in enumerate(exact):
        for j, b in enumerate(exact):
            assert wide[i] @ wide[j] == pytest.approx(a @ b, abs=0.15)


def dense_response(pair: Pair) -> np.ndarray:
    vector = np.zeros(BUCKETS)
    for bucket, count in Counter(buckets(pair)[0]).items():
        vector[bucket] = (1 + math.log(count)) * FEATURES.weights[0, bucket]
    return vector / (np.linalg.norm(vector) or 1)


def test_the_signs_are_signs():
    signs = _signs(16, 0, 1) * 4
    assert set(np.unique(signs)) == {-1.0, 1.0}
    assert abs(signs.mean()) < 0.01


def test_a_pair_without_a_visible_character_is_nan_alone():
    found = FEATURES([PAIRS[0], (" ", "\n\t"), ("", ""), PAIRS[1]])
    assert np.isnan(found[1:3]).all()
    np.testing.assert_array_equal(found[[0, 3]], FEATURES(PAIRS[:2]))


def test_case_and_what_lies_beyond_the_longest_do_not_matter_for_words():
    loud = ("WHAT IS 12 + 7?", "12 + 7 = 19, SO THE ANSWER IS 19.")
    np.testing.assert_array_equal(FEATURES([loud])[0, :96], FEATURES(PAIRS[:1])[0, :96])
    long = "a b " * (LONGEST // 4)
    first, second = FEATURES([("p", long), ("p", long + "zebra")])
    np.testing.assert_array_equal(first[:96], second[:96])
    assert first[97] != second[97]  # the length is told


def test_broken_and_strange_texts_have_finite_vectors():
    strange = [("\ud800", "\udfff x"), ("\x00", "\x00\x01"), ("a", "é" * 50_000), ("_", "____"), ("\u200b", "\u200b")]
    assert np.isfinite(FEATURES(strange)).all()


def test_the_prompt_and_the_response_are_told_apart():
    first, second = FEATURES([("red", "blue"), ("blue", "red")])
    assert not np.allclose(first[:32], second[:32])
    assert not np.allclose(first[64:96], second[64:96])


def test_nothing_to_make_it_of_is_refused():
    with pytest.raises(EngineError, match="at least one sample"):
        LexicalFeatures.fit([])
