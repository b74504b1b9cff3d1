"""Rows per second of every signal on one core, and the peak memory, on a large pool made from the real mixture.

    python tests/bench/signals_speed.py [ROWS]
    python tests/bench/run.py signals_speed --json OUT

The first rows are the mixture's own; later ones repeat them with three words in ten written backwards, so that they
are no copies of each other, with all target sets as targets and all evaluation files held out. Each part's seconds are
its own, of processor time (`Signals.seconds`); `words` is the cutting into words that most of them share.
"""

import json
import random
import resource
import sys
import time
from collections.abc import Iterator
from pathlib import Path

if __name__ == "__main__":
    sys.path[:0] = [str(Path(__file__).resolve().parents[2]), str(Path(__file__).parent)]

from shell import SHARED_DATA, NotRun

from engine.data.intake import read
from engine.data.samples import Row, prompt_text, response_text
from engine.data.signals import compute_signals

ROWS = 200_000
SETS = ("gsm8k", "codegen", "bbh")
Pair = tuple[str, str]


def run(folder: Path, rows: int = ROWS) -> dict[str, object]:
    """The figures; nothing is written."""
    if not (SHARED_DATA / "pool_mixture.jsonl").is_file():
        raise NotRun("the real data is absent: shared/data/ beside the checkout")
    pool = _pairs("pool_mixture.jsonl")
    targets = {name: _pairs(f"target_{name}.jsonl") for name in SETS}
    heldout = {name: _pairs(f"eval_{name}.jsonl") for name in SETS}
    began, worked = time.perf_counter(), time.process_time()
    found = compute_signals(_many(pool, rows), targets, heldout=heldout)
    seconds, worked = time.perf_counter() - began, time.process_time() - worked
    return {
        "rows": rows,
        "seconds": round(seconds, 1),
        "processor_s": round(worked, 1),
        "rows_per_processor_s": round(rows / worked),
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10,
        "rows_per_s_of": {name: round(rows / taken) for name, taken in found.seconds.items() if taken > 0},
        "flagged": {
            column.name: int((found.arrays[column.array]).sum())
            for column in found.columns
            if column.kind == "flag" and column.threshold is None
        },
        "notes": list(found.notes),
    }


def _pairs(name: str) -> list[Pair]:
    rows = (row for row in read(SHARED_DATA / name) if isinstance(row, Row))
    return [(prompt_text(row.messages), response_text(row.messages)) for row in rows]


def _many(pool: list[Pair], rows: int) -> Iterator[Pair]:
    rng = random.Random(0)
    for at in range(rows):
        prompt, response = pool[at % len(pool)]
        yield (prompt, response) if at < len(pool) else (_varied(prompt, rng), _varied(response, rng))


def _varied(text: str, rng: random.Random) -> str:
    return " ".join(word if rng.random() > 0.3 else word[::-1] for word in text.split(" "))


if __name__ == "__main__":
    print(json.dumps(run(Path(), int(sys.argv[1]) if len(sys.argv) > 1 else ROWS), indent=1))
