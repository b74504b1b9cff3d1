"""The index of words: it answers as reading every text does, whatever is written and asked, in segments of any size."""

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.curation import search_index, search_text, texts
from engine.curation.search_candidates import admitted, sift
from engine.curation.search_index import Index
from engine.curation.search_literals import required
from engine.curation.search_text import _test
from engine.curation.search_words import Term, TextQuery
from engine.errors import Cancelled, EngineError
from engine.progress import Silent

PIECES = [
    "a", "ab", "abc", "b", "1", "_", "e\u0301", "é", "ß", "SS", "İ", "ﬁ", "²", "𝒜", "京", "北", "ガ", "ー", "ไ", "ท",
    "\u0301", "-", "+", "'", "“", "\u200b", "\n", " ", " ", "\u3000", "🎉", "\x00", "\x01", "ÿ",
    "x" * 63, "x" * 64, "x" * 65, "é" * 40,
]  # fmt: skip
TEXT = st.lists(st.sampled_from(PIECES), max_size=9).map("".join)
TURNS = st.lists(TEXT, max_size=3)
QUERY = st.tuples(st.lists(st.sampled_from([*PIECES, "*", " -", '"']), min_size=1, max_size=5).map("".join),
                  st.sampled_from(["words", "phrase"]))  # fmt: skip
COLUMNS = ("prompt-folded", "response-folded")


def made(folder: Path, rows: Sequence[tuple[str, str]], batch: int) -> Index:
    blocks = [rows[at : at + batch] for at in range(0, len(rows), batch)]
    batches = [{n: pa.array(list(c), pa.large_string()) for n, c in zip(COLUMNS, zip(*b, strict=True), strict=True)}
               for b in blocks]  # fmt: skip
    search_index.write(folder, COLUMNS, batches, Silent())
    return Index(folder)


def answered(
    index: Index, rows: Sequence[tuple[str, str]], columns: Sequence[str], terms: Sequence[Term]
) -> list[bool]:
    """By the index, reading what it leaves open; what it calls certain is never read."""
    found: list[bool] = []
    for at, (first, end) in enumerate(zip(index.segments[:-1, 0], index.segments[1:, 0], strict=True)):
        passing, doubtful, undecided = sift(terms, [index.column(name).segment(at) for name in columns])
        read = _test(undecided)(arrays(rows[first:end], columns)) if undecided else passing
        found += np.where(doubtful, read, passing).tolist()
    return found


def arrays(rows: Sequence[tuple[str, str]], columns: Sequence[str]) -> dict[str, pa.Array]:
    return {name: pa.array([row[COLUMNS.index(name)] for row in rows], pa.large_string()) for name in columns}


def spelt_out(terms: Sequence[Term], columns: dict[str, pa.Array]) -> list[bool]:
    """The oracle: the pattern of every term, with the borders of words of all scripts, on every text."""
    has = [np.any([pc.match_substring_regex(c, term.pattern) for c in columns.values()], 0) for term in terms]
    return np.all([one ^ term.unwanted for one, term in zip(has, terms, strict=True)], 0).tolist()


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.tuples(TURNS, TURNS), min_size=1, max_size=24), st.lists(QUERY, min_size=4, max_size=8), st.data())
def test_the_index_and_the_texts_say_the_same(
    chats: list[tuple[list[str], list[str]]], queries: list[tuple[str, str]], data: st.DataObject
) -> None:
    rows = [(texts.folded(prompt), texts.folded(response)) for prompt, response in chats]
    columns = data.draw(st.sampled_from([COLUMNS, COLUMNS[:1], COLUMNS[1:]]))
    some = [turn for chat in chats for side in chat for turn in side if turn][:3]  # what is there is asked for as well
    with TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(search_index, "SEGMENT_ROWS", 10)
        patch.setattr(search_text, "FEW_BYTES", data.draw(st.sampled_from([0, search_text.FEW_BYTES])))
        index = made(Path(folder), rows, data.draw(st.integers(1, 9)))
        assert len(index.segments) - 1 >= len(rows) / 10 and index.batches[-1] == len(rows)
        for query, mode in [*queries, *((text, "phrase") for text in some), *((f"{t}*", "words") for t in some)]:
            try:
                terms = TextQuery.of(query, mode).terms
            except EngineError:
                continue  # nothing is left of it
            slow = spelt_out(terms, arrays(rows, columns))
            assert answered(index, rows, columns, terms) == slow, (query, mode, terms)
            assert _test(terms)(arrays(rows, columns)).tolist() == slow, (query, mode, terms)


def test_words_and_their_beginnings_need_no_text(tmp_path: Path) -> None:
    rows = [("red apple", "the sum"), ("summary", "c++ sums"), ("\u4eac", "the the")] * 700  # in lists and in bits
    index = made(tmp_path, [*rows, ("rare", "")], 512)
    segments = [index.column(name).segment(0) for name in COLUMNS]
    assert len(segments[0].lists) and len(segments[0].bits)
    counts = {"sum": 700, "sum*": 1400, "apple the": 700, "rare": 1, "sum* -the": 700, "none": 0, "京": 700}
    for query, count in counts.items():
        passing, doubtful, undecided = sift(TextQuery.of(query).terms, segments)
        assert passing.sum() == count and not doubtful.any() and not undecided, query
    passing, doubtful, _ = sift(TextQuery.of("c++").terms, segments)
    assert passing.sum() == 700 and (doubtful == passing).all()  # signs are read, where "c" is a word alone


LITERALS = ["abc", "abck", "ss", "ks", "a b", r"b\.", "-", " ", "c"]
OTHERS = [
    ".", r"\d", "[ab]", "[^]b]", "[]c]", r"[\]-]", r"\b", "^", "$", "é", "ſ", "\n", "(?i)", "{,2}", r"\x41", r"\Qa*\E",
    "[[:alpha:]]",
]  # fmt: skip
PATTERN = st.recursive(
    st.sampled_from([*LITERALS, *LITERALS, *OTHERS]),
    lambda inner: st.one_of(
        st.lists(inner, min_size=2, max_size=4).map("".join),
        st.lists(inner, min_size=1, max_size=3).map(lambda each: f"({'|'.join(each)})"),
        st.tuples(inner, st.sampled_from(["*", "+?", "?", "{0,2}", "{2}"])).map(lambda p: f"(?i:{p[0]}){p[1]}"),
        st.tuples(inner, st.sampled_from(["?", "*", "+", "{1,}", "|abc"])).map("".join),
    ),
    max_leaves=6,
)
PROSE = st.lists(
    st.sampled_from(["abc", "ABCk", "abcK", "ſs", "SS", "ß", "a", "b", "c", ".", "-", " ", "  ", "\n", "1", "é",
                     "\u0301", "京", "\u200b", "x" * 64, "A*", "]", "foo"]), max_size=7)  # fmt: skip


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(st.tuples(*2 * [st.lists(PROSE.map("".join), max_size=2)]), min_size=1, max_size=16),
    st.lists(PATTERN, min_size=6, max_size=12),
)
def test_no_text_that_an_expression_matches_is_left_out(
    chats: list[tuple[list[str], list[str]]], patterns: list[str]
) -> None:
    sides = [[texts.as_they_are(chat[side]) for chat in chats] for side in (0, 1)]
    with TemporaryDirectory() as folder:
        index = made(Path(folder), [(texts.folded(prompt), texts.folded(response)) for prompt, response in chats], 5)
        segments = [index.column(name).segment(0) for name in COLUMNS]
        for pattern in patterns:
            try:
                TextQuery.of(pattern, "regex")
            except EngineError:
                continue
            matches = np.any([pc.match_substring_regex(pa.array(side), pattern) for side in sides], 0)
            left_out = matches & ~admitted(required(pattern), segments)
            assert not left_out.any(), (pattern, required(pattern), np.array(chats, object)[left_out])


@pytest.mark.parametrize(
    ("pattern", "groups"),
    [
        (r"(?i)\d+ (apples|pears) a day", {("apples", "pears"), (" a day",)}),
        (r"\\frac\{a+b?c", {(r"\frac{a",), ("c",)}),
        (r"(?:one|tw(o|x))(?P<n>!){0}(\bthree)+", {("one", "tw"), ("three",)}),
        (r"foo|[a\]]\.|(bar)", {("foo", ".", "bar")}),
        (r"foo|[a-z]*|bar", set()),  # one alternative without a literal
        ("[^]a]foo", set()), ("[[:alpha:]]foo", set()), (r"\Qfo.o\E", set()), (r"foo\pL", set()),
        ("(" * 60 + "foo" + ")" * 60, set()),
        ("a{,5}über\nb", {("a",), (",5",), ("ber",)}),
    ],
)  # fmt: skip
def test_what_an_expression_requires(pattern: str, groups: set[tuple[str, ...]]) -> None:
    assert set(required(pattern)) == groups


def test_few_texts_are_left_to_an_expression_and_cut_words_are_among_them(tmp_path: Path) -> None:
    cut = "x" * 70 + "guage"  # the index has only its beginning
    rows = [("metalanguage models", ""), ("language", "model"), ("", "language  MODEL"), ("京language", ""), (cut, "")]
    index = made(tmp_path, [(texts.folded([a]), texts.folded([b])) for a, b in rows * 9], 8)
    segments = [index.column(name).segment(0) for name in COLUMNS]
    expected = {"language model": [0, 2], "(?i)GUAGE": [0, 1, 2, 3, 4], "odel$": [0, 1, 2, 4], "xxx(y|z)": [4]}
    for pattern, few in expected.items():
        assert np.flatnonzero(admitted(required(pattern), segments)[:5]).tolist() == few, pattern


class Stopped(Silent):
    def check(self) -> None:
        raise Cancelled("stopped")


def test_an_index_that_is_stopped_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(Cancelled):
        search_index.write(tmp_path, COLUMNS, [arrays([("a", "b")], COLUMNS)], Stopped())
    assert not (tmp_path / "segments.npy").exists()
