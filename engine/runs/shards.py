"""Long computations over rows, cut into shards that survive a kill.

A computation named N over an array of row numbers is cut into consecutive shards. Each finished shard is one `.npz`
file, written under a temporary name and renamed; a restart computes only the shards that are missing. When all are
there they are joined into one `.npy` per array, opened memory-mapped, and the shard files go.

    <folder>/N.shards/plan.json      what the shards are of: rows (hashed), rows per shard
    <folder>/N.shards/000017.npz     arrays of one shard, and its rows set aside with their reasons
    <folder>/N.joined/<array>.npy    the whole, `problems.json` beside it, `plan.json` last

It knows nothing of models or scores. Memory: one shard at a time.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from engine.errors import EngineError
from engine.progress import Reporter
from engine.runs.reporter import CountsSkipped
from engine.store.artifacts import write_json


@dataclass(frozen=True)
class Table:
    """Arrays with one entry per row along axis 0, and the rows set aside (row number → reason)."""

    arrays: Mapping[str, np.ndarray]
    problems: Mapping[int, str] = field(default_factory=dict)


def compute_shards(
    folder: Path,
    name: str,
    rows: np.ndarray | Sequence[int],
    shard_rows: int,
    compute: Callable[[np.ndarray], np.ndarray],
    reporter: Reporter,
) -> np.ndarray:
    """`compute` over all `rows`, shard by shard, as one read-only memory-mapped array aligned with `rows`.

    `compute(part)` gets int64 row numbers (m,) and returns an array (m, …) of constant dtype; it does its own
    `reporter.advance`, this function counts only shards found complete and checks for cancellation between shards.
    """
    table = compute_table(folder, name, rows, shard_rows, lambda part: Table({"values": compute(part)}), reporter)
    return table.arrays["values"]


def compute_table(
    folder: Path,
    name: str,
    rows: np.ndarray | Sequence[int],
    shard_rows: int,
    compute: Callable[[np.ndarray], Table],
    reporter: Reporter,
) -> Table:
    """As `compute_shards`, for several arrays at once and with reasons for rows set aside.

    A resumed computation keeps the shard size it began with. Raises `EngineError` where the folder holds shards of
    other rows, or where `compute` returns another number of rows than it was given.
    """
    numbers = np.asarray(rows, dtype=np.int64)
    if shard_rows < 1:
        raise EngineError(f"A shard needs at least one sample, got shard_rows={shard_rows}.")
    joined, shards = folder / f"{name}.joined", folder / f"{name}.shards"
    if not (joined / "plan.json").exists():
        shards.mkdir(parents=True, exist_ok=True)
        parts = _parts(shards, numbers, shard_rows)
        _fill(shards, parts, compute, reporter)
        _join(shards, joined, len(parts), len(numbers))
    else:
        _agree(joined / "plan.json", numbers, name)
        _count_found(reporter, len(numbers))
    shutil.rmtree(shards, ignore_errors=True)
    return _open(joined)


def _digest(rows: np.ndarray) -> str:
    return hashlib.sha256(rows.tobytes()).hexdigest()[:16]


def _agree(plan_path: Path, rows: np.ndarray, name: str) -> int:
    """The rows per shard of an existing plan, once it is known to be of the same rows."""
    plan = json.loads(plan_path.read_text(encoding="utf-8"))
    if plan["rows"] != _digest(rows):
        raise EngineError(
            f"{plan_path.parent} holds “{name}” for other samples ({plan['count']} then, {len(rows)} now). "
            "Start a new job instead of resuming this one; its shards were left untouched."
        )
    return int(plan["shard_rows"])


def _parts(shards: Path, rows: np.ndarray, shard_rows: int) -> list[np.ndarray]:
    plan = shards / "plan.json"
    if plan.exists():
        shard_rows = _agree(plan, rows, shards.stem)
    else:
        write_json(plan, {"rows": _digest(rows), "count": len(rows), "shard_rows": int(shard_rows)})
    return [rows[start : start + shard_rows] for start in range(0, max(1, len(rows)), shard_rows)]


def _fill(shards: Path, parts: list[np.ndarray], compute: Callable[[np.ndarray], Table], reporter: Reporter) -> None:
    missing = [number for number in range(len(parts)) if not (shards / f"{number:06d}.npz").exists()]
    _count_found(reporter, sum(map(len, parts)) - sum(len(parts[number]) for number in missing))
    for number in missing:
        reporter.check()
        table = compute(parts[number])
        for key, values in table.arrays.items():
            if len(values) != len(parts[number]):
                raise EngineError(
                    f"Shard {number} of “{shards.stem}”: {key} has {len(values)} samples, expected "
                    f"{len(parts[number])}. Finished shards were left untouched."
                )
        _write_shard(shards / f"{number:06d}.npz", table)


def _count_found(reporter: Reporter, found: int) -> None:
    if found:
        (reporter.skip if isinstance(reporter, CountsSkipped) else reporter.advance)(found)


def _write_shard(path: Path, table: Table) -> None:
    problems = json.dumps({str(row): reason for row, reason in table.problems.items()})
    temporary = path.with_name(f".{path.name}.tmp")
    with temporary.open("wb") as file:
        np.savez(
            file, allow_pickle=False, problems=np.array(problems), **{f"array:{k}": v for k, v in table.arrays.items()}
        )
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def _join(shards: Path, joined: Path, count: int, rows: int) -> None:
    """Copy the shards into one `.npy` per array, one shard in memory at a time; the plan is written last."""
    joined.mkdir(exist_ok=True)
    whole: dict[str, np.memmap] = {}
    problems: dict[str, str] = {}
    start = 0
    for number in range(count):
        with np.load(shards / f"{number:06d}.npz", allow_pickle=False) as shard:
            problems |= json.loads(str(shard["problems"]))
            arrays = {key.removeprefix("array:"): shard[key] for key in shard.files if key.startswith("array:")}
        for key, values in arrays.items():
            if key not in whole:
                shape = (rows, *values.shape[1:])
                whole[key] = np.lib.format.open_memmap(
                    joined / f"{key}.npy", mode="w+", dtype=values.dtype, shape=shape
                )
            whole[key][start : start + len(values)] = values
        start += len(next(iter(arrays.values())))
    for array in whole.values():
        array.flush()
    write_json(joined / "problems.json", problems)
    write_json(joined / "plan.json", json.loads((shards / "plan.json").read_text(encoding="utf-8")))


def _open(joined: Path) -> Table:
    arrays = {path.stem: np.load(path, mmap_mode="r", allow_pickle=False) for path in sorted(joined.glob("*.npy"))}
    problems = json.loads((joined / "problems.json").read_text(encoding="utf-8"))
    return Table(arrays, {int(row): reason for row, reason in problems.items()})
