"""Leaks against a direct evaluation of the formula, and the cases it exists for."""

import math
import random
import unicodedata
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.data import contamination
from engine.data.contamination import Contamination, gram_sizes, joined
from engine.data.passages import shared_passages
from engine.data.signal_words import words_of
from engine.data.word_forms import words_at, words_in

VOCABULARY = [f"word{n}" for n in range(120)]
Pair = tuple[str, str]


def grams(text: str, n: int) -> list[tuple[int, ...]]:
    words = words_of([text]).ids.tolist()
    return [tuple(words[at : at + n]) for at in range(len(words) - n + 1)]


def brute(pool: list[Pair], items: list[Pair]) -> tuple[list[float], list[int]]:
    """The formula of the module, pair by pair."""
    count = len(pool)
    rows = [joined(*pair) for pair in pool]
    units = [(at, joined(*item)) for at, item in enumerate(items)]
    units += [(at, item[0]) for at, item in enumerate(items) if len(words_of([item[0]]).ids) >= 8]
    sizes = [int(gram_sizes(np.array([len(words_of([text]).ids)]))[0]) for _, text in units]
    known = {n: {g for (_, text), size in zip(units, sizes) if size == n for g in grams(text, n)} for n in set(sizes)}
    seen = {n: Counter(g for row in rows for g in set(grams(row, n))) for n in set(sizes) if n}

    def weight(gram: tuple[int, ...], n: int) -> float:
        return (math.log1p(count / max(seen[n][gram], 1)) / math.log1p(count)) ** 3

    best, target = [0.0] * count, [-1] * count
    for row, text in enumerate(rows):
        for (item, unit), n in zip(units, sizes):
            if n == 0:
                continue
            of_unit, of_row = set(grams(unit, n)), set(grams(text, n))
            shared = sum(weight(g, n) for g in of_unit & of_row)
            if shared == 0:
                continue
            contained = shared / sum(weight(g, n) for g in of_unit)
            if len(words_of([text]).ids) >= 8:
                others = sum(g not in known[n] for g in grams(text, n))
                contained = max(contained, shared / (sum(weight(g, n) for g in of_row & known[n]) + others))
            value = contained * min(1.0, shared / 2)
            if value > best[row] + 1e-9:
                best[row], target[row] = value, item
    return best, target


def leaks(pool: list[Pair], items: list[Pair], *, chunk: int = 1000) -> contamination.Leaks:
    detector = Contamination(items)
    for start in range(0, len(pool), chunk):
        detector.add(words_of([joined(*pair) for pair in pool[start : start + chunk]]))
    return detector.finish()


def text(rng: random.Random, low: int, high: int) -> str:
    return " ".join(rng.choices(VOCABULARY, k=rng.randint(low, high)))


def mixture(seed: int) -> tuple[list[Pair], list[Pair]]:
    """Random pairs; some rows hold an item, a piece of one or a piece in new surroundings."""
    rng = random.Random(seed)
    items = [(text(rng, 1, 60), text(rng, 1, 15)) for _ in range(12)]
    pool: list[Pair] = []
    for _ in range(60):
        prompt, response = text(rng, 1, 50), text(rng, 1, 20)
        words = rng.choice(items)[0].split()
        cut = words[rng.randrange(len(words)) :]
        kind = rng.randrange(4)
        if kind == 0:
            prompt = f"{prompt} {' '.join(cut)}"
        elif kind == 1:
            prompt, response = rng.choice(items)
        elif kind == 2:
            prompt, response = " ".join(cut), ""
        pool.append((prompt, response))
    return pool, items


@pytest.mark.parametrize("seed", range(5))
def test_same_as_the_formula(seed: int) -> None:
    pool, items = mixture(seed)
    expected, targets = brute(pool, items)
    found = leaks(pool, items)
    np.testing.assert_allclose(found.leak, expected, atol=1e-5)
    assert (np.array(expected) > 0.9).sum() > 5
    clear = np.array(expected) > 0.5
    assert (found.target[clear] == np.array(targets)[clear]).mean() > 0.9  # equal values may name another item


def test_chunks_do_not_matter() -> None:
    pool, items = mixture(7)
    one, many = leaks(pool, items), leaks(pool, items, chunk=3)
    np.testing.assert_array_equal(one.leak, many.leak)
    np.testing.assert_array_equal(one.target, many.target)


def test_an_item_copied_or_wrapped_is_a_leak_and_a_stranger_is_none() -> None:
    item = ("Anna has twelve red apples and gives five of them to her brother Paul. How many are left?", "Seven.")
    strangers = [(f"Tell me about topic {n} in a few words, please.", f"Topic {n} is fine.") for n in range(50)]
    pool = [item, (f"Solve this for me: {item[0]} Thanks in advance!", "I think it is 7."), *strangers]
    found = leaks(pool, [("Something else entirely about ships and sails", "Yes."), item])
    assert found.leak[0] == pytest.approx(1.0)
    assert found.leak[1] > 0.9
    assert found.target[:2].tolist() == [1, 1]
    assert found.leak[2:].max() == 0.0
    assert set(found.target[2:].tolist()) == {-1}


def test_a_template_that_many_rows_share_is_no_leak() -> None:
    """The frame is long and the item's own words are few: nothing but the item itself may stand out."""
    frame = "Read the following passage carefully and answer the question with one word only. The passage: {} and {}."
    rng = random.Random(3)
    names = [(f"left{n}", f"right{n}") for n in range(400)]
    pool = [(frame.format(*name), rng.choice(("yes", "no"))) for name in names]
    found = leaks(pool, [(frame.format("leftX", "rightX"), "yes"), (frame.format(*names[17]), pool[17][1])])
    assert found.leak[17] > 0.9
    assert np.delete(found.leak, 17).max() < 0.3


def test_a_leak_repeated_many_times_stays_a_leak() -> None:
    item = ("The quick brown fox jumps over the lazy dog while nine old owls watch from the barn roof", "It does.")
    pool = [item] * 10 + [(f"Question number {n} about nothing at all", "Fine.") for n in range(300)]
    assert leaks(pool, [item]).leak[:10].min() == pytest.approx(1.0)


def test_too_short_to_judge_is_not_judged() -> None:
    assert leaks([("yes", "no"), ("yes", "no")], [("yes", "no")]).leak.tolist() == [0.0, 0.0]


def test_without_targets_or_rows_there_is_nothing() -> None:
    found = leaks([("some prompt of words", "and a response")], [])
    assert (found.leak.tolist(), found.target.tolist()) == ([0.0], [-1])
    assert leaks([], [("some prompt of words", "and a response")]).leak.shape == (0,)


def test_common_grams_count_for_nothing_and_chunks_still_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contamination, "COMMON", 20)
    frame = "one two three four five six seven eight nine ten"
    pool = [(f"{frame} tail{n}", "") for n in range(60)]
    items = [(frame, "")]
    one, many = leaks(pool, items), leaks(pool, items, chunk=7)
    assert one.leak.max() == 0.0
    np.testing.assert_array_equal(one.leak, many.leak)


def test_gram_length_follows_the_ladder() -> None:
    assert gram_sizes(np.array([0, 2, 3, 14, 15, 24, 39, 400])).tolist() == [0, 0, 3, 3, 5, 8, 13, 13]


ENGLISH = "“Don’t stop,” she said — and the old café’s nine clocks struck twelve… all at once!"
CHINESE = "小明有十二个红苹果，他给了弟弟五个。请问小明现在还剩下多少个苹果？"
THAI = "แม่น้ำสายใดไหลผ่านกรุงเทพมหานครและออกสู่อ่าวไทย"
TYPED = (
    (ENGLISH, ENGLISH.translate(str.maketrans("“”’—", '""\'-')).replace("…", "...").upper()),
    (ENGLISH, unicodedata.normalize("NFD", ENGLISH).replace(" ", "\u00a0\n")),
    (ENGLISH, ENGLISH.replace("clocks", "clo\u200bcks\u00ad").replace("nine", "ｎｉｎｅ")),
    (CHINESE, CHINESE.replace("，", ",").replace("？", "?")),
    (THAI, THAI),
)


@pytest.mark.parametrize(("item", "typed"), TYPED)
def test_another_spelling_of_an_item_is_a_leak_and_marked_to_the_letter(item: str, typed: str) -> None:
    """Quotes, dashes, composed letters, hidden signs and scripts without spaces: what a copy may differ in."""
    strangers = [(f"Tell me about topic {n} in a few words, please.", "好的，没有问题。") for n in range(50)]
    found = leaks([(f"读一读：{typed}", "ok"), *strangers], [(item, "")])
    assert found.leak[0] > 0.9 and found.leak[1:].max() == 0.0
    before = "见 “é…” ﬁ: "
    sample = f"{before}{typed} 完"
    assert [sample[a:b] for a, b in shared_passages(sample, item).sample] == [typed]


ODD = "aB1 \n,'-_´¨½ﬁİßΣς…—’中か한เมืदी\u0301\u3099\u1161\u11ab\u200b\ufe0f\u00a0\u2028\x1c😀ﷺ"


@settings(max_examples=150, deadline=None)
@given(st.text(alphabet=ODD, max_size=30))
def test_words_and_their_places_are_the_same_words(text: str) -> None:
    placed = list(words_at(text))
    assert [word.encode() for word, _, _ in placed] == words_in(text)
    assert all(word.encode() in words_in(text[a:b]) for word, a, b in placed)
