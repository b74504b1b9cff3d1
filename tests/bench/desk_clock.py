"""Times of repeated acts: wall and processor seconds as percentiles, and the memory of a process."""

import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np


def repeated(acts: Iterable[Callable[[], Any]], *, warm: int = 1) -> dict[str, float]:
    """Run the acts one by one; the first `warm` are told as `first_ms`, the others as percentiles."""
    walls, cpus = [], []
    for act in acts:
        wall, cpu = time.perf_counter(), time.process_time()
        act()
        walls.append(time.perf_counter() - wall)
        cpus.append(time.process_time() - cpu)
    first = {"first_ms": round(1e3 * max(walls[:warm]), 1)} if warm else {}
    return {**percentiles(walls[warm:]), "cpu_p50_ms": round(1e3 * float(np.median(cpus[warm:])), 1), **first}


def percentiles(seconds: list[float]) -> dict[str, float]:
    """p50, p95 and the largest in milliseconds, and how many there were."""
    p50, p95, most = (float(np.percentile(seconds, q)) for q in (50, 95, 100))
    return {"p50_ms": round(1e3 * p50, 1), "p95_ms": round(1e3 * p95, 1), "max_ms": round(1e3 * most, 1),
            "n": len(seconds)}  # fmt: skip


def resident(pid: int | str = "self") -> dict[str, int]:
    """Resident megabytes of a process: all, those of files it has mapped (given back when others need them), the rest.

    Nothing where the system has no /proc.
    """
    path = Path(f"/proc/{pid}/status")
    if not path.exists():
        return {}
    values = dict(line.split(":", 1) for line in path.read_text().splitlines() if line.startswith(("Rss", "Vm")))
    megabytes = {name: int(value.split()[0]) // 1000 for name, value in values.items()}
    return {"all_mb": megabytes["VmRSS"], "files_mb": megabytes["RssFile"], "own_mb": megabytes["RssAnon"],
            "peak_mb": megabytes["VmHWM"]}  # fmt: skip
