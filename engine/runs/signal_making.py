"""The heavy part of the signals, within a map job or by itself: from texts in `input/` to arrays in `output/signals/`.

    input/pool.jsonl          texts of the pool's rows
    input/beside/<i>.jsonl    texts of set i of `spec["beside"]`: target sets, held-out files, owned data
    input/known/              what the catalogue knows already: `columns.json` and its arrays (`signal_inputs`)
    output/signals/           one `.npy` per array, `columns.json`, `summary.json` last

Knows no catalogue. Needs numpy; personal data and languages need their packages, and are left out with a note where
those are missing.
"""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from engine.data.signal_columns import AUTO, read_columns, write_columns
from engine.data.signals import compute_signals
from engine.errors import EngineError
from engine.progress import Reporter
from engine.runs.jobfolder import JobFolder
from engine.runs.texts import Pair, TextPairs
from engine.store.artifacts import write_json


def run_signals(folder: JobFolder, reporter: Reporter) -> None:
    """Fill `output/` of a job that computes signals alone."""
    place = folder.output / "signals"
    if not (place / "summary.json").is_file():
        place.mkdir(exist_ok=True)
        write_json(place / "summary.json", make_signals(folder, place, reporter))
    write_json(folder.output / "summary.json", {"parts": ["signals"]})


def make_signals(folder: JobFolder, place: Path, reporter: Reporter) -> dict[str, Any]:
    """Write the signals into `place` and return their summary."""
    texts, beside, known = TextPairs(folder.input / "pool.jsonl"), folder.spec["beside"], folder.input / "known"
    sets: dict[str, dict[str, list[Pair]]] = {"target": {}, "heldout": {}, "owned": {}}
    for at, entry in enumerate(beside):
        sets[entry["role"]][entry["name"]] = list(TextPairs(folder.input / "beside" / f"{at}.jsonl"))
    reporter.phase("quality signals", len(texts))
    regions = tuple(folder.spec.get("regions", [AUTO]))
    signals = compute_signals(
        _counted(texts, reporter),
        sets["target"],
        heldout=sets["heldout"],
        owned=sets["owned"].get("", []),
        regions=regions,
    )
    wrong = [name for name, column in signals.arrays.items() if len(column) != len(texts)]
    if wrong:
        raise EngineError(f"The signals {', '.join(wrong)} do not have one value per sample. Nothing was recorded.")
    for name, column in signals.arrays.items():
        np.save(place / f"{name}.npy", column, allow_pickle=False)
    for path in known.glob("*.npy"):
        shutil.copyfile(path, place / path.name)
    write_columns(place, (*read_columns(known), *signals.columns))
    for note in signals.notes:
        reporter.log(note)
    rates = {name: round(len(texts) / seconds) for name, seconds in signals.seconds.items() if seconds > 0}
    reporter.log("samples/s of each signal: " + ", ".join(f"{name} {rate:,}" for name, rate in rates.items()))
    return {
        "rows": len(texts),
        "targets": list(sets["target"]),
        "beside": beside,
        "regions": list(regions),
        "columns": sorted(signals.arrays),
        "notes": list(signals.notes),
        "rows_per_s": rates,
    }


def _counted(texts: TextPairs, reporter: Reporter) -> Iterator[Pair]:
    for number, pair in enumerate(texts, start=1):
        yield pair
        if number % 500 == 0:
            reporter.check()
            reporter.advance(500)
    reporter.advance(len(texts) % 500)
    reporter.phase("comparing samples with each other", 0)
