"""Signals that read a text by itself: what they must find, and what they must leave alone."""

import string

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.data.answers import looks_empty, refuses
from engine.data.languages import UNKNOWN, Languages
from engine.data.lengths import FLOOR, robust_length
from engine.data.origins import MISSING, recognised, spelt
from engine.data.passages import pieces, shared_passages
from engine.data.personal import is_iban, luhn, matches, personal
from engine.data.phones import checked, phones, regions_in, regions_of
from engine.data.refusals import LANGUAGES
from engine.data.repetition import AGAIN, LOOPED, SHARED, Repetition, many
from engine.data.signal_words import words_of
from engine.errors import EngineError

REFUSALS = (
    "I'm sorry, but I cannot help with that request.",
    "I’m sorry, but I can’t assist with that.",
    "As an AI language model, I do not have personal opinions.",
    "I cannot provide medical advice. Please see a doctor.",
    "I'm sorry, I need more information to answer this.",
    "Unfortunately, I am unable to access the internet.",
    "I apologize, but I cannot fulfill this request as it is unethical.",
    "I must respectfully decline to answer.",
    "It is not possible for me to see the image.",
    "I am an AI and therefore cannot feel pain.",
    "Sorry, I can't generate images.",
    "I don't have access to real-time data.",
    "I would prefer not to discuss this.",
    "Hello! I'm sorry, but I cannot provide personal information.",
    "I can't help with illegal activities.",
    "I'm sorry, but that's not something I'm able to assist with.",
    "My guidelines prevent me from discussing how to hack into an account.",
    "I do not feel comfortable producing such content.",
    "That request goes against our content policy, so I can't fulfil it.",
    "I'd be happy to help with something else, but I can't help you stalk someone.",
    "I do not have an opinion on political matters, as I am an AI.",
    "I strongly advise against this and will not give instructions.",
    "It's not appropriate for me to comment on a person's body.",
    "I cannot in good conscience write propaganda.",
    "No. I will not assist in planning a robbery.",
    "No puedo proporcionar instrucciones para fabricar armas.",
    "Ich darf keine Anleitungen zum Bau von Waffen geben.",
    "申し訳ありませんが、医療診断を行うことはできません。",
)
ANSWERS = (
    "I'm sorry to hear about your loss. Here are some things that may help.",
    "I cannot wait to see you, said Tom.",
    "Sorry for the delay in our response. Your order has shipped.",
    "Dear customer, we are sorry for the inconvenience. We cannot offer a refund after 30 days.",
    "Unfortunately, the company could not meet demand, so prices rose.",
    "The program cannot be compiled because a semicolon is missing.",
    "As an artificial intelligence researcher, I study models.",
    "An AI language model is a neural network.",
    "You cannot divide by zero.",
    "We cannot determine x without y. 3+4=7",
    "I'm sorry I broke your vase, Mum.",
    "Sorry, that is wrong: the answer is 4.",
    "It is impossible for a triangle to have two right angles.",
    "def cannot_help(): raise ValueError('I cannot help with that request')",
    "I can't recommend this restaurant enough! The pasta was outstanding.",
    "“I cannot do that, Dave,” said HAL, and the door stayed shut.",
    "As an AI researcher, I cannot wait to see what comes next.",
    "It is not possible for me to love anyone more, wrote Heloise.",
    "I must refuse any further payment, she told the lawyer.",
    "This topic is covered in chapter 3, where I cannot find any mistakes.",
    "Our policy does not allow pets in the building.",
    "The law is strict and cannot support this kind of deal.",
    "I refuse to believe it, but here is the recipe you asked for.",
    "I can't help but smile when I see a puppy.",
)
LETTERS, HEX = "qWeRtYuIoPaSdFgHjKlZxCvBnM" * 4, "c0a1b2d3e4f5968778695a4b" * 3
TOKENS = {"hf_": LETTERS[:34], "github_pat_": LETTERS[:10] + HEX[:72], "dop_v1_": HEX[:64], "dapi": HEX[:32]} | {
    "shpat_": HEX[:32],
    "gsk_": f"9{LETTERS[:51]}",
}
"""Put together here, so that nobody takes them for leaked ones."""
PERSONAL = (
    ("Write to marie.dupont@orange.fr today.", "email"),
    ("Call (212) 736-5000 for a table.", "phone"),
    ("My mobile: +44 20 7946 0018.", "phone"),
    ("key = 'AKIA2E0A8F3B5C7D9QWZ'", "secret key"),
    ("export TOKEN=ghp_a8Kd02jfLq93mZx71PwYt6RbVc54NsHu0GeQ", "secret key"),
    ("The server at 93.184.216.34 answered.", "ip address"),
    ("My card is 4929 7226 5379 7141.", "payment card"),
    ("Please pay to DE75 5121 0800 1245 1261 99.", "iban"),
    ("请发邮件到liwei2001@qq.com联系我", "email"),
    ("mailto:kevin_oneill84@yahoo.co.uk", "email"),
    ("Пишите на ivanov.petr@mail.ru", "email"),
    ("Ask p.roy@mail.mcgill.ca first.", "email"),
    ("手机号：15182734960", "phone"),
    ("Telefoonnummer 06-48271935", "phone"),
    ("You can text me at 646-389-2174.", "phone"),
    ("mongodb+srv://svc_user:Hx7pQ29zLm4@cluster0.k3f9d.mongodb.net/prod", "secret key"),
    ("AWS_SECRET_ACCESS_KEY=" + "q7Rt2/Lm9ZxW4vB8nK+" + "c5HgY1pDs6JfA3eUo0TnQ", "secret key"),
    *((f"token: {begins}{rest}", "secret key") for begins, rest in TOKENS.items()),
)
HARMLESS = (
    "user@example.com, you@yourcompany.org, john.doe@gmail.com",
    "x = A@B.T; y = W@x.shape",
    "Call 555-867-5309 or (555) 123-4567 or 123-456-7890",
    "123-456-7890 + 234-567-8901 = 358-024-6791",
    "api_key = 'sk-your-api-key-here-1234567890'",
    "AKIAIOSFODNN7EXAMPLE",
    "127.0.0.1, 192.168.1.1, 10.0.0.7, 8.8.8.8, version 1.24.3.10, 1.2.3.4",
    "The test card 4242 4242 4242 4242 always works; 1234567890123456 does not.",
    "4532015112830366 is divisible by 2.",
    "GB82 WEST 1234 5698 7654 32 is the textbook's IBAN.",
    "std::vector<int>::iterator a::b::c 12:30:45:10",
    "-----BEGIN PRIVATE KEY-----\n...\n-----END PRIVATE KEY-----",
    "postgres://user:password1@db.company.org:5432/app and redis://:pass@redis:6379",
    "hf_model_name_for_sequence_classification_with_labels and sk-learn-compatible-estimator-checks",
    "aws_secret_access_key = os.getenv('AWS_SECRET_ACCESS_KEY'), or wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
    "Phone 555-0123 or 1-800-555-0199. Article 29.1.2.3",
)


@pytest.mark.parametrize("response", REFUSALS)
def test_a_refusal_is_found(response: str) -> None:
    assert refuses(response)


@pytest.mark.parametrize("response", ANSWERS)
def test_an_answer_is_no_refusal(response: str) -> None:
    assert not refuses(response)


def test_empty_answers_and_short_ones() -> None:
    ask = "Describe the sea for somebody who has never been there."
    for response in (
        "",
        " \n\t",
        "…",
        "---",
        "N/A",
        "n/a.",
        "<no output>",
        "None",
        "No response.",
        "\u200b\ufeff",
        "Answer:",
        ask,
    ):
        assert looks_empty(ask, response), response
    for prompt, response in (
        ("What does f return?", "None"),
        ("Close it: ( [", "] )"),
        ("6 · 7?", "42"),
        ("Which option?", "A"),
        ("N/A or applicable?", "N/A"),
        (ask, "Blue."),
        (ask, "海"),
        ("Which operator is multiplication in Python?", "*"),
        (ask, "Answer: blue"),
    ):
        assert not looks_empty(prompt, response), response


@pytest.mark.parametrize(("text", "kind"), PERSONAL)
def test_personal_data_is_found(text: str, kind: str) -> None:
    assert personal(text) == {kind}
    assert [found for found, passage in matches(text) if passage in text] == [kind]


@pytest.mark.parametrize("text", HARMLESS)
def test_what_stands_for_personal_data_is_not_personal(text: str) -> None:
    assert not list(matches(text))


@pytest.mark.parametrize(
    ("regions", "text"),
    [
        ("DE", "Rufen Sie 030/901820 oder 0171 2385674 an."),
        ("FR", "Appelez le 01 42 68 53 00 ou le 06.42.18.53.07."),
        ("ES", "Llama al 912 38 56 71. Tel.: 912 385 674"),
        ("BR", "Ligue (11) 91634-5278 ou 11 91634-5278."),
        ("RU", "Звоните 8 (495) 183-42-67 или 8 495 183-42-68."),
        ("CN", "请拨打138 0013 8000。电话：13800138042"),
        ("JP", "電話は03-3210-7000です。携帯：090-1834-5278"),
        ("KR", "02-312-8456 또는 010-2845-6189로 전화하세요."),
        ("IN,GB", "Phone number: 98465 43810 and 020 7946 1284."),
    ],
)
def test_national_phone_numbers_are_found_where_the_text_can_be_from_there(regions: str, text: str) -> None:
    assert len(phones(text, checked(regions.split(",")), every=True)) == 2


def test_the_language_of_a_text_tells_where_its_numbers_are_from() -> None:
    german = ("Wie erreiche ich das Amt?", "Sie erreichen das Bürgeramt unter der Nummer 030 901820 an jedem Werktag.")
    assert "DE" in regions_in(*german) and personal(german[1], regions=regions_in(*german)) == {"phone"}
    assert regions_in(*german, ("FR",)) == ("FR",) and not personal(german[1], regions=("FR",))
    assert regions_in("Was ist 3 + 4?", "Die Antwort auf die Frage lautet sieben.") == ("US",)  # nothing to ask it for
    assert checked(["de", " FR", "de"]) == ("DE", "FR") and checked(["auto"]) == ("auto",)
    with pytest.raises(EngineError, match=r"ATLANTIS is no country's code.*Nothing was checked"):
        checked(["DE", "Atlantis"])


@pytest.mark.parametrize(
    "text",
    [
        "Es sind 912 385 674 Euro und 12 385 Cent.",
        "01 02 03 04 05",
        "0101 1010 0110",
        "ISBN 978-0-3064-0615-2, 0-306-40615-2",
        "MA 02110-1301",
        "2023-01-15 10:30:00, 20230115 103000, 01.02.2023",
        "88758-60732 = 28026",
        "x = 0171 238567 * 2",
        "16.22346616",
        "[[90 81 06 75 66] [12 45 33 88 91]]",
        "def f(): return 030-901820 + 1",
    ],
)
def test_ordinary_numbers_are_no_phone_numbers_of_any_country(text: str) -> None:
    everywhere = tuple({region for language in LANGUAGES for region in regions_of(language)})
    assert phones(text, everywhere, every=True) == []


@settings(max_examples=60, deadline=None)
@given(st.text(alphabet=string.printable + "…é中@.-+ 0123456789", max_size=300))
def test_any_text_is_judged(text: str) -> None:
    assert personal(text) == {kind for kind, _ in matches(text)}
    refuses(text)
    looks_empty(text, text)


def test_check_digits_against_their_definitions() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        digits = "".join(map(str, rng.integers(0, 10, 15)))
        assert sum(luhn(digits + str(last)) for last in range(10)) == 1  # exactly one digit completes a number
    assert is_iban("FR76 3000 6000 0112 3456 7890 189") and not is_iban("FR76 3000 6000 0112 3456 7890 188")


def test_languages_are_named_only_where_prose_tells() -> None:
    texts = [
        "This is an answer in plain English, long enough to be sure of.",
        "Bonjour, voici une réponse en français qui est assez longue pour être reconnue.",
        "这是一个用中文写的回答。",
        "Это ответ на русском языке, достаточно длинный.",
        "भारत की राजधानी नई दिल्ली है।",
        "42",
        "def f(x):\n    return x + 1\n\nprint(f(2))",
    ]
    whole, parts = Languages(), Languages()
    whole.add([("", text) for text in texts])
    for text in texts:
        parts.add([("", text)])
    codes, names = whole.finish()
    assert [names[code] for code in codes] == ["en", "fr", "zh", "ru", "hi", UNKNOWN, UNKNOWN]
    assert [parts.finish()[1][code] for code in parts.finish()[0]] == [names[code] for code in codes]
    asked = Languages()
    asked.add([("Schreibe eine Funktion, die zwei Zahlen addiert und das Ergebnis zurückgibt.", texts[-1])])
    assert asked.finish()[1] == ["de"]  # of code the prompt tells


def _oracle(texts: list[str]) -> tuple[list[float], list[float]]:
    """Boilerplate and loops by their definitions, with sets of words."""
    rows = [words_of([text]).ids.tolist() for text in texts]

    def grams(row: list[int], n: int) -> list[tuple[int, ...]]:
        return [tuple(row[at : at + n]) for at in range(len(row) - n + 1)]

    def share(row: list[int], n: int, wanted: set[tuple[int, ...]]) -> float:
        inside = {at + step for at, gram in enumerate(grams(row, n)) if gram in wanted for step in range(n)}
        return len(inside) / max(len(row), 1)

    held = [set(grams(row, SHARED)) for row in rows]
    common = {gram for each in held for gram in each if sum(gram in other for other in held) >= many(len(rows))}
    own = [{gram for gram in grams(row, LOOPED) if grams(row, LOOPED).count(gram) >= AGAIN} for row in rows]
    return [share(row, SHARED, common) for row in rows], [share(r, LOOPED, o) for r, o in zip(rows, own)]


def test_repetition_against_its_definition() -> None:
    rng = np.random.default_rng(1)
    stock = "please note that this is a general answer and not advice of any kind"
    texts = [" ".join(f"w{n}" for n in rng.integers(0, 30, rng.integers(0, 40))) for _ in range(30)]
    texts = [f"{text} {stock}" if at % 2 else text for at, text in enumerate(texts)]
    texts += ["again and again the same six words here " * 8, "", "short"]
    found, chunks = Repetition(), [words_of(texts[:7]), words_of(texts[7:])]
    for words in chunks:
        found.add(words)
    boilerplate, loops = _oracle(texts)
    np.testing.assert_allclose(np.concatenate([found.boilerplate(words) for words in chunks]), boilerplate, rtol=1e-6)
    np.testing.assert_allclose(found.loops(), loops, rtol=1e-6)
    assert loops[-3] == 1.0 and max(boilerplate) > 0.2


def test_unusual_lengths() -> None:
    words = np.array([50, 55, 48, 60, 52, 0, 5000])
    z = robust_length(words)
    logs = np.log1p(words) - np.median(np.log1p(words))
    np.testing.assert_allclose(z, logs / max(1.4826 * np.median(np.abs(logs)), FLOOR), rtol=1e-5)
    assert (z[:5] > -3.5).all() and z[5] < -3.5 and z[6] > 3.5
    assert not robust_length(np.full(9, 7)).any() and not len(robust_length(np.zeros(0, int)))


def test_licences_and_origins() -> None:
    assert recognised(["id", "Data-Source", "License", "url"], "licence") == ["License"]
    assert recognised(["url", "Data-Source"], "origin") == ["Data-Source", "url"]
    for text, name in (
        ("mit license", "MIT"),
        ("Apache 2.0", "Apache-2.0"),
        ("cc-by-sa-4.0", "CC-BY-SA-4.0"),
        ("CC BY-NC 4.0", "CC-BY-NC-4.0"),
        ("gpl-3", "GPL-3.0"),
        ("cc0", "CC0-1.0"),
        ("My own terms", "My own terms"),
        ("unknown", MISSING),
        (None, MISSING),
    ):
        assert spelt(text, "licence") == name
    assert spelt("https://www.example.org/a?b", "origin") == "example.org"


def test_passages_are_what_both_texts_hold() -> None:
    rng = np.random.default_rng(2)
    common = " ".join(f"c{n}" for n in range(20))
    sample = f"{' '.join(f's{n}' for n in rng.integers(0, 99, 30))} {common.upper()}, and so on."
    item = f"{' '.join(f'i{n}' for n in rng.integers(0, 99, 30))}\n{common}"
    found = shared_passages(sample, item)
    assert found.n == 13 and [sample[a:b].lower() for a, b in found.sample] == [common]
    assert [item[a:b] for a, b in found.item] == [common]
    parts = pieces(sample, found.sample, around=10, most=2)
    assert [text for text, shared in parts[0] if shared] == [common.upper()] and parts[0][0][0] == "…"
    assert not shared_passages("nothing in common here at all, really", item).shared
    asked = "Which seven grey geese flew south over the lake?"
    answered = shared_passages(f"Q: {asked} A: none", f"{asked}\n{'other words follow here ' * 20}", prompt=len(asked))
    assert answered.n < 13 and answered.shared  # the prompt alone, in shorter runs
    assert not shared_passages(f"Q: {asked} A: none", f"{asked}\n{'other words follow here ' * 20}").shared
