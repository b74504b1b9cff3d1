"""The demo pool: made-up instruction data from ten sources with faults laid in, two target sets and held-out rows.

Everything follows from the seed; nothing is read but this package. The pool's rows carry an id and a source and no
hint of their faults: the labels go to a file of their own, for measuring what the engine finds.
Finding the faults is the engine's work, not done here.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from random import Random

from engine.data.demo_code import CODE
from engine.data.demo_faults import GUIDE, Fault, Planted, plant
from engine.data.demo_samples import Draft
from engine.data.demo_sources import SOURCES, draw_unlike
from engine.data.demo_sums import WORDS
from engine.errors import EngineError

__all__ = ["GUIDE", "DemoFiles", "DemoRows", "Fault", "demo_rows", "write_demo"]

TARGETS = (WORDS, CODE)
TARGET_ROWS = 32
EVAL_ROWS = 64
LEAKED = 20
FAULT_SHARE = 0.035


@dataclass(frozen=True, slots=True)
class DemoFiles:
    """Where the demo was written: the pool, a file per target set and per held-out set, and the fault labels.

    `labels` is JSONL with `id`, `fault` (one of `Fault`) and `of`: the row or target item concerned, or null.
    """

    pool: Path
    targets: dict[str, Path]
    evals: dict[str, Path]
    labels: Path


@dataclass(frozen=True, slots=True)
class DemoRows:
    """The demo in memory: lists of JSON rows, in file order."""

    pool: list[dict]
    targets: dict[str, list[dict]]
    evals: dict[str, list[dict]]
    labels: list[dict]


def write_demo(folder: Path, *, seed: int = 0) -> DemoFiles:
    """Write the demo's files into `folder` (made if absent) and say where they are.

    Equal seeds give equal bytes. Raises `EngineError` if the folder cannot be written.
    """
    rows = demo_rows(seed=seed)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return DemoFiles(
            pool=_write(folder / "pool.jsonl", rows.pool),
            targets={name: _write(folder / f"target-{name}.jsonl", items) for name, items in rows.targets.items()},
            evals={name: _write(folder / f"eval-{name}.jsonl", items) for name, items in rows.evals.items()},
            labels=_write(folder / "labels.jsonl", rows.labels),
        )
    except OSError as error:
        raise EngineError(
            f"The demo could not be written to {folder}: {error.strerror or error}. Choose a folder you may write to; "
            "what was there before is untouched."
        ) from error


def demo_rows(*, seed: int = 0) -> DemoRows:
    """Make the demo in memory; equal seeds give equal rows. No prompt occurs twice but through a fault."""
    rng = Random(f"touchstone demo {seed}")
    seen: set[str] = set()
    drafts = {name: draw_unlike(name, TARGET_ROWS + EVAL_ROWS, rng=rng, seen=seen) for name in TARGETS}
    targets = {name: _items(f"target-{name}", made[:TARGET_ROWS]) for name, made in drafts.items()}
    evals = {name: _items(f"eval-{name}", made[TARGET_ROWS:]) for name, made in drafts.items()}
    leaks = [(targets[name][at]["id"], drafts[name][at]) for name in TARGETS for at in _leaked(rng)]
    clean = [draft for name, source in SOURCES.items() for draft in draw_unlike(name, source.rows, rng=rng, seen=seen)]
    planted = _ordered(plant(clean, leaks, share=FAULT_SHARE, rng=rng), rng)
    ids = _ids(planted)
    pool = [_row(ids[row.key], row.draft) for row in planted]
    labels = [
        {"id": ids[row.key], "fault": row.fault, "of": ids[row.of] if isinstance(row.of, int) else row.of}
        for row in planted
        if row.fault
    ]
    return DemoRows(pool, targets, evals, labels)


def _leaked(rng: Random) -> list[int]:
    return sorted(rng.sample(range(TARGET_ROWS), LEAKED))


def _ordered(rows: list[Planted], rng: Random) -> list[Planted]:
    """The rows in random order, every duplicate after the row it repeats."""
    order = rng.sample(rows, len(rows))
    place = {row.key: at for at, row in enumerate(order)}
    for row in rows:
        if row.fault == "duplicate" and isinstance(row.of, int) and place[row.key] < place[row.of]:
            here, there = place[row.key], place[row.of]
            order[here], order[there] = order[there], order[here]
            place[row.key], place[row.of] = there, here
    return order


def _ids(rows: list[Planted]) -> dict[int, str]:
    """Ids by key: the source and a running number in pool order, the same for sound and faulty rows."""
    counts = dict.fromkeys(SOURCES, 0)
    ids = {}
    for row in rows:
        counts[row.draft.source] += 1
        ids[row.key] = f"{row.draft.source}-{counts[row.draft.source]:04}"
    return ids


def _items(prefix: str, drafts: list[Draft]) -> list[dict]:
    return [_row(f"{prefix}-{at:03}", draft) for at, draft in enumerate(drafts, start=1)]


def _row(row_id: str, draft: Draft) -> dict:
    return {"id": row_id, "source": draft.source, "messages": draft.messages()}


def _write(path: Path, rows: Iterable[dict]) -> Path:
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    path.write_text(text, encoding="utf-8")
    return path
