"""Wording: what is escaped, what is made visible, and how numbers read."""

import re

import pytest

from pages.parts.words import (
    JOINER,
    count,
    duration,
    moment,
    near,
    opened,
    percent,
    plain,
    score,
    shorten,
    size,
    visible,
)

ACTIVE = "\\`*_{}[]()<>#+-.!|~$:&\"'=/^@"


@pytest.mark.parametrize("character", ACTIVE)
def test_every_active_character_is_escaped(character: str) -> None:
    assert plain(f"a{character}b").replace(JOINER, "") == f"a\\{character}b"


@pytest.mark.parametrize(
    ("text", "pattern"),
    [
        (":material/home:", r":material/"),
        (":smile:", r":\w+:"),
        (":red[x]", r":red\["),
        ("https://evil.example", r"https?://"),
        ("www.evil.example", r"www\."),
        ("me@evil.example", r"\w@\w"),
        ("![a](b)", r"(?<!\\)!"),
        ("$x$", r"\$\w"),
    ],
)
def test_what_is_recognised_after_parsing_is_broken_up(text: str, pattern: str) -> None:
    """A renderer takes the backslashes away and only then looks for codes and addresses; the joiner stays."""
    parsed = re.sub(r"\\([^\w\s])", r"\1", plain(text)) if "(?<!" not in pattern else plain(text)
    assert re.search(pattern, parsed) is None
    assert re.sub(r"\\([^\w\s])", r"\1", plain(text)).replace(JOINER, "") == text


def test_line_breaks_cannot_start_a_block() -> None:
    assert "\n" not in plain("a\n# b\r\n- c")


def test_hidden_characters_are_spelt_out_and_line_breaks_stay() -> None:
    assert visible("a\u202eb\x00c\n\td") == "a⟨U+202E⟩b⟨U+0000⟩c\n\td"
    assert visible("a\u200bb\u2060\x1b[1m\u00ad\U000e0041") == "a⟨U+200B⟩b⟨U+2060⟩⟨U+001B⟩[1m⟨U+00AD⟩⟨U+E0041⟩"
    assert visible("pass\u200dword") == "pass⟨U+200D⟩word"
    assert visible("می\u200cخواهم 👩\u200d💻") == "می\u200cخواهم 👩\u200d💻"  # a word and an emoji, not a trick


def test_shorten_is_one_line_and_never_longer_than_asked() -> None:
    assert shorten("a  b\n c") == "a b c"
    assert len(shorten("word " * 10_000, 40)) <= 40
    assert shorten("word " * 10_000, 40).endswith("…")


def test_numbers_read_as_a_person_would_say_them() -> None:
    assert (count(1, "row"), count(1204, "row"), count(2, "match", "matches")) == ("1 row", "1,204 rows", "2 matches")
    assert (duration(0.2), duration(42.4), duration(125), duration(7260)) == (
        "under 1 s",
        "42 s",
        "2 min 5 s",
        "2 h 1 min",
    )
    assert (size(999), size(5_400_000)) == ("999 bytes", "5.4 MB")
    assert (score(0.12345), score(-0.5), score(float("nan"))) == ("+0.1235", "-0.5000", "–")
    assert (percent(0.123), percent(float("nan"))) == ("12.3 %", "–")
    assert [percent(0.0001), percent(0.0), percent(0.004, 0)] == ["< 0.1 %", "0.0 %", "< 1 %"]
    assert moment("2026-01-02T03:04:05.678+00:00") == "2026-01-02 03:04"
    assert moment("") == "–"


def test_values_beside_each_other_have_the_digits_that_tell_them_apart() -> None:
    assert near(0.3112, 0.2401, 0.3799) == ["0.31", "0.24", "0.38"]
    assert near(0.00312, 0.0024, 0.0038) == ["0.0031", "0.0024", "0.0038"]
    assert near(312.2, 240.1, 379.9) == ["312", "240", "380"]
    assert near(0.5, 0.5) == ["0.5000", "0.5000"]


def test_a_sentence_begins_with_a_capital_and_keeps_its_names() -> None:
    assert (opened("on a GPU"), opened("")) == ("On a GPU", "")
