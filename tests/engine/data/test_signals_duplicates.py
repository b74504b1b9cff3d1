"""Near duplicates, and what they repeat, against a brute-force oracle over all pairs."""

import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.data.copy_kinds import KINDS, kinds_of
from engine.data.near_duplicates import NearDuplicates, jaccard, shingles_of
from engine.data.signal_words import Words, beside, words_of

VOCABULARY = [f"word{n}" for n in range(300)]


def brute_shingles(text: str) -> set[tuple[int, ...]]:
    words = words_of([text]).ids.tolist()
    if not words:
        return set()
    return {tuple(words[at : at + 3]) for at in range(max(1, len(words) - 2))}


def brute(texts: list[str], threshold: float) -> list[int]:
    """The earliest similar row of each row, followed to the first of its group."""
    sets = [brute_shingles(text) for text in texts]
    found: list[int] = []
    for row, shingles in enumerate(sets):
        near = (
            before
            for before in range(row)
            if shingles and sets[before] and len(shingles & sets[before]) / len(shingles | sets[before]) >= threshold
        )
        before = next(near, -1)
        found.append(found[before] if before >= 0 and found[before] >= 0 else before)
    return found


def found_in(texts: list[str], *, chunk: int = 1000, threshold: float = 0.8) -> list[int]:
    with NearDuplicates(threshold=threshold) as duplicates:
        for start in range(0, len(texts), chunk):
            duplicates.add(words_of(texts[start : start + chunk]))
        return duplicates.finish().tolist()


def pool(seed: int, rows: int = 250) -> list[str]:
    """Random texts, a third of them edited copies of earlier ones (0 to 3 words changed)."""
    rng = random.Random(seed)
    texts: list[list[str]] = []
    for _ in range(rows):
        if texts and rng.random() < 0.35:
            words = list(rng.choice(texts))
            for _ in range(rng.randint(0, 3)):
                words[rng.randrange(len(words))] = rng.choice(VOCABULARY)
        else:
            words = rng.choices(VOCABULARY, k=rng.randint(1, 60))
        texts.append(words)
    return [" ".join(words) for words in texts]


@pytest.mark.parametrize("seed", range(4))
def test_same_as_brute_force(seed: int) -> None:
    texts = pool(seed)
    expected = brute(texts, 0.8)
    assert found_in(texts) == expected
    assert sum(row >= 0 for row in expected) > 30


@pytest.mark.parametrize("threshold", [0.7, 0.9, 1.0])
def test_other_thresholds_follow_the_oracle(threshold: float) -> None:
    texts = pool(9)
    assert found_in(texts, threshold=threshold) == brute(texts, threshold)


def test_chunks_do_not_matter() -> None:
    texts = pool(5)
    assert found_in(texts, chunk=7) == found_in(texts, chunk=250) == found_in(texts, chunk=1)


def test_a_template_that_fills_a_bucket_hides_no_exact_copy() -> None:
    """A thousand rows of one long template with one changing word, and copies among them."""
    rng = random.Random(1)
    frame = " ".join(rng.choices(VOCABULARY, k=12))
    texts = [f"{frame} slot{n} {frame[:20]} other{n * 7} end{n}" for n in range(600)]
    copies = [3, 250, 599]
    found = found_in([*texts, *(texts[at] for at in copies)], threshold=0.95)
    assert found[600:] == copies
    assert set(found[:600]) == {-1}


def chunks(pairs: list[tuple[str, str]], size: int) -> tuple[list[Words], list[Words]]:
    """The words of prompt and response together, and of responses, in chunks of a size."""
    cut = [pairs[at : at + size] for at in range(0, len(pairs), size)]
    own = [words_of([response for _, response in part]) for part in cut]
    return [beside(words_of([prompt for prompt, _ in part]), mine) for part, mine in zip(cut, own)], own


def brute_kinds(pairs: list[tuple[str, str]], groups: list[int]) -> tuple[list[str], list[int]]:
    """Kind and repeated sample of each row, by the rule of `brute` over the texts of each group."""
    said, sample = ["nothing"] * len(pairs), [-1] * len(pairs)
    for first in sorted({group for group in groups if group >= 0}):
        rows = [first, *(row for row, group in enumerate(groups) if group == first)]
        labels = []
        for part in (0, 1):
            texts = [pairs[row][part] for row in rows]
            found = [before if before >= 0 else at for at, before in enumerate(brute(texts, 0.8))]
            empty = [at for at, text in enumerate(texts) if not text]
            labels.append([empty[0] if not texts[at] else label for at, label in enumerate(found)])
        for at, row in enumerate(rows[1:], start=1):
            asked, answered = ([labels[part][at] == labels[part][b] for b in range(at)] for part in (0, 1))
            both = any(one and two for one, two in zip(asked, answered))
            said[row] = KINDS[1 if both else 2 if any(asked) else 3 if any(answered) else 4]
            sample[row] = rows[labels[1][at]] if any(answered) else -1
    return said, sample


def test_what_is_repeated_is_same_as_brute_force() -> None:
    rng = random.Random(3)
    prompts, answers = [*pool(6, 60), ""], [*pool(7, 60), "", "yes", "no"]
    pairs = [(rng.choice(prompts[-9:]), rng.choice(answers[-9:])) for _ in range(150)]
    pairs += [(prompt, rng.choice(answers[:20])) for prompt in prompts]
    whole = chunks(pairs, 1000)[0]
    with NearDuplicates() as duplicates:
        duplicates.add(whole[0])
        groups = duplicates.finish()
    said, sample = brute_kinds(pairs, groups.tolist())
    for size in (1000, 17):
        kinds, found = kinds_of(groups, *chunks(pairs, size))
        assert [KINDS[kind] for kind in kinds] == said and found.tolist() == sample
    assert {said.count(kind) > 3 for kind in KINDS[:4]} == {True}


def test_a_shared_instruction_makes_no_repeated_sample() -> None:
    long = "Read the following rules with care and then say in one word whether the sentence keeps to all of them. " * 3
    pairs = [(f"{long} A.", "Yes."), (f"{long} A.", "No."), (f"{long} B.", "Yes."), (f"{long} A.", "Perhaps.")]
    whole, own = chunks(pairs, 9)
    kinds, sample = kinds_of(np.array([-1, 0, 0, 0]), whole, own)
    assert [KINDS[kind] for kind in kinds] == ["nothing", "prompt only", "prompt and response", "prompt only"]
    assert sample.tolist() == [-1, -1, 0, -1]
    nothing = kinds_of(np.full(4, -1), whole, own)
    assert not nothing[0].any() and (nothing[1] == -1).all()


def test_case_and_space_do_not_matter_but_words_do() -> None:
    texts = ["The cat sat on the mat.", "the  CAT sat\non the mat .", "The dog sat by the door."]
    assert found_in(texts) == [-1, 0, -1]


def test_empty_rows_are_no_copies_of_each_other() -> None:
    assert found_in(["", "  ", "", "a b", "a b"]) == [-1, -1, -1, -1, 3]
    assert found_in([]) == []


def test_short_rows_are_compared_whole() -> None:
    assert found_in(["yes", "no", "yes", "yes please", "yes"]) == [-1, -1, 0, -1, 0]


@given(st.lists(st.text("ab c.", max_size=30), min_size=1, max_size=12))
def test_reported_pairs_are_always_true(texts: list[str]) -> None:
    sets = [brute_shingles(text) for text in texts]
    for row, before in enumerate(found_in(texts, threshold=1.0)):
        assert before < row
        if before >= 0:
            assert sets[row] == sets[before]


def test_jaccard_of_pairs_is_that_of_sets() -> None:
    texts = pool(2, rows=40)
    shingles = shingles_of(words_of(texts))
    stored = (shingles.hashes >> np.uint64(32)).astype(np.uint32)
    offsets = np.concatenate([[0], np.cumsum(shingles.counts(len(texts)))])
    left, right = np.triu_indices(len(texts), 1)
    sets = [brute_shingles(text) for text in texts]
    expected = [len(sets[i] & sets[j]) / len(sets[i] | sets[j]) for i, j in zip(left, right)]
    np.testing.assert_allclose(jaccard(stored, offsets, left, right), expected)
