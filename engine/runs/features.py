"""The features of rows for map and selection: one model at one setting, and the kept form of what it gives.

Notation: n rows of d features. A *recipe* names everything that changes a feature: its kind, the hash of the model's
files and, for hidden states, the most tokens of a row and the precision computed in. Only vectors of one recipe lie on
one scale. Rows that cannot be run are NaN.

Reads token tables and texts of a job's folder and knows no catalogue; does not lay out or compare anything.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from engine.progress import Reporter
from engine.runs.map_config import MapConfig
from engine.runs.shards import Table, compute_shards, compute_table
from engine.runs.texts import TextPairs

FEATURES_FILE, RECIPE_FILE = "features.npy", "recipe.json"
SHARD_ROWS = 2048
FLOAT32_UP_TO = 1 << 30  # bytes; a larger table is kept in half the room, as float16
_BLOCK_ROWS = 50_000


class Features(Protocol):
    """Turns a set of rows into vectors. `recipe` says how."""

    recipe: dict[str, Any]

    def of(self, source: Path, *, work: Path, name: str, phase: str) -> NDArray[np.floating[Any]]:
        """The vectors (n, d) of the set at `source`, float32; its shards are kept in `work` as `name`."""


class HiddenFeatures:
    """Pooled last hidden states of the language model (n, hidden size) of the token table `source/`."""

    def __init__(self, spec: dict[str, Any], reporter: Reporter) -> None:
        from engine.gradients.embeddings import HiddenStates
        from engine.models.loading import load

        config = MapConfig.from_dict(spec["config"])
        self._lm = load(Path(spec["model"]["path"]), device=config.device, dtype=spec.get("precision") or config.dtype)
        self._embed, self._max_tokens, self._reporter = HiddenStates(self._lm), config.batch_tokens, reporter
        reporter.log(f"device: {self._lm.device}")
        for note in self._lm.notes:
            reporter.log(note)
        self.recipe: dict[str, Any] = {
            "features": "hidden",
            "model": spec["model"]["sha256"],
            "max_length": config.max_length,
            "precision": str(self._lm.dtype).removeprefix("torch."),
        }

    def of(self, source: Path, *, work: Path, name: str, phase: str) -> NDArray[np.floating[Any]]:
        """The vectors of all rows of the table; the first few rows without features are logged with the reason."""
        from engine.models.tokens import TokenTable

        table = TokenTable.load(source)
        self._reporter.phase(phase, len(table))
        shard = partial(self._shard, table)
        found = compute_table(work, name, np.arange(len(table)), SHARD_ROWS, shard, self._reporter)
        for row, reason in list(found.problems.items())[:5]:
            self._reporter.log(f"sample {row} has no features: {reason}")
        return found.arrays["values"]

    def _shard(self, table: Any, rows: NDArray[np.int64]) -> Table:
        from engine.models.batches import Batch, map_batches

        def embed(batch: Batch) -> NDArray[np.float32]:
            return self._embed(batch).cpu().numpy()

        values, problems = map_batches(
            self._lm, table, rows, embed, max_tokens=self._max_tokens, reporter=self._reporter
        )
        whole = np.asarray(values, dtype=np.float32)
        if whole.ndim == 1:  # no row of this shard could be embedded
            whole = np.full((len(rows), self._embed.dim), np.nan, dtype=np.float32)
        return Table({"values": whole}, problems)


class SentenceVectors:
    """Unit sentence embeddings of "prompt response" (n, 384) of the texts `source.jsonl`."""

    def __init__(self, spec: dict[str, Any], reporter: Reporter) -> None:
        from engine.maps.sentence import load_encoder

        config = MapConfig.from_dict(spec["config"])
        self._encoder = load_encoder(device=sentence_device(config.device))
        self._max_tokens, self._reporter = config.batch_tokens, reporter
        reporter.log(f"device: {self._encoder.device}")
        self.recipe: dict[str, Any] = {"features": "sentence", "model": self._encoder.sha256}

    def of(self, source: Path, *, work: Path, name: str, phase: str) -> NDArray[np.floating[Any]]:
        """The vectors of all texts."""
        texts = TextPairs(source.with_suffix(".jsonl"))
        within = WithinPhase(self._reporter)

        def shard(rows: NDArray[np.int64]) -> NDArray[np.float32]:
            joined = [f"{prompt} {response}" for prompt, response in texts.pairs(rows)]
            return self._encoder.encode(joined, batch_tokens=self._max_tokens, reporter=within)

        self._reporter.phase(phase, len(texts))
        return compute_shards(work, name, np.arange(len(texts)), SHARD_ROWS, shard, self._reporter)


FEATURES: dict[str, Callable[[dict[str, Any], Reporter], Features]] = {
    "hidden": HiddenFeatures,
    "sentence": SentenceVectors,
}


def sentence_device(asked: str) -> str:
    """The device of the sentence model: the one asked for, or a GPU where there is one."""
    import torch

    if asked != "auto":
        return asked
    return "cuda" if torch.cuda.is_available() else "cpu"


def write_features(values: NDArray[np.floating[Any]], path: Path) -> str:
    """Write `values` (n, d) block by block; return the type kept and why.

    float32, or float16 beyond `FLOAT32_UP_TO` bytes where no value is too large for it.
    """
    kept: np.dtype[Any] = np.dtype(np.float32)
    why = "the precision they were computed in"
    if 4 * values.size > FLOAT32_UP_TO:
        if _largest(values) <= float(np.finfo(np.float16).max):
            kept, why = np.dtype(np.float16), f"float32 would take {4 * values.size / 2**30:.1f} GiB"
        else:
            why = "float16 would halve the room, but some values are too large for it"
    out = np.lib.format.open_memmap(path, mode="w+", dtype=kept, shape=values.shape)
    for start in range(0, len(values), _BLOCK_ROWS):
        out[start : start + _BLOCK_ROWS] = values[start : start + _BLOCK_ROWS]
    out.flush()
    return f"{kept.name}: {why}"


def _largest(values: NDArray[np.floating[Any]]) -> float:
    """The largest finite magnitude, 0 where there is none."""
    blocks = (values[start : start + _BLOCK_ROWS] for start in range(0, len(values), _BLOCK_ROWS))
    return max((float(np.abs(block[np.isfinite(block)]).max(initial=0.0)) for block in blocks), default=0.0)


class WithinPhase:
    """Passes progress on, but keeps the phase the caller began."""

    def __init__(self, reporter: Reporter) -> None:
        self._reporter = reporter
        self.advance, self.check, self.log = reporter.advance, reporter.check, reporter.log

    def phase(self, name: str, total: int, unit: str = "samples") -> None:
        """Keep the phase that is under way."""
