"""DELIFT (SE): the cosine of sentence embeddings of "prompt response" of a row and an item (arXiv 2411.04425).

No language model takes part. The encoder is handed in (see `SentenceFeatures`), and so are the texts, as functions from
row numbers to (prompt, response).
"""

from collections.abc import Callable, Sequence

import numpy as np

from engine.gradients.sentence_features import TextEmbedding
from engine.influence.functions.base import Passes, Scores, unit_rows
from engine.progress import Reporter

Pairs = Callable[[np.ndarray], Sequence[tuple[str, str]]]
NO_TEXT = "no text: the sample has no visible character, or none that the encoder knows"


class SentenceSimilarity:
    """Cosines of sentence embeddings. The items are encoded at the first call and kept; `encoded` counts texts."""

    name = "delift-se"
    pointwise = False

    def __init__(self, embed: TextEmbedding, pool: Pairs, items: Pairs, item_count: int) -> None:
        self._embed, self._pool, self._items, self._count = embed, pool, items, item_count
        self.passes = Passes()
        self.encoded = 0
        self.notes: tuple[str, ...] = ("Cosines of sentence embeddings (DELIFT SE); no language model was run.",)
        self._kept: np.ndarray | None = None

    def __call__(
        self, rows: np.ndarray, items: np.ndarray | None = None, *, reporter: Reporter | None = None
    ) -> Scores:
        """P (m, u) of pool rows (m,) against items (u,)."""
        if self._kept is None:
            self._kept = self._unit(self._items(np.arange(self._count)))
        chosen = np.arange(self._count) if items is None else np.asarray(items, np.int64)
        right, left = self._kept[chosen], self._unit(self._pool(np.asarray(rows, np.int64)))
        if reporter is not None:
            reporter.advance(len(rows))
        problems = {int(row): NO_TEXT for row in np.asarray(rows)[~np.isfinite(left).all(axis=1)]}
        return Scores(left @ right.T, problems, {int(j): NO_TEXT for j in chosen[~np.isfinite(right).all(axis=1)]})

    def _unit(self, pairs: Sequence[tuple[str, str]]) -> np.ndarray:
        """Unit vectors (m, d) of texts, NaN for one without a visible character or whose embedding is zero."""
        self.encoded += len(pairs)
        return unit_rows(self._embed([f"{prompt} {response}" for prompt, response in pairs]))
