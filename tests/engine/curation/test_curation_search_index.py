"""The index of words: it answers as reading every text does, whatever is written and asked, in segments of any size."""

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.curation import search_index, texts
from engine.curation.search_candidates import sift
from engine.curation.search_index import Index
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


@settings(max_examples=15, deadline=None)
@given(st.lists(st.tuples(TURNS, TURNS), min_size=1, max_size=24), st.lists(QUERY, min_size=4, max_size=8), st.data())
def test_the_index_and_the_texts_say_the_same(
    chats: list[tuple[list[str], list[str]]], queries: list[tuple[str, str]], data: st.DataObject
) -> None:
    rows = [(texts.folded(prompt), texts.folded(response)) for prompt, response in chats]
    columns = data.draw(st.sampled_from([COLUMNS, COLUMNS[:1], COLUMNS[1:]]))
    some = [turn for chat in chats for side in chat for turn in side if turn][:3]  # what is there is asked for as well
    with TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(search_index, "SEGMENT_ROWS", 10)
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


class Stopped(Silent):
    def check(self) -> None:
        raise Cancelled("stopped")


def test_an_index_that_is_stopped_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(Cancelled):
        search_index.write(tmp_path, COLUMNS, [arrays([("a", "b")], COLUMNS)], Stopped())
    assert not (tmp_path / "segments.npy").exists()
