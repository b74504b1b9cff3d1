"""Keyword search: against a loop over the rows, over growing pools, with texts and patterns nobody wishes for."""

import random
import re
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from engine.curation import texts
from engine.curation.search_marks import bracketed, excerpt, marked
from engine.curation.search_text import search
from engine.curation.search_words import TextQuery
from engine.data.samples import Message, Row, SourceInfo
from engine.errors import EngineError
from engine.store.project import Project

Chat = Sequence[tuple[str, str]]
Make = Callable[..., Project]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """A project of these chats; given a project, they are one more file of it."""

    def add(chats: Sequence[Chat], project: Project | None = None) -> Project:
        project = project or Project.create(tmp_path / "project")
        rows = [Row(i + 1, "{}", None, tuple(Message(*turn) for turn in chat), {}) for i, chat in enumerate(chats)]
        digest = f"{len(project.files()):064d}"
        project.add_rows("pool", "", SourceInfo("/data/a.jsonl", digest, 1, "jsonl", {"schema": "chat"}), rows)
        return project

    return add


def one(prompt: str, response: str) -> Chat:
    return [("user", prompt), ("assistant", response)]


def found(project: Project, query: str, mode: str = "words", where: str = "both") -> list[int]:
    return np.flatnonzero(search(project, TextQuery.of(query, mode), where=where)).tolist()


def test_words_phrases_and_expressions_agree_with_a_loop_over_the_rows(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(texts, "BATCH_ROWS", 7)  # many batches, so that their order counts
    rng = random.Random(0)
    words = ["sum", "sums", "Sum", "café", "a_b", "x2", "résumé", "ÉTÉ", "the", "then"]
    parts = [rng.choices([*words, ",", "-", "\n", "  "], k=8) for _ in range(240)]
    rows = [(" ".join(parts[2 * i]), " ".join(parts[2 * i + 1])) for i in range(120)]
    project = make([one(*row) for row in rows])

    def tokens(text: str) -> list[str]:
        return re.findall(r"\w+", text.casefold())

    for where, side in (("prompt", 0), ("response", 1)):
        for query in (["sum"], ["the", "café"], ["été"], ["a_b", "x2"]):
            slow = [i for i, row in enumerate(rows) if all(w in tokens(row[side]) for w in query)]
            assert found(project, " ".join(query).upper(), where=where) == slow
        slow = [i for i, row in enumerate(rows) if any(t.startswith("sum") for t in tokens(row[side]))]
        assert found(project, "sum*", where=where) == slow
        slow = [i for i, row in enumerate(rows) if re.search(r"\bsum\s+then\b", row[side].casefold())]
        assert found(project, "Sum  THEN", "phrase", where) == slow
        for pattern in (r"[Ss]ums?\s*,", r"(?i:THEN) (x2|the\b)", "é |a_b\n"):  # the second one by the index
            slow = [i for i, row in enumerate(rows) if re.search(pattern, row[side])]
            assert slow and found(project, pattern, "regex", where) == slow
    both = [set(tokens(prompt)) | set(tokens(response)) for prompt, response in rows]
    assert found(project, "sum x2 -then") == [
        i for i, t in enumerate(both) if {"sum", "x2"} <= t and "then" not in t
    ]  # each word in either text, the unwanted one in neither


def test_a_chat_is_found_in_all_its_turns_and_in_nothing_else(make: Make) -> None:
    turns = [("system", "Be brief."), ("user", "Name a river"), ("assistant", "The Elbe"), ("user", "Another"),
             ("assistant", "The Rhine")]  # fmt: skip
    project = make([turns, one("quiet", "assistant user system")])
    assert found(project, "brief another", where="prompt") == [0] and found(project, "elbe rhine") == [0]
    assert found(project, "elbe", where="prompt") == [] and found(project, "brief", where="response") == []
    assert found(project, "assistant") == [1]  # roles are not text
    assert found(project, "river another", "phrase") == []  # a phrase lies within one turn
    assert found(project, r"(?m)^The Rhine$", "regex") == [0]


def test_spelling_case_and_hidden_characters_do_not_hide_a_word(make: Make) -> None:
    samples = ["Die STRASSE", "Cafe\u0301 au lait", "he\u200bl\u00adlo", "the ﬁnal", "Don’t — stop", "我在北京住",
               "nul\x00byte", "zu\u202eper", "C++ and x=2", "línea\u00a0nueva", "ＡＢＣ", "🎉zap!",
               "ézap! zap", "🎉do-ing", "x+up🎉"]  # fmt: skip
    project = make([one(text, "-") for text in samples])
    queries = ["straße", "café", "hello", "final", "don't", "北京", "byte", "zuper", "c++ x=2", "línea", "abc", "zap!",
               "ézap!", "do-i*", "+up"]  # fmt: skip
    for row, query in enumerate(queries):
        assert found(project, query) == [row], query
        assert any(is_found for _, is_found in marked(samples[row], TextQuery.of(query)))
    assert found(project, "cafe") == [] and found(project, "c") == [8]
    assert found(project, "línea nueva", "phrase") == [9] and found(project, "don't - stop", "phrase") == [4]


def test_a_pool_that_grows_is_searched_whole_and_read_once(make: Make) -> None:
    project = make([one("red apple", "x")] * 3)
    assert found(project, "apple") == [0, 1, 2]
    first = {path.name: path.stat().st_mtime_ns for path in project.artifacts.glob("search-*/*")}
    make([one("green apple", "y"), one("pear", "z" * 1_000_000)], project)
    assert len(texts.missing(project)) == 1 and found(project, "apple") == [0, 1, 2, 3]
    now = {path.name: path.stat().st_mtime_ns for path in project.artifacts.glob("search-*/*")}
    assert not texts.missing(project) and len(list(project.artifacts.glob("search-*"))) == 2
    assert set(first) == set(now) and found(project, "z{999}", "regex") == [4]


@pytest.mark.parametrize(
    ("query", "mode", "says"),
    [
        ("(ab", "regex", "missing ), at character 1"),
        ("ab)", "regex", "unexpected ), at character 1"),
        (r"(a)\1", "regex", "back-references"),
        ("(?=a)", "regex", "Look-around"),
        ("", "regex", "empty"),
        (' "" ', "words", "empty"),
        ("\u200b", "phrase", "empty"),
        ("x" * 1001, "words", "1,001 characters"),
        ("x", "fuzzy", "words, phrase, regex"),
        ("a\ud800b", "words", "half a character"),
    ],
)
def test_what_cannot_be_searched_is_said_before_anything_is_read(query: str, mode: str, says: str) -> None:
    with pytest.raises(EngineError, match=re.escape(says)) as told:
        TextQuery.of(query, mode)
    assert "Nothing was searched." in str(told.value)


def test_no_expression_hangs_and_a_search_that_takes_too_long_ends(make: Make) -> None:
    project = make([one("a" * 100_000, "b")] * 4)
    assert found(project, "(a+)+$", "regex") == [0, 1, 2, 3] and found(project, "(a|a)*c", "regex") == []
    with pytest.raises(EngineError, match="longer than 0 s"):
        search(project, TextQuery.of("a*b", "regex"), limit_s=0)
    with pytest.raises(EngineError, match="both, prompt, response"):
        search(project, TextQuery.of("a"), where="title")


def test_marks_and_excerpts_keep_the_text_as_it_is() -> None:
    rng = random.Random(1)
    for _ in range(200):
        text = "".join(rng.choices("aAbß é\u0301\u200b\n\x00.İﬁ", k=30))
        for mode, query in (("words", "ab a*"), ("phrase", "b ss"), ("regex", "[ab]+|^|\\b")):
            assert "".join(piece for piece, _ in marked(text, TextQuery.of(query, mode))) == text
    assert bracketed(marked("Cat, concat cat", TextQuery.of("cat"))) == "[Cat], concat [cat]"
    assert bracketed(marked("concat catalogue, ﬁnal", TextQuery.of("cat* fi*"))) == "concat [catalogue], [ﬁnal]"
    assert bracketed(marked("ab abc", TextQuery.of(r"^a|c$", "regex"))) == "[a]b ab[c]"
    shown = bracketed(excerpt("left " * 90 + "the\nneedle here" + " right" * 90, TextQuery.of("needle"), width=60))
    assert shown.startswith("… left") and "the [needle] here right" in shown and shown.endswith(" …")
    assert len(shown) < 90 and bracketed(excerpt("nothing", TextQuery.of("needle"))) == "nothing"
