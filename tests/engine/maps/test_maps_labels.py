"""Labels: they name what sets a cluster apart, differ from each other, and cope with anything as text."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.maps.labels import label_clusters, name, terms


def label(*groups: list[str]) -> list[str]:
    codes = np.concatenate([np.full(len(group), code, np.int32) for code, group in enumerate(groups)])
    return label_clusters(codes, [text for group in groups for text in group])


def test_terms_leave_out_stop_words_and_keep_code() -> None:
    found = terms("Please write a C++ function for the binary search in Python3, don't use C#.")
    assert {"c++", "function", "binary search", "python3", "c#"} <= found
    assert not found & {"please", "write", "the", "use", "don't", "a"}


def test_labels_name_what_sets_clusters_apart() -> None:
    labels = label(
        [f"Write a Python function to sort list number {i}" for i in range(20)],
        [f"What is the capital city of country {i}?" for i in range(20)],
        [f"How many apples has farmer {i} after selling apples? Solve the number problem." for i in range(20)],
    )
    assert "python" in labels[0] and "sort" in labels[0]
    assert "capital city" in labels[1]
    assert "apples" in labels[2]
    assert all(2 <= len(one.replace(",", "").split()) <= 4 for one in labels)


def test_one_repetitive_row_does_not_name_a_cluster() -> None:
    texts = [f"river bridge trout lake stone {i}" for i in range(30)] + ["spam " * 500]
    assert "spam" not in label(texts, ["market price trade"] * 20)[0]


def test_no_stem_stands_twice_in_a_label() -> None:
    first = label([f"number numbers numbered triangle {i}" for i in range(9)], ["river bank water"] * 9)[0]
    assert sum(word.startswith("number") for word in first.replace(",", " ").split()) == 1


def test_clusters_of_the_same_words_still_differ() -> None:
    labels = label(["the same words here"] * 6, ["the same words here"] * 6, ["the same words here"] * 6)
    assert len(set(labels)) == 3


def test_texts_without_words_are_unnamed_and_numbered() -> None:
    assert label(["12 + 30 = ?"] * 5, [""] * 5) == ["unnamed", "unnamed (2)"]


def test_other_scripts_have_labels_too() -> None:
    labels = label(["столица страны город"] * 5, ["größe straße häuser"] * 5)
    assert "столица" in labels[0] and "straße" in labels[1]


def test_noise_is_not_read_and_a_sample_is_enough() -> None:
    codes = np.array([-1] * 5 + [0] * 500, dtype=np.int32)
    asked: list[int] = []

    def fetch(rows: np.ndarray) -> list[str]:
        asked.extend(rows.tolist())
        return ["river bridge"] * len(rows)

    assert label_clusters(codes, fetch, rows_per_cluster=40) == ["river bridge"]
    assert len(asked) == 40 and min(asked) >= 5 and asked == sorted(asked)


def test_no_cluster_has_no_labels() -> None:
    assert label_clusters(np.full(3, -1, np.int32), ["a", "b", "c"]) == [] == name([])


@settings(max_examples=40, deadline=None)
@given(st.lists(st.text(max_size=60), min_size=1, max_size=12), st.integers(1, 4))
def test_any_text_gives_distinct_labels(texts: list[str], count: int) -> None:
    codes = (np.arange(len(texts)) % count).astype(np.int32)
    labels = label_clusters(codes, texts)
    assert len(labels) == len(set(labels)) == codes.max() + 1
    assert all(labels)
