"""The heavy part of a map job: features of every row, the map itself, and the quality signals.

    input/pool/         token table, where the features are hidden states
    input/pool.jsonl    texts of the rows; input/targets/<i>.jsonl those of target set i
    output/map/         the map (`engine.maps.build`), `summary.json` last
    output/signals/     one `.npy` per signal, `summary.json` last
    output/summary.json written when all parts that were asked for are there

Knows no catalogue. UMAP and scikit-learn are imported only when the map is laid out.
"""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.errors import EngineError
from engine.progress import Reporter
from engine.runs.config import MapConfig
from engine.runs.jobfolder import JobFolder
from engine.runs.shards import Table, compute_shards, compute_table
from engine.runs.texts import TextPairs
from engine.store.artifacts import write_json

SHARD_ROWS = 2048
PARTS = ("map", "signals")


def run_map(folder: JobFolder, reporter: Reporter) -> None:
    """Fill `output/` with the parts named in `spec["parts"]`; parts that are complete are kept."""
    makers = {"map": _make_map, "signals": _make_signals}
    for part in folder.spec["parts"]:
        place = folder.output / part
        if (place / "summary.json").exists():
            reporter.log(f"{part}: complete already")
            continue
        place.mkdir(exist_ok=True)
        write_json(place / "summary.json", makers[part](folder, place, reporter))
    write_json(folder.output / "summary.json", {"parts": folder.spec["parts"]})


def _make_map(folder: JobFolder, place: Path, reporter: Reporter) -> dict[str, Any]:
    from engine.maps import build
    from engine.maps.numba_cache import keep_compiled_code

    keep_compiled_code()
    config, texts = MapConfig.from_dict(folder.spec["config"]), TextPairs(folder.input / "pool.jsonl")
    features = FEATURES[folder.spec["features"]](folder, config, texts, reporter)
    options = build.MapConfig(neighbours=config.neighbours, min_dist=config.min_dist)
    result = build.build_map(features, texts.prompts, seed=config.seed, config=options, reporter=reporter)
    for note in result.notes:
        reporter.log(note)
    build.save(result, place)
    trust = None if np.isnan(result.trust) else result.trust
    return {
        "features": folder.spec["features"],
        "rows": len(result.xy),
        "clusters": len(result.labels),
        "trust": trust,
        "notes": list(result.notes),
    }


def _hidden(folder: JobFolder, config: MapConfig, texts: TextPairs, reporter: Reporter) -> NDArray[np.floating[Any]]:
    """Pooled last hidden states of the language model (n, hidden size), NaN for rows without tokens."""
    from engine.gradients.embeddings import HiddenStates
    from engine.models.batches import map_batches
    from engine.models.loading import load
    from engine.models.tokens import TokenTable

    table = TokenTable.load(folder.input / "pool")
    lm = load(Path(folder.spec["model"]["path"]), device=config.device, dtype=config.dtype)
    reporter.log(f"device: {lm.device}")
    for note in lm.notes:
        reporter.log(note)
    embed = HiddenStates(lm)

    def shard(rows: NDArray[np.int64]) -> Table:
        values, problems = map_batches(
            lm, table, rows, lambda batch: embed(batch).cpu().numpy(), max_tokens=config.batch_tokens, reporter=reporter
        )
        whole = np.asarray(values, dtype=np.float32)
        if whole.ndim == 1:  # no row of this shard could be embedded
            whole = np.full((len(rows), embed.dim), np.nan, dtype=np.float32)
        return Table({"values": whole}, problems)

    reporter.phase("features: hidden states", len(table))
    found = compute_table(folder.work, "features", np.arange(len(table)), SHARD_ROWS, shard, reporter)
    for row, reason in list(found.problems.items())[:5]:
        reporter.log(f"row {row} has no features: {reason}")
    return found.arrays["values"]


def _sentence(folder: JobFolder, config: MapConfig, texts: TextPairs, reporter: Reporter) -> NDArray[np.floating[Any]]:
    """Unit sentence embeddings of "prompt response" (n, 384)."""
    from engine.maps.sentence import load_encoder

    encoder = load_encoder(device=sentence_device(config.device))
    reporter.log(f"device: {encoder.device}")
    within = _WithinPhase(reporter)

    def shard(rows: NDArray[np.int64]) -> np.ndarray:
        joined = [f"{prompt} {response}" for prompt, response in texts.pairs(rows)]
        return encoder.encode(joined, batch_tokens=config.batch_tokens, reporter=within)

    reporter.phase("features: sentence embeddings", len(texts))
    return compute_shards(folder.work, "features", np.arange(len(texts)), SHARD_ROWS, shard, reporter)


FEATURES = {"hidden": _hidden, "sentence": _sentence}


def sentence_device(asked: str) -> str:
    """The device of the sentence model: the one asked for, or a GPU where there is one."""
    import torch

    if asked != "auto":
        return asked
    return "cuda" if torch.cuda.is_available() else "cpu"


def _make_signals(folder: JobFolder, place: Path, reporter: Reporter) -> dict[str, Any]:
    from engine.data.signals import compute_signals

    texts, names = TextPairs(folder.input / "pool.jsonl"), [t["name"] for t in folder.spec["view"]["targets"]]
    targets = {name: list(TextPairs(folder.input / "targets" / f"{i}.jsonl")) for i, name in enumerate(names)}
    reporter.phase("quality signals", len(texts))
    signals = compute_signals(_counted(texts, reporter), targets)
    columns = {f.name: getattr(signals, f.name) for f in dataclasses.fields(signals)}
    arrays = {name: column for name, column in columns.items() if isinstance(column, np.ndarray)}
    wrong = [name for name, column in arrays.items() if len(column) != len(texts)]
    if wrong:
        raise EngineError(f"The signals {', '.join(wrong)} do not have one value per row. Nothing was recorded.")
    for name, column in arrays.items():
        np.save(place / f"{name}.npy", column, allow_pickle=False)
    return {"rows": len(texts), "targets": names, "columns": sorted(arrays)}


def _counted(texts: TextPairs, reporter: Reporter) -> Any:
    for number, pair in enumerate(texts, start=1):
        yield pair
        if number % 500 == 0:
            reporter.check()
            reporter.advance(500)
    reporter.advance(len(texts) % 500)


class _WithinPhase:
    """Passes progress on, but keeps the phase the caller began."""

    def __init__(self, reporter: Reporter) -> None:
        self._reporter = reporter
        self.advance, self.check, self.log = reporter.advance, reporter.check, reporter.log

    def phase(self, name: str, total: int, unit: str = "rows") -> None:
        """Keep the phase that is under way."""
