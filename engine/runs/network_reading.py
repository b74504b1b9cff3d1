"""How a network's run reads texts, kept with the run so that rows added later are read in the very same way.

    network_reading.npz   the kinds that are joined, and what each goes by: the rarities of words for `lexical`, the
                          hash of the encoder's weights for `sentence`; and the groups of the target items, if any

Hidden states, which need a language model, are made elsewhere and handed in. Knows no catalogue and no job.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from engine.errors import EngineError
from engine.gradients.lexical_features import LexicalFeatures
from engine.gradients.sentence_features import SentenceFeatures
from engine.runs.texts import Pair

READING_FILE = "network_reading.npz"
FORMAT = 1


@dataclass(frozen=True)
class Reading:
    """`kinds` in the order in which they are joined; `groups` (t,) of all target items, empty without groups.

    `lexical` and `encoder` (a SHA-256) are None and "" where the network does not read them.
    """

    kinds: tuple[str, ...]
    groups: tuple[str, ...] = ()
    lexical: LexicalFeatures | None = None
    encoder: str = ""

    @property
    def needs_model(self) -> bool:
        """Whether a language model has to run for the inputs of a row."""
        return "hidden" in self.kinds

    def __call__(
        self, pairs: Sequence[Pair], encoder: Callable[[], SentenceFeatures], states: np.ndarray | None = None
    ) -> np.ndarray:
        """The inputs (m, d) float32 of texts; `encoder` is asked for only where sentence embeddings are read.

        `states` (m, ·) are the hidden states of the same rows, where the network reads them.
        """
        return joined([self._read(kind, pairs, encoder, states) for kind in self.kinds])

    def _read(
        self, kind: str, pairs: Sequence[Pair], encoder: Callable[[], SentenceFeatures], states: np.ndarray | None
    ) -> np.ndarray:
        if kind == "sentence":
            return encoder()([f"{prompt} {response}" for prompt, response in pairs])
        if kind == "hidden" and states is not None:
            return states
        if kind != "lexical" or self.lexical is None:
            raise EngineError(f"The run's network reads {kind}, of which it kept nothing. Nothing was estimated.")
        return self.lexical(pairs)

    def save(self) -> dict[str, np.ndarray]:
        """Everything as arrays by name."""
        texts = {"kinds": self.kinds, "groups": self.groups, "encoder": (self.encoder,)}
        kept = {name: np.array(values, dtype=np.str_) for name, values in texts.items()} | {"format": np.array(FORMAT)}
        if self.lexical is not None:
            kept |= {"weights": self.lexical.weights, "shape": np.array([self.lexical.width, self.lexical.seed])}
        return kept

    @classmethod
    def load(cls, arrays: Any) -> "Reading":
        """The reading of `save`. Raises `EngineError` for another format."""
        try:
            version, kinds, groups = int(arrays["format"]), arrays["kinds"].tolist(), arrays["groups"].tolist()
            encoder = str(arrays["encoder"][0])
            lexical = None
            if "lexical" in kinds:
                width, seed = arrays["shape"].tolist()
                lexical = LexicalFeatures(arrays["weights"], width, seed)
        except (KeyError, ValueError, IndexError) as error:
            raise EngineError(f"{READING_FILE} cannot be read: {error}. Score again to make it anew.") from error
        if version != FORMAT:
            raise EngineError(f"{READING_FILE} has format {version}, expected {FORMAT}. Score again.")
        return cls(tuple(kinds), tuple(groups), lexical, encoder)


def joined(parts: Sequence[np.ndarray]) -> np.ndarray:
    """Kinds of inputs (m, ·) side by side, float32; a row that one of them cannot read is NaN throughout."""
    found = np.concatenate([np.asarray(part, np.float32) for part in parts], axis=1)
    found[~np.isfinite(found).all(axis=1)] = np.nan
    return found
