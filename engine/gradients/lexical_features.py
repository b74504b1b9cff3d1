"""Texts as vectors by their words alone: no encoder, no language model, some thousands of rows per second on one core.

Notation. A text becomes tokens: words, single digits, single other marks. Five parts, side by side: which tokens the
response has, which pairs of neighbouring tokens it has, which tokens the prompt has, the lengths of prompt and response
as logarithms, and the shares of kinds of characters. Tokens are hashed into `BUCKETS` buckets, weighted by
(1 + log count)·(log((1 + n)/(1 + rows with it)) + 1) and scaled to length 1; seeded random signs then project them to
`width` coordinates, which keeps inner products. What the text is written in shows here, what it means does not: a
complement to sentence embeddings.

The bucket weights come from the rows it was made for; a text has the same vector wherever and whenever it is embedded.
"""

import re
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy import sparse

from engine.errors import EngineError

Pair = tuple[str, str]

BUCKETS = 1 << 14
WIDTH = 256
LONGEST = 20_000  # characters of a side that are read
SURFACE = 8  # kinds of characters whose shares are told
_TOKEN = re.compile(r"[^\W\d_]+|\d|[^\w\s]|_|\n")
_KINDS = (str.isalpha, str.isdigit, str.isspace, str.isupper, ".,;:!?".__contains__, "()[]{}<>".__contains__)


@dataclass(frozen=True)
class LexicalFeatures:
    """Vectors of (prompt, response) pairs. Make it with `fit`; `weights` (3, BUCKETS) are the buckets' rarities."""

    weights: np.ndarray
    width: int = WIDTH
    seed: int = 0

    @classmethod
    def fit(cls, pairs: Iterable[Pair], *, width: int = WIDTH, seed: int = 0) -> "LexicalFeatures":
        """From the texts of some rows, a sample of the pool. Raises `EngineError` where there is none."""
        seen, count = np.zeros((3, BUCKETS), np.int64), 0
        for prompt, response in pairs:
            for part, buckets in enumerate(_hashed(prompt, response)):
                seen[part, np.unique(buckets)] += 1
            count += 1
        if not count:
            raise EngineError("Lexical features need the text of at least one sample. Nothing was embedded.")
        return cls(np.log((1 + count) / (1 + seen)).astype(np.float32) + 1, width, seed)

    @property
    def parts(self) -> tuple[int, ...]:
        """The lengths of the five parts."""
        return (self.width, self.width, self.width, 2, SURFACE)

    @property
    def dim(self) -> int:
        """The length of a vector."""
        return sum(self.parts)

    @property
    def notes(self) -> tuple[str, ...]:
        """How the vectors are made."""
        return (f"Words, pairs of words and lengths of the texts, {self.dim} coordinates: no model was run for them.",)

    def __call__(self, pairs: Sequence[Pair]) -> np.ndarray:
        """The vectors (n, dim), float32; a pair without a visible character is NaN, it alone."""
        found = np.zeros((len(pairs), self.dim), np.float32)
        tables = [_hashed(prompt, response) for prompt, response in pairs]
        for part in range(3):
            counts = self._counts([table[part] for table in tables], part)  # (n, BUCKETS), sparse
            found[:, part * self.width : (part + 1) * self.width] = counts @ _signs(self.width, self.seed, part)
        for row, (prompt, response) in enumerate(pairs):
            found[row, 3 * self.width :] = _surface(prompt, response)
            if not (prompt.strip() or response.strip()):
                found[row] = np.nan
        return found

    def _counts(self, rows: Sequence[np.ndarray], part: int) -> sparse.csr_matrix:
        """Weighted counts of length 1."""
        data, columns, starts = [], [], [0]
        for buckets in rows:
            distinct, counts = np.unique(buckets, return_counts=True)
            values = (1 + np.log(counts)) * self.weights[part, distinct]
            length = float(np.sqrt((values**2).sum()))
            data.append((values / length if length else values).astype(np.float32))
            columns.append(distinct)
            starts.append(starts[-1] + len(distinct))
        shape = (len(rows), BUCKETS)
        return sparse.csr_matrix((_joined(data, np.float32), _joined(columns, np.int64), starts), shape=shape)


def _joined(parts: list[np.ndarray], dtype: type) -> np.ndarray:
    return np.concatenate(parts) if parts else np.zeros(0, dtype)


def _hashed(prompt: str, response: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Buckets of the response's tokens, of its pairs of neighbours, and of the prompt's tokens."""
    tokens = _numbers(response)
    return tokens % BUCKETS, (tokens[:-1] * 1_000_003 + tokens[1:]) % BUCKETS, _numbers(prompt) % BUCKETS


def _numbers(text: str) -> np.ndarray:
    """A number per token, the same on every machine."""
    found = [zlib.crc32(token.encode("utf-8", "replace")) for token in _TOKEN.findall(text[:LONGEST].lower())]
    return np.array(found, dtype=np.int64)


@lru_cache(maxsize=3)  # one for each projected part
def _signs(width: int, seed: int, part: int) -> np.ndarray:
    """Random signs (BUCKETS, width) over √width."""
    bits = np.random.default_rng((seed, 23, part)).integers(0, 2, (BUCKETS, width), dtype=np.int8)
    return ((2 * bits - 1) / np.sqrt(width)).astype(np.float32)


def _surface(prompt: str, response: str) -> list[float]:
    """Logarithms of the two lengths, then shares of kinds of characters in the response, lines and line lengths."""
    text = response[:LONGEST]
    count = max(1, len(text))
    shares = [sum(map(kind, text)) / count for kind in _KINDS]
    lines = text.count("\n") + 1
    sizes = [float(np.log1p(len(prompt))), float(np.log1p(len(response)))]
    return [*sizes, *shares, float(np.log1p(lines)), float(np.log1p(count / lines)) / 4]
